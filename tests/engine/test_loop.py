"""The engine as a worker drives it: here by the test itself, round by round."""

import ast
import os
import select
import signal
import socket
import sys
import time
from collections import Counter

import pytest
from sharing import POLLERS, descriptors
from support import Client, eventually

from pyserver._connection import Buffers, Durations
from pyserver._engine import Engine
from pyserver._http import Limits
from pyserver._scoreboard import Cell, Scoreboard
from pyserver._wsgi import WSGIGateway
from pyserver.log import ErrorLog

HEAD = b"GET /path?query HTTP/1.1\r\nHost: a\r\n"


def application(environ, start_response):
    if environ["PATH_INFO"] == "/error":
        raise ValueError
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [bytes(int(environ["QUERY_STRING"]))] if environ["PATH_INFO"] == "/large" else [b"hello"]


class Driven:
    """An engine, and clients of it."""

    def __init__(self, poller, log):
        self.others = Counter(sockets_and_pollers())
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        self.scoreboard = Scoreboard(1)
        self.clients = []
        self.doing = None
        self.engine = Engine(
            [self.listener],
            WSGIGateway(self.application, [("localhost", "80")], log=log),
            Limits(),
            Durations(idle=60),
            Buffers(),
            log=log,
            row=self.scoreboard.address(0),
            poller=poller,
        )

    def application(self, environ, start_response):
        if self.doing is not None:
            self.doing()
        return application(environ, start_response)

    def client(self, sent=b""):
        """A client that was accepted, and what it sent was read."""
        client = Client(self.address)
        self.clients.append(client)
        accepted = self.cell(Cell.ACCEPTED)
        client.send(sent)
        self.turn_until(lambda: self.cell(Cell.ACCEPTED) > accepted)
        self.engine.run_ready(10)
        return client

    def cell(self, cell):
        return self.scoreboard.read(0, cell)

    def turn_until(self, condition):
        eventually(lambda: condition() or self.engine.run_ready(10))

    def close(self):
        for client in self.clients:
            client.close()
        self.engine.abandon()
        self.listener.close()


@pytest.fixture(params=POLLERS)
def driven(request, tmp_path):
    log = ErrorLog(str(tmp_path / "error.log"))
    driven = Driven(request.param, log)
    yield driven
    driven.close()
    log.close()


@pytest.fixture
def pipes():
    """Pairs of read and write end."""
    made = [os.pipe() for _ in range(3)]
    yield made
    for end in {end for pair in made for end in pair}:
        os.close(end)


@pytest.fixture
def bell(driven, pipes):
    """The write end of a pipe that the engine watches, and what was called because of it."""
    called = []
    driven.engine.watch(pipes[0][0], lambda: called.append(os.read(pipes[0][0], 100)))
    return pipes[0][1], called


def test_there_is_no_deadline_without_connections(driven):
    assert driven.engine.next_wait_ms() == -1


def test_a_connection_has_a_deadline(driven):
    driven.client()
    assert 0 < driven.engine.next_wait_ms() <= 60_000


def test_connections_and_requests_are_counted(driven):
    driven.client(HEAD + b"\r\n" + HEAD + b"\r\n")
    driven.client()
    assert (driven.engine.connections, driven.engine.requests) == (2, 2)


@pytest.mark.skipif("epoll" not in POLLERS, reason="no epoll here")
@pytest.mark.parametrize("driven", ["epoll"], indirect=True)
def test_the_descriptor_of_epoll_is_readable_when_there_is_something_to_do(driven):
    assert select.select([driven.engine], [], [], 0)[0] == []
    with Client(driven.address):
        assert select.select([driven.engine], [], [], 5)[0] == [driven.engine]


@pytest.mark.parametrize("driven", ["poll"], indirect=True)
def test_poll_has_no_descriptor_to_wait_on(driven):
    with pytest.raises(OSError, match="cannot itself be waited on"):
        driven.engine.fileno()


def test_an_unknown_poller_is_refused(tmp_path):
    log = ErrorLog(str(tmp_path / "error.log"))
    with pytest.raises(ValueError, match="there is no poller 'none' on this system"):
        Engine([], WSGIGateway(application, [], log=log), Limits(), Durations(), Buffers(), log=log, poller="none")
    log.close()


# ---- watching ----


def test_a_watched_descriptor_calls_back_when_it_is_readable(driven, bell):
    end, called = bell
    driven.engine.run_ready(0)
    assert called == []
    os.write(end, b"one")
    driven.engine.run_ready(1000)
    assert called == [b"one"]


