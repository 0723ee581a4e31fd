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
