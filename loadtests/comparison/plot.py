"""Plots as SVG: lines over the seconds of a run, and bars of costs; readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _LEFT, _RIGHT, _HEIGHT, _GAP, _TOP = 860, 56, 24, 110, 52, 66
_BAR, _LABEL = 16, 190
_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#333}.b{font-weight:600}.c{fill:#fff}.g{stroke:#ddd}"
    ".h{stroke:#888;stroke-dasharray:4 3}.l{fill:none;stroke-width:1.6;stroke-linejoin:round}.e{text-anchor:end}"
    ".m{text-anchor:middle}.w{stroke:#333}@media(prefers-color-scheme:dark){text{fill:#ddd}.c{fill:#1e2129}"
    ".g{stroke:#3a3f4b}.w{stroke:#ddd}}</style>"
)


class Series(NamedTuple):
    """A line: what it is called, its colour, and its points, each a second and a value."""

    label: str
    colour: str
    points: Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """One of several plots over the same seconds; `logarithmic` is for values above zero that spread widely."""

    title: str
    series: Sequence[Series]
    logarithmic: bool = False


class Bar(NamedTuple):
    """A bar with the ends of its spread."""

    label: str
    colour: str
    value: float
    least: float
    most: float


class _Span(NamedTuple):
    """The seconds that are plotted."""

    first: float
    last: float

    def across(self, second: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (second - self.first) / (self.last - self.first)

    def ticks(self) -> range:
        length = self.last - self.first
        step = next((step for step in (1, 5, 10, 30, 60, 300) if length / step <= 12), 600)
        return range(math.ceil(self.first / step) * step, math.floor(self.last) + 1, step)


def lines(title: str, panels: Sequence[Panel], mark: str = "") -> str:
    """Panels below each other, with a legend at the top and a line of the name `mark` through second 0 of all."""
    seconds = [x for panel in panels for one in panel.series for x, _ in one.points]
    span = _Span(min(seconds, default=0.0), max(seconds, default=0.0))
    if span.first == span.last:
        span = _Span(span.first, span.last + 1)
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = _begin(title, height)
    at = float(_LEFT)
    for one in panels[0].series if panels else ():
        parts.append(f'<rect x="{at:.0f}" y="34" width="18" height="4" fill="{one.colour}"/>')
        parts.append(f'<text x="{at + 24:.0f}" y="41">{escape(one.label)}</text>')
        at += 44 + 7 * len(one.label)
    for number, panel in enumerate(panels):
        parts += _panel(panel, _TOP + number * (_HEIGHT + _GAP) + 16, span)
    if mark:
        x = span.across(0)
        parts.append(f'<path class="h" d="M{x:.1f} {_TOP + 16}V{height - _GAP + 16}"/>')
        parts.append(f'<text class="m" x="{x:.1f}" y="{_TOP + 10}">{escape(mark)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def bars(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Groups of bars, each group on a scale of its own."""
    height = 40 + sum(34 + len(rows) * (_BAR + 6) for _, rows in groups)
    parts = _begin(title, height)
    y = 40
    room = _WIDTH - _LABEL - 90
    for name, rows in groups:
        parts.append(f'<text class="b" x="{_LEFT - 40}" y="{y + 14}">{escape(name)}</text>')
        y += 24
        scale = room / (max((row.most for row in rows), default=1.0) or 1.0)
        for row in rows:
            middle = y + _BAR / 2
            parts += [
                f'<text class="e" x="{_LABEL - 8}" y="{y + 12}">{escape(row.label)}</text>',
                f'<rect x="{_LABEL}" y="{y}" width="{row.value * scale:.1f}" height="{_BAR}" fill="{row.colour}"/>',
                f'<path class="w" d="M{_LABEL + row.least * scale:.1f} {middle}H{_LABEL + row.most * scale:.1f}"/>',
                f'<text x="{_LABEL + row.most * scale + 8:.1f}" y="{y + 12}">{row.value:.3g} {escape(unit)}</text>',
            ]
            y += _BAR + 6
        y += 10
    return "\n".join([*parts, "</svg>\n"])


def _begin(title: str, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>{_STYLE}",
        f'<rect class="c" width="{_WIDTH}" height="{height}" rx="6"/>',
        f'<text class="b" x="{_LEFT - 40}" y="22">{escape(title)}</text>',
    ]


def _panel(panel: Panel, top: int, span: _Span) -> list[str]:
    values = [y for one in panel.series for _, y in one.points if y > 0 or not panel.logarithmic]
    ticks = (_powers if panel.logarithmic else _steps)(values)
    bottom, peak = ticks[0], ticks[-1]

    def up(value: float) -> float:
        if panel.logarithmic:
            value = max(value, bottom)
            return top + _HEIGHT * (1 - math.log(value / bottom) / math.log(peak / bottom))
        return top + _HEIGHT * (1 - (value - bottom) / (peak - bottom))

    parts = [f'<text class="b" x="{_LEFT - 40}" y="{top - 12}">{escape(panel.title)}</text>']
    for tick in ticks:
        parts.append(f'<path class="g" d="M{_LEFT} {up(tick):.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="e" x="{_LEFT - 6}" y="{up(tick) + 4:.1f}">{tick:g}</text>')
    for second in span.ticks():
        parts.append(f'<text class="m" x="{span.across(second):.1f}" y="{top + _HEIGHT + 18}">{second} s</text>')
    for one in panel.series:
        path = " ".join(f"{span.across(x):.1f},{up(y):.1f}" for x, y in one.points)
        parts.append(f'<polyline class="l" stroke="{one.colour}" points="{path}"/>')
    return parts


def _steps(values: Sequence[float]) -> list[float]:
    """From zero to above the largest value, in three to five steps of 1, 2 or 5 times a power of ten."""
    largest = max(values, default=1.0) or 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    step = next(size for size in (power / 5, power / 2, power, 2 * power, 5 * power) if largest / size <= 5)
    return [number * step for number in range(math.ceil(largest / step) + 1)]


def _powers(values: Sequence[float]) -> list[float]:
    """The powers of ten around all values."""
    low = math.floor(math.log10(min(values, default=1.0)))
    high = math.ceil(math.log10(max(values, default=1.0)))
    return [10.0**number for number in range(low, max(high, low + 1) + 1)]
