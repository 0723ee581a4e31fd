"""What comes through a report pipe, and what an exit status says."""

import os
import signal

import pytest

from pyserver.arbiter.reports import ReportPipe, decode_reports, describe_exit, is_told_to_stop
from pyserver.workers.base import Report, ReportKind

REPORTS = [Report(ReportKind.LOADED), Report(ReportKind.FAILED, 4, "Zürich\nis missing"), Report(ReportKind.RETIRING)]
BYTES = b"".join(report.encoded() for report in REPORTS)


@pytest.fixture
def pipe():
    opened = ReportPipe()
    yield opened
    opened.close()


@pytest.mark.parametrize("cut", range(len(BYTES) + 1))
def test_reports_are_understood_wherever_they_are_cut(cut):
    first, rest = decode_reports(BYTES[:cut])
    second, rest = decode_reports(rest + BYTES[cut:])
    assert first + second == REPORTS
    assert rest == b""


def test_a_pipe_in_which_nothing_is_does_not_wait(pipe):
    assert pipe.read() == ([], False)
    pipe.close_write_end()


def test_what_was_written_is_read_and_then_the_end(pipe):
    os.write(pipe.write_end, BYTES)
    assert pipe.read() == (REPORTS, False)
    pipe.close_write_end()
    assert pipe.read() == ([], True)


def test_the_longest_report_never_waits_for_a_reader(pipe):
    os.set_blocking(pipe.write_end, False)
    data = Report(ReportKind.FAILED, 3, "ä" * 1_000_000 + " the end").encoded()
    assert os.write(pipe.write_end, data) == len(data)
    assert pipe.read()[0][0].text.endswith("ä the end")
    pipe.close_write_end()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with code 0"),
        (3 << 8, "exited with code 3"),
        (signal.SIGKILL, "was sent SIGKILL! Perhaps out of memory?"),
        (signal.SIGSEGV, "was ended by SIGSEGV"),
        (signal.SIGSEGV | 0x80, "was ended by SIGSEGV"),  # with a core dump
        (50, "was ended by signal 50"),
    ],
)
def test_an_exit_is_told_in_words(status, text):
    assert describe_exit(status) == text


@pytest.mark.parametrize(
    ("status", "told"),
    [(0, False), (3 << 8, False), (signal.SIGKILL, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
)
def test_a_worker_that_was_told_to_stop_is_known_from_one_that_crashed(status, told):
    assert is_told_to_stop(status) is told
