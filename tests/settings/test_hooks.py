"""Whether hooks are taken from where functions can come from, and refused when the server could not call them."""

import sys
from pathlib import Path

import pytest

from pyserver.errors import ConfigError
from pyserver.settings.model import ROWS
from pyserver.settings.reference import render_help, render_settings
from pyserver.settings.sources import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
HOOKS = {name: row for name, row in ROWS.items() if row.is_hook}


@pytest.fixture
def load(tmp_path):
    """Load the settings of a directory with this `gunicorn.conf.py`."""

    def loaded(source="", **keywords):
        (tmp_path / "gunicorn.conf.py").write_text(source, "utf-8")
        return load_settings((), {}, str(tmp_path), keywords)

    return loaded


def refusal(load, source, **keywords):
    with pytest.raises(ConfigError) as refused:
        load(source, **keywords)
    return str(refused.value)


def test_the_hooks_are_those_of_gunicorn():
    signatures = {name: row.facts.metavar for name, row in HOOKS.items()}
    assert signatures == {
        "on_starting": "(server)",
        "when_ready": "(server)",
        "nworkers_changed": "(server, new_value, old_value)",
        "on_reload": "(server)",
        "pre_fork": "(server, worker)",
        "post_fork": "(server, worker)",
        "post_worker_init": "(worker)",
        "pre_request": "(worker, req)",
        "post_request": "(worker, req, environ, resp)",
        "worker_int": "(worker)",
        "worker_abort": "(worker)",
        "worker_exit": "(server, worker)",
        "child_exit": "(server, worker)",
        "ssl_context": "(config, default_ssl_context_factory)",
        "pre_exec": "(server)",
        "on_exit": "(server)",
    }


@pytest.mark.parametrize("row", HOOKS.values(), ids=HOOKS)
def test_a_hook_is_taken_from_the_config_file(load, row):
    settings = load(f"def {row.name}{row.facts.metavar}:\n    return {row.name!r}\n").settings
    assert getattr(settings, row.name)(*range(row.facts.metavar.count(",") + 1)) == row.name


@pytest.mark.parametrize("name", HOOKS)
def test_without_a_hook_there_is_none(load, name):
    assert getattr(load().settings, name) is None


def test_a_hook_is_taken_from_a_keyword(load):
    def ready(server):
        pass

    loaded = load(when_ready=ready)
    assert (loaded.settings.when_ready, loaded.origins["when_ready"]) == (ready, "run()")


def test_a_hook_may_be_the_path_of_a_function(load, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "hooks_of_the_shop.py").write_text("def ready(server): ...\n")
    for text in ("hooks_of_the_shop.ready", "hooks_of_the_shop:ready"):
        assert load(f"when_ready = {text!r}").settings.when_ready.__name__ == "ready"


@pytest.mark.parametrize(
    "source",
    [
        "def post_fork(server, worker, *more): ...",
        "def post_fork(*arguments): ...",
        "def post_fork(server, worker, log=print): ...",
        "post_fork = lambda server, worker: None",
        "import functools\npost_fork = functools.partial(lambda name, server, worker: None, 'shop')",
        "class Hooks:\n    def forked(self, server, worker): ...\npost_fork = Hooks().forked",
        "class Hook:\n    def __call__(self, server, worker): ...\npost_fork = Hook()",
        "post_fork = max",
    ],
)
def test_a_hook_is_whatever_can_be_called_with_its_arguments(load, source):
    assert callable(load(source).settings.post_fork)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "\ndef post_fork(worker): ...",
            "gunicorn.conf.py:2: post_fork is the function post_fork, but it is called with (server, worker)",
        ),
        (
            "\nfrom os.path import lexists as post_fork",
            "gunicorn.conf.py:2: post_fork is the function lexists, but it is called with (server, worker)",
        ),
        ("when_ready = 5", "gunicorn.conf.py:1: when_ready is 5, not a function"),
        (
            "when_ready = 'nowhere.f'",
            "gunicorn.conf.py:1: when_ready is 'nowhere.f', which cannot be imported: No module named 'nowhere'",
        ),
        ("on_exit = 'os.sep'", "gunicorn.conf.py:1: on_exit is 'os.sep', not a function"),
        (
            "def f(worker): ...\npost_request = f",
            "gunicorn.conf.py:2: post_request is the function f, but it is called with (worker, req, environ, resp)",
        ),
        (
            "async def on_exit(server): ...",
            "gunicorn.conf.py:1: on_exit is the function on_exit, but it is asynchronous, and a hook is not awaited",
        ),
    ],
)
def test_a_hook_that_cannot_be_called_is_refused_in_one_line(load, source, message):
    assert refusal(load, source) == message


def test_a_keyword_that_cannot_be_called_is_refused(load):
    assert refusal(load, "", when_ready=print.__name__).startswith("run(): when_ready is 'print', which cannot")


@pytest.mark.parametrize("count", [2, 3, 4])
def test_post_request_is_given_as_many_arguments_as_it_takes(load, count):
    names = ", ".join(["worker", "req", "environ", "resp"][:count])
    hook = load(f"def post_request({names}): return [{names}]").settings.post_request
    assert hook(1, 2, 3, 4) == [1, 2, 3, 4][:count]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("post_request = lambda *arguments: arguments", 4),
        ("post_request = lambda worker, req, environ=None: (worker, req, environ)", 3),
        ("import functools\npost_request = functools.partial(lambda *arguments: arguments[1:], 0)", 4),
    ],
)
def test_post_request_is_given_all_that_it_can_take(load, source, count):
    assert load(source).settings.post_request(1, 2, 3, 4) == (1, 2, 3, 4)[:count]


def test_settings_know_whether_there_are_hooks(load):
    assert not load("workers = 2").settings.has_hooks
    assert load("def on_exit(server): ...").settings.has_hooks


@pytest.mark.parametrize("row", HOOKS.values(), ids=HOOKS)
def test_a_hook_has_neither_flag_nor_variable(row, tmp_path):
    assert (row.flags, row.negative_flag, row.variable) == ((), "", "")
    assert row.name not in render_help()
    loaded = load_settings((), {"PYSERVER_" + row.name.upper(): "os.getpid"}, str(tmp_path))
    warning = f"PYSERVER_{row.name.upper()}: {row.name} is a function, which only a config file can give"
    assert (getattr(loaded.settings, row.name), loaded.warnings) == (None, (warning,))


def test_a_function_with_almost_the_name_of_a_hook_is_warned_of(load):
    warning = "gunicorn.conf.py:1: postfork is not a setting and has no effect; did you mean post_fork?"
    assert load("def postfork(server, worker): ...").warnings == (warning,)


def test_the_printed_settings_name_a_hook_and_where_it_was_set(load):
    loaded = load("\ndef post_fork(server, worker): ...")
    line = next(line for line in render_settings(loaded).splitlines() if "post_fork" in line)
    assert line.startswith("# post_fork = the function post_fork ")
    assert line.endswith("  # gunicorn.conf.py:2")
    assert load(render_settings(loaded)).settings.post_fork is None


@pytest.mark.parametrize("row", HOOKS.values(), ids=HOOKS)
def test_the_page_of_the_hooks_has_each(row):
    assert f"| `{row.name}{row.facts.metavar}` | {row.facts.help} |\n" in PAGE.read_text("utf-8")
