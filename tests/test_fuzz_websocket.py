"""Whether the fuzzer of WebSockets finds what is there to be found; how fuzzers report is tested with that of HTTP."""

from __future__ import annotations

import random
from collections import Counter

import fuzz_websocket
import pytest
from conformance.frames import frame

from pyserver._websocket import Event

FUZZER = fuzz_websocket.FUZZER


def test_a_hundred_inputs_have_nothing_to_be_found():
    seen: Counter[str] = Counter()
    assert [finding for seed in range(100) if (finding := FUZZER.look(seed, seen))] == []


def test_messages_and_refusals_of_each_code_are_seen():
    seen: Counter[str] = Counter()
    for seed in range(300):
        FUZZER.look(seed, seen)
    assert {"TEXT", "BINARY", "PING", "PONG", "CLOSE", "FAIL 1002", "FAIL 1007", "FAIL 1009", "sent"} <= set(seen)


@pytest.mark.parametrize(
    "judged",
    [
        [],
        [(Event.TEXT, "b")],
        [(Event.BINARY, b"a")],
        [(Event.TEXT, "a"), (Event.TEXT, "a")],
        [(Event.TEXT, "a"), (Event.FAIL, 1002, "why")],
        [(Event.FAIL, 1007, "a text message is not UTF-8")],
    ],
)
def test_what_wsproto_judges_otherwise_is_found(monkeypatch, judged):
    monkeypatch.setattr(fuzz_websocket, "judge", lambda parts, **options: judged)
    finding = fuzz_websocket.look_at_connection((frame(1, b"a"), False), random.Random(1), Counter())
    assert finding is not None
    assert "wsproto: " in finding.complaint


def test_what_is_judged_otherwise_in_parts_is_found(monkeypatch):
    monkeypatch.setattr(fuzz_websocket, "judge", lambda parts, **options: [(Event.BINARY, part) for part in parts])
    finding = fuzz_websocket.look_at_connection((frame(1, b"a"), False), random.Random(1), Counter())
    assert finding is not None
    assert "in these parts" in finding.complaint


def test_what_a_client_reads_otherwise_is_found(monkeypatch):
    class Faulty(fuzz_websocket.WebSocket):
        def text(self, text):
            return super().text(text + "b")

    monkeypatch.setattr(fuzz_websocket, "WebSocket", Faulty)
    finding = fuzz_websocket.look_at_messages((["a"], b""), random.Random(1), Counter())
    assert finding is not None
    assert "a client reads" in finding.complaint
