"""What a refused request is answered with: one row a fault."""

from __future__ import annotations

from typing import NamedTuple

from pyserver._http import Fault

# The reason phrases of the statuses that the server itself answers with; RFC 9110 §15.
REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


class Refusal(NamedTuple):
    """The answer to one kind of bad request.

    Attributes:
        status: the status code sent.
        section: where the rule that was broken is written.
        words: what is wrong, as the log and the response say it.
    """

    status: int
    section: str
    words: str


REFUSALS: dict[int, Refusal] = {
    Fault.EMPTY_LINES: Refusal(400, "RFC 9112 §2.2", "more empty lines before the request line than are ignored"),
    Fault.REQUEST_LINE_LIMIT: Refusal(414, "RFC 9112 §3", "the request line is longer than limit_request_line"),
    Fault.METHOD: Refusal(400, "RFC 9110 §9.1", "the method is not a token followed by one space"),
    Fault.TARGET: Refusal(400, "RFC 9112 §3.2", "the target holds a character that has no place in one"),
    Fault.TARGET_FORM: Refusal(400, "RFC 9112 §3.2", "the target has none of the forms its method allows"),
    Fault.TARGET_AUTHORITY: Refusal(400, "RFC 9112 §3.2.2", "the authority of the target is invalid or differs from Host"),
    Fault.CONNECT_UNSUPPORTED: Refusal(501, "RFC 9110 §9.3.6", "CONNECT is not served: this is no proxy"),
    Fault.VERSION: Refusal(400, "RFC 9112 §2.3", "the request line does not end in an HTTP version"),
    Fault.VERSION_UNSUPPORTED: Refusal(505, "RFC 9110 §15.6.6", "only HTTP/1.0 and HTTP/1.1 are spoken here"),
    Fault.REQUEST_LINE_END: Refusal(400, "RFC 9112 §2.2", "the request line is not ended by CRLF"),
    Fault.FIELD_NAME: Refusal(400, "RFC 9112 §5.1", "a field name is not a token followed by a colon"),
    Fault.FIELD_VALUE: Refusal(400, "RFC 9110 §5.5", "a field value holds a control character"),
    Fault.FIELD_LINE_END: Refusal(400, "RFC 9112 §2.2", "a field line is not ended by CRLF"),
    Fault.FIELD_FOLDED: Refusal(400, "RFC 9112 §5.2", "a field line begins with white space"),
    Fault.FIELD_LIMIT: Refusal(431, "RFC 6585 §5", "a field line is longer than limit_request_field_size"),
    Fault.FIELD_COUNT_LIMIT: Refusal(431, "RFC 6585 §5", "there are more field lines than limit_request_fields"),
    Fault.FIELD_UNDERSCORE: Refusal(400, "PEP 3333", "a field name holds an underscore and header_map is 'refuse'"),
    Fault.HOST_MISSING: Refusal(400, "RFC 9112 §3.2", "an HTTP/1.1 request has no Host"),
    Fault.HOST_REPEATED: Refusal(400, "RFC 9112 §3.2", "there is more than one Host"),
    Fault.HOST: Refusal(400, "RFC 9110 §7.2", "Host is not a host with an optional port"),
    Fault.CONTENT_LENGTH: Refusal(400, "RFC 9110 §8.6", "Content-Length is not a decimal number"),
    Fault.CONTENT_LENGTH_REPEATED: Refusal(400, "RFC 9112 §6.3", "there is more than one Content-Length"),
    Fault.CONTENT_LIMIT: Refusal(413, "RFC 9110 §15.5.14", "the content is longer than limit_request_body"),
    Fault.CONTENT_TYPE_REPEATED: Refusal(400, "RFC 9110 §5.3", "there is more than one Content-Type"),
    Fault.TRANSFER_ENCODING: Refusal(501, "RFC 9112 §6.1", "the transfer coding is not exactly 'chunked'"),
    Fault.TRANSFER_ENCODING_REPEATED: Refusal(400, "RFC 9112 §6.1", "there is more than one Transfer-Encoding"),
    Fault.TRANSFER_ENCODING_WITH_LENGTH: Refusal(400, "RFC 9112 §6.1", "Transfer-Encoding stands beside Content-Length"),
    Fault.TRANSFER_ENCODING_IN_1_0: Refusal(400, "RFC 9112 §6.1", "an HTTP/1.0 request has a Transfer-Encoding"),
    Fault.EXPECTATION: Refusal(417, "RFC 9110 §10.1.1", "the expectation is not '100-continue'"),
    Fault.CHUNK_SIZE: Refusal(400, "RFC 9112 §7.1", "a chunk size is not a hexadecimal number of at most 15 digits"),
    Fault.CHUNK_EXTENSION: Refusal(400, "RFC 9112 §7.1.1", "a chunk extension is malformed"),
    Fault.CHUNK_EXTENSION_LIMIT: Refusal(400, "RFC 9112 §7.1.1", "the chunk extensions are longer than 4,096 bytes together"),
    Fault.CHUNK_CRLF: Refusal(400, "RFC 9112 §7.1", "chunk data is not followed by CRLF"),
    Fault.TRAILER: Refusal(400, "RFC 9112 §7.1.2", "the trailer section is malformed"),
    Fault.TRAILER_LIMIT: Refusal(431, "RFC 6585 §5", "the trailer section is longer than the limits of the head allow"),
    Fault.HEAD_TIMEOUT: Refusal(408, "RFC 9110 §15.5.9", "the request head did not arrive within request_head_timeout"),
    Fault.CONTENT_TIMEOUT: Refusal(408, "RFC 9110 §15.5.9", "no content arrived for request_body_timeout"),
    Fault.SCHEME_CONTRADICTION: Refusal(400, "RFC 7239 §8.1", "fields in which a proxy tells the scheme contradict each other"),
    Fault.PROXY_HEADER: Refusal(400, "PROXY protocol §2", "the PROXY header is malformed"),
    Fault.PROXY_FORBIDDEN: Refusal(403, "PROXY protocol §2", "proxy_allow_ips does not have the peer that sent a PROXY header"),
    Fault.PROXY_MISSING: Refusal(400, "PROXY protocol §2", "the connection does not begin with a PROXY header"),
    Fault.NOT_TLS: Refusal(400, "RFC 9110 §4.2.2", "TLS is spoken here, and the connection does not begin with it: use https://"),
}
