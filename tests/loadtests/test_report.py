"""The page about load: what is written into it of what was recorded, and its plots."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from compare import require
from comparison import cost, plot, report
from comparison.recording import Recording, Second, write
from comparison.servers import DEMOS, SERVERS

from pyserver.settings.command_line import read_arguments

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/load.md"
COMPARE = ROOT / "loadtests/compare.py"
MACHINE = {"System": "Linux 6"}
FACTS = {"demo": "flask", "seconds": 60, "rate": 100, "workers": 2, "machine": MACHINE, "others": 0.25}


def recorded(server, failures=()):
    quick = [2.0] * 98 + [5.0, 9.0]
    seconds = [Second(100 + at, quick, [50.0], processor=at / 10, memory=40_000_000) for at in range(9)]
    seconds[4].failures.update(failures)
    return Recording({**FACTS, "server": server}, seconds, reloaded_at=104.5)


@pytest.fixture
def results(tmp_path):
    directory = tmp_path / "results"
    directory.mkdir()
    for number, server in enumerate(("gunicorn sync", "pyserver sync")):
        write(directory / f"flask-{number}.json", recorded(server))
    samples = [cost.Sample("hello", name, 0, 1000, 0.01, 0) for name in ("pyserver sync", "gunicorn sync")]
    kept = {"plan": cost.Plan(5, 1.0, 16, 1)._asdict(), "machine": MACHINE, "others": 0.25, "samples": samples}
    (directory / "cost.json").write_text(json.dumps(kept))
    return directory


@pytest.fixture
def page(tmp_path):
    copied = tmp_path / "load.md"
    shutil.copy(PAGE, copied)
    return copied


def test_the_page_has_a_place_for_every_result():
    text = PAGE.read_text("utf-8")
    for name in (*DEMOS, "cost"):
        report.fill(text, name, "")


def test_a_page_without_a_place_is_refused():
    with pytest.raises(report.PageError, match="the results of flask"):
        report.fill("# Nothing\n", "flask", "")


def test_results_take_the_place_of_those_before(results, page):
    written = report.write(results, page)
    once = page.read_text("utf-8")
    assert [path.name for path in written] == ["load.md", "flask.svg", "cost.svg"]
    assert report.write(results, page) == written
    assert page.read_text("utf-8") == once


def test_a_run_is_a_row_in_the_order_of_the_table_of_servers(results, page):
    report.write(results, page)
    flask = page.read_text("utf-8").split("<!-- flask")[1].split("<!-- end")[0]
    rows = [line for line in flask.splitlines() if line.startswith(("| pyserver", "| gunicorn"))]
    assert rows == [
        "| pyserver sync | 101 | 2.0 | 2.0 | 5.0 | 9.0 | 0.99 | 40 | 0 |",
        "| gunicorn sync | 101 | 2.0 | 2.0 | 5.0 | 9.0 | 0.99 | 40 | 0 |",
    ]


def test_what_failed_is_told_by_kind():
    section = report.load_section([recorded("uvicorn", Counter({"status 502 and not 200": 3}))], "load/fastapi.svg")
    assert "- uvicorn: 3 of: status 502 and not 200" in section


def test_costs_are_rows():
    costs = {"hello": {"gunicorn sync": cost.Cost(50.0, 40.0, 60.0, 5.0)}}
    section = report.cost_section(cost.Plan(5, 1.0, 16, 1), FACTS, costs, "load/cost.svg")
    assert "Others: 25% of the processors at most." in section
    assert "| hello | gunicorn sync | 50.0 | 40.0 to 60.0 | 5.00 |" in section


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 10), (0.95, 19), (0.99, 20), (1.0, 20), (0.01, 1)], ids=str
)
def test_a_percentile_is_one_of_the_values(share, expected):
    assert report.percentile(range(1, 21), share) == expected


def test_plots_are_svg_with_a_line_for_each_server_and_the_hup():
    picture = ElementTree.fromstring(report.load_plot("flask", [recorded("pyserver sync"), recorded("gunicorn sync")]))
    names = {"s": "http://www.w3.org/2000/svg"}
    texts = [text.text for text in picture.findall("s:text", names)]
    assert {"pyserver sync", "gunicorn sync", "HUP", "requests/s"} <= set(texts)
    assert len(picture.findall("s:polyline", names)) == 2 * 5


def test_a_plot_of_nothing_is_a_plot():
    for logarithmic in (False, True):
        ElementTree.fromstring(plot.lines("nothing", [plot.Panel("requests/s", [], logarithmic)]))
    ElementTree.fromstring(plot.bars("nothing", "µs", [("hello", [])]))


def test_bars_are_as_long_as_their_values():
    rows = [plot.Bar("one", "#000", 10.0, 9.0, 20.0), plot.Bar("other", "#000", 5.0, 4.0, 20.0)]
    picture = ElementTree.fromstring(plot.bars("costs", "µs", [("hello", rows)]))
    widths = [float(bar.get("width")) for bar in picture.findall("{*}rect")[1:]]
    assert widths[0] == pytest.approx(2 * widths[1])


def test_the_plots_of_the_page_are_small():
    plots = list(PAGE.with_suffix("").glob("*.svg"))
    assert {path.stem for path in plots} == {*DEMOS, "cost"}
    for path in plots:
        assert path.stat().st_size < 100_000


@pytest.mark.parametrize("name", [name for name in SERVERS if name.startswith("pyserver")])
def test_the_commands_of_the_table_are_understood(name):
    words = SERVERS[name].words(2, 8000, "module:application")
    assert words[1:3] == ["-m", "pyserver"]
    read_arguments(words[3:])


@pytest.mark.skipif(sys.platform != "linux", reason="it asks for /proc first")
def test_what_is_not_installed_is_named():
    with pytest.raises(SystemExit, match=r"not installed: no_such_module; `make loadtest` installs"):
        require({"json", "no_such_module"}, {"pyserver sync"})


def run(*arguments):
    return subprocess.run([sys.executable, COMPARE, *arguments], capture_output=True, text=True, timeout=60)


def test_the_report_is_made_of_what_was_recorded(results, page):
    done = run("report", "--results", results, "--page", page)
    assert done.returncode == 0, done.stderr
    assert (page.parent / "load/flask.svg").exists()


def test_a_broken_recording_is_one_line(results, page):
    (results / "flask-0.json").write_text("{")
    done = run("report", "--results", results, "--page", page)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "flask-0.json is not a recording" in done.stderr


def test_without_results_there_is_no_report(tmp_path, page):
    done = run("report", "--results", tmp_path / "none", "--page", page)
    assert done.returncode == 1
    assert "run `make loadtest` first" in done.stderr
