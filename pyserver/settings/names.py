"""Which setting was meant by a name that is none."""

from __future__ import annotations

from pyserver.settings.given import near_miss
from pyserver.settings.model import ROWS
from pyserver.settings.unavailable import UNAVAILABLE

# What people write in a file because the flag or the habit has it so → the setting.
_OTHER_SPELLINGS = {
    flag.lstrip("-").replace("-", "_"): row.name
    for row in ROWS.values()
    for flag in row.flags
    if flag.count("-") > 2  # Of one word, like --env, are names that helper variables have.
}


def meant_by(name: str) -> str:
    """The setting that was probably meant; empty when there is none near."""
    return _OTHER_SPELLINGS.get(name) or near_miss(name, [*ROWS, *UNAVAILABLE])


def hint_for(name: str) -> str:
    """What is added to a refusal of the name; empty when nothing is near."""
    meant = meant_by(name)
    return f"; did you mean {meant}?" if meant else ""
