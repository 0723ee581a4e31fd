"""--reload: what is saved is served, whatever is saved."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from support import eventually

import pyserver

VIEWS = 'TEXT = "old"\n'
SITE = """
from a_shop.views import TEXT

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [TEXT.encode()]
"""
HTML = ("Accept", "text/html,*/*;q=0.8")


class Project:
    """A package that is served while it is changed."""

    def __init__(self, serve, directory):
        self.directory = directory
        self._serve = serve
        self.write("a_shop/__init__.py", "")
        self.write("a_shop/site.py", SITE)
        self.write("a_shop/views.py", VIEWS)

    def start(self, *arguments, workers=1, **options):
        self.server = self._serve(
            "a_shop.site", "--reload", "--log-level", "debug", "-w", str(workers), *arguments, **options
        )
        self.says("is for development only: ")
        eventually(lambda: self.server.log().count(") is ready") == workers)
        return self.server

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def serves(self, text):
        eventually(lambda: self.content() == text, within=10.0)

    def content(self):
        return self.server.get().content.decode()

    def explains(self, text):
        """The page with that text, once there is one: a worker of the code before may still answer meanwhile."""

        def explained():
            with self.server.client() as client:
                response = client.request("GET", "/", [HTML, ("Connection", "close")])
            return response if text in response.content.decode() else None

        return eventually(explained, within=10.0)

    def says(self, text):
        eventually(lambda: text in self.server.log(), within=10.0)

    def reloads(self):
        return self.server.log().count("Hang up: Arbiter\n")

    def workers(self):
        booted = re.findall(r"Booting worker with pid: (\d+)", self.server.log())
        return [pid for pid in self.server.workers() if str(pid) in booted]

    def watchers(self):
        return set(self.server.workers()) - set(self.workers())


def importing_from(directory):
    """The environment of a server that imports from there, too."""
    root = Path(pyserver.__file__).parents[1]
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(directory), str(root), os.environ.get("PYTHONPATH")]))}


@pytest.fixture
def project(serve, tmp_path):
    return Project(serve, tmp_path)


@pytest.mark.parametrize("engine", ["auto", "inotify", "poll"])
def test_a_change_is_served(project, engine):
    project.start("--reload-engine", engine)
    assert project.content() == "old"
    project.write("a_shop/views.py", 'TEXT = "new"\n')
    project.serves("new")
    assert "[INFO] a_shop/views.py has changed: reloading\n" in project.server.log()


def test_a_second_change_at_once_and_of_the_same_size_is_served(project):
    # With bytecode, as a developer's server runs.
    project.start(env={"PYTHONDONTWRITEBYTECODE": ""})
    for number in range(3):
        project.write("a_shop/views.py", f'TEXT = "{number}"\n')
        project.serves(str(number))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("TEXT = (\n", "SyntaxError: "),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import no_such_thing\n", "ModuleNotFoundError: No module named &#x27;no_such_thing&#x27;"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
        ("OTHER = 1\n", "ImportError: cannot import name &#x27;TEXT&#x27;"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
    ],
)
def test_code_that_does_not_load_is_explained_until_it_does(project, source, reason):
    project.start()
    project.write("a_shop/views.py", source)
    page = project.explains(reason)
    assert page.status == 500
    assert page.field("Content-Type") == "text/html; charset=utf-8"
    assert str(project.directory / "a_shop") in page.content.decode()
    project.write("a_shop/views.py", 'TEXT = "repaired"\n')
    project.serves("repaired")


def test_a_client_that_is_no_browser_gets_text(project):
    project.start()
    project.write("a_shop/views.py", "1 / 0\n")
    response = eventually(lambda: (answer := project.server.get()).status == 500 and answer, within=10.0)
    assert response.field("Content-Type") == "text/plain; charset=utf-8"
    assert response.content.endswith(b"ZeroDivisionError: division by zero\n")


def test_a_server_starts_with_a_broken_application(project):
    project.write("a_shop/site.py", "def broken(:\n")
    project.start(workers=2)
    project.explains("SyntaxError")
    project.write("a_shop/site.py", SITE)
    project.serves("old")


def test_a_server_starts_without_its_application(project):
    os.remove(project.directory / "a_shop" / "site.py")
    project.start()
    project.explains("module &#x27;a_shop.site&#x27; cannot be found")
    project.write("a_shop/site.py", SITE)
    project.serves("old")


def test_a_failure_is_logged_once(project):
    project.start(workers=3)
    project.write("a_shop/views.py", "1 / 0\n")
    eventually(lambda: project.server.log().count(") is ready") == 6, within=10.0)
    project.says("ZeroDivisionError")
    assert project.server.log().count("Traceback (most recent call last)") == 1
    assert project.server.log().count("The application does not load") == 1


def test_the_number_of_workers_stays(project):
    project.start(workers=3)
    for number, source in enumerate(("1 / 0\n", 'TEXT = "1"\n', "def (\n", 'TEXT = "2"\n')):
        project.write("a_shop/views.py", source)
        eventually(lambda: project.server.log().count(": reloading\n") > number, within=10.0)  # noqa: B023 - It is called here only.
    project.serves("2")
    eventually(lambda: len(project.workers()) == 3)


def test_a_removed_module_is_noticed(project):
    project.start()
    os.remove(project.directory / "a_shop" / "views.py")
    project.explains("No module named &#x27;a_shop.views&#x27;")
    project.write("a_shop/views.py", VIEWS)
    project.serves("old")


def test_a_change_while_a_reload_is_under_way_is_served(project):
    project.start()
    os.mkfifo(project.directory / "loading")
    project.write("a_shop/views.py", "open('loading').read()\nTEXT = 'late'\n")
    project.says("views.py has changed: reloading")
    eventually(lambda: len(project.workers()) == 2)
    project.write("a_shop/views.py", "TEXT = 'latest'\n")
    project.serves("latest")


def test_many_changes_in_a_row_are_few_reloads(project):
    project.start()
    for number in range(50):
        project.write("a_shop/views.py", f"TEXT = '{number}'\n")
    project.serves("49")
    assert project.reloads() <= 3


def test_extra_files_count(project):
    project.write("a_shop/site.py", SITE.replace("from a_shop.views import TEXT", "TEXT = open('text.txt').read()"))
    project.write("text.txt", "first")
    project.write("templates/mail/hello.html", "")
    project.start("--reload-extra-file", "text.txt", "--reload-extra-file", "templates/**/*.html")
    project.write("text.txt", "second")
    project.serves("second")
    project.write("templates/mail/hello.html", "changed")
    project.says("templates/mail/hello.html has changed: reloading")


def test_a_module_outside_the_start_directory_counts(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a_library").mkdir()
    (elsewhere / "a_library" / "__init__.py").write_text("from a_library.text import TEXT\n")
    text = elsewhere / "a_library" / "text.py"
    text.write_text("TEXT = 'first'\n")
    project.write("a_shop/views.py", "from a_library import TEXT\n")
    project.start(env=importing_from(elsewhere))
    assert project.content() == "first"
    text.write_text("def broken(:\n")
    project.explains("SyntaxError")
    text.write_text("TEXT = 'second'\n")
    project.serves("second")


def test_the_watcher_ends_with_the_server(project):
    project.start()
    assert len(eventually(project.watchers)) == 1
    assert project.server.stop(signal.SIGTERM) == 0
    assert project.server.processes() == []


def test_a_directory_that_is_removed_ends_no_server(project):
    project.write("below/thing.py", "")
    project.start("--chdir", "below")
    shutil.rmtree(project.directory / "below")
    project.says("below/thing.py has changed: reloading")
    project.says("The reload is refused and nothing has changed")
    assert project.content() == "old"


def test_the_watcher_ends_with_an_arbiter_that_is_killed(project):
    server = project.start()
    server.send_signal(signal.SIGKILL)
    eventually(lambda: server.processes() == [], within=10.0)


def test_ctrl_c_ends_the_watcher_without_a_word(project):
    server = project.start()
    os.killpg(server.pid, signal.SIGINT)
    eventually(lambda: server.processes() == [], within=10.0)
    assert "KeyboardInterrupt" not in server.log()
    assert "has ended" not in server.log()


def test_without_watchfiles_it_is_told_in_one_line_what_to_install(start, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['watchfiles'] = None\n")
    server = start("pyserver.demo", "--reload", env=importing_from(hidden))
    assert server.wait() == 1
    assert re.fullmatch(r"pyserver: .* pip install watchfiles\n", server.log())


def test_reload_and_preload_exclude_each_other(start):
    server = start("pyserver.demo", "--reload", "--preload")
    assert server.wait() == 1
    assert server.log() == "pyserver: --reload and --preload exclude each other: add --no-preload-app in development\n"


def test_without_reload_nothing_of_it_is_imported(serve, tmp_path):
    server = serve("""
        import sys

        def application(environ, start_response):
            start_response("200 OK", [])
            names = "pyserver.arbiter.watch", "pyserver.workers.broken", "pyserver.workers.sources", "watchfiles"
            return [repr([name for name in names if name in sys.modules]).encode()]
    """)
    assert server.get().content == b"[]"