def test_a_watched_descriptor_calls_back_until_it_was_read(driven, pipes):
    called = []
    driven.engine.watch(pipes[0][0], lambda: called.append(1))
    os.write(pipes[0][1], b"one")
    for _ in range(3):
        driven.engine.run_ready(1000)
    assert len(called) == 3


def test_a_watched_descriptor_calls_back_when_its_other_end_is_closed(driven):
    called = []
    one, other = socket.socketpair()
    driven.engine.watch(one.fileno(), lambda: called.append(1))
    other.close()
    driven.engine.run_ready(1000)
    driven.engine.unwatch(one.fileno())
    one.close()
    assert called == [1]


def test_a_descriptor_may_be_unwatched_in_its_callback(driven, pipes):
    called = []

    def once():
        called.append(1)
        driven.engine.unwatch(pipes[0][0])

    driven.engine.watch(pipes[0][0], once)
    os.write(pipes[0][1], b"one")
    for _ in range(3):
        driven.engine.run_ready(10)
    assert called == [1]


def test_a_descriptor_that_another_callback_unwatched_is_not_called_in_the_same_round(driven, pipes):
    called = []

    def only(number):
        called.append(number)
        for other in range(3):
            if other != number:
                driven.engine.unwatch(pipes[other][0])

    for number in range(3):
        driven.engine.watch(pipes[number][0], lambda number=number: only(number))
    for _, end in pipes:
        os.write(end, b"one")
    driven.engine.run_ready(1000)
    assert len(called) == 1


def test_what_is_not_watched_cannot_be_unwatched(driven):
    with pytest.raises(KeyError):
        driven.engine.unwatch(12345)


def test_an_error_in_a_callback_leaves_the_loop(driven, pipes):
    driven.engine.watch(pipes[0][0], lambda: 1 / 0)
    os.write(pipes[0][1], b"one")
    with pytest.raises(ZeroDivisionError):
        driven.engine.run()


# ---- the end ----


def test_run_ends_when_it_is_stopped(driven, pipes):
    driven.engine.watch(pipes[0][0], driven.engine.stop)
    os.write(pipes[0][1], b"one")
    driven.engine.run()
    assert driven.engine.connections == 0


def test_run_ends_when_it_retires_without_connections(driven, pipes):
    driven.engine.watch(pipes[0][0], lambda: driven.engine.retire(0))
    os.write(pipes[0][1], b"one")
    driven.engine.run()
    assert driven.engine.is_retiring


def test_run_ends_when_the_last_connection_of_a_retiring_worker_does(driven):
    idle = driven.client(HEAD + b"\r\n")
    driven.client()
    driven.engine.retire(0.1)
    driven.engine.run()
    assert idle.receive_response().status == 200
    assert idle.is_closed_by_server()


def test_one_that_leaves_the_queue_to_others_takes_what_it_may_have_been_woken_for(driven, pipes):
    driven.engine.watch(pipes[0][0], lambda: driven.engine.retire(takes_queue=False))
    os.write(pipes[0][1], b"!")
    with Client(driven.address) as client:
        client.send(HEAD + b"\r\n")
        driven.engine.run()
        assert client.receive_response().status == 200


def test_retiring_closes_the_listeners(driven):
    driven.engine.retire()
    assert driven.listener.fileno() == -1


def test_retiring_twice_is_retiring_once(driven):
    driven.engine.retire()
    driven.engine.retire()
    driven.engine.run()


