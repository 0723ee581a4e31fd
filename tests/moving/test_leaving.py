"""A worker that leaves passes its connections on: their clients see nothing of it."""

import os
import signal
import threading
from collections import Counter

import pytest
from classes import only
from moving.site import PATIENT
from support import eventually


def reload(site, workers=2):
    site.changes_workers(lambda: site.server.send_signal(signal.SIGHUP), workers)


def begin_reload(site):
    """Return when new workers serve, and the old ones have been told to go."""
    before = site.server.log().count("is ready\n")
    site.server.send_signal(signal.SIGHUP)
    eventually(lambda: site.server.log().count(") is ready\n") >= before + 2, PATIENT)


def are_elsewhere(visitors):
    """Whether each is answered, in a connection that persists, by a worker that has not answered it before."""
    before = [one.worker for one in visitors]
    return [one.ask()["pid"] not in before for one in visitors] == [True] * len(visitors)


def test_a_reload_passes_idle_connections_on(shared_site):
    site = shared_site()
    visitors = site.invite()
    reload(site)
    assert are_elsewhere(visitors)


@only("sync")
def test_a_reload_of_a_single_worker_passes_idle_connections_on(shared_site):
    site = shared_site("-w", "1")
    visitors = site.invite()
    reload(site, 1)
    assert are_elsewhere(visitors)


def test_a_reload_passes_connections_on_that_have_sent_nothing_yet(shared_site):
    site = shared_site()
    silent = [site.visitor() for _ in range(6)]
    eventually(lambda: all(site.workers_of(silent)))
    before = set(site.server.workers())
    reload(site)
    assert not {one.ask()["pid"] for one in silent} & before


@only("sync")
def test_a_proxy_may_name_the_client_on_a_connection_that_has_moved_before(shared_site):
    site = shared_site("--proxy-protocol")
    silent = [site.visitor() for _ in range(6)]
    eventually(lambda: all(site.workers_of(silent)))
    reload(site)
    for one in silent:
        one.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        one.ask()
        # Once only.
        one.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        assert one.receive_response().status == 400


@only("sync")
def test_connections_that_have_moved_once_move_again(shared_site):
    site = shared_site("-w", "1")
    visitors = site.invite(4)
    for _ in range(2):
        reload(site, 1)
        assert are_elsewhere(visitors)


def test_a_worker_that_has_served_its_requests_passes_its_connections_on(sites):
    site = sites("-w", "1", "--max-requests", "20")
    idle = site.invite(4)
    (worker,) = site.server.workers()
    (one,) = site.invite(1)
    eventually(lambda: one.ask()["pid"] != worker, PATIENT)
    eventually(lambda: worker not in site.server.workers(), PATIENT)
    assert all(visitor.ask()["pid"] != worker for visitor in idle)


def test_a_worker_too_many_passes_its_connections_on(sites):
    site = sites()
    visitors = site.invite()
    site.server.send_signal(signal.SIGTTOU)
    (left,) = eventually(lambda: site.server.workers() if len(site.server.workers()) == 1 else [], PATIENT)
    assert {one.ask()["pid"] for one in visitors} == {left}


@only("sync")
def test_a_worker_that_was_added_and_goes_again_passes_its_connections_on(sites):
    site = sites("-w", "1")
    site.server.send_signal(signal.SIGTTIN)
    eventually(lambda: site.server.log().count("is ready") == 2, PATIENT)
    visitors = site.invite()
    site.server.send_signal(signal.SIGTTOU)
    eventually(lambda: len(site.server.workers()) == 1, PATIENT)
    assert {one.ask()["pid"] for one in visitors} == set(site.server.workers())


def test_half_a_head_is_completed_after_a_reload(shared_site):
    site = shared_site()
    visitor = site.visitor()
    visitor.send(b"GET / HTTP/1.1\r\nHo")
    eventually(lambda: site.worker_of(visitor))
    before = set(site.server.workers())
    begin_reload(site)
    visitor.send(b"st: test\r\n\r\n")
    response = visitor.receive_response()
    assert response.status == 200
    assert response.field("Connection") != "close"
    eventually(lambda: not before & set(site.server.workers()), PATIENT)
    assert visitor.ask()["pid"] not in before


def test_a_request_that_runs_during_a_reload_is_answered_and_its_connection_moves(shared_site):
    site = shared_site()
    site.keep_busy()
    kept = [one.visitor for one in site.held]
    busy = site.busy
    begin_reload(site)
    site.let_go()
    eventually(lambda: busy not in site.server.workers(), PATIENT)
    assert all(one.ask()["pid"] != busy for one in kept)


