"""What is computed of rounds in which servers take turns, and the client that counts their answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from comparison import cost
from comparison.client import AnswerError, ClosedLoop, Known, learn
from comparison.machine import Neighbours
from comparison.processes import StartError, free_port, running, use_of
from comparison.recording import RecordingError
from comparison.servers import SERVERS
from support import Server, eventually, living

LOADTESTS = Path(__file__).parents[2] / "loadtests"
GET = b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n"
CHUNKED = """
def application(environ, start_response):
    start_response("200 OK", [])
    yield b"first"
    yield b"second"
"""
LEAVES_A_CHILD = """
import http.server, subprocess, sys
subprocess.Popen(["sleep", "60"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
GROWING = """
answered = 0

def application(environ, start_response):
    global answered
    answered += 1
    start_response("200 OK", [])
    return [b"short" if answered == 1 else b"longer"]
"""

linux = pytest.mark.skipif("not __import__('os').path.exists('/proc/self/stat')", reason="no /proc here")


def sample(server, turn, microseconds, answers=1000, scenario="hello"):
    return cost.Sample(scenario, server, turn, answers, microseconds * answers / 1e6, 0)


def test_the_cost_is_the_median_and_the_spread_of_the_rounds():
    samples = [sample("pyserver sync", turn, each) for turn, each in enumerate((20, 10, 90))]
    assert cost.summarise(samples)["hello"]["pyserver sync"] == pytest.approx((20, 10, 90, 1))


def test_a_ratio_is_of_costs_in_the_same_round():
    samples = [
        *(sample("pyserver sync", turn, each) for turn, each in enumerate((10, 20, 40))),
        *(sample("gunicorn sync", turn, each) for turn, each in enumerate((50, 100, 200))),
    ]
    assert cost.summarise(samples)["hello"]["gunicorn sync"].ratio == pytest.approx(5)


def test_each_interface_has_a_base_of_its_own():
    samples = [sample(name, 0, each) for name, each in (("pyserver sync", 1), ("pyserver asgi", 10), ("uvicorn", 30))]
    assert [one.ratio for one in cost.summarise(samples)["hello"].values()] == pytest.approx([1, 1, 3])


def test_a_round_without_an_answer_does_not_count():
    samples = [sample("pyserver sync", 0, 10), sample("pyserver sync", 1, 0, answers=0)]
    assert cost.summarise(samples)["hello"]["pyserver sync"].median == pytest.approx(10)


def test_a_file_that_is_no_comparison_is_named(tmp_path):
    (tmp_path / "cost.json").write_text(json.dumps({"plan": {"rounds": 1}}))
    with pytest.raises(RecordingError, match=r"cost\.json is not a cost comparison"):
        cost.read(tmp_path / "cost.json")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A server of the application that does next to nothing."""
    directory = tmp_path_factory.mktemp("bare")
    server = Server("demos.bare:wsgi", "--pythonpath", str(LOADTESTS), directory=directory)
    server.wait_until_listening()
    yield server
    print(server.log())
    server.stop()


def test_the_length_of_an_answer_is_learnt(bare):
    with bare.client() as client:
        client.send(GET)
        response = client.receive_head()
    head = len("HTTP/1.1 200 OK\r\n\r\n") + sum(len(f"{name}: {value}\r\n") for name, value in response.fields)
    assert learn(bare.address[1], GET) == Known(head + len(b"Hello, world!"), closes=False)


def test_an_answer_that_closes_is_known(bare):
    request = GET.replace(b"Host: test", b"Host: test\r\nConnection: close")
    assert learn(bare.address[1], request).closes


def test_a_chunked_answer_is_read_to_its_end(serve):
    server = serve(CHUNKED)
    with server.client() as client:
        client.send(GET)
        client.receive_head()
        content = sum(len(f"{len(chunk):x}\r\n") + len(chunk) + 2 for chunk in (b"first", b"second")) + len("0\r\n\r\n")
        assert len(client.receive(content)) == content
    known = learn(server.address[1], GET)
    assert not known.closes
    assert known.length > content


def test_an_answer_that_is_not_200_is_refused(bare):
    with pytest.raises(AnswerError, match=r"answered with b'HTTP/1\.1 400 Bad Request'"):
        learn(bare.address[1], b"GET /hello HTTP/1.1\r\n\r\n")


@linux
@pytest.mark.parametrize("fields", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_answers_are_counted(fields, bare):
    loop = ClosedLoop(bare.address[1], GET[:-2] + fields + b"\r\n", connections=3)
    try:
        assert loop.run(0.1) > 0
        assert loop.failures == 0
    finally:
        loop.close()


@linux
def test_answers_of_another_length_are_failures(serve):
    server = serve(GROWING)
    loop = ClosedLoop(server.address[1], GET, connections=1)
    try:
        with pytest.raises(AnswerError, match="more than 1000 answers were wrong"):
            loop.run(30)
    finally:
        loop.close()


@linux
def test_what_a_server_uses_is_that_of_all_its_processes(tmp_path):
    port = free_port()
    command = SERVERS["pyserver sync"].words(2, port, "demos.bare:wsgi")
    with running(command, LOADTESTS, tmp_path / "log", port, "/hello", {}) as pid:
        assert len(living(pid)) == 3
        used = use_of(pid)
        assert used.processor > 0
        assert used.memory > 1_000_000
        loop = ClosedLoop(port, GET, connections=2)
        try:
            loop.run(0.3)
        finally:
            loop.close()
        assert use_of(pid).processor > used.processor
    assert living(pid) == []


@linux
def test_what_others_use_is_neither_ours_nor_more_than_all():
    neighbours = Neighbours()
    subprocess.run([sys.executable, "-c", "for _ in range(10**6): pass"], check=True)
    assert 0 <= neighbours.share() <= 1.1


@linux
def test_nothing_of_a_server_is_left(tmp_path):
    port = free_port()
    command = [sys.executable, "-c", LEAVES_A_CHILD, str(port)]
    with running(command, tmp_path, tmp_path / "log", port, "/", {}) as pid:
        assert len(living(pid)) == 2
    eventually(lambda: living(pid) == [])


@linux
def test_a_server_that_does_not_come_up_says_why(tmp_path):
    port = free_port()
    command = SERVERS["pyserver sync"].words(1, port, "demos.nothing:wsgi")
    started = running(command, LOADTESTS, tmp_path / "log", port, "/hello", {})
    with pytest.raises(StartError, match=r"it does not answer: .*demos\.nothing"), started:
        pass
