"""Which source files count, and the process that tells of their changes."""

import os
import select
import socket
from types import SimpleNamespace

import pytest
from support import eventually

from pyserver.arbiter.reload import describe_changes
from pyserver.arbiter.sources import Sources
from pyserver.arbiter.watch import Watcher, Word, decode_words
from pyserver.log import ErrorLog


def make(directory, *names):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def test_a_tree_is_watched_without_what_holds_no_source(tmp_path):
    make(
        tmp_path, "shop/views.py", "shop/__pycache__/views.pyc", ".git/hook.py", "node_modules/gyp/gyp.py",
        "env/pyvenv.cfg", "env/lib/thing.py", "lib/site-packages/thing.py",
    )  # fmt: skip
    watched = Sources(trees={str(tmp_path)}).to_watch()
    assert sorted(os.path.relpath(path, tmp_path) for path in watched) == [".", "lib", "shop"]


def test_a_tree_may_itself_lie_in_a_hidden_directory(tmp_path):
    make(tmp_path, ".hidden/shop/views.py")
    assert len(Sources(trees={str(tmp_path / ".hidden")}).to_watch()) == 2


def test_links_that_lead_in_a_circle_are_followed_once(tmp_path):
    make(tmp_path, "shop/views.py")
    (tmp_path / "shop" / "again").symlink_to(tmp_path)
    assert len(Sources(trees={str(tmp_path)}).to_watch()) == 2


def test_a_directory_is_watched_without_what_is_below_it(tmp_path):
    make(tmp_path, "one.py", "below/two.py")
    assert Sources(directories={str(tmp_path)}).to_watch() == {str(tmp_path)}


@pytest.mark.parametrize(
    ("extra", "directories"),
    [
        ("settings.toml", {"."}),
        ("conf/settings.toml", {"conf"}),
        ("missing/deeper/settings.toml", {"."}),
        ("conf", {"conf", "conf/deep"}),
        ("conf/*.toml", {"conf"}),
        ("conf/**/*.toml", {"conf", "conf/deep"}),
        ("conf/*/settings.toml", {"conf", "conf/deep"}),
        ("missing/**", {"."}),
    ],
)
def test_where_an_extra_file_may_appear_is_watched(tmp_path, extra, directories):
    make(tmp_path, "conf/deep/settings.toml")
    watched = Sources(extras={str(tmp_path / extra)}).to_watch()
    assert {os.path.relpath(path, tmp_path) for path in watched} == directories


@pytest.mark.parametrize(
    ("path", "extras", "counts"),
    [
        ("/a/views.py", [], True),
        ("/a/views.pyc", [], False),
        ("/a/views.html", [], False),
        ("/a/.#views.py", [], False),
        ("/a/x.toml", ["/a/x.toml"], True),
        ("/a/x.toml", ["/a/y.toml"], False),
        ("/a/.env", ["/a/.env"], True),
        ("/a/b/c/x.html", ["/a/b"], True),
        ("/a/bc/x.html", ["/a/b"], False),
        ("/a/b/.x.html.swp", ["/a/b"], False),
        ("/a/x.html", ["/a/*.html"], True),
        ("/a/b/x.html", ["/a/*.html"], False),
        ("/a/b/x.html", ["/a/*/*.html"], True),
        ("/a/x.html", ["/a/**/*.html"], True),
        ("/a/b/c/x.html", ["/a/**/*.html"], True),
        ("/a/b/c/x.html", ["/a/**"], True),
        ("/b/x.html", ["/a/**"], False),
        ("/a/.env.local", ["/a/.env*"], True),
        ("/a/x[1].html", ["/a/x[[]1].html"], True),
    ],
)
def test_python_files_and_extra_files_count(path, extras, counts):
    assert Sources(extras=set(extras)).counts(path) is counts


def test_only_what_has_changed_since_is_found(tmp_path):
    make(tmp_path, "one.py", "two.txt")
    changed_ns = (tmp_path / "one.py").stat().st_ctime_ns
    sources = Sources()
    assert list(sources.files([str(tmp_path)], changed_ns)) == [str(tmp_path / "one.py")]
    assert list(sources.files([str(tmp_path)], changed_ns + 1)) == []


