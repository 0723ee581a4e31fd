"""All tables of requests together."""

from conformance import chunked, connections, fields, framing, request_line

TABLES = {
    "request-line": request_line.CASES,
    "fields": fields.CASES,
    "framing": framing.CASES,
    "chunked": chunked.CASES,
    "connections": connections.CASES,
}
CASES = {f"{table} {case.name}": case for table, cases in TABLES.items() for case in cases}
