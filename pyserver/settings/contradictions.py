"""Settings that are right each by itself and not together: refused when they cannot both hold, warned of otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from pyserver.errors import ConfigError
from pyserver.settings.given import DEFAULT
from pyserver.settings.model import Settings
from pyserver.sockets import Address, parse_address, scheme_of

_LEAST_MEMORY = 1024 * 1024  # of a worker: no Python is as small


class _Need(NamedTuple):
    """A setting that has no effect unless `is_met`, and what is said about it then."""

    name: str
    is_met: Callable[[Settings], object]
    otherwise: str


_NEEDS = (
    _Need("max_requests_jitter", lambda s: s.max_requests, "without max_requests"),
    _Need("initgroups", lambda s: s.user is not None, "without user"),
    _Need("enable_stdio_inheritance", lambda s: s.daemon, "without daemon"),
    _Need("reload_engine", lambda s: s.reload, "without reload"),
    _Need("reload_extra_files", lambda s: s.reload, "without reload"),
    _Need("handoff_after", lambda s: s.move_connections != "off", "while move_connections is off"),
    _Need("ws_ping_timeout", lambda s: s.ws_ping_interval, "while ws_ping_interval is 0"),
    _Need(
        "secure_scheme_headers", lambda s: s.forwarded_allow_ips or _may_have_unix_sockets(s),
        "while forwarded_allow_ips is empty",
    ),
    _Need(
        "forwarded_hops", lambda s: {"forwarded", "x-forwarded-for"} & {*s.forwarded_fields},
        "without forwarded_fields that name the client",
    ),
    _Need("proxy_protocol_required", lambda s: s.proxy_protocol != "off", "while proxy_protocol is off"),
    *(
        _Need(name, lambda s: s.certfile or s.sni, "without certfile")
        for name in ("keyfile_password", "ca_certs", "cert_reqs", "ciphers", "certificate_check")
    ),
    _Need(
        "http_protocols", lambda s: "h2" not in s.http_protocols or s.certfile or s.sni,
        "without certfile: browsers speak HTTP/2 with TLS only; http2_cleartext is for proxies",
    ),
    _Need("http_protocols", lambda s: "h3" not in s.http_protocols or s.quic_bind, "as to h3 without quic_bind"),
    *(
        _Need(name, lambda s: "h2" in s.http_protocols or s.http2_cleartext != "off", "without h2 in http_protocols")
        for name in ("http2_initial_window_size", "http2_max_frame_size")
    ),
    *(
        _Need(
            name, lambda s: "h2" in s.http_protocols or s.http2_cleartext != "off" or s.quic_bind,
            "without h2 in http_protocols, nor quic_bind",
        )
        for name in ("http2_max_concurrent_streams", "http2_max_header_list_size")
    ),
    _Need("keyfile", lambda s: s.certfile or not s.sni, "without certfile: sni names a key with each certificate"),
    *(
        _Need(name, lambda s: any(scheme_of(text) != "http" for text in s.bind), "while every bind is http://")
        for name in ("certfile", "sni")
    ),
    _Need(
        "ca_certs", lambda s: s.cert_reqs or s.ssl_context or not (s.certfile or s.sni),
        "while cert_reqs asks no client for a certificate",
    ),
    _Need("health_log", lambda s: s.health_path, "without health_path"),
    _Need("syslog_prefix", lambda s: s.syslog, "without syslog"),
    _Need("enable_backlog_metric", lambda s: s.statsd_host or s.logger_class, "without statsd_host"),
    _Need(
        "slow_request", lambda s: not 0 < s.timeout <= s.slow_request,
        "because no request runs that long: timeout is not above it",
    ),
    _Need(
        "lifespan_timeout", lambda s: s.lifespan_timeout <= s.graceful_timeout,
        "beyond graceful_timeout, which is shorter",
    ),
)  # fmt: skip
# Each is written or bound, and two of them in one place would destroy each other.
_FILES = ("pidfile", "errorlog", "accesslog")


def contradictions(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    """A line for each setting that others leave without effect.

    Raises:
        ConfigError: two of them cannot both hold; the line names where both were set.
    """
    _refuse_shared_file(settings, origins)
    _check_schemes(settings, origins)
    _check_quic(settings, origins)
    if 0 < settings.max_worker_memory < _LEAST_MEMORY:
        raise ConfigError(
            f"{origins['max_worker_memory']}: max_worker_memory is {settings.max_worker_memory} bytes, which every "
            "worker has at once; 512M are megabytes"
        )
    for need in _NEEDS:
        # None, off and 0 ask for nothing.
        if origins[need.name] != DEFAULT and getattr(settings, need.name) and not need.is_met(settings):
            yield f"{origins[need.name]}: {need.name} has no effect {need.otherwise}"


def _check_schemes(settings: Settings, origins: Mapping[str, str]) -> None:
    seen: dict[Address, str] = {}
    for text in settings.bind:
        other = seen.setdefault(parse_address(text), text)
        if "http" in (scheme_of(text), scheme_of(other)) and scheme_of(text) != scheme_of(other):
            raise ConfigError(f"{origins['bind']}: {other} and {text} are one address, where one thing can be spoken")
        if scheme_of(text) == "https" and not (settings.certfile or settings.sni):
            raise ConfigError(f"{origins['bind']}: {text} speaks TLS, and certfile names no certificate for it")


def _check_quic(settings: Settings, origins: Mapping[str, str]) -> None:
    if not settings.quic_bind:
        return
    if not settings.certfile:
        raise ConfigError(f"{origins['quic_bind']}: HTTP/3 is always encrypted, and certfile names no certificate")
    if settings.cert_reqs:
        raise ConfigError(f"{origins['quic_bind']}: cert_reqs asks clients for certificates, which HTTP/3 here cannot")


def _may_have_unix_sockets(settings: Settings) -> bool:
    """Whether there may be peers that are believed whatever forwarded_allow_ips is."""
    return not all(parse_address(text).host for text in settings.bind)


def _refuse_shared_file(settings: Settings, origins: Mapping[str, str]) -> None:
    taken: dict[str, str] = {}
    for address in map(parse_address, settings.bind):
        if address.path:
            taken[os.path.normpath(address.path)] = "bind"
    for name in _FILES:
        value = getattr(settings, name)
        if not value or value == "-" or value.startswith("/dev/"):
            continue
        path = os.path.normpath(value)
        other = taken.setdefault(path, name)
        # Both logs may be one file: each line is appended by itself.
        if other != name and {other, name} != {"errorlog", "accesslog"}:
            raise ConfigError(f"{origins[other]} and {origins[name]}: {other} and {name} are the same file, {path!r}")
