"""Fixtures of the tests in this directory: connections move from one worker to another."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from calls import ASGI
from classes import CLASSES
from moving.site import HERE, PATIENT, Site
from support import Server, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from classes import WorkerClass


def _is_there(module: str) -> bool:
    return not module or importlib.util.find_spec(module) is not None


_ROWS = [
    pytest.param(row, id=row.name, marks=[pytest.mark.skipif(not _is_there(row.needs), reason=f"needs {row.needs}")])
    for row in (*CLASSES.values(), ASGI)
]


@pytest.fixture(scope="module", params=_ROWS)
def worker_class(request: pytest.FixtureRequest) -> WorkerClass:
    """Each class in turn, asgi too."""
    return request.param


def _arguments(given: tuple[str, ...]) -> tuple[str, ...]:
    workers = () if "-w" in given else ("-w", "2")
    # On a loaded machine it takes some time to receive two megabytes, and connections shall not move meanwhile.
    handoff = () if "--handoff-after" in given else ("--handoff-after", "0.05")
    return ("--pythonpath", str(HERE), "--keep-alive", "60", "--log-level", "debug", *workers, *handoff, *given)


def _begun(server: Server, worker_class: WorkerClass, given: tuple[str, ...]) -> Site:
    """With all its workers, so that there is somebody to take what moves."""
    server.wait_until_listening()
    workers = int(given[given.index("-w") + 1]) if "-w" in given else 2
    eventually(lambda: server.log().count("is ready") >= workers, within=PATIENT)
    return Site(server, worker_class)


def _application(worker_class: WorkerClass) -> str:
    return "applications:asgi" if worker_class is ASGI else "applications:wsgi"


@pytest.fixture
def sites(start: Callable[..., Server], worker_class: WorkerClass) -> Iterator[Callable[..., Site]]:
    """Start a server with these arguments; of two workers, if they do not say otherwise."""
    begun: list[Site] = []

    def started(*given: str) -> Site:
        server = start(_application(worker_class), *_arguments(given))
        begun.append(_begun(server, worker_class, given))
        return begun[-1]

    yield started
    for site in begun:
        site.leave()


@pytest.fixture(scope="module")
def _shared(
    tmp_path_factory: pytest.TempPathFactory, worker_class: WorkerClass
) -> Iterator[Callable[..., Site]]:
    """The same for the tests of a module; an error in the log fails it."""
    directory: Path = tmp_path_factory.mktemp("served")
    shared: dict[tuple[str, ...], Site] = {}

    def served(*given: str) -> Site:
        if given not in shared:
            arguments = (*worker_class.arguments, *_arguments(given))
            server = Server(_application(worker_class), *arguments, directory=directory)
            try:
                shared[given] = _begun(server, worker_class, given)
            except BaseException:
                print(server.log())
                server.stop()
                raise
        return shared[given]

    yield served
    failures = []
    for site in shared.values():
        if site.server.stop() != 0 or "[ERROR]" in site.server.log():
            failures.append(site.server.log())
    assert not failures, "\n".join(failures)


@pytest.fixture
def shared_site(_shared: Callable[..., Site]) -> Iterator[Callable[..., Site]]:
    """As `sites`, but perhaps the server of another test of the module, of which nothing is left there."""
    used: list[Site] = []

    def served(*given: str) -> Site:
        used.append(_shared(*given))
        return used[-1]

    yield served
    for site in used:
        site.leave()
        print(site.server.log())
