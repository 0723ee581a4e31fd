"""Where content ends, by Content-Length or Transfer-Encoding: RFC 9112 §6, RFC 9110 §8.6."""

from conformance.case import HOST, Case

from pyserver._http import Fault

POST = b"POST / HTTP/1.1\r\n" + HOST
POST_1_0 = b"POST / HTTP/1.0\r\n" + HOST
LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

CONTENT_LENGTH = [
    *(
        Case(
            f"length {text!r}",
            "RFC 9110 §8.6",
            send=POST + b"Content-Length:" + text + b"\r\n\r\nhello",
            accept=[{"content_length": 5, "content": b"hello"}],
        )
        for text in (b"5", b" 5", b"\t5 \t", b" 05", b" 000000000000000005")
    ),
    Case(
        "length-zero",
        "RFC 9110 §8.6",
        send=POST + b"Content-Length: 0\r\n\r\n",
        accept=[{"content_length": 0, "content": b""}],
    ),
    Case("length-absent", "RFC 9112 §6.3", send=POST + b"\r\n", accept=[{"content_length": None, "content": b""}]),
    Case(
        "length-with-get",
        "RFC 9110 §9.3.1",
        send=b"GET / HTTP/1.1\r\n" + HOST + LENGTH + b"\r\nhello",
        accept=[{"method": b"GET", "content": b"hello"}],
    ),
    Case("length-in-1.0", "RFC 9112 §6.3", send=POST_1_0 + LENGTH + b"\r\nhello", accept=[{"content": b"hello"}]),
    Case(
        "length-not-reached",
        "RFC 9112 §6.3",
        send=POST + LENGTH + b"\r\nhell",
        accept=[{"content": b"hell", "is_complete": False}],
        waits=True,
    ),
    Case(
        "length-of-18-digits",
        "RFC 9110 §8.6",
        send=POST + b"Content-Length: 999999999999999999\r\n\r\nhello",
        accept=[{"content_length": 999999999999999999, "is_complete": False}],
        waits=True,
    ),
    *(
        Case(
            f"length {text!r}",
            "RFC 9110 §8.6",
            send=POST + b"Content-Length: ",
            then=text + b"\r\n\r\nhello",
            refuse=Fault.CONTENT_LENGTH,
        )
        for text in (
            b"",
            b"+5",
            b"-5",
            b"-0",
            b"5.0",
            b"5e0",
            b"0x5",
            b"5a",
            b"a",
            b"5 5",
            b"5,5",
            b"5, 5",
            b"5;5",
            b"5_0",
            b'"5"',
            b"\xb5",
            "\uff15".encode(),
            b"0" * 20 + b"x",
        )
    ),
    *(
        Case(
            f"length {text!r}",
            "RFC 9110 §8.6",
            send=POST + b"Content-Length: ",
            then=text + b"\r\n\r\nhello",
            refuse=Fault.CONTENT_LIMIT,
        )
        for text in (b"1000000000000000000", b"18446744073709551616", b"18446744073709551621", b"9" * 400)
    ),
    Case(
        "length-in-a-folded-line",
        "RFC 9112 §5.2",
        send=POST + b"Content-Length: ",
        then=b"\r\n 5\r\n\r\nhello",
        refuse=Fault.CONTENT_LENGTH,
    ),
    Case(
        "length-twice-the-same",
        "RFC 9112 §6.3",
        send=POST + LENGTH,
        then=b"content-length: 5\r\n\r\nhello",
        refuse=Fault.CONTENT_LENGTH_REPEATED,
    ),
    Case(
        "length-twice-different",
        "RFC 9112 §6.3",
        send=POST + LENGTH + b"X: b\r\n",
        then=b"Content-Length: 6\r\n\r\nhello",
        refuse=Fault.CONTENT_LENGTH_REPEATED,
    ),
]

