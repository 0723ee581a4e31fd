"""Request lines: RFC 9112 §2.2, §2.3 and §3; the target, RFC 9112 §3.2 and RFC 3986."""

from conformance.case import HOST, Case

from pyserver._http import Fault

END = b" HTTP/1.1\r\n" + HOST + b"\r\n"
REST = b"\r\n" + HOST + b"\r\n"
NO_TOKEN = b'\x00\x01\t\n\x0b\x1f"(),/:;<=>?@[\\]{}\x7f\x80\xa0\xe9\xff'
NO_TARGET = b"\x00\x01\t\n\x0b\x1f#\x7f\x80\xa0\xe9\xff"


def line(length: int) -> bytes:
    """A request line of so many bytes without its CRLF."""
    return b"GET /".ljust(length - 9, b"x") + b" HTTP/1.1"


METHODS = [
    *(
        Case(f"method-{method.decode()}", "RFC 9110 §9.1", send=method + b" /" + END, accept=[{"method": method}])
        for method in (
            b"GET",
            b"HEAD",
            b"POST",
            b"PUT",
            b"DELETE",
            b"OPTIONS",
            b"TRACE",
            b"PATCH",
            b"QUERY",
            b"M-SEARCH",
        )
    ),
    Case("method-lower-case-is-another", "RFC 9110 §9.1", send=b"get /" + END, accept=[{"method": b"get"}]),
    Case(
        "method-in-upper-case-where-that-is-asked-for",
        "RFC 9110 §9.1",
        send=b"get /" + END + b"Options *" + END,
        accept=[{"method": b"GET"}, {"method": b"OPTIONS", "target": b"*"}],
        limits={"casefold_method": True},
    ),
    Case(
        "connect-in-lower-case-where-upper-case-is-asked-for",
        "RFC 9112 §3.2.3",
        send=b"connect ",
        then=b"a:80" + END,
        refuse=Fault.CONNECT_UNSUPPORTED,
        limits={"casefold_method": True},
    ),
    Case("method-of-one-byte", "RFC 9110 §9.1", send=b"G /" + END, accept=[{"method": b"G"}]),
    Case(
        "method-of-all-token-characters",
        "RFC 9110 §5.6.2",
        send=b"!#$%&'*+-.^_`|~09AZaz /" + END,
        accept=[{"method": b"!#$%&'*+-.^_`|~09AZaz"}],
    ),
    *(
        Case(
            f"method-holds-{byte:02x}",
            "RFC 9110 §5.6.2",
            send=b"GE",
            then=bytes([byte]) + b"T /" + END,
            refuse=Fault.METHOD,
        )
        for byte in NO_TOKEN
    ),
    Case("method-missing", "RFC 9112 §3", send=b"", then=b" /" + END, refuse=Fault.METHOD),
    Case("method-alone", "RFC 9112 §3", send=b"GET", then=REST, refuse=Fault.METHOD),
    Case("method-and-bare-cr", "RFC 9112 §2.2", send=b"GET", then=b"\r /" + END, refuse=Fault.METHOD),
    Case("method-unfinished", "RFC 9112 §3", send=b"GET", waits=True),
    Case("white-space-before-method", "RFC 9112 §2.2", send=b"", then=b"\tGET /" + END, refuse=Fault.METHOD),
    # A record, and no ClientHello in it: that would be closed without an answer.
    Case("tls-record", "RFC 9112 §2.2", send=b"", then=b"\x16\x03\x01\x02\x00\x02\x00", refuse=Fault.METHOD),
    Case(
        "http-2-preface", "RFC 9113 §3.4", send=b"PRI ", then=b"* HTTP/2.0\r\n\r\nSM\r\n\r\n", refuse=Fault.TARGET_FORM
    ),
]

EMPTY_LINES = [
    Case("one-empty-line-is-ignored", "RFC 9112 §2.2", send=b"\r\nGET /" + END, accept=[{"method": b"GET"}]),
    Case("four-empty-lines-are-ignored", "RFC 9112 §2.2", send=b"\r\n" * 4 + b"GET /" + END, accept=[{"path": b"/"}]),
    Case(
        "a-fifth-empty-line",
        "RFC 9112 §2.2",
        send=b"\r\n" * 4 + b"\r",
        then=b"\nGET /" + END,
        refuse=Fault.EMPTY_LINES,
    ),
    Case("empty-lines-alone", "RFC 9112 §2.2", send=b"\r\n\r\n"),
    Case("empty-line-unfinished", "RFC 9112 §2.2", send=b"\r\n\r"),
    Case("empty-line-of-bare-lf", "RFC 9112 §2.2", send=b"", then=b"\nGET /" + END, refuse=Fault.METHOD),
    Case("empty-line-of-bare-cr", "RFC 9112 §2.2", send=b"\r", then=b"GET /" + END, refuse=Fault.METHOD),
    Case("empty-line-of-two-crs", "RFC 9112 §2.2", send=b"\r", then=b"\r\nGET /" + END, refuse=Fault.METHOD),
]

