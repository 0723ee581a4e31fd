"""Field lines: RFC 9112 §5, RFC 9110 §5; Host, RFC 9112 §3.2; Content-Type, Expect and limits."""

from conformance.case import HOST, Case

from pyserver._http import Fault

GET = b"GET / HTTP/1.1\r\n"
START = GET + HOST
NO_TOKEN = b'\x00\x01\x0b\x1f"(),/;<=>?@[\\]{}\x7f\x80\xa0\xe9\xff'
NO_TEXT = b"\x00\x01\x08\x0b\x0c\x0e\x1f\x7f"


def value(text: bytes) -> list[dict[str, object]]:
    """The fields of a request whose field X has this value."""
    return [{"fields": [(b"Host", b"a"), (b"X", text)]}]


def host(text: bytes) -> bytes:
    return GET + b"Host: " + text + b"\r\n\r\n"


NAMES = [
    Case(
        "name-of-all-token-characters",
        "RFC 9110 §5.1",
        send=START + b"!#$%&'*+-.^_`|~09AZaz: b\r\n\r\n",
        accept=[{"fields": [(b"Host", b"a"), (b"!#$%&'*+-.^_`|~09AZaz", b"b")]}],
    ),
    Case(
        "names-keep-case-and-order",
        "RFC 9110 §5.3",
        send=START + b"x: 1\r\nX: 2\r\nx: 3\r\n\r\n",
        accept=[{"fields": [(b"Host", b"a"), (b"x", b"1"), (b"X", b"2"), (b"x", b"3")]}],
    ),
    *(
        Case(
            f"name-holds-{byte:02x}",
            "RFC 9110 §5.1",
            send=START + b"X",
            then=bytes([byte]) + b"Y: b\r\n\r\n",
            refuse=Fault.FIELD_NAME,
        )
        for byte in NO_TOKEN
    ),
    Case("name-missing", "RFC 9110 §5.1", send=START, then=b": b\r\n\r\n", refuse=Fault.FIELD_NAME),
    Case("colon-missing", "RFC 9112 §5", send=START + b"X", then=b"\r\n\r\n", refuse=Fault.FIELD_NAME),
    Case("space-before-colon", "RFC 9112 §5.1", send=START + b"X", then=b" : b\r\n\r\n", refuse=Fault.FIELD_NAME),
    Case("tab-before-colon", "RFC 9112 §5.1", send=START + b"X", then=b"\t: b\r\n\r\n", refuse=Fault.FIELD_NAME),
    Case("space-in-name", "RFC 9110 §5.1", send=START + b"X", then=b" Y: b\r\n\r\n", refuse=Fault.FIELD_NAME),
    Case("lf-in-name", "RFC 9112 §2.2", send=START + b"X", then=b"\n: b\r\n\r\n", refuse=Fault.FIELD_NAME),
    Case(
        "request-line-as-field",
        "RFC 9112 §5",
        send=START + b"GET",
        then=b" / HTTP/1.1\r\n\r\n",
        refuse=Fault.FIELD_NAME,
    ),
    Case("name-unfinished", "RFC 9112 §5", send=START + b"X", waits=True),
]

VALUES = [
    *(
        Case(f"value {sent!r}", "RFC 9110 §5.5", send=START + b"X:" + sent + b"\r\n\r\n", accept=value(text))
        for sent, text in (
            (b"", b""),
            (b" ", b""),
            (b" \t \t", b""),
            (b"b", b"b"),
            (b" b", b"b"),
            (b"\tb\t", b"b"),
            (b"  b  c \t ", b"b  c"),
            (b" b\tc", b"b\tc"),
            (b" \t b\t\tcdefghijklmnop\tq\t \t", b"b\t\tcdefghijklmnop\tq"),
            (b" \x80\xff\xe9", b"\x80\xff\xe9"),
            (b" :b: c:", b":b: c:"),
            (b' "b, c", d', b'"b, c", d'),
            (
                b" " + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)),
                bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100)),
            ),
        )
    ),
    *(
        # Eight places: values are looked through eight bytes at a time.
        Case(
            f"value-holds-{byte:02x}-behind-{place}-bytes",
            "RFC 9110 §5.5",
            send=START + b"X: " + b"~" * place,
            then=bytes([byte]) + b"bcdefghijklmnop\r\n\r\n",
            refuse=Fault.FIELD_VALUE,
        )
        for byte in NO_TEXT
        for place in range(8)
    ),
    Case(
        "value-of-one-control-character",
        "RFC 9110 §5.5",
        send=START + b"X: ",
        then=b"\x00\r\n\r\n",
        refuse=Fault.FIELD_VALUE,
    ),
    Case("value-unfinished", "RFC 9112 §5", send=START + b"X: b", waits=True),
    Case("value-not-begun", "RFC 9112 §5", send=START + b"X: ", waits=True),
]

