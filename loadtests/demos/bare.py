"""Applications that do next to nothing, so that what a request costs is the server's: `demos.bare:wsgi` and `:asgi`."""

from __future__ import annotations

HELLO = b"Hello, world!"
LARGE = b"0123456789abcdef" * 4096
TYPE = "text/plain"


def wsgi(environ, start_response):
    """Answer `/hello`, `/64k`, and `/echo` with what was sent."""
    content = {"/hello": HELLO, "/64k": LARGE}.get(environ["PATH_INFO"])
    if content is None:
        content = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
    start_response("200 OK", [("Content-Type", TYPE), ("Content-Length", str(len(content)))])
    return [content]


async def asgi(scope, receive, send):
    """The same; without lifespan, which servers have to do without."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    content = {"/hello": HELLO, "/64k": LARGE}.get(scope["path"])
    if content is None:
        content, more = b"", True
        while more:
            event = await receive()
            content += event.get("body", b"")
            more = event.get("more_body", False)
    fields = [(b"content-type", TYPE.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": content})
