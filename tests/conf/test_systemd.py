"""Whether the units in conf/systemd are understood by systemd, confine well, and fit the server's settings."""

import configparser
import re
import subprocess
import sys

import pytest
from conf.files import CONF, objection, read, tool

from pyserver.settings.model import Settings

UNITS = CONF / "systemd"
WITH_SOCKET = ["pyserver.service", "pyserver.service.d/socket.conf", "pyserver.socket"]
TEMPLATE = ["pyserver@.service", "pyserver@.socket"]
SERVICES = ["pyserver.service", "pyserver@.service"]
NOTIFY = "Type=notify\nExecReload=/bin/kill -HUP $MAINPID\n"
# What an instance has that is its own.
OWN = {"WorkingDirectory", "EnvironmentFile", "ExecStart", "NonBlocking", "StateDirectory"}

needs_systemd = pytest.mark.skipif(not tool("systemd-analyze"), reason="systemd is not installed here")


def version() -> int:
    """Of systemd; 253 and later know notify-reload, 250 and later judge units that are not loaded."""
    answer = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True)
    return int(re.search(r"systemd (\d+)", answer.stdout)[1])


def for_newer_systemd(text: str) -> str:
    """The unit as its comment says."""
    instead = re.search(r"(?m)^# Since systemd 253 .*\n(?:# \S.*\n)*((?:#   .+\n)+)", text)[1]
    assert NOTIFY in text
    return text.replace(NOTIFY, instead.replace("#   ", ""))


def put(names, directory, is_newer=False):
    """Copy units to where systemd is to look at them."""
    for name in names:
        # systemd looks for the executable, and the example's is not on this machine.
        text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", read(f"systemd/{name}"))
        if is_newer and name in SERVICES:
            text = for_newer_systemd(text)
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text, "utf-8")


def analyze(directory, *arguments):
    return subprocess.run(
        ["systemd-analyze", *arguments], cwd=directory, capture_output=True, text=True, timeout=60
    )


@needs_systemd
@pytest.mark.parametrize("is_newer", [False, True], ids=["as-it-is", "for-newer-systemd"])
@pytest.mark.parametrize("names", [WITH_SOCKET[:1], WITH_SOCKET, TEMPLATE], ids=["service", "with-socket", "template"])
def test_systemd_accepts_the_units(names, is_newer, tmp_path):
    if is_newer and version() < 253:
        pytest.skip("systemd is too old here")
    put(names, tmp_path, is_newer)
    verdict = analyze(tmp_path, "verify", "--man=no", *[name for name in names if not name.endswith(".conf")])
    about_ours = [line for line in verdict.stderr.splitlines() if "pyserver" in line]
    assert (verdict.returncode, about_ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_systemd_calls_the_exposure_of_a_service_small(name, tmp_path):
    if version() < 250:
        pytest.skip("systemd is too old here")
    put([name], tmp_path)
    verdict = analyze(tmp_path, "security", "--offline=true", "--no-pager", "--threshold=15", name)
    assert verdict.returncode == 0, verdict.stdout  # at most 1.5 of 10


@pytest.fixture(params=SERVICES)
def service(request):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNITS / request.param)
    return unit["Service"]


def test_the_server_accepts_the_command_line_of_a_service(service, tmp_path):
    executable, *arguments = service["ExecStart"].split()
    assert executable == service["WorkingDirectory"] + "/.venv/bin/pyserver"
    given = dict(line.split("=", 1) for line in read("systemd/shop.env").splitlines() if not line.startswith("#"))
    assert not objection(arguments, tmp_path, **(given if "EnvironmentFile" in service else {}))


def test_a_service_stops_later_than_the_workers(service):
    assert service.getint("TimeoutStopSec") > Settings().drain_delay + Settings().graceful_timeout


def test_a_service_waits_longer_for_its_start_than_the_arbiter_for_a_worker(service):
    assert service.getint("TimeoutStartSec") > Settings().boot_timeout


def test_a_service_outlives_a_worker_that_the_kernel_ends(service):
    assert service["OOMPolicy"] == "continue"


def test_both_services_are_confined_and_stopped_in_the_same_way():
    lines = [
        [line for line in read(f"systemd/{name}").split("[Service]")[1].splitlines() if not line.startswith("#")]
        for name in SERVICES
    ]
    one, other = ([line for line in unit if line.partition("=")[0] not in OWN] for unit in lines)
    assert one == other


def test_an_instance_needs_its_own_socket():
    assert "Requires=pyserver@%i.socket" in read("systemd/pyserver@.service")
    assert "ListenStream=/run/pyserver/%i.sock" in read("systemd/pyserver@.socket")