LINE_ENDS = [
    Case(
        "line-ended-by-bare-lf",
        "RFC 9112 §2.2",
        send=START + b"X: b",
        then=b"\nY: c\r\n\r\n",
        refuse=Fault.FIELD_LINE_END,
    ),
    Case(
        "empty-value-ended-by-bare-lf",
        "RFC 9112 §2.2",
        send=START + b"X:",
        then=b"\nY: c\r\n\r\n",
        refuse=Fault.FIELD_LINE_END,
    ),
    Case(
        "line-ended-by-bare-cr",
        "RFC 9112 §2.2",
        send=START + b"X: b\r",
        then=b"Y: c\r\n\r\n",
        refuse=Fault.FIELD_LINE_END,
    ),
    Case(
        "line-ended-by-cr-cr-lf", "RFC 9112 §2.2", send=START + b"X: b\r", then=b"\r\n\r\n", refuse=Fault.FIELD_LINE_END
    ),
    Case("head-ended-by-bare-lf", "RFC 9112 §2.2", send=START, then=b"\n", refuse=Fault.FIELD_NAME),
    Case("head-ended-by-bare-cr", "RFC 9112 §2.2", send=START + b"\r", then=b"X", refuse=Fault.FIELD_LINE_END),
    Case("head-ended-by-cr-cr-lf", "RFC 9112 §2.2", send=START + b"\r", then=b"\r\n", refuse=Fault.FIELD_LINE_END),
    Case("head-without-its-end", "RFC 9112 §2.1", send=START + b"X: b\r\n", waits=True),
    Case("head-without-its-last-byte", "RFC 9112 §2.1", send=START + b"\r", waits=True),
    Case("space-before-first-field", "RFC 9112 §2.2", send=GET, then=b" " + HOST + b"\r\n", refuse=Fault.FIELD_FOLDED),
    Case("folded-by-space", "RFC 9112 §5.2", send=START + b"X: b\r\n", then=b" c\r\n\r\n", refuse=Fault.FIELD_FOLDED),
    Case("folded-by-tab", "RFC 9112 §5.2", send=START + b"X: b\r\n", then=b"\tc\r\n\r\n", refuse=Fault.FIELD_FOLDED),
    Case("folded-line-of-white-space", "RFC 9112 §5.2", send=START, then=b" \r\n\r\n", refuse=Fault.FIELD_FOLDED),
]

# What a server may accept that puts spaces in the place of each line end "prior to interpreting the field value".
UNFOLD = {"unfold": True}
UNFOLDED = [
    *(
        Case(
            f"unfolded-{name}",
            "RFC 9112 §5.2",
            send=START + b"X:" + lines + b"\r\n\r\n",
            accept=value(text),
            limits=UNFOLD,
        )
        for name, lines, text in (
            ("by-space", b" b\r\n c", b"b   c"),
            ("by-tab", b" b\r\n\tc", b"b  \tc"),
            ("twice", b" b\r\n c\r\n d", b"b   c   d"),
            ("before-the-value", b"\r\n  b", b"b"),
            ("behind-the-value", b" b\r\n  ", b"b"),
            ("to-nothing", b"\r\n \r\n\t", b""),
            ("not-at-all", b" b", b"b"),
        )
    ),
    Case(
        "unfolded-line-before-another",
        "RFC 9112 §5.2",
        send=START + b"X: b\r\n c\r\nY: d\r\n\r\n",
        accept=[{"fields": [(b"Host", b"a"), (b"X", b"b   c"), (b"Y", b"d")]}],
        limits=UNFOLD,
    ),
    Case(
        "space-before-first-field-is-not-folded",
        "RFC 9112 §2.2",
        send=GET,
        then=b" " + HOST + b"\r\n",
        refuse=Fault.FIELD_FOLDED,
        limits=UNFOLD,
    ),
    *(
        Case(
            f"{field.decode()}-is-never-unfolded",
            "RFC 9112 §11.2",
            send=before + field + b": b\r\n" if text is None else before + field + b": " + text + b"\r\n",
            then=b" c\r\n\r\n",
            refuse=Fault.FIELD_FOLDED,
            limits=UNFOLD,
        )
        for before, field, text in (
            (GET, b"Host", None),
            (START, b"Connection", None),
            (START, b"Content-Length", b"1"),
            (START, b"Transfer-Encoding", b"chunked"),
            (START, b"TRANSFER-ENCODING", b"chunked"),
        )
    ),
    Case(
        "unfolded-line-up-to-its-limit",
        "RFC 9112 §5.2",
        send=START + b"X: b\r\n c\r\n\r\n",
        accept=value(b"b   c"),
        limits={**UNFOLD, "field": 8},
    ),
    Case(
        "unfolded-line-beyond-its-limit",
        "RFC 6585 §5",
        send=START + b"X: b\r\n c",
        then=b"d\r\n\r\n",
        refuse=Fault.FIELD_LIMIT,
        limits={**UNFOLD, "field": 8},
    ),
    Case(
        "unfolded-line-with-a-control-character",
        "RFC 9110 §5.5",
        send=START + b"X: b\r\n c",
        then=b"\x00\r\n\r\n",
        refuse=Fault.FIELD_VALUE,
        limits=UNFOLD,
    ),
    Case("head-that-may-go-on", "RFC 9112 §5.2", send=START + b"X: b\r\n", waits=True, limits=UNFOLD),
]

