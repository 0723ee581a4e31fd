"""The contexts of TLS that the settings ask for: certificates, keys, and who is asked for one; RFC 8446."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from pyserver.errors import ConfigError
from pyserver.sni import parse_sni
from pyserver.workers.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pyserver.settings.model import Settings

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_PROTOCOLS = {"h1": "http/1.1", "h2": "h2"}  # RFC 7301 §6, RFC 9113 §11.1
# Why a file cannot be read that stay as they are until somebody does something about it.
_OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)


class FileError(ConfigError):
    """A file is not what it has to be: as it is, another try would bring nothing."""


class Pair(NamedTuple):
    """The files of a certificate and its key, and where they were named."""

    certfile: str
    keyfile: str | None
    setting: str


class ServerContext(ssl.SSLContext):
    """The context of a certificate.

    Attributes:
        certificate: in PEM, without those of its issuers.
    """

    certificate: str | None = None


# Of the load before: a client goes on with its session after a reload that changes none of this, for the keys of
# tickets are the context's. Workers have copies.
_contexts: dict[tuple[object, ...], ServerContext] = {}


def context_of(settings: Settings) -> ssl.SSLContext:
    """The context that the settings ask for, by name of the host where there are several certificates.

    Raises:
        ConfigError: a file is missing or is none, or the two do not belong together; then the contexts of before are as
            they were.
    """
    names = [parse_sni(text).name for text in settings.sni]
    pairs = list(_pairs(settings))
    if not pairs:
        raise ConfigError("keyfile names a key, and certfile no certificate for it")
    if len({*names}) < len(names):
        raise ConfigError("sni has two certificates for one name")
    if settings.ssl_context is None:
        contexts = _known(pairs, settings)
    else:
        contexts = [_hooked(pair, settings, settings.ssl_context) for pair in pairs]
    if names and contexts[0].sni_callback is None:
        # Without a default, the first of the named ones stands in for clients that ask for none.
        contexts[0].sni_callback = functools.partial(_choose, dict(zip(names, contexts[-len(names) :], strict=True)))
    return contexts[0]


def quic_certificate(settings: Settings) -> tuple[bytes, bytes, str | None]:
    """Certificate and key of `certfile`, in PEM, and the password of the key.

    They have been loaded as a context before. A worker may not be allowed to read them.
    """
    certificate = _read(settings.certfile or "", "certfile")
    key = _read(settings.keyfile, "keyfile") if settings.keyfile else certificate
    return certificate, key, _password(settings)() if settings.keyfile_password else None


class Files:
    """The files of certificates and keys, looked at now and then.

    Args:
        settings: that name them, and say how often.
        now_ns: by the monotonic clock.
    """

    def __init__(self, settings: Settings, now_ns: int) -> None:
        pairs = list(_pairs(settings))
        named = [*(file for pair in pairs for file in (pair.certfile, pair.keyfile)), settings.ca_certs]
        # The directory may be another after a reload.
        self._seen = {path: _mark(path) for path in (os.path.abspath(file) for file in named if file)}
        self._seen_before = self._seen
        self._every_ns = int(settings.certificate_check * 1e9)
        self.next_ns = now_ns + self._every_ns

    def changed(self, now_ns: int) -> list[str]:
        """Those that are not what they were; each change is told once."""
        if now_ns < self.next_ns:
            return []
        self.next_ns = now_ns + self._every_ns
        now = {path: _mark(path) for path in self._seen}
        changed = [path for path, mark in now.items() if mark != self._seen[path]]
        if changed:
            self._seen_before, self._seen = self._seen, now
        return changed

    def note_refusal(self, error: Exception) -> None:
        """The reload was refused: unless the files are to blame, a change that it was for is told once more."""
        if not isinstance(error, FileError):
            self._seen = self._seen_before


def _mark(path: str) -> tuple[int, ...] | None:
    """What is another one once the file was written or replaced, or may be read by others; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid, status.st_gid


def _pairs(settings: Settings) -> Iterator[Pair]:
    if settings.certfile:
        yield Pair(settings.certfile, settings.keyfile, "certfile")
    for text in settings.sni:
        named = parse_sni(text)
        yield Pair(named.certfile, named.keyfile, f"sni {named.name}")


def _known(pairs: list[Pair], settings: Settings) -> list[ssl.SSLContext]:
    """As the settings say, and those of before where nothing has changed."""
    contexts = {key: _contexts.get(key) or _loaded(pair, settings) for key, pair in _keyed(pairs, settings)}
    _contexts.clear()
    _contexts.update(contexts)
    listed = list(contexts.values())
    listed[0].sni_callback = None
    return [*listed]


