"""Who has a pid file, with real files and real locks."""

import os
import subprocess
import sys

import pytest

from pyserver.arbiter.pidfile import PidFile, PidFiles
from pyserver.errors import EXIT_CONFIG, BootError

OWN = f"{os.getpid()}\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pid"


@pytest.fixture
def taken(path):
    """Take pid files that are given up when the test is over."""
    held = []

    def take(where=path):
        held.append(PidFile(str(where)))
        return held[-1]

    yield take
    for one in held:
        one.remove()


@pytest.fixture
def several():
    """Several of one arbiter, given up when the test is over."""
    made = []

    def make(**options):
        made.append(PidFiles(**options))
        return made[-1]

    yield make
    for one in made:
        one.keep(())


def names(directory):
    return sorted(entry.name for entry in directory.iterdir())


def test_it_holds_the_number_of_the_process_and_a_newline(taken, path):
    taken()
    assert path.read_text() == OWN
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_restrictive_umask_leaves_it_readable(taken, path):
    previous = os.umask(0o077)
    try:
        taken()
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("content", ["", "1\n", f"{os.getpid()}", "4194303\n"])
def test_one_that_nobody_has_locked_is_taken_over(taken, path, content):
    path.write_text(content)
    taken()
    assert path.read_text() == OWN
    assert names(path.parent) == ["pid"]


def test_one_that_a_server_has_is_refused_and_stays(taken, path):
    taken()
    before = path.stat().st_ino
    with pytest.raises(BootError, match=rf"a running server \(pid {os.getpid()}\) has it") as caught:
        taken()
    assert caught.value.exit_code == EXIT_CONFIG
    assert "\n" not in str(caught.value)
    assert path.stat().st_ino == before
    assert names(path.parent) == ["pid"]


def test_the_lock_ends_with_its_process(taken, path):
    code = "import sys; from pyserver.arbiter.pidfile import PidFile; PidFile(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.read_text() != OWN
    taken()
    assert path.read_text() == OWN


def test_of_many_that_start_at_once_one_gets_it(path):
    code = """
import sys
from pyserver.arbiter.pidfile import PidFile
from pyserver.errors import BootError
sys.stdin.readline()
try:
    PidFile(sys.argv[1])
    print("has it", flush=True)
except BootError:
    print("refused", flush=True)
sys.stdin.readline()
"""
    path.write_text("1\n")
    command = [sys.executable, "-c", code, str(path)]
    rivals = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(6)
    ]
    for rival in rivals:
        rival.stdin.write("start\n")
    said = [rival.stdout.readline() for rival in rivals]
    winner = rivals[said.index("has it\n")]
    number = path.read_text()
    for rival in rivals:
        rival.communicate("end\n")
    assert sorted(said) == ["has it\n", *["refused\n"] * 5]
    assert number == f"{winner.pid}\n"


def test_it_is_removed(taken, path):
    taken().remove()
    assert not path.exists()


def test_one_that_somebody_has_put_in_its_place_is_not_removed(taken, path):
    ours = taken()
    path.unlink()
    path.write_text("1\n")
    ours.remove()
    assert path.read_text() == "1\n"


def test_a_child_that_closes_it_leaves_it_locked(taken, path):
    ours = taken()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(BootError, match="a running server"):
        taken()


def test_it_is_not_inherited_over_exec(taken):
    assert not os.get_inheritable(taken()._descriptor)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none/pid", "No such file or directory"), ("directory", "no pid file"), ("precious.py", "no pid file")],
)
def test_why_one_cannot_be_had_is_said(taken, tmp_path, name, reason):
    (tmp_path / "directory").mkdir()
    (tmp_path / "precious.py").write_text("data")
    with pytest.raises(BootError, match=reason):
        taken(tmp_path / name)
    assert names(tmp_path) == ["directory", "precious.py"]
    assert (tmp_path / "precious.py").read_text() == "data"


def test_what_is_no_regular_file_is_left_alone(taken, path):
    os.mkfifo(path)
    with pytest.raises(BootError, match="no pid file"):
        taken()
    assert path.is_fifo()


def test_it_moves_to_another_path(taken, path):
    path.with_name("other").write_text("1\n")
    taken().move(str(path.with_name("other")))
    assert names(path.parent) == ["other"]
    assert path.with_name("other").read_text() == OWN


def test_it_does_not_move_to_one_that_another_server_has(taken, path):
    other, ours = taken(path.with_name("other")), taken()
    with pytest.raises(BootError, match="a running server"):
        ours.move(str(path.with_name("other")))
    assert ours.is_in_place
    assert other.is_in_place


def test_one_that_was_removed_under_us_is_made_again(several, path):
    ours = several()
    ours.open(str(path))
    path.unlink()
    ours.open(str(path))
    assert path.read_text() == OWN


def test_the_same_one_is_kept(several, path):
    ours = several()
    ours.open(str(path))
    before = path.stat().st_ino
    ours.open(str(path))
    assert path.stat().st_ino == before


def test_a_new_one_is_there_before_the_old_one_goes(several, path):
    ours = several()
    ours.open(str(path))
    ours.open(str(path.with_name("other")))
    assert names(path.parent) == ["other", "pid"]
    ours.keep([str(path.with_name("other"))])
    assert names(path.parent) == ["other"]


def test_a_successor_takes_the_place_of_one_that_was_killed(several, path):
    path.write_text("1\n")
    ours = several(is_successor=True)
    ours.open(str(path))
    assert (path.read_text(), path.with_name("pid.2").read_text()) == ("1\n", OWN)
    ours.succeed()
    assert names(path.parent) == ["pid"]
    assert path.read_text() == OWN


def test_a_successor_is_given_the_place_of_one_that_ends(several, path):
    old, new = several(), several(is_successor=True)
    old.open(str(path))
    new.open(str(path))
    place = path.with_name("pid.2").stat().st_ino
    old.hand_over(os.getpid())
    old.keep(())
    assert path.stat().st_ino == place
    new.succeed()
    assert path.stat().st_ino == place
    new.keep(())
    assert names(path.parent) == []


def test_nobody_else_is_given_that_place(several, path):
    old = several()
    old.open(str(path))
    path.with_name("pid.2").write_text("1\n")
    old.hand_over(2)
    assert path.read_text() == OWN


def test_what_a_killed_successor_has_left_is_removed_and_what_a_live_one_has_is_not(several, path):
    old, new = several(), several(is_successor=True)
    old.open(str(path))
    new.open(str(path))
    old.clear_successor()
    assert names(path.parent) == ["pid", "pid.2"]
    new.close()
    old.clear_successor()
    old.clear_successor()
    assert names(path.parent) == ["pid"]
