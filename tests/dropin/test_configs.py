"""Whether a gunicorn.conf.py works unchanged: each is checked, and each that can be is served one request."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from dropin.configs import CONFIGS, MODULES, Config
from support import Client, Response, Server

import pyserver
from pyserver.settings.unavailable import UNAVAILABLE

ROOT = str(Path(pyserver.__file__).parents[1])
AT_ONCE = 4
SERVED = [config for config in CONFIGS if not config.refused]
by_name = [config.name for config in CONFIGS]
# One process imports the server, and a copy of it checks each file, as the command would.
CHECK_ALL = """
import json, os, sys
import pyserver.cli
found = {}
for name, application, env in json.load(sys.stdin):
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.chdir(name)
        os.environ.update(env, PWD=os.getcwd())
        os.dup2(write_end, 2)
        sys.stdout = open(os.devnull, "w")
        code = pyserver.cli.main(["--check-config", *filter(None, [application])])
        os._exit(code)
    os.close(write_end)
    with open(read_end) as said:
        text = said.read()
    found[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text
print(json.dumps(found))
"""


class Answer(NamedTuple):
    """What came of serving with a config file."""

    response: Response
    workers: list[int]
    log: str
    exit_code: int


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A directory with the modules, and for each config a directory with the file."""
    root = tmp_path_factory.mktemp("site")
    for path, source in MODULES.items():
        (root / "modules" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "modules" / path).write_text(textwrap.dedent(source), "utf-8")
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(root / "authority.pem"))
    issued = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    (root / "shop.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (root / "shop-key.pem").write_bytes(issued.private_key_pem.bytes())
    for config in CONFIGS:
        (root / config.name).mkdir()
        (root / config.name / "gunicorn.conf.py").write_text(textwrap.dedent(config.text), "utf-8")
    return root


@pytest.fixture(scope="module")
def checked(site) -> dict[str, tuple[int, str]]:
    """The exit code and the standard error of a check, by the name of the config."""
    path = os.pathsep.join([ROOT, str(site / "modules")])
    finished = subprocess.run(
        [sys.executable, "-c", CHECK_ALL],
        cwd=site,
        env={"PATH": os.defpath, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        input=json.dumps([[one.name, one.application, dict(one.env)] for one in CONFIGS]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def served(site) -> dict[str, Answer]:
    """What came of each config that can be served, by its name; several are served at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip([one.name for one in SERVED], pool.map(lambda one: serve(one, site), SERVED), strict=True))


def serve(config: Config, site: Path) -> Answer:
    env = {"PYTHONPATH": os.pathsep.join([ROOT, str(site / "modules")]), **config.env}
    # Any free port in place of the one that is written, and the line that tells which one it is.
    bind = None if config.binds else "127.0.0.1:0"
    *arguments, last = filter(None, ["--log-level=info", config.application])
    server = Server(last, *arguments, directory=site / config.name, env=env, bind=bind)
    try:
        server.wait_until_listening(60)
        tls = ssl.create_default_context(cafile=str(site / "authority.pem")) if config.is_secure else None
        with Client(server.address, 60, tls=tls) as client:
            response = client.request("GET")
        workers = server.workers()
    finally:
        exit_code = server.stop(within=60)
    return Answer(response, workers, server.log(), exit_code)


def test_there_are_many():
    assert len(CONFIGS) >= 50
    assert len(set(by_name)) == len(by_name)


@pytest.mark.parametrize("config", CONFIGS, ids=by_name)
def test_a_check_accepts_it_and_names_what_has_no_effect(checked, config):
    if config.refused and config.refused not in UNAVAILABLE:
        pytest.skip(f"{config.refused} is there, and has tests of its own")
    exit_code, said = checked[config.name]
    *warnings, last = [*said.splitlines(), ""] if not config.refused else said.splitlines()
    if config.refused:
        assert re.match(rf"pyserver: gunicorn\.conf\.py:\d+: {config.refused} is .*, but ", last)
        assert exit_code == 1
        return
    assert (exit_code, last) == (0, ""), said
    found = [re.search(r"^pyserver: warning: .*: (\w+)(?: \w+)? has no effect", line) for line in warnings]
    assert all(found), said
    assert sorted(one[1] for one in found) == sorted(config.warnings)


@pytest.mark.parametrize("config", SERVED, ids=[one.name for one in SERVED])
def test_it_serves(served, config):
    answer = served[config.name]
    assert (answer.response.status, answer.response.content[:4]) in ((200, b"shop"), (200, b"from")), answer.log
    assert answer.exit_code == 0
    said = [config.says.format(pid=pid) for pid in answer.workers] if "{pid}" in config.says else [config.says]
    assert any(text in answer.log for text in said), answer.log
    assert "Traceback" not in answer.log
