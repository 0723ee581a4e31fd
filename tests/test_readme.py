"""Whether what the README tells people to type works."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from support import Client

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", README)


def commands(*programs: str) -> list[str]:
    lines = [line.partition(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(programs)]


def test_the_readme_is_short():
    assert README.count("\n") < 150


@pytest.mark.parametrize("command", commands("make"))
def test_each_make_command_has_its_rule(command):
    rules = re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"))
    assert command.split()[1] in rules


@pytest.mark.parametrize("command", commands("pyserver ", "python -m pyserver "))
def test_each_pyserver_command_serves_the_example(command, serve, tmp_path):
    [example] = blocks("python")
    (tmp_path / "hello.py").write_text(example, "utf-8")
    # Any free port in place of the one that is written, which may be taken here.
    free = re.sub(r"\S+:8000", "127.0.0.1:0", command.removeprefix("python -m "))
    *arguments, application = shlex.split(free)[1:]
    server = serve(application, *arguments)
    for address in server.addresses:
        with Client(address) as client:
            assert client.request("GET").content == b"Hello, world!"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_nobody_is_told_to_take_the_server_from_an_index():
    # What is there under this name is not ours.
    told = [*PAGES, ROOT / "CHANGELOG.md", *ROOT.glob("pyserver/**/*.py"), *ROOT.glob("conf/**/*")]
    texts = {path: path.read_text("utf-8") for path in told if path.is_file()}
    assert [path for path, text in texts.items() if re.search(r"pip install.* ['\"]?pyserver\b", text)] == []


def test_the_python_that_is_asked_for_is_the_one_that_installs():
    [needed] = re.findall(r"requires-python = \">=([\d.]+)\"", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert f"Python {needed} or newer" in README
    assert sys.version_info >= tuple(map(int, needed.split(".")))
