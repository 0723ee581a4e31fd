"""Who gets what waits in an accept queue, and in which order it is served."""

import contextlib
import socket

import pytest
from classes import only
from sharing import POLLERS
from support import Client, eventually

from pyserver._connection import Buffers, Durations
from pyserver._engine import Engine
from pyserver._http import Limits
from pyserver._wsgi import WSGIGateway
from pyserver.log import ErrorLog

REQUEST = b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: %s\r\n\r\n"

# A request takes longer than a turn of the engine may; the first one until the test lets it go.
APPLICATION = """
    import os, time

    os.path.exists("gate") or os.mkfifo("gate")
    served = []

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/gate":
            open("entered-" + environ["QUERY_STRING"], "w").close()
            open("gate").read()
        else:
            end = time.monotonic() + 0.02
            while time.monotonic() < end:
                pass
        served.append(path)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return ["\\n".join(served).encode()]
"""


@only("sync", "threaded", each_poller=True)  # in greenlets all that is there is begun at once
def test_a_kept_connection_has_its_turn_among_new_ones(serve, worker_class):
    server = serve(APPLICATION, "--keep-alive", "60")
    with contextlib.ExitStack() as stack:
        kept, *first = (stack.enter_context(server.client()) for _ in range(1 + worker_class.threads))
        kept.send(REQUEST % (b"kept", b"keep-alive"))
        kept.receive_response()
        for number, client in enumerate(first):
            client.send(REQUEST % (b"gate?%d" % number, b"close"))
            eventually((server.directory / f"entered-{number}").exists)
        fresh = [server.client() for _ in range(20)]
        for client in fresh:
            client.send(REQUEST % (b"fresh", b"close"))
        kept.send(REQUEST % (b"kept", b"close"))
        (server.directory / "gate").write_text("")
        served = kept.receive_response().content.decode().split("\n")
        for client in fresh:
            client.receive_response()
            client.close()
    assert served.count("/fresh") < 10


@pytest.fixture(params=POLLERS)
def shared(request):
    """A listener of which the engine has one descriptor and the test another, as with two workers."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    log = ErrorLog("/dev/null")

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    gateway = WSGIGateway(application, [("localhost", "80")], log=log)
    engine = Engine([listener.dup()], gateway, Limits(), Durations(), Buffers(), log=log, poller=request.param)
    yield engine, listener
    engine.abandon()
    listener.close()


def test_a_worker_that_is_replaced_leaves_the_accept_queue_to_the_others(shared):
    engine, listener = shared
    with Client(listener.getsockname()) as client:
        client.send(REQUEST % (b"", b"close"))
        engine.retire(0, False)
        eventually(lambda: accepted(listener))
    assert engine.connections == 0


def test_a_last_worker_takes_the_accept_queue_before_it_closes_the_listener(shared):
    engine, listener = shared
    with Client(listener.getsockname()) as client:
        client.send(REQUEST % (b"", b"close"))
        engine.retire(60, True)
        listener.close()
        engine.run()
        assert client.receive_response().content == b"hello"


def accepted(listener):
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True
