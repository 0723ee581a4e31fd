"""The metrics: one row each, with its name, type, labels and help, and where on the scoreboard it comes from.

Names and units are those that Prometheus asks for: seconds, bytes, and `_total` for what only grows.
"""

from __future__ import annotations

from typing import NamedTuple

from pyserver._scoreboard import Cell

_NS = 1e-9


class Metric(NamedTuple):
    """One family.

    Attributes:
        name: as it is exposed; a counter's ends in _total.
        kind: "counter", "gauge" or "histogram".
        help: one sentence.
        labels: their names.
        cells: the words of workers that are added up, by the value of the label; "" where there is none.
        scale: what a word is multiplied by.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    cells: tuple[tuple[str, Cell], ...] = ()
    scale: float = 1


_MOVED = (
    ("leaving", Cell.GIVEN_LEAVING), ("busy", Cell.GIVEN_BUSY), ("uneven", Cell.GIVEN_UNEVEN),
    ("always", Cell.GIVEN_ALWAYS),
)  # fmt: skip

METRICS = (
    Metric("pyserver_build_info", "gauge", "Always 1; the labels say which server and which Python.",
           ("version", "python")),
    Metric("pyserver_uptime_seconds", "gauge", "How long the arbiter has run."),
    Metric("pyserver_ready", "gauge", "1 while at least one worker serves and the server is not to stop, else 0."),
    Metric("pyserver_draining", "gauge", "1 once the server was told to stop, else 0."),
    Metric("pyserver_generation", "gauge", "The load of the settings that new workers are of; each reload is another."),
    Metric("pyserver_reloads_total", "counter",
           "Reloads: applied ones have a worker that serves, failed ones changed nothing.", ("outcome",)),
    Metric("pyserver_workers", "gauge",
           "Workers by what they do: booting, idle, busy (a request runs, or several) or retiring.", ("state",)),
    Metric("pyserver_workers_wanted", "gauge", "How many workers there should be."),
    Metric("pyserver_workers_started_total", "counter", "Workers that were started."),
    Metric("pyserver_workers_replaced_total", "counter",
           "Workers that are well and were to be replaced: after so many requests, for their age or their memory, or "
           "for a newer image.", ("reason",)),
    Metric("pyserver_worker_deaths_total", "counter",
           "Workers that have ended: as expected, or because they failed to boot, a request took too long (timeout), "
           "they did not answer (silent) or did not leave in time (graceful_timeout, quit), said what no worker says "
           "(incoherent), memory was out, of another signal, or because the application ended the process (exit).",
           ("reason",)),
    Metric("pyserver_worker_resident_bytes", "gauge", "Memory of a worker, what it shares with others included.",
           ("worker", "pid")),
    Metric("pyserver_requests_in_progress", "gauge", "Requests that the application has now."),
    Metric("pyserver_requests_total", "counter", "Requests that the application has answered.", (),
           (("", Cell.REQUESTS),)),
    Metric("pyserver_requests_failed_total", "counter",
           "Of these, requests in which the application raised or broke its protocol.", (), (("", Cell.ERRORS),)),
    Metric("pyserver_requests_refused_total", "counter", "Requests that the server has refused with 4xx or 5xx itself.",
           (), (("", Cell.REFUSED),)),
    Metric("pyserver_requests_abandoned_total", "counter", "Requests that were cut off because their worker ended."),
    Metric("pyserver_request_duration_seconds", "histogram",
           "How long the application took for a request, until it had given all of the response.", (),
           (("", Cell.DURATION_NS),), _NS),
    Metric("pyserver_queue_seconds_total", "counter",
           "How long requests that were there have waited for a worker, all together.", (), (("", Cell.QUEUE_NS),),
           _NS),
    Metric("pyserver_queue_longest_seconds", "gauge",
           "The longest such wait of one request, in the life of the workers that there are."),
    Metric("pyserver_response_content_bytes_total", "counter", "Content that was given to clients, without heads.", (),
           (("", Cell.BYTES_SENT),)),
    Metric("pyserver_connections", "gauge", "Connections that are open now."),
    Metric("pyserver_connections_accepted_total", "counter", "Connections that clients have opened.", (),
           (("", Cell.ACCEPTED),)),
    Metric("pyserver_connections_moved_total", "counter",
           "Connections that were passed on to other workers: by one that left, or was busy, or had more to do than "
           "others, or always.", ("reason",), _MOVED),
    Metric("pyserver_connections_taken_total", "counter", "Connections that workers have taken over from others.", (),
           (("", Cell.TAKEN),)),
)  # fmt: skip
