"""Every setting, one field each: the command line, the config file, PYSERVER_* and the docs follow from here.

The units are in the row: durations are seconds, sizes are bytes. Names, short flags and defaults are gunicorn's where
gunicorn has the setting.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from pyserver.settings.fields import (
    Row,
    read_account,
    read_bits,
    read_class,
    read_errorlog,
    read_level,
    read_logger_class,
    read_tree,
    setting,
)
from pyserver.settings.hooks import Hooks
from pyserver.settings.http2 import CLEARTEXT, check_quic_address, read_protocols
from pyserver.settings.proxies import PROXY_PROTOCOLS, check_peers, read_forwarded_fields, read_proxy_protocol
from pyserver.settings.tls import check_password_source, check_sni, read_cert_reqs
from pyserver.settings.unavailable import UNAVAILABLE
from pyserver.sockets import parse_address, scheme_of

# Wider than anyone needs, and small enough that a C integer holds it and that nanoseconds of it fit in 63 bits.
_MOST = 2**31 - 1
_LARGEST = 2**53
_LONGEST = 1_000_000_000
_LARGEST_ID = 2**32 - 2  # of a user or a group: the number after it means "none" to the system

_FILE = "Config file"
_APPLICATION = "Application"
_SOCKET = "Server socket"
_WORKERS = "Worker processes"
_RECYCLING = "Replacing workers"
_PROCESS = "The server's process"
_LIMITS = "Limits of a request"
_DEADLINES = "Deadlines"
_BUFFERS = "Buffers and temporary files"
_HTTP = "Request and response fields"
_PROXIES = "Behind a proxy"
_TLS = "TLS"
_HTTP2 = "HTTP/2"
_HTTP3 = "HTTP/3"
_ASGI = "ASGI and WebSockets"
_HEALTH = "Health and metrics"
_LOGGING = "Logging"
_DEBUGGING = "Debugging"

# Where the system's own listens, as gunicorn has it; elsewhere it is looked for as RFC 5426 has it.
_SYSLOG = {"darwin": "unix:///var/run/syslog", "freebsd": "unix:///var/run/log", "openbsd": "unix:///dev/log"}


def _check_assignment(text: str) -> None:
    name, separator, _ = text.partition("=")
    if not separator or not name:
        raise ValueError(f"{text!r} is not of the form NAME=VALUE")


def _check_user(name: str) -> None:
    # Imported only when there is a name to look up, as is grp.
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        raise ValueError("there is no user of that name") from None


def _check_group(name: str) -> None:
    import grp

    try:
        grp.getgrnam(name)
    except KeyError:
        raise ValueError("there is no group of that name") from None


def _check_root_path(text: str) -> None:
    # PEP 3333: SCRIPT_NAME is empty or begins with a slash, and PATH_INFO takes up where it ends.
    if text and (not text.startswith("/") or text.endswith("/")):
        raise ValueError("it must begin with '/' and not end with one")


def _check_pattern(text: str) -> None:
    if not text.startswith(("/", "*", "?")):
        raise ValueError(f"{text!r} begins neither with '/' nor with '*' nor with '?'")


def _check_syslog_address(text: str) -> None:
    # Here and below: most servers need none of it.
    from pyserver.syslog import parse_place

    parse_place(text)


def _check_facility(text: str) -> None:
    from pyserver.syslog import FACILITIES

    if text.lower() not in FACILITIES:
        raise ValueError(f"it is not one of {', '.join(FACILITIES)}")


def _check_statsd(text: str) -> None:
    from pyserver.syslog import parse_statsd_host

    parse_statsd_host(text)


def _check_health_path(text: str) -> None:
    # RFC 9112 §3.2.1: what the path of an origin-form is made of; a query is not looked at.
    if text and not (text.startswith("/") and text.isascii() and text.isprintable() and not set(text) & set(" ?#")):
        raise ValueError("it must begin with '/' and have no space, '?' or '#' and nothing that is not ASCII")


def _check_admin(text: str) -> None:
    if scheme_of(text):
        raise ValueError("plain HTTP is spoken there: write HOST:PORT or unix:PATH")
    address = parse_address(text)
    # Not bind's default port, where the application listens.
    if address.is_inherited or not (address.path or text.endswith(f":{address.port}")):
        raise ValueError("it must be HOST:PORT or unix:PATH")


class Settings(Hooks):
    """What the server was told to do. Never changed: a reload makes a new one.

    Attributes:
        absent: the settings of gunicorn that are no fields, with gunicorn's defaults, for hooks that look at them.
    """

    absent: ClassVar[Mapping[str, object]] = {name: row.default for name, row in UNAVAILABLE.items()}

    config: str | None = setting(
        None, section=_FILE, flags=("-c", "--config"), metavar="FILE", reload="never",
        help="The config file: a path, file:PATH or python:MODULE; a path that ends in .toml is read as TOML. "
        "Without it, the first is read that the start directory has of pyserver.conf.py, pyserver.toml, "
        "[tool.pyserver] in pyproject.toml, and gunicorn.conf.py.",
    )

    wsgi_app: str | None = setting(
        None, section=_APPLICATION, metavar="MODULE:NAME", reload="worker", source="gunicorn",
        help="The application: module:attribute or module:factory(). "
        "Usually it is given on the command line without a flag.",
    )
    chdir: str | None = setting(
        None, section=_APPLICATION, metavar="DIRECTORY", reload="worker", source="gunicorn",
        help="Change to this directory before the application is loaded; it is importable from then on. "
        "Relative paths of other settings start there.",
    )
    pythonpath: tuple[str, ...] = setting(
        (), section=_APPLICATION, metavar="DIRECTORIES", reload="worker", source="gunicorn",
        help="Directories, separated by commas, in which modules are looked for first.",
    )
    raw_env: tuple[str, ...] = setting(
        (), section=_APPLICATION, flags=("-e", "--env"), metavar="NAME=VALUE", repeatable=True, reload="worker",
        source="gunicorn", check=_check_assignment,
        help="An environment variable for the application; may be given several times.",
    )

    bind: tuple[str, ...] = setting(
        ("127.0.0.1:8000",), section=_SOCKET, flags=("-b",), metavar="ADDRESS", repeatable=True, reload="listener",
        source="gunicorn", environment=("PORT", "0.0.0.0:{}"), check=parse_address, required=True,
        help="Where to listen: HOST:PORT, :PORT, [IPV6]:PORT, unix:PATH, fd://N or systemd:NAME; may be given several "
        "times. Platforms that set PORT get 0.0.0.0:$PORT without any option.",
    )
    backlog: int = setting(
        2048, section=_SOCKET, minimum=1, maximum=_MOST, reload="listener", source="listen(2)",
        help="How many connections the kernel keeps for us while no worker accepts. "
        "The kernel has a ceiling of its own, net.core.somaxconn on Linux.",
    )
    reuse_port: bool = setting(
        False, section=_SOCKET, reload="listener", source="socket(7)",
        help="Open TCP sockets with SO_REUSEPORT, so that several servers can listen at one address. "
        "Workers still share the sockets of their server. A second start by mistake is not refused any more.",
    )

    workers: int = setting(
        1, section=_WORKERS, flags=("-w",), minimum=1, maximum=65_535, reload="arbiter", source="gunicorn",
        environment=("WEB_CONCURRENCY", "{}"),
        help="How many worker processes serve. "
        "An application that computes wants about one for each processor; one that waits for databases wants more.",
    )
    worker_class: str = setting(
        "auto", section=_WORKERS, flags=("-k",), metavar="NAME", reload="worker", source="gunicorn", required=True,
        read=read_class,
        help="The kind of worker: sync runs one request at a time, threaded (or gthread) one in each of its threads, "
        "gevent one in each of many greenlets, and asgi many in an event loop; uvicorn serves ASGI applications, too; "
        "or package.module:Class, for which a config file may have the class itself. "
        "auto is asgi for an ASGI application, and sync or threaded for a WSGI one.",
    )
    threads: int = setting(
        1, section=_WORKERS, minimum=1, maximum=65_535, reload="worker", source="gunicorn",
        help="How many threads of a worker serve, each one request at a time; idle connections and slow clients occupy "
        "none. More than one makes sync workers threaded ones.",
    )
    worker_connections: int = setting(
        1000, section=_WORKERS, minimum=1, maximum=1_000_000, reload="worker", source="gunicorn",
        help="How many requests a gevent or asgi worker runs at the same time; while it has so many it accepts no "
        "connection, and requests on those that it has wait. It bounds neither idle connections nor open WebSockets, "
        "which cost little, and has no effect with sync and threaded workers.",
    )
    move_connections: str = setting(
        "auto", section=_WORKERS, choices=("auto", "off", "always"), reload="arbiter",
        help="Whether open connections move between workers. A worker that leaves, after a reload for example, passes "
        "its idle ones on, so that no client sees them closed; a busy one those that ask for something. "
        "With always each connection is passed on after each response, which is for tests.",
    )
    handoff_after: float = setting(
        0.005, section=_WORKERS, unit="s", minimum=0, maximum=60.0, reload="worker",
        help="How long a request may wait for a busy worker before another one that is free gets its connection; 0 for "
        "any time. It has no effect with a single worker, nor where connections do not move.",
    )
    worker_options: Mapping[str, object] = setting(
        MappingProxyType({}), section=_WORKERS, flags=("--worker-option",), metavar="NAME=VALUE", repeatable=True,
        reload="worker",
        help="What the worker class is told beside the settings; may be given several times. In a config file it is a "
        "mapping. docs/workers.md has those of uvicorn; the classes that serve WSGI have none.",
    )
    proc_name: str | None = setting(
        None, section=_WORKERS, flags=("-n", "--name"), metavar="NAME", reload="worker", source="gunicorn",
        help="The name in process titles instead of that of the application. "
        "It tells several servers on one machine apart.",
    )
    default_proc_name: str | None = setting(
        None, section=_WORKERS, metavar="NAME", reload="worker", source="gunicorn",
        help="The name in process titles where proc_name gives none.",
    )
    preload_app: bool = setting(
        False, section=_WORKERS, flags=("--preload",), reload="worker", source="gunicorn",
        help="Import the application once, in a process that workers are forked from, so that they share its memory "
        "and start at once. A reload imports it anew. Where the system has no subreapers, which Linux has, each worker "
        "imports the application.",
    )

    max_requests: int = setting(
        0, section=_RECYCLING, minimum=0, maximum=_MOST, reload="worker", source="gunicorn",
        help="After how many requests a worker is replaced by a fresh one; 0 means never. "
        "The worker goes on until its successor is ready, so it answers some more than that.",
    )
    max_requests_jitter: int = setting(
        0, section=_RECYCLING, minimum=0, maximum=_MOST, reload="worker", source="gunicorn",
        help="Each worker adds a random number up to this to max_requests, so that not all are replaced at once.",
    )
    max_worker_lifetime: float = setting(
        0.0, section=_RECYCLING, unit="s", minimum=0, maximum=_LONGEST, reload="arbiter",
        help="How long a worker serves before it is replaced by a fresh one; 0 means for ever. Of workers that begin "
        "together, some serve up to a tenth less, so that not all are replaced at once.",
    )
    max_worker_memory: int = setting(
        0, section=_RECYCLING, unit="bytes", minimum=0, maximum=_LARGEST, reload="arbiter",
        help="How much memory a worker may have to itself before it is replaced by a fresh one; 0 means any amount. "
        "Workers are replaced one at a time, and each goes on until its successor is ready.",
    )

    timeout: float = setting(
        30.0, section=_DEADLINES, flags=("-t",), unit="s", minimum=0, maximum=_LONGEST, reload="arbiter",
        source="gunicorn",
        help="How long one request may keep a worker before the worker is killed; 0 means for ever. The log gets its "
        "stack, and the client 504 when its response had not begun. A worker that waits for requests is never killed. "
        "In one that runs several requests, each has its time anew with every block of its response, and when one is "
        "over its time the others are given another second; a gevent or asgi worker ends that request alone when it "
        "can, and an asgi worker bounds only the time until the response begins.",
    )
    boot_timeout: float = setting(
        120.0, section=_DEADLINES, unit="s", minimum=0, maximum=_LONGEST, reload="arbiter",
        help="How long a worker may take to load the application; 0 means for ever. "
        "It has failed to boot when it takes longer.",
    )
    slow_request: float = setting(
        0.0, section=_DEADLINES, unit="s", minimum=0, maximum=_LONGEST, reload="arbiter",
        help="After how long a request that still runs is reported in the error log, with the stack of every thread of "
        "its worker; 0 means never. "
        "A sleep or wait in C that does not go on after a signal ends early.",
    )
    drain_delay: float = setting(
        0.0, section=_DEADLINES, unit="s", minimum=0, maximum=_LONGEST, reload="arbiter",
        help="How long the server serves on after it was told to stop, so that load balancers learn of it first.",
    )
    graceful_timeout: float = setting(
        30.0, section=_DEADLINES, unit="s", minimum=0, maximum=_LONGEST, reload="arbiter", source="gunicorn",
        help="How long a worker that is told to stop may take to finish the requests it has.",
    )
    keepalive: float = setting(
        2.0, section=_DEADLINES, flags=("--keep-alive",), unit="s", minimum=0, maximum=_LONGEST,
        source="RFC 9112 §9.3",
        help="How long an idle persistent connection is kept; 0 closes after each response. "
        "Behind a proxy that reuses connections, more than the proxy's own idle time is right.",
    )
    request_head_timeout: float = setting(
        10.0, section=_DEADLINES, unit="s", minimum=0.1, maximum=_LONGEST, source="RFC 9110 §15.5.9",
        help="How long a client may take for the whole head of a request; then it gets 408.",
    )
    request_body_timeout: float = setting(
        30.0, section=_DEADLINES, unit="s", minimum=0.1, maximum=_LONGEST, source="RFC 9110 §15.5.9",
        help="The longest silence while the content of a request is awaited; then the client gets 408.",
    )
    write_timeout: float = setting(
        60.0, section=_DEADLINES, unit="s", minimum=0.1, maximum=_LONGEST,
        help="The longest time a client may take nothing of a response; then its connection is closed.",
    )

    limit_request_line: int = setting(
        4094, section=_LIMITS, unit="bytes", minimum=0, maximum=_MOST, source="RFC 9112 §3",
        help="The longest request line; 0 leaves only the limit of a whole head, 16 MiB. "
        "A longer one is refused with 414.",
    )
    limit_request_fields: int = setting(
        100, section=_LIMITS, minimum=0, maximum=_MOST, source="RFC 9110 §5.4",
        help="The most header fields of a request; 0 means 32768. More are refused with 431.",
    )
    limit_request_field_size: int = setting(
        8190, section=_LIMITS, flags=("--limit-request-field_size",), unit="bytes", minimum=0, maximum=_MOST,
        source="RFC 9110 §5.4",
        help="The longest field line of a request; 0 leaves only the limit of a whole head, 16 MiB. "
        "A longer one is refused with 431.",
    )
    limit_request_body: int = setting(
        0, section=_LIMITS, unit="bytes", minimum=0, maximum=_LARGEST, source="RFC 9110 §15.5.14",
        help="The most content of a request; 0 means unlimited. More is refused with 413. "
        "Content is collected before a WSGI application is called, so this bounds the disk a client can fill.",
    )

    request_buffer: int = setting(
        524_288, section=_BUFFERS, unit="bytes", minimum=0, maximum=_MOST,
        help="How much content of a request is kept in memory; what is beyond goes to a temporary file.",
    )
    response_buffer: int = setting(
        65_536, section=_BUFFERS, unit="bytes", minimum=0, maximum=_MOST,
        help="How much of a response that a slow client has not taken is kept in memory; "
        "what is beyond goes to a temporary file.",
    )
    response_spool: int = setting(
        1_073_741_824, section=_BUFFERS, unit="bytes", minimum=0, maximum=_LARGEST,
        help="The limit of that file; when it is reached, the application waits for the client.",
    )
    tmp_upload_dir: str | None = setting(
        None, section=_BUFFERS, metavar="DIRECTORY", source="gunicorn",
        help="Where temporary files are made; without it, where the system has them. "
        "They have no name there, so nothing is left behind by a crash.",
    )

    header_map: str = setting(
        "drop", section=_HTTP, choices=("drop", "refuse", "dangerous"), source="gunicorn",
        help="What becomes of a field name with an underscore, which WSGI cannot tell from the one with a hyphen: "
        "drop leaves the field out, refuse answers 400, dangerous passes it on. "
        "With dangerous a client can forge what your proxy sets.",
    )
    root_path: str = setting(
        "", section=_HTTP, metavar="PATH", source="PEP 3333", check=_check_root_path,
        help="The path under which the application is mounted: SCRIPT_NAME, or root_path of an ASGI scope.",
    )
    casefold_http_method: bool = setting(
        False, section=_HTTP, source="gunicorn",
        help="Take the method of a request for the one in upper case. "
        "Methods are case-sensitive, and a proxy may have let get pass because it is not GET.",
    )
    permit_obsolete_folding: bool = setting(
        False, section=_HTTP, source="RFC 9112 §5.2",
        help="Take a field value that goes on in the next line, instead of refusing it: CR and LF become a space each. "
        "In Host, Content-Length, Transfer-Encoding and Connection it is always refused.",
    )
    server_header: bool = setting(
        True, section=_HTTP, source="RFC 9110 §10.2.4",
        help="Send a Server field with each response.",
    )
    date_header: bool = setting(
        True, section=_HTTP, source="RFC 9110 §6.6.1",
        help="Send a Date field with each response; turn it off only when a proxy adds one.",
    )
    sendfile: bool = setting(
        True, section=_HTTP, environment=("SENDFILE", "{}"), source="gunicorn",
        help="Let the kernel send files: of WSGI's wsgi.file_wrapper, of ASGI's pathsend and zerocopysend. "
        "Turn it off on file systems that cannot.",
    )

    forwarded_allow_ips: tuple[str, ...] = setting(
        ("127.0.0.1", "::1"), section=_PROXIES, metavar="ADDRESSES", source="gunicorn",
        environment=("FORWARDED_ALLOW_IPS", "{}"), check=check_peers,
        help="Addresses and networks of proxies, separated by commas, that are trusted: secure_scheme_headers, "
        "forwarder_headers and forwarded_fields are believed of them; * means every peer. Who is connected by a Unix "
        "socket is always trusted. "
        "Anyone listed here can make a plain request look like https to the application.",
    )
    secure_scheme_headers: Mapping[str, str] = setting(
        MappingProxyType({
            "X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on",
        }),
        section=_PROXIES, metavar="NAME=VALUE,...", source="gunicorn",
        help="Fields and the values with which a trusted proxy says that the client spoke https. "
        "When one says so and another denies it, the request is refused with 400.",
    )
    forwarder_headers: tuple[str, ...] = setting(
        ("SCRIPT_NAME", "PATH_INFO"), section=_PROXIES, metavar="NAMES", source="gunicorn",
        help="Fields with an underscore in their name that reach the application when a trusted proxy sends them, "
        "whatever header_map is; * means all. SCRIPT_NAME becomes that of environ, or root_path of an ASGI scope.",
    )
    forwarded_fields: tuple[str, ...] = setting(
        (), section=_PROXIES, metavar="FIELDS", read=read_forwarded_fields, source="RFC 7239",
        help="Fields in which trusted proxies say how the client has come, separated by commas: x-forwarded-for or "
        "forwarded names the client, which is then REMOTE_ADDR, client of an ASGI scope and %(h)s of the access log; "
        "forwarded says host and scheme, too; x-forwarded-host, x-forwarded-port and x-forwarded-prefix say what their "
        "names say. Only those that your proxy sets or adds to, or else clients can forge them.",
    )
    forwarded_hops: int = setting(
        0, section=_PROXIES, minimum=0, maximum=32,
        help="How many proxies every request passes, of which each adds an entry to x-forwarded-for or forwarded: the "
        "client is that many entries from the end. 0 takes the last entry that is not in forwarded_allow_ips, "
        "or where that is *, the last.",
    )
    proxy_protocol: str = setting(
        "off", section=_PROXIES, choices=PROXY_PROTOCOLS, bare="auto", read=read_proxy_protocol, source="gunicorn",
        help="The version of the PROXY protocol in which a proxy may name the client at the beginning of a connection; "
        "without a value, or with auto, either.",
    )
    proxy_allow_ips: tuple[str, ...] = setting(
        ("127.0.0.1", "::1"), section=_PROXIES, flags=("--proxy-allow-from",), metavar="ADDRESSES", source="gunicorn",
        check=check_peers,
        help="Addresses and networks of proxies, separated by commas, that may send a PROXY header; * means every "
        "peer. Who else sends one is refused with 403.",
    )
    proxy_protocol_required: bool = setting(
        False, section=_PROXIES,
        help="Refuse a connection that does not begin with a PROXY header. "
        "Without this, who connects past the proxy is served, under its own address.",
    )

    certfile: str | None = setting(
        None, section=_TLS, metavar="FILE", source="gunicorn",
        help="The certificate in PEM, with those of its issuers behind it: TLS is spoken at every bind that does not "
        "begin with http://.",
    )
    keyfile: str | None = setting(
        None, section=_TLS, metavar="FILE", source="gunicorn",
        help="Its private key; without it, the key is in the file of the certificate.",
    )
    keyfile_password: str | None = setting(
        None, section=_TLS, metavar="file:PATH or env:NAME", check=check_password_source,
        help="Where the password of an encrypted key is: the first line of a file, or a variable of the environment.",
    )
    sni: tuple[str, ...] = setting(
        (), section=_TLS, metavar="NAME=CERTFILE[,KEYFILE]", repeatable=True, check=check_sni, source="RFC 6066 §3",
        help="Another certificate, for clients that ask for this name; *.example.org stands for all names one label "
        "longer. May be repeated.",
    )
    ca_certs: str | None = setting(
        None, section=_TLS, metavar="FILE", source="gunicorn",
        help="The certificates, in PEM, of those whose client certificates are accepted.",
    )
    cert_reqs: int = setting(
        0, section=_TLS, minimum=0, maximum=2, read=read_cert_reqs, metavar="WHO", source="gunicorn",
        help="Whether clients are asked for a certificate: 0 or none, 1 or optional, 2 or required. What one shows is "
        "SSL_CLIENT_* in environ, and the extension tls of an ASGI scope.",
    )
    ciphers: str | None = setting(
        None, section=_TLS, metavar="LIST", source="gunicorn",
        help="The ciphers of TLS 1.2, as OpenSSL writes them; without it, those that Python takes for strong.",
    )
    tls_minimum: str = setting(
        "1.2", section=_TLS, choices=("1.2", "1.3"), source="RFC 8996",
        help="The oldest version of TLS that is spoken.",
    )
    certificate_check: float = setting(
        0.0, section=_TLS, unit="s", minimum=0, maximum=_LONGEST, reload="arbiter",
        help="How often it is looked whether the files of certificates and keys have changed; the server is then "
        "reloaded, as by HUP. 0 never looks.",
    )

    http_protocols: tuple[str, ...] = setting(
        ("h1",), section=_HTTP2, flags=("--http",), read=read_protocols, metavar="LIST", source="gunicorn",
        help="The versions of HTTP that are offered to clients with TLS, the preferred one first: h1, h2 or both; h3 "
        "may be named beside, and is what quic_bind is for.",
    )
    http2_cleartext: str = setting(
        "off", section=_HTTP2, choices=CLEARTEXT, source="gunicorn",
        help="How a client that forwarded_allow_ips trusts may begin HTTP/2 without TLS: knowing that it is spoken, "
        "by the Upgrade of RFC 7540, or by either.",
    )
    http2_max_concurrent_streams: int = setting(
        100, section=_HTTP2, minimum=1, maximum=10_000, source="gunicorn",
        help="How many requests of one connection may be under way at the same time.",
    )
    http2_initial_window_size: int = setting(
        65_535, section=_HTTP2, unit="bytes", minimum=1, maximum=16_777_216, source="gunicorn",
        help="How much content of one request may be on its way before it is taken.",
    )
    http2_max_frame_size: int = setting(
        16_384, section=_HTTP2, unit="bytes", minimum=16_384, maximum=16_777_215, source="gunicorn",
        help="The longest frame that a client may send.",
    )
    http2_max_header_list_size: int = setting(
        65_536, section=_HTTP2, unit="bytes", minimum=1024, maximum=16_777_216, source="gunicorn",
        help="How long all fields of a request may be together, counted as RFC 9113 §6.5.2 does; else it gets 431.",
    )

    quic_bind: tuple[str, ...] = setting(
        (), section=_HTTP3, metavar="HOST:PORT", repeatable=True, check=check_quic_address, reload="listener",
        source="RFC 9114",
        help="Where HTTP/3 is served, by UDP, with the certificate of certfile; asgi workers only. May be repeated. "
        "Responses over TLS name the first port to clients (Alt-Svc).",
    )

    asgi_loop: str = setting(
        "auto", section=_ASGI, flags=("--loop",), choices=("auto", "asyncio", "uvloop"), reload="worker",
        source="gunicorn",
        help="The event loop of asgi workers; auto takes uvloop where it is installed.",
    )
    asgi_lifespan: str = setting(
        "auto", section=_ASGI, flags=("--lifespan",), choices=("auto", "on", "off"), reload="worker", source="gunicorn",
        help="Whether the application is told of the start and the end of its worker. With auto, one that raises at "
        "the start without having said that it failed is taken for one that does not want to be told; "
        "with on, that is a failed boot.",
    )
    lifespan_timeout: float = setting(
        10.0, section=_ASGI, unit="s", minimum=0, maximum=_LONGEST,
        help="How long an application may take for its end, after its last request; 0 means for as long as "
        "graceful_timeout allows. For its start it has boot_timeout.",
    )
    ws_ping_interval: float = setting(
        20.0, section=_ASGI, unit="s", minimum=0, maximum=_LONGEST, source="RFC 6455 §5.5.2",
        help="After how long a silent WebSocket is asked whether its client is still there; 0 means never.",
    )
    ws_ping_timeout: float = setting(
        20.0, section=_ASGI, unit="s", minimum=0, maximum=_LONGEST, source="RFC 6455 §5.5.3",
        help="How long it then may be silent before it is closed; 0 means for ever.",
    )
    websocket_max_message_size: int = setting(
        16_777_216, section=_ASGI, flags=("--ws-max-size",), unit="bytes", minimum=0, maximum=_MOST, source="gunicorn",
        help="The longest message that a WebSocket may receive, decompressed; 0 means any. "
        "A longer one closes it with 1009.",
    )
    ws_max_queue: int = setting(
        32, section=_ASGI, minimum=1, maximum=_MOST,
        help="How many messages of a WebSocket may wait for the application; "
        "while there are so many, no more are read.",
    )
    ws_per_message_deflate: bool = setting(
        True, section=_ASGI, source="RFC 7692",
        help="Compress the messages of WebSockets whose clients can; for each of them that takes some 50 kB while "
        "messages are sent.",
    )

    pidfile: str | None = setting(
        None, section=_PROCESS, flags=("-p", "--pid"), metavar="FILE", reload="arbiter", source="gunicorn",
        help="The file that holds the process id of the arbiter while the server runs. "
        "One that a running server holds is refused; one that was left behind is taken over.",
    )
    daemon: bool = setting(
        False, section=_PROCESS, flags=("-D",), reload="never", source="gunicorn",
        help="Go into the background. "
        "The command ends when the first worker is ready, or fails with the reason why the server could not start. "
        "Relative paths stay what they are; name an errorlog, because a daemon has no standard error.",
    )
    enable_stdio_inheritance: bool = setting(
        False, section=_PROCESS, flags=("-R",), reload="never", source="gunicorn",
        help="With daemon, keep standard output and standard error where they are no terminal, "
        "so that a redirection of the shell goes on.",
    )
    user: int | str | None = setting(
        None, section=_PROCESS, flags=("-u",), metavar="USER", minimum=0, maximum=_LARGEST_ID, reload="worker",
        source="gunicorn", read=read_account, check=_check_user,
        help="The user, by name or number, that workers switch to before the application is imported. "
        "Only root can start them as another user than itself. "
        "The log files and Unix sockets of the server are given to that user.",
    )
    group: int | str | None = setting(
        None, section=_PROCESS, flags=("-g",), metavar="GROUP", minimum=0, maximum=_LARGEST_ID, reload="worker",
        source="gunicorn", read=read_account, check=_check_group,
        help="The group, by name or number, that workers switch to. "
        "Without it, a user that is given brings its own group along.",
    )
    initgroups: bool = setting(
        False, section=_PROCESS, reload="worker", source="gunicorn",
        help="Give workers all groups that their user is a member of. "
        "Otherwise workers that switch are in no group but the one they switch to.",
    )
    umask: int = setting(
        0, section=_PROCESS, flags=("-m",), metavar="BITS", minimum=0, maximum=0o777, reload="worker",
        source="gunicorn", read=read_bits,
        help="The permissions that files made by workers do not get, and neither do Unix sockets that are listened on; "
        "0o22 and 022 are octal, 18 is decimal. "
        "With 0, everybody can connect to a Unix socket, and workers have the umask that the server was started with.",
    )

    health_path: str = setting(
        "", section=_HEALTH, metavar="PATH", check=_check_health_path,
        help="A path that workers answer in the place of the application: GET and HEAD get 200, and 503 once the "
        "server was told to stop. Without it there is none. docs/health.md has probes for Kubernetes.",
    )
    health_log: bool = setting(
        False, section=_HEALTH,
        help="Whether the access log has a line for each answer at health_path.",
    )
    admin: str | None = setting(
        None, section=_HEALTH, metavar="ADDRESS", reload="listener", check=_check_admin,
        help="Where a process of its own answers /livez, /readyz, /metrics and /workers, however busy the workers are: "
        "HOST:PORT or unix:PATH. Without it there is none. "
        "Whoever can connect is told, among other things, the paths of requests, so let it be no public address.",
    )

    accesslog: str | None = setting(
        None, section=_LOGGING, flags=("--access-logfile",), metavar="FILE", reload="worker", source="gunicorn",
        help="The file of the access log; - means standard output, and without it there is none.",
    )
    access_log_format: str = setting(
        '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"', section=_LOGGING,
        flags=("--access-logformat",), metavar="FORMAT", source="gunicorn",
        help="The line of the access log, or json for a JSON object, or json: and the names of its members, separated "
        "by commas. What it does not use costs nothing.",
    )
    access_log_exclude: tuple[str, ...] = setting(
        (), section=_LOGGING, metavar="PATH", repeatable=True, check=_check_pattern,
        help="A path whose requests the access log leaves out, with all below it, or a pattern in which * stands for "
        "any text and ? for any character; may be given several times. Responses of 500 and more are logged all the "
        "same.",
    )
    access_log_sample: float = setting(
        1.0, section=_LOGGING, metavar="RATE", minimum=0, maximum=1,
        help="Which part of the requests the access log has, chosen at random: 0.01 is one in a hundred. "
        "Responses of 400 and more are always logged, and so are slow ones: those that took slow_request, or a second "
        "where that is not set.",
    )
    request_id: bool = setting(
        False, section=_LOGGING,
        help="Give each request an id: that of its field X-Request-ID, when one of forwarded_allow_ips has sent it, or "
        "else a new one. It is pyserver.request_id in environ, request_id of the extension pyserver in an ASGI scope, "
        "and a member of the access log in JSON.",
    )
    errorlog: str = setting(
        "-", section=_LOGGING, flags=("--error-logfile", "--log-file"), metavar="FILE", reload="arbiter",
        source="gunicorn", required=True, read=read_errorlog,
        help="The file of the error log; - means standard error, and None in a config file that there is none.",
    )
    loglevel: str = setting(
        "info", section=_LOGGING, flags=("--log-level",), reload="arbiter", source="gunicorn", read=read_level,
        choices=("debug", "info", "warning", "error", "critical"),
        help="The least important records that the error log has.",
    )
    capture_output: bool = setting(
        False, section=_LOGGING, reload="arbiter", source="gunicorn",
        help="Send what is written to standard output and standard error to the errorlog, where that is a file.",
    )
    logger_class: str | type | None = setting(
        None, section=_LOGGING, metavar="CLASS", reload="arbiter", source="gunicorn",
        read=read_logger_class,
        help="The class that does all logging, as package.module.Class: a subclass of pyserver.glogging.Logger or of "
        "gunicorn's. Without it, and without a logconfig, the server writes both logs itself, which is faster.",
    )
    logconfig: str | None = setting(
        None, section=_LOGGING, flags=("--log-config",), metavar="FILE", reload="arbiter", source="gunicorn",
        help="A file in the format of logging.config.fileConfig, for the loggers gunicorn.error and gunicorn.access.",
    )
    logconfig_dict: Mapping[str, object] = setting(
        MappingProxyType({}), section=_LOGGING, metavar="JSON", reload="arbiter", source="gunicorn", read=read_tree,
        help="The same as a dictionary of logging.config.dictConfig. It wins over the other two.",
    )
    logconfig_json: str | None = setting(
        None, section=_LOGGING, flags=("--log-config-json",), metavar="FILE", reload="arbiter", source="gunicorn",
        help="The same dictionary in a JSON file. It wins over logconfig.",
    )
    syslog: bool = setting(
        False, section=_LOGGING, flags=("--log-syslog",), reload="arbiter", source="gunicorn",
        help="Send both logs to syslog, too.",
    )
    syslog_addr: str = setting(
        _SYSLOG.get(sys.platform.rstrip("0123456789"), "udp://localhost:514"), section=_LOGGING,
        flags=("--log-syslog-to",), metavar="ADDRESS", reload="arbiter", source="gunicorn", required=True,
        check=_check_syslog_address,
        help="Where syslog listens: udp://HOST:PORT, tcp://HOST:PORT, or unix://PATH with #dgram or #stream behind it, "
        "which otherwise is found out.",
    )
    syslog_prefix: str | None = setting(
        None, section=_LOGGING, flags=("--log-syslog-prefix",), metavar="NAME", reload="arbiter", source="gunicorn",
        help="The name in syslog's lines, which begin with gunicorn.NAME; without it, that of the process.",
    )
    syslog_facility: str = setting(
        "user", section=_LOGGING, flags=("--log-syslog-facility",), metavar="FACILITY", reload="arbiter",
        source="RFC 5424 §6.2.1", required=True, check=_check_facility,
        help="The facility that syslog is told: user, daemon, local0 to local7, and so on.",
    )
    disable_redirect_access_to_syslog: bool = setting(
        False, section=_LOGGING, source="gunicorn",
        help="Keep the access log out of syslog.",
    )
    statsd_host: str | None = setting(
        None, section=_LOGGING, metavar="ADDRESS", reload="arbiter", source="gunicorn", check=_check_statsd,
        help="Where a statsd server is told of requests, workers and errors: HOST:PORT of UDP, or unix://PATH.",
    )
    statsd_prefix: str = setting(
        "", section=_LOGGING, metavar="NAME", reload="arbiter", source="gunicorn",
        help="What the names of metrics begin with; a dot is added.",
    )
    dogstatsd_tags: str = setting(
        "", section=_LOGGING, metavar="TAGS", reload="arbiter", source="gunicorn",
        help="Tags of every metric, separated by commas, as NAME:VALUE.",
    )
    enable_backlog_metric: bool = setting(
        False, section=_LOGGING, reload="arbiter", source="gunicorn",
        help="Tell statsd each second how many connections wait to be accepted, on TCP and Linux.",
    )

    reload: bool = setting(
        False, section=_DEBUGGING, reload="never", source="gunicorn",
        help="Reload when a source file of the application changes, and show the traceback in its place when it cannot "
        "be loaded; for development. Needs the package watchfiles.",
    )
    reload_engine: str = setting(
        "auto", section=_DEBUGGING, choices=("auto", "poll", "inotify"), reload="never", source="gunicorn",
        help="How changes are noticed: auto asks the system, poll looks at the files again and again.",
    )
    reload_extra_files: tuple[str, ...] = setting(
        (), section=_DEBUGGING, flags=("--reload-extra-file",), metavar="FILE", repeatable=True, reload="never",
        source="gunicorn",
        help="Another file, directory or pattern to watch, in which ** stands for any directories; "
        "may be given several times.",
    )
    spew: bool = setting(
        False, section=_DEBUGGING, reload="worker", source="gunicorn",
        help="Print each line of Python that a worker runs to its standard output, for debugging; "
        "it takes a hundred times longer then.",
    )
    poller: str = setting(
        "auto", section=_DEBUGGING, choices=("auto", "epoll", "poll"),
        help="How workers wait for sockets; auto takes the best that the system has.",
    )
    check_config: bool = setting(
        False, section=_DEBUGGING, reload="never", source="gunicorn",
        help="Load the settings and the application, say what is wrong with them, and exit with 0 or not.",
    )
    print_config: bool = setting(
        False, section=_DEBUGGING, reload="never", source="gunicorn",
        help="Print every setting, its value and where it was set; then do as --check-config does.",
    )


# The fields of a base class come first; what is called is listed after what is looked at.
ROWS: dict[str, Row] = dict(sorted(Settings.rows.items(), key=lambda item: item[1].is_hook))
