"""What a service manager hands over and what it is told, without a server."""

import os
import socket
import time
from pathlib import Path

import pytest

from pyserver.errors import BootError, ConfigError
from pyserver.sockets import parse_address
from pyserver.systemd import Condition, Inherited, Notifier, for_successor

PID = 4711
SECOND_NS = 1_000_000_000


def passed(**variables):
    return {"LISTEN_PID": str(PID), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:admin", **variables}


def binds(*texts):
    return list(map(parse_address, texts))


# What is handed over


def test_sockets_that_were_passed_take_the_place_of_bind_in_their_order():
    inherited = Inherited.take(passed(), PID)
    assert list(map(str, inherited.replace(binds("127.0.0.1:8000")))) == ["fd://3", "fd://4"]
    assert str(inherited) == "fd://3 (web), fd://4 (admin)"


def test_the_variables_are_not_left_to_anybody():
    environ = passed(LISTEN_PIDFDID="1", HOME="/root")
    Inherited.take(environ, PID)
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize("pid", ["1", "", "x"])
def test_sockets_that_were_passed_to_another_process_are_not_ours(pid):
    environ = passed(LISTEN_PID=pid)
    inherited = Inherited.take(environ, PID)
    assert not inherited
    assert not environ
    assert inherited.replace(binds("127.0.0.1:8000")) == binds("127.0.0.1:8000")


@pytest.mark.parametrize("names", ["", "only-one", "a:b:c"])
def test_names_that_do_not_fit_are_unknown(names):
    assert str(Inherited.take(passed(LISTEN_FDNAMES=names), PID)) == "fd://3 (unknown), fd://4 (unknown)"


def test_a_number_of_sockets_that_is_none_is_one_line():
    with pytest.raises(ConfigError, match=r"^LISTEN_FDS is 'two', and not the number of sockets that were passed$"):
        Inherited.take(passed(LISTEN_FDS="two"), PID)


@pytest.mark.parametrize(
    ("bind", "descriptors"),
    [
        (["systemd:admin"], [4]),
        (["systemd:admin", "systemd:web"], [4, 3]),
        (["fd://4", "systemd:admin"], [4]),
        (["systemd:web", "fd://9"], [3, 9]),
    ],
)
def test_bind_picks_descriptors_by_name_and_number(bind, descriptors):
    found = Inherited.take(passed(), PID).replace(binds(*bind))
    assert [address.descriptor for address in found] == descriptors


def test_a_name_that_several_sockets_have_picks_them_all():
    inherited = Inherited.take(passed(LISTEN_FDNAMES="web:web"), PID)
    assert [address.descriptor for address in inherited.replace(binds("systemd:web"))] == [3, 4]


def test_a_bind_by_name_leaves_the_others_as_they_are():
    found = Inherited.take(passed(), PID).replace(binds("systemd:web", "127.0.0.1:9000"))
    assert list(map(str, found)) == ["fd://3", "127.0.0.1:9000"]


def test_a_name_that_nobody_passed_is_refused():
    rule = r"^cannot listen on systemd:shop: no socket of that name was passed; there are fd://3 \(web\), fd://4"
    with pytest.raises(BootError, match=rule) as caught:
        Inherited.take(passed(), PID).replace(binds("systemd:shop"))
    assert caught.value.exit_code == 1
    with pytest.raises(BootError, match=r"none were passed at all$"):
        Inherited({}).replace(binds("systemd:shop"))


def test_queues_are_left_to_the_manager_only_where_it_keeps_all_sockets():
    environ = passed(SYSTEMD_EXEC_PID=str(PID))
    inherited = Inherited.take(environ, PID)
    own = inherited.replace(())
    assert inherited.keeps(own)
    assert not inherited.keeps([*own, *binds("127.0.0.1:8000")])
    assert not Inherited.take(passed(SYSTEMD_EXEC_PID="1"), PID).keeps(own)


def test_what_is_passed_on_is_what_was_passed():
    environ = passed(SYSTEMD_EXEC_PID=str(PID), HOME="/root")
    again = Inherited.take(for_successor(environ, PID, 99), 99)
    assert str(again) == str(Inherited.take(environ, PID))
    assert again.keeps(again.replace(()))
    assert again.descriptors == [3, 4]


def test_what_was_meant_for_others_is_not_passed_on_as_ours():
    environ = passed(SYSTEMD_EXEC_PID="1", WATCHDOG_PID="1", HOME=str(PID))
    assert for_successor(environ, PID, 99) == {**environ, "LISTEN_PID": "99"}


# What is told


class Manager:
    """A service manager that reads when it is asked."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self):
        messages = []
        try:
            while True:
                messages.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return messages


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "notify")


@pytest.fixture
def manager(path):
    opened = Manager(path)
    yield opened
    opened.socket.close()


@pytest.fixture
def notifier(path, manager):
    return Notifier({"NOTIFY_SOCKET": path}, PID)


def condition(**changes):
    served = Condition(generation=1, is_proven=True, serving=4, outdated=0, is_well=True)
    return served._replace(**changes)


def boots(generation=1, serving=0):
    is_proven = generation == 1 and serving > 0
    return Condition(generation, is_proven, serving, outdated=serving, is_well=serving > 0)


def test_ready_is_said_once_and_with_the_first_worker(notifier, manager):
    notifier.turned(0, boots())
    assert manager.heard() == ["STATUS=generation 1 boots"]
    notifier.turned(0, condition(serving=1))
    notifier.turned(0, condition(serving=1))
    notifier.turned(0, condition())
    assert manager.heard() == ["READY=1\nSTATUS=1 worker serves, generation 1", "STATUS=4 workers serve, generation 1"]


@pytest.mark.skipif(not os.path.exists("/proc/self/net/unix"), reason="only Linux has abstract addresses")
def test_an_abstract_address_is_told_too():
    manager = Manager(f"\0pyserver-test-{os.getpid()}")
    Notifier({"NOTIFY_SOCKET": f"@pyserver-test-{os.getpid()}"}, PID).turned(0, condition())
    assert len(manager.heard()) == 1
    manager.socket.close()


def test_the_variables_of_the_manager_are_not_left_to_applications():
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "10", "WATCHDOG_PID": str(PID), "HOME": "/root"}
    Notifier(environ, PID)
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_nobody_is_told(environ):
    notifier = Notifier({**environ, "WATCHDOG_USEC": "1000000"}, PID)
    assert not notifier
    notifier.turned(0, condition())
    notifier.stop_began("stops")


@pytest.mark.parametrize("name", ["nobody-is-there", "x" * 200])
def test_a_manager_that_is_not_there_is_no_error(tmp_path, name):
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / name)}, PID)
    notifier.turned(0, condition())
    assert notifier.next_turn_ns(0) is None


def test_what_a_manager_could_not_take_is_said_later_and_in_order(notifier, manager):
    notifier.turned(0, condition())
    while notifier.next_turn_ns(0) is None:
        notifier.reload_began()
    notifier.turned(0, condition())
    notifier.stop_began("stops")
    assert "STOPPING=1\nSTATUS=stops" not in manager.heard()
    notifier.turned(time.monotonic_ns() + SECOND_NS, condition())
    rest = manager.heard()
    assert [message.partition("\n")[0] for message in rest] == ["RELOADING=1", "READY=1", "STOPPING=1"]
    assert notifier.next_turn_ns(0) is None


def kernel_queue():
    """How many messages the kernel keeps for who does not read: 10, or 512 where systemd runs the machine."""
    setting = Path("/proc/sys/net/unix/max_dgram_qlen")
    return int(setting.read_text()) if setting.exists() else 100


def test_a_manager_that_never_reads_costs_a_bounded_memory(notifier, manager):
    for serving in range(1_000 + kernel_queue()):
        notifier.reload_began()
        notifier.turned(0, condition(serving=serving))
    heard = manager.heard()
    while notifier.next_turn_ns(0) is not None:
        notifier.turned(time.monotonic_ns() + SECOND_NS, condition())
        heard += manager.heard()
    assert len(heard) < 100 + kernel_queue()


def test_a_reload_is_over_when_nobody_serves_the_old_code(notifier, manager):
    notifier.turned(0, condition())
    manager.heard()
    before = time.monotonic_ns() // 1000
    notifier.reload_began()
    reloading, monotonic = manager.heard()[0].split("\n")
    assert reloading == "RELOADING=1"
    assert before <= int(monotonic.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.turned(0, boots(generation=2, serving=4))
    notifier.turned(0, condition(generation=2, serving=5, outdated=4))
    notifier.turned(0, condition(generation=2))
    assert manager.heard() == [
        "STATUS=generation 2 boots; 4 workers serve",
        "STATUS=generation 2 boots; 5 workers serve",
        "READY=1\nSTATUS=4 workers serve, generation 2",
    ]


def test_a_reload_that_failed_is_over_and_says_why_until_the_next(notifier, manager):
    notifier.turned(0, condition())
    notifier.reload_began()
    notifier.reload_failed("generation 2 does not boot: ImportError: no\nsuch module; generation 1 serves on")
    manager.heard()
    notifier.turned(0, condition())
    notifier.turned(0, condition(serving=3))
    said = "generation 2 does not boot: ImportError: no such module; generation 1 serves on"
    assert manager.heard() == [f"READY=1\nSTATUS={said}"]
    notifier.reload_began()
    notifier.turned(0, condition(generation=3))
    assert manager.heard()[-1] == "READY=1\nSTATUS=4 workers serve, generation 3"


def test_a_reload_that_is_refused_while_another_boots_is_not_over(notifier, manager):
    notifier.turned(0, condition())
    notifier.reload_began()
    notifier.turned(0, boots(generation=2, serving=4))
    notifier.reload_began()
    notifier.reload_failed("the reload is refused")
    notifier.turned(0, boots(generation=2, serving=4))
    assert not [message for message in manager.heard()[1:] if "READY=1" in message]
    notifier.turned(0, condition(generation=2))
    assert "READY=1" in manager.heard()[-1]


def test_a_reload_that_is_refused_while_no_workers_are_wanted_is_over(notifier, manager):
    notifier.turned(0, condition())
    notifier.turned(0, condition(serving=0))
    notifier.reload_began()
    notifier.reload_failed("the reload is refused")
    manager.heard()
    notifier.turned(0, condition(serving=0, is_well=False))
    assert not [message for message in manager.heard() if "READY=1" in message]
    notifier.turned(0, condition(serving=0))
    assert "READY=1" in manager.heard()[-1]


def test_a_stop_is_said_and_nothing_about_workers_after_it(notifier, manager):
    notifier.turned(0, condition())
    manager.heard()
    notifier.stop_began("stops")
    notifier.turned(0, condition(serving=0, is_well=False))
    assert manager.heard() == ["STOPPING=1\nSTATUS=stops"]


# The watchdog


def watched(path, **variables):
    return Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000", **variables}, PID)


def pings(manager):
    return manager.heard().count("WATCHDOG=1")


def test_the_watchdog_is_told_at_half_its_time(path, manager):
    notifier = watched(path, WATCHDOG_PID=str(PID))
    told = []
    for tenth in range(1, 31):
        notifier.turned(tenth * SECOND_NS // 10, condition())
        told.append(pings(manager))
    assert [tenth for tenth, count in enumerate(told, 1) if count] == [1, 11, 21]
    assert notifier.next_turn_ns(3 * SECOND_NS) == 3_100_000_000


@pytest.mark.parametrize("variables", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": ""}])
def test_a_watchdog_that_is_not_ours_is_not_told(path, manager, variables):
    notifier = watched(path, **variables)
    notifier.turned(1, condition())
    assert pings(manager) == 0
    assert notifier.next_turn_ns(0) is None


def test_a_server_that_nobody_is_served_by_does_not_tell_the_watchdog(path, manager):
    notifier = watched(path)
    notifier.turned(1, condition(serving=0, is_well=False))
    assert pings(manager) == 0
    assert notifier.next_turn_ns(1) is None  # No turn for nothing.
    notifier.turned(2, condition())
    assert pings(manager) == 1


def test_a_server_that_stops_still_tells_the_watchdog(path, manager):
    notifier = watched(path)
    notifier.stop_began("stops")
    notifier.turned(1, condition(serving=0, is_well=False))
    assert pings(manager) == 1


# Another arbiter


def test_who_has_handed_over_is_silent_until_it_takes_over_again(notifier, manager):
    notifier.turned(0, condition())
    manager.heard()
    notifier.handed_over(99)
    notifier.stop_began("stops")
    assert manager.heard() == ["MAINPID=99"]


def test_a_successor_tells_the_watchdog(path, manager):
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(PID)}
    Notifier(for_successor(environ, PID, 99), 99).turned(1, condition())
    assert pings(manager) == 1


def test_who_took_over_says_again_how_it_is(notifier, manager):
    notifier.turned(0, condition())
    notifier.handed_over(99)
    notifier.took_over()
    manager.heard()
    notifier.turned(0, condition())
    assert manager.heard() == ["READY=1\nSTATUS=4 workers serve, generation 1"]
