"""A worker that leaves passes its connections on: their clients see nothing of it."""

import os
import signal
import threading

import pytest
from moving.site import PATIENT
from support import eventually


def reload(site, workers=2):
    site.changes_workers(lambda: site.server.send_signal(signal.SIGHUP), workers)


def are_elsewhere(visitors):
    """Whether each is answered, in a connection that persists, by a worker that has not answered it before."""
    before = [one.worker for one in visitors]
    return [one.ask()["pid"] not in before for one in visitors] == [True] * len(visitors)


def test_a_reload_passes_idle_connections_on(sites):
    site = sites()
    visitors = site.invite()
    reload(site)
    assert are_elsewhere(visitors)


def test_a_reload_of_a_single_worker_passes_idle_connections_on(sites):
    site = sites("-w", "1")
    visitors = site.invite()
    reload(site, 1)
    assert are_elsewhere(visitors)


def test_a_reload_passes_connections_on_that_have_sent_nothing_yet(sites):
    site = sites("--request-head-timeout", "60")
    silent = [site.visitor() for _ in range(6)]
    eventually(lambda: all(map(site.worker_of, silent)))
    before = set(site.server.workers())
    reload(site)
    assert not {one.ask()["pid"] for one in silent} & before


def test_connections_that_have_moved_once_move_again(sites):
    site = sites("-w", "1")
    visitors = site.invite(4)
    for _ in range(3):
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


def test_a_worker_that_was_added_and_goes_again_passes_its_connections_on(sites):
    site = sites("-w", "1")
    site.server.send_signal(signal.SIGTTIN)
    eventually(lambda: site.server.log().count("is ready") == 2, PATIENT)
    visitors = site.invite()
    site.server.send_signal(signal.SIGTTOU)
    eventually(lambda: len(site.server.workers()) == 1, PATIENT)
    assert {one.ask()["pid"] for one in visitors} == set(site.server.workers())


def test_half_a_head_is_completed_after_a_reload(sites):
    site = sites()
    visitor = site.visitor()
    visitor.send(b"GET / HTTP/1.1\r\nHo")
    eventually(lambda: site.worker_of(visitor))
    before = set(site.server.workers())
    site.server.send_signal(signal.SIGHUP)
    site.says("Generation 2 is ready")
    visitor.send(b"st: test\r\n\r\n")
    response = visitor.receive_response()
    assert response.status == 200
    assert response.field("Connection") != "close"
    eventually(lambda: not before & set(site.server.workers()), PATIENT)
    assert visitor.ask()["pid"] not in before


def test_a_request_that_runs_during_a_reload_is_answered_and_its_connection_moves(sites):
    site = sites()
    site.keep_busy()
    kept = [one.visitor for one in site.held]
    busy = site.busy
    site.server.send_signal(signal.SIGHUP)
    site.says("Generation 2 is ready")
    site.let_go()
    eventually(lambda: busy not in site.server.workers(), PATIENT)
    assert all(one.ask()["pid"] != busy for one in kept)


def test_who_asks_a_busy_worker_that_leaves_is_answered_by_a_new_one(sites):
    site = sites()
    visitor = site.keep_busy()
    busy = site.busy
    site.server.send_signal(signal.SIGHUP)
    site.says("Generation 2 is ready")
    assert visitor.ask()["pid"] != busy
    site.let_go()
    eventually(lambda: busy not in site.server.workers(), PATIENT)
    assert visitor.ask()["pid"] != busy


def test_where_connections_do_not_move_a_reload_closes_those_that_are_idle(sites):
    site = sites("--move-connections", "off")
    visitors = site.invite(4)
    reload(site)
    assert all(one.is_closed_by_server() for one in visitors)


def test_no_request_is_lost_in_many_reloads(sites):
    site = sites()
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
        for _ in range(5):
            reload(site)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert failures == []


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


def test_after_an_upgrade_that_is_taken_back_the_old_workers_have_all_connections(sites, upgrade):
    site = sites()
    before = set(site.server.workers())
    new = upgrade(site)
    visitors = site.invite()
    new.end()
    assert {one.ask()["pid"] for one in visitors} <= before


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
