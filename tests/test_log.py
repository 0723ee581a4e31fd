"""The error log: its lines, its levels, and that nothing that happens to it stops who writes."""

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
import tty
from pathlib import Path

import pytest
from support import eventually

import pyserver
from pyserver.errors import EXIT_CONFIG, BootError
from pyserver.log import ErrorLog

ENVIRON = {**os.environ, "PYTHONPATH": str(Path(pyserver.__file__).parents[1])}
LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[(\d+)\] \[([A-Z]+)\] (.*)")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "error.log"


@pytest.fixture
def log(path):
    opened = ErrorLog(str(path), "debug")
    yield opened
    opened.close()


class Broken:
    def __str__(self):
        raise ValueError("no text")


def test_a_line_has_gunicorns_format(log, path):
    log.warning("disk at %s %%", 93)
    assert LINE.fullmatch(path.read_text().rstrip("\n")).groups() == (str(os.getpid()), "WARNING", "disk at 93 %")


def test_a_message_without_arguments_keeps_its_percent_signs(log, path):
    log.info("GET /100%s")
    assert path.read_text().endswith("] GET /100%s\n")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_each_level_has_a_method_of_its_name(log, path, level):
    getattr(log, level)("said")
    assert f"[{level.upper()}] said" in path.read_text()


def test_records_below_the_level_are_not_written(path):
    log = ErrorLog(str(path), "warning")
    log.info("not this")
    log.error("but this")
    log.close()
    assert [LINE.fullmatch(line)[3] for line in path.read_text().splitlines()] == ["but this"]


def test_exception_adds_the_traceback(log, path):
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("looking for %s", "it")
    lines = path.read_text().splitlines()
    assert lines[0].endswith("[ERROR] looking for it")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "KeyError: 'lost'"


@pytest.mark.parametrize("arguments", [(1, 2), (Broken(),)], ids=["too many", "without a text"])
def test_arguments_that_do_not_fit_lose_neither_the_message_nor_the_writer(log, path, arguments):
    log.error("value %s", *arguments)
    assert "value %s (this record's arguments do not fit it" in path.read_text()


def test_text_that_is_not_utf_8_is_escaped(log, path):
    log.error("name %s", "\udcff")
    assert path.read_text().endswith("name \\udcff\n")


def test_two_logs_on_one_file_do_not_overwrite_each_other(log, path):
    other = ErrorLog(str(path))
    log.info("one")
    other.info("two")
    log.info("three")
    other.close()
    assert [LINE.fullmatch(line)[3] for line in path.read_text().splitlines()] == ["one", "two", "three"]


def test_reopen_follows_a_file_that_was_moved_and_keeps_the_descriptor(log, path, tmp_path):
    log.info("before")
    number = log.fileno()
    path.rename(tmp_path / "old.log")
    log.reopen()
    log.info("after")
    assert log.fileno() == number
    assert path.read_text().endswith("after\n")
    assert (tmp_path / "old.log").read_text().endswith("before\n")