def _hooked(pair: Pair, settings: Settings, hook: Callable[..., Any]) -> ssl.SSLContext:
    """As the hook has it, which is asked for each: a client must not get around what it demands with another name."""
    values = {name: getattr(settings, name) for name in settings.rows}
    of_pair = type(settings)(**{**values, "certfile": pair.certfile, "keyfile": pair.keyfile})
    # What a hook makes of one is its own affair, and is made anew.
    context = hook(Configuration(of_pair), functools.partial(_loaded, pair, settings))
    if not isinstance(context, ssl.SSLContext):
        raise ConfigError(f"ssl_context has returned {type(context).__name__}, which is no ssl.SSLContext")
    return context


def _keyed(pairs: list[Pair], settings: Settings) -> Iterator[tuple[tuple[object, ...], Pair]]:
    """Each of them behind all that its context is made of."""
    for pair in pairs:
        files = (
            (pair.certfile, pair.setting),
            (pair.keyfile, "keyfile" if pair.setting == "certfile" else pair.setting),
            (settings.ca_certs, "ca_certs"),
        )
        contents = [hashlib.sha256(_read(file, named)).digest() if file else b"" for file, named in files]
        told = (settings.sni, settings.tls_minimum, settings.ciphers, settings.cert_reqs, settings.http_protocols)
        yield (pair.setting, *told, *contents), pair


def _choose(named: Mapping[str, ssl.SSLContext], session: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    """Take the certificate for the name that the client asks for; RFC 6066 §3."""
    # With a dot at its end it is the same one.
    name = (name or "").lower().removesuffix(".")
    label, domain = name.partition(".")[::2]
    context = named.get(name) or (named.get(f"*.{domain}") if label else None)
    if context is not None:
        session.context = context


def _loaded(pair: Pair, settings: Settings) -> ServerContext:
    context = _bare(settings)
    _load(context, pair, settings)
    context.certificate = _first_certificate(_read(pair.certfile, pair.setting))
    return context


def _bare(settings: Settings) -> ServerContext:
    """A context without a certificate."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.tls_minimum]
    context.set_alpn_protocols([_PROTOCOLS[one] for one in settings.http_protocols if one in _PROTOCOLS])
    # RFC 9325 §3.4: nobody needs to renegotiate, and those who do cost much.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.ciphers:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise ConfigError(f"ciphers is {settings.ciphers!r}, of which OpenSSL knows none") from None
    context.verify_mode = ssl.VerifyMode(settings.cert_reqs)
    if settings.ca_certs:
        _read(settings.ca_certs, "ca_certs")
        try:
            context.load_verify_locations(settings.ca_certs)
        except ssl.SSLError:
            raise FileError(f"ca_certs: {settings.ca_certs} has no certificate in PEM") from None
    elif settings.cert_reqs and settings.ssl_context is None:
        # Not those that the system trusts with the names of servers: they issue certificates to everybody.
        raise ConfigError("cert_reqs asks clients for certificates, and ca_certs names nobody whose are accepted")
    return context


def _load(context: ssl.SSLContext, pair: Pair, settings: Settings) -> None:
    place = f"{pair.setting}: {pair.certfile}" + (f" and {pair.keyfile}" if pair.keyfile else "")
    try:
        context.load_cert_chain(pair.certfile, pair.keyfile, _password(settings))
    except ssl.SSLError as error:
        raise FileError(f"{place}: {_why(error, pair, settings)}") from None
    except ValueError as error:
        raise FileError(f"{place}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{place}: {error}") from None


def _why(error: ssl.SSLError, pair: Pair, settings: Settings) -> str:
    reason = error.reason or ""
    if reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    if settings.keyfile_password and b"ENCRYPTED" in _read(pair.keyfile or pair.certfile, pair.setting):
        return "the password of the key is wrong"
    if pair.keyfile is None and _first_certificate(_read(pair.certfile, pair.setting)):
        return "there is no private key in it that can be read; keyfile names the file of the key"
    return f"this is no certificate and key in PEM ({reason.replace('_', ' ').lower() or error})"


def _password(settings: Settings) -> Callable[[], str]:
    def password() -> str:
        if not settings.keyfile_password:
            # Or OpenSSL would ask for it at the terminal.
            raise ValueError("the key is encrypted, and keyfile_password does not say where its password is")
        kind, _, name = settings.keyfile_password.partition(":")
        if kind == "file":
            return _read(name, "keyfile_password").decode().partition("\n")[0].rstrip("\r")
        try:
            return os.environ[name]
        except KeyError:
            raise ValueError(f"keyfile_password is env:{name}, and there is no such variable") from None

    return password


def _read(path: str, setting: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        kind = FileError if error.errno in _OF_THE_FILE else ConfigError
        raise kind(f"{setting}: cannot read {path}: {error.strerror}") from None


def _first_certificate(text: bytes) -> str | None:
    start = text.find(b"-----BEGIN CERTIFICATE-----")
    end = text.find(b"-----END CERTIFICATE-----", start)
    return text[start : end + 25].decode("ascii", "replace") + "\n" if 0 <= start < end else None
