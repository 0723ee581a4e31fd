"""Several requests on one connection, and which connections persist: RFC 9112 §9.3."""

from conformance.case import HOST, Case

from pyserver._http import Fault

GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: b\r\n\r\n"
A_GET = {"method": b"GET", "path": b"/", "content": b"", "fields": [(b"Host", b"a")]}
A_POST = {"method": b"POST", "path": b"/p", "content_length": 5, "is_chunked": False, "content": b"hello"}
A_CHUNKED = {"method": b"POST", "path": b"/c", "content_length": None, "is_chunked": True, "content": b"hello"}

PIPELINES = [
    Case("two-gets", "RFC 9112 §9.3.2", send=GET * 2, accept=[A_GET] * 2),
    Case("many-gets", "RFC 9112 §9.3.2", send=GET * 20, accept=[A_GET] * 20),
    Case("content-then-get", "RFC 9112 §9.3.2", send=POST + GET, accept=[A_POST, A_GET]),
    Case("chunked-then-get", "RFC 9112 §9.3.2", send=CHUNKED + GET, accept=[A_CHUNKED, A_GET]),
    Case(
        "chunked-length-chunked",
        "RFC 9112 §9.3.2",
        send=CHUNKED + POST + CHUNKED,
        accept=[A_CHUNKED, A_POST, A_CHUNKED],
    ),
    Case(
        "content-that-looks-like-a-request",
        "RFC 9112 §6.3",
        send=b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(GET) + GET + GET,
        accept=[{"content": GET}, A_GET],
    ),
    Case("crlf-behind-content-is-ignored", "RFC 9112 §2.2", send=POST + b"\r\n" + GET, accept=[A_POST, A_GET]),
    Case("second-unfinished", "RFC 9112 §9.3.2", send=POST + GET[:-1], accept=[A_POST], waits=True),
    Case("nothing", "RFC 9112 §9.3.2", send=b""),
    Case(
        "second-refused",
        "RFC 9112 §9.3.2",
        first=POST,
        send=b"GET / HTTP/1.1\r\n",
        then=b" " + HOST + b"\r\n",
        accept=[A_POST],
        refuse=Fault.FIELD_FOLDED,
    ),
    Case(
        "second-refused-in-its-chunks",
        "RFC 9112 §9.3.2",
        first=CHUNKED + GET,
        send=CHUNKED[:-7],
        then=b"\x00: b\r\n\r\n",
        refuse=Fault.TRAILER,
        accept=[A_CHUNKED, A_GET, {"content": b"hello", "is_complete": False}],
    ),
    Case(
        "nothing-is-parsed-behind-a-refusal",
        "RFC 9112 §2.2",
        first=GET,
        send=b"GET / HTTP/1.1",
        then=b"\n" + HOST + b"\r\n" + GET,
        accept=[A_GET],
        refuse=Fault.REQUEST_LINE_END,
    ),
    Case(
        "limits-count-anew",
        "RFC 6585 §5",
        send=GET * 3,
        accept=[A_GET] * 3,
        limits={"line": 14, "fields": 1, "field": 7},
    ),
    Case(
        "content-limit-counts-anew",
        "RFC 9110 §15.5.14",
        send=CHUNKED + POST + CHUNKED,
        accept=[A_CHUNKED, A_POST, A_CHUNKED],
        limits={"content": 5, "fields": 2},
    ),
    Case("empty-lines-count-anew", "RFC 9112 §2.2", send=(b"\r\n" * 4 + GET) * 3, accept=[A_GET] * 3),
    Case(
        "flags-do-not-stick",
        "RFC 9112 §9.3",
        send=b"GET /?%20 HTTP/1.1\r\n"
        + HOST
        + b"Connection: close\r\nExpect: 100-continue\r\nContent-Type: a/b\r\n\r\n"
        + GET,
        accept=[
            {"persists": False, "expects_continue": True, "query": b"%20"},
            {**A_GET, "persists": True, "expects_continue": False, "query": b""},
        ],
    ),
]

PERSISTENCE = [
    Case(
        f"{version.decode()} {values!r}",
        "RFC 9112 §9.3",
        send=b"GET / "
        + version
        + b"\r\n"
        + HOST
        + b"".join(b"Connection: %b\r\n" % value for value in values)
        + b"\r\n",
        accept=[{"persists": persists}],
    )
    for version, values, persists in (
        (b"HTTP/1.1", (), True),
        (b"HTTP/1.1", (b"",), True),
        (b"HTTP/1.1", (b"close",), False),
        (b"HTTP/1.1", (b"Close",), False),
        (b"HTTP/1.1", (b"CLOSE  ",), False),
        (b"HTTP/1.1", (b"keep-alive",), True),
        (b"HTTP/1.1", (b"keep-alive, close",), False),
        (b"HTTP/1.1", (b"close, keep-alive",), False),
        (b"HTTP/1.1", (b" , ,\tclose\t,",), False),
        (b"HTTP/1.1", (b"keep-alive", b"close"), False),
        (b"HTTP/1.1", (b"close", b"upgrade"), False),
        (b"HTTP/1.1", (b"closed",), True),
        (b"HTTP/1.1", (b"xclose",), True),
        (b"HTTP/1.1", (b"clo se",), True),
        (b"HTTP/1.1", (b"close;a",), True),
        (b"HTTP/1.1", (b'"close"',), True),
        (b"HTTP/1.1", (b"upgrade, te",), True),
        (b"HTTP/1.0", (), False),
        (b"HTTP/1.0", (b"close",), False),
        (b"HTTP/1.0", (b"keep-alive",), True),
        (b"HTTP/1.0", (b"Keep-Alive",), True),
        (b"HTTP/1.0", (b"te, Keep-Alive ,",), True),
        (b"HTTP/1.0", (b"keep-alive, close",), False),
        (b"HTTP/1.0", (b"close", b"keep-alive"), False),
        (b"HTTP/1.0", (b"keep-alives",), False),
        (b"HTTP/1.0", (b"keepalive",), False),
    )
]

CASES = [*PIPELINES, *PERSISTENCE]
