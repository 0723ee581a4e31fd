"""What a worker is doing, in words: which requests it runs, for how long, and in which thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserver.arbiter.roster import Member

_SECOND_NS = 1_000_000_000
_MOST_NAMED = 5  # requests in one line of the log


class Request(NamedTuple):
    """One that runs; instants are monotonic nanoseconds."""

    text: str  # what is asked, and by whom
    since_ns: int  # it began
    alive_ns: int  # it began, or gave a block of its response last
    thread: int = 0  # that runs it, as faulthandler names threads; 0 where that is not known

    def in_words(self, now_ns: int) -> str:
        """As part of a sentence."""
        words = f"{self.text} for {(now_ns - self.since_ns) / _SECOND_NS:.1f} s"
        if self.alive_ns > now_ns:
            words += ", waiting for its client,"
        elif self.alive_ns > self.since_ns:
            words += f", silent for {(now_ns - self.alive_ns) / _SECOND_NS:.1f} s,"
        # So that its stack is found among those that faulthandler writes.
        return f"{words} in Thread 0x{self.thread:016x}" if self.thread else words.removesuffix(",")


def requests_of(member: Member) -> list[Request]:
    """Those that the worker runs, the oldest first."""
    board, slot = member.scoreboard, member.slot
    found = (
        Request(_text(member, row), board.busy_since_ns(slot, row), board.alive_ns(slot, row), board.thread(slot, row))
        for row in board.rows_busy(slot)
    )
    # One may have ended while we looked.
    return [request for request in found if request.since_ns]


def running(requests: Sequence[Request], now_ns: int) -> str:
    """The requests, of which there is one at least, as the end of a sentence about their worker."""
    words = [request.in_words(now_ns) for request in requests[:_MOST_NAMED]]
    if len(requests) > _MOST_NAMED:
        words.append(f"and {len(requests) - _MOST_NAMED} more")
    return f"it was running {', '.join(words)}"


def activity(member: Member, now_ns: int) -> str:
    """What the worker is doing or did last, as the end of a sentence about it."""
    requests = requests_of(member)
    if requests:
        return running(requests, now_ns)
    last = _text(member, member.scoreboard.row_last(member.slot))
    return f"its last request was {last}" if last else "it had no request yet"


def _text(member: Member, row: int) -> str:
    line = member.scoreboard.request_line(member.slot, row)
    return f"{line} from {member.scoreboard.peer(member.slot, row)}" if line else ""
