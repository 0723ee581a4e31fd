"""The worker classes that tests are run with, a row each, and how a test says which of them it is about.

What a module says holds for its tests, what a conftest.py says for those of its directory:

    from classes import each_class as worker_class             # with the poller that it chooses
    from classes import each_class_and_poller as worker_class  # with every poller that it can wait with

The servers that `start`, `serve`, `share` and `serving` give are of that class. Above a test, `@with_each_class`,
`@with_each_poller` and `@only("sync")` say so for this one. Where nothing is said it is the class of a plain server.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import pytest

POLLERS = ("epoll", "poll") if sys.platform == "linux" else ("poll",)


@dataclasses.dataclass(frozen=True)
class WorkerClass:
    """A worker class, as tests ask for it.

    Attributes:
        name: that of the built-in class.
        arguments: what asks for it on the command line.
        at_once: how many requests run at once with these arguments, at least.
        threads: how many of them it takes to keep the process busy, if each blocks its thread.
        pollers: those that it can wait with.
        needs: a module that has to be installed for it.
        poller: which of them it shall wait with; empty when it may choose.
    """

    name: str
    arguments: tuple[str, ...] = ()
    at_once: int = 1
    threads: int = 1
    pollers: tuple[str, ...] = POLLERS
    needs: str = ""
    poller: str = ""

    def waiting_with(self, poller: str) -> WorkerClass:
        """The same with that poller."""
        return dataclasses.replace(self, arguments=(*self.arguments, "--poller", poller), poller=poller)


DEFAULT = WorkerClass("sync")
AT_ONCE = 4
_ROWS = [
    WorkerClass("sync", ("-k", "sync")),
    WorkerClass("threaded", ("-k", "threaded", "--threads", f"{AT_ONCE}"), at_once=AT_ONCE, threads=AT_ONCE),
    WorkerClass("gevent", ("-k", "gevent"), at_once=AT_ONCE, pollers=("epoll",), needs="gevent"),
]
CLASSES = {row.name: row for row in _ROWS}


def _parameter(row: WorkerClass, poller: str = "") -> pytest.ParameterSet:
    is_missing = row.needs and importlib.util.find_spec(row.needs) is None
    return pytest.param(
        row.waiting_with(poller) if poller else row,
        id=f"{row.name}-{poller}" if poller else row.name,
        marks=[pytest.mark.skip(reason=f"{row.needs} is not installed")] if is_missing else [],
    )


_EACH = [_parameter(row) for row in CLASSES.values()]
_EACH_WITH_POLLERS = [_parameter(row, poller) for row in CLASSES.values() for poller in row.pollers]


@pytest.fixture(scope="module", params=_EACH)
def each_class(request: pytest.FixtureRequest) -> WorkerClass:
    """Each worker class in turn, with the poller that it chooses."""
    return request.param


@pytest.fixture(scope="module", params=_EACH_WITH_POLLERS)
def each_class_and_poller(request: pytest.FixtureRequest) -> WorkerClass:
    """Each worker class in turn, with every poller that it can wait with."""
    return request.param


@pytest.fixture(scope="module", params=[_parameter(row) for row in CLASSES.values() if row.at_once > 1])
def each_concurrent_class(request: pytest.FixtureRequest) -> WorkerClass:
    """Each worker class that runs several requests at once, with the poller that it chooses."""
    return request.param


with_each_class = pytest.mark.parametrize("worker_class", _EACH, indirect=True)
with_each_poller = pytest.mark.parametrize("worker_class", _EACH_WITH_POLLERS, indirect=True)


def only(*names: str, each_poller: bool = False) -> pytest.MarkDecorator:
    """Run a test with these classes, and perhaps with every poller that they can wait with."""
    rows = [CLASSES[name] for name in names]
    parameters = [_parameter(row, poller) for row in rows for poller in (row.pollers if each_poller else [""])]
    return pytest.mark.parametrize("worker_class", parameters, indirect=True)