ORIGIN_FORM = [
    Case(
        f"origin-form {target.decode()}",
        "RFC 9112 §3.2.1",
        send=b"GET " + target + END,
        accept=[{"target": target, "path": path, "query": query}],
    )
    for target, path, query in (
        (b"/", b"/", b""),
        (b"/a/b", b"/a/b", b""),
        (b"/a?b=c", b"/a", b"b=c"),
        (b"/a?", b"/a", b""),
        (b"/?", b"/", b""),
        (b"/a?b?c", b"/a", b"b?c"),
        (b"/?u=http://x/y", b"/", b"u=http://x/y"),
        (b"//evil/a", b"//evil/a", b""),
        (b"/a%2Fb%", b"/a%2Fb%", b""),
        (b"/a%3Fb?c", b"/a%3Fb", b"c"),
        (b"/../a/./b", b"/../a/./b", b""),
        (b"/*", b"/*", b""),
        (b"/!$&'()*+,;=:@-._~", b"/!$&'()*+,;=:@-._~", b""),
        (b'/"<>[\\]^`{|}?"<>[\\]^`{|}', b'/"<>[\\]^`{|}', b'"<>[\\]^`{|}'),
    )
]

ABSOLUTE_FORM = [
    *(
        Case(
            f"absolute-form {target.decode()}",
            "RFC 9112 §3.2.2",
            send=b"GET " + target + b" HTTP/1.1\r\nA: b\r\nHost: " + host + b"\r\nC: d\r\nE: f\r\n\r\n",
            accept=[{"target": target, "path": path, "query": query}],
        )
        for target, host, path, query in (
            (b"http://a/", b"a", b"/", b""),
            (b"http://a/b?c", b"a", b"/b", b"c"),
            (b"http://a", b"a", b"", b""),
            (b"http://a?b", b"a", b"", b"b"),
            (b"https://a:8443/b", b"a:8443", b"/b", b""),
            (b"HTTP://A/b", b"a", b"/b", b""),
            (b"http://[::1]:80/", b"[::1]:80", b"/", b""),
            (b"http://a/http://b/", b"a", b"/http://b/", b""),
        )
    ),
    Case(
        "absolute-form-in-1.0-without-host",
        "RFC 9112 §3.2.2",
        send=b"GET http://a/ HTTP/1.0\r\n\r\n",
        accept=[{"path": b"/"}],
    ),
    Case(
        "absolute-form-with-host-among-many-fields",
        "RFC 9112 §3.2.2",
        send=b"GET http://a/ HTTP/1.1\r\n" + b"A: b\r\n" * 20 + HOST + b"A: b\r\n" * 20 + b"\r\n",
        accept=[{"path": b"/"}],
    ),
    *(
        Case(
            f"absolute-form {target.decode()} with Host {host.decode()}",
            "RFC 9112 §3.2.2",
            send=b"GET " + scheme,
            then=target[len(scheme) :] + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n",
            refuse=Fault.TARGET_AUTHORITY,
        )
        for scheme, target, host in (
            (b"http://", b"http://b/", b"a"),
            (b"http://", b"http://a:80/", b"a"),
            (b"http://", b"http://a/", b""),
            (b"http://", b"http:///x", b"a"),
            (b"http://", b"http://?x", b"a"),
            (b"http://", b"http://:80/", b"a"),
            (b"http://", b"http://user@a/", b"a"),
            (b"http://", b"http://user:password@a/", b"a"),
            (b"http://", b"http://a:b/", b"a"),
            (b"http://", b"http://[::1/", b"a"),
            (b"https://", b"https://a,b/", b"a"),
        )
    ),
    *(
        Case(
            f"no-form {target.decode()}",
            "RFC 9112 §3.2",
            send=b"GET ",
            then=target + END,
            refuse=Fault.TARGET_FORM,
        )
        for target in (
            b"a",
            b"a/b",
            b"a:80",
            b"?a",
            b"*",
            b"*/",
            b"ftp://a/",
            b"http:/a",
            b"http:a",
            b"http://",
            b"https://",
            b"ttp://a/",
            b"\\a",
            b"%2Fa",
            b"ws://a/",
        )
    ),
]

