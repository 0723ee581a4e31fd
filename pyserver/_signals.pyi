from enum import IntEnum

class Sender(IntEnum):
    UNKNOWN = -1
    KERNEL = 0

def open_notes(wake: int) -> None:
    """Note the signals of this process from now on, and write a byte to the descriptor `wake` for each.

    It must not block. In a child that is forked later, a caught signal has its default action.
    """

def catch(number: int) -> None:
    """Take the handler of a signal, below the one that Python knows; OSError when the system does not allow it."""

def react(number: int, function: int) -> None:
    """Have the handler call a C function, `void function(void)`, which must be async-signal-safe.

    Args:
        function: its address.
    """

def pass_on(number: int) -> None:
    """Have the handler that Python knows run after the one in C that took its place, as that of faulthandler does.

    faulthandler can chain as well, but is interrupted by itself then: some signals that come together, as they do when
    a process has not run for a while, overflow its stack. ValueError when there is no handler.
    """

def end_when_orphaned(number: int, seconds: int) -> None:
    """Have the kernel send this process that signal when its parent dies, and end it by the alarm `seconds` later.

    Nothing happens where the kernel cannot tell. A child that is forked later starts without.
    """

def note(number: int) -> None:
    """Count a signal as if it had come, from nobody known; for a handler in Python that passes it on."""

def take(number: int) -> tuple[int, int, int]:
    """How often processes and how often the kernel sent the signal since the last call, and the last such process.

    The process is `Sender.UNKNOWN` when it cannot be told.
    A standard signal that is sent again while it waits to be delivered comes once.
    """
