"""What the policy can tell the loop to do."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Reason(enum.Enum):
    """Why a worker is aborted or killed."""

    NOTHING_TO_LOSE = "nothing to lose"  # it has not served yet
    QUICK = "quick"  # told to quit, and did not in time
    GRACEFUL = "graceful"  # told to retire, and did not within graceful_timeout
    TIMEOUT = "timeout"  # a request is over its time
    BOOT = "boot"  # it has not loaded the application within boot_timeout
    INCOHERENT = "incoherent"  # it has said what no worker says
    SILENT = "silent"  # it waits for requests, and does not answer when it is asked


class Spent(enum.Enum):
    """Why a worker is replaced although it is well."""

    REQUESTS = "has served its number of requests"
    LIFETIME = "has served for max_worker_lifetime"
    MEMORY = "has more than max_worker_memory"
    IMAGE = "comes from an older mold"


class Spawn(NamedTuple):
    """Fork a worker of that generation, as the one of that number."""

    generation: int
    number: int


class Retire(NamedTuple):
    """Tell the worker to finish what it has and go."""

    slot: int


class Quit(NamedTuple):
    """Tell the worker to go now."""

    slot: int


class Ask(NamedTuple):
    """Ask the worker whether it is there."""

    slot: int


class Replace(NamedTuple):
    """Remember that the worker is to be replaced when its turn has come."""

    slot: int
    reason: Spent


class ReportSlow(NamedTuple):
    """Have the worker write its stacks to the error log, and go on: requests are slow."""

    slot: int
    limit_ns: int  # those that began so long ago


class Relieve(NamedTuple):
    """Have the worker go on without the requests that are over their time, or finish the others and go."""

    slot: int


class Abort(NamedTuple):
    """Have the worker write its stacks to the error log and die."""

    slot: int
    reason: Reason


class Kill(NamedTuple):
    """End the worker's process, whatever it does."""

    slot: int
    reason: Reason


Action = Spawn | Retire | Quit | Ask | Replace | ReportSlow | Relieve | Abort | Kill
