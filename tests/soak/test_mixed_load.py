"""Good, bad, slow and aborted requests, all at once, for minutes: nothing breaks and nothing grows.

SOAK_SECONDS is how long the load lasts with each class of workers and each poller. Limits, buffers and deadlines are
low, so that the load walks every path; what is left of a path that was walked some thousand times shows in the figures
at the end.
"""

from __future__ import annotations

import os
import re
import statistics
import sys

import pytest
from soak.load import Course, Figures, begin_course, run_round
from soak.served import QUARANTINE_MIB, SANITIZER, end_of_log, races, serve_mixed, unexpected
from soak.visits import BRISK, PATIENT

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
]

SECONDS = float(os.environ.get("SOAK_SECONDS") or 600)
ROUNDS = max(4, int(SECONDS // 20))
WARM_UP = ROUNDS // 4  # rounds in which what is remembered between requests fills up

KIB, MIB = 1 << 10, 1 << 20

COURSES = [("sync", "epoll"), ("sync", "poll"), ("threaded", "epoll"), ("threaded", "poll"), ("gevent", "epoll")]


@pytest.fixture(scope="module", params=COURSES, ids="-".join)
def course(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """The course of a server under all of the load; the tests look at what it leaves."""
    worker_class, poller = request.param
    directory = tmp_path_factory.mktemp("soaked")
    server = serve_mixed(directory, worker_class, "--workers=1", f"--poller={poller}")
    try:
        server.wait_until_listening()
        course = begin_course(server)
        for number in range(ROUNDS):
            run_round(server, course, number, SECONDS / ROUNDS)
            print(f"{worker_class}, {poller}, round {number + 1} of {ROUNDS}: {course.told()}", flush=True)
            if course.has_failed:
                break
    finally:
        code = server.stop(within=60)
    course.log = server.log()
    course.exit_code = code
    course.left = [path.name for path in (directory / "uploads").iterdir()]
    print(*(f"  {name}: {count}" for name, count in sorted(course.visits.items())), sep="\n")
    print("  answers by status:", dict(sorted(course.answers.items())))
    return course


def growth(course: Course, figure: str) -> int:
    """By how much a figure has grown after the warm-up; medians, so that no single round decides."""
    values = [getattr(one, figure) for one in rounds_after_warm_up(course)]
    third = max(1, len(values) // 3)
    return int(statistics.median(values[-third:]) - statistics.median(values[:third]))


def rounds_after_warm_up(course: Course) -> list[Figures]:
    if len(course.rounds) < ROUNDS:
        pytest.skip("the load was given up")
    return course.rounds[WARM_UP:]


def test_the_worker_lives(course: Course) -> None:
    assert course.workers == [course.pid], f"the worker has died:\n{end_of_log(course.log)}"
    assert course.exit_code == os.EX_OK, end_of_log(course.log)


def test_no_race_is_reported(course: Course) -> None:
    assert not races(course.log), "\n".join(races(course.log))


def test_every_client_gets_what_it_should(course: Course) -> None:
    assert not course.failures, "\n".join(course.failures)


def test_the_load_has_walked_every_path(course: Course) -> None:
    kinds = {kind.__name__ for kind in (*BRISK, *PATIENT)}
    assert kinds == {kind for kind, count in course.visits.items() if count}
    assert set(course.answers) >= {100, 200, 204, 400, 408, 413, 414, 417, 431, 500, 501, 503, 505}
    assert "took nothing of a response for write_timeout" in course.log


def test_objects_do_not_gather(course: Course) -> None:
    # What is remembered between two requests is a fixed number of texts and names, and one exchange.
    before, after = rounds_after_warm_up(course)[0].tracked, course.rounds[-1].tracked
    grown = {kind: (before.get(kind, 0), count) for kind, count in after.items() if count > before.get(kind, 0) + 10}
    assert not grown
    assert growth(course, "objects") <= 50
    assert growth(course, "blocks") <= 500


def test_memory_does_not_grow(course: Course) -> None:
    # The texts that are remembered are of various lengths, which makes some 10 KiB between two rounds, and a buffer
    # that is kept may double once more. A leak of one byte a request would be more than that within minutes.
    assert growth(course, "heap_bytes") <= 256 * KIB
    # By the page, and with the holes between what is held. The sanitizers keep what was freed, in quarantine, or what
    # they know of the threads that had it.
    assert growth(course, "rss") <= (QUARANTINE_MIB if SANITIZER else 2) * MIB


def test_no_descriptor_stays_open(course: Course) -> None:
    for figures in course.rounds:
        assert kinds_of(figures.descriptors) == kinds_of(course.before.descriptors)


def kinds_of(descriptors: list[str]) -> list[str]:
    """What descriptors refer to, without the numbers that sockets and pipes have."""
    return sorted(re.sub(r"\d+", "N", link) for link in descriptors)


def test_no_temporary_file_is_left(course: Course) -> None:
    assert course.left == []


def test_the_log_has_what_was_provoked_and_nothing_else(course: Course) -> None:
    assert not unexpected(course.log), "\n".join(map(str, unexpected(course.log)[:50]))
