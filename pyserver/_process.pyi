def become_subreaper() -> bool:
    """Have orphaned descendants become children of this process; false where the system cannot do that."""

def die_with_parent() -> bool:
    """Have the kernel kill this process when its parent dies; false where the system cannot do that.

    A child that it forks starts without. A parent that has died already is not noticed: look at `os.getppid`.
    """

def name_thread(name: str) -> bool:
    """Name the calling thread for `top` and debuggers, which may cut it after 15 bytes; false where that is unknown."""

def shorten_turns(nanoseconds: int) -> bool:
    """Have the calling thread use the processor for so long at a time, and get it the sooner when it wants it.

    It gets no more of it than before, so nobody has to permit it. False where the system cannot do that, or schedules
    the thread in another way than most; before Linux 6.12 it is without effect.
    """

def trim_malloc() -> bool:
    """Give the free memory at the end and in the middle of the C heap back; whether there was any."""
