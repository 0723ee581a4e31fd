"""Whether what is distributed is all that an installation needs; `make dist` runs this and keeps what was built."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Where the source distribution is, and the wheel that was built from it."""
    directory = Path(os.environ.get("DIST") or tmp_path_factory.mktemp("dist"))
    subprocess.run([sys.executable, "-m", "build", "--outdir", directory, ROOT], check=True)
    return directory


@pytest.fixture(scope="module")
def source_names(distributions):
    [path] = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def wheel_names(distributions):
    [path] = distributions.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def repository_names():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(listed.splitlines())


def test_an_installed_wheel_serves(distributions, tmp_path):
    [wheel] = distributions.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    subprocess.run([python, ROOT / "tests" / "smoke.py"], cwd=tmp_path, check=True)


def test_the_source_distribution_has_what_the_repository_has(source_names, repository_names):
    about_the_repository = (".gitignore", ".github/")
    assert {name for name in repository_names - source_names if not name.startswith(about_the_repository)} == set()


def test_nothing_generated_is_distributed(source_names, wheel_names, repository_names):
    assert not {name for name in source_names - repository_names if name.endswith((".c", ".so", ".pyc"))}
    assert not {name for name in wheel_names if name.endswith((".c", ".pyx", ".pyc"))}


def test_the_wheel_has_each_extension_and_what_type_checkers_read(wheel_names):
    built = {Path(name).name.partition(".")[0] for name in wheel_names if name.endswith(".so")}
    assert built == {path.stem for path in ROOT.glob("pyserver/_*.pyx")}
    stubs = {f"pyserver/{path.name}" for path in ROOT.glob("pyserver/*.pyi")}
    assert {*stubs, "pyserver/py.typed"} <= wheel_names
