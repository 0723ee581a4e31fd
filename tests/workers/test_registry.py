"""How a worker class is found by its name."""

import pytest

from pyserver.errors import ConfigError
from pyserver.workers import WORKERS, load_worker_class

SOURCE = "from pyserver.workers.base import Worker\nclass Own(Worker): pass\nnot_a_worker = int\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory on the path with a module, into which distributions can be installed."""
    (tmp_path / "plugin_of_a_test.py").write_text(SOURCE)
    (tmp_path / "plugin_that_exits.py").write_text("raise SystemExit('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)

    def install(distribution, entry_points):
        directory = tmp_path / f"{distribution}.dist-info"
        directory.mkdir()
        (directory / "entry_points.txt").write_text(entry_points)

    return install


@pytest.mark.parametrize("path", ["plugin_of_a_test:Own", "plugin_of_a_test.Own"])
def test_a_dotted_path_names_a_class(site, path):
    assert load_worker_class(path).__name__ == "Own"


def test_an_entry_point_names_a_class(site):
    site(
        "other",
        "[console_scripts]\nown = nothing:here\n\n[pyserver.workers]\n# ours\nown = plugin_of_a_test:Own [extra]\n",
    )
    assert load_worker_class("own").__name__ == "Own"


def test_a_name_of_two_entry_points_is_ambiguous(site):
    site("one", "[pyserver.workers]\nown = plugin_of_a_test:Own\n")
    site("two", "[pyserver.workers]\nown = elsewhere:Own\n")
    with pytest.raises(ConfigError, match=r"'own' is ambiguous.*plugin_of_a_test:Own, elsewhere:Own"):
        load_worker_class("own")


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_an_entry_point_cannot_take_a_built_in_name(site, name):
    site("other", f"[pyserver.workers]\n{name} = plugin_of_a_test:Own\n")
    with pytest.raises(ConfigError, match="ambiguous"):
        load_worker_class(name)


def test_an_unknown_name_is_told_with_those_that_are_known(site):
    site("other", "[pyserver.workers]\nown = plugin_of_a_test:Own\n")
    with pytest.raises(ConfigError, match="'snyc' is not known; there are: own, sync"):
        load_worker_class("snyc")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.such.module:Own", "cannot be loaded: ModuleNotFoundError"),
        ("plugin_of_a_test:Missing", "cannot be loaded: AttributeError"),
        ("plugin_of_a_test:not_a_worker", "is not a subclass of pyserver.workers.base.Worker"),
        ("plugin_that_exits:Own", "cannot be loaded: SystemExit: no licence"),
        (":Own", "cannot be loaded"),
    ],
)
def test_a_path_that_leads_to_no_worker_is_refused(site, name, reason):
    with pytest.raises(ConfigError, match=reason):
        load_worker_class(name)
