"""What is written down for the admin process, and read by it."""

import os

import pytest

from pyserver._scoreboard import Cell, Scoreboard, Words
from pyserver.admin.views import Site
from pyserver.ledger import DEATHS, REPLACED, SUMMED, Entry, Ledger, Phase, Word
from pyserver.metrics import METRICS
from pyserver.workers.messages import WorkerState


def entry(**known):
    facts = {"pid": 7, "number": 0, "generation": 1, "board": 0, "forked_at_ns": 1, "ready_at_ns": 2, "serves": 1}
    return Entry(**{**facts, "state": WorkerState.READY, **known})


@pytest.fixture
def board():
    return Scoreboard(2)


@pytest.fixture
def ledger():
    return Ledger(2)


@pytest.fixture
def site(ledger, board):
    return Site(ledger, {board.extent[0]: board}, os.getpid())


def test_words_are_the_same_in_a_child():
    words = Words(2)
    pid = os.fork()
    if pid == 0:
        words.write(1, -5)
        os._exit(0)
    os.waitpid(pid, 0)
    assert (words.read(0), words.read(1)) == (0, -5)


@pytest.mark.parametrize("at", [-1, 2])
def test_there_are_no_other_words(at):
    with pytest.raises(IndexError, match=f"no word {at} among 2"):
        Words(2).read(at)


def test_there_is_at_least_one_word():
    with pytest.raises(ValueError, match="at least one word"):
        Words(0)


def test_what_a_worker_had_counted_stays_when_it_has_gone(ledger, board):
    for cell in SUMMED:
        board.write(1, cell, 3)
    ledger.add_gone(board, 1)
    ledger.add_gone(board, 1)
    assert [ledger.gone(cell) for cell in SUMMED] == [3] * len(SUMMED)
    assert board.read(1, Cell.REQUESTS) == 0


def test_totals_are_those_of_workers_that_are_and_have_been(ledger, board, site):
    board.write(0, Cell.REQUESTS, 2)
    ledger.add_gone(board, 0)
    board.write(1, Cell.REQUESTS, 5)
    ledger.show({1: entry(board=board.extent[0])})
    assert site.view().totals[Cell.REQUESTS] == 7


def test_a_slot_that_is_free_again_is_shown_no_more(ledger, board, site):
    ledger.show({0: entry(), 1: entry(pid=8)})
    ledger.add_gone(board, 0)
    assert [worker.pid for worker in site.view().workers] == [8]
    ledger.show({0: entry(pid=9)})
    assert [worker.pid for worker in site.view().workers] == [9]


def test_what_is_written_meanwhile_is_read_again(ledger):
    looks = []

    def look():
        looks.append(ledger.get(Word.WANTED))
        if len(looks) == 1:
            with ledger.edition():
                ledger.set(Word.WANTED, 4)
        return looks[-1]

    assert ledger.read(look) == 4


def test_an_arbiter_that_was_stopped_as_it_wrote_keeps_nobody_waiting(ledger):
    with ledger.edition():
        assert ledger.read(lambda: "as it is") == "as it is"


@pytest.mark.parametrize(
    ("phase", "serves", "ready"),
    [(Phase.SERVING, 1, True), (Phase.SERVING, 0, False), (Phase.DRAINING, 1, False), (Phase.SUCCEEDED, 0, True)],
)
def test_a_server_is_ready_while_a_worker_serves_and_it_goes_on(ledger, site, phase, serves, ready):
    ledger.set(Word.PHASE, phase)
    ledger.show({0: entry(serves=serves)})
    assert (site.is_ready(), site.view().is_ready) == (ready, ready)


def test_an_arbiter_that_turns_no_more_is_found_out(ledger, site):
    ledger.set(Word.TURNED_NS, 0)
    assert site.stale_seconds() > 0


def test_deaths_and_replacements_are_counted_by_their_reason(ledger):
    ledger.count_death("memory")
    ledger.count_replaced("lifetime")
    assert ledger.deaths() == {**dict.fromkeys(DEATHS, 0), "memory": 1}
    assert ledger.replaced() == {**dict.fromkeys(REPLACED, 0), "lifetime": 1}


def test_every_metric_has_a_value_and_every_value_a_metric(site):
    exposition = pytest.importorskip("pyserver.admin.exposition")
    named = {metric.name for metric in METRICS if not metric.cells}
    assert set(exposition.samples(site.view())) == named


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_metrics_are_named_as_prometheus_wants_it(metric):
    assert metric.name.startswith("pyserver_")
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert metric.help.endswith(".")
