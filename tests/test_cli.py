"""Whether the command says what is wrong in one line, and what it does instead of serving."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import eventually

import pyserver
from pyserver.settings.unavailable import UNAVAILABLE

ROOT = Path(pyserver.__file__).parents[1]
WSGI = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
ASGI = "async def application(scope, receive, send):\n    pass\n"
# Without logging, which setproctitle imports.
TABOO = {
    "argparse", "ast", "asyncio", "dataclasses", "email", "http", "importlib.metadata", "inspect", "multiprocessing",
    "shlex", "ssl", "tomllib",
}  # fmt: skip


@pytest.fixture
def python(tmp_path):
    """Run Python in a directory of its own: `python("-m", "pyserver", …, env={})`."""

    def run(*arguments, env=None):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run


@pytest.fixture
def command(python, tmp_path):
    """Run the command, with app.py beside it: `command(*arguments, env={})`."""
    (tmp_path / "app.py").write_text(WSGI)
    return lambda *arguments, env=None: python("-m", "pyserver", *arguments, env=env)


def refusal(finished):
    """The one line that a command wrote before it exited with 1."""
    assert (finished.returncode, finished.stdout) == (1, ""), finished
    (line,) = finished.stderr.splitlines()
    assert line.startswith("pyserver: ")
    return line.removeprefix("pyserver: ")


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_the_version_is_printed(command, flag):
    finished = command(flag)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, f"pyserver {pyserver.__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_is_printed(command, flag):
    finished = command("app:application", flag)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "--workers" in finished.stdout


def test_a_reader_that_has_seen_enough_is_no_mistake(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        finished = subprocess.run(
            [sys.executable, "-m", "pyserver", "--help"],
            cwd=tmp_path,
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--nonsense", "app:application"], "--nonsense: there is no such option; see --help"),
        (
            ["--protocol", "uwsgi", "app:application"],
            f"--protocol: protocol is 'uwsgi', but {UNAVAILABLE['protocol'].why}",
        ),
        (["-w", "0", "app:application"], "-w: workers is '0', below its minimum 1"),
        (["--admin", "0.0.0.0", "a:a"], "--admin: admin is '0.0.0.0', but it must be HOST:PORT or unix:PATH"),
        ([], "no application was given; name it last, as in: pyserver module:attribute"),
        (["--chdir", "nowhere", "app:application"], "--chdir: chdir is 'nowhere': No such file or directory"),
        (
            ["--tmp-upload-dir", "nowhere", "app:application"],
            "--tmp-upload-dir: tmp_upload_dir is 'nowhere', and no file can be made there",
        ),
        (["-c", "none.py", "app:application"], "-c: cannot read the config file 'none.py': No such file or directory"),
    ],
)
def test_a_mistake_of_the_operator_is_one_line_and_exit_code_1(command, arguments, line):
    assert refusal(command(*arguments)) == line


def test_a_broken_config_file_is_one_line(command, tmp_path):
    (tmp_path / "pyserver.conf.py").write_text("workers = 1\nbind = 1 / 0\n")
    assert refusal(command("app:application")) == "pyserver.conf.py:2: ZeroDivisionError: division by zero"


def test_what_has_no_effect_is_warned_of(command, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("raw_paste_global_conf = dirty_workers = 0\nhttp_parser = 'fast'\n")
    finished = command("--check-config", "--worker-tmp-dir", "/dev/shm", "app:application")
    assert finished.returncode == 0
    starts = ["gunicorn.conf.py:2: http_parser has no effect: ", "--worker-tmp-dir: worker_tmp_dir has no effect: "]
    lines = finished.stderr.splitlines()
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"pyserver: warning: {start}")


def test_a_paste_file_in_place_of_an_application_is_explained(command):
    finished = command("--paste", "shop.ini")
    assert finished.returncode == 1
    warning, mistake = finished.stderr.splitlines()
    assert "paste.deploy.loadapp(" in warning
    assert mistake.startswith("pyserver: no application was given")


def test_an_application_is_served_in_place_of_tornados_workers(command):
    finished = command("--check-config", "-k", "tornado", "app:application")
    assert finished.returncode == 0
    assert finished.stderr.startswith("pyserver: warning: -k: worker_class tornado has no effect: ")


@pytest.mark.parametrize(
    ("arguments", "warnings"),
    [
        (
            ["-k", "sync", "--worker-connections", "50"],
            "--worker-connections: worker_connections has no effect with sync workers",
        ),
        (["-k", "gthread", "--loop", "uvloop"], "--loop: asgi_loop has no effect with threaded workers"),
        (["-k", "plain_worker:PlainWorker", "--worker-connections", "50", "--threads", "3"], ""),
    ],
)
def test_what_has_no_effect_with_a_class_of_workers_is_warned_of(command, tmp_path, arguments, warnings):
    shutil.copy(ROOT / "tests" / "workers" / "plain_worker.py", tmp_path)
    finished = command("--check-config", *arguments, "app:application")
    assert finished.returncode == 0
    assert finished.stderr == (warnings and f"pyserver: warning: {warnings}\n")


def test_a_check_that_finds_nothing_is_silent(command):
    finished = command("--check-config", "app:application")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere:application"], ["'nowhere'", "cannot be found"]),
        (["app:nothing"], ["'app'", "no attribute 'nothing'"]),
        (["app:__name__"], ["'app:__name__'", "cannot be called"]),
        (["-k", "sync", "asynchronous:application"], ["ASGI application", "-k asgi"]),
        (["-k", "nonsense", "app:application"], ["worker_class 'nonsense' is not known"]),
    ],
)
def test_a_check_tells_what_is_wrong_with_the_application(command, tmp_path, arguments, words):
    (tmp_path / "asynchronous.py").write_text(ASGI)
    line = refusal(command("--check-config", *arguments))
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--pid", "nowhere/x"], "cannot write the pid file 'nowhere/x': No such file or directory"),
        (["-b", "unix:nowhere/x"], "cannot listen on unix:nowhere/x: No such file or directory"),
        (["--error-logfile", "app.py/x"], "cannot open the error log 'app.py/x': Not a directory"),
        (["--access-logfile", "nowhere/x"], "cannot open the access log nowhere/x: No such file or directory"),
        (
            ["--reload", "--reload-extra-file", "*.html", "--reload-extra-file", "nowhere"],
            "--reload-extra-file: reload_extra_files has 'nowhere': there is no such file",
        ),
    ],
)
def test_a_check_tells_of_files_that_cannot_be_had(command, arguments, line):
    assert refusal(command("--check-config", *arguments, "app:application")) == line


def test_a_check_shows_where_the_application_raised(command, tmp_path):
    (tmp_path / "broken.py").write_text("\nimport os\nos.environ['MISSING']\n")
    finished = command("--check-config", "broken:application")
    assert finished.returncode == 1
    assert finished.stderr.startswith("pyserver: module 'broken' cannot be imported: KeyError: 'MISSING'\n")
    assert 'broken.py", line 3' in finished.stderr


def test_a_check_imports_nothing_that_the_application_would_find_by_it_alone(command, tmp_path):
    (tmp_path / "bare.py").write_text(
        f"import sys\nassert not {{'configparser', 'traceback'}} & sys.modules.keys()\n{WSGI}"
    )
    finished = command("--check-config", "bare:application")
    assert (finished.returncode, finished.stderr) == (0, "")


def test_the_settings_are_printed_and_then_checked(command):
    finished = command("--print-config", "-w", "3", "app:nothing")
    assert "workers = 3" in finished.stdout
    assert finished.returncode == 1
    assert "no attribute 'nothing'" in finished.stderr


def test_the_application_finds_the_directory_the_path_and_the_environment(command, tmp_path):
    site, library = tmp_path / "site", tmp_path / "site" / "library"
    library.mkdir(parents=True)
    (library / "helper.py").write_text("")
    (site / "inside.py").write_text(
        f"import helper, os\nassert os.getcwd() == {str(site)!r}\nassert os.environ['A'] == 'b=c'\n{WSGI}"
    )
    arguments = ["--chdir", "site", "--pythonpath", "library", "-e", "A=b=c"]
    finished = command("--check-config", *arguments, "inside:application", env={"A": "replaced"})
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_config_file_can_import_what_lies_beside_it_and_set_variables(command, tmp_path):
    (tmp_path / "beside.py").write_text("name = 'app:application'\n")
    (tmp_path / "pyserver.conf.py").write_text("import beside, os\nos.environ['B'] = '1'\nwsgi_app = beside.name\n")
    (tmp_path / "app.py").write_text(f"import os\nassert os.environ['B'] == '1'\n{WSGI}")
    finished = command("--check-config")
    assert (finished.returncode, finished.stderr) == (0, "")


def test_run_returns_when_all_is_well(python, tmp_path):
    (tmp_path / "app.py").write_text(WSGI)
    finished = python("-c", "import pyserver; print(pyserver.run('app:application', check_config=True))")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "None\n", "")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("'app:application', worker=2", "run(): worker is not a setting; did you mean workers?"),
        ("'app:application', workers=0", "run(): workers is 0, below its minimum 1"),
        ("print", "run(): wsgi_app is <built-in function print>, not text"),
    ],
)
def test_run_exits_with_one_line_when_it_cannot_serve(python, call, line):
    assert refusal(python("-c", f"import pyserver; pyserver.run({call})")) == line


def test_run_does_not_read_the_arguments_of_the_script(python, tmp_path):
    (tmp_path / "app.py").write_text(WSGI)
    (tmp_path / "script.py").write_text("import pyserver\npyserver.run('app:application', check_config=True)\n")
    assert python("script.py", "--nonsense").returncode == 0


def test_the_command_imports_nothing_heavy(python):
    # An editable installation loads some of them before anything of ours runs.
    finished = python("-c", "import sys; bare = {*sys.modules}; import pyserver.cli; print(*sys.modules.keys() - bare)")
    assert finished.returncode == 0, finished.stderr
    assert not TABOO & set(finished.stdout.split())


def test_a_reload_reads_the_config_file_from_the_start_directory(serve, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "inside.py").write_text(WSGI)
    config = tmp_path / "pyserver.conf.py"
    config.write_text("chdir = 'site'\nworkers = 1\n")
    server = serve("inside:application")
    config.write_text("chdir = 'site'\nworkers = 2\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: len(server.workers()) == 2)


def test_a_reload_with_a_broken_config_file_leaves_the_server_as_it_was(serve, tmp_path):
    config = tmp_path / "pyserver.conf.py"
    server = serve(WSGI)
    workers = eventually(server.workers)
    config.write_text("workers = none\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "pyserver.conf.py:1: NameError: name 'none' is not defined" in server.log())
    assert server.get().status == 200
    assert server.workers() == workers
