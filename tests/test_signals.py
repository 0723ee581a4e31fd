"""The signal inbox: what came is seen once, whenever it came, with who sent it."""

import ctypes
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from support import eventually

import pyserver
from pyserver._signals import Sender
from pyserver.signals import Noted, SignalInbox, arbiter_verbs, worker_signal, worker_verbs

VERBS = arbiter_verbs()


@pytest.fixture
def handlers():
    """Those of the test run, put back when the test is over."""
    before = {number: signal.getsignal(number) for number in VERBS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def inbox(handlers):
    opened = SignalInbox(VERBS)
    yield opened
    opened.close()


def is_readable(inbox):
    return bool(select.select([inbox], [], [], 0)[0])


def verbs(inbox):
    return [noted.verb for noted in inbox.take()]


def send(number, times=1):
    for _ in range(times):
        os.kill(os.getpid(), number)


def test_a_signal_wakes_and_is_taken_with_its_verb(inbox):
    send(signal.SIGHUP)
    assert is_readable(inbox)
    assert inbox.take() == [Noted(signal.SIGHUP, "reload", 1, os.getpid())]


def test_a_signal_is_taken_once(inbox):
    send(signal.SIGHUP)
    inbox.take()
    assert inbox.take() == []
    assert not is_readable(inbox)


def test_signals_that_wait_are_merged_and_counted(inbox):
    send(signal.SIGHUP, 5)
    send(signal.SIGTTIN, 12)
    assert sorted((noted.number, noted.times) for noted in inbox.take()) == [(signal.SIGHUP, 5), (signal.SIGTTIN, 12)]


def test_what_ends_the_server_is_taken_before_a_child_and_a_reload(inbox):
    for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        send(number)
    assert verbs(inbox) == ["quit", "retire", "reap", "reload"]


def test_more_signals_than_the_pipe_holds_lose_none(inbox):
    send(signal.SIGHUP, 70_000)
    send(signal.SIGTERM)
    assert [(noted.verb, noted.times) for noted in inbox.take()] == [("retire", 1), ("reload", 70_000)]


def test_signals_that_come_while_others_are_taken_are_all_counted(inbox):
    def storm():
        # To this very thread: beside the handlers on the thread that takes.
        for _ in range(20_000):
            signal.pthread_kill(threading.get_ident(), signal.SIGTTIN)

    storms = [threading.Thread(target=storm) for _ in range(2)]
    for thread in storms:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in storms):
        seen += sum(noted.times for noted in inbox.take())
    assert seen + sum(noted.times for noted in inbox.take()) == 40_000


def test_the_sender_is_another_process(inbox):
    sender = subprocess.Popen([sys.executable, "-c", f"import os; os.kill({os.getpid()}, {signal.SIGHUP:d})"])
    sender.wait()
    assert next(noted for noted in inbox.take() if noted.verb == "reload").sender == sender.pid


@pytest.mark.parametrize(
    ("noted", "words"),
    [
        (Noted(signal.SIGHUP, "reload", 1, 4711), "hup (from pid 4711)"),
        (Noted(signal.SIGTTIN, "add", 12, 4711), "ttin (12 times, the last from pid 4711)"),
        (Noted(signal.SIGINT, "quit", 1, Sender.KERNEL), "int (from the terminal)"),
        (Noted(signal.SIGTERM, "retire", 1, Sender.UNKNOWN), "term (from an unknown process)"),
    ],
)
def test_a_signal_and_its_sender_are_told_in_words(noted, words):
    assert str(noted) == words


ON_A_TERMINAL = """
import os, select, signal
from pyserver.signals import SignalInbox

inbox = SignalInbox({signal.SIGWINCH: "dismiss", signal.SIGINT: "quit", signal.SIGTERM: "retire"})
print("open", flush=True)
while True:
    select.select([inbox], [], [])
    for noted in inbox.take():
        print(noted.verb, int(noted.sender), flush=True)
"""


