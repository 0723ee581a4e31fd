"""What the import of an application has left running or open that a fork does not copy, or copies too well."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from time import sleep

# As `sleep` from before the application is imported: gevent's would make what it looks at non-blocking.
_Socket = socket.socket

_TASKS = "/proc/self/task"
_DESCRIPTORS = "/proc/self/fd"
_LAST_STEP = 0.05  # seconds
_ADVICE = "open it after the fork, e.g. in the post_fork hook"


def open_descriptors() -> dict[int, str]:
    """The descriptors of this process and what each stands for, as `/proc` names it; empty where there is no /proc."""
    found = {}
    for name in _names_in(_DESCRIPTORS):
        # The descriptor of the listing itself is gone by now.
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"{_DESCRIPTORS}/{name}")
    return found


def leftovers(before: dict[int, str]) -> list[str]:
    """What the operator should know before this process is forked, one sentence each.

    Args:
        before: the `open_descriptors` of this process before the application was imported.
    """
    return [*_about_threads(), *_about_descriptors(before)]


def _about_threads() -> list[str]:
    names = [*_python_threads().values(), *_native_threads()]
    if not names:
        return []
    count = "a thread" if len(names) == 1 else f"{len(names)} threads"
    return [f"the application has {count} that will not exist in workers: {', '.join(sorted(names))}"]


def _python_threads() -> dict[int, str]:
    threading = sys.modules.get("threading")
    if threading is None:
        return {}
    me, here = threading.get_ident(), threading.get_native_id()
    # Where gevent has patched them, threads are greenlets of this thread, and a fork copies those.
    others = [thread for thread in threading.enumerate() if thread.ident != me and thread.native_id != here]
    return {thread.native_id or 0: thread.name for thread in others}


def _native_threads() -> list[str]:
    """The names of the threads that Python does not know of, as a library in C starts them."""
    found = _unknown_tasks()
    if found:
        # A thread that Python has joined may have a last step to do.
        sleep(_LAST_STEP)
        found &= _unknown_tasks()
    names = []
    for task in found:
        with contextlib.suppress(OSError), open(f"{_TASKS}/{task}/comm", "rb") as file:
            names.append(f"{file.read().strip().decode('utf-8', 'replace')} (native thread {task})")
    return names


def _unknown_tasks() -> set[int]:
    return set(map(int, _names_in(_TASKS))) - {os.getpid(), *_python_threads()}


def _about_descriptors(before: dict[int, str]) -> list[str]:
    found = {}
    for fd, what in open_descriptors().items():
        # Both ends of a pipe have one name, and so has a descriptor that was duplicated.
        if before.get(fd) != what and what not in found:
            described = _described(fd, what)
            if described:
                found[what] = f"{described} is shared by all workers: {_ADVICE}"
    return list(found.values())


def _described(fd: int, what: str) -> str:
    if what.startswith("pipe:"):
        return f"a pipe (descriptor {fd})"
    if what == "anon_inode:[eventpoll]":
        return f"the epoll instance of an event loop (descriptor {fd})"
    return _socket_described(fd) if what.startswith("socket:") else ""


def _socket_described(fd: int) -> str:
    try:
        with _Socket(fileno=os.dup(fd)) as copy:
            if copy.type != socket.SOCK_STREAM:
                return f"a datagram socket (descriptor {fd})"
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return f"a socket that listens on {_address(copy.getsockname())}"
            return f"a connection to {_address(copy.getpeername())}"
    except OSError:
        return f"a socket (descriptor {fd})"


def _address(name: object) -> str:
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    path = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
    return path.replace("\0", "@", 1) or "an unnamed socket"


def _names_in(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory), key=int)
    except OSError:
        return []
