def new_alarm() -> int:
    """A descriptor for set_alarm(); OSError where the system has none."""

def set_alarm(fd: int, instant_ns: int) -> None:
    """Have the descriptor be readable from this monotonic instant on, nanoseconds; 0: never."""