HOSTS = [
    *(
        Case(f"host {text!r}", "RFC 9110 §7.2", send=host(text), accept=[{"fields": [(b"Host", text)]}])
        for text in (
            b"",
            b"a",
            b"a:80",
            b"a:",
            b"a:0",
            b"a:65535",
            b"a:00080",
            b"a.example",
            b"A-1.example:8000",
            b"my_host",
            b"127.0.0.1:80",
            b"xn--bcher-kva.example",
            b"%C3%A9.example",
            b"[::1]",
            b"[::1]:8000",
            b"[::]",
            b"[::]:80",
            b"[2001:db8::ff00:42:8329]",
            b"[1:2:3:4:5:6:7:8]:",
            b"[::ffff:192.0.2.1]:80",
            b"[2001:DB8:AAAA:BBBB:CCCC:DDDD:192.168.111.222]",
            b"!$&'()*+;=~",
        )
    ),
    *(
        Case(
            f"host {text!r}",
            "RFC 9110 §7.2",
            send=GET + b"Host: ",
            then=text + b"\r\n\r\n",
            refuse=Fault.HOST,
        )
        for text in (
            b"a b",
            b"a\tb",
            b"a,b",
            b"a, b",
            b"u@a",
            b"a/",
            b"a/b",
            b"a?b",
            b"a#b",
            b"http://a",
            b"a:80:81",
            b"a:http",
            b"a:-1",
            b"a: 80",
            b":80",
            b":",
            b"a:65536",
            b"a:4294967376",
            b"a%",
            b"a%2",
            b"a%zz",
            b"\xe9",
            b"a\x80",
            b'"a"',
            b"<a>",
            b"a\\b",
            b"a|b",
            b"a^b",
            b"`a`",
            b"{a}",
            b"::1",
            b"[]",
            b"[:]",
            b"[::1",
            b"[::1]a",
            b"[::1]80",
            b"[::1]:a",
            b"::1]",
            b"[a]",
            b"[a.example]",
            b"[127.0.0.1]",
            b"[:::]",
            b"[1::2::3]",
            b"[1:2:3:4:5:6:7]",
            b"[1:2:3:4:5:6:7:8:9]",
            b"[12345::]",
            b"[::1%25eth0]",
            b"[v1.a]",
            b"[ ::1]",
            b"[[::1]]",
            b"[::192.0.2.256]",
            b"[" + b"0:" * 30 + b":1]",
            b"[" + b"1" * 45 + b"]",
            b"[" + b"1" * 46,
        )
    ),
    Case(
        "host-last",
        "RFC 9112 §3.2",
        send=GET + b"X: b\r\nhOsT: a\r\n\r\n",
        accept=[{"fields": [(b"X", b"b"), (b"hOsT", b"a")]}],
    ),
    Case("host-missing", "RFC 9112 §3.2", send=GET + b"\r\n", refuse=Fault.HOST_MISSING),
    Case(
        "host-missing-behind-others",
        "RFC 9112 §3.2",
        send=GET + b"X-Host: a\r\nHostile: a\r\nHos: a\r\n\r\n",
        refuse=Fault.HOST_MISSING,
    ),
    Case(
        "host-missing-in-absolute-form",
        "RFC 9112 §3.2",
        send=b"GET http://a/ HTTP/1.1\r\n\r\n",
        refuse=Fault.HOST_MISSING,
    ),
    Case(
        "host-missing-in-1.0",
        "RFC 9112 §3.2",
        send=b"GET / HTTP/1.0\r\nX: b\r\n\r\n",
        accept=[{"fields": [(b"X", b"b")]}],
    ),
    Case("host-twice", "RFC 9112 §3.2", send=START, then=HOST + b"\r\n", refuse=Fault.HOST_REPEATED),
    Case(
        "host-twice-apart",
        "RFC 9112 §3.2",
        send=START + b"X: b\r\n",
        then=b"HOST: b\r\n\r\n",
        refuse=Fault.HOST_REPEATED,
    ),
    Case(
        "host-twice-one-empty",
        "RFC 9112 §3.2",
        send=GET + b"Host:\r\n",
        then=HOST + b"\r\n",
        refuse=Fault.HOST_REPEATED,
    ),
    Case(
        "host-twice-in-1.0",
        "RFC 9112 §3.2",
        send=b"GET / HTTP/1.0\r\n" + HOST,
        then=HOST + b"\r\n",
        refuse=Fault.HOST_REPEATED,
    ),
    Case("host-bad-in-1.0", "RFC 9112 §3.2", send=b"GET / HTTP/1.0\r\nHost: ", then=b"a b\r\n\r\n", refuse=Fault.HOST),
]

