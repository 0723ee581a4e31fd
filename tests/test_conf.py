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
APPLICATION = "def application(environ, start_response):\n    return []\n"


def command_lines() -> list[str]:
    files = [UNITS / name for name in WITH_SOCKET]
    return [line for path in files for line in re.findall(r"(?m)^ExecStart=(.+)$", path.read_text("utf-8"))]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
@pytest.mark.parametrize("names", [WITH_SOCKET[:1], WITH_SOCKET], ids=["service", "service-and-socket"])
def test_systemd_accepts_the_units(names, tmp_path):
    for name in names:
        # systemd looks for the executable, and the example's is not on this machine.
        text = (UNITS / name).read_text("utf-8").replace(EXECUTABLE, sys.executable)
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


def test_the_service_stops_later_than_the_workers():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNITS / "pyserver.service")
    assert unit.getint("Service", "TimeoutStopSec") > Settings().graceful_timeout
