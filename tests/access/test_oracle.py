"""Whether gunicorn prints the same for each atom, of the same requests to the same application."""

import itertools
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from classes import only
from sharing import Routes
from support import Client, eventually

pytest.importorskip("gunicorn")

application = Routes()
ATOMS = [
    *"hlutrsmUqHBbfaTMDLp",
    *("{X-Thing}i", "{x-thing}i", "{X-None}i", "{X-Made}o", "{content-type}o", "{X-None}o"),
    *("{PATH_INFO}e", "{query_string}e", "{REMOTE_ADDR}e", "{made.by.application}e", "{NONE}e"),
]
FORMAT = "|".join(f"%({atom})s" for atom in ATOMS)
REQUESTS = [
    "GET /hello HTTP/1.1",
    "GET /hello?a=b&c HTTP/1.1",
    "HEAD /hello HTTP/1.1",
    "POST /hello? HTTP/1.0",
    "GET /empty HTTP/1.1",
    "GET /hello?%22+'x HTTP/1.1",
]
FIELDS = [
    [],
    ["User-Agent: an agent/1.0 (it)", "Referer: http://there/?x"],
    ['User-Agent: with "quotes"'],
    ["Authorization: Basic dXNlcjpwYXNz", "X-Forwarded-For: 10.1.2.3"],
    ["Authorization: Basic !", "authorization: bearer x"],
]
# What is another in each process or each time.
VARYING = {
    "p": r"<\d+>", "t": r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]",
    "M": r"\d+", "D": r"\d+", "L": r"\d+\.\d{6}", "T": "0",
}  # fmt: skip


@application.route
def hello(environ, start_response):
    environ["made.by.application"] = ["made", 1]
    start_response("201 Created", [("Content-Type", "text/plain"), ("X-Made", "made"), ("Content-Length", "5")])
    return [b"hello"]


@application.route
def empty(_environ, start_response):
    start_response("204 No Content", [("Content-Type", "text/plain")])
    return []


class Peer:
    """A server with its address and its access log."""

    def __init__(self, address, log):
        self.address = address
        self._log = log

    def line_of(self, request, fields, mark):
        with Client(self.address) as client:
            client.send("\r\n".join([request, "Host: a", *fields, f"X-Thing: {mark}", "", ""]).encode())
            client.receive_head()
        (line,) = eventually(lambda: [line for line in self._log.read_text().splitlines() if f"|{mark}|" in line])
        return dict(zip(ATOMS, line.split("|"), strict=True))


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory):
    directory = tmp_path_factory.mktemp("gunicorn")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [
            *(sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--no-control-socket"),
            *("--access-logfile", "access.log", "--access-logformat", FORMAT, f"{Path(__file__).stem}:application"),
        ]
        with (directory / "error.log").open("wb") as log:
            paths = f"{Path(__file__).parent}:{Path(__file__).parents[1]}"
            process = subprocess.Popen(
                command, cwd=directory, pass_fds=[listener.fileno()], stderr=log, env={"PYTHONPATH": paths}
            )
        address = listener.getsockname()
    try:
        eventually(lambda: "Booting worker" in (directory / "error.log").read_text())
        yield Peer(address, directory / "access.log")
    finally:
        process.terminate()
        process.wait(15)


@only("sync")
def test_each_atom_is_as_gunicorn_prints_it(gunicorn, logging):
    server, log = logging(FORMAT)
    ours = Peer(server.address, log.path)
    for number, (request, fields) in enumerate(itertools.product(REQUESTS, FIELDS)):
        mark = f"mark{number}"
        expected, found = (peer.line_of(request, fields, mark) for peer in (gunicorn, ours))
        for atom, pattern in VARYING.items():
            assert re.fullmatch(pattern, expected.pop(atom)), atom
            assert re.fullmatch(pattern, found.pop(atom)), atom
        assert found == expected
