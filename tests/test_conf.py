"""Whether the units in conf/ are understood by systemd, and their command lines by the server."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Server

from pyserver.settings.model import Settings

UNITS = Path(__file__).parents[1] / "conf" / "systemd"
EXECUTABLE = "/srv/app/.venv/bin/pyserver"
WITH_SOCKET = ["pyserver.service", "pyserver.service.d/socket.conf", "pyserver.socket"]
NOTIFY_RELOAD = "Type=notify-reload\n"
APPLICATION = "def application(environ, start_response):\n    return []\n"


def command_lines() -> list[str]:
    files = [UNITS / name for name in WITH_SOCKET]
    return [line for path in files for line in re.findall(r"(?m)^ExecStart=(.+)$", path.read_text("utf-8"))]


def knows_notify_reload() -> bool:
    answer = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True)
    return int(re.search(r"systemd (\d+)", answer.stdout)[1]) >= 253


def for_older_systemd(text: str) -> str:
    """The unit as its comment says."""
    instead = re.search(r"(?m)^# Before systemd 253 .*:\n((?:#   .+\n)+)", text)[1]
    assert NOTIFY_RELOAD in text
    return text.replace(NOTIFY_RELOAD, instead.replace("#   ", ""))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
@pytest.mark.parametrize("is_older", [False, True], ids=["as-it-is", "for-older-systemd"])
@pytest.mark.parametrize("names", [WITH_SOCKET[:1], WITH_SOCKET], ids=["service", "service-and-socket"])
def test_systemd_accepts_the_units(names, is_older, tmp_path):
    if not is_older and not knows_notify_reload():
        pytest.skip("systemd is too old here")
    for name in names:
        # systemd looks for the executable, and the example's is not on this machine.
        text = (UNITS / name).read_text("utf-8").replace(EXECUTABLE, sys.executable)
        if is_older and name == "pyserver.service":
            text = for_older_systemd(text)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    units = [name for name in names if not name.endswith(".conf")]
    verdict = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    about_ours = [line for line in verdict.stderr.splitlines() if "pyserver" in line]
    assert (verdict.returncode, about_ours) == (0, [])


@pytest.mark.parametrize("command", command_lines())
def test_the_server_accepts_the_command_line_of_a_unit(command, start, tmp_path):
    executable, *arguments, application = command.split()
    assert executable == EXECUTABLE
    (tmp_path / "app.py").write_text(APPLICATION, "utf-8")
    server: Server = start(application, "--check-config", *arguments)
    assert server.wait() == 0, server.log()


@pytest.fixture
def service():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNITS / "pyserver.service")
    return unit["Service"]


def test_the_service_stops_later_than_the_workers(service):
    assert service.getint("TimeoutStopSec") > Settings().graceful_timeout


def test_the_service_waits_longer_for_its_start_than_the_arbiter_for_a_worker(service):
    assert service.getint("TimeoutStartSec") > Settings().boot_timeout
