#!/usr/bin/env python3
"""Compare pyserver with gunicorn and uvicorn on this machine, and write docs/load.md with its plots anew.

    loadtests/compare.py load      the demo shops under the journeys of many users, with a HUP in the middle
    loadtests/compare.py cost      processor time for each answer
    loadtests/compare.py report    the page and the plots again, from what was recorded
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from comparison import cost, load, report
from comparison.client import AnswerError
from comparison.processes import StartError, require_proc
from comparison.recording import RecordingError
from comparison.servers import DEMOS, SERVERS, missing

ROOT = Path(__file__).resolve().parents[1]
LOCUST = {"locust", "websocket"}
MISTAKES = (StartError, AnswerError, load.DriveError, RecordingError, report.PageError, OSError)


def main(arguments: list[str] | None = None) -> None:
    options = read_arguments(arguments)
    # Told to end, it ends what it has started first.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        options.run(options)
        for path in report.write(options.results, options.page):
            print(f"wrote {path}")
    except MISTAKES as error:
        sys.exit(f"loadtests/compare.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="load | cost | report")
    under_load, costs, again = (commands.add_parser(name) for name in ("load", "cost", "report"))
    for command, function in ((under_load, run_load), (costs, run_cost), (again, run_report)):
        command.set_defaults(run=function)
        command.add_argument("--results", type=Path, default=ROOT / "build/loadtest", help="what was recorded")
        command.add_argument("--page", type=Path, default=ROOT / "docs/load.md", help="what is written")
    for command in (under_load, costs):
        command.add_argument("--server", action="append", choices=SERVERS, help="only this one; may be repeated")
    under_load.add_argument("--demo", action="append", choices=DEMOS, help="only this one; may be repeated")
    under_load.add_argument("--seconds", type=at_least(10), default=60, help="of each run (%(default)s)")
    under_load.add_argument("--rate", type=at_least(1), default=100, help="requests a second (%(default)s)")
    under_load.add_argument("--workers", type=at_least(1), default=2, help="of each server (%(default)s)")
    costs.add_argument("--rounds", type=at_least(1), default=5, help="of each server and request (%(default)s)")
    costs.add_argument("--seconds", type=float, default=1.0, help="of a round (%(default)g)")
    costs.add_argument("--connections", type=at_least(1), default=16, help="(%(default)s)")
    costs.add_argument("--workers", type=at_least(1), default=1, help="of each server (%(default)s)")
    return parser.parse_args(arguments)


def at_least(least: int):
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return number


def run_load(options: argparse.Namespace) -> None:
    servers, demos = options.server or SERVERS, options.demo or DEMOS
    pairs = [(demo, name) for demo in demos for name in servers if SERVERS[name].interface == DEMOS[demo].interface]
    require({name for demo, _ in pairs for name in DEMOS[demo].needs} | LOCUST, {name for _, name in pairs})
    options.results.mkdir(parents=True, exist_ok=True)
    course = load.Course(options.seconds, options.rate, options.workers)
    for demo, server in pairs:
        print(f"{demo} on {server}, {course.seconds} s", flush=True)
        made = load.run(demo, server, course, options.results)
        kinds = len(made.names())
        print(f"    {made.requests()} requests of {kinds} kinds, {sum(made.failures().values())} failed", flush=True)


def run_cost(options: argparse.Namespace) -> None:
    servers = options.server or list(SERVERS)
    interfaces = {SERVERS[name].interface for name in servers}
    applications = {"wsgi": DEMOS["flask"], "asgi": DEMOS["fastapi"]}
    require({name for interface in interfaces for name in applications[interface].needs}, set(servers))
    options.results.mkdir(parents=True, exist_ok=True)
    plan = cost.Plan(options.rounds, options.seconds, options.connections, options.workers)
    samples = cost.measure(plan, servers, options.results, lambda line: print(line, flush=True))
    if wrong := sum(sample.failures for sample in samples):
        print(f"{wrong} answers were wrong: what they cost is in the figures of the others", flush=True)


def run_report(options: argparse.Namespace) -> None:
    if not options.results.is_dir():
        sys.exit(f"loadtests/compare.py: there is no {options.results}: run `make loadtest` first")


def require(modules: set[str], servers: set[str]) -> None:
    require_proc()
    needed = modules | {name for server in servers for name in SERVERS[server].needs}
    if lacking := missing(needed):
        sys.exit(
            f"loadtests/compare.py: not installed: {', '.join(lacking)}; `make loadtest` installs all of them, "
            "and so does pip install -e '.[load]'"
        )


if __name__ == "__main__":
    main()
