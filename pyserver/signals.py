"""Which signals the processes obey, and what each one means to them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from pyserver._signals import Sender, catch, end_when_orphaned, note, open_notes, react, take

if TYPE_CHECKING:
    from types import FrameType


class Signal(NamedTuple):
    """A signal and the verb it carries; a verb is the name of a method, None leaves the system's default.

    Attributes:
        number: the signal.
        arbiter: the verb of the arbiter.
        worker: the verb of a worker.
        effect: what follows when the arbiter gets it, for docs/signals.md.
    """

    number: signal.Signals
    arbiter: str
    worker: str | None
    effect: str


# In the order in which they are obeyed when several have come: an upgrade, which a stop may follow at once; then what
# ends the server; and a child's death is seen before a reload starts new ones. What is sent to a worker by mistake must
# not end it: it obeys by doing nothing.
SIGNALS = (
    Signal(
        signal.SIGUSR2, arbiter="upgrade", worker="ignore",
        effect="A new arbiter is started beside this one, from the same command line and with its listeners.",
    ),
    Signal(
        signal.SIGQUIT, arbiter="quit", worker="quit",
        effect="The server exits now. Beside another arbiter it finishes its requests first, as with TERM.",
    ),
    Signal(
        signal.SIGINT, arbiter="quit", worker="quit",
        effect="The server exits now, and requests that run are cut.",
    ),
    Signal(
        signal.SIGTERM, arbiter="retire", worker="retire",
        effect="The server serves on for drain_delay, accepts no more, finishes what was begun within graceful_timeout "
        "and exits.",
    ),
    Signal(
        signal.SIGCHLD, arbiter="reap", worker=None,
        effect="A worker has ended, says the kernel: the log says why, and another one takes its place.",
    ),
    Signal(
        signal.SIGUSR1, arbiter="reopen", worker="reopen",
        effect="The logs are opened anew, after they were renamed.",
    ),
    Signal(
        signal.SIGWINCH, arbiter="dismiss", worker="ignore",
        effect="All workers retire, until HUP, TTIN or TTOU brings some back. A terminal that is resized is not heard.",
    ),
    Signal(
        signal.SIGTTIN, arbiter="add", worker="ignore",
        effect="There is one worker more.",
    ),
    Signal(
        signal.SIGTTOU, arbiter="remove", worker="ignore",
        effect="There is one worker fewer, but at least one.",
    ),
    Signal(
        signal.SIGHUP, arbiter="reload", worker="ignore",
        effect="The settings are read and the application is loaded again, by new workers; then the old ones retire.",
    ),
    # The first of the real-time signals, where there are any.
    *(
        [
            Signal(
                signal.SIGRTMIN, arbiter="refork", worker="ignore",
                effect="With preload_app the workers are replaced by copies of a warm one.",
            )
        ]
        if hasattr(signal, "SIGRTMIN")
        else []
    ),
)  # fmt: skip

# Has a worker write the stack of every thread to the error log, from the handler itself, and go on.
STACKS_SIGNAL: int = signal.SIGRTMIN + 3 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGINFO", signal.SIGURG)


# The kernel tells a worker with it that the arbiter has died, whatever the worker does; Linux only.
ORPHAN_SIGNAL: int = signal.SIGRTMIN + 4 if hasattr(signal, "SIGRTMIN") else 0


class Noted(NamedTuple):
    """A signal that has come, how often, and from whom."""

    number: signal.Signals
    verb: str
    times: int = 1  # without those that the kernel merged before they were delivered
    sender: int = Sender.UNKNOWN  # the process that sent it, the last one of several

    def __str__(self) -> str:
        """For the log: `hup (from pid 4711)`."""
        name = self.number.name.removeprefix("SIG").lower()
        if self.sender == Sender.UNKNOWN:
            origin = "from an unknown process"
        elif self.sender == Sender.KERNEL:
            # What ends, stops or resizes comes from the kernel only on behalf of the terminal.
            origin = "from the terminal"
        else:
            origin = f"from pid {self.sender}"
        return f"{name} ({origin})" if self.times == 1 else f"{name} ({self.times} times, the last {origin})"


# The kernel sends these to everything in a terminal: when its size changes, and to who uses it in the background.
_OF_TERMINALS = frozenset((signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU))


class SignalInbox:
    """The signals that have come and were not looked at yet.

    Handlers only note; the descriptor becomes readable, so that a wait in `poll` or `epoll_wait` ends. It also does
    when the signal came just before the wait. The handlers are C, so a signal is noted whatever Python is doing; an
    application that sets a handler of its own with `signal.signal` has it instead.
    Only one inbox can be open in a process, in its main thread.
    """

    def __init__(self, verbs: dict[signal.Signals, str]) -> None:
        """Take the handlers of the signals in `verbs`."""
        self._verbs = verbs
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        # For handlers in Python, which run only when the wait has ended.
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        open_notes(self._write_end)
        for number in verbs:
            # Two: who asks Python for the handler, to call it from one of his own, gets one that can be called.
            signal.signal(number, _note_in_python)
            catch(number)

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
        found = []
        for number, verb in self._verbs.items():
            by_processes, by_kernel, sender = take(number)
            if number in _OF_TERMINALS:
                by_kernel = 0
            if by_processes or by_kernel:
                last = sender if by_processes else Sender.KERNEL
                found.append(Noted(number, verb, by_processes + by_kernel, last))
        return found

    def react(self, verb: str, function: int) -> None:
        """Have the handlers of the signals with this verb call the C function at that address themselves."""
        for number, carried in self._verbs.items():
            if carried == verb:
                react(number, function)

    def end_when_orphaned(self, seconds: int) -> None:
        """Have this process end by the alarm so long after its parent has died, also when it hangs in C.

        The parent is who it is now. Where the system cannot tell of a parent's death, nothing happens.
        """
        if ORPHAN_SIGNAL:
            end_when_orphaned(ORPHAN_SIGNAL, seconds)

    def close(self) -> None:
        """Note nothing any more: the signals have the system's default actions again."""
        signal.set_wakeup_fd(-1)
        for number in self._verbs:
            signal.signal(number, signal.SIG_DFL)
        open_notes(-1)
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


def _note_in_python(number: int, _frame: FrameType | None) -> None:
    note(number)
