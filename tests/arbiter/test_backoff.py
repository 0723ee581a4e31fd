"""How long a crash loop is made to wait."""

from pyserver.arbiter.backoff import Backoff

S = 1_000_000_000
NOW = 1_000 * S


def delays(backoff, number, workers=1, every_ns=0):
    """The delays of deaths that follow each other as soon as a worker may be started again."""
    now_ns, found = NOW, []
    for _ in range(number):
        found.append(backoff.strike(now_ns, workers))
        now_ns = backoff.spawn_not_before_ns + every_ns
    return [delay / S for delay in found]


def test_the_first_death_costs_nothing_and_the_next_ones_ever_more():
    assert delays(Backoff(), 6) == [0, 0.1, 0.2, 0.4, 0.8, 1.6]


def test_the_delay_has_a_limit():
    assert delays(Backoff(), 100)[-1] == 10


def test_all_workers_may_die_at_once():
    assert delays(Backoff(), 6, workers=4) == [0, 0, 0, 0, 0.1, 0.2]


def test_a_death_after_ten_quiet_seconds_is_a_first_one():
    assert delays(Backoff(), 3, every_ns=11 * S) == [0, 0, 0]


def test_what_was_before_can_be_forgotten():
    backoff = Backoff()
    delays(backoff, 5)
    backoff.forget()
    assert backoff.spawn_not_before_ns == 0
    assert delays(backoff, 2) == [0, 0.1]
