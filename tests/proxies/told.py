"""Applications that answer with what a server tells them of the way of a request, alike for WSGI and ASGI."""

import json
import os

RELAYED = ("PROXY_PROTOCOL", "PROXY_ADDR", "PROXY_PORT")


def wsgi(environ, start_response):
    told = {
        "client": [environ["REMOTE_ADDR"], environ["REMOTE_PORT"]],
        "scheme": environ["wsgi.url_scheme"],
        "host": environ.get("HTTP_HOST"),
        "port": environ["SERVER_PORT"],
        "root": environ["SCRIPT_NAME"],
        "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"],
        "forwarder": environ.get("HTTP_REMOTE_USER"),
        "relayed": [environ.get(name) for name in RELAYED],
        "pid": os.getpid(),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


async def asgi(scope, _receive, send):
    if scope["type"] == "lifespan":
        return
    fields = dict(scope["headers"])
    told = {
        "client": [scope["client"][0], str(scope["client"][1])] if scope["client"] else ["", ""],
        "scheme": scope["scheme"],
        "host": fields[b"host"].decode(),
        "port": str(scope["server"][1]),
        "root": scope["root_path"],
        "path": scope["path"],
        "forwarder": fields.get(b"remote_user", b"").decode() or None,
        "pid": os.getpid(),
    }
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