def test_reopen_that_fails_goes_on_with_the_open_file(tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    log = ErrorLog(str(directory / "error.log"))
    directory.rename(tmp_path / "moved")
    log.reopen()
    log.info("still here")
    log.close()
    text = (tmp_path / "moved" / "error.log").read_text()
    assert "cannot open the error log" in text
    assert text.endswith("still here\n")


def test_records_that_cannot_be_written_are_counted_and_the_number_is_said_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = ErrorLog(str(path))
    os.close(reader)
    log.info("into the void")
    log.info("into the void")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log.info("heard")
    log.info("heard again")
    lines = os.read(reader, 65536).decode().splitlines()
    log.close()
    os.close(reader)
    assert [LINE.fullmatch(line)[3] for line in lines] == [
        "2 log records could not be written and were dropped",
        "heard",
        "heard again",
    ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_full_disk_does_not_stop_the_writer():
    log = ErrorLog("/dev/full")
    log.error("no room")
    log.close()


def test_a_closed_log_drops_what_it_is_given(path):
    log = ErrorLog(str(path))
    log.close()
    log.error("too late")
    assert path.read_text() == ""


def test_a_file_that_cannot_be_opened_is_one_line_and_a_mistake_of_the_operator(tmp_path):
    with pytest.raises(BootError, match=r"^cannot open the error log '.*none/error.log': No such file") as caught:
        ErrorLog(str(tmp_path / "none" / "error.log"))
    assert caught.value.exit_code == EXIT_CONFIG


def drain(descriptor):
    """All that can be read now."""
    os.set_blocking(descriptor, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(descriptor, 65536):
            data += part
    return data


@pytest.fixture
def fifo(path):
    """A named pipe that is read by the test."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield reader
    os.close(reader)


def messages(data):
    return [LINE.fullmatch(line)[3] for line in data.decode().splitlines()]


def test_a_full_pipe_costs_records_and_no_wait(fifo, path):
    log = ErrorLog(str(path))
    for _ in range(2_000):
        log.info("x" * 100)
    taken = len(drain(fifo).splitlines())
    log.info("room again")
    log.close()
    assert messages(drain(fifo)) == [
        f"{2_000 - taken} log records could not be written and were dropped",
        "room again",
    ]


def test_a_long_record_reaches_a_pipe_whole(fifo, path):
    log = ErrorLog(str(path))
    log.error("trace\n%s", "\n".join(f"line {number}" for number in range(3_000)))
    log.close()
    assert drain(fifo).splitlines()[1:] == [b"line %d" % number for number in range(3_000)]


def test_a_record_that_a_pipe_takes_a_part_of_ends_with_a_line_and_counts_as_dropped(fifo, path):
    log = ErrorLog(str(path))
    log.error("trace\n%s", "\n".join(f"line {number}" for number in range(20_000)))
    assert drain(fifo).endswith(b"\n")
    log.info("next")
    log.close()
    assert messages(drain(fifo)) == ["1 log records could not be written and were dropped", "next"]


def test_a_line_that_was_cut_is_ended_before_the_next(fifo, path):
    log = ErrorLog(str(path))
    log.error("x" * 200_000)
    assert drain(fifo).endswith(b"x")
    log.info("next")
    log.close()
    assert drain(fifo).splitlines()[0] == b""


def test_a_pipe_that_nobody_reads_is_refused_at_the_start(path):
    os.mkfifo(path)
    with pytest.raises(BootError, match=r"cannot open the error log .*: nobody reads from it"):
        ErrorLog(str(path))


def test_a_pipe_that_nobody_reads_does_not_hold_a_reopening(log, path):
    number = log.fileno()
    path.rename(path.with_suffix(".old"))
    os.mkfifo(path)
    log.reopen()
    assert log.fileno() == number
    assert "nobody reads from it; going on" in path.with_suffix(".old").read_text()


def pipe():
    return os.pipe()


def stream():
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


def terminal():
    reading, writing = pty.openpty()
    tty.setraw(writing)
    return reading, writing


FLOOD = """
import os, sys
from pyserver.log import ErrorLog
if len(sys.argv) > 1:
    os.setuid(int(sys.argv[1]))  # The pipe cannot be opened once more.
log = ErrorLog("-")
for _ in range(5_000):
    log.error("x" * 100)
print(os.get_blocking(2))
"""


@pytest.mark.parametrize("channel", [pipe, stream, terminal])
@pytest.mark.parametrize("user", [(), ("65534",)], ids=["own", "of-another-user"])
def test_standard_error_that_nobody_reads_neither_holds_the_writer_nor_changes_for_others(channel, user):
    if user and os.geteuid() != 0:
        pytest.skip("only root can be another user")
    reading, writing = channel()
    try:
        command = [sys.executable, "-c", FLOOD, *user]
        flood = subprocess.run(command, stdout=subprocess.PIPE, stderr=writing, env=ENVIRON, timeout=30, check=True)
        assert flood.stdout == b"True\n"
        assert drain(reading).startswith(b"[")
    finally:
        os.close(reading)
        os.close(writing)


TRACES = """
import os
from pyserver.log import ErrorLog
log = ErrorLog("-")
for _ in range(100):
    log.error("trace%s", f"\\n{os.getpid()} line of a trace" * 400)
"""


def lines_of_two_processes():
    """What they have written to one pipe at the same time."""
    reading, writing = os.pipe()
    processes = [subprocess.Popen([sys.executable, "-c", TRACES], stderr=writing, env=ENVIRON) for _ in range(2)]
    os.close(writing)
    with open(reading, "rb") as pipe_end:
        lines = pipe_end.read().decode().splitlines()
    assert [process.wait(10) for process in processes] == [0, 0]
    return lines


def test_processes_that_share_a_pipe_do_not_mix_their_lines():
    def both_have_written():
        lines = lines_of_two_processes()
        mixed = [line for line in lines if not re.fullmatch(r"\d+ line of a trace", line) and not LINE.fullmatch(line)]
        assert not mixed
        return len({line for line in lines if line.endswith("line of a trace")}) == 2

    # Again, when one of them found the pipe full each time.
    eventually(both_have_written, within=20)
