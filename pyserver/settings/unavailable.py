"""The settings of gunicorn that have no effect here: why, and what there is instead.

Each is accepted wherever gunicorn accepts it and is one warning at the start, so that a command or a file written for
gunicorn starts the server. Where going on without it would be something else than what was asked for, it is refused.
"""

from __future__ import annotations

from typing import NamedTuple

# As texts of a command line or a variable have them.
_NOTHING = ("", "0", "none", "false", "no", "off")


class Unavailable(NamedTuple):
    """One of them.

    Attributes:
        why: the reason and what to use instead, as a clause.
        flags: its options; what only a config file can give has none.
        is_switch: whether the option stands alone.
        default: gunicorn's; to write it down asks for nothing.
        is_refused: whether a server that went on without it would do something else than what it was asked for.
    """

    why: str
    flags: tuple[str, ...] = ()
    is_switch: bool = False
    default: object = None
    is_refused: bool = False

    def is_wanted(self, raw: object) -> bool:
        """Whether a value asks for anything."""
        text = " ".join(raw.split()).lower() if isinstance(raw, str) else None
        if text is not None:
            return text not in _NOTHING and text != str(self.default).lower()
        return bool(raw) and raw != self.default


_DIRTY = "there are no dirty workers; a task queue such as Celery or RQ runs long jobs"
_CONTROL = "there is no control socket; signals do what gunicornc does"
_PASTE = (
    "PasteDeploy files are not read; name a module with "
    "application = paste.deploy.loadapp('config:/path/to/file.ini')"
)

# A row moves to model.py when the setting is built.
UNAVAILABLE: dict[str, Unavailable] = {
    "control_socket": Unavailable(_CONTROL, ("--control-socket",)),
    "control_socket_mode": Unavailable(_CONTROL, ("--control-socket-mode",), default=0o600),
    # What it asks for is so.
    "control_socket_disable": Unavailable(_CONTROL, ("--no-control-socket",), is_switch=True, default=True),
    "on_dirty_starting": Unavailable(_DIRTY),
    "dirty_post_fork": Unavailable(_DIRTY),
    "dirty_worker_init": Unavailable(_DIRTY),
    "dirty_worker_exit": Unavailable(_DIRTY),
    "dirty_apps": Unavailable(_DIRTY, ("--dirty-app",), default=[]),
    "dirty_workers": Unavailable(_DIRTY, ("--dirty-workers",), default=0),
    "dirty_timeout": Unavailable(_DIRTY, ("--dirty-timeout",), default=300),
    "dirty_threads": Unavailable(_DIRTY, ("--dirty-threads",), default=1),
    "dirty_graceful_timeout": Unavailable(_DIRTY, ("--dirty-graceful-timeout",), default=30),
    "ssl_version": Unavailable(
        "the version is agreed on with each client; tls_minimum is the oldest", ("--ssl-version",)
    ),
    "suppress_ragged_eofs": Unavailable(
        "a connection that ends without a word ends as others do; half a request is refused in any case",
        ("--suppress-ragged-eofs",), is_switch=True, default=True,
    ),
    "do_handshake_on_connect": Unavailable(
        "a handshake never holds up a worker", ("--do-handshake-on-connect",), is_switch=True, default=False
    ),
    "paste": Unavailable(_PASTE, ("--paste", "--paster")),
    "raw_paste_global_conf": Unavailable(_PASTE, ("--paste-global",), default=[]),
    "protocol": Unavailable(
        "HTTP is all that is spoken, so every request would be refused; nginx speaks it with proxy_pass in place of "
        "uwsgi_pass",
        ("--protocol",), default="http", is_refused=True,
    ),
    "uwsgi_allow_ips": Unavailable("HTTP is all that is spoken", ("--uwsgi-allow-from",), default="127.0.0.1,::1"),
    "strip_header_spaces": Unavailable(
        "white space before the colon of a field line is refused, as RFC 9112 §5.1 demands",
        ("--strip-header-spaces",), is_switch=True, default=False,
    ),
    "permit_unconventional_http_method": Unavailable(
        "any token is taken for a method, as RFC 9110 §9.1 has it",
        ("--permit-unconventional-http-method",), is_switch=True, default=False,
    ),
    "permit_unconventional_http_version": Unavailable(
        "versions other than 1.0 and 1.1 are answered with 505, as RFC 9110 §15.6.6 has it",
        ("--permit-unconventional-http-version",), is_switch=True, default=False,
    ),
    "asgi_disconnect_grace_period": Unavailable(
        "an application is not cancelled when its client has gone; send() raises and receive() says so",
        ("--asgi-disconnect-grace-period",), default=3,
    ),
    "http_parser": Unavailable("there is one parser, and it is compiled", ("--http-parser",), default="auto"),
    "worker_tmp_dir": Unavailable(
        "there are no heartbeat files; tmp_upload_dir is where content is kept", ("--worker-tmp-dir",)
    ),
}  # fmt: skip
