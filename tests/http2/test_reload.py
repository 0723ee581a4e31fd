"""Whether anybody notices that workers of an HTTP/2 server are replaced or told to stop: RFC 9113 §6.8."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from http2.reload import reload_once, run, terminated, under_load
from http2.served import CLASSES, issue, serve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_reloading_loses_no_request(tls: bool, tmp_path: Path) -> None:
    server = serve("threaded", tmp_path, *(issue(tmp_path) if tls else ()))
    try:
        tally, times = under_load(server, lambda: reload_once(server), seconds=1.5, clients=3, tls=tls, pause=0.2)
    finally:
        code = server.stop()
    assert (tally.lost, code) == ([], os.EX_OK), server.log()
    assert times
    assert tally.answered


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_stopping_loses_no_request(tls: bool, tmp_path: Path) -> None:
    server = serve("threaded", tmp_path, *(issue(tmp_path) if tls else ()))
    try:
        tally = terminated(server, clients=3, tls=tls, after=0.3)
    finally:
        server.stop()
    assert tally.lost == [], server.log()
    assert tally.answered


@pytest.mark.soak
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("worker_class", CLASSES)
@pytest.mark.parametrize("kind", ["HUP", "USR2", "TERM"])
def test_nobody_loses_a_request_under_load(kind: str, worker_class: str, tls: bool) -> None:
    tally = run(worker_class, kind, seconds=10, clients=6, tls=tls, workers=2)
    assert tally.lost == []
