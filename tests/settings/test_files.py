"""Whether a config file is read as gunicorn reads it, and what a mistake in one looks like."""

import importlib.util
import sys

import pytest

from pyserver.errors import ConfigError
from pyserver.settings.sources import load_settings
from pyserver.settings.unavailable import UNAVAILABLE

HAS_TOML = sys.version_info >= (3, 11) or importlib.util.find_spec("tomli") is not None
needs_toml = pytest.mark.skipif(not HAS_TOML, reason="the standard library reads TOML from 3.11 on")


@pytest.fixture
def load(tmp_path):
    """Load the settings in a directory with these files: `load(arguments, **{"name.py": source})`."""

    def loaded(*arguments, **files):
        for name, source in files.items():
            (tmp_path / name).write_text(source, "utf-8")
        return load_settings(arguments, {}, str(tmp_path))

    loaded.directory = tmp_path
    return loaded


def load_alone(load, files):
    for path in load.directory.iterdir():
        path.unlink()
    return load(**files)


def message_of(load, *arguments, **files):
    with pytest.raises(ConfigError) as refused:
        load(*arguments, **files)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ["pyserver.conf.py", "gunicorn.conf.py"])
def test_a_file_with_a_default_name_is_read(load, name):
    assert load(**{name: "workers = 3"}).settings.workers == 3


def test_of_two_default_files_one_is_read_and_the_other_warned_of(load):
    loaded = load(**{"pyserver.conf.py": "workers = 3", "gunicorn.conf.py": "workers = 5"})
    assert loaded.settings.workers == 3
    assert loaded.warnings == ("gunicorn.conf.py: not read, because there is a pyserver.conf.py",)


@needs_toml
def test_the_table_of_a_project_file_is_read(load):
    source = '[project]\nname = "shop"\n[tool.pyserver]\nworkers = 3\ntimeout = "1m"\n[tool.ruff]\nworker = 1\n'
    loaded = load(**{"pyproject.toml": source})
    assert (loaded.settings.workers, loaded.settings.timeout) == (3, 60.0)
    assert loaded.origins["timeout"] == "pyproject.toml:5"


@needs_toml
@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("[tool]\npyserver = {workers = 3}\n", 2),
        ("[tool]\npyserver.workers = 3\n", 2),
        ("tool.pyserver.workers = 3\n", 1),
        ("tool = {pyserver = {workers = 3}}\n", 1),
        ("[\"tool\".'pyserver']\nworkers = 3\n", 2),
        ("[\ttool . pyserver\t] # ours\n\tworkers\t= 3\n", 2),
    ],
)
def test_the_table_of_a_project_file_may_be_written_in_any_way(load, source, line):
    loaded = load(**{"pyproject.toml": source, "gunicorn.conf.py": "workers = 5"})
    assert loaded.settings.workers == 3
    assert loaded.origins["workers"] in (f"pyproject.toml:{line}", "pyproject.toml")


@pytest.mark.parametrize(
    "source",
    [
        "[tool.ruff]\nfix = true\n",
        "[project]\ndependencies = ['pyserver']",
        "= =",
        "# [tool.pyserver] would go here",
        "[tool.pyserver-stubs]\nworkers = 7",
        "[project]\ndescription = 'see [tool.pyserver]'",
        pytest.param('[project]\ndescription = """\n[tool.pyserver]\nworkers = 7\n"""', marks=needs_toml),
        "[tool]\nruff = {}",
    ],
)
def test_a_project_file_without_the_table_is_not_looked_at(load, source):
    loaded = load(**{"pyproject.toml": source, "gunicorn.conf.py": "workers = 3"})
    assert (loaded.settings.workers, loaded.warnings) == (3, ())


@needs_toml
def test_of_all_default_files_the_first_is_read(load):
    files = {
        "pyserver.conf.py": "workers = 3",
        "pyserver.toml": "workers = 4",
        "pyproject.toml": "[tool.pyserver]\nworkers = 5",
        "gunicorn.conf.py": "workers = 6",
    }
    names = list(files)
    for at, name in enumerate(names):
        rest = {name: files[name] for name in names[at:]}
        assert load_alone(load, rest).settings.workers == 3 + at, name


def test_a_named_file_replaces_the_default_one(load):
    loaded = load("-c", "other", **{"gunicorn.conf.py": "workers = 5\ntimeout = 1", "other": "workers = 3"})
    assert (loaded.settings.workers, loaded.settings.timeout) == (3, 30.0)


def test_a_file_may_be_named_with_a_scheme(load):
    assert load("-c", "file:other.py", **{"other.py": "workers = 3"}).settings.workers == 3


