"""Who workers are: the user, the groups and the umask that they have from their first steps on."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from pyserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyserver.settings.model import Settings

_ANSWER_LENGTH = 65_536


class IdentityError(ConfigError):
    """The system does not let workers be what the settings say; `setting` is the one that asks for it."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


class Identity(NamedTuple):
    """The numbers of a user, of its group, and of the groups that it has beside that one."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def identity_of(settings: Settings) -> Identity | None:
    """What workers become; None when they stay what this process is.

    A user that is given without a group comes with the group that the system has for it. Supplementary groups are
    those of the user with `initgroups`, and none without: what root is a member of is nothing for a worker to keep.

    Raises:
        IdentityError: the user or the group is known no more.
    """
    if settings.user is None and settings.group is None:
        return None
    try:
        uid = os.geteuid() if settings.user is None else _uid(settings.user)
        gid = _group_of(uid) if settings.group is None else _gid(settings.group)
    except KeyError:
        name = "user" if settings.user is not None else "group"
        raise IdentityError(name, f"{name} is {getattr(settings, name)!r}, which the system does not know") from None
    if (uid, gid) == (os.geteuid(), os.getegid()) and not (settings.initgroups and settings.user is not None):
        return None
    return Identity(uid, gid, _groups_of(uid, gid) if settings.initgroups else ())


def become(settings: Settings) -> None:
    """Be what workers are, for good: real, effective and saved ids change, so nothing leads back.

    HOME, USER and the directory stay what they are. In a process that has switched already nothing happens.

    Raises:
        IdentityError: the system does not permit it.
    """
    # 0 is no wish: it is gunicorn's default, and files of an application that everybody can write are nobody's.
    if settings.umask:
        os.umask(settings.umask)
    wanted = identity_of(settings)
    if wanted is None:
        return
    is_same_user = wanted.uid == os.geteuid()
    name = "group" if settings.user is None or (is_same_user and settings.group is not None) else "user"
    value = f"{name} is {getattr(settings, name)!r}"
    if os.geteuid() != 0:
        if is_same_user and wanted.gid == os.getegid():
            return
        raise IdentityError(name, f"{value}, and only root can start workers as another {name}")
    try:
        # In this order: a process that is no longer root may change none of them.
        os.setgroups(wanted.groups)
        os.setgid(wanted.gid)
        os.setuid(wanted.uid)
    except OSError as error:
        raise IdentityError(name, f"{value}, which this process cannot become: {error.strerror}") from None


def ask_as_worker(settings: Settings, question: Callable[[], str], *, is_apart: bool = False) -> str:
    """The answer to `question` by a process that is what workers will be.

    Args:
        settings: of the workers.
        question: what is asked.
        is_apart: whether it is asked in a process of its own also when this one is what workers will be.

    Raises:
        IdentityError: there can be no such process.
    """
    if identity_of(settings) is None and not is_apart:
        return question()
    read_end, write_end = os.pipe()
    # The child has handlers and pipes of ours: what a terminal sends to both would be noted twice.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _answer(settings, question, write_end)
    except OSError as error:
        os.close(read_end)
        raise IdentityError("user", f"a process that tries to become it cannot be started: {error.strerror}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(write_end)
    with open(read_end, encoding="utf-8") as answer:
        refused, is_answered, text = answer.read(_ANSWER_LENGTH).partition("\n")
    os.waitpid(pid, 0)
    if not is_answered:
        refused, text = "user", "the process that tried to become what workers will be has ended without an answer"
    if refused:
        raise IdentityError(refused, text)
    return text


def hand_over(path: str, settings: Settings) -> None:
    """Give a log file to the workers, who open it again after a rotation; it is made when it is missing.

    Nothing happens to what is no file of its own: a device, or a link that somebody who may write in the directory
    has laid to a file of root's. Nor does it while the user is not known, as when a directory service is away.
    """
    try:
        wanted = identity_of(settings)
    except IdentityError:
        return  # Whoever becomes it says so.
    if wanted is None or os.geteuid() != 0:
        return
    try:
        # A pipe without a reader must not hold us up.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o666)
    except OSError:
        return  # Whoever needs the file says what is wrong with it.
    try:
        there, opened = os.lstat(path), os.fstat(descriptor)
        if stat.S_ISREG(there.st_mode) and there.st_nlink == 1 and os.path.samestat(there, opened):
            os.fchown(descriptor, wanted.uid, wanted.gid)
    except OSError:
        pass  # As above, or the file system knows no owners.
    finally:
        os.close(descriptor)


def _answer(settings: Settings, question: Callable[[], str], write_end: int) -> NoReturn:
    try:
        try:
            become(settings)
            text = f"\n{question()}"
        except IdentityError as error:
            text = f"{error.setting}\n{error}"
        os.write(write_end, text.encode("utf-8", "replace"))
    finally:
        # Whatever happened, what would go on is a second server.
        os._exit(0)


def _uid(user: int | str) -> int:
    # Imported where it is needed, like all of pwd and grp: a server that switches nothing does not carry them.
    import pwd

    return user if isinstance(user, int) else pwd.getpwnam(user).pw_uid


def _gid(group: int | str) -> int:
    import grp

    return group if isinstance(group, int) else grp.getgrnam(group).gr_gid


def _group_of(uid: int) -> int:
    """The group of a user; that of this process for its own user and for one that only has a number."""
    import pwd

    if uid == os.geteuid():
        return os.getegid()
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return os.getegid()


def _groups_of(uid: int, gid: int) -> tuple[int, ...]:
    import pwd

    try:
        return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return ()  # Only a name can be a member.
