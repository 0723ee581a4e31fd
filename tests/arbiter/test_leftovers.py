"""What an import leaves behind is named, as in a process of its own."""

import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pyserver

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only /proc tells what a process has open")


def told(code):
    """What is said of a process that has run this code."""
    program = (
        "import sys\nfrom pyserver.arbiter.leftovers import leftovers, open_descriptors\nbefore = open_descriptors()\n"
        + textwrap.dedent(code)
        + "\nfor one in leftovers(before): print(one)\nsys.stdout.flush()\nimport os\nos._exit(0)\n"
    )
    environ = {"PYTHONPATH": str(Path(pyserver.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_of_an_import_that_leaves_nothing_nothing_is_said():
    assert told("import json, threading\nwith open('/dev/null') as file: file.read()") == []


def test_a_file_is_nothing_to_warn_of():
    assert told("file = open('/dev/null')") == []


def test_one_thread_is_named():
    (line,) = told("""
        import threading
        threading.Thread(target=threading.Event().wait, name="reporter", daemon=True).start()
    """)
    assert line == "the application has a thread that will not exist in workers: reporter"


def test_several_threads_are_named_and_those_that_have_ended_are_not():
    (line,) = told("""
        import threading
        for name in "metrics", "cache":
            threading.Thread(target=threading.Event().wait, name=name, daemon=True).start()
        short = threading.Thread(target=print, args=("",), kwargs={"end": ""})
        short.start()
        short.join()
    """)
    assert line == "the application has 2 threads that will not exist in workers: cache, metrics"


def test_a_thread_that_python_does_not_know_of_is_named():
    (line,) = told("""
        import _thread, threading
        lock = _thread.allocate_lock()
        lock.acquire()
        _thread.start_new_thread(lock.acquire, ())
        import os, time
        while len(os.listdir("/proc/self/task")) < 2:
            pass
    """)
    assert line.startswith("the application has a thread that will not exist in workers: ")
    assert "(native thread " in line


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_a_connection_is_named_by_its_peer(host, shown):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        (line,) = told(f"import socket\nconnection = socket.create_connection(({host!r}, {port}))")
    assert line == (
        f"a connection to {shown}:{port} is shared by all workers: open it after the fork, e.g. in the post_fork hook"
    )


def test_a_connection_to_a_unix_socket_is_named_by_its_path(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        (line,) = told(f"import socket\nconnection = socket.socket(socket.AF_UNIX)\nconnection.connect({path!r})")
    assert line.startswith(f"a connection to {path} is shared")


def test_a_pipe_is_one_thing():
    (line,) = told("import os\nends = os.pipe()")
    assert line.startswith("a pipe (descriptor ")


def test_a_socket_that_listens_is_told_from_a_connection():
    (line,) = told("import socket\nserver = socket.create_server(('127.0.0.1', 0))")
    assert line.startswith("a socket that listens on 127.0.0.1:")


def test_an_event_loop_is_named():
    lines = told("import asyncio\nloop = asyncio.new_event_loop()")
    assert any(line.startswith("the epoll instance of an event loop") for line in lines)


def test_a_datagram_socket_is_named():
    (line,) = told("import socket\ndatagrams = socket.socket(type=socket.SOCK_DGRAM)")
    assert line.startswith("a datagram socket (descriptor ")


def test_a_socket_without_a_peer_is_named_by_its_descriptor():
    (line,) = told("import socket\nunused = socket.socket()")
    assert line.startswith("a socket (descriptor ")
