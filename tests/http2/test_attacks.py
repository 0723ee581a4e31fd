"""Whether a server outlives attacks, and those beside them are served: RFC 9113 §10.5."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from http2.abuse import measure
from http2.attacks import ATTACKS, Ground
from http2.served import serve
from support import Server, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
]
# Each of eight hundred streams may keep a response_buffer; see docs/settings.md.
GROWTH_LIMIT = 150_000_000


@pytest.fixture(scope="module", params=["threaded", "asgi"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = serve(request.param, tmp_path_factory.mktemp("served"))
    try:
        eventually(served.workers)
        yield served
    finally:
        served.stop(within=60)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_harms_nobody_else(server: Server, attack: str) -> None:
    workers, logged = server.workers(), len(server.log())
    assert isinstance(server.address, tuple)
    report = measure(attack, Ground(server.address, seconds=3.0), server.pid)
    print(report)
    assert report.failures == []
    assert report.latencies
    assert report.peak - report.before < GROWTH_LIMIT, str(report)
    assert server.workers() == workers, server.log()[logged:][-5000:]
    said = server.log()[logged:]
    assert set(re.findall(r"^(?:\S*Error|\S*Exception): (?!.*as it was told to).*", said, re.MULTILINE)) == set()