ACTED_ON = [
    Case(
        "content-type-twice",
        "RFC 9110 §5.3",
        send=START + b"Content-Type: a/b\r\n",
        then=b"content-type: a/b\r\n\r\n",
        refuse=Fault.CONTENT_TYPE_REPEATED,
    ),
    Case("content-type-once", "RFC 9110 §8.3", send=START + b"Content-Type: a/b\r\n\r\n", accept=[{"minor": 1}]),
    *(
        Case(
            f"expect {text!r}",
            "RFC 9110 §10.1.1",
            send=START + b"Expect: " + text + b"\r\n\r\n",
            accept=[{"expects_continue": True}],
        )
        for text in (b"100-continue", b"100-Continue", b"100-CONTINUE  ")
    ),
    Case(
        "expect-twice-the-same",
        "RFC 9110 §10.1.1",
        send=START + b"Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n",
        accept=[{"expects_continue": True}],
    ),
    *(
        Case(
            f"expect {text!r}",
            "RFC 9110 §10.1.1",
            send=START + b"Expect: " + text + b"\r\n\r\n",
            refuse=Fault.EXPECTATION,
        )
        for text in (b"", b"a", b"100-continu", b"100-continues", b"100-continue, a", b"100-continue;q=1", b"200-ok")
    ),
    Case(
        "expect-one-of-two",
        "RFC 9110 §10.1.1",
        send=START + b"Expect: 100-continue\r\nExpect: a\r\n\r\n",
        refuse=Fault.EXPECTATION,
    ),
    Case(
        "expect-in-1.0-is-ignored",
        "RFC 9110 §10.1.1",
        send=b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
        accept=[{"expects_continue": False}],
    ),
    Case(
        "expect-something-in-1.0-is-ignored",
        "RFC 9110 §10.1.1",
        send=b"GET / HTTP/1.0\r\nExpect: a\r\n\r\n",
        accept=[{"expects_continue": False}],
    ),
    Case(
        "underscores-are-no-hyphens",
        "PEP 3333",
        send=START + b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n_Host: b\r\n\r\n",
        accept=[{"content_length": None, "is_chunked": False, "content": b""}],
    ),
    Case(
        "underscore-refused",
        "PEP 3333",
        send=START,
        then=b"X_Y: b\r\n\r\n",
        refuse=Fault.FIELD_UNDERSCORE,
        limits={"refuse_underscores": True},
    ),
    Case(
        "underscore-last-in-name-refused",
        "PEP 3333",
        send=START + b"X: b\r\n",
        then=b"Abcdefghijk_: b\r\n\r\n",
        refuse=Fault.FIELD_UNDERSCORE,
        limits={"refuse_underscores": True},
    ),
    Case(
        "underscore-in-value-is-no-matter",
        "PEP 3333",
        send=START + b"X: b_c\r\n\r\n",
        accept=value(b"b_c"),
        limits={"refuse_underscores": True},
    ),
]

