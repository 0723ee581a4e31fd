"""All tables of conformance cases together."""

from . import compression_cases, connection_cases, flow_cases, message_cases, response_cases, stream_cases

TABLES = {
    "connections": connection_cases.CASES,
    "streams": stream_cases.CASES,
    "messages": message_cases.CASES,
    "compression": compression_cases.CASES,
    "flow control": flow_cases.CASES,
    "responses": response_cases.CASES,
}
CASES = {f"{table} {case.name}": case for table, cases in TABLES.items() for case in cases}
assert len(CASES) == sum(map(len, TABLES.values())), "two cases have one name"
