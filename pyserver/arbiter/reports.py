"""What workers say on their channels."""

from __future__ import annotations

import contextlib
import socket

from pyserver.workers.messages import LONGEST_TEXT, REFORK, REPORT_HEAD, Report, ReportKind

_KINDS = frozenset(map(int, ReportKind))
_CHUNK = 65_536
_TURNS = 16  # chunks that are read in a row from one worker, while others wait


class Channel:
    """The arbiter's end of one worker's channel. It never waits."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._pending = b""

    def fileno(self) -> int:
        """Readable when the worker has said something, or has closed its end."""
        return self._ours.fileno()

    def read(self) -> tuple[list[Report], bool]:
        """The reports that have come in whole, and whether there will be no more.

        Raises:
            ValueError: that is no report. The application can write here, too, and with less rights than we have.
        """
        is_at_end = False
        try:
            for _ in range(_TURNS):
                chunk = self._ours.recv(_CHUNK)
                self._pending += chunk
                if not chunk:
                    is_at_end = True
                    break
        except BlockingIOError:
            pass
        except OSError:
            # A worker that was killed with a question unread resets the channel.
            is_at_end = True
        reports, self._pending = decode_reports(self._pending)
        return reports, is_at_end

    def say(self, word: bytes) -> None:
        """Write one of the words that the worker base has; whether the worker hears it is seen from what it does."""
        # Its end may be full of them, or gone.
        with contextlib.suppress(OSError):
            self._ours.send(word)

    def refork(self, descriptor: int) -> bool:
        """Have the worker become the image of a mold that talks over that descriptor; whether it could be told."""
        try:
            socket.send_fds(self._ours, [REFORK], [descriptor])
        except OSError:
            return False
        return True

    def close_theirs(self) -> None:
        """After the fork: that end is the worker's alone."""
        self.theirs.close()

    def close(self) -> None:
        """The worker is gone."""
        self._ours.close()


def decode_reports(data: bytes) -> tuple[list[Report], bytes]:
    """The reports at the beginning of `data`, and what follows them; ValueError when it begins with none."""
    reports: list[Report] = []
    at = 0
    while len(data) - at >= REPORT_HEAD.size:
        kind, exit_code, length = REPORT_HEAD.unpack_from(data, at)
        is_one = kind in _KINDS and length <= LONGEST_TEXT
        if not is_one and reports:
            break  # What was said before counts.
        if not is_one:
            raise ValueError(f"a report of kind {kind} and {length} bytes")
        end = at + REPORT_HEAD.size + length
        if end > len(data):
            break
        text = data[at + REPORT_HEAD.size : end].decode("utf-8", "replace")
        reports.append(Report(ReportKind(kind), exit_code, text))
        at = end
    return reports, data[at:]
