"""Whether the fuzzer of what proxies say finds what is there to be found."""

from __future__ import annotations

import random
from collections import Counter

import fuzz_proxies

FUZZER = fuzz_proxies.FUZZER


def test_a_thousand_inputs_have_nothing_to_be_found():
    seen: Counter[str] = Counter()
    assert [finding for seed in range(1000) if (finding := FUZZER.look(seed, seen))] == []
    assert {"headers read", "headers refused or none", "clients found", "nobody found"} == set(seen)


def test_a_header_that_is_read_otherwise_is_found(monkeypatch):
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    for said in (None, (-1, "", None, None), (len(header), "TCP4", ("192.0.2.2", 1), None)):
        monkeypatch.setattr(fuzz_proxies, "read_header", lambda _text, _versions, said=said: said)
        assert fuzz_proxies.look_at_header(header, random.Random(), Counter()) is not None


def test_somebody_that_a_client_has_named_is_found(monkeypatch):
    made = fuzz_proxies.Way("X-Forwarded-For", "203.0.113.9", "192.0.2.1", True)

    class Credulous:
        def __init__(self, **_):
            pass

        def understood(self, _head):
            return {"client": ("203.0.113.9", 0), "host": None}

    assert fuzz_proxies.look_at_way(made, random.Random(), Counter()) is None
    monkeypatch.setattr(fuzz_proxies, "Proxies", Credulous)
    assert fuzz_proxies.look_at_way(made, random.Random(), Counter()) is not None
