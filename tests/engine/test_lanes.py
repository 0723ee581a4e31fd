"""An engine in which several requests run at once, in threads or in greenlets, driven by the test itself."""

import queue
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from classes import AT_ONCE, POLLERS
from support import Client, eventually

from pyserver._connection import Buffers, Durations
from pyserver._engine import Engine
from pyserver._http import Limits
from pyserver._scoreboard import Cell, Scoreboard
from pyserver._wsgi import WSGIGateway
from pyserver.log import ErrorLog

REQUEST = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


class Running:
    """An engine and its scoreboard. A request for /wait runs until it is let go."""

    def __init__(self, log, **arguments):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        self.scoreboard = Scoreboard(1, AT_ONCE)
        self.may_go = threading.Event()
        self.clients = []
        self.engine = Engine(
            [self.listener],
            WSGIGateway(self.application, [("localhost", "80")], log=log),
            Limits(),
            Durations(idle=60),
            Buffers(),
            log=log,
            row=self.scoreboard.address(0),
            **arguments,
        )
        self.begin()

    def application(self, environ, start_response):
        if environ["PATH_INFO"] == "/error":
            raise ValueError
        if environ["PATH_INFO"] == "/wait":
            self.wait()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    def client(self):
        self.clients.append(Client(self.address, timeout=10))
        return self.clients[-1]

    def cell(self, cell):
        return self.scoreboard.read(0, cell)

    def hold(self, count):
        """Clients whose requests run."""
        clients = [self.client() for _ in range(count)]
        for client in clients:
            client.send(REQUEST % b"/wait")
        eventually(lambda: len(self.scoreboard.rows_busy(0)) == count)
        return clients

    def close(self):
        self.may_go.set()
        self.tell(self.engine.stop)
        self.join()
        self.engine.abandon()
        self.listener.close()
        for client in self.clients:
            client.close()

    def join(self):
        """Return when the engine is done."""
        for thread in self.threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self.threads)


class InThreads(Running):
    """With a thread for each request."""

    def begin(self):
        self.threads = [threading.Thread(target=self.engine.serve, args=(number,)) for number in range(AT_ONCE)]
        for thread in self.threads:
            thread.start()

    def wait(self):
        self.may_go.wait(10)

    def tell(self, do):
        """What `do()` gives; here it may be called by anybody."""
        return do()


class InGreenlets(Running):
    """With a greenlet for each request, in one thread that stands for a hub."""

    def begin(self):
        self.asked, self.given = queue.Queue(), queue.Queue()
        self.held, self.full = [], {}
        self.engine.on_request = lambda lane: self.greenlet.greenlet(lane.serve).switch()
        self.engine.on_full = self.wait_for_room
        self.engine.on_room = lambda lane: self.full.pop(lane).switch()
        self.engine.on_wake = lambda: None
        self.threads = [threading.Thread(target=self.run)]
        self.threads[0].start()

    def run(self):
        while not self.engine.is_done or self.held:
            self.engine.run_ready(5)
            while self.held and self.may_go.is_set():
                self.held.pop().switch()
            while not self.asked.empty():
                self.given.put(self.asked.get()())

    def wait(self):
        own = self.greenlet.getcurrent()
        self.held.append(own)
        own.parent.switch()

    def wait_for_room(self, lane):
        self.full[lane] = own = self.greenlet.getcurrent()
        own.parent.switch()

    def tell(self, do):
        """What `do()` gives when the hub has called it."""
        if not self.threads[0].is_alive():
            return do()
        self.asked.put(do)
        return self.given.get(timeout=10)


@pytest.fixture(params=[*(f"threads-{poller}" for poller in POLLERS), "greenlets"])
def running(request, tmp_path):
    log = ErrorLog(str(tmp_path / "error.log"))
    if request.param == "greenlets":
        InGreenlets.greenlet = pytest.importorskip("greenlet")
        made = InGreenlets(log, capacity=AT_ONCE, poller="epoll")
    else:
        made = InThreads(log, threads=AT_ONCE, poller=request.param.removeprefix("threads-"))
    yield made
    made.close()
    log.close()


def ask(running):
    """What one client does; each the same."""
    with running.client() as client:
        client.send(REQUEST % b"/" * 20)
        assert [client.receive_response().content for _ in range(20)] == [b"hello"] * 20
        assert [client.request("GET", "/").content for _ in range(20)] == [b"hello"] * 20
        assert client.request("GET", "/error").status == 500
    with running.client() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.receive_response().status == 400


def test_what_is_counted_in_all_rows_adds_up(running):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, [running] * 80))
    eventually(lambda: running.cell(Cell.CONNECTIONS) == 0)
    assert running.cell(Cell.ACCEPTED) == 160
    assert running.cell(Cell.REQUESTS) == running.engine.requests == 41 * 80
    assert running.cell(Cell.ERRORS) == running.cell(Cell.REFUSED) == 80
    assert running.cell(Cell.BYTES_SENT) == 80 * (40 * len(b"hello") + len(b"Internal Server Error\n"))
    assert running.scoreboard.latencies(0)[-1] == 41 * 80
    assert running.scoreboard.rows_busy(0) == []
    assert running.engine.running == running.engine.connections == 0


def test_requests_that_run_are_told_and_others_are_served_meanwhile(running):
    clients = running.hold(AT_ONCE - 1)
    assert running.engine.running == AT_ONCE - 1
    with running.client() as client:
        assert client.request("GET", "/").content == b"hello"
    running.may_go.set()
    assert [client.receive_response().content for client in clients] == [b"hello"] * len(clients)
    eventually(lambda: running.engine.running == 0)


def test_requests_beyond_those_that_can_run_wait(running):
    clients = running.hold(AT_ONCE)
    behind = [running.client() for _ in range(10)]
    for client in behind:
        client.send(REQUEST % b"/")
    assert len(running.scoreboard.rows_busy(0)) == AT_ONCE
    running.may_go.set()
    assert [client.receive_response().content for client in clients + behind] == [b"hello"] * (AT_ONCE + 10)


def test_an_engine_that_retires_is_done_when_the_last_request_has_run(running):
    clients = running.hold(AT_ONCE - 1)
    running.tell(lambda: running.engine.retire(0))
    assert running.listener.fileno() < 0
    assert not running.engine.is_done
    running.may_go.set()
    for client in clients:
        assert client.receive_response().field("Connection") == "close"
        assert client.is_closed_by_server()
    running.join()
    assert running.engine.is_done


def test_what_an_engine_abandons_counts_those_that_run(running):
    running.hold(AT_ONCE - 1)
    assert running.tell(running.engine.abandon) == AT_ONCE - 1
    running.may_go.set()
    running.join()
    assert running.engine.running == 0
