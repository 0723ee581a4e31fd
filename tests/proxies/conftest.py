"""Fixtures of the tests in this directory, which hold for every worker class, asgi too."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from calls import ASGI
from classes import CLASSES
from support import Client, Server, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from classes import WorkerClass

HERE = Path(__file__).parent
_ROWS = [
    pytest.param(
        row, id=row.name, marks=[pytest.mark.skipif(not importlib.util.find_spec(row.needs or "os"), reason=row.needs)]
    )
    for row in (*CLASSES.values(), ASGI)
]


@pytest.fixture(scope="module", params=_ROWS)
def worker_class(request: pytest.FixtureRequest) -> WorkerClass:
    """Each class in turn."""
    return request.param


class Behind:
    """A server, and who connects to it from an address of this host."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def visit(self, source: str = "127.0.0.1") -> Client:
        """A new connection."""
        client = self.server.client()
        if isinstance(self.server.address, tuple):
            client.close()
            client.socket = socket.create_connection(self.server.address, timeout=8, source_address=(source, 0))
        return client

    def ask(self, *fields: str, before: bytes = b"", target: str = "/", source: str = "127.0.0.1") -> dict[str, Any]:
        """What the application is told of a request with these field lines, behind `before`."""
        with self.visit(source) as client:
            return self.asked(client, *fields, before=before, target=target)

    def asked(self, client: Client, *fields: str, before: bytes = b"", target: str = "/") -> dict[str, Any]:
        """The same on a connection."""
        client.send(before + request(*fields, target=target))
        response = client.receive_response()
        assert response.status == 200, response
        told: dict[str, Any] = json.loads(response.content)
        return told

    def refuses(self, sent: bytes, source: str = "127.0.0.1") -> int:
        """The status that is answered; the connection is closed, and there is one line in the log."""
        before = self.server.log().count("refused a request from ")
        with self.visit(source) as client:
            client.send(sent)
            status = client.receive_response().status
            assert client.is_closed_by_server()
        eventually(lambda: self.server.log().count("refused a request from ") > before)
        assert self.server.log().count("refused a request from ") == before + 1
        return status


def request(*fields: str, target: str = "/") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: own.example", *fields, "", ""]).encode("latin-1")


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, worker_class: WorkerClass) -> Iterator[Callable[..., Behind]]:
    directory = tmp_path_factory.mktemp("served")
    shared: dict[tuple[str, ...], Behind] = {}

    def served(*arguments: str) -> Behind:
        if arguments not in shared:
            application = "told:asgi" if worker_class is ASGI else "told:wsgi"
            given = ("--pythonpath", str(HERE), "--keep-alive", "60", *worker_class.arguments, *arguments)
            server = Server(application, *given, directory=directory)
            shared[arguments] = Behind(server)
            server.wait_until_listening()
        return shared[arguments]

    yield served
    codes = [(behind.server.stop(), behind.server.log()) for behind in shared.values()]
    assert not [log for code, log in codes if code != 0 or "[ERROR]" in log]


@pytest.fixture
def behind(_shared: Callable[..., Behind]) -> Iterator[Callable[..., Behind]]:
    """A server with these arguments, perhaps that of another test of the module; its log is shown when a test fails."""
    used: list[Behind] = []

    def served(*arguments: str) -> Behind:
        used.append(_shared(*arguments))
        return used[-1]

    yield served
    for one in used:
        print(one.server.log())
