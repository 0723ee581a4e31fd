"""Python's garbage collector, which runs finalizers of the application, and what threads hold meanwhile."""

import gc
import itertools
import threading
import time
import traceback
import types

import pytest
from classes import DEFAULT
from sharing import Routes
from support import Client

application = Routes()
sent = types.SimpleNamespace(blocks=0)  # of somebody's response; negative when that shall end
stuck = []  # finalizers that have kept it from going on


@pytest.fixture(scope="module")
def worker_class():
    """The one that each server here chooses."""
    return DEFAULT


class Waits:
    """When it is collected, it waits for what another thread does, which needs the engine for it."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        wanted, given_up = sent.blocks + 2, time.monotonic() + 2
        while 0 < sent.blocks < wanted:
            if time.monotonic() > given_up:
                stuck.append(traceback.format_stack())
                sent.blocks = -1
            time.sleep(0.0001)


@application.route
def stream(environ, start_response):
    start_response("200 OK", [])

    def content():
        while sent.blocks >= 0:
            sent.blocks += 1
            yield b"x" * 20_000

    return content()


@application.route
def garbage(environ, start_response):
    gc.set_threshold(5)
    Waits()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@application.route
def end(environ, start_response):
    sent.blocks = -1
    gc.set_threshold(700)
    start_response("200 OK", [])
    return ["".join(itertools.chain(*stuck)).encode()]


@application.route
def collects(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [f"{gc.isenabled()!s:5}".encode()]


@application.route
def switch_off(environ, start_response):
    gc.disable()
    return collects(environ, start_response)


@application.route
def switch_on(environ, start_response):
    gc.enable()
    return collects(environ, start_response)


def test_a_finalizer_that_waits_for_another_thread_holds_up_nobody(serving, certificate, authority):
    server = serving(*certificate, "-k", "threaded", "--threads", "4")
    context = authority.client()
    with Client(server.address, tls=context) as client, Client(server.address, tls=context) as streaming:
        streaming.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        reader = threading.Thread(target=streaming.receive_response)
        reader.start()
        for _ in range(100):
            client.request("GET", "/garbage")
        assert client.request("GET", "/end").content == b""
        reader.join()


@pytest.mark.parametrize("worker", ["sync", "threaded", "gevent"])
def test_the_collector_is_as_the_application_left_it(serving, certificate, authority, worker):
    server = serving(*certificate, "-k", worker)
    with Client(server.address, tls=authority.client()) as client:
        paths = ["/collects", "/switch_off", "/collects", "/switch_on", "/collects"]
        assert [client.request("GET", path).content.strip() for path in paths] == [
            b"True", b"False", b"False", b"True", b"True",
        ]  # fmt: skip
