"""How a worker class is found by its name."""

import sys

import pytest

from pyserver.errors import ConfigError
from pyserver.settings.model import ROWS
from pyserver.workers import WORKERS, load_worker_class, worker_name

WANTING = "from pyserver.errors import ConfigError\nraise ConfigError('worker_class own wants a licence')\n"
SOURCE = "from pyserver.workers import Worker\nclass Own(Worker):\n    def run(self): pass\nnot_a_worker = int\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory on the path with a module, into which distributions can be installed."""
    (tmp_path / "plugin_of_a_test.py").write_text(SOURCE)
    (tmp_path / "plugin_that_wants.py").write_text(WANTING)
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


@pytest.mark.parametrize("name", sorted({*WORKERS, *(alias for kind in WORKERS.values() for alias in kind.aliases)}))
def test_an_entry_point_cannot_take_a_built_in_name(site, name):
    site("other", f"[pyserver.workers]\n{name} = plugin_of_a_test:Own\n")
    with pytest.raises(ConfigError, match="ambiguous"):
        load_worker_class(name)


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("gunicorn.workers.gthread.ThreadWorker", "ThreadedWorker"),
        ("gunicorn.workers.ggevent:GeventWorker", "GeventWorker"),
        ("uvicorn.workers.UvicornWorker", "UvicornWorker"),
        ("uvicorn_worker.UvicornWorker", "UvicornWorker"),
    ],
)
def test_a_class_of_gunicorns_stands_for_ours_where_gunicorn_is_not_installed(monkeypatch, path, ours):
    for name in [name for name in sys.modules if name.partition(".")[0] == "gunicorn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gunicorn", None)
    worker_class = load_worker_class(path)
    assert (worker_class.__name__, worker_class.__module__.partition(".")[0]) == (ours, "pyserver")


def test_an_unknown_name_is_told_with_those_that_are_known(site):
    site("other", "[pyserver.workers]\nown = plugin_of_a_test:Own\n")
    with pytest.raises(ConfigError, match="there are: asgi, auto, gevent, own, sync, threaded, uvicorn"):
        load_worker_class("snyc")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.such.module:Own", "cannot be loaded: ModuleNotFoundError"),
        ("plugin_of_a_test:Missing", "cannot be loaded: AttributeError"),
        ("plugin_of_a_test:not_a_worker", "is not a subclass of pyserver.workers.Worker"),
        ("plugin_that_exits:Own", "cannot be loaded: SystemExit: no licence"),
        ("plugin_that_wants:Own", "^worker_class own wants a licence$"),
        (":Own", "cannot be loaded"),
        ("gunicorn.workers.geventlet.Worker", "No module named 'gunicorn.workers.geventlet'"),
    ],
)
def test_a_path_that_leads_to_no_worker_is_refused(site, name, reason):
    if name.startswith("gunicorn."):
        pytest.importorskip("gunicorn")
    with pytest.raises(ConfigError, match=reason):
        load_worker_class(name)


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        ("pass", "has no run(), which serves"),
        ("async def run(self): pass", "has a run() that is asynchronous or a generator"),
        ("def run(self, sockets): pass", "has a run() that cannot be called with 0 arguments"),
        ("run = 5", "has a run that is no method"),
        ("def run(self): pass\n    def drain(self, signal): pass", "has a drain() that cannot be called with"),
        ("def run(self): pass\n    def watch(self, fd, callback): pass", "has only one of watch() and unwatch()"),
        ("def run(self): pass\n    def check(self, settings): pass", "has a check() that is no class method"),
        ("def run(self): pass\n    interfaces = 'asgi'", "has interfaces 'asgi', which is no tuple"),
        ("def run(self): pass\n    interfaces = ('rsgi',)", "has interfaces ('rsgi',), which is no tuple of"),
        ("def run(self): pass\n    def retire(self): pass", "overrides retire(), which is for Worker to have"),
    ],
)
def test_a_class_that_cannot_work_is_refused(site, tmp_path, body, flaw):
    module = f"flawed_of_a_test_{abs(hash(body))}"
    (tmp_path / f"{module}.py").write_text(f"from pyserver.workers import Worker\nclass Own(Worker):\n    {body}\n")
    with pytest.raises(ConfigError) as raised:
        load_worker_class(f"{module}:Own")
    assert str(raised.value).startswith(f"worker_class '{module}:Own' {flaw}")


@pytest.mark.parametrize(
    ("worker_class", "threads", "name"),
    [
        ("sync", 1, "sync"),
        ("sync", 2, "threaded"),
        ("threaded", 1, "threaded"),
        ("gthread", 8, "threaded"),
        ("tornado", 1, "auto"),
        ("gevent", 8, "gevent"),
        ("gevent_wsgi", 1, "gevent"),
        ("gevent_pywsgi", 1, "gevent"),
        ("package.module:Own", 8, "package.module:Own"),
    ],
)
def test_a_class_is_chosen_by_its_name_and_the_number_of_threads(worker_class, threads, name):
    assert worker_name(worker_class, threads) == name


@pytest.mark.parametrize("name", WORKERS)
def test_the_table_knows_what_a_class_serves(name):
    assert WORKERS[name].interfaces == load_worker_class(name).interfaces


@pytest.mark.parametrize("kind", WORKERS.values(), ids=WORKERS)
def test_what_a_class_does_not_heed_is_a_setting(kind):
    assert set(kind.unheeded) <= ROWS.keys()