TRANSFER_ENCODING = [
    *(
        Case(
            f"coding {text!r}",
            "RFC 9112 §6.1",
            send=POST + b"Transfer-Encoding:" + text + b"\r\n\r\n0\r\n\r\n",
            accept=[{"is_chunked": True, "content": b""}],
        )
        for text in (b"chunked", b" chunked", b"\t chunked \t", b" Chunked", b" CHUNKED")
    ),
    *(
        Case(
            f"coding {text!r}",
            "RFC 9112 §6.1",
            send=POST + b"Transfer-Encoding: ",
            then=text + b"\r\n\r\n0\r\n\r\n",
            refuse=Fault.TRANSFER_ENCODING,
        )
        for text in (
            b"",
            b"identity",
            b"gzip",
            b"gzip, chunked",
            b"chunked, gzip",
            b"chunked, chunked",
            b"chunked,",
            b",chunked",
            b"chunked;q=1",
            b"xchunked",
            b"chunkedx",
            b"chunke",
            b'"chunked"',
            b"chunked\xa0",
            b"ch unked",
            b"c\x88unked",
        )
    ),
    Case(
        "coding-twice",
        "RFC 9112 §6.1",
        send=POST + CHUNKED,
        then=CHUNKED + b"\r\n0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING_REPEATED,
    ),
    Case(
        "coding-twice-the-second-bad",
        "RFC 9112 §6.1",
        send=POST + CHUNKED,
        then=b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING_REPEATED,
    ),
    Case(
        "coding-twice-the-first-bad",
        "RFC 9112 §6.1",
        send=POST + b"Transfer-Encoding: ",
        then=b"identity\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING,
    ),
    Case(
        "coding-behind-length",
        "RFC 9112 §6.1",
        send=POST + LENGTH + CHUNKED + b"\r\n",
        then=b"0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING_WITH_LENGTH,
    ),
    Case(
        "coding-before-length",
        "RFC 9112 §6.1",
        send=POST + CHUNKED + b"X: b\r\n" + LENGTH + b"\r\n",
        then=b"0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING_WITH_LENGTH,
    ),
    Case(
        "coding-beside-length-zero",
        "RFC 9112 §6.1",
        send=POST + b"Content-Length: 0\r\n" + CHUNKED + b"\r\n",
        then=b"0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING_WITH_LENGTH,
    ),
    Case(
        "coding-in-1.0",
        "RFC 9112 §6.1",
        send=POST_1_0 + CHUNKED + b"\r\n",
        then=b"0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING_IN_1_0,
    ),
    Case(
        "coding-behind-length-in-1.0",
        "RFC 9112 §6.1",
        send=POST_1_0 + LENGTH + CHUNKED + b"\r\n",
        then=b"0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING_WITH_LENGTH,
    ),
    Case(
        "coding-with-space-before-colon",
        "RFC 9112 §5.1",
        send=POST + LENGTH + b"Transfer-Encoding",
        then=b" : chunked\r\n\r\n0\r\n\r\n",
        refuse=Fault.FIELD_NAME,
    ),
    Case(
        "coding-folded",
        "RFC 9112 §5.2",
        send=POST + LENGTH + b"X: b\r\n",
        then=b" \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        refuse=Fault.FIELD_FOLDED,
    ),
    Case(
        "coding-in-a-folded-line",
        "RFC 9112 §5.2",
        send=POST + b"Transfer-Encoding:",
        then=b"\r\n chunked\r\n\r\n0\r\n\r\n",
        refuse=Fault.TRANSFER_ENCODING,
    ),
    Case(
        "te-is-not-transfer-encoding",
        "RFC 9110 §10.1.4",
        send=POST + b"TE: chunked\r\n\r\n",
        accept=[{"is_chunked": False}],
    ),
]

LIMITS = [
    Case(
        "length-at-limit",
        "RFC 9110 §15.5.14",
        send=POST + LENGTH + b"\r\nhello",
        accept=[{"content": b"hello"}],
        limits={"content": 5},
    ),
    Case(
        "length-beyond-limit",
        "RFC 9110 §15.5.14",
        send=POST + LENGTH + b"\r\n",
        then=b"hello",
        refuse=Fault.CONTENT_LIMIT,
        limits={"content": 4},
    ),
    Case(
        "length-without-limit",
        "RFC 9110 §15.5.14",
        send=POST + LENGTH + b"\r\nhello",
        accept=[{"content": b"hello"}],
        limits={"content": 0},
    ),
    Case(
        "length-beyond-limit-in-1.0",
        "RFC 9110 §15.5.14",
        send=POST_1_0 + LENGTH + b"\r\n",
        then=b"hello",
        refuse=Fault.CONTENT_LIMIT,
        limits={"content": 4},
    ),
]

CASES = [*CONTENT_LENGTH, *TRANSFER_ENCODING, *LIMITS]
