"""Whether the server does what RFC 9113 asks of it: every case, with every class of workers."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from typing import TYPE_CHECKING

import pytest
from http2.cases import CASES, TABLES
from http2.conformance import Target, judge
from http2.peer import tls_context
from http2.served import issue, serve
from support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from http2.case import Case

_WITHOUT_GEVENT = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
# What the application is told to do, and what is said of it.
_EXPECTED_ERRORS = re.compile(
    r"RuntimeError: .*as it was told to|pyserver\.errors\.LocalProtocolError: the response field "
)


@pytest.fixture(
    scope="module",
    params=[
        "sync", "threaded", pytest.param("gevent", marks=_WITHOUT_GEVENT), "asgi",
        "threaded-tls", "asgi-tls",
    ],
)  # fmt: skip
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server of each kind; when all is over its only worker has to live, and to have logged no error of its own."""
    worker_class, _, tls = request.param.partition("-")
    directory: Path = tmp_path_factory.mktemp("served")
    server = serve(worker_class, directory, *(issue(directory) if tls else ()))
    try:
        workers = eventually(server.workers)
        offers = frozenset({"", "app", "asgi"} if worker_class == "asgi" else {"", "app"})
        yield Target(server.address, tls_context("h2") if tls else None, strict=True, offers=offers, timeout=15.0)
        assert server.workers() == workers, f"a worker has died:\n{server.log()}"
        errors = re.findall(r"^(?:[a-z_]+\.)*[A-Z][A-Za-z]*(?:Error|Exception|Warning): .*", server.log(), re.MULTILINE)
        assert not [error for error in errors if not _EXPECTED_ERRORS.match(error)], server.log()
    finally:
        server.stop()


def wrong(cases: list[Case], target: Target) -> list[str]:
    """What was wrong, a line each."""
    verdicts = [judge(case, target) for case in cases]
    return [
        f"{verdict.case.name} ({verdict.case.source}): {verdict.outcome}, {verdict.complaint}"
        for verdict in verdicts
        if verdict.complaint
    ]


@pytest.mark.parametrize("table", TABLES)
def test_every_rule_is_kept(target: Target, table: str) -> None:
    assert wrong(TABLES[table], target) == []


@pytest.mark.parametrize("target", ["threaded"], indirect=True)
def test_it_is_all_the_same_when_bytes_come_one_by_one(target: Target) -> None:
    short = [case for case in CASES.values() if isinstance(case.send, bytes) and len(case.send) < 2000]
    assert wrong(short, dataclasses.replace(target, pieces=1)) == []
