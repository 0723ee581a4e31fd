"""The files of conf/, and what the server says to a command line that stands in one of them."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""


def read(name: str) -> str:
    return (CONF / name).read_text("utf-8")


def tool(name: str) -> str | None:
    """Where a program is, also one that only root is expected to run."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def as_the_api_reads_it(api: str, kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """The same, but for fields that the API of Kubernetes does not know.

    Args:
        api: group and version, as in `apiVersion`.
        kind: of the resource, or of a part of one.
        given: as it stands in a file.

    Raises:
        ValueError: a field is missing, or a value is of a wrong type; names its place.
    """
    group, _, version = api.rpartition("/")
    # The schema that Kubernetes publishes, as classes.
    module = importlib.import_module(f"lightkube.models.{group.partition('.')[0] or 'core'}_{version}")
    return dict(getattr(module, kind).from_dict(given).to_dict())


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Keyword and argument of each instruction of a Dockerfile."""
    text = re.sub(r"(?m)^#.*\n", "", read(dockerfile)).replace("\\\n", "")
    return [(keyword, argument) for keyword, _, argument in (line.partition(" ") for line in text.splitlines() if line)]


def command(dockerfile: str) -> list[str]:
    """What a container of the image runs, which is given as a list."""
    [given] = [argument for keyword, argument in instructions(dockerfile) if keyword == "CMD"]
    return list(json.loads(given))


def variables(dockerfile: str) -> dict[str, str]:
    """What ENV sets."""
    given = " ".join(argument for keyword, argument in instructions(dockerfile) if keyword == "ENV")
    return dict(pair.split("=", 1) for pair in given.split())


def environment(added: Mapping[str, str]) -> dict[str, str]:
    """Of a server that is started for its own settings only."""
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **added}


def objection(arguments: Iterable[str], directory: Path, **added: str) -> str:
    """What --check-config objects to or warns of, beside app.py in the directory; empty when there is nothing.

    Args:
        arguments: the command line behind the name of the program.
        directory: where the server starts.
        added: variables of its environment.
    """
    (directory / "app.py").write_text(APPLICATION, "utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "pyserver", "--check-config", *arguments],
        cwd=directory,
        env=environment(added),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return f"{checked.returncode}: {checked.stderr}" if checked.returncode or "warning" in checked.stderr else ""