def test_a_module_can_be_named(load, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert load("-c", "python:module_of_settings", **{"module_of_settings.py": "workers = 3"}).settings.workers == 3


def test_a_module_is_read_again_by_a_reload(load, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    load("-c", "python:module_that_changes", **{"module_that_changes.py": "workers = 3"})
    assert load("-c", "python:module_that_changes", **{"module_that_changes.py": "workers = 4"}).settings.workers == 4


def test_the_code_of_a_file_runs_as_that_of_a_module(load, tmp_path):
    source = "import os\nchdir = os.path.dirname(__file__)\nworkers = max(len(str(n)) for n in range(12))"
    settings = load("-c", "file.py", **{"file.py": source}).settings
    assert (settings.chdir, settings.workers) == (str(tmp_path), 2)


def test_helper_names_are_ignored(load):
    source = "import os\nfrom os import path\nport = 80\n_private = 1\ndef helper(): ...\nclass Worker: ..."
    assert load("-c", "file.py", **{"file.py": source}).warnings == ()


def test_a_name_of_gunicorn_that_is_not_there_is_one_warning(load):
    loaded = load("-c", "file.py", **{"file.py": "workers = 2\ndef dirty_post_fork(a, w):\n    workers = 9\n"})
    why = UNAVAILABLE["dirty_post_fork"].why
    assert loaded.warnings == (f"file.py:2: dirty_post_fork has no effect: {why}",)
    assert loaded.settings.workers == 2


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        ("worker = 4", "file.py:1: worker is not a setting and has no effect; did you mean workers?"),
        ("keep_alive = 4", "file.py:1: keep_alive is not a setting and has no effect; did you mean keepalive?"),
        ("log_level = 'info'", "file.py:1: log_level is not a setting and has no effect; did you mean loglevel?"),
        ("log_file = '-'", "file.py:1: log_file is not a setting and has no effect; did you mean errorlog?"),
        ("config = 'x'", "file.py:1: config has no effect in a config file"),
    ],
)
def test_a_name_that_was_probably_meant_otherwise_is_warned_of(load, source, warning):
    assert load("-c", "file.py", **{"file.py": source}).warnings == (warning,)


def test_a_helper_that_is_near_a_setting_that_is_given_is_not_warned_of(load):
    assert load("-c", "file.py", **{"file.py": "log_file = '-'\nerrorlog = log_file"}).warnings == ()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("workers = 0", "file.py:1: workers is 0, below its minimum 1"),
        ("workers = 1\nif True:\n    workers = -1", "file.py:3: workers is -1, below its minimum 1"),
        ("\nbind = 8000", "file.py:2: bind is 8000, neither text nor a list of texts"),
        ("workers = 1\nworkers = = 2", "file.py:2: SyntaxError: invalid syntax"),
        ("\nworkers = count", "file.py:2: NameError: name 'count' is not defined"),
        ("import nowhere_to_be_found", "file.py:1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("def f():\n    return 1 / 0\n\nf()", "file.py:2: ZeroDivisionError: division by zero"),
        ("raise SystemExit('two\\nlines')", "file.py:1: SystemExit: two lines"),
        ("import sys\nsys.exit()", "file.py:2: SystemExit"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_its_place(load, source, message):
    assert message_of(load, "-c", "file.py", **{"file.py": source}) == message


def test_a_file_that_is_no_text_is_refused(load, tmp_path):
    (tmp_path / "file.py").write_bytes(b"name = '\xff\xfe'\n")
    assert message_of(load, "-c", "file.py").startswith("file.py")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("none.py", "-c: cannot read the config file 'none.py': No such file or directory"),
        (".", "-c: cannot read the config file '.': Is a directory"),
        (
            "python:nowhere.at.all",
            "-c: cannot import the config module 'nowhere.at.all': ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("python:", "-c: cannot import the config module '': ValueError: Empty module name"),
    ],
)
def test_a_file_that_cannot_be_had_is_refused_with_the_flag_that_named_it(load, spec, message):
    assert message_of(load, "-c", spec) == message


@needs_toml
def test_toml_gives_settings(load):
    source = 'bind = ["127.0.0.1:1"]\nkeepalive = 5\n[secure_scheme_headers]\nX-Scheme = "https"\n'
    settings = load("-c", "file.toml", **{"file.toml": source}).settings
    assert (settings.bind, settings.keepalive) == (("127.0.0.1:1",), 5.0)
    assert settings.secure_scheme_headers == {"X-Scheme": "https"}


@needs_toml
def test_a_toml_key_of_gunicorn_is_a_warning(load):
    loaded = load("-c", "file.toml", **{"file.toml": "http_parser = 'fast'"})
    assert loaded.warnings == ("file.toml:1: http_parser has no effect: there is one parser, and it is compiled",)


@needs_toml
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("worker = 2", "file.toml:1: worker is not a setting; did you mean workers?"),
        ("keep-alive = 2", "file.toml:1: keep-alive is not a setting; did you mean keepalive?"),
        ("workers = 2\n[sendfil]\na = 1", "file.toml:2: sendfil is not a setting; did you mean sendfile?"),
        ("port = 80", "file.toml:1: port is not a setting"),
        ("workers = 2\n\nworkers-  = 0", "file.toml:3: workers- is not a setting; did you mean workers?"),
        ("timeout = 2024-01-01", "file.toml:1: timeout is datetime.date(2024, 1, 1), neither a number of seconds"),
        ("workers = 0", "file.toml:1: workers is 0, below its minimum 1"),
        ("workers =\n", "file.toml: TOMLDecodeError: Invalid value (at line 1, column 10)"),
    ],
)
def test_a_mistake_in_toml_is_one_line(load, source, message):
    assert message_of(load, "-c", "file.toml", **{"file.toml": source}).startswith(message)


@needs_toml
def test_a_project_file_whose_table_is_none_is_refused(load):
    message = message_of(load, **{"pyproject.toml": "tool.pyserver = 3"})
    assert message == "pyproject.toml: tool.pyserver is not a table"


def test_toml_where_nothing_reads_it_is_refused(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    message = message_of(load, "-c", "file.toml", **{"file.toml": "workers = 2"})
    assert message == "file.toml: TOML cannot be read by this Python; take 3.11 or later, or: pip install tomli"
