"""Workers that run as another user than the arbiter, and what they find there."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support import eventually

import pyserver

NOBODY = pwd.getpwnam("nobody")
APPLICATION = """
    import os

    BOOTED_AS = os.getresuid(), os.getresgid(), os.getgroups()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/make":
            with open("made", "w"):
                pass
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr((BOOTED_AS, os.getpid(), os.environ.get("HOME"))).encode()]
"""


ROOT = str(Path(pyserver.__file__).parents[1])
# What is imported after the switch is the application alone: the user may be unable to read this Python, or this clone.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start workers as another user")


@pytest.fixture
def tmp_path():
    """A directory that others than root can reach, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="pyserver-identity-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def owner_of(path):
    status = path.lstat()
    return status.st_uid, status.st_gid


def run(*arguments, **options):
    environ = {**os.environ, "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False, **options)


def answer(server, target="/"):
    return eval(server.get(target).content)


@needs_root
@pytest.mark.parametrize("arguments", [(), ("--preload",)])
def test_workers_have_switched_before_the_application_is_imported(serve, arguments):
    server = serve(APPLICATION, "--user", "nobody", *arguments, env={"HOME": "/root"})
    ids, pid, home = answer(server)
    assert ids == ((NOBODY.pw_uid,) * 3, (NOBODY.pw_gid,) * 3, [])
    assert home == "/root"
    assert os.stat(f"/proc/{server.pid}").st_uid == 0
    assert pid in server.workers()


@needs_root
def test_a_number_in_a_config_file_is_a_user(serve, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(f"user = {NOBODY.pw_uid}\ngroup = 'daemon'\n")
    (uids, gids, _), _, _ = answer(serve(APPLICATION))
    assert (uids[0], gids[0]) == (NOBODY.pw_uid, pwd.getpwnam("daemon").pw_gid)


@needs_root
def test_a_reload_gives_new_workers_another_user(serve, tmp_path):
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("user = 'nobody'\n")
    server = serve(APPLICATION)
    assert answer(server)[0][0][0] == NOBODY.pw_uid
    config.write_text("user = 'daemon'\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: answer(server)[0][0][0] == pwd.getpwnam("daemon").pw_uid)


@needs_root
def test_log_files_of_a_directory_of_root_are_written_before_and_after_a_rotation(start, tmp_path):
    logs = [tmp_path / "access.log", tmp_path / "error.log"]
    arguments = ["-u", "nobody", "--access-logfile", "access.log", "--error-logfile", "error.log"]
    server = start(APPLICATION, *arguments, bind="unix:s.sock")
    eventually(lambda: logs[1].exists() and "Listening at" in logs[1].read_text())
    server.addresses = [str(tmp_path / "s.sock")]
    assert [owner_of(log) for log in logs] == [(NOBODY.pw_uid, NOBODY.pw_gid)] * 2
    server.get("/before")
    eventually(lambda: "/before" in logs[0].read_text())
    for log in logs:
        log.rename(f"{log}.1")
    server.send_signal(signal.SIGUSR1)
    eventually(lambda: all(log.exists() and owner_of(log)[0] == NOBODY.pw_uid for log in logs))
    eventually(lambda: server.get("/after") and "/after" in logs[0].read_text())
    assert "cannot open" not in server.log() + (tmp_path / "error.log.1").read_text()


@needs_root
def test_standard_output_can_be_the_access_log_whoever_opened_it(serve):
    server = serve(APPLICATION, "-u", "nobody", "--access-logfile", "/dev/stdout")
    server.get("/seen")
    eventually(lambda: "GET /seen" in server.log())


@needs_root
def test_a_directory_that_the_user_cannot_write_in_is_refused_although_root_can(start, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("tmp_upload_dir = 'spool'\n")
    (tmp_path / "spool").mkdir(mode=0o755)
    server = start(APPLICATION, "--user", "nobody")
    assert server.wait() == 1
    assert server.log().startswith("pyserver: ")
    assert "tmp_upload_dir is 'spool', and no file can be made there" in server.log()


@needs_root
def test_who_is_not_root_is_told_so_before_anything_is_started(tmp_path):
    arguments = ["-b", "127.0.0.1:0", "--user", "root", "nowhere:application"]
    code = f"import os, pyserver.cli; os.setuid({NOBODY.pw_uid}); raise SystemExit(pyserver.cli.main({arguments}))"
    finished = run("-c", code, cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (
        1, "pyserver: --user: user is 'root', and only root can start workers as another user\n",
    )  # fmt: skip


def test_a_user_that_does_not_exist_is_refused_in_one_line(start):
    server = start(APPLICATION, "-u", "no-such-user")
    assert server.wait() == 1
    assert server.log() == "pyserver: -u: user is 'no-such-user', but there is no user of that name\n"


@needs_root
def test_a_unix_socket_is_made_under_the_umask_and_belongs_to_the_user(serve, tmp_path):
    server = serve(APPLICATION, "-u", "nobody", "-g", "daemon", "--umask", "007", bind="unix:s.sock")
    path = tmp_path / "s.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o770
    assert owner_of(path) == (NOBODY.pw_uid, pwd.getpwnam("daemon").pw_gid)
    assert server.get().status == 200


@pytest.mark.parametrize(("arguments", "mode"), [(["--umask", "0o27"], 0o640), ([], 0o666 & ~0o22)])
def test_files_of_the_application_are_made_under_the_umask(serve, tmp_path, arguments, mode):
    before = os.umask(0o22)
    try:
        server = serve(APPLICATION, *arguments)
    finally:
        os.umask(before)
    server.get("/make")
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == mode


def test_a_directory_for_heartbeat_files_is_said_to_have_no_effect_once(serve, tmp_path):
    server = serve(APPLICATION, "--worker-tmp-dir", "/no/such/directory")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in server.log())
    assert server.log().count("--worker-tmp-dir: worker_tmp_dir has no effect") == 1


@needs_root
def test_an_application_is_checked_as_the_user_it_would_run_as(tmp_path):
    (tmp_path / "app.py").write_text("import os\nassert os.getuid(), 'root'\ndef application(e, s): ...\n")
    finished = run("-m", "pyserver", "--check-config", "-u", "nobody", "app:application", cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (0, "")


@needs_root
def test_a_check_says_why_an_application_cannot_be_loaded_by_its_user(tmp_path):
    (tmp_path / "app.py").write_text("import os\nos.environ['MISSING']\n")
    finished = run("-m", "pyserver", "--check-config", "-u", "12345678", "app:application", cwd=tmp_path)
    assert finished.returncode == 1
    assert finished.stderr.startswith("pyserver: module 'app' cannot be imported: KeyError: 'MISSING'\n")
    assert 'app.py", line 2' in finished.stderr