def test_who_asks_a_busy_worker_that_leaves_is_answered_by_a_new_one(shared_site):
    site = shared_site()
    visitor = site.keep_busy()
    busy = site.busy
    begin_reload(site)
    assert visitor.ask()["pid"] != busy
    site.let_go()
    eventually(lambda: busy not in site.server.workers(), PATIENT)
    assert visitor.ask()["pid"] != busy


def test_a_worker_whose_last_connection_is_passed_on_while_its_loop_is_blocked_ends(sites, worker_class, tmp_path):
    if worker_class.name not in ("gevent", "asgi"):
        pytest.skip("it has no loop in which anything but a request runs")
    site = sites("--request-head-timeout", "60")
    os.mkfifo(tmp_path / "loop.gate")
    visitors = site.invite()
    old = Counter(one.worker for one in visitors).most_common(1)[0][0]
    visitor, idle, *_ = (one for one in visitors if one.worker == old)
    idle.ask("/hold-when-told?loop")
    visitor.send(b"GET / HT")
    site.server.send_signal(signal.SIGHUP)
    # It has been told to go, and has passed on what is idle.
    eventually(lambda: site.worker_of(idle) not in (0, old), PATIENT)
    (tmp_path / "loop.go").touch()
    eventually((tmp_path / "loop.entered").exists)
    visitor.send(b"TP/1.1\r\nHost: test\r\n\r\n")
    assert visitor.hear()["pid"] != old
    (tmp_path / "loop.gate").write_text("")
    eventually(lambda: old not in site.server.workers(), PATIENT)


@only("sync")
def test_where_connections_do_not_move_a_reload_closes_those_that_are_idle(sites):
    site = sites("--move-connections", "off")
    visitors = site.invite(4)
    reload(site)
    assert all(one.is_closed_by_server() for one in visitors)


def test_no_request_is_lost_in_many_reloads(shared_site):
    site = shared_site()
    visitors, failures, is_over = site.invite(4), [], threading.Event()

    def ask_on(visitor):
        try:
            while not is_over.is_set():
                visitor.ask()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask_on, args=(one,)) for one in visitors]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            reload(site)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert failures == []


@only("sync")
def test_the_server_tells_at_its_end_what_has_moved(sites):
    site = sites("-w", "1")
    site.invite(3)
    reload(site, 1)
    assert site.server.stop() == 0
    assert "Connections were passed on: 3 by workers that left" in site.server.log()


# ---- an upgrade ----


class Upgraded:
    """Of two arbiters the one that was started last."""

    def __init__(self, site):
        site.server.send_signal(signal.SIGUSR2)
        site.says(") serves", within=2 * PATIENT)
        (line,) = [line for line in site.server.log().splitlines() if ") serves" in line and "new arbiter" in line]
        self.pid = int(line.partition("pid: ")[2].partition(")")[0])
        self._site = site

    def end(self):
        os.kill(self.pid, signal.SIGTERM)
        eventually(lambda: self.pid not in self._site.server.processes(), PATIENT)


@pytest.fixture
def upgrade():
    begun = []

    def upgraded(site):
        begun.append(Upgraded(site))
        return begun[-1]

    yield upgraded
    for one in begun:
        if one.pid in one._site.server.processes():
            one.end()


def test_after_an_upgrade_the_new_workers_have_the_connections_of_the_old(sites, upgrade):
    site = sites()
    visitors = site.invite()
    new = upgrade(site)
    before = {one.worker for one in visitors}
    site.server.send_signal(signal.SIGTERM)
    site.server.wait()
    assert not {one.ask()["pid"] for one in visitors} & before
    new.end()


@only("sync")
def test_after_an_upgrade_that_is_taken_back_the_old_workers_have_all_connections(sites, upgrade):
    site = sites()
    before = set(site.server.workers())
    new = upgrade(site)
    visitors = site.invite()
    new.end()
    assert {one.ask()["pid"] for one in visitors} <= before


@only("sync")
def test_an_upgrade_after_which_connections_do_not_move_closes_those_that_are_idle(sites, upgrade, tmp_path):
    (tmp_path / "pyserver.conf.py").write_text("")
    site = sites()
    visitors = site.invite(4)
    (tmp_path / "pyserver.conf.py").write_text("move_connections = 'off'\n")
    new = upgrade(site)
    site.server.send_signal(signal.SIGTERM)
    assert all(one.is_closed_by_server() for one in visitors)
    site.server.wait()
    new.end()
