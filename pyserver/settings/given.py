"""What an operator wrote, before anyone judged it: a name, a raw value and an origin; and near misses of names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

DEFAULT = "default"  # the origin of what nobody gave

# Below this length almost every name of a variable is one letter away from some other.
_SHORTEST_COMPARED = 5


class Given(NamedTuple):
    """One value for one setting.

    Attributes:
        name: of the setting.
        raw: text, or an object from a file.
        origin: where to look for it: a flag, "file:line" or a variable.
    """

    name: str
    raw: object
    origin: str


def near_miss(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant by `name`; empty when none is near.

    Near is: one letter too many, too few, wrong or swapped, or the same but for underscores and hyphens.
    """
    for other in known:
        if _letters(name) == _letters(other):
            return other
    for other in known:
        if min(len(name), len(other)) >= _SHORTEST_COMPARED and _is_one_edit_away(name, other):
            return other
    return ""


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _is_one_edit_away(left: str, right: str) -> bool:
    if len(left) > len(right):
        left, right = right, left
    at = 0
    while at < len(left) and left[at] == right[at]:
        at += 1
    if len(left) < len(right):
        return len(right) - len(left) == 1 and left[at:] == right[at + 1 :]
    swapped = left[at + 1 : at + 2] + left[at : at + 1] + left[at + 2 :]
    return left[at + 1 :] == right[at + 1 :] or swapped == right[at:]
