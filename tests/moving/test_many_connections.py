"""More connections ask for something than the commons holds, and workers are away: nobody is lost."""

import contextlib
import os
import signal
from collections import Counter

from classes import only
from moving.site import PATIENT, Visitor
from support import eventually

MANY = 700
# What has been received of a request moves with its connection: of so many such heads there is no room for all.
HEAVY = 250
LONG_FIELDS = "".join(f"X-Long-{number}: {'x' * 7000}\r\n" for number in range(8))


def test_all_are_answered_by_the_one_that_is_free_first(sites):
    site = sites()
    many = site.invite(HEAVY)
    for number, one in enumerate(many):
        one.send(f"GET /?{number} HTTP/1.1\r\nHost: test\r\n{LONG_FIELDS}\r".encode())
    site.keep_all_busy()
    for one in many:
        one.send(b"\n")
    last = Counter(one.worker for one in many).most_common(1)[0][0]
    (first,) = set(site.server.workers()) - {last}
    ours = [one for one in site.held if one.worker != first]
    site.let_go([one for one in site.held if one.worker == first])
    told = [one.hear() for one in many]
    assert [one["query"] for one in told] == [str(number) for number in range(HEAVY)]
    assert {one["pid"] for one in told} == {first}
    assert site.held == ours
    site.let_go()


@only("sync")
def test_each_is_answered_once(sites):
    site = sites()
    many = site.invite(MANY)
    site.keep_all_busy()
    for one in many:
        one.begin("/?first")
    site.let_go()
    for one in many:
        assert one.hear()["query"] == "first"
        assert one.ask("/?second")["query"] == "second"


def test_a_shutdown_answers_those_that_wait_for_busy_workers(sites):
    site = sites()
    many = site.invite(100)
    site.keep_all_busy()
    for one in many:
        one.begin("/?last")
    site.server.send_signal(signal.SIGTERM)
    site.says("Handling signal: term")
    site.let_go(closes=True)
    for one in many:
        assert one.receive_response().status == 200
    assert site.server.wait() == 0


def test_who_waits_for_a_worker_that_is_killed_is_answered_by_another(sites):
    site = sites()
    visitor = site.keep_busy()
    kept = [one.visitor for one in site.held]
    owners = zip(site.visitors, site.workers_of(site.visitors), strict=True)
    others = [one for one, worker in owners if worker == site.busy and one not in kept]
    for one in others:
        one.begin()
    assert all(one.hear()["pid"] != site.busy for one in others)
    os.kill(site.busy, signal.SIGKILL)
    assert visitor.ask()["pid"] != site.busy
    site.held.clear()


@only("sync")
def test_who_waits_in_the_commons_survives_the_worker_that_put_him_there(sites):
    site = sites()
    many = site.invite(60)
    site.keep_all_busy()
    killed = site.held[0].worker
    theirs = [one for one, worker in zip(many, site.workers_of(many), strict=True) if worker == killed]
    for one in theirs:
        one.begin()
    # Its end of the connection is closed when another may have it.
    eventually(lambda: killed not in site.workers_of(theirs), PATIENT)
    os.kill(killed, signal.SIGKILL)
    site.held[:] = [one for one in site.held if one.worker != killed]
    for one in theirs:
        assert one.hear()["pid"] != killed
    site.let_go()


def test_connections_that_are_closed_meanwhile_are_left_alone(sites):
    site = sites()
    many = site.invite(60)
    site.keep_all_busy()
    for one in many:
        one.begin()
        one.close()
    site.let_go()
    assert all(one.ask()["pid"] for one in site.invite(4))
    with contextlib.closing(Visitor(site.server.address)) as one:
        one.ask()
