"""What workers say on their report pipes, and what their exit status says."""

from __future__ import annotations

import os
import signal

from pyserver.workers.base import Report, ReportKind

_CHUNK = 65_536


class ReportPipe:
    """The arbiter's end of one worker's report pipe. It never waits."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._pending = b""

    def fileno(self) -> int:
        """Readable when the worker has said something, or has closed its end."""
        return self._read_end

    def read(self) -> tuple[list[Report], bool]:
        """The reports that have come in whole, and whether there will be no more."""
        is_at_end = False
        try:
            while chunk := os.read(self._read_end, _CHUNK):
                self._pending += chunk
            is_at_end = True
        except BlockingIOError:
            pass
        reports, self._pending = decode_reports(self._pending)
        return reports, is_at_end

    def close_write_end(self) -> None:
        """After the fork: only the worker writes."""
        os.close(self.write_end)

    def close(self) -> None:
        """The worker is gone."""
        os.close(self._read_end)


def decode_reports(data: bytes) -> tuple[list[Report], bytes]:
    """The reports at the beginning of `data`, and the bytes of one that is not complete yet."""
    reports = []
    at = 0
    while len(data) - at >= Report.HEAD.size:
        kind, exit_code, length = Report.HEAD.unpack_from(data, at)
        end = at + Report.HEAD.size + length
        if end > len(data):
            break
        text = data[at + Report.HEAD.size : end].decode("utf-8", "replace")
        reports.append(Report(ReportKind(kind), exit_code, text))
        at = end
    return reports, data[at:]


def describe_exit(status: int) -> str:
    """How a process ended, as the rest of a sentence about it.

    Args:
        status: as `os.waitpid` returns it.
    """
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    if code == -signal.SIGKILL:
        # gunicorn's words: people search their logs for them.
        return "was sent SIGKILL! Perhaps out of memory?"
    return f"was ended by {_signal_name(-code)}"


def is_told_to_stop(status: int) -> bool:
    """Whether a process ended because somebody sent it a signal that asks for that."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
