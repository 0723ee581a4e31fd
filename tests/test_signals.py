"""The signal inbox: what came is seen once, whenever it came."""

import os
import select
import signal

import pytest

from pyserver.signals import SIGNALS, SignalInbox, arbiter_verbs, worker_signal, worker_verbs


@pytest.fixture
def handlers():
    """Those of the test run, put back when the test is over."""
    before = {number: signal.getsignal(number) for number in arbiter_verbs()}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def inbox(handlers):
    opened = SignalInbox(arbiter_verbs())
    yield opened
    opened.close()


def is_readable(inbox):
    return bool(select.select([inbox], [], [], 0)[0])


def test_a_signal_wakes_and_is_taken_with_its_verb(inbox):
    os.kill(os.getpid(), signal.SIGHUP)
    assert is_readable(inbox)
    assert [(noted.number, noted.verb) for noted in inbox.take()] == [(signal.SIGHUP, "reload")]


def test_a_signal_is_taken_once(inbox):
    os.kill(os.getpid(), signal.SIGHUP)
    inbox.take()
    assert inbox.take() == []
    assert not is_readable(inbox)


def test_signals_that_wait_are_merged(inbox):
    for _ in range(5):
        os.kill(os.getpid(), signal.SIGHUP)
    assert [(noted.number, noted.verb) for noted in inbox.take()] == [(signal.SIGHUP, "reload")]


def test_what_ends_the_server_is_taken_before_a_child_and_a_reload(inbox):
    for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert [noted.verb for noted in inbox.take()] == ["quit", "retire", "reap", "reload"]


def test_more_signals_than_the_pipe_holds_lose_none_of_another_kind(inbox):
    for _ in range(70_000):
        os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    assert [noted.verb for noted in inbox.take()] == ["retire", "reload"]


def test_a_closed_inbox_leaves_the_default_actions(handlers):
    SignalInbox(arbiter_verbs()).close()
    assert {signal.getsignal(one.number) for one in SIGNALS} == {signal.SIG_DFL}


def test_a_worker_is_not_ended_by_a_reload_that_was_meant_for_its_arbiter():
    assert worker_verbs()[signal.SIGHUP] == "ignore"


def test_a_worker_leaves_its_own_children_to_the_application():
    assert signal.SIGCHLD not in worker_verbs()


@pytest.mark.parametrize("verb", ["retire", "quit"])
def test_a_verb_reaches_a_worker_by_a_signal_that_carries_it(verb):
    assert worker_verbs()[worker_signal(verb)] == verb
