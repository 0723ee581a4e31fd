"""The page of the documentation, with its plots: what stands between its marks is written from what was recorded."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import cost, plot, recording
from .servers import DEMOS, SERVERS

_MARK = "<!-- {}: written by loadtests/compare.py -->"
_END = "<!-- end -->"


class PageError(Exception):
    """The page has no place for a result."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the values, which are in order, that `share` of them do not exceed; NaN without values."""
    if not ordered:
        return float("nan")
    # The product of two floats may be a little above what it stands for: 0.95 of 20 is 19.
    return ordered[max(0, math.ceil(len(ordered) * share - 1e-9) - 1)]


def write(results: Path, page: Path) -> list[Path]:
    """Write plots beside the page, and tables into it, of all results that are there; the files that were written.

    Raises:
        RecordingError: a file of the results holds something else.
        PageError: the page lacks the mark of a result.
    """
    text = page.read_text("utf-8")
    plots = page.with_suffix("")
    plots.mkdir(exist_ok=True)
    written = []
    for demo in DEMOS:
        runs = _runs(results, demo)
        if runs:
            text = fill(text, demo, load_section(runs, f"{plots.name}/{demo}.svg"))
            (plots / f"{demo}.svg").write_text(load_plot(demo, runs), "utf-8")
            written.append(plots / f"{demo}.svg")
    if (results / "cost.json").exists():
        plan, facts, samples = cost.read(results / "cost.json")
        costs = cost.summarise(samples)
        text = fill(text, "cost", cost_section(plan, facts, costs, f"{plots.name}/cost.svg"))
        (plots / "cost.svg").write_text(cost_plot(costs), "utf-8")
        written.append(plots / "cost.svg")
    page.write_text(text, "utf-8")
    return [page, *written]


def fill(page: str, name: str, section: str) -> str:
    """The page with the section between the marks of that name.

    Raises:
        PageError: there are no such marks.
    """
    mark = _MARK.format(name)
    pattern = re.compile(re.escape(mark) + ".*?" + re.escape(_END), re.DOTALL)
    if not pattern.search(page):
        raise PageError(f"the page has no lines {mark!r} and {_END!r}: put them where the results of {name} belong")
    return pattern.sub(lambda _: f"{mark}\n\n{section.strip()}\n\n{_END}", page, count=1)


def _runs(results: Path, demo: str) -> list[recording.Recording]:
    """The recordings of a demo, in the order of the table of servers."""
    found = {made.server: made for made in map(recording.read, sorted(results.glob(f"{demo}-*.json")))}
    return [found[server] for server in SERVERS if server in found]


def load_section(runs: Sequence[recording.Recording], picture: str) -> str:
    """The table of a demo's runs, what failed, and on what it was measured."""
    facts = runs[0].facts
    kinds = max(len(made.names()) for made in runs)
    course = f"{facts['workers']} workers, {facts['rate']} requests/s of {kinds} kinds for {facts['seconds']} s."
    rows = [
        "| Server | requests/s | p50 ms | p95 ms | p99 ms | slowest ms | processor ms/request | memory MB | failed |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *map(_row, runs),
    ]
    failed = [
        f"- {made.server}: " + ", ".join(f"{number} of: {kind}" for kind, number in made.failures().most_common())
        for made in runs
        if made.failures()
    ]
    return "\n".join(
        [
            *rows,
            "",
            *(["What failed:", "", *failed, ""] if failed else []),
            f"![Requests, latencies, processor time and memory over time]({picture})",
            "",
            f"{course} {_machine(facts['machine'], max(made.facts['others'] for made in runs))}",
        ]
    )


def _row(made: recording.Recording) -> str:
    quick = made.quick()
    each = made.processor_per_request()
    memory = [second.memory for second in made.seconds if second.memory is not None]
    cells = [
        made.server,
        f"{made.requests() / max(1, len(made.seconds)):.0f}",
        *(f"{percentile(quick, share):.1f}" for share in (0.5, 0.95, 0.99, 1.0)),
        "?" if each is None else f"{each * 1e3:.2f}",
        f"{statistics.median(memory) / 1e6:.0f}" if memory else "?",
        str(sum(made.failures().values())),
    ]
    return f"| {' | '.join(cells)} |"


def load_plot(demo: str, runs: Sequence[recording.Recording]) -> str:
    """The plot of a demo's runs, with the moment of the HUP."""

    def panel(title: str, values: Callable[[recording.Second], float | None], logarithmic: bool = False) -> plot.Panel:
        return plot.Panel(title, [_series(made, values) for made in runs], logarithmic)

    processor = [
        plot.Series(
            made.server,
            SERVERS[made.server].colour,
            [(_after_reload(made, at), rate * 1e3) for at, rate in made.processor_rates()],
        )
        for made in runs
    ]
    panels = [
        panel("requests/s", lambda second: second.requests),
        panel("50th percentile, ms", _of_quick(0.5), logarithmic=True),
        panel("99th percentile, ms", _of_quick(0.99), logarithmic=True),
        plot.Panel("processor time of the server, ms/request", processor),
        panel("memory of the server (PSS), MB", lambda second: second.memory and second.memory / 1e6),
    ]
    return plot.lines(f"The shop in {demo.capitalize()} under load, with a HUP in the middle", panels, "HUP")


def _of_quick(share: float) -> Callable[[recording.Second], float | None]:
    return lambda second: percentile(sorted(second.quick), share) if second.quick else None


def _series(made: recording.Recording, values: Callable[[recording.Second], float | None]) -> plot.Series:
    points = [
        (_after_reload(made, second.at), value)
        for second in made.seconds
        if (value := values(second)) is not None
    ]
    return plot.Series(made.server, SERVERS[made.server].colour, points)


def _after_reload(made: recording.Recording, at: int) -> float:
    """The middle of a second, counted from the HUP, so that the runs lie upon each other."""
    return at + 0.5 - made.reloaded_at


def cost_section(
    plan: cost.Plan, facts: Mapping[str, Any], costs: Mapping[str, Mapping[str, cost.Cost]], picture: str
) -> str:
    """A table for each scenario, and on what it was measured."""
    lines = ["| Request | Server | µs each | of the rounds | ratio |", "|---|---|--:|--:|--:|"]
    for scenario, servers in costs.items():
        for server, one in servers.items():
            spread = f"{one.least:.1f} to {one.most:.1f}"
            lines.append(f"| {scenario} | {server} | {one.median:.1f} | {spread} | {one.ratio:.2f} |")
    how = (
        f"{plan.rounds} rounds of {plan.seconds:g} s, {plan.connections} connections, workers: {plan.workers}. "
        f"{_machine(facts['machine'], facts['others'])}"
    )
    return "\n".join([*lines, "", f"![Processor time for each answer]({picture})", "", how])


def cost_plot(costs: Mapping[str, Mapping[str, cost.Cost]]) -> str:
    groups = [
        (
            scenario,
            [plot.Bar(name, SERVERS[name].colour, one.median, one.least, one.most) for name, one in servers.items()],
        )
        for scenario, servers in costs.items()
    ]
    return plot.bars("Processor time for each answer, the median and the spread of the rounds", "µs", groups)


def _machine(facts: Mapping[str, str], others: float) -> str:
    """The facts in a line, with what the processors did meanwhile that was nobody's here."""
    known = {**facts, "Others": f"{others:.0%} of the processors at most"}
    return " ".join(f"{name}: {value}." for name, value in known.items())
