"""Whether each setting of gunicorn has its place here, and the page for those who come from it says which."""

import re
from pathlib import Path

import pytest

from pyserver.settings.command_line import read_arguments
from pyserver.settings.model import ROWS
from pyserver.settings.unavailable import UNAVAILABLE

config = pytest.importorskip("gunicorn.config")

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text("utf-8")
TABLE = dict(re.findall(r"(?m)^\| `(\w+)` \| ((?:works|no effect|refused) \|.*) \|$", PAGE))
GUNICORNS = {setting.name: setting for setting in config.KNOWN_SETTINGS}
# Defaults that differ: the class follows the application, and what is None there is what it stands for.
OTHER_DEFAULTS = {
    "config", "worker_class", "sendfile", "chdir", "user", "group", "default_proc_name", "raw_env",
    "secure_scheme_headers", "logger_class",
}  # fmt: skip


@pytest.mark.parametrize("name", GUNICORNS)
def test_a_setting_of_gunicorn_is_accepted_by_its_name_and_its_options(name):
    assert name in ROWS or name in UNAVAILABLE
    setting = GUNICORNS[name]
    for flag in setting.cli or ():
        stands_alone = setting.action in ("store_true", "store_const") or setting.nargs == "?"
        arguments = [flag] if stands_alone else [flag, "1"]
        (given,) = read_arguments(arguments).given
        assert given.name == name


@pytest.mark.parametrize("name", sorted((GUNICORNS.keys() & ROWS.keys()) - OTHER_DEFAULTS))
def test_a_default_is_gunicorns(name):
    row, default = ROWS[name], GUNICORNS[name].default
    if row.is_hook:
        assert row.default is None
    else:
        assert row.read(default) == row.default


@pytest.mark.parametrize("name", sorted(GUNICORNS.keys() & UNAVAILABLE.keys()))
def test_gunicorns_default_of_what_is_not_there_asks_for_nothing(name):
    default = GUNICORNS[name].default
    # What it has in place of None is a function, a path of the machine, or a number of the ssl module.
    if not callable(default) and name not in ("control_socket", "ssl_version"):
        assert not UNAVAILABLE[name].is_wanted(default)


def test_the_page_has_each_setting_of_gunicorn_once_and_says_what_becomes_of_it():
    assert list(TABLE) == [setting.name for setting in sorted(config.KNOWN_SETTINGS, key=lambda one: one.order)]
    for name, text in TABLE.items():
        row = UNAVAILABLE.get(name)
        if row is None:
            assert text.startswith("works |"), name
        else:
            assert text == f"{'refused' if row.is_refused else 'no effect'} | {row.why}", name
