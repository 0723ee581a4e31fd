"""Connections that move after each response: nothing is left behind anywhere, and nothing else is different."""

import os
import re
from pathlib import Path

import pytest
from classes import only
from moving.site import PATIENT
from sharing import descriptors
from support import eventually

ALWAYS = ("--move-connections", "always")


def open_by(pids):
    return {pid: len(descriptors(pid)) for pid in pids}


def test_connections_go_to_and_fro(shared_site):
    site = shared_site(*ALWAYS)
    visitors = site.invite()
    told = {one.ask()["pid"] for one in visitors for _ in range(20)}
    assert told <= set(site.server.workers())


def test_no_descriptor_is_left_open(shared_site):
    site = shared_site(*ALWAYS)
    for one in site.invite():
        one.close()
    processes = site.server.processes()
    before = {}

    def is_steady():
        last = dict(before)
        before.update(open_by(processes))
        return last == before

    eventually(is_steady)
    visitors = site.invite()
    for _ in range(30):
        for one in visitors:
            one.ask("/", "POST", b"x" * 1000)
    for one in visitors:
        one.close()
    eventually(lambda: open_by(processes) == before, PATIENT)


def test_an_application_may_fork(shared_site):
    site = shared_site(*ALWAYS)
    visitors = site.invite(4)
    for _ in range(5):
        for one in visitors:
            one.begin("/fork")
        for one in visitors:
            one.hear()


def test_an_application_may_fork_while_others_wait(shared_site):
    site = shared_site()
    site.keep_busy()
    visitors = site.invite(4)
    for _ in range(5):
        for one in visitors:
            one.begin("/fork")
        for one in visitors:
            one.hear()
    site.let_go()


def test_a_connection_that_a_child_of_the_application_has_is_closed_where_it_has_moved_to(sites):
    site = sites()
    os.mkfifo(site.server.directory / "child.gate")
    visitor = site.keep_busy(before=lambda one: one.ask("/leave-child?child"))
    visitor.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert visitor.receive_response().status == 200
    assert visitor.is_closed_by_server()
    site.let_go()
    (site.server.directory / "child.gate").write_text("")


def threads_of(pid):
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_a_single_worker_has_no_steward(sites):
    (alone,) = sites("-w", "1").server.workers()
    with_others = sites("-w", "2").server.workers()
    assert [threads_of(pid) - threads_of(alone) for pid in with_others] == [1, 1]


@only("sync")
@pytest.mark.parametrize("off", [("--handoff-after", "0"), ("--move-connections", "off")])
def test_where_nobody_is_handed_anything_there_is_no_steward(sites, off):
    (alone,) = sites("-w", "1").server.workers()
    assert [threads_of(pid) for pid in sites(*off).server.workers()] == [threads_of(alone)] * 2


def test_a_request_that_had_to_wait_knows_how_long(shared_site):
    site = shared_site()
    site.keep_all_busy()
    (visitor,) = site.visitors[:1]
    visitor.begin()
    # In the commons now; that took some milliseconds.
    eventually(lambda: not site.worker_of(visitor))
    site.let_go()
    assert visitor.hear()["waited"] > 0


@only("sync")
def test_the_access_log_tells_how_long_requests_have_waited(sites, tmp_path):
    site = sites("--access-logfile", "access.log", "--access-logformat", "%(r)s %(Q)s")
    site.invite(3)
    log = tmp_path / "access.log"
    eventually(lambda: log.read_text().count("\n") == 3)
    assert all(re.fullmatch(r"GET / HTTP/1\.1 \d+\.\d{6}", line) for line in log.read_text().splitlines())
