"""What one answer costs each server in processor time: rounds in which all take turns, and their medians."""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from . import machine, processes
from .client import ClosedLoop
from .recording import RecordingError
from .servers import SERVERS

_LOADTESTS = Path(__file__).parents[1]
_BROWSER = (
    b"Host: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\n"
    b"Cookie: theme=dark\r\n"
)
_ECHOED = b"x" * 1024


class Scenario(NamedTuple):
    """One request, and the application of each interface that answers it."""

    request: bytes
    applications: dict[str, str]


_BARE = {"wsgi": "demos.bare:wsgi", "asgi": "demos.bare:asgi"}
SCENARIOS = {
    "hello": Scenario(b"GET /hello HTTP/1.1\r\n" + _BROWSER + b"\r\n", _BARE),
    "echo of 1 KiB": Scenario(
        b"POST /echo HTTP/1.1\r\n" + _BROWSER + b"Content-Length: %d\r\n\r\n" % len(_ECHOED) + _ECHOED, _BARE
    ),
    "64 KiB": Scenario(b"GET /64k HTTP/1.1\r\n" + _BROWSER + b"\r\n", _BARE),
    "page of the shop": Scenario(
        b"GET / HTTP/1.1\r\n" + _BROWSER + b"\r\n",
        {"wsgi": "demos.flask_shop:application", "asgi": "demos.fastapi_shop:application"},
    ),
}


class Plan(NamedTuple):
    """How often and how long each server is asked, over how many connections, with how many workers."""

    rounds: int
    seconds: float
    connections: int
    workers: int


class Sample(NamedTuple):
    """What a server has done in one round."""

    scenario: str
    server: str
    round: int
    answers: int
    processor: float
    failures: int

    @property
    def each(self) -> float:
        """Processor time for an answer, microseconds."""
        return self.processor / self.answers * 1e6


class Cost(NamedTuple):
    """What an answer costs, microseconds: the median of the rounds, the least, the most.

    Args:
        ratio: the median of how many times as much as that of the first server of the interface in the same round.
    """

    median: float
    least: float
    most: float
    ratio: float


def measure(plan: Plan, servers: Iterable[str], results: Path, tell: Callable[[str], None]) -> list[Sample]:
    """Run all scenarios on all servers, and keep the samples among the results.

    Raises:
        StartError: a server does not come up.
        AnswerError: one does not answer as it should.
    """
    chosen = list(servers)
    samples: list[Sample] = []
    neighbours = machine.Neighbours()
    for interface in ("wsgi", "asgi"):
        of_interface = [name for name in chosen if SERVERS[name].interface == interface]
        for name, scenario in SCENARIOS.items() if of_interface else ():
            tell(f"{name}: {', '.join(of_interface)}")
            samples += _in_turn(name, scenario, scenario.applications[interface], of_interface, plan)
    known = {"machine": machine.facts(), "others": neighbours.share()}
    content = {"plan": plan._asdict(), **known, "samples": samples}
    (results / "cost.json").write_text(json.dumps(content), "utf-8")
    return samples


def _in_turn(name: str, scenario: Scenario, application: str, servers: list[str], plan: Plan) -> list[Sample]:
    """The rounds of one scenario; the servers stand all the while, and one at a time has something to do."""
    target = scenario.request.split(b" ", 2)[1].decode() if scenario.request.startswith(b"GET") else "/hello"
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        standing = {}
        for server in servers:
            port = processes.free_port()
            command = SERVERS[server].words(plan.workers, port, application)
            # Not taken by what is started next: each answers before the next port is looked for.
            pid = stack.enter_context(
                processes.running(
                    command, _LOADTESTS, scratch / f"{server}.log", port, target, {"SHOP_DATABASE": f"{scratch}/shop"}
                )
            )
            standing[server] = (pid, port)
        samples = []
        for turn in range(plan.rounds):
            # Whoever comes first comes last in the next round.
            for server in servers if turn % 2 == 0 else servers[::-1]:
                samples.append(_round(name, server, turn, *standing[server], scenario.request, plan))
    return samples


def _round(name: str, server: str, turn: int, pid: int, port: int, request: bytes, plan: Plan) -> Sample:
    with contextlib.closing(ClosedLoop(port, request, plan.connections)) as loop:
        loop.run(min(0.3, plan.seconds))
        before = processes.use_of(pid).processor
        answers = loop.run(plan.seconds)
        after = processes.use_of(pid).processor
        return Sample(name, server, turn, answers, after - before, loop.failures)


def read(path: Path) -> tuple[Plan, dict[str, Any], list[Sample]]:
    """What was kept by `measure`: the plan, the facts with those of the machine, the samples.

    Raises:
        RecordingError: the file holds something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        facts = {"machine": content["machine"], "others": float(content["others"])}
        return Plan(**content["plan"]), facts, [Sample(*row) for row in content["samples"]]
    except (ValueError, TypeError, KeyError):
        raise RecordingError(f"{path} is not a cost comparison: remove it, and run the comparison again") from None


def summarise(samples: Iterable[Sample]) -> dict[str, dict[str, Cost]]:
    """The cost of each server in each scenario, in the order of the samples; rounds without an answer do not count."""
    by_scenario: dict[str, dict[str, dict[int, float]]] = {}
    for sample in samples:
        if sample.answers:
            rounds = by_scenario.setdefault(sample.scenario, {}).setdefault(sample.server, {})
            rounds[sample.round] = sample.each
    return {
        scenario: {server: _cost(rounds, _base(server, servers)) for server, rounds in servers.items()}
        for scenario, servers in by_scenario.items()
    }


def _base(server: str, servers: dict[str, dict[int, float]]) -> dict[int, float]:
    interface = SERVERS[server].interface
    return next(rounds for name, rounds in servers.items() if SERVERS[name].interface == interface)


def _cost(rounds: dict[int, float], base: dict[int, float]) -> Cost:
    ratios = [each / base[turn] for turn, each in rounds.items() if base.get(turn)]
    values = list(rounds.values())
    return Cost(statistics.median(values), min(values), max(values), statistics.median(ratios) if ratios else 0.0)
