"""The chunked transfer coding and its trailer section: RFC 9112 §7.1."""

from typing import Any

from conformance.case import HOST, Case

from pyserver._http import Fault

HEAD = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = b"5\r\nhello\r\n"
LAST = b"0\r\n"


def good(name: str, source: str, coded: bytes, content: bytes, **more: Any) -> Case:
    return Case(name, source, send=HEAD + coded, accept=[{"is_chunked": True, "content": content}], **more)


def bad(name: str, source: str, before: bytes, then: bytes, fault: Fault, content: bytes = b"", **more: Any) -> Case:
    """A row whose head and first `content` are accepted and whose coding is refused behind `before`."""
    return Case(
        name,
        source,
        send=HEAD + before,
        then=then,
        refuse=fault,
        accept=[{"content": content, "is_complete": False}],
        **more,
    )


SIZES = [
    good("one-chunk", "RFC 9112 §7.1", HELLO + LAST + b"\r\n", b"hello"),
    good("two-chunks", "RFC 9112 §7.1", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    good("no-content", "RFC 9112 §7.1", LAST + b"\r\n", b""),
    good("lower-case-size", "RFC 9112 §7.1", b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    good("upper-case-size", "RFC 9112 §7.1", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    good("size-of-two-digits", "RFC 9112 §7.1", b"1f\r\n" + b"x" * 31 + b"\r\n0\r\n\r\n", b"x" * 31),
    good("leading-zeros", "RFC 9112 §7.1", b"0005\r\nhello\r\n0\r\n\r\n", b"hello"),
    good("size-of-15-digits", "RFC 9112 §7.1", b"000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
    good("last-chunk-of-several-zeros", "RFC 9112 §7.1", HELLO + b"000\r\n\r\n", b"hello"),
    good("data-that-looks-like-framing", "RFC 9112 §7.1", b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    good("data-of-all-bytes", "RFC 9112 §7.1", b"100\r\n" + bytes(range(256)) + b"\r\n0\r\n\r\n", bytes(range(256))),
    good("many-chunks", "RFC 9112 §7.1", b"1\r\nx\r\n" * 100 + b"0\r\n\r\n", b"x" * 100),
    *(
        bad(f"size {before + then!r}", "RFC 9112 §7.1", before, then + b"\r\nhello\r\n0\r\n\r\n", Fault.CHUNK_SIZE)
        for before, then in (
            (b"", b""),
            (b"", b"+5"),
            (b"", b"-5"),
            (b"0", b"x5"),
            (b"0", b"_5"),
            (b"5", b"g"),
            (b"", b"xyz"),
            (b"", b" 5"),
            (b"", b"\t5"),
            (b"", b"\x0b5"),
            (b"5", b" 5"),
            (b"5", b",5"),
            (b"5", b".0"),
            (b"5", b"h"),
            (b"5", b"\x00"),
            (b"", b'"5"'),
            (b"5", b"\xa0"),
            (b"5", b" "),
            (b"5", b"\t"),
            (b"5\r", b""),
            (b"", "\uff15".encode()),
            (b"", b"%35"),
            (b"", b"\r\n"),
            (b"5", b" ;a"),
            (b"5", b" a=b"),
        )
    ),
    bad("second-size-with-sign", "RFC 9112 §7.1", HELLO, b"-1\r\nx\r\n0\r\n\r\n", Fault.CHUNK_SIZE, b"hello"),
    bad("second-size-empty", "RFC 9112 §7.1", HELLO, b"\r\n0\r\n\r\n", Fault.CHUNK_SIZE, b"hello"),
    *(
        bad(f"size {size!r}", "RFC 9112 §7.1", size[:15], size[15:] + b"\r\nhello\r\n0\r\n\r\n", Fault.CHUNK_SIZE)
        for size in (b"0" * 15 + b"5", b"1" + b"0" * 16, b"1" + b"0" * 15 + b"5", b"f" * 16, b"F" * 40)
    ),
    Case(
        "size-of-15-digits-is-waited-for",
        "RFC 9112 §7.1",
        send=HEAD + b"0fffffffffffff0\r\nhello",
        accept=[{"content": b"hello", "is_complete": False}],
        waits=True,
    ),
]

LINE_ENDS = [
    bad("size-ended-by-bare-lf", "RFC 9112 §2.2", b"5", b"\nhello\r\n0\r\n\r\n", Fault.CHUNK_SIZE),
    bad("size-ended-by-bare-cr", "RFC 9112 §2.2", b"5\r", b"hello\r\n0\r\n\r\n", Fault.CHUNK_SIZE),
    bad("data-ended-by-bare-lf", "RFC 9112 §7.1", b"5\r\nhello", b"\n0\r\n\r\n", Fault.CHUNK_CRLF, b"hello"),
    bad("data-ended-by-bare-cr", "RFC 9112 §7.1", b"5\r\nhello\r", b"0\r\n\r\n", Fault.CHUNK_CRLF, b"hello"),
    bad("chunk-data-must-end-in-crlf", "RFC 9112 §7.1", b"5\r\nhello", b"XX0\r\n\r\n", Fault.CHUNK_CRLF, b"hello"),
    bad("data-longer-than-size", "RFC 9112 §7.1", b"4\r\nhell", b"o\r\n0\r\n\r\n", Fault.CHUNK_CRLF, b"hell"),
    bad("data-shorter-than-size", "RFC 9112 §7.1", b"6\r\nhello\r", b"\n0\r\n\r\n", Fault.CHUNK_CRLF, b"hello\r"),
    bad("last-chunk-ended-by-bare-lf", "RFC 9112 §2.2", HELLO + b"0", b"\n\r\n", Fault.CHUNK_SIZE, b"hello"),
    bad("end-by-bare-lf", "RFC 9112 §2.2", HELLO + LAST, b"\n", Fault.TRAILER, b"hello"),
    bad("end-by-bare-cr", "RFC 9112 §2.2", HELLO + LAST + b"\r", b"GET / HTTP/1.1\r\n", Fault.TRAILER, b"hello"),
    bad("end-by-cr-cr-lf", "RFC 9112 §2.2", HELLO + LAST + b"\r", b"\r\n", Fault.TRAILER, b"hello"),
    *(
        Case(
            f"unfinished {coded!r}",
            "RFC 9112 §8",
            send=HEAD + coded,
            accept=[{"content": content, "is_complete": False}],
            waits=True,
        )
        for coded, content in (
            (b"", b""),
            (b"5", b""),
            (b"5\r", b""),
            (b"5;a", b""),
            (b"5\r\n", b""),
            (b"5\r\nhel", b"hel"),
            (b"5\r\nhello", b"hello"),
            (b"5\r\nhello\r", b"hello"),
            (b"5\r\nhello\r\n", b"hello"),
            (b"5\r\nhello\r\n0", b"hello"),
            (b"0\r\n", b""),
            (b"0\r\nX", b""),
            (b"0\r\nX: b\r\n", b""),
            (b"0\r\nX: b\r\n\r", b""),
        )
    ),
]

EXTENSIONS = [
    *(
        good(f"extension {text!r}", "RFC 9112 §7.1.1", b"5" + text + b"\r\nhello\r\n0" + text + b"\r\n\r\n", b"hello")
        for text in (
            b";a",
            b";a=b",
            b';a="b c"',
            b';a=""',
            b";a;b",
            b";a=b;c=d",
            b';a="b";c',
            b';a="b;c"',
            b'; a="b\\"c"',
            b'; a="b\\\\"',
            b";a = b",
            b"; a = b ; c",
            b";\ta\t=\tb",
            b';a="b\tc"',
            b';a="\x80\xff"',
            b';a="\\\t"',
            b";a=b ;c",
            b';a="b" ;c',
            b";!#$%&'*+-.^_`|~=1",
        )
    ),
    *(
        bad(
            f"extension {before + then!r}",
            "RFC 9112 §7.1.1",
            b"5" + before,
            then + b"\r\nhello\r\n0\r\n\r\n",
            Fault.CHUNK_EXTENSION,
        )
        for before, then in (
            (b";", b""),
            (b";a=", b""),
            (b";a;", b""),
            (b";", b";a"),
            (b";", b"=b"),
            (b";a ", b"b"),
            (b";a", b"@"),
            (b";a=b", b"@c"),
            (b";a=b", b"=c"),
            (b";a=b ", b"c"),
            (b';a="b"', b"c"),
            (b';a="b" ', b"c"),
            (b';a="b"', b'"c"'),
            (b";", b'"a"'),
            (b";a", b'"b"'),
            (b";a ", b'"b"'),
            (b';a="b', b""),
            (b';a="b\\', b""),
            (b';a="b', b"\x00"),
            (b';a="b', b"\x7f"),
            (b';a="b\\', b"\x00"),
            (b";a", b"\x00"),
            (b";a", b"\n"),
            (b";", b"\n"),
            (b';a="b', b"\n"),
            (b";a=", b"\x80"),
            (b";a=b", b'"'),
            (b";a ", b""),
            (b";a=b ", b""),
            (b';a="b" ', b""),
            (b"; ", b""),
        )
    ),
    bad("extension-and-bare-cr", "RFC 9112 §2.2", b"5;a\r", b"b\r\nhello\r\n0\r\n\r\n", Fault.CHUNK_SIZE),
    # What counts is behind the semicolon, the CR included.
    good("extensions-at-limit", "RFC 9112 §7.1.1", b"5;" + b"a" * 4095 + b"\r\nhello\r\n0\r\n\r\n", b"hello"),
    bad(
        "extensions-beyond-limit",
        "RFC 9112 §7.1.1",
        b"5;" + b"a" * 4096,
        b"\r\nhello\r\n0\r\n\r\n",
        Fault.CHUNK_EXTENSION_LIMIT,
    ),
    bad(
        "extensions-beyond-limit-together",
        "RFC 9112 §7.1.1",
        (b"1;" + b"a" * 1023 + b"\r\nx\r\n") * 4 + b"1;",
        b"a\r\nx\r\n0\r\n\r\n",
        Fault.CHUNK_EXTENSION_LIMIT,
        b"xxxx",
    ),
]

TRAILERS = [
    *(
        good(f"trailer {text!r}", "RFC 9112 §7.1.2", HELLO + LAST + text + b"\r\n", b"hello")
        for text in (
            b"X: b\r\n",
            b"X:\r\n",
            b"X:b\r\nY: \t c \r\n",
            b"X: \x80\xff\r\n",
            b"X: b\tc\r\n",
            b"Host: b\r\nHost: c\r\n",
            b"Content-Length: 9\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Length: b\r\n",
            b"Transfer-Encoding: gzip\r\n",
            b"X_Y: b\r\n",
        )
    ),
    *(
        bad(
            f"trailer {before + then!r}",
            "RFC 9112 §7.1.2",
            HELLO + LAST + before,
            then + b"\r\n\r\n",
            Fault.TRAILER,
            b"hello",
        )
        for before, then in (
            (b"", b":"),
            (b"", b": b"),
            (b"X", b""),
            (b"X", b" : b"),
            (b"X", b" Y: b"),
            (b"X", b"\x00: b"),
            (b"X: b", b"\x00"),
            (b"X: b", b"\x7f"),
            (b"X: b", b"\n"),
            (b"X: b\r", b"Y: c"),
            (b"X: b\r", b""),
            (b"X: b\r\n", b" c"),
            (b"X: b\r\n", b"\tc"),
            (b"", b" X: b"),
            (b"", b"@"),
            (b"GET", b" / HTTP/1.1"),
            (b"", b"\xe9: b"),
            (b"X: b\r\n", b"\n"),
        )
    ),
    bad("crlf-missing-after-last-chunk", "RFC 9112 §7.1", HELLO + LAST + b"XX", b"\r\n", Fault.TRAILER, b"hello"),
    good("trailers-at-limit", "RFC 6585 §5", LAST + b"X: b\r\n" * 3 + b"\r\n", b"", limits={"fields": 3}),
    bad(
        "trailers-beyond-limit",
        "RFC 6585 §5",
        LAST + b"X: b\r\n" * 3,
        b"X: b\r\n\r\n",
        Fault.TRAILER_LIMIT,
        limits={"fields": 3},
    ),
    good("trailers-without-limit", "RFC 6585 §5", LAST + b"X: b\r\n" * 200 + b"\r\n", b"", limits={"fields": 0}),
    good("trailer-at-limit", "RFC 6585 §5", LAST + b"X:".ljust(30, b"b") + b"\r\n\r\n", b"", limits={"field": 30}),
    bad(
        "trailer-beyond-limit",
        "RFC 6585 §5",
        LAST + b"X:".ljust(30, b"b"),
        b"b\r\n\r\n",
        Fault.TRAILER_LIMIT,
        limits={"field": 30},
    ),
    bad(
        "trailer-name-beyond-limit",
        "RFC 6585 §5",
        LAST + b"X" * 30,
        b"X: b\r\n\r\n",
        Fault.TRAILER_LIMIT,
        limits={"field": 30},
    ),
    good(
        "trailer-without-limit", "RFC 6585 §5", LAST + b"X:".ljust(9000, b"b") + b"\r\n\r\n", b"", limits={"field": 0}
    ),
]

LIMITS = [
    good("chunks-at-limit", "RFC 9110 §15.5.14", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello", limits={"content": 5}),
    bad(
        "chunk-beyond-limit",
        "RFC 9110 §15.5.14",
        b"5\r",
        b"\nhello\r\n0\r\n\r\n",
        Fault.CONTENT_LIMIT,
        limits={"content": 4},
    ),
    bad(
        "chunks-beyond-limit-together",
        "RFC 9110 §15.5.14",
        b"2\r\nhe\r\n3\r",
        b"\nllo\r\n0\r\n\r\n",
        Fault.CONTENT_LIMIT,
        b"he",
        limits={"content": 4},
    ),
    good("chunks-without-limit", "RFC 9110 §15.5.14", HELLO + LAST + b"\r\n", b"hello", limits={"content": 0}),
]

CASES = [*SIZES, *LINE_ENDS, *EXTENSIONS, *TRAILERS, *LIMITS]
