"""The pid file of a server: whose it is, when it moves, and that it goes."""

import os
import signal

import pytest
from support import eventually

APPLICATION = """
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/wait":
            open("entered", "w").close()
            with open("gate") as gate:
                gate.read()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]
"""


@pytest.fixture
def pidfile(tmp_path):
    return tmp_path / "pid"


def configure(directory, text):
    (directory / "pyserver.conf.py").write_text(text)


def assert_refused(server, reason):
    assert server.wait() == 1
    assert server.log().count("\n") == 1
    assert reason in server.log()


def test_it_names_the_arbiter_and_goes_with_it(serve, pidfile):
    server = serve(APPLICATION, "-p", "pid")
    assert pidfile.read_text() == f"{server.pid}\n"
    assert server.stop() == 0
    assert not pidfile.exists()


def test_it_goes_when_the_server_could_not_boot(start, pidfile):
    assert start("1 / 0\n", "-p", "pid").wait() == 4
    assert not pidfile.exists()


def test_that_of_a_live_server_is_refused_and_stays(serve, start, pidfile):
    first = serve(APPLICATION, "-p", "pid")
    before = pidfile.stat()
    assert_refused(start(APPLICATION, "-p", "pid"), f"a running server (pid {first.pid}) has it")
    after = pidfile.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_server_that_is_refused_leaves_no_unix_socket(serve, start, tmp_path):
    serve(APPLICATION, "-p", "pid")
    assert_refused(start(APPLICATION, "-p", "pid", "-b", "unix:a.sock"), "has it")
    assert not (tmp_path / "a.sock").exists()


def test_a_number_that_belongs_to_another_program_is_no_obstacle(serve, pidfile):
    pidfile.write_text(f"{os.getpid()}\n")
    server = serve(APPLICATION, "-p", "pid")
    assert pidfile.read_text() == f"{server.pid}\n"


def test_a_directory_that_is_not_there_is_told_in_one_line(start):
    assert_refused(start(APPLICATION, "-p", "none/pid"), "No such file or directory")


def test_a_killed_arbiter_leaves_it_free_while_its_workers_finish(serve, pidfile):
    os.mkfifo(pidfile.with_name("gate"))
    first = serve(APPLICATION, "-p", "pid")
    with first.client() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(pidfile.with_name("entered").exists)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert first.workers()
        second = serve(APPLICATION, "-p", "pid")
        assert pidfile.read_text() == f"{second.pid}\n"
        pidfile.with_name("gate").write_text("")
        assert client.receive_response().content == b"hello"


def test_one_that_was_replaced_is_left_to_whoever_did_it(serve, pidfile):
    server = serve(APPLICATION, "-p", "pid")
    pidfile.unlink()
    pidfile.write_text("1\n")
    assert server.stop() == 0
    assert pidfile.read_text() == "1\n"


def test_hup_makes_one_that_was_removed_again(serve, pidfile):
    server = serve(APPLICATION, "-p", "pid")
    pidfile.unlink()
    server.send_signal(signal.SIGHUP)
    eventually(pidfile.exists)
    assert pidfile.read_text() == f"{server.pid}\n"


def test_hup_moves_it(serve, pidfile):
    configure(pidfile.parent, "pidfile = 'pid'\n")
    server = serve(APPLICATION)
    server.get()
    configure(pidfile.parent, "pidfile = 'other'\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: not pidfile.exists())
    assert pidfile.with_name("other").read_text() == f"{server.pid}\n"


def test_hup_adds_and_removes_it(serve, pidfile):
    configure(pidfile.parent, "")
    server = serve(APPLICATION)
    server.get()
    configure(pidfile.parent, "pidfile = 'pid'\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in server.log())
    assert pidfile.read_text() == f"{server.pid}\n"
    configure(pidfile.parent, "")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: not pidfile.exists())


def test_hup_to_that_of_another_server_changes_nothing(serve, pidfile):
    configure(pidfile.parent, "pidfile = 'pid'\n")
    server = serve(APPLICATION)
    server.get()
    other = serve(APPLICATION, "-p", "other")
    configure(pidfile.parent, "pidfile = 'other'\nbind = 'unix:a.sock'\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "The reload is refused and nothing has changed: cannot take the pid file" in server.log())
    assert pidfile.read_text() == f"{server.pid}\n"
    assert pidfile.with_name("other").read_text() == f"{other.pid}\n"


def test_a_reload_that_is_given_up_leaves_it_where_it_was(serve, pidfile):
    configure(pidfile.parent, "pidfile = 'pid'\n")
    server = serve(APPLICATION)
    server.get()
    (pidfile.parent / "application_0.py").write_text("1 / 0\n")
    configure(pidfile.parent, "pidfile = 'other'\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "The reload is given up" in server.log())
    eventually(lambda: not pidfile.with_name("other").exists())
    assert pidfile.read_text() == f"{server.pid}\n"
