"""Whether a raw value is read alike from text and from objects, and refused with the rule that it broke."""

import pytest

from pyserver.settings.model import ROWS


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("workers", "4", 4),
        ("workers", 4, 4),
        ("keepalive", "2.5", 2.5),
        ("keepalive", 5, 5.0),
        ("max_worker_memory", "512M", 512 * 1024 * 1024),
        ("max_worker_memory", " 1.5g ", 1_610_612_736),
        ("max_worker_memory", "10MB", 10_000_000),
        ("max_worker_memory", "64KiB", 65_536),
        ("max_worker_memory", "1 gib", 1024**3),
        ("max_worker_memory", "512b", 512),
        ("timeout", "30s", 30.0),
        ("timeout", "1m30s", 90.0),
        ("timeout", "500ms", 0.5),
        ("timeout", " 1d 2H ", 93_600.0),
        ("timeout", "1.5m", 90.0),
        ("timeout", "1e2", 100.0),
        ("worker_class", dict, "builtins:dict"),
        ("worker_class", lambda: dict, "builtins:dict"),
        ("worker_class", lambda: "gevent", "gevent"),
        ("logger_class", lambda: dict, dict),
        ("worker_class", "egg:gunicorn#gevent", "gevent"),
        ("loglevel", "WARN", "warning"),
        ("daemon", None, False),
        ("sendfile", None, True),
        ("pythonpath", None, ()),
        ("max_worker_memory", "2T", 2 * 1024**4),
        ("max_worker_memory", "4096", 4096),
        ("max_worker_memory", 4096, 4096),
        ("request_buffer", "64K", 65_536),
        ("request_buffer", "0K", 0),
        ("sendfile", "No", False),
        ("sendfile", True, True),
        ("loglevel", "DEBUG", "debug"),
        ("accesslog", "", None),
        ("accesslog", None, None),
        ("errorlog", None, "/dev/null"),
        ("errorlog", " a.log ", "a.log"),
        ("root_path", " /shop ", "/shop"),
        ("bind", " unix:/run/a,b.sock ", ("unix:/run/a,b.sock",)),
        ("bind", {"127.0.0.1:1"}, ("127.0.0.1:1",)),
        ("raw_env", "DSN=pg://h/db?o=a,b", ("DSN=pg://h/db?o=a,b",)),
        ("raw_env", (f"{name}=1,2" for name in "AB"), ("A=1,2", "B=1,2")),
        ("raw_env", " ", ()),
        ("reload_extra_files", "a,b", ("a,b",)),
        ("bind", ["127.0.0.1:1", "[::1]:1"], ("127.0.0.1:1", "[::1]:1")),
        ("raw_env", ["A=1,2"], ("A=1,2",)),
        ("forwarded_allow_ips", "", ()),
        ("forwarded_allow_ips", "*", ("*",)),
        ("forwarded_allow_ips", "10.0.0.0/8, fd00::/8,::1", ("10.0.0.0/8", "fd00::/8", "::1")),
        ("secure_scheme_headers", "X-Scheme=https, X-TLS=on", {"X-Scheme": "https", "X-TLS": "on"}),
        ("proxy_protocol", True, "auto"),
        ("proxy_protocol", False, "off"),
        ("proxy_protocol", None, "off"),
        ("proxy_protocol", "V2", "v2"),
        ("proxy_protocol", "true", "auto"),
        ("proxy_protocol", "none", "off"),
        ("forwarded_fields", "X-Forwarded-For, x-forwarded-host,", ("x-forwarded-for", "x-forwarded-host")),
        ("forwarded_fields", ["forwarded"], ("forwarded",)),
        ("forwarded_fields", "", ()),
        ("secure_scheme_headers", {"X-Scheme": "https"}, {"X-Scheme": "https"}),
        ("user", "root", "root"),
        ("user", "1000", 1000),
        ("user", 1000, 1000),
        ("group", None, None),
        ("umask", "0o27", 0o27),
        ("umask", "027", 0o27),
        ("umask", "23", 23),
        ("umask", "0x17", 23),
        ("umask", 0o27, 0o27),
        ("umask", "0", 0),
    ],
)
def test_a_value_is_read_from_text_and_from_objects(name, raw, value):
    assert ROWS[name].read(raw) == value


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("accesslog", "\ud800", "accesslog is '\\ud800', text that no file name can have"),
        ("keepalive", -1.0, "keepalive is -1.0, below its minimum 0"),
        ("workers", "0", "workers is '0', below its minimum 1"),
        ("workers", "two", "workers is 'two', not a whole number"),
        ("workers", 2.0, "workers is 2.0, not a whole number"),
        ("workers", True, "workers is True, not a whole number"),
        ("workers", None, "workers is None, not a whole number"),
        ("workers", 10**9, "workers is 1000000000, above its maximum 65535"),
        ("max_worker_memory", "512MX", "neither a whole number of bytes nor a number followed by a unit such as K, MB"),
        ("max_worker_memory", "MiB", "max_worker_memory is 'MiB', neither a whole number of bytes"),
        ("max_worker_memory", "M", "max_worker_memory is 'M', neither a whole number of bytes"),
        ("max_worker_memory", ".M", "max_worker_memory is '.M', neither a whole number of bytes"),
        ("max_worker_memory", "1e3K", "max_worker_memory is '1e3K', neither a whole number of bytes"),
        ("max_worker_memory", "nanK", "max_worker_memory is 'nanK', neither a whole number of bytes"),
        ("max_worker_memory", 1.5, "max_worker_memory is 1.5, neither a whole number of bytes"),
        ("max_worker_memory", "-1K", "max_worker_memory is '-1K', neither a whole number of bytes"),
        ("max_worker_memory", "", "max_worker_memory is '', neither a whole number of bytes"),
        ("max_worker_memory", "9000T", "max_worker_memory is '9000T', above its maximum 9007199254740992"),
        ("workers", "1K", "workers is '1K', not a whole number"),
        ("timeout", "soon", "timeout is 'soon', neither a number of seconds nor a duration such as 30s, 1m30s or"),
        ("timeout", "nan", "timeout is 'nan', neither a number of seconds"),
        ("timeout", "30s1m", "timeout is '30s1m', neither a number of seconds"),
        ("timeout", "1m1m", "timeout is '1m1m', neither a number of seconds"),
        ("timeout", "1min", "timeout is '1min', neither a number of seconds"),
        ("timeout", "s", "timeout is 's', neither a number of seconds"),
        ("timeout", "-5s", "timeout is '-5s', neither a number of seconds"),
        ("timeout", "9" * 400 + "d", "neither a number of seconds"),
        ("timeout", float("inf"), "timeout is inf, neither a number of seconds"),
        ("timeout", 10**400, "neither a number of seconds"),
        ("timeout", None, "timeout is None, neither a number of seconds"),
        ("worker_class", 5, "worker_class is 5, not text"),
        ("worker_class", lambda: 5, "worker_class is the function <lambda>, not text"),
        ("logger_class", lambda: 1 / 0, "which is called for a class and raises ZeroDivisionError: division by zero"),
        ("errorlog", "", "errorlog is '', which is empty"),
        ("loglevel", "loud", "loglevel is 'loud', not one of debug, info, warning, error, critical"),
        ("sendfile", "perhaps", "sendfile is 'perhaps', neither true nor false"),
        ("sendfile", 1, "sendfile is 1, neither true nor false"),
        ("header_map", "keep", "header_map is 'keep', not one of drop, refuse, dangerous"),
        ("root_path", "shop", "root_path is 'shop', but it must begin with '/' and not end with one"),
        ("wsgi_app", 5, "wsgi_app is 5, not text"),
        ("chdir", "a\0b", "a NUL in it"),
        ("bind", [], "bind is [], which is empty"),
        ("bind", {"127.0.0.1:1": 1}, "neither text nor a list of texts"),
        ("bind", b":1", "neither text nor a list of texts"),
        ("bind", ":1,:2", "':1,:2' has a comma; each address is an item of a list, or has an option of its own"),
        ("bind", [8000], "bind is [8000], not text"),
        ("bind", "127.0.0.1:many", "bind is '127.0.0.1:many', but '127.0.0.1:many' has the port 'many'"),
        ("proxy_protocol", "v3", "proxy_protocol is 'v3', not one of off, v1, v2, auto"),
        ("proxy_protocol", 2, "not one of off, v1, v2, auto"),
        ("proxy_allow_ips", "10.0.0", "but '10.0.0' is neither an address"),
        ("forwarded_fields", "x-real-ip", "but 'x-real-ip' is none of x-forwarded-for, forwarded,"),
        ("forwarded_fields", "forwarded,x-forwarded-for", "only one of them can name the client"),
        ("forwarded_fields", 1, "neither text nor a list of texts"),
        ("forwarded_allow_ips", "10.0.0", "but '10.0.0' is neither an address, nor a network such as"),
        ("forwarded_allow_ips", "10.0.0.0/33", "has the prefix length '33', which is not a number from 0 to 32"),
        ("forwarded_allow_ips", "::1/x", "has the prefix length 'x', which is not a number from 0 to 128"),
        ("raw_env", ["A"], "raw_env is ['A'], but 'A' is not of the form NAME=VALUE"),
        ("secure_scheme_headers", "https", "not NAME=VALUE pairs separated by commas"),
        ("secure_scheme_headers", {"X-Scheme": 1}, "not text"),
        ("secure_scheme_headers", 1, "not a mapping of text to text"),
        ("user", "no such user", "user is 'no such user', but there is no user of that name"),
        ("user", True, "user is True, not text"),
        ("user", "", "user is '', which is empty; leave it out"),
        ("user", " ", "user is ' ', which is empty; leave it out"),
        ("group", "", "group is '', which is empty; leave it out"),
        ("user", -1, "user is -1, below its minimum 0"),
        ("group", "no such group", "group is 'no such group', but there is no group of that name"),
        ("umask", "089", "umask is '089', not a number such as 0o22, 022 or 18"),
        ("umask", "0o1000", "umask is '0o1000', above its maximum 511"),
        ("umask", None, "umask is None, not a whole number"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_itself_and_the_rule(name, raw, message):
    with pytest.raises(ValueError, match=name) as refused:
        ROWS[name].read(raw)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(ValueError, match="not a whole number") as refused:
        ROWS["workers"].read("x" * 10_000)
    assert len(str(refused.value)) < 200


def test_an_object_without_a_repr_is_refused_in_one_line():
    class Broken:
        def __repr__(self):
            raise RuntimeError("no")

    with pytest.raises(ValueError, match="an object whose repr raises RuntimeError, not a whole number"):
        ROWS["workers"].read(Broken())


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_default_is_a_value_that_would_be_accepted(row):
    assert row.read(row.default) == row.default


def test_no_flag_stands_for_two_settings():
    flags = [flag for row in ROWS.values() for flag in (*row.flags, row.negative_flag) if flag]
    assert len(flags) == len(set(flags))
