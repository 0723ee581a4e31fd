"""The arbiter's side of a mold, talked to by a test that plays the other side."""

import os
import select
import signal
import socket
import subprocess
import sys

import pytest
from support import eventually

from pyserver.arbiter.actions import Reason
from pyserver.arbiter.molds import DESCRIPTOR, ORDER, Event, EventKind, Mold, Molds, new_mold

SECOND = 1_000_000_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a mold needs a subreaper")


class Played:
    """A process that does nothing, and its side of the channel."""

    def __init__(self, molds, generation=1):
        self.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        ours, self.channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.mold = Mold(self.process.pid, generation, ours)
        molds.add(self.mold)

    def say(self, kind, slot=0, number=0, text=""):
        self.channel.send(Event(kind, slot, number, text).encoded())

    def ask(self, slot):
        with socket.socket() as given:
            return self.mold.ask(slot, slot, given)

    def close(self):
        self.channel.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def molds():
    return Molds(select.poll())


@pytest.fixture
def play(molds):
    played = []

    def playing(**options):
        played.append(Played(molds, **options))
        return played[-1]

    yield playing
    for one in played:
        one.close()
        one.mold.close()


@pytest.mark.parametrize(
    "event", [Event(EventKind.FORKED, 3, 4_000_000), Event(EventKind.FAILED, number=4, text="naïve\n\udcff")]
)
def test_an_event_is_read_as_it_was_written(event):
    read = Event.decoded(event.encoded())
    assert (read.kind, read.slot, read.number) == (event.kind, event.slot, event.number)
    assert read.text == event.text.encode("utf-8", "backslashreplace").decode()


def test_of_a_long_text_the_end_is_kept():
    text = Event.decoded(Event(EventKind.FAILED, text="a" * 100_000 + "end").encoded()).text
    assert text.endswith("aend")
    assert len(text) < 65_536


def test_an_order_takes_a_descriptor_along(play):
    mold = play()
    with socket.create_server(("127.0.0.1", 0)) as given:
        assert mold.mold.ask(5, 2, given)
        data, ancillary, _, _ = mold.channel.recvmsg(ORDER.size, socket.CMSG_SPACE(DESCRIPTOR.size))
        with socket.socket(fileno=DESCRIPTOR.unpack(ancillary[0][2])[0]) as taken:
            assert taken.getsockname() == given.getsockname()
    assert ORDER.unpack(data) == (b"f", 5, 2)


def test_a_mold_is_there_for_its_generation_only(molds, play):
    mold = play(generation=2).mold
    assert molds.of(2) is mold
    assert molds.of(1) is None


def test_what_becomes_of_an_order_is_heard(molds, play):
    mold = play()
    mold.ask(1)
    mold.ask(2)
    mold.say(EventKind.LOADED)
    mold.say(EventKind.FORKED, 1, 1234)
    assert molds.hear() == [Event(EventKind.FORKED, 1, 1234)]
    assert mold.mold.loaded_at_ns
    assert not molds.are_asked_for(1)
    assert molds.are_asked_for(2)


def test_a_failure_is_kept_with_its_exit_code(molds, play):
    mold = play()
    mold.say(EventKind.FAILED, number=4, text="no such module")
    assert molds.hear() == []
    assert (mold.mold.failure.exit_code, mold.mold.failure.text) == (4, "no such module")


def test_a_mold_that_has_gone_cannot_be_asked(play):
    mold = play()
    mold.channel.close()
    assert not mold.ask(1)


def test_a_mold_that_takes_no_orders_is_asked_later(play):
    mold = play()
    asked = 0
    while mold.ask(asked):
        asked += 1
    assert asked > 8
    assert len(mold.mold.ordered) == asked


def test_what_was_said_before_the_end_is_heard_although_orders_were_left_unread(molds, play):
    mold = play()
    mold.ask(1)
    mold.ask(2)
    mold.say(EventKind.FORKED, 1, 1234)
    mold.channel.close()
    assert molds.hear() == [Event(EventKind.FORKED, 1, 1234)]
    assert mold.mold.is_silent
    assert not molds.are_asked()


def test_a_worker_that_nobody_waits_for_any_more_is_killed(molds, play):
    mold, worker = play(), play()
    mold.ask(1)
    molds.give_up(1)
    mold.say(EventKind.FORKED, 1, worker.process.pid)
    assert molds.hear() == []
    assert worker.process.wait(10) == -signal.SIGKILL


def test_who_does_not_fork_is_given_up(molds, play):
    mold = play()
    mold.ask(1)
    molds.give_up(1)
    assert mold.process.wait(10) == -signal.SIGKILL
    assert mold.mold.end is Reason.NOTHING_TO_LOSE
    assert molds.of(1) is None


def test_molds_of_other_generations_are_ended(molds, play):
    old, new = play(generation=1), play(generation=2)
    molds.keep([2])
    assert old.process.wait(10) == -signal.SIGKILL
    assert new.mold.is_alive