LIMITS = [
    *(
        Case(
            f"fields-at-limit-{limit}",
            "RFC 6585 §5",
            send=START + b"X: b\r\n" * (limit - 1) + b"\r\n",
            accept=[{"minor": 1}],
            limits={"fields": limit},
        )
        for limit in (1, 2, 16, 17, 100)
    ),
    *(
        Case(
            f"fields-beyond-limit-{limit}",
            "RFC 6585 §5",
            send=START + b"X: b\r\n" * (limit - 1),
            then=b"X: b\r\n\r\n",
            refuse=Fault.FIELD_COUNT_LIMIT,
            limits={"fields": limit},
        )
        for limit in (1, 2, 16, 17, 100)
    ),
    Case("fields-at-default-limit", "RFC 6585 §5", send=START + b"X: b\r\n" * 99 + b"\r\n", accept=[{"minor": 1}]),
    Case(
        "fields-beyond-default-limit",
        "RFC 6585 §5",
        send=START + b"X: b\r\n" * 99,
        then=b"X: b\r\n\r\n",
        refuse=Fault.FIELD_COUNT_LIMIT,
    ),
    Case(
        "fields-without-limit",
        "RFC 6585 §5",
        send=START + b"X: b\r\n" * 300 + b"\r\n",
        accept=[{"minor": 1}],
        limits={"fields": 0},
    ),
    Case(
        "fields-at-ceiling",
        "RFC 6585 §5",
        send=START + b"X:\r\n" * 32767 + b"\r\n",
        accept=[{"minor": 1}],
        limits={"fields": 0},
        stride=9973,
    ),
    Case(
        "fields-beyond-ceiling",
        "RFC 6585 §5",
        send=START + b"X:\r\n" * 32767,
        then=b"X:\r\n\r\n",
        refuse=Fault.FIELD_COUNT_LIMIT,
        limits={"fields": 0},
        stride=9973,
    ),
    *(
        Case(
            f"field-{line!r}-at-limit",
            "RFC 6585 §5",
            send=b"GET / HTTP/1.0\r\n" + line + b"\r\n\r\n",
            accept=[{"minor": 0}],
            limits={"field": len(line)},
        )
        for line in (b"X:", b"X: b", b"X:b", b"X: b  ", b"X:    ", b"Xyz: b\tc")
    ),
    *(
        Case(
            f"field-limit-reached-{where}",
            "RFC 6585 §5",
            send=b"GET / HTTP/1.0\r\n" + good,
            then=bad + b"\r\n\r\n",
            refuse=Fault.FIELD_LIMIT,
            limits={"field": len(good)},
        )
        for where, good, bad in (
            ("in-the-name", b"Xy", b"z: b"),
            ("before-the-colon", b"X", b":"),
            ("before-the-value", b"X:", b" b"),
            ("in-the-space-before-the-value", b"X: ", b" b"),
            ("in-the-value", b"X: bcdefghijk", b"lmnopqrst"),
            ("in-the-space-behind-the-value", b"X: b", b" "),
            ("before-a-tab", b"X: b", b"\tc"),
        )
    ),
    Case(
        "field-at-default-limit",
        "RFC 6585 §5",
        send=START + b"X: ".ljust(8190, b"b") + b"\r\n\r\n",
        accept=value(b"b" * 8187),
    ),
    Case(
        "field-beyond-default-limit",
        "RFC 6585 §5",
        send=START + b"X: ".ljust(8190, b"b"),
        then=b"b\r\n\r\n",
        refuse=Fault.FIELD_LIMIT,
    ),
    Case(
        "field-without-limit",
        "RFC 6585 §5",
        send=START + b"X: ".ljust(9000, b"b") + b"\r\n\r\n",
        accept=value(b"b" * 8997),
        limits={"field": 0},
    ),
    Case(
        "fields-limit-met-before-field-limit",
        "RFC 6585 §5",
        send=START,
        then=b"X: bcdefghijkl\r\n\r\n",
        refuse=Fault.FIELD_COUNT_LIMIT,
        limits={"fields": 1, "field": 7},
    ),
    Case(
        "name-at-ceiling",
        "RFC 6585 §5",
        send=START + b"X" * 65535 + b": b\r\n\r\n",
        accept=[{"minor": 1}],
        limits={"field": 0},
        stride=9973,
    ),
    Case(
        "name-beyond-ceiling",
        "RFC 6585 §5",
        send=START + b"X" * 65535,
        then=b"XX: b\r\n\r\n",
        refuse=Fault.FIELD_LIMIT,
        limits={"field": 0},
        stride=9973,
    ),
    Case(
        "head-beyond-ceiling",
        "RFC 6585 §5",
        send=(START + b"X: ").ljust(1 << 24, b"b"),
        then=b"b\r\n\r\n",
        refuse=Fault.FIELD_LIMIT,
        limits={"field": 0},
        stride=1 << 22,
    ),
]

CASES = [*NAMES, *VALUES, *LINE_ENDS, *UNFOLDED, *HOSTS, *ACTED_ON, *LIMITS]
