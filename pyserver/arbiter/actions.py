"""What the policy can tell the loop to do."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Reason(enum.Enum):
    """Why a worker is killed."""

    NOTHING_TO_LOSE = "nothing to lose"  # it has not served yet
    QUICK = "quick"  # told to quit, and did not in time
    GRACEFUL = "graceful"  # told to retire, and did not within graceful_timeout
    TIMEOUT = "timeout"  # aborted over its request timeout, and still there


class Spawn(NamedTuple):
    """Fork a worker of that generation."""

    generation: int


class Retire(NamedTuple):
    """Tell the worker to finish what it has and go."""

    slot: int


class Quit(NamedTuple):
    """Tell the worker to go now."""

    slot: int


class Abort(NamedTuple):
    """Have the worker write its stacks to the error log and die: its request is over its time."""

    slot: int


class Kill(NamedTuple):
    """End the worker's process, whatever it does."""

    slot: int
    reason: Reason


Action = Spawn | Retire | Quit | Abort | Kill
