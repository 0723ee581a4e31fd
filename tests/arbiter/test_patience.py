"""How long an address that somebody else has is tried for, without a second of waiting."""

import os
import signal

import pytest

from pyserver.arbiter.patience import open_patiently
from pyserver.errors import EXIT_CONFIG, BootError
from pyserver.signals import Noted
from pyserver.sockets import Address, AddressInUseError

NOTHING = 0.001  # seconds


class Inbox:
    """Has one signal, or none."""

    def __init__(self, *noted):
        self.noted = list(noted)
        self.ends = os.pipe()
        if noted:
            os.write(self.ends[1], b"!")

    def fileno(self):
        return self.ends[0]

    def take(self):
        taken, self.noted = self.noted, []
        return taken

    def close(self):
        for end in self.ends:
            os.close(end)


class Log:
    def __init__(self):
        self.said = []

    def error(self, message, *arguments):
        self.said.append(message % arguments)

    info = error


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def inbox(request):
    opened = Inbox(*getattr(request, "param", ()))
    yield opened
    opened.close()


def failing(times, error):
    """A function that raises so often, and the number of its calls."""
    calls = []

    def open_all():
        calls.append(1)
        if len(calls) <= times:
            raise error

    return open_all, calls


TAKEN = AddressInUseError(Address("127.0.0.1", 8000), "the port is in use")


def test_it_is_taken_when_it_is_free(inbox, log):
    open_all, calls = failing(2, TAKEN)
    assert open_patiently(open_all, inbox, log, NOTHING)
    assert len(calls) == 3
    assert log.said == ["Connection in use: ('127.0.0.1', 8000)", "Retrying in 0.001 s"] * 2


def test_it_is_given_up_after_five_tries(inbox, log):
    open_all, calls = failing(99, TAKEN)
    with pytest.raises(AddressInUseError) as caught:
        open_patiently(open_all, inbox, log, NOTHING)
    assert caught.value.exit_code == EXIT_CONFIG
    assert len(calls) == 5
    assert log.said[-1].startswith("Connection in use")


def test_another_trouble_is_not_waited_for(inbox, log):
    open_all, calls = failing(99, BootError("no such directory"))
    with pytest.raises(BootError, match="no such directory"):
        open_patiently(open_all, inbox, log, NOTHING)
    assert len(calls) == 1


@pytest.mark.parametrize("inbox", [[Noted(signal.SIGTERM, "retire")], [Noted(signal.SIGINT, "quit")]], indirect=True)
def test_a_stop_is_not_held_up(inbox, log):
    open_all, calls = failing(99, TAKEN)
    assert not open_patiently(open_all, inbox, log, pause=600)
    assert len(calls) == 1


@pytest.mark.parametrize("inbox", [[Noted(signal.SIGHUP, "reload")]], indirect=True)
def test_another_signal_changes_nothing(inbox, log):
    open_all, calls = failing(2, TAKEN)
    assert open_patiently(open_all, inbox, log, NOTHING)
    assert len(calls) == 3