def test_a_dead_mold_is_told_of_once(molds, play):
    mold = play().mold
    assert not molds.note_dead(mold.pid + 1, 9, SECOND)
    assert molds.note_dead(mold.pid, 9, SECOND)
    assert molds.dead(SECOND) == [mold]
    assert mold.status == 9
    assert molds.dead(SECOND) == list(molds) == []


def test_the_process_that_a_dead_mold_has_forked_may_still_tell_of_a_worker(molds, play):
    mold = play()
    mold.ask(1)
    molds.note_dead(mold.mold.pid, 9, SECOND)
    assert molds.dead(SECOND) == [mold.mold]
    mold.say(EventKind.FORKED, 1, 1234)
    assert molds.hear() == [Event(EventKind.FORKED, 1, 1234)]
    molds.dead(SECOND)
    assert list(molds) == []


def test_a_dead_mold_is_not_waited_for_for_ever(molds, play):
    mold = play()
    mold.ask(1)
    molds.note_dead(mold.mold.pid, 9, SECOND)
    molds.dead(3 * SECOND)
    assert not molds.are_asked_for(1)


def test_a_mold_that_loads_too_long_is_aborted_and_then_killed(molds, play):
    mold = play()
    begin = mold.mold.forked_at_ns
    assert molds.deadline_ns(5 * SECOND, 0) == begin + 5 * SECOND
    assert molds.end_overdue(5 * SECOND, 0, begin + 4 * SECOND) == []
    mold.process.send_signal(signal.SIGSTOP)
    assert molds.end_overdue(5 * SECOND, 0, begin + 5 * SECOND) == [mold.mold]
    assert mold.mold.end is Reason.BOOT
    assert molds.deadline_ns(5 * SECOND, 0) == begin + 6 * SECOND
    assert molds.end_overdue(5 * SECOND, 0, begin + 6 * SECOND) == []
    assert mold.process.wait(10) == -signal.SIGKILL


def test_a_pause_of_the_machine_does_not_count(molds, play):
    begin = play().mold.forked_at_ns
    assert molds.deadline_ns(SECOND, begin + 9 * SECOND) == begin + 10 * SECOND


def test_without_a_limit_a_mold_may_load_for_ever(molds, play):
    play()
    assert molds.deadline_ns(0, 0) is None


def test_a_mold_that_has_loaded_has_no_deadline(molds, play):
    mold = play()
    mold.say(EventKind.LOADED)
    molds.hear()
    assert molds.deadline_ns(SECOND, 0) is None


def test_the_arbiter_is_woken_by_what_a_mold_says_and_not_by_its_end_again():
    poll = select.poll()
    molds = Molds(poll)
    mold = Played(molds)
    try:
        assert poll.poll(0) == []
        mold.say(EventKind.LOADED)
        assert len(eventually(lambda: poll.poll(0))) == 1
        mold.channel.close()
        molds.hear()
        assert poll.poll(0) == []
    finally:
        mold.close()
        mold.mold.close()


def test_a_mold_reopens_its_log_when_it_is_told(play):
    mold = play()
    mold.mold.reopen()
    assert ORDER.unpack(mold.channel.recv(ORDER.size))[0] == b"r"
    os.kill(mold.process.pid, 0)


@pytest.fixture
def forked(molds, play):
    """The mold that a worker is to fork, and the end of its channel; beside it there is the one of before."""
    before = play()
    before.say(EventKind.LOADED, number=before.process.pid)
    molds.hear()
    mold, theirs = new_mold(1)
    molds.add(mold)
    with theirs:
        yield before, mold, theirs
    mold.close()


def test_while_a_worker_becomes_a_mold_workers_come_from_the_one_before(molds, forked):
    before, _, _ = forked
    assert molds.of(1) is before.mold
    assert molds.is_reforking(1)
    assert molds.promoted() == []


def test_a_mold_that_was_a_worker_takes_over_when_it_says_who_it_is(molds, forked):
    before, mold, theirs = forked
    theirs.send(Event(EventKind.LOADED, number=1234).encoded())
    molds.hear()
    assert mold.pid == 1234
    assert molds.of(1) is mold
    assert molds.promoted() == [mold]
    assert molds.promoted() == []
    # The one before is told to end, and may do first what it was asked for.
    assert before.channel.recv(64) == b""
    assert before.process.poll() is None


def test_a_worker_that_does_not_become_a_mold_changes_nothing(molds, forked):
    before, mold, theirs = forked
    theirs.close()
    molds.hear()
    assert molds.dead(mold.died_at_ns) == [mold]
    assert not molds.is_reforking(1)
    assert molds.of(1) is before.mold


def test_a_mold_that_has_not_said_who_it_is_is_ended_by_its_channel(molds, forked):
    _, mold, theirs = forked
    mold.kill()
    assert theirs.recv(64) == b""
    molds.hear()
    assert mold in molds.dead(mold.died_at_ns)
