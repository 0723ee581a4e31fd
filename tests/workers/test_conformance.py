"""Whether a worker of each class answers the connections of the conformance tables as the parser understands them.

The rows that have limits of their own would each need a server; what a limit means is the same for every class.
"""

import socket

import pytest
from classes import each_class_and_poller as worker_class
from conformance.case import judge
from conformance.requests import CASES
from sharing import server, serving, share

from pyserver.refusals import REFUSALS

__all__ = ["server", "serving", "share", "worker_class"]

SERVED = {name: case for name, case in CASES.items() if not case.limits}


def application(environ, start_response):
    start_response("200 OK", [("X-Method", environ["REQUEST_METHOD"]), ("X-Query", environ["QUERY_STRING"])])
    return [environ["wsgi.input"].read()]


def answered(requests):
    """Those that get an answer: all that are complete, until one says that the connection ends."""
    for request in requests:
        if request["is_complete"]:
            yield request
        if not request["persists"]:
            break


@pytest.mark.parametrize("case", SERVED.values(), ids=SERVED)
def test_a_connection_is_answered_as_it_was_understood(server, case):
    outcome = judge([case.data], {})
    with server.client(timeout=10) as client:
        client.send(case.data)
        client.socket.shutdown(socket.SHUT_WR)
        for request in (expected := list(answered(outcome.requests))):
            method = request["method"].decode()
            while (response := client.receive_response(method)).status == 100:
                pass
            assert (response.status, response.field("X-Method")) == (200, method)
            assert response.field("X-Query") == request["query"].decode("latin-1")
            assert response.content == (b"" if method == "HEAD" else request["content"])
        if outcome.refusal is not None and all(request["persists"] for request in expected):
            fault, _ = outcome.refusal
            assert client.receive_response("").status == REFUSALS[fault].status
        assert client.is_closed_by_server()
