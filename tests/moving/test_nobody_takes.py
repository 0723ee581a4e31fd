"""Where nobody would take a connection it is drained, as one that does not move."""

import errno
import os
import shutil
import signal
import socket

import pytest
from classes import DEFAULT
from moving.site import HERE, PATIENT
from support import eventually

from pyserver.arbiter.succession import take_inheritance
from pyserver.commons import VERSION, adopted, new_commons


@pytest.fixture(scope="module")
def worker_class():
    """That of a plain server; a config file may say otherwise."""
    return DEFAULT


def are_closed(visitors):
    return [one.is_closed_by_server() for one in visitors] == [True] * len(visitors)


def test_a_reload_to_a_class_that_takes_nothing_closes_what_is_idle(sites, tmp_path):
    shutil.copy(HERE.parent / "workers" / "plain_worker.py", tmp_path)
    config = tmp_path / "pyserver.conf.py"
    config.write_text("worker_class = 'sync'\n")
    site = sites("-w", "3")
    visitors = site.invite()
    # All leave at the same time.
    site.keep_all_busy()
    before = set(site.server.workers())
    config.write_text("worker_class = 'plain_worker:PlainWorker'\n")
    site.server.send_signal(signal.SIGHUP)
    eventually(lambda: "Generation 2 is ready" in site.server.log() and len(site.server.workers()) == 6, PATIENT)
    site.let_go(closes=True)
    eventually(lambda: not before & set(site.server.workers()), PATIENT)
    assert are_closed(visitors)


def test_workers_that_are_all_told_to_go_close_what_is_idle(sites):
    site = sites("-w", "3")
    visitors = site.invite()
    site.keep_all_busy()
    site.server.send_signal(signal.SIGWINCH)
    site.says("Handling signal: winch")
    site.let_go(closes=True)
    eventually(lambda: not site.server.workers(), PATIENT)
    assert are_closed(visitors)


def test_a_shutdown_closes_what_is_idle(sites):
    site = sites("-w", "3")
    visitors = site.invite()
    assert site.server.stop() == 0
    assert are_closed(visitors)


# ---- between two arbiters ----


class Log:
    def __init__(self):
        self.lines = []

    def info(self, text, *values):
        self.lines.append(text % values)


@pytest.fixture
def commons():
    made = new_commons(Log())
    yield made
    made.close()


def inheritance_with(text):
    ours, theirs = socket.socketpair()
    variables = {
        "PYSERVER_LISTENERS": "", "PYSERVER_UPGRADE_OF": "1", "PYSERVER_UPGRADE_CHANNEL": str(theirs.detach()),
        "PYSERVER_COMMONS": text,
    }  # fmt: skip
    with ours:
        inherited = take_inheritance(variables)
        assert variables == {}
        inherited.predecessor.say_ready()
        inherited.predecessor.close()
        return inherited, ours.recv(64)


def copies(commons):
    return ",".join(str(os.dup(number)) for number in commons.descriptors)


def test_a_successor_that_understands_the_commons_takes_from_it(commons):
    inherited, said = inheritance_with(f"{VERSION},{copies(commons)}")
    inherited.commons.close()
    assert b"t" in said


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_one_of_another_version_does_not(commons, version):
    inherited, said = inheritance_with(f"{version},{copies(commons)}")
    assert inherited.commons is None
    assert not inherited.predecessor.takes
    assert b"t" not in said


def test_one_that_is_to_move_nothing_does_not(commons):
    inherited, _ = inheritance_with(f"{VERSION},{copies(commons)}")
    inherited.refuse_commons()
    assert not inherited.predecessor.takes
    assert inherited.commons.taken_from.fileno() == -1


@pytest.mark.parametrize("text", ["", "1", "nothing", "1,2,3,4,5", f"{VERSION},-1,-1", f"{VERSION},9998,9999"])
def test_what_is_no_commons_is_none(text):
    # Descriptors of a test run that nobody has to close.
    assert adopted(text.replace(",2,3,4,5", ",9996,9997,9998,9999")) is None


def test_descriptors_of_another_version_are_closed(commons):
    numbers = copies(commons)
    assert adopted(f"{VERSION + 1},{numbers}") is None
    for number in map(int, numbers.split(",")):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.fstat(number)


# ---- where the system has no such sockets ----


def test_without_such_sockets_one_line_says_so(monkeypatch):
    def refused(*_arguments):
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))

    log = Log()
    monkeypatch.setattr(socket, "socketpair", refused)
    assert new_commons(log) is None
    (line,) = log.lines
    assert os.strerror(errno.EPROTONOSUPPORT) in line


def test_a_commons_holds_what_is_put_there(commons):
    for number in range(100):
        commons.put_into.send(b"%d" % number)
    assert [commons.taken_from.recv(8) for _ in range(100)] == [b"%d" % number for number in range(100)]
    with pytest.raises(BlockingIOError):
        commons.taken_from.recv(8)
