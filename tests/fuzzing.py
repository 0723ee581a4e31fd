"""Looking for input that compiled code gets wrong, for a bounded time: what fuzzers of any kind of input share.

What is looked at runs in a child process, so that a crash is a finding too. The seed of a finding makes the same input
again.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import struct
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

FOUND = 3  # the exit code of a child that has reported a finding itself


class Finding(NamedTuple):
    """An input as a Python literal, and what is wrong with what is made of it."""

    literal: str
    complaint: str


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
        weight: how often it is chosen, among others.
        make: makes one.
        look: looks at one, draws what else it needs, and counts what it has seen.
    """

    weight: int
    make: Callable[[random.Random], Any]
    look: Callable[[Any, random.Random, Counter[str]], Finding | None]


def report(seed: int, finding: Finding) -> None:
    print(f"FOUND {finding.complaint}\n  input: {finding.literal}\n  again: --seed {seed} --seconds 0", flush=True)


@dataclass(frozen=True)
class Fuzzer:
    """Makes inputs and looks at them.

    Attributes:
        about: what the command says of itself.
        target: the file of what is looked at.
        kinds: of input.
    """

    about: str
    target: str
    kinds: list[Kind]

    def _made(self, seed: int) -> tuple[Kind, Any, random.Random]:
        rng = random.Random(seed)
        kind = rng.choices(self.kinds, [kind.weight for kind in self.kinds])[0]
        return kind, kind.make(rng), rng

    def input_of(self, seed: int) -> str:
        """The input of a seed as a literal, without looking at it."""
        return repr(self._made(seed)[1])

    def look(self, seed: int, seen: Counter[str]) -> Finding | None:
        """Make the input of a seed and look at it."""
        kind, made, rng = self._made(seed)
        try:
            return kind.look(made, rng, seen)
        except Exception:  # Whatever it is, it is a finding, and the input has to be told.
            return Finding(repr(made), traceback.format_exc())

    def _look_until(self, deadline: float, seed: int, place: mmap.mmap) -> int:
        """Look at one input after the other, the first in any case; returns an exit code."""
        seen: Counter[str] = Counter()
        first = seed
        while True:
            struct.pack_into("q", place, 0, seed)
            finding = self.look(seed, seen)
            if finding is not None:
                report(seed, finding)
                return FOUND
            seed += 1
            if time.monotonic() >= deadline:
                break
        counts = ", ".join(f"{name} {count}" for name, count in sorted(seen.items()))
        print(f"{seed - first} inputs, nothing found; {counts}")
        return 0

    def main(self) -> int:
        options = argparse.ArgumentParser(
            description=self.about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        options.add_argument("--seconds", type=float, required=True, help="how long to look; 0 looks at one input")
        options.add_argument("--seed", type=int, help="of the first input; otherwise it is drawn")
        chosen = options.parse_args()
        seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 40)
        print(f"fuzzing {self.target} from --seed {seed}", flush=True)
        place = mmap.mmap(-1, 8)
        child = os.fork()
        if child == 0:
            code = FOUND
            try:
                code = self._look_until(time.monotonic() + chosen.seconds, seed, place)
                sys.stdout.flush()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in (0, FOUND):
            (last,) = struct.unpack_from("q", place, 0)
            report(last, Finding(self.input_of(last), f"a crash: the exit code is {code}"))
        return 1 if code else 0
