"""Fixtures of the tests in this directory, which are about the asgi class."""

from __future__ import annotations

import itertools
import sys

import pytest
from calls import ASGI
from classes import WorkerClass
from sharing import server, serving, share

__all__ = ["server", "serving", "share"]

_NUMBERS = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Elsewhere the class is refused."""
    for item in items:
        if item.path.parent.name == "asgi" and sys.platform != "linux":
            item.add_marker(pytest.mark.skip(reason="the asgi class waits with epoll"))


@pytest.fixture(scope="module")
def worker_class() -> WorkerClass:
    """The loop is the one that a plain server takes; a module says otherwise with `each_loop`."""
    return ASGI


@pytest.fixture
def key() -> str:
    """A query that no other request has; see `calls.note`."""
    return f"test{next(_NUMBERS):04}"
