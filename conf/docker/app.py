"""An application that counts its visits in Redis."""

import os

import redis

store = redis.Redis.from_url(os.environ["REDIS_URL"], socket_connect_timeout=2, socket_timeout=2)


def application(environ, start_response):
    """Answer with the number of the visit, which all workers count together."""
    text = f"visit {store.incr('visits')}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]