@pytest.fixture
def terminal():
    """A process that prints what its inbox takes, on a terminal of its own: its pid and our end."""
    pid, end = pty.fork()
    if pid == 0:
        path = str(Path(pyserver.__file__).parents[1])
        os.execve(sys.executable, [sys.executable, "-c", ON_A_TERMINAL], {**os.environ, "PYTHONPATH": path})
    yield pid, end
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(end)


@pytest.fixture
def read(terminal):
    seen = bytearray()

    def read_until(words):
        def has_come():
            if select.select([terminal[1]], [], [], 0)[0]:
                seen.extend(os.read(terminal[1], 4096))
            return words.encode() in seen

        eventually(has_come, within=10)
        return seen.decode()

    return read_until


@pytest.mark.skipif(not hasattr(termios, "tcsetwinsize"), reason="termios sets no window size before Python 3.11")
def test_a_terminal_that_is_resized_dismisses_nobody(terminal, read):
    pid, end = terminal
    read("open")
    termios.tcsetwinsize(end, (10, 20))
    os.kill(pid, signal.SIGTERM)
    assert "dismiss" not in read("retire")
    os.kill(pid, signal.SIGWINCH)
    read(f"dismiss {os.getpid()}")


def test_what_is_typed_comes_from_the_terminal(terminal, read):
    read("open")
    os.write(terminal[1], b"\x03")
    read(f"quit {Sender.KERNEL:d}")


def test_no_python_runs_when_a_signal_comes(inbox):
    # The interpreter lock is held in C while the signals come, and they are noted all the same.
    send_in_c = getattr(ctypes.PyDLL(None), "raise")
    for _ in range(3):
        send_in_c(signal.SIGHUP)
    assert inbox.take() == [Noted(signal.SIGHUP, "reload", 3, os.getpid())]


def test_a_handler_of_the_application_wins(inbox):
    caught = []
    signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    send(signal.SIGTERM)
    eventually(lambda: caught)
    assert caught == [signal.SIGTERM]
    # Its wait has ended for the handler to run, and nothing is in the inbox.
    assert is_readable(inbox)
    assert inbox.take() == []


def test_a_handler_of_the_application_can_call_the_one_before(inbox):
    before, called = signal.getsignal(signal.SIGTERM), []

    def call_the_one_before(number, frame):
        called.append(number)
        before(number, frame)

    signal.signal(signal.SIGTERM, call_the_one_before)
    send(signal.SIGTERM)
    assert eventually(inbox.take) == [Noted(signal.SIGTERM, "retire", 1, Sender.UNKNOWN)]
    assert called


def test_a_handler_that_is_put_back_still_notes(inbox):
    signal.signal(signal.SIGTERM, signal.signal(signal.SIGTERM, signal.SIG_IGN))
    send(signal.SIGTERM)
    assert eventually(lambda: verbs(inbox)) == ["retire"]


def test_a_signal_ends_the_child_of_an_application_that_has_forked(inbox):
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    os.kill(pid, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
    assert verbs(inbox) == ["reap"]


def test_a_closed_inbox_leaves_the_default_actions(handlers):
    SignalInbox(VERBS).close()
    assert {signal.getsignal(number) for number in VERBS} == {signal.SIG_DFL}
    pid = os.fork()
    if pid == 0:
        send(signal.SIGTERM)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM


def test_an_inbox_that_is_opened_later_has_nothing_of_the_one_before(handlers):
    first = SignalInbox(VERBS)
    send(signal.SIGHUP)
    first.close()
    second = SignalInbox(VERBS)
    try:
        assert second.take() == []
    finally:
        second.close()


def test_a_worker_is_not_ended_by_a_reload_that_was_meant_for_its_arbiter():
    assert worker_verbs()[signal.SIGHUP] == "ignore"


def test_a_worker_leaves_its_own_children_to_the_application():
    assert signal.SIGCHLD not in worker_verbs()


@pytest.mark.parametrize("verb", ["retire", "quit"])
def test_a_verb_reaches_a_worker_by_a_signal_that_carries_it(verb):
    assert worker_verbs()[worker_signal(verb)] == verb
