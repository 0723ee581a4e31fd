"""Wanted listeners against open ones, with real sockets."""

import os
import socket

import pytest

from pyserver.arbiter.listeners import Listeners
from pyserver.errors import BootError
from pyserver.sockets import parse_address


@pytest.fixture
def listeners():
    opened = Listeners()
    yield opened
    opened.close()


@pytest.fixture
def unix(tmp_path):
    """Two addresses of Unix sockets."""
    return [parse_address(f"unix:{tmp_path}/{name}.sock") for name in "ab"]


def can_connect(address):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(address.path) == 0


def test_an_address_that_stays_keeps_its_socket(listeners, unix):
    listeners.open(unix[:1], 16)
    before = listeners.at(unix[:1])
    listeners.open(unix, 16)
    assert listeners.at(unix)[0] is before[0]


def test_new_addresses_are_open_before_old_ones_are_closed(listeners, unix):
    listeners.open(unix[:1], 16)
    listeners.open(unix[1:], 16)
    assert all(map(can_connect, unix))
    listeners.keep(unix[1:])
    assert list(map(can_connect, unix)) == [False, True]


def test_when_one_cannot_be_opened_everything_is_as_before(listeners, unix, tmp_path):
    listeners.open(unix[:1], 16)
    with pytest.raises(BootError):
        listeners.open([*unix, parse_address(f"unix:{tmp_path}/none/c.sock")], 16)
    assert list(map(can_connect, unix)) == [True, False]


def test_sockets_of_other_addresses_are_named(listeners, unix):
    listeners.open(unix, 16)
    assert listeners.not_at(unix[:1]) == listeners.at(unix[1:])


def test_the_file_of_a_closed_unix_socket_is_removed(listeners, unix):
    listeners.open(unix[:1], 16)
    listeners.close()
    assert not os.path.exists(unix[0].path)


def test_a_file_that_another_server_has_put_there_is_left_alone(listeners, unix):
    listeners.open(unix[:1], 16)
    os.unlink(unix[0].path)
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(unix[0].path)
        listeners.close()
        assert os.path.exists(unix[0].path)


@pytest.fixture
def other():
    """Those of another arbiter."""
    opened = Listeners()
    yield opened
    opened.close()


def adopt(taker, giver, wanted):
    """As over an upgrade, where descriptors keep their numbers and belong to another process."""
    given = {address: os.dup(listener.fileno()) for address, listener in giver.share().items()}
    taker.adopt(given, wanted, 16)


def test_an_adopted_listener_is_the_same_socket(listeners, other, unix):
    listeners.open(unix[:1], 16)
    inode = os.stat(unix[0].path).st_ino
    adopt(other, listeners, unix[:1])
    other.open(unix, 16)
    assert os.stat(unix[0].path).st_ino == inode
    assert not other.at(unix[:1])[0].get_inheritable()
    assert all(map(can_connect, unix))


def test_a_port_that_the_system_has_chosen_is_adopted(listeners, other):
    anything = [parse_address("127.0.0.1:0")]
    listeners.open(anything, 16)
    adopt(other, listeners, anything)
    other.open(anything, 16)
    assert other.at(anything)[0].getsockname() == listeners.at(anything)[0].getsockname()


def test_a_relative_path_is_the_address_of_the_absolute_one(listeners, other, unix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = [parse_address("unix:a.sock")]
    listeners.open(relative, 16)
    adopt(other, listeners, relative)
    other.open(relative, 16)
    assert can_connect(unix[0])


def test_the_file_of_a_relative_path_is_removed_from_another_directory(listeners, unix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listeners.open([parse_address("unix:a.sock")], 16)
    monkeypatch.chdir("/")
    listeners.close()
    assert not os.path.exists(unix[0].path)


@pytest.mark.parametrize("ends_first", ["old", "new"])
def test_the_file_of_a_shared_socket_is_removed_by_the_arbiter_that_is_left(listeners, other, unix, ends_first):
    listeners.open(unix[:1], 16)
    adopt(other, listeners, unix[:1])
    first, last = (listeners, other) if ends_first == "old" else (other, listeners)
    first.close()
    assert can_connect(unix[0])
    last.unshare()
    assert can_connect(unix[0])
    last.close()
    assert not os.path.exists(unix[0].path)


def test_what_is_not_wanted_any_more_is_removed_when_the_other_arbiter_has_gone(listeners, other, unix):
    listeners.open(unix, 16)
    adopt(other, listeners, unix)
    other.keep(unix[:1])
    assert all(map(can_connect, unix))
    listeners.close()
    other.unshare()
    assert list(map(can_connect, unix)) == [True, False]
    assert not os.path.exists(unix[1].path)


def test_a_new_address_belongs_to_the_arbiter_that_opened_it(listeners, other, unix):
    listeners.open(unix[:1], 16)
    adopt(other, listeners, unix[:1])
    other.open(unix, 16)
    other.close()
    assert list(map(can_connect, unix)) == [True, False]
    assert not os.path.exists(unix[1].path)


def test_a_socket_whose_file_was_taken_by_another_server_is_not_shared(listeners, unix):
    listeners.open(unix, 16)
    os.unlink(unix[0].path)
    assert list(listeners.share()) == unix[1:]
