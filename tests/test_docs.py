"""Whether what the pages of the documentation tell people to type is understood, and the quickstart works."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from support import Client

from pyserver.settings.command_line import read_arguments
from pyserver.settings.model import ROWS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
QUICKSTART = DOCS / "quickstart.md"
# In these pages, what stands in the first column is another server's.
ABOUT_OTHERS = {"migrating.md", "from-uvicorn.md"}
ACTIONS = {"--help", "--version"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page.read_text("utf-8"))


def commands(page: Path) -> list[list[str]]:
    """The arguments of each pyserver command, up to where the shell has another one."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", "").splitlines()]
    found = [shlex.split(line.partition("&&")[0], comments=True) for line in lines if line.startswith("pyserver ")]
    return [words[1:] for words in found]


def options(page: Path) -> set[str]:
    """The options in spans of code."""
    text = page.read_text("utf-8")
    if page.name in ABOUT_OTHERS:
        text = re.sub(r"(?m)^\| .*? \| (?=\S)", "| ", text)
    return set(re.findall(r"`(?:pyserver )?(--[a-z][a-z-]*[a-z])(?=[ `=])", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_each_command_is_understood(page):
    for arguments in commands(page):
        read_arguments(arguments)


# The page of the settings is made of the table, and has those that are missing, too.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "settings.md"], ids=lambda page: page.name)
def test_each_option_is_there(page):
    known = {flag for row in ROWS.values() for flag in (*row.flags, row.negative_flag)} | ACTIONS
    assert options(page) - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_each_block_of_python_is_python(page):
    for block in blocks(page, "python"):
        ast.parse(block)


def test_the_quickstart_is_short():
    assert len(QUICKSTART.read_text("utf-8").split()) < 250


@pytest.fixture
def directory(tmp_path):
    """A directory with the files of the quickstart, named as their first lines say."""
    for block in blocks(QUICKSTART, "python"):
        (tmp_path / block.partition("\n")[0].removeprefix("# ")).write_text(block, "utf-8")
    return tmp_path


@pytest.mark.parametrize("arguments", [words for words in commands(QUICKSTART) if words], ids=" ".join)
def test_each_command_of_the_quickstart_works(arguments, directory, start):
    *flags, application = [re.sub(r"\S+:8000", "127.0.0.1:0", word) for word in arguments]
    server = start(application, *flags)
    if "--check-config" in arguments:
        assert server.wait() == 0
        return
    server.wait_until_listening()
    with Client(server.address) as client:
        assert client.request("GET").content.startswith(b"Hello from ")
