"""Which signals the processes obey, and what each one means to them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import FrameType


class Signal(NamedTuple):
    """A signal and the verb it carries; a verb is the name of a method, None leaves the system's default."""

    number: signal.Signals
    arbiter: str
    worker: str | None


# In the order in which they are obeyed when several have come: what ends the server goes first, and a child's death is
# seen before a reload starts new ones. What is sent to a worker by mistake must not end it: it obeys by doing nothing.
SIGNALS = (
    Signal(signal.SIGQUIT, arbiter="quit", worker="quit"),
    Signal(signal.SIGINT, arbiter="quit", worker="quit"),
    Signal(signal.SIGTERM, arbiter="retire", worker="retire"),
    Signal(signal.SIGCHLD, arbiter="reap", worker=None),
    Signal(signal.SIGUSR1, arbiter="reopen", worker="reopen"),
    Signal(signal.SIGWINCH, arbiter="dismiss", worker="ignore"),
    Signal(signal.SIGTTIN, arbiter="add", worker="ignore"),
    Signal(signal.SIGTTOU, arbiter="remove", worker="ignore"),
    Signal(signal.SIGHUP, arbiter="reload", worker="ignore"),
    Signal(signal.SIGUSR2, arbiter="upgrade", worker="ignore"),
)

# Has a worker write the stack of every thread to the error log, from the handler itself, and go on.
STACKS_SIGNAL: int = signal.SIGRTMIN + 3 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGINFO", signal.SIGURG)


class Noted(NamedTuple):
    """A signal that has come, how often, and from whom."""

    number: signal.Signals
    verb: str
    times: int = 1
    sender: int = 0  # process id of the last one who sent it; 0: not known, or the kernel


class SignalInbox:
    """The signals that have come and were not looked at yet.

    Handlers only note; the descriptor becomes readable, so that a wait in `poll` or `epoll_wait` ends. It also does
    when the signal came just before the wait. A signal that came twice is taken once.
    Only one inbox can be open in a process, in its main thread.
    """

    def __init__(self, verbs: dict[signal.Signals, str]) -> None:
        """Take the handlers of the signals in `verbs`."""
        self._verbs = verbs
        self._noted: dict[int, int] = {}
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in verbs:
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted[number] = self._noted.get(number, 0) + 1

    def fileno(self) -> int:
        """Readable while signals wait to be taken."""
        return self._read_end

    def take(self) -> list[Noted]:
        """The signals that came since the last call, each once, in the order of `SIGNALS`."""
        try:
            # Emptied before the notes are read: a signal that comes in between leaves its byte for the next turn.
            while os.read(self._read_end, 4096):
                pass
        except BlockingIOError:
            pass
        noted, self._noted = self._noted, {}
        return [Noted(number, verb, noted[number]) for number, verb in self._verbs.items() if number in noted]

    def close(self) -> None:
        """Note nothing any more: the signals have the system's default actions again."""
        signal.set_wakeup_fd(-1)
        for number in self._verbs:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._read_end)
        os.close(self._write_end)


def arbiter_verbs() -> dict[signal.Signals, str]:
    """What the arbiter does for each signal it handles."""
    return {row.number: row.arbiter for row in SIGNALS}


def worker_verbs() -> dict[signal.Signals, str]:
    """What a worker does for each signal it handles."""
    return {row.number: row.worker for row in SIGNALS if row.worker is not None}


def worker_signal(verb: str) -> signal.Signals:
    """The signal with which a worker is told to do this."""
    return next(row.number for row in SIGNALS if row.worker == verb)
