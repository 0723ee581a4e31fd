"""A server in the background: when the command ends, with what, and what the daemon is then."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support import Client, eventually, living

import pyserver

ROOT = str(Path(pyserver.__file__).parents[1])
APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
# Importing it takes until somebody opens the gate.
GATED = f"""
open("booting", "w").close()
with open("gate") as gate:
    gate.read()
{APPLICATION}
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a descriptor is is seen in /proc")


class Daemon:
    """What `pyserver --daemon` starts in a directory: the command, and the server that it leaves behind."""

    def __init__(self, directory):
        self.directory = directory
        self.pidfile = directory / "pid"
        self.log = directory / "error.log"

    def command(self, *arguments, source=APPLICATION, **options):
        """Start the command; what it prints is to be read from it."""
        (self.directory / "app.py").write_text(source)
        own = ["-D", "-p", "pid", "-b", "unix:s.sock", "--error-logfile", "error.log"]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(
            [sys.executable, "-m", "pyserver", *own, *arguments, "app:application"],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            **options,
        )

    def start(self, *arguments, **options):
        """The exit code of the command and what it wrote to standard error, after all its writers have closed it."""
        process = self.command(*arguments, **options)
        _, printed = process.communicate(timeout=20)
        return process.returncode, printed

    @property
    def pid(self):
        return int(self.pidfile.read_text())

    def answer(self):
        with Client(str(self.directory / "s.sock")) as client:
            return client.request("GET", "/").content

    def stop(self):
        """Stop it by its pid file; nothing is left."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = self.pid
            group = os.getpgid(pid)
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not living(group), within=10)


@pytest.fixture
def daemon(tmp_path):
    started = Daemon(tmp_path)
    yield started
    started.stop()


def descriptors(pid):
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


def test_the_command_ends_well_when_the_server_answers(daemon):
    assert daemon.start() == (0, "")
    assert daemon.answer() == b"hello"


def test_a_caller_that_ignores_the_death_of_children_is_answered_too(daemon):
    assert daemon.start(preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)) == (0, "")
    assert daemon.answer() == b"hello"


def test_the_command_waits_for_the_first_worker(daemon):
    os.mkfifo(daemon.directory / "gate")
    process = daemon.command(source=GATED)
    eventually((daemon.directory / "booting").exists)
    assert process.poll() is None
    (daemon.directory / "gate").write_text("")
    assert process.communicate(timeout=20) == ("", "")
    assert (process.returncode, daemon.answer()) == (0, b"hello")


def test_it_is_stopped_by_its_pid_file_and_leaves_nothing(daemon):
    daemon.start("--workers", "2")
    group = os.getpgid(daemon.pid)
    assert len(living(group)) >= 2
    daemon.stop()
    assert living(group) == []
    assert {path.name for path in daemon.directory.iterdir()} == {"app.py", "error.log"}


def test_it_has_a_session_of_its_own_that_it_does_not_lead(daemon):
    daemon.start()
    assert os.getsid(daemon.pid) not in (os.getsid(0), daemon.pid)


@needs_proc
def test_nothing_of_it_holds_a_standard_descriptor_of_the_command(daemon):
    daemon.start("--workers", "2")
    for pid in living(os.getpgid(daemon.pid)):
        assert descriptors(pid) == [os.devnull] * 3


@needs_proc
def test_with_inheritance_a_redirected_output_goes_on(daemon):
    with (daemon.directory / "output").open("w") as output:
        code, _ = daemon.start("-R", "--error-logfile", "-", stdout=output, stderr=output)
    assert code == 0
    assert descriptors(daemon.pid) == [os.devnull, output.name, output.name]
    assert "Booting worker" in Path(output.name).read_text()
    assert "nothing is logged" not in Path(output.name).read_text()


def test_a_log_that_goes_nowhere_is_warned_of(daemon):
    assert daemon.start("--error-logfile", "-") == (
        0, "pyserver: warning: -D: a daemon has no standard error, so nothing is logged; name a file with errorlog\n",
    )  # fmt: skip


def test_relative_paths_go_on_after_a_reload(daemon):
    (daemon.directory / "conf.py").write_text("workers = 1\n")
    daemon.start("-c", "conf.py")
    os.kill(daemon.pid, signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in daemon.log.read_text())
    assert daemon.answer() == b"hello"


def test_its_files_are_written_by_its_user_alone(daemon):
    before = os.umask(0)
    try:
        daemon.start()
    finally:
        os.umask(before)
    assert stat.S_IMODE(daemon.log.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        ("raise RuntimeError('no database')", 4, "the server cannot start: "),
        ("import os, signal; os.kill(os.getppid(), signal.SIGTERM); os.read(os.pipe()[0], 1)", 1,
         "the server was stopped before it was ready"),
        ("import os, signal; os.kill(os.getppid(), signal.SIGKILL)", 1, "the server ended before it was ready"),
    ],
)  # fmt: skip
def test_a_server_that_does_not_serve_is_the_failure_of_the_command(daemon, source, code, line):
    remember = "import os; open('group', 'w').write(str(os.getpgrp()))\n"
    returned, printed = daemon.start(source=remember + source + APPLICATION)
    assert returned == code
    assert printed.startswith(f"pyserver: {line}")
    assert printed.count("\n") == 1
    eventually(lambda: not living(int((daemon.directory / "group").read_text())))
    daemon.pidfile.unlink(missing_ok=True)


def test_an_address_in_use_is_the_failure_of_the_second_command(daemon):
    daemon.start()
    code, printed = daemon.start("--pid", "other")
    assert (code, printed.count("\n")) == (1, 1)
    assert printed.startswith("pyserver: cannot listen on unix:s.sock: another process listens on it")
    assert daemon.answer() == b"hello"


def test_a_start_that_is_interrupted_leaves_nothing(daemon):
    os.mkfifo(daemon.directory / "gate")
    # Whoever runs the tests in the background may have taken the signal from all that they start.
    process = daemon.command(source=GATED, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    eventually((daemon.directory / "booting").exists)
    group = os.getpgid(daemon.pid)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    eventually(lambda: not living(group))