OTHER_FORMS = [
    Case(
        "asterisk-form",
        "RFC 9112 §3.2.4",
        send=b"OPTIONS *" + END,
        accept=[{"method": b"OPTIONS", "target": b"*", "path": b"", "query": b""}],
    ),
    Case("asterisk-form-and-more", "RFC 9112 §3.2.4", send=b"OPTIONS ", then=b"*a" + END, refuse=Fault.TARGET_FORM),
    Case(
        "asterisk-form-with-options-in-lower-case",
        "RFC 9112 §3.2.4",
        send=b"options ",
        then=b"*" + END,
        refuse=Fault.TARGET_FORM,
    ),
    Case(
        "asterisk-form-with-another-method",
        "RFC 9112 §3.2.4",
        send=b"OPTIONX ",
        then=b"*" + END,
        refuse=Fault.TARGET_FORM,
    ),
    Case(
        "authority-form-without-connect",
        "RFC 9112 §3.2.3",
        send=b"OPTIONS ",
        then=b"a:80" + END,
        refuse=Fault.TARGET_FORM,
    ),
    *(
        Case(
            f"connect {target.decode()}",
            "RFC 9110 §9.3.6",
            send=b"CONNECT ",
            then=target + END,
            refuse=Fault.CONNECT_UNSUPPORTED,
        )
        for target in (b"a:80", b"127.0.0.1:443", b"[::1]:443")
    ),
    *(
        Case(
            f"connect {target.decode()}",
            "RFC 9112 §3.2.3",
            send=b"CONNECT ",
            then=target + END,
            refuse=Fault.TARGET_FORM,
        )
        for target in (b"/", b"a", b"a:", b":80", b"*", b"http://a/", b"u@a:80", b"a:80/b", b"[::1]", b"a:b")
    ),
]

TARGETS = [
    *(
        Case(
            f"target-holds-{byte:02x}",
            "RFC 9112 §3.2",
            send=b"GET /a",
            then=bytes([byte]) + b"b" + END,
            refuse=Fault.TARGET,
        )
        for byte in NO_TARGET
    ),
    Case("target-missing", "RFC 9112 §3", send=b"GET ", then=b" HTTP/1.1" + REST, refuse=Fault.TARGET),
    Case("two-spaces-before-target", "RFC 9112 §3", send=b"GET ", then=b" /" + END, refuse=Fault.TARGET),
    Case("tab-before-target", "RFC 9112 §3", send=b"GET", then=b"\t/" + END, refuse=Fault.METHOD),
    Case("tab-behind-target", "RFC 9112 §3", send=b"GET /", then=b"\tHTTP/1.1" + REST, refuse=Fault.TARGET),
    Case("fragment", "RFC 9112 §3.2", send=b"GET /a", then=b"#b" + END, refuse=Fault.TARGET),
    Case("utf-8", "RFC 3986 §2", send=b"GET /", then="é".encode() + END, refuse=Fault.TARGET),
    Case("target-unfinished", "RFC 9112 §3", send=b"GET /a", waits=True),
]

VERSIONS = [
    Case(
        "version-1.1",
        "RFC 9112 §2.3",
        send=b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
        accept=[{"minor": 1, "persists": True}],
    ),
    Case(
        "version-1.0",
        "RFC 9112 §2.3",
        send=b"GET / HTTP/1.0\r\n\r\n",
        accept=[{"minor": 0, "persists": False, "fields": []}],
    ),
    *(
        Case(
            f"version-{digits.decode()}",
            "RFC 9110 §15.6.6",
            send=b"GET / ",
            then=b"HTTP/" + digits + REST,
            refuse=Fault.VERSION_UNSUPPORTED,
        )
        for digits in (b"0.9", b"1.2", b"1.9", b"2.0", b"3.0", b"9.9", b"0.0", b"0.1")
    ),
    *(
        Case(f"version {good + bad!r}", "RFC 9112 §2.3", send=b"GET / " + good, then=bad + REST, refuse=Fault.VERSION)
        for good, bad in (
            (b"", b""),
            (b"", b"http/1.1"),
            (b"", b"\x00"),
            (b"", b" HTTP/1.1"),
            (b"H", b"ttp/1.1"),
            (b"HTTP", b""),
            (b"HTTP", b" /1.1"),
            (b"HTTP/", b""),
            (b"HTTP/", b"x.1"),
            (b"HTTP/", b" 1.1"),
            (b"HTTP/1", b""),
            (b"HTTP/1", b"1.1"),
            (b"HTTP/1", b",1"),
            (b"HTTP/1.", b""),
            (b"HTTP/1.", b"x"),
            (b"HTTP/1.", b"\xb2"),
            (b"HTTP/1.1", b"0"),
            (b"HTTP/1.1", b" "),
            (b"HTTP/1.1", b"\t"),
            (b"HTTP/1.1", b" x"),
        )
    ),
    Case("version-missing", "RFC 9112 §3", send=b"GET /", then=REST, refuse=Fault.VERSION),
    Case("version-in-field-place", "RFC 9112 §3", send=b"GET /a ", then=b"b" + END, refuse=Fault.VERSION),
    Case(
        "line-ended-by-bare-lf",
        "RFC 9112 §2.2",
        send=b"GET / HTTP/1.1",
        then=b"\n" + HOST + b"\r\n",
        refuse=Fault.REQUEST_LINE_END,
    ),
    Case(
        "line-ended-by-bare-cr",
        "RFC 9112 §2.2",
        send=b"GET / HTTP/1.1\r",
        then=HOST + b"\r\n",
        refuse=Fault.REQUEST_LINE_END,
    ),
    Case("line-ended-by-cr-cr-lf", "RFC 9112 §2.2", send=b"GET / HTTP/1.1\r", then=REST, refuse=Fault.REQUEST_LINE_END),
    Case("line-without-lf-yet", "RFC 9112 §2.2", send=b"GET / HTTP/1.1\r", waits=True),
]

