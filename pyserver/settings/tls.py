"""How what is set about TLS is read."""

from __future__ import annotations

from pyserver.sni import parse_sni

_REQUIREMENTS = {"none": 0, "optional": 1, "required": 2}


def check_password_source(text: str) -> None:
    """Raise ValueError when it names no place to find a password in."""
    kind, colon, name = text.partition(":")
    if not (colon and name and kind in ("file", "env")):
        raise ValueError("it must be file:PATH or env:NAME; a password itself would be seen by everybody in ps")


def check_sni(text: str) -> None:
    """Raise ValueError when it is not of the form that `parse_sni` reads."""
    parse_sni(text)


def read_cert_reqs(raw: object) -> int:
    """0, 1 or 2, of a number, a word, or one of ssl's constants."""
    if isinstance(raw, str):
        word = raw.strip().lower().removeprefix("cert_")
        raw = _REQUIREMENTS.get(word, word)
    try:
        return int(raw)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        raise ValueError("none of none, optional and required, and no number from 0 to 2") from None
