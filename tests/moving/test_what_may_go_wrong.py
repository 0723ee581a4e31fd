"""Descriptors run out, clients leave, finalizers take their time: what moves arrives all the same."""

import os
import signal
import socket
from collections import Counter

import pytest
from calls import ASGI
from classes import CLASSES
from moving.site import PATIENT
from support import eventually


def test_who_has_no_descriptor_left_takes_nothing(sites):
    site = sites()
    visitor = site.keep_busy()
    other = site.visitor()
    # What is imported only when it is needed has been.
    other.ask()
    assert other.ask("/exhaust")["pid"] != site.busy
    visitor.begin("/?moves")
    # It sees what waits there each time.
    for _ in range(5):
        other.ask()
    other.ask("/release")
    told = visitor.hear()
    assert (told["query"], told["pid"]) == ("moves", other.worker)
    site.let_go()


def test_the_end_of_a_client_is_seen_behind_its_last_request(shared_site, worker_class):
    if worker_class is ASGI:
        pytest.skip("who sends no more is gone there")
    site = shared_site()
    other = site.keep_busy()
    held = site.held[-1].visitor
    held.begin("/?last")
    held.socket.shutdown(socket.SHUT_WR)
    # By now somebody has looked at what has come.
    assert other.ask()["pid"] != site.busy
    site.let_go()
    assert held.hear()["query"] == "last"
    assert held.is_closed_by_server()


def test_a_connection_stays_until_its_response_has_left(sites, worker_class):
    if worker_class.name != "sync":
        pytest.skip("others have nothing in their hands while a finalizer runs")
    site = sites("--access-logfile", "access.log", "--access-logformat", "%({holding}e)s")
    fresh = site.invite()
    worker = Counter(one.worker for one in fresh).most_common(1)[0][0]
    stays, other, *_ = (one for one in fresh if one.worker == worker)
    os.mkfifo(site.server.directory / "name.gate")
    stays.begin("/holding?name")
    eventually((site.server.directory / "name.entered").exists)
    stays.begin("/?second")
    assert other.ask()["pid"] != worker
    (site.server.directory / "name.gate").write_text("")
    assert [stays.hear()["query"] for _ in range(2)] == ["name", "second"]


def test_an_abort_closes_no_connection_on_which_nothing_runs(sites):
    site = sites("--timeout", "2")
    stays = site.keep_busy()
    worker = site.busy
    eventually(lambda: worker not in site.server.workers(), PATIENT)
    assert stays.ask()["pid"] != worker
    # They were answered 504.
    site.held.clear()


@pytest.mark.parametrize("worker_class", [CLASSES["threaded"]], ids=["threaded"], indirect=True)
def test_what_an_abort_has_passed_on_is_not_taken_back(sites):
    site = sites("--timeout", "2")
    visitors = site.invite(40)
    held = visitors.pop()
    worker = site.hold(held).worker
    eventually(lambda: worker not in site.server.workers(), PATIENT)
    assert worker not in [one.ask()["pid"] for one in visitors]
    site.held.clear()


@pytest.mark.parametrize("worker_class", [CLASSES["sync"]], ids=["sync"], indirect=True)
def test_an_abort_leaves_nobody_in_the_dark_where_nobody_takes(sites):
    site = sites("--timeout", "2")
    stays = site.keep_busy(before=lambda one: one.send(b"GET /?half HT"))
    worker = site.busy
    site.signal(signal.SIGWINCH)
    eventually(lambda: worker not in site.server.workers(), PATIENT)
    assert stays.is_closed_by_server()
    site.held.clear()
