"""What hooks see of the server and its workers in the arbiter."""

from types import SimpleNamespace

import pytest

from pyserver.arbiter.actions import Quit, Replace, Retire, Spent
from pyserver.arbiter.hooks import Hooks
from pyserver.arbiter.listeners import Listeners
from pyserver.arbiter.roster import Member, Roster
from pyserver.arbiter.server import Server
from pyserver.log import ErrorLog
from pyserver.settings.model import Settings
from pyserver.workers.messages import Report, ReportKind


@pytest.fixture
def roster():
    return Roster(4)


@pytest.fixture
def reloads(tmp_path):
    """Of a server whose child_exit keeps what it was called with."""
    ended = []
    settings = Settings(child_exit=lambda server, worker: ended.append(worker.pid))
    log = ErrorLog(str(tmp_path / "log"))
    yield SimpleNamespace(
        current=SimpleNamespace(settings=settings, log=log, addresses=[], name="shop"),
        listeners=Listeners(),
        ended=ended,
    )
    log.close()


@pytest.fixture
def server(reloads, roster):
    return Server(7, reloads, roster, lambda: 2)


def member_in(roster, slot=0, pid=100):
    member = Member(slot=slot, pid=pid, generation=1, number=slot)
    roster.add(member)
    return member


def test_a_worker_is_always_the_same_object(server, roster):
    made = server.new_worker(0, 0)
    member = member_in(roster)
    assert list(server.WORKERS.items()) == [(100, made)]
    assert server.worker_of(member) is server.forget(member) is made


def test_the_slot_of_a_worker_that_has_ended_is_that_of_another(server, roster):
    first = member_in(roster)
    made = server.worker_of(first)
    roster.remove(first)
    server.forget(first)
    second = server.worker_of(member_in(roster, pid=101))
    assert second is not made
    assert (made.pid, second.pid) == (100, 101)
    assert made.age < second.age


def test_a_worker_that_a_mold_has_still_to_fork_has_no_process_id(server, roster):
    member = member_in(roster, pid=0)
    assert server.worker_of(member).pid == "[booting]"
    assert server.WORKERS == {}


@pytest.mark.parametrize("action", [Retire(0), Quit(0), Replace(0, Spent.MEMORY)])
def test_a_worker_that_will_not_stay_is_not_alive(server, roster, action):
    member = member_in(roster)
    worker = server.worker_of(member)
    assert (worker.alive, worker.booted) == (True, False)
    member.note_report(Report(ReportKind.LOADED), 5)
    assert (worker.alive, worker.booted) == (True, True)
    member.note_told(action, 6)
    assert not worker.alive


def test_child_exit_is_called_for_those_that_there_have_been(reloads, roster):
    hooks = Hooks(reloads, roster, lambda: 2)
    for member in (member_in(roster, 0, pid=100), member_in(roster, 1, pid=0), member_in(roster, 2, pid=102)):
        roster.remove(member)
        hooks.note_end(member)
    assert reloads.ended == [100, 102]


def test_what_a_hook_sets_on_a_worker_is_kept_apart_from_what_was_there(server):
    worker = server.new_worker(0, 0)
    assert worker.kept() == {}
    worker.number, worker.name = 5, "a"
    assert worker.kept() == {"name": "a"}


@pytest.mark.parametrize("name", ["pid", "booted", "nr", "app"])
def test_what_only_the_server_knows_cannot_be_set(server, name):
    with pytest.raises(AttributeError):
        setattr(server.new_worker(0, 0), name, 1)
