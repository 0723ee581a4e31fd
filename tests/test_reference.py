"""Whether what people read about the settings, and about other tables of the code, is what the tables say."""

import runpy
import sys
from pathlib import Path

import pytest

from pyserver.settings.model import ROWS
from pyserver.settings.reference import render_help, render_page, render_settings
from pyserver.settings.sources import load_settings

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "settings.md"
GENERATED = runpy.run_path(str(DOCS / "generate.py"))["PAGES"]


def test_the_page_of_the_settings_is_not_stale():
    assert PAGE.read_text("utf-8") == render_page(), "run: python -m pyserver.settings.reference > docs/settings.md"


@pytest.mark.skipif(sys.platform != "linux", reason="the pages are of Linux, which has more signals")
@pytest.mark.parametrize("name", GENERATED)
def test_a_page_that_is_made_of_a_table_is_not_stale(name):
    assert (DOCS / name).read_text("utf-8") == GENERATED[name](), "run: python docs/generate.py"


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_help_has_every_flag(row):
    words = render_help().replace(",", " ").split()
    assert {*row.flags, *filter(None, [row.negative_flag])} <= set(words)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_help_keeps_to_the_width_of_the_terminal(width):
    text = [line for line in render_help(width).splitlines() if line.startswith("        ")]
    assert all(len(line) <= width or " " not in line.strip() for line in text)


def test_the_printed_settings_are_a_config_file_that_gives_them(tmp_path):
    arguments = ["-w", "3", "-b", ":1", "-b", "unix:/run/a.sock", "-e", "A=it's", "--no-sendfile", "app:app"]
    loaded = load_settings(arguments, {}, str(tmp_path))
    (tmp_path / "pyserver.conf.py").write_text(render_settings(loaded), "utf-8")
    assert load_settings((), {}, str(tmp_path)).settings == loaded.settings


def test_what_cannot_be_written_down_is_a_comment_of_the_printed_settings(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(
        "class Worker: ...\nclass Logger: ...\nworker_class, logger_class = Worker, Logger\n"
        "logconfig_dict = {'filters': {'own': {'()': Logger()}}}\ndef post_fork(server, worker): ...\n"
        "import decimal\nworker_options = {'n': decimal.Decimal(1)}\n"
    )
    text = render_settings(load_settings((), {}, str(tmp_path)))
    commented = {line.split()[1] for line in text.splitlines() if line.startswith("# ")}
    assert commented == {"worker_class", "logger_class", "logconfig_dict", "post_fork", "worker_options"}
    compile(text, "printed", "exec")


def test_a_class_of_a_module_is_printed_by_its_name(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("from decimal import Decimal as worker_class\nlogger_class = dict\n")
    lines = render_settings(load_settings((), {}, str(tmp_path))).splitlines()
    assert any(line.startswith("worker_class = 'decimal:Decimal' ") for line in lines)
    assert any(line.startswith("logger_class = 'builtins.dict' ") for line in lines)


def test_the_printed_settings_say_where_each_was_set(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("\nworkers = 3\n")
    lines = render_settings(load_settings(["-t", "5"], {"PORT": "80"}, str(tmp_path))).splitlines()
    origins = {line.split(" = ")[0]: line.rpartition("  # ")[2] for line in lines}
    assert origins["workers"] == "gunicorn.conf.py:2"
    assert origins["timeout"] == "-t"
    assert origins["bind"] == "PORT"
    assert origins["poller"] == "default"
