"""A worker that leaves: what runs over TLS is answered, and the connection ends in an orderly way."""

import contextlib
import signal
import socket
import threading
import time

import pytest
from support import Client, eventually

PIDS = """
import os, time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open("running", "w").close()
        while not os.path.exists("go on"):
            time.sleep(0.01)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


def test_a_request_that_runs_is_answered_and_its_connection_closed(serve, certificate, authority):
    server = serve(PIDS, *certificate)
    with Client(server.address, tls=authority.client()) as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually((server.directory / "running").exists)
        before = server.workers()
        server.send_signal(signal.SIGHUP)
        eventually(lambda: "the workers before it retire" in server.log())
        (server.directory / "go on").touch()
        assert client.receive_response().content == str(before[0]).encode()
        assert client.is_closed_by_server()


def test_a_connection_that_is_idle_after_a_reload_does_not_hold_it_up(serve, certificate, authority):
    server = serve(
        """
        import os, time
        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "2")])
            yield b"a"
            while not os.path.exists("go on"):
                time.sleep(0.01)
            yield b"b"
        """,
        *(*certificate, "--keep-alive", "60", "--graceful-timeout", "2"),
    )
    with Client(server.address, tls=authority.client()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.receive_head()
        before = server.workers()[0]
        server.send_signal(signal.SIGHUP)
        eventually(lambda: "the workers before it retire" in server.log())
        (server.directory / "go on").touch()
        assert client.receive(2) == b"ab"
        eventually(lambda: before not in server.workers())


def test_a_plain_connection_stays_so_when_a_reload_brings_certificates(serve, certificate, tmp_path):
    (tmp_path / "server.conf.py").write_text("keepalive = 60\n")
    server = serve(PIDS, "-c", "server.conf.py")
    with Client(server.address) as client:
        before = client.request("GET", "/").content
        names = f"certfile = {certificate[1]!r}\nkeyfile = {certificate[3]!r}\nkeepalive = 60\n"
        (server.directory / "server.conf.py").write_text(names)
        server.send_signal(signal.SIGHUP)
        eventually(lambda: int(before) not in server.workers())
        assert client.request("GET", "/").status == 200


def test_an_idle_connection_does_not_hold_up_a_reload(serve, certificate, authority):
    server = serve(PIDS, *certificate, "--keep-alive", "60", "--graceful-timeout", "2")
    with Client(server.address, tls=authority.client()) as client:
        before = client.request("GET", "/").content
        server.send_signal(signal.SIGHUP)
        assert client.is_closed_by_server()
    eventually(lambda: int(before) not in server.workers())
    assert "is killed" not in server.log()


def test_who_asks_now_and_then_is_answered_after_a_reload(serve, certificate, authority):
    server = serve(PIDS, "-w", "2", *certificate, "--keep-alive", "60")
    eventually(lambda: len(server.workers()) == 2)
    with Client(server.address, tls=authority.client()) as client:
        before = int(client.request("GET", "/").content)
        other = next(pid for pid in server.workers() if pid != before)
        server.send_signal(signal.SIGHUP)
        # That one has nobody, and leaves at once; an idle connection in the clear would be closed soon behind it.
        eventually(lambda: other not in server.workers())
        time.sleep(0.8)
        response = client.request("GET", "/")
    assert int(response.content) == before
    assert response.values("Connection") == ["close"]


def test_who_shakes_hands_when_the_server_stops_is_answered(serve, certificate, authority):
    server = serve(
        """
        import os, time
        def application(environ, start_response):
            open("running", "a").close()
            while not os.path.exists("go on"):
                time.sleep(0.01)
            # Longer than a connection without a request is kept then.
            time.sleep(0.5)
            start_response("200 OK", [])
            return [b"served"]
        """,
        *(*certificate, "--timeout", "20"),
    )
    answers = []

    def ask(connected):
        with authority.client().wrap_socket(connected, server_hostname="localhost") as secured:
            secured.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answers.append(b"".join(iter(lambda: secured.recv(4096), b"")).partition(b"\r\n\r\n")[2])

    # All are there before it stops; those behind the first are in the accept queue, or have sent a ClientHello.
    sockets = [socket.create_connection(server.address, 20) for _ in range(3)]
    clients = [threading.Thread(target=ask, args=(connected,)) for connected in sockets]
    for client in clients:
        client.start()
    eventually((server.directory / "running").exists)
    server.send_signal(signal.SIGTERM)
    (server.directory / "go on").touch()
    for client in clients:
        client.join()
    assert answers == [b"served"] * 3


def test_connections_are_spread_over_workers_from_the_beginning(serve, certificate, authority):
    server = serve(PIDS, "-w", "2", *certificate)
    eventually(lambda: len(server.workers()) == 2)
    context = authority.client()
    seen = set()
    with contextlib.ExitStack() as stack:

        def both_have_some():
            client = stack.enter_context(Client(server.address, tls=context))
            seen.add(int(client.request("GET", "/").content))
            return seen == set(server.workers())

        eventually(both_have_some)


def test_no_request_is_lost_while_workers_are_replaced(serve, certificate, authority):
    server = serve(PIDS, "-w", "2", *certificate)
    lost, served, is_over = [], [], threading.Event()

    def ask():
        context = authority.client()
        while not is_over.is_set():
            with Client(server.address, tls=context) as client:
                for number in range(20):
                    try:
                        response = client.request("GET", "/")
                    except (EOFError, ConnectionError):
                        # Idle at that moment, and closed: RFC 9112 §9.3.1 has the client send it again.
                        lost.append(number)
                        break
                    served.append(response.content)
                    if response.values("Connection") == ["close"]:
                        break

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(3):
            before = set(server.workers())
            server.send_signal(signal.SIGHUP)
            eventually(lambda before=before: server.workers() and not before & set(server.workers()))
    finally:
        is_over.set()
        for client in clients:
            client.join()
    assert served
    assert not lost


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_stops_with_tls_connections_open(serve, certificate, authority, number):
    server = serve(PIDS, *certificate)
    with Client(server.address, tls=authority.client()) as client:
        client.request("GET", "/")
        assert server.stop(number) == 0
