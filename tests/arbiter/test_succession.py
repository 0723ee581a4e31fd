"""What an arbiter tells the one that takes its place."""

import os
import socket

import pytest

from pyserver.arbiter.succession import OtherArbiter, decoded, encoded, take_inheritance
from pyserver.sockets import parse_address


@pytest.mark.parametrize(
    "text", ["127.0.0.1:0", "[::1]:80", "unix:/run/a.sock", "unix:/odd,name%2C=a b.sock", "fd://3", "localhost:8000"]
)
def test_listeners_are_read_as_they_are_written(text):
    listeners = {parse_address(text): 7, parse_address("unix:/b"): 8}
    assert decoded(encoded(listeners)) == listeners


def test_no_listeners_at_all_are_written_and_read():
    assert decoded(encoded({})) == {}


@pytest.fixture
def pair():
    """Two arbiters that are connected."""
    channels = socket.socketpair()
    arbiters = [OtherArbiter(1, channel, is_ready=False) for channel in channels]
    yield arbiters
    for one in arbiters:
        one.close()


def test_one_that_has_said_nothing_is_neither_ready_nor_gone(pair):
    pair[0].hear()
    assert (pair[0].is_ready, pair[0].is_gone) == (False, False)


def test_one_that_serves_says_so(pair):
    pair[1].say_ready()
    pair[0].hear()
    assert (pair[0].is_ready, pair[0].is_gone) == (True, False)


def test_one_that_stops_says_so(pair):
    pair[1].say_ready()
    pair[1].say_stops()
    pair[0].hear()
    assert (pair[0].is_ready, pair[0].is_stopping, pair[0].is_gone) == (True, True, False)


def test_the_end_of_one_is_seen(pair):
    pair[1].say_ready()
    pair[1].close()
    pair[0].hear()
    pair[0].hear()
    assert (pair[0].is_ready, pair[0].is_gone) == (True, True)


def test_what_is_inherited_leaves_the_environment():
    mine, theirs = socket.socketpair()
    environ = {
        "PYSERVER_LISTENERS": "5=127.0.0.1:80",
        "PYSERVER_UPGRADE_OF": "17",
        "PYSERVER_UPGRADE_CHANNEL": str(theirs.detach()),
        "PYSERVER_WORKERS": "2",
    }
    with mine:
        inheritance = take_inheritance(environ)
        assert environ == {"PYSERVER_WORKERS": "2"}
        assert inheritance.listeners == {parse_address("127.0.0.1:80"): 5}
        assert (inheritance.predecessor.pid, inheritance.predecessor.is_ready) == (17, True)
        assert not os.get_inheritable(inheritance.predecessor.fileno())
        inheritance.predecessor.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PYSERVER_UPGRADE_OF": "17"},
        {"PYSERVER_LISTENERS": "", "PYSERVER_UPGRADE_OF": "17", "PYSERVER_UPGRADE_CHANNEL": "999"},
        {"PYSERVER_LISTENERS": "", "PYSERVER_UPGRADE_OF": "17", "PYSERVER_UPGRADE_CHANNEL": "x"},
    ],
)
def test_variables_that_come_from_nowhere_are_no_inheritance(environ):
    assert take_inheritance(environ) is None
    assert environ == {}
