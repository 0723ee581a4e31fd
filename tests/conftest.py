"""Fixtures that start a server and leave nothing behind.

There is no `__init__.py` below tests/: directories are named after what they test (`http`, `settings`), and a
package of that name on the path would hide the standard library's.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from classes import DEFAULT, WorkerClass
from support import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVERS = pytest.StashKey[list[Server]]()


@pytest.fixture(scope="module")
def worker_class(request: pytest.FixtureRequest) -> WorkerClass:
    """The class of the workers; a module that is about others has a fixture of this name from `classes`."""
    chosen: WorkerClass = getattr(request, "param", DEFAULT)
    return chosen


@pytest.fixture
def start(
    request: pytest.FixtureRequest, tmp_path: Path, worker_class: WorkerClass
) -> Iterator[Callable[..., Server]]:
    """Start a server and return at once: `start(application, *arguments, env={}, bind=...)`.

    This is for a server that shall not come up; `serve` waits for one that does.

    The application is "module:attribute", or the source of a module that defines `application`.
    When the test is over each server is stopped, and one that leaves a process behind fails the test.
    """
    servers = request.node.stash.setdefault(SERVERS, [])

    def started(application: str, *arguments: str, **options: Any) -> Server:
        if "\n" in application:
            name = f"application_{len(servers)}"
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(application), "utf-8")
            application = f"{name}:application"
        servers.append(Server(application, *worker_class.arguments, *arguments, directory=tmp_path, **options))
        return servers[-1]

    yield started
    failures = []
    for server in servers:
        try:
            server.stop()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def serve(start: Callable[..., Server]) -> Callable[..., Server]:
    """Start a server that listens when this returns, with the arguments of `start`."""

    def listening(application: str, *arguments: str, **options: Any) -> Server:
        server = start(application, *arguments, **options)
        server.wait_until_listening()
        return server

    return listening


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the log of each server of a test that failed."""
    report = yield
    if report.failed:
        for server in item.stash.get(SERVERS, []):
            report.sections.append((f"log of server {server.pid}", server.log()))
    return report
