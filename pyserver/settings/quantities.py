"""How numbers are read: counts, sizes and durations, from text or from objects."""

from __future__ import annotations

import contextlib
import math

# As GNU's tools have it: K and KiB are 1024, and KB is 1000. The longer ones first, since they end in the shorter.
_SIZES = {
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{letter: 1024**power for power, letter in enumerate("KMGT", 1)},
    "B": 1,
}
_DURATIONS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_int(raw: object) -> int:
    """A whole number; raises ValueError."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        with contextlib.suppress(ValueError):
            return int(raw)
    raise ValueError("not a whole number")


def read_size(raw: object) -> int:
    """Bytes, with or without a unit; raises ValueError."""
    text = raw.strip().upper() if isinstance(raw, str) else ""
    suffix = next((suffix for suffix in _SIZES if text.endswith(suffix)), "")
    number = text.removesuffix(suffix).strip()
    try:
        if not suffix:
            return read_int(raw)
        if _is_decimal(number):
            return int(float(number) * _SIZES[suffix])
    except (ValueError, OverflowError):
        pass
    raise ValueError("neither a whole number of bytes nor a number followed by a unit such as K, MB or MiB")


def read_duration(raw: object) -> float:
    """Seconds, with or without units; raises ValueError."""
    try:
        return _duration(raw) if isinstance(raw, str) and raw.strip()[-1:].isalpha() else read_float(raw)
    except ValueError:
        raise ValueError("neither a number of seconds nor a duration such as 30s, 1m30s or 500ms") from None


def _duration(text: str) -> float:
    """Seconds, of numbers that are each followed by a unit, the larger ones first."""
    seconds, last = 0.0, math.inf
    rest = "".join(text.lower().split())
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = next((unit for unit in _DURATIONS if rest.startswith(unit)), "")
        if not unit or not _is_decimal(number) or _DURATIONS[unit] >= last:
            raise ValueError(text)
        last = _DURATIONS[unit]
        seconds += float(number) * last
        rest = rest[len(unit) :]
    return read_float(seconds)


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdecimal()


def read_float(raw: object) -> float:
    """A number that may have a fraction; raises ValueError."""
    number = math.nan
    if isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(raw)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number
