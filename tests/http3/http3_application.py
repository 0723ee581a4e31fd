"""What the tests of HTTP/3 make requests to."""

import asyncio
import hashlib
import json
import os

GATES = {}
GONE = []
LARGE = bytes(range(256)) * 12_000


def gate(name):
    return GATES.setdefault(name, asyncio.Event())


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    _, name, *rest = scope["path"].split("/")
    await ROUTES[name](scope, receive, send, *rest)


async def answer(send, content, status=200, fields=(), **more):
    await send({"type": "http.response.start", "status": status, "headers": list(fields), **more})
    await send({"type": "http.response.body", "body": content})


async def content_of(receive):
    content = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ConnectionError
        content += event.get("body", b"")
        if not event.get("more_body"):
            return content


async def told(scope, receive, send):
    keys = ("http_version", "scheme", "method", "path", "client", "server")
    fields = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    tls = scope["extensions"].get("tls")
    await answer(send, json.dumps({"fields": fields, "tls": tls, **{key: scope[key] for key in keys}}).encode())


async def digest(scope, receive, send):
    await answer(send, hashlib.sha256(await content_of(receive)).hexdigest().encode())


async def process(scope, receive, send):
    await answer(send, str(os.getpid()).encode())


async def large(scope, receive, send):
    await answer(send, LARGE)


async def pieces(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for at in range(0, len(LARGE), 10_000):
        await send({"type": "http.response.body", "body": LARGE[at : at + 10_000], "more_body": True})
    await send({"type": "http.response.body"})


async def wait(scope, receive, send, name):
    """Answer once /open/NAME is asked for; content is taken then."""
    gate("begun " + name).set()
    await gate(name).wait()
    await answer(send, str(len(await content_of(receive))).encode())


async def begun(scope, receive, send, name):
    await gate("begun " + name).wait()
    await answer(send, b"")


async def open_(scope, receive, send, name):
    gate(name).set()
    await answer(send, b"")


async def is_open(scope, receive, send, name):
    await answer(send, str(gate(name).is_set()).encode())


async def until_gone(scope, receive, send, name):
    gate("begun " + name).set()
    await content_of(receive)
    while (await receive())["type"] != "http.disconnect":
        pass
    gate("gone " + name).set()


async def gone(scope, receive, send, name):
    await gate("gone " + name).wait()
    await answer(send, b"")


async def hints(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    await send({"type": "http.response.body", "body": b"abc"})
    await send({"type": "http.response.trailers", "headers": [(b"x-trailer", b"a")]})


async def fail(scope, receive, send):
    raise RuntimeError("as it was told to")


async def fail_late(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    raise RuntimeError("as it was told to")


async def own_alternative(scope, receive, send):
    await answer(send, b"", fields=[(b"alt-svc", b"clear")])


ROUTES = {
    "": process, "told": told, "digest": digest, "process": process, "large": large, "pieces": pieces, "wait": wait,
    "begun": begun, "open": open_, "is_open": is_open,
    "until_gone": until_gone, "gone": gone, "hints": hints, "fail": fail,
    "fail_late": fail_late, "own_alternative": own_alternative,
}  # fmt: skip
