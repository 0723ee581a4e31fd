"""Signals in any number and order: the arbiter lives, says who sent them, and comes to rest where it should."""

import os
import random
import signal
import subprocess
import sys

import pytest
from support import eventually

APPLICATION = """
    import os, signal

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/handler":
            signal.signal(signal.SIGTERM, lambda *_: open("handled", "w").close())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


def is_at_rest(server, workers):
    return len(server.workers()) == workers and not server.zombies()


def answers(server):
    """Whether it does; one of the two may still be an old worker, which waits half a second for a request."""
    try:
        return server.get().status == 200
    except ConnectionResetError:
        return False


def test_a_signal_is_logged_with_the_process_that_sent_it(serve):
    server = serve(APPLICATION)
    server.send_signal(signal.SIGUSR1)
    eventually(lambda: f"Handling signal: usr1 (from pid {os.getpid()})\n" in server.log())
    sender = subprocess.Popen([sys.executable, "-c", f"import os; os.kill({server.pid}, {signal.SIGTERM:d})"])
    sender.wait()
    assert server.wait() == 0
    assert f"Handling signal: term (from pid {sender.pid})\n" in server.log()


@pytest.mark.parametrize("kinds", [("CHLD", "HUP", "USR1"), ("CHLD", "HUP", "USR1", "TTIN", "TTOU", "WINCH")])
def test_hundreds_of_mixed_signals_end_nothing(serve, kinds):
    server = serve(APPLICATION, "-w", "2")
    eventually(lambda: len(server.workers()) == 2)
    chosen = random.Random(5)
    for _ in range(500):
        server.send_signal(getattr(signal, "SIG" + chosen.choice(kinds)))
        assert server.is_running()
    # TTIN and TTOU count from the settings on, which a reload reads again.
    server.send_signal(signal.SIGHUP)
    eventually(lambda: is_at_rest(server, 2), within=20)
    eventually(lambda: answers(server))
    assert "ERROR" not in server.log()
    assert "CRITICAL" not in server.log()


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTTIN, 9), (signal.SIGTTOU, 1)])
def test_each_of_several_signals_counts(serve, number, workers):
    server = serve(APPLICATION, "-w", "5")
    handled = f"Handling signal: {number.name.removeprefix('SIG').lower()}"
    for times in range(1, 5):
        server.send_signal(number)
        # One that is sent before the one before it is delivered would be merged with it by the kernel.
        eventually(lambda: server.log().count(handled) == times)  # noqa: B023
    eventually(lambda: is_at_rest(server, workers), within=10)


def test_signals_that_come_while_workers_boot_end_none_of_them(serve):
    server = serve("import time\ntime.sleep(0.5)\n" + "def application(environ, start_response): ...\n", "-w", "2")
    for _ in range(20):
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGWINCH, signal.SIGTTIN, signal.SIGUSR2):
            for pid in server.workers():
                os.kill(pid, number)
    eventually(lambda: is_at_rest(server, 2))
    assert server.log().count("Booting worker with pid") == 2


def test_what_an_application_does_with_a_signal_of_its_worker_wins(serve):
    server = serve(APPLICATION)
    pid = int(server.get("/handler").content)
    os.kill(pid, signal.SIGTERM)
    eventually((server.directory / "handled").exists)
    assert int(server.get().content) == pid
    os.kill(pid, signal.SIGKILL)