def test_words_are_read_however_they_are_cut():
    data = Word.TREE.encoded("/a b") + Word.CHANGED.encoded("/ü\udcff")
    for at in range(len(data)):
        first, rest = decode_words(data[:at])
        assert first + decode_words(rest + data[at:])[0] == [(Word.TREE, "/a b"), (Word.CHANGED, "/ü\udcff")]


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (["a.py"], "a.py has changed"),
        (["a.py", "a.py"], "a.py has changed"),
        (["a.py", "b.py"], "a.py and 1 more file have changed"),
        (["a.py", "b.py", "c.py"], "a.py and 2 more files have changed"),
    ],
)
def test_changes_are_named_in_one_line(paths, text):
    assert describe_changes(paths) == text


class Watched:
    """A directory, what watches it, and what it has told."""

    def __init__(self, directory, engine):
        self.directory = directory
        self.log_path = directory / "watcher.log"
        self.log = ErrorLog(str(self.log_path))
        self.changes = []
        settings = SimpleNamespace(
            reload_engine=engine, reload_extra_files=("templates/**/*.html",), pythonpath=(), preload_app=False
        )
        self.watcher = Watcher(settings, "test", select.poll())
        eventually(lambda: self.take() or "directories watched: 3" in self.log_path.read_text())

    def take(self):
        self.changes += self.watcher.changed(self.log)

    def tells_of(self, name):
        def told():
            self.take()
            return name in self.changes

        eventually(told)
        self.changes.clear()

    def write(self, name, text=""):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(params=["auto", "poll"])
def watched(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "shop/__init__.py", "shop/views.py", "templates/index.html")
    watched = Watched(tmp_path, request.param)
    yield watched
    watched.watcher.close()
    assert os.waitpid(watched.watcher.pid, 0)[1] == 0
    watched.log.close()


def test_a_written_file_is_told(watched):
    watched.write("shop/views.py", "1")
    watched.tells_of("shop/views.py")


def test_a_file_that_is_renamed_over_another_is_told(watched):
    watched.write("shop/.views.py.new", "1")
    os.replace("shop/.views.py.new", "shop/views.py")
    watched.tells_of("shop/views.py")
    assert watched.changes == []


def test_a_removed_file_is_told(watched):
    os.remove("shop/views.py")
    watched.tells_of("shop/views.py")


def test_a_file_in_a_new_directory_is_told(watched):
    watched.write("shop/cart/models/__init__.py")
    watched.tells_of("shop/cart/models/__init__.py")
    watched.write("shop/cart/models/__init__.py", "2")
    watched.tells_of("shop/cart/models/__init__.py")


def test_a_directory_that_is_moved_is_told(watched):
    os.rename("shop", "store")
    watched.tells_of("store/views.py")
    watched.write("store/views.py", "2")
    watched.tells_of("store/views.py")


def test_an_extra_file_is_told(watched):
    watched.write("templates/mail/welcome.html", "1")
    watched.tells_of("templates/mail/welcome.html")


def test_other_files_are_not_told(watched):
    for name in ("shop/views.txt", "shop/.#views.py", "shop/__pycache__/views.py", ".git/hook.py", "shop/views.py~"):
        watched.write(name, "1")
    watched.write("shop/views.py", "1")

    def told():
        watched.take()
        return watched.changes

    assert set(eventually(told)) == {"shop/views.py"}


def test_what_is_to_be_watched_later_is_told_from_then_on(watched, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    make(elsewhere, "tool/__init__.py", "single.py", "below/other.py")
    watched.watcher.watch([str(elsewhere / "tool")], [str(elsewhere)])
    # Whether it is watched by then or not.
    (elsewhere / "tool" / "new.py").write_text("")
    watched.tells_of(str(elsewhere / "tool" / "new.py"))
    (elsewhere / "single.py").write_text("1")
    watched.tells_of(str(elsewhere / "single.py"))


@pytest.fixture
def inherited():
    """A listener that every program inherits which is started now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        yield listener


def test_the_watcher_keeps_no_listener_open(inherited, watched):
    address = inherited.getsockname()
    inherited.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_watcher_that_ends_is_told_in_the_log(watched):
    os.kill(watched.watcher.pid, 9)
    eventually(lambda: watched.take() or "The watcher of --reload has ended" in watched.log_path.read_text())
    os.waitpid(watched.watcher.pid, 0)
    # For the fixture, which waits for it as well.
    watched.watcher.pid = os.posix_spawn("/bin/true", ["true"], {})
