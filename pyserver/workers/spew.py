"""Each line of Python that a worker runs, printed before it runs: the setting `spew`. Imported where that is on."""

from __future__ import annotations

import linecache
import sys
import threading
from types import FrameType
from typing import Any

_OWN = __name__.partition(".")[0]


def spew() -> None:
    """Begin to print, in this thread and those that are started from now on. What is the server's own is left out."""
    threading.settrace(_trace)
    sys.settrace(_trace)


def _trace(frame: FrameType, event: str, _argument: Any) -> Any:
    module = frame.f_globals.get("__name__", "[unknown]")
    if not isinstance(module, str) or module.partition(".")[0] == _OWN:
        return None
    if event == "line":
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).rstrip()
        sys.stdout.write(f"{module}:{frame.f_lineno}: {line}\n")
    return _trace
