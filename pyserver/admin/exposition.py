"""The metrics of one moment in the text that Prometheus reads; needs prometheus_client, which is imported here only.

Nothing is collected by that library: it has no registry of its own, no files and no part in any worker.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from pyserver._scoreboard import Cell
from pyserver._version import __version__
from pyserver.admin.views import resident_bytes
from pyserver.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric as Family

    from pyserver.admin.views import View
    from pyserver.metrics import Metric

    Samples = Iterable[tuple[tuple[str, ...], float]]

_NS = 1e-9
# Of the powers of two that are counted, in microseconds: from 64 µs to about a minute.
_SHOWN = range(6, 27)
_STATES = ("booting", "idle", "busy", "retiring")


def exposed(view: View, accepted: str) -> tuple[bytes, str]:
    """The metrics, and the media type of what they are written in: OpenMetrics for who accepts it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(view))
    encode, kind = choose_encoder(accepted)
    return encode(registry), kind


class _Collector:
    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterator[Family]:
        known = samples(self._view)
        for metric in METRICS:
            if metric.kind == "histogram":
                yield _histogram(metric, self._view)
            elif metric.cells:
                yield _family(metric, _summed(metric, self._view))
            else:
                yield _family(metric, known[metric.name])


def samples(view: View) -> dict[str, Samples]:
    """Those that are no sum of words of the scoreboard, by the name of the metric: labels and value of each."""
    states = [worker.state for worker in view.workers]
    resident = [((str(w.number), str(w.pid)), resident_bytes(w.pid) if w.pid else None) for w in view.workers]
    return {
        "pyserver_build_info": [((__version__, platform.python_version()), 1)],
        "pyserver_uptime_seconds": [((), view.uptime_seconds)],
        "pyserver_ready": [((), view.is_ready)],
        "pyserver_draining": [((), view.is_draining)],
        "pyserver_generation": [((), view.generation)],
        "pyserver_reloads_total": [(("applied",), view.reloads), (("failed",), view.reloads_failed)],
        "pyserver_workers": [((state,), states.count(state)) for state in _STATES],
        "pyserver_workers_wanted": [((), view.wanted)],
        "pyserver_workers_started_total": [((), view.spawned)],
        "pyserver_workers_replaced_total": [((why,), count) for why, count in view.replaced.items()],
        "pyserver_worker_deaths_total": [((why,), count) for why, count in view.deaths.items()],
        "pyserver_worker_resident_bytes": [(labels, size) for labels, size in resident if size is not None],
        "pyserver_requests_in_progress": [((), sum(worker.busy for worker in view.workers))],
        "pyserver_requests_abandoned_total": [((), view.abandoned)],
        "pyserver_queue_longest_seconds": [((), max((w.queue_longest_ns for w in view.workers), default=0) * _NS)],
        "pyserver_connections": [((), sum(worker.connections for worker in view.workers))],
    }


def _summed(metric: Metric, view: View) -> Samples:
    return [((label,) if label else (), view.totals[cell] * metric.scale) for label, cell in metric.cells]


def _family(metric: Metric, values: Samples) -> Family:
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, view: View) -> Family:
    counts = view.latencies
    buckets = [(repr(2**digits / 1e6), counts[digits]) for digits in _SHOWN]
    family = HistogramMetricFamily(metric.name, metric.help)
    family.add_metric((), [*buckets, ("+Inf", counts[-1])], view.totals[Cell.DURATION_NS] * metric.scale)
    return family
