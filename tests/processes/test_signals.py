"""What the arbiter and its workers do for the signals that neither stop nor reload the server."""

import os
import signal

import pytest
from classes import each_class as worker_class
from support import eventually

__all__ = ["worker_class"]

APPLICATION = """
    import os

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{os.environ['PYSERVER_SLOT']} {environ['pyserver.slot']}".encode()]
"""


def test_ttin_adds_a_worker_and_ttou_takes_one_away(serve):
    server = serve(APPLICATION)
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: len(server.workers()) == 2)
    server.send_signal(signal.SIGTTOU)
    eventually(lambda: len(server.workers()) == 1)
    assert server.get().status == 200


def test_ttou_leaves_one_worker(serve):
    server = serve(APPLICATION)
    before = server.workers()
    server.send_signal(signal.SIGTTOU)
    eventually(lambda: "There are 1 workers" in server.log())
    assert server.workers() == before


def test_a_reload_goes_back_to_the_number_of_the_settings(serve):
    server = serve(APPLICATION)
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: len(server.workers()) == 2)
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in server.log())
    eventually(lambda: len(server.workers()) == 1)


def test_a_worker_that_is_added_after_a_reload_was_asked_for_stays(serve):
    server = serve(APPLICATION)
    server.get()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "Hang up: Arbiter" in server.log())
    # This one waits, because reloads that follow one another quickly are merged.
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.log().count("Handling signal: hup") == 2)
    server.send_signal(signal.SIGTTIN)
    eventually(lambda: server.log().count("Hang up: Arbiter") == 2)
    eventually(lambda: "Generation 3 is ready" in server.log())
    eventually(lambda: len(server.workers()) == 2)


def test_winch_retires_all_workers_until_a_reload(serve):
    server = serve(APPLICATION, "-w", "2")
    server.send_signal(signal.SIGWINCH)
    eventually(lambda: not server.workers())
    assert server.is_running()
    server.send_signal(signal.SIGHUP)
    eventually(lambda: len(server.workers()) == 2)
    assert server.get().status == 200


@pytest.mark.parametrize("name", ["HUP", "USR2", "WINCH", "TTIN", "TTOU"])
def test_a_signal_sent_to_a_worker_by_mistake_does_nothing(serve, name):
    server = serve(APPLICATION)
    server.get()
    (pid,) = server.workers()
    os.kill(pid, getattr(signal, f"SIG{name}"))
    assert server.get().status == 200
    assert server.workers() == [pid]


def test_usr1_opens_the_access_log_anew(serve, tmp_path):
    log = tmp_path / "access.log"
    server = serve(APPLICATION, "--access-logfile", "access.log")
    server.get()
    eventually(log.read_text)
    log.rename(tmp_path / "access.log.1")
    server.send_signal(signal.SIGUSR1)
    eventually(log.exists)
    # The worker opens it after the arbiter.
    eventually(lambda: server.get("/after") and "GET /after" in log.read_text())


def test_usr1_opens_the_error_log_anew(start, tmp_path):
    log = tmp_path / "error.log"
    server = start(APPLICATION, "--error-logfile", "error.log")
    eventually(lambda: log.exists() and "Booting worker" in log.read_text())
    log.rename(tmp_path / "error.log.1")
    server.send_signal(signal.SIGUSR1)
    eventually(log.exists)
    server.stop()
    assert "Shutting down: Arbiter" in log.read_text()


def test_each_worker_has_a_number_and_its_successor_has_the_same(serve):
    server = serve(APPLICATION, "-w", "2", "--max-requests", "1")
    seen = []

    def both_have_been_seen_often():
        seen.append(server.get().content)
        return min(seen.count(b"0 0"), seen.count(b"1 1")) >= 3

    eventually(both_have_been_seen_often, within=20)
    assert set(seen) == {b"0 0", b"1 1"}


def test_a_drain_delay_serves_on_before_the_server_stops(serve):
    server = serve(APPLICATION, "--drain-delay", "1000")
    server.send_signal(signal.SIGTERM)
    eventually(lambda: "Serving on for the drain_delay of 1000 s" in server.log())
    assert server.get().status == 200
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_the_end_of_a_drain_delay_stops_the_server(serve):
    server = serve(APPLICATION, "--drain-delay", "0.1")
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_the_last_words_say_what_was_done(serve):
    server = serve(APPLICATION)
    for _ in range(3):
        server.get()
    server.stop()
    assert "3 connections were accepted, 3 requests answered, 0 abandoned" in server.log()


def test_an_application_that_does_not_load_in_time_has_not_booted(start):
    server = start("import time; time.sleep(1000)\n", "--boot-timeout", "0.2")
    assert server.wait() == 3
    assert "WORKER BOOT TIMEOUT" in server.log()


def test_an_idle_worker_that_is_frozen_is_replaced(serve):
    server = serve(APPLICATION, "-w", "2", "--timeout", "1", "--log-level", "debug")
    eventually(lambda: server.log().count("is ready") == 2)
    frozen = server.workers()[0]
    os.kill(frozen, signal.SIGSTOP)
    eventually(lambda: frozen not in server.workers() and len(server.workers()) == 2, within=15)
    assert "it does not answer" in server.log()
