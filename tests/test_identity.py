"""What workers become, asked of processes that have become it."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

import pyserver
from pyserver.identity import Identity, IdentityError, ask_as_worker, become, hand_over, identity_of
from pyserver.settings.model import Settings

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = pwd.getpwnam("nobody")
WITHOUT_NAME = 54_321  # no user and no group of a test machine has it


def status_of_this_process():
    """The lines of its ids: real, effective, saved and of the file system; then its groups."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return "|".join(" ".join(line.split()) for line in lines if line.startswith(("Uid", "Gid", "Groups")))


def refusal_of(settings):
    with pytest.raises(IdentityError) as refused:
        become(settings)
    return f"{refused.value.setting}: {refused.value}"


def test_without_a_user_and_a_group_workers_stay_what_the_server_is():
    assert identity_of(Settings()) is None
    assert identity_of(Settings(initgroups=True)) is None
    assert identity_of(Settings(user=os.geteuid(), group=os.getegid())) is None


def test_a_user_brings_its_group_along():
    assert identity_of(Settings(user="nobody")) == Identity(NOBODY.pw_uid, NOBODY.pw_gid)
    assert identity_of(Settings(user=NOBODY.pw_uid)) == Identity(NOBODY.pw_uid, NOBODY.pw_gid)


def test_a_group_is_looked_up_by_name_or_number():
    daemon = grp.getgrnam("daemon").gr_gid
    assert identity_of(Settings(user="nobody", group="daemon")) == Identity(NOBODY.pw_uid, daemon)
    assert identity_of(Settings(group=daemon)) == Identity(os.geteuid(), daemon)


def test_a_user_that_only_has_a_number_keeps_the_group_of_the_server():
    wanted = Settings(user=WITHOUT_NAME, initgroups=True)
    assert identity_of(wanted) == Identity(WITHOUT_NAME, os.getegid())


def test_with_initgroups_workers_have_all_groups_of_their_user():
    wanted = identity_of(Settings(user="nobody", group="daemon", initgroups=True))
    assert wanted.groups == tuple(os.getgrouplist("nobody", wanted.gid))


def test_a_user_that_was_removed_since_the_settings_were_read_is_said():
    with pytest.raises(IdentityError, match="user is 'gone', which the system does not know"):
        identity_of(Settings(user="gone"))


@needs_root
@pytest.mark.skipif(sys.platform != "linux", reason="saved ids and groups are seen in /proc")
def test_every_id_and_every_group_of_root_is_gone():
    script = (
        "from test_identity import *\n"
        "print(ask_as_worker(Settings(user='nobody', group='daemon'), status_of_this_process))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(pyserver.__file__).parents[1])])
    printed = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        extra_groups=[1, 2],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.strip()
    uid, gid = str(NOBODY.pw_uid), str(grp.getgrnam("daemon").gr_gid)
    assert printed == f"Uid: {' '.join([uid] * 4)}|Gid: {' '.join([gid] * 4)}|Groups:"


@needs_root
def test_nothing_leads_back_to_root():
    def attempt():
        for name in ("setuid", "seteuid", "setgid", "setegid"):
            with pytest.raises(PermissionError):
                getattr(os, name)(0)
        return "all refused"

    assert ask_as_worker(Settings(user="nobody"), attempt) == "all refused"


@needs_root
def test_a_process_that_has_switched_switches_no_more():
    wanted = Settings(user="nobody", initgroups=True)

    def again():
        become(wanted)
        return str(os.geteuid())

    assert ask_as_worker(wanted, again) == str(NOBODY.pw_uid)


@needs_root
def test_who_is_not_root_is_refused_by_the_name_of_the_setting():
    nobody = Settings(user="nobody")
    assert ask_as_worker(nobody, lambda: refusal_of(Settings(user="root"))) == (
        "user: user is 'root', and only root can start workers as another user"
    )
    assert ask_as_worker(nobody, lambda: refusal_of(Settings(user="nobody", group=0))) == (
        "group: group is 0, and only root can start workers as another group"
    )
    assert ask_as_worker(nobody, lambda: refusal_of(Settings(group="root"))) == (
        "group: group is 'root', and only root can start workers as another group"
    )


@needs_root
def test_a_refusal_is_told_by_the_process_that_could_not_switch():
    def ask():
        with pytest.raises(IdentityError, match="user is 'root'") as refused:
            ask_as_worker(Settings(user="root"), lambda: "never asked")
        return refused.value.setting

    assert ask_as_worker(Settings(user="nobody"), ask) == "user"


def current_umask():
    umask = os.umask(0)
    os.umask(umask)
    return f"{umask:o}"


@needs_root
def test_the_umask_is_that_of_the_settings_or_else_that_of_the_server():
    assert ask_as_worker(Settings(user="nobody", umask=0o27), current_umask) == "27"
    assert ask_as_worker(Settings(user="nobody"), current_umask) == current_umask()


@needs_root
def test_a_log_file_is_given_to_the_workers(tmp_path):
    wanted = Settings(user="nobody")
    for path in (tmp_path / "old.log", tmp_path / "new.log"):
        if path.name.startswith("old"):
            path.write_text("a line\n")
        hand_over(str(path), wanted)
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert (tmp_path / "old.log").read_text() == "a line\n"


@needs_root
def test_a_file_that_a_link_leads_to_is_not_given_away(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("")
    (tmp_path / "soft.log").symlink_to(secret)
    hand_over(str(tmp_path / "soft.log"), Settings(user="nobody"))
    assert secret.stat().st_uid == 0
    (tmp_path / "hard.log").hardlink_to(secret)
    hand_over(str(tmp_path / "hard.log"), Settings(user="nobody"))
    assert secret.stat().st_uid == 0


@needs_root
def test_a_pipe_that_nobody_reads_does_not_hold_up_the_start(tmp_path):
    pipe = tmp_path / "pipe.log"
    os.mkfifo(pipe)
    hand_over(str(pipe), Settings(user="nobody"))
    assert pipe.stat().st_uid == 0


def test_a_user_that_is_not_known_any_more_does_not_stop_a_rotation(tmp_path):
    hand_over(str(tmp_path / "error.log"), Settings(user="nobody-has-this-name"))
    assert not (tmp_path / "error.log").exists()


def test_without_a_user_a_log_file_is_left_alone(tmp_path):
    hand_over(str(tmp_path / "error.log"), Settings())
    assert not (tmp_path / "error.log").exists()