def test_abandoning_tells_how_many_requests_and_responses_it_cut(driven):
    driven.client()
    driven.client(HEAD + b"\r\n")
    driven.client(HEAD)
    driven.client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
    driven.client(b"GET /large?20000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert driven.engine.abandon() == 3
    assert driven.engine.connections == 0


def test_it_is_said_once_that_the_worker_has_served_enough(driven):
    said = []
    driven.engine.max_requests = 2
    driven.engine.on_max_requests = lambda: said.append(driven.engine.requests)
    for _ in range(4):
        driven.client(HEAD + b"\r\n")
    assert said == [2]


# ---- the scoreboard ----


def test_the_scoreboard_counts_requests_and_connections(driven):
    driven.client(HEAD + b"\r\n" + HEAD + b"\r\n")
    driven.client().close()
    driven.turn_until(lambda: driven.engine.connections == 1)
    assert [driven.cell(cell) for cell in (Cell.REQUESTS, Cell.CONNECTIONS, Cell.ACCEPTED)] == [2, 1, 2]


def test_the_scoreboard_counts_content_bytes(driven):
    driven.client(HEAD + b"\r\n")
    assert driven.cell(Cell.BYTES_SENT) == len(b"hello")


def test_the_scoreboard_counts_what_was_refused(driven):
    driven.client(b"GET / HTTP/1.1\r\n\r\n")
    assert [driven.cell(cell) for cell in (Cell.REFUSED, Cell.REQUESTS)] == [1, 0]


def test_the_scoreboard_counts_errors_of_the_application(driven):
    driven.client(b"GET /error HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [driven.cell(cell) for cell in (Cell.ERRORS, Cell.REQUESTS)] == [1, 1]


def test_the_scoreboard_names_the_last_request(driven):
    driven.client(HEAD + b"\r\n")
    assert driven.scoreboard.request_line(0) == "GET /path?query"
    assert driven.cell(Cell.BUSY_SINCE_NS) == 0


def test_the_scoreboard_names_who_sent_the_last_request(driven):
    assert driven.scoreboard.peer(0) == ""
    client = driven.client(HEAD + b"\r\n")
    assert driven.scoreboard.peer(0) == f"127.0.0.1:{client.socket.getsockname()[1]}"


def test_a_request_is_on_the_scoreboard_while_it_runs(driven):
    seen = []
    driven.doing = lambda: seen.append((driven.scoreboard.busy_since_ns(0), driven.scoreboard.request_line(0)))
    before_ns = time.monotonic_ns()
    driven.client(HEAD + b"\r\n")
    ((began_ns, line),) = seen
    assert before_ns < began_ns < time.monotonic_ns()
    assert line == "GET /path?query"
    assert driven.scoreboard.busy_since_ns(0) == 0


def test_the_scoreboard_counts_requests_by_how_long_they_took(driven):
    def wait():
        until = time.monotonic() + 0.005
        eventually(lambda: time.monotonic() > until)

    driven.doing = wait
    driven.client(HEAD + b"\r\n")
    counts = driven.scoreboard.latencies(0)
    # 4,096 microseconds are the twelfth power of two.
    assert counts[:13] == [0] * 13
    assert counts[-1] == 1
    assert counts == sorted(counts)


# ---- a child that does not serve ----


def other_than_files():
    """What the descriptors of this process refer to, of sockets and pollers."""
    return sorted(link for link in descriptors(os.getpid()) if link.startswith(("socket:", "anon_inode:[eventpoll]")))


@pytest.fixture
def fork(driven):
    """Fork a child that drops its copies, writes what it has left to a pipe, and stays until the test is over."""
    pids = []
    report, told = os.pipe()

    def forked():
        driven.doing = None
        pids.append(os.fork())
        if pids[-1] == 0:
            try:
                for client in driven.clients:
                    client.close()
                driven.engine.drop_copies()
                os.write(told, repr(sockets_and_pollers()).encode())
                signal.pause()
            finally:
                os._exit(0)

    forked.left = lambda: ast.literal_eval(os.read(report, 65536).decode())
    yield forked
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.close(report)
    os.close(told)


def sockets_and_pollers():
    """What the descriptors of this process refer to, of these; nothing where the system does not say."""
    if sys.platform != "linux":
        return []
    return [link for link in descriptors(os.getpid()) if link.startswith(("socket:", "anon_inode:[eventpoll]"))]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("is_in_a_request", [True, False])
def test_a_child_that_drops_its_copies_has_nothing_of_the_engine(driven, fork, is_in_a_request):
    driven.client(HEAD + b"Content-Length: 9\r\n\r\n")
    client = driven.client(HEAD + b"\r\n")
    if is_in_a_request:
        driven.doing = fork
        client.send(HEAD + b"\r\n")
        driven.turn_until(lambda: driven.doing is None)
    else:
        fork()
    assert not Counter(fork.left()) - driven.others


@pytest.mark.parametrize("is_in_a_request", [True, False])
def test_a_child_that_drops_its_copies_leaves_the_parent_undisturbed(driven, fork, is_in_a_request):
    kept, leaves = driven.client(HEAD + b"\r\n"), driven.client(HEAD)
    assert kept.receive_response().content == b"hello"
    if is_in_a_request:
        driven.doing = fork
        kept.send(HEAD + b"\r\n")
        driven.turn_until(lambda: driven.doing is None)
        assert kept.receive_response().content == b"hello"
    else:
        fork()
    fork.left()
    kept.send(HEAD + b"\r\n")
    driven.turn_until(lambda: select.select([kept.socket], [], [], 0)[0])
    assert kept.receive_response().content == b"hello"
    last = driven.client(HEAD + b"Connection: close\r\n\r\n")
    assert last.receive_response().content == b"hello"
    assert last.is_closed_by_server()
    leaves.close()
    driven.turn_until(lambda: driven.engine.connections == 1)


def test_an_engine_whose_copies_were_dropped_leaves_its_loop(driven):
    driven.client(HEAD)
    driven.engine.drop_copies()
    driven.engine.run()