LIMITS = [
    *(
        Case(
            f"line-at-limit-{limit}",
            "RFC 9112 §3",
            send=line(limit) + REST,
            accept=[{"method": b"GET"}],
            limits={"line": limit},
        )
        for limit in (14, 15, 40, 4094)
    ),
    *(
        Case(
            f"line-beyond-limit-{limit}",
            "RFC 9112 §3",
            send=line(limit + 1)[:limit],
            then=line(limit + 1)[limit:] + REST,
            refuse=Fault.REQUEST_LINE_LIMIT,
            limits={"line": limit},
        )
        for limit in (13, 14, 40, 4094)
    ),
    Case("line-at-default-limit", "RFC 9112 §3", send=line(4094) + REST, accept=[{"minor": 1}]),
    Case(
        "line-beyond-default-limit",
        "RFC 9112 §3",
        send=line(4095)[:4094],
        then=b"1" + REST,
        refuse=Fault.REQUEST_LINE_LIMIT,
    ),
    Case("line-without-limit", "RFC 9112 §3", send=line(6000) + REST, accept=[{"minor": 1}], limits={"line": 0}),
    Case(
        "empty-lines-do-not-count",
        "RFC 9112 §2.2",
        send=b"\r\n\r\n" + line(14) + REST,
        accept=[{"path": b"/"}],
        limits={"line": 14},
    ),
    *(
        Case(
            f"limit-reached-{where}",
            "RFC 9112 §3",
            send=good,
            then=bad + REST,
            refuse=Fault.REQUEST_LINE_LIMIT,
            limits={"line": len(good)},
        )
        for where, good, bad in (
            ("in-the-method", b"GE", b"T / HTTP/1.1"),
            ("before-the-first-space", b"GET", b" / HTTP/1.1"),
            ("before-the-target", b"GET ", b"/ HTTP/1.1"),
            ("in-the-target", b"GET /abc", b"def HTTP/1.1"),
            ("before-the-second-space", b"GET /", b" HTTP/1.1"),
            ("in-the-version", b"GET / HTTP", b"/1.1"),
        )
    ),
    Case("an-endless-method", "RFC 9112 §3", send=b"A" * 4094, then=b"A" * 100, refuse=Fault.REQUEST_LINE_LIMIT),
    Case(
        "an-endless-target",
        "RFC 9112 §3",
        send=b"GET ".ljust(4094, b"/"),
        then=b"/" * 100,
        refuse=Fault.REQUEST_LINE_LIMIT,
    ),
    Case(
        "line-of-16-mib",
        "RFC 9112 §3",
        send=line(1 << 24),
        then=b"",
        waits=True,
        limits={"line": 0},
        stride=1 << 22,
    ),
    Case(
        "line-of-more-than-16-mib",
        "RFC 9112 §3",
        send=b"GET ".ljust(1 << 24, b"/"),
        then=b"/",
        refuse=Fault.REQUEST_LINE_LIMIT,
        limits={"line": 0},
        stride=1 << 22,
    ),
]

CASES = [*METHODS, *EMPTY_LINES, *ORIGIN_FORM, *ABSOLUTE_FORM, *OTHER_FORMS, *TARGETS, *VERSIONS, *LIMITS]
