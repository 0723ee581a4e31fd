"""Which load of the settings the server stands on."""

import os
import sys

import pytest

from pyserver._scoreboard import Scoreboard
from pyserver.arbiter.generations import Generation, Generations, Surroundings, Verdict, load_generation
from pyserver.errors import BootError
from pyserver.log import ErrorLog
from pyserver.settings.model import Settings
from pyserver.systemd import Inherited
from pyserver.workers.base import Worker


def generation(number):
    settings = Settings(wsgi_app="shop:app", bind=("127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1:8000"))
    return Generation(number, settings, Worker, ErrorLog("-"), Surroundings.now(), Inherited({}), Scoreboard(4))


@pytest.fixture
def first():
    return generation(1)


@pytest.fixture
def generations(first):
    return Generations(first)


@pytest.fixture
def second(generations):
    """Proposed, with a first one that serves."""
    generations.note_ready(1)
    proposed = generation(generations.next_number())
    generations.propose(proposed)
    return proposed


def test_an_address_given_twice_is_listened_on_once(first):
    assert list(map(str, first.addresses)) == ["127.0.0.1:8000", "127.0.0.1:8001"]


def test_a_service_that_never_worked_halts_at_the_first_failed_boot(generations):
    assert generations.note_failed_boot(1) is Verdict.HALT


def test_a_service_that_has_worked_never_halts(generations):
    generations.note_ready(1)
    assert [generations.note_failed_boot(1) for _ in range(10)] == [Verdict.TRY_AGAIN] * 10


def test_a_generation_proves_itself_once(generations):
    assert generations.note_ready(1)
    assert not generations.note_ready(1)


def test_a_reload_is_dropped_after_three_failed_boots(generations, second):
    verdicts = [generations.note_failed_boot(second.number) for _ in range(3)]
    assert verdicts == [Verdict.TRY_AGAIN, Verdict.TRY_AGAIN, Verdict.DROP]


def test_a_dropped_reload_leaves_the_one_before(generations, first, second):
    generations.drop()
    assert generations.current is first
    assert generations.in_use() == [first]


def test_both_are_in_use_until_the_new_one_is_ready(generations, first, second):
    assert generations.in_use() == [first, second]
    assert generations.note_ready(second.number)
    assert generations.in_use() == [second]


def test_an_old_worker_that_gets_ready_proves_nothing(generations, second):
    assert not generations.note_ready(1)
    assert not second.is_proven


def test_a_boot_that_fails_in_an_older_generation_means_nothing(generations, second):
    assert generations.note_failed_boot(1) is None
    assert second.failed_boots == 0


def test_a_second_reload_before_the_first_is_ready_keeps_what_serves(generations, first, second):
    third = generation(generations.next_number())
    generations.propose(third)
    assert generations.in_use() == [first, third]


def test_a_reload_of_a_service_that_never_worked_has_nothing_to_go_back_to(generations):
    generations.propose(generation(2))
    assert generations.note_failed_boot(2) is Verdict.HALT


def test_numbers_are_never_used_again(generations, second):
    generations.drop()
    assert generations.next_number() > second.number


def test_the_same_failure_is_told_in_full_once(first):
    assert first.told_once("no module\nTraceback") == "no module\nTraceback"
    assert first.told_once("no module\nTraceback") == "no module"
    assert first.told_once("another\nTraceback") == "another\nTraceback"


def test_surroundings_are_restored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYSERVER_TEST_KEPT", "before")
    monkeypatch.setattr(sys, "path", ["a"])
    surroundings = Surroundings.now()
    os.chdir("/")
    monkeypatch.setenv("PYSERVER_TEST_KEPT", "after")
    monkeypatch.setenv("PYSERVER_TEST_ADDED", "after")
    sys.path.insert(0, "b")
    surroundings.restore()
    assert (os.getcwd(), sys.path) == (str(tmp_path), ["a"])
    assert os.environ["PYSERVER_TEST_KEPT"] == "before"
    assert "PYSERVER_TEST_ADDED" not in os.environ


def test_a_directory_that_was_removed_keeps_its_name(tmp_path, monkeypatch):
    (tmp_path / "release").mkdir()
    monkeypatch.chdir(tmp_path / "release")
    surroundings = Surroundings.now()
    (tmp_path / "release").rmdir()
    monkeypatch.setenv("PYSERVER_TEST_ADDED", "by a hook")
    renewed = surroundings.renewed()
    assert renewed.directory == str(tmp_path / "release")
    assert renewed.environ["PYSERVER_TEST_ADDED"] == "by a hook"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Of workers of which each runs as many requests at once as there are threads."""
    (tmp_path / "worker_of_a_test.py").write_text(
        "from pyserver.workers.base import Worker\n"
        "class Own(Worker):\n"
        "    def run(self): pass\n"
        "    rows = classmethod(lambda cls, settings: 2**31 - 1 if settings.threads == 7 else settings.threads)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return lambda threads: Settings(worker_class="worker_of_a_test:Own", threads=threads)


def test_generations_whose_workers_run_as_many_requests_at_once_share_a_scoreboard(settings):
    first = Scoreboard(4)
    boards = [load_generation(1, settings(threads), Inherited({}), first).scoreboard for threads in (1, 2)]
    assert boards[0] is first
    assert (boards[1].slots, boards[1].rows) == (4, 2)


def test_a_scoreboard_for_which_there_is_no_memory_is_no_reason_to_crash(settings):
    with pytest.raises(BootError, match=r"cannot map a scoreboard of 4096 slots, each with room for 2147483647"):
        load_generation(1, settings(7), Inherited({}), Scoreboard(4096))
