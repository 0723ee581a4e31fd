"""Whether log files that logrotate has renamed are continued in new ones."""

import re
import subprocess
from pathlib import Path

import pytest
from conf.files import APPLICATION, read, tool
from support import eventually

RULES = read("logrotate/pyserver")
LOGROTATE = tool("logrotate")
LOG = Path("logs", "access.log")


@pytest.fixture
def rules(tmp_path):
    """A file with the rules, about a directory of the test."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "rules"
    text = RULES.replace("/var/log/pyserver", f"{tmp_path}/logs").replace("/run/pyserver.pid", f"{tmp_path}/pid")
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    return path


@pytest.fixture
def server(rules, serve):
    """One that has logged its first request."""
    server = serve(APPLICATION, "--pid", "pid", "--access-logfile", str(LOG))
    server.get("/before")
    eventually(lambda: "/before" in (server.directory / LOG).read_text("utf-8"))
    return server


def check_that_a_new_file_goes_on(server, renamed):
    log = server.directory / LOG
    eventually(log.exists)
    eventually(lambda: server.get("/after").status == 200 and "/after" in log.read_text("utf-8"))
    assert "/before" in renamed.read_text("utf-8")
    assert "/before" not in log.read_text("utf-8")


def test_what_is_run_behind_a_rotation_has_the_server_open_its_files(server, rules):
    [script] = re.findall(r"(?s)postrotate\n(.+?)endscript", rules.read_text("utf-8"))
    log = server.directory / LOG
    renamed = log.rename(log.with_suffix(".log.1"))
    subprocess.run(["sh", "-ec", script], check=True)
    check_that_a_new_file_goes_on(server, renamed)


def test_the_files_of_a_server_that_is_stopped_are_rotated_without_it(rules):
    [script] = re.findall(r"(?s)postrotate\n(.+?)endscript", rules.read_text("utf-8"))
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not LOGROTATE, reason="logrotate is not installed here")
def test_logrotate_finds_nothing_wrong(rules):
    said = subprocess.run([LOGROTATE, "--debug", rules], capture_output=True, text=True)
    assert said.returncode == 0
    assert "error" not in said.stderr


@pytest.mark.skipif(not LOGROTATE, reason="logrotate is not installed here")
def test_logrotate_leaves_the_files_to_the_server(server, rules):
    subprocess.run([LOGROTATE, "--force", "--state", rules.with_name("state"), rules], check=True)
    check_that_a_new_file_goes_on(server, (server.directory / LOG).with_suffix(".log.1"))
