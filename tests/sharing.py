"""Servers that the tests of a module share, and an application whose handlers stand beside the tests.

A test module that defines `application = Routes()` is both: pytest collects its tests, and the server that the
fixtures start imports it for its handlers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from classes import POLLERS
from support import Server, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from classes import WorkerClass

    Handler = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

__all__ = ["POLLERS", "Routes", "cpu_ticks", "descriptors", "is_idle", "server", "serving", "share"]

TESTS = Path(__file__).parent


class Routes:
    """A WSGI application: the path names the handler that answers, "/" is empty."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {"/": _empty}

    def route(self, handler: Handler) -> Handler:
        """Have the handler answer the path of its name."""
        self._handlers[f"/{handler.__name__}"] = handler
        return handler

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self._handlers[environ["PATH_INFO"]](environ, start_response)


def _empty(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b""]


def descriptors(pid: int) -> list[str]:
    """What each open descriptor of a process refers to; Linux."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return links


def cpu_ticks(pid: int) -> int:
    """The processor time that a process has used, in ticks of os.sysconf("SC_CLK_TCK"); Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def is_idle(pid: int) -> bool:
    """Whether every thread of a process does nothing now; Linux."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return {stat.read_text("latin-1").rpartition(")")[2].split()[0] for stat in threads} == {"S"}


class _Shared:
    """A server, and what its only worker was like before the first test."""

    def __init__(self, server: Server) -> None:
        self.server = server
        server.wait_until_listening()
        # The first request waits until the worker has booted, which takes a busy machine a while.
        with server.client(timeout=30) as client:
            client.request("GET", "/", [("Connection", "close")])
            assert client.is_closed_by_server()
        self._workers = server.workers()
        self._open = self._open_descriptors()

    def _open_descriptors(self) -> int:
        return sum(len(descriptors(pid)) for pid in self._workers) if sys.platform == "linux" else 0

    def check_and_stop(self) -> None:
        """Fail when a worker has died, has left a descriptor open, or does not stop."""
        try:
            assert self.server.workers() == self._workers, f"a worker has died:\n{self.server.log()}"
            eventually(lambda: self._open_descriptors() <= self._open)
        finally:
            assert self.server.stop() == os.EX_OK


@pytest.fixture(scope="module")
def share(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_class: WorkerClass
) -> Iterator[Callable[..., Server]]:
    """Serve the `application` of the test module: `share(*arguments)` gives the same server for the same arguments.

    When the tests with this worker class are over, a server whose worker died or leaks descriptors fails.
    """
    directory = tmp_path_factory.mktemp("served")
    shared: dict[tuple[str, ...], _Shared] = {}

    def served(*arguments: str) -> Server:
        if arguments not in shared:
            path = ("--pythonpath", f"{TESTS},{request.path.parent}")
            server = Server(
                f"{request.path.stem}:application", *path, *worker_class.arguments, *arguments, directory=directory
            )
            try:
                shared[arguments] = _Shared(server)
            except BaseException:
                print(server.log())
                server.stop()
                raise
        return shared[arguments].server

    yield served
    failures = []
    for one in shared.values():
        try:
            one.check_and_stop()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def serving(share: Callable[..., Server]) -> Iterator[Callable[..., Server]]:
    """`share`; shows the logs when the test fails."""
    used: list[Server] = []

    def served(*arguments: str) -> Server:
        used.append(share(*arguments))
        return used[-1]

    yield served
    for server in used:
        print(server.log())


@pytest.fixture
def server(serving: Callable[..., Server]) -> Server:
    """A server of this module's application with default settings."""
    return serving()
