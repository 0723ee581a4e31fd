"""What comes through a channel, and what an exit status says."""

import pytest

from pyserver.arbiter.reports import Channel, decode_reports
from pyserver.workers.messages import ARE_YOU_THERE, Report, ReportKind

REPORTS = [Report(ReportKind.LOADED), Report(ReportKind.FAILED, 4, "Zürich\nis missing"), Report(ReportKind.RETIRING)]
BYTES = b"".join(report.encoded() for report in REPORTS)


@pytest.fixture
def channel():
    opened = Channel()
    yield opened
    opened.close()


@pytest.mark.parametrize("cut", range(len(BYTES) + 1))
def test_reports_are_understood_wherever_they_are_cut(cut):
    first, rest = decode_reports(BYTES[:cut])
    second, rest = decode_reports(rest + BYTES[cut:])
    assert first + second == REPORTS
    assert rest == b""


def test_a_channel_in_which_nothing_is_does_not_wait(channel):
    assert channel.read() == ([], False)
    channel.close_theirs()


def test_what_was_written_is_read_and_then_the_end(channel):
    channel.theirs.sendall(BYTES)
    assert channel.read() == (REPORTS, False)
    channel.close_theirs()
    assert channel.read() == ([], True)


def test_the_longest_report_never_waits_for_a_reader(channel):
    channel.theirs.setblocking(False)
    data = Report(ReportKind.FAILED, 3, "ä" * 1_000_000 + " the end").encoded()
    assert channel.theirs.send(data) == len(data)
    assert channel.read()[0][0].text.endswith("ä the end")
    channel.close_theirs()


@pytest.mark.parametrize("data", [b"\xff\0\0\0\0\0", b"\1\0\xff\xff\xff\xff"])
def test_what_is_no_report_is_an_error_of_its_own(channel, data):
    channel.theirs.sendall(data)
    with pytest.raises(ValueError, match=r"255|4294967295"):
        channel.read()
    channel.close_theirs()


def test_what_was_said_before_nonsense_counts(channel):
    channel.theirs.sendall(BYTES + b"\xff\0\0\0\0\0")
    assert channel.read() == (REPORTS, False)
    with pytest.raises(ValueError, match="255"):
        channel.read()
    channel.close_theirs()


def test_a_question_arrives_at_the_other_end(channel):
    channel.say(ARE_YOU_THERE)
    assert channel.theirs.recv(10) == ARE_YOU_THERE
    channel.close_theirs()


def test_questions_that_nobody_reads_never_wait(channel):
    for _ in range(100_000):
        channel.say(ARE_YOU_THERE)
    channel.close_theirs()
    channel.say(ARE_YOU_THERE)
    assert channel.read() == ([], True)
