"""Whether the code that touches every byte, or runs in signal handlers, is C alone: no line of it talks to Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from Cython.Compiler import Options
from Cython.Compiler.Main import CompilationOptions, compile_single

ROOT = Path(__file__).parents[1]

# Functions whose annotation may have no scored line.
FREE_OF_PYTHON = {
    "_http": [
        "skip_text",
        "is_field_name",
        "is_field_value",
        "is_host",
        "same_text",
        "parse_decimal",
        "parse_head",
        "unfold",
        "upper_case",
        "parse_request_line",
        "parse_version",
        "split_target",
        "split_query",
        "split_absolute",
        "parse_field_line",
        "take_field",
        "take_host",
        "take_content_length",
        "take_transfer_encoding",
        "take_connection",
        "check_head",
        "head_persists",
        "reset_head",
        "copy_head",
        "decode_chunks",
        "take_chunk_byte",
        "take_extension_byte",
        "take_trailer_byte",
    ],
    "_hpack": [
        "decode_block",
        "decode_text",
        "decode_rest",
        "encode_text",
        "entry_at",
        "insert",
        "read_integer",
        "read_indexed",
        "read_literal",
        "read_name",
        "read_string",
        "write_field",
        "write_string",
        "find_field",
    ],
    "_response": ["decide_framing", "is_hop_by_hop"],
    "_proxies": ["read_proxy_header", "read_version_1", "read_version_2", "read_node", "read_element", "is_prefix"],
    "_connection": ["enlist", "delist", "drop_after_head", "next_content"],
    "_signals": ["_wake_up", "_deliver"],
    "_websocket": [
        "fault_of_first_byte",
        "fault_of_length",
        "read_frame_head",
        "unmask",
        "take_utf8",
        "put_frame_head",
        "is_close_code",
    ],
    "_frames": ["read_preface", "read_frame", "receive_frame", "find_stream", "drop_stream", "sendable"],
}
_FUNCTION = re.compile(r"c?p?def [^(]*?(\w+)\(")
_SCORED_LINE = re.compile(r'<pre class="cython line score-(\d+)"[^>]*>.*?<span class="">(\d+)</span>: ')


class Line(NamedTuple):
    """A line of source, and how much of Python its C takes."""

    number: int
    score: int
    text: str


def directives() -> dict[str, object]:
    """The compiler directives of the build."""
    for node in ast.parse((ROOT / "setup.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DIRECTIVES":
            return ast.literal_eval(node.value)
    raise LookupError("setup.py has no DIRECTIVES")


def annotated(name: str, directory: Path) -> list[Line]:
    """Each line of a source as Cython scores it."""
    source = ROOT / "pyserver" / f"{name}.pyx"
    options = CompilationOptions(
        Options.default_options,
        annotate=True,
        compiler_directives=directives(),
        output_file=str(directory / f"{name}.c"),
    )
    compile_single(str(source), options, f"pyserver.{name}")
    page = (directory / f"{name}.html").read_text("utf-8")
    scores = {int(number): int(score) for score, number in _SCORED_LINE.findall(page)}
    lines = source.read_text("utf-8").splitlines()
    assert sorted(scores) == list(range(1, len(lines) + 1)), "the annotation has another form than expected"
    return [Line(number, scores[number], text) for number, text in enumerate(lines, 1)]


def functions(lines: list[Line]) -> dict[str, list[Line]]:
    """The lines of each function of a module, its signature first."""
    found: dict[str, list[Line]] = {}
    inside: list[Line] = []
    for line in lines:
        if matched := _FUNCTION.match(line.text):
            inside = found[matched[1]] = []
        elif line.text[:1] not in ("", " ", ")"):
            inside = []
        inside.append(line)
    return found


@pytest.fixture(scope="module", params=FREE_OF_PYTHON)
def module(request, tmp_path_factory) -> tuple[str, dict[str, list[Line]]]:
    return request.param, functions(annotated(request.param, tmp_path_factory.mktemp(request.param)))


def talks_to_python(lines: list[Line]) -> list[str]:
    return [f"{line.number}: {line.text.strip()} (score {line.score})" for line in lines if line.score]


def test_listed_functions_have_no_scored_line(module):
    name, found = module
    assert {function: said for function in FREE_OF_PYTHON[name] if (said := talks_to_python(found[function]))} == {}


def test_functions_without_the_gil_have_no_scored_line(module):
    _, found = module
    without = {function: lines for function, lines in found.items() if any("nogil:" in line.text for line in lines)}
    assert {function: said for function, lines in without.items() if (said := talks_to_python(lines))} == {}


def test_a_line_that_talks_to_python_is_scored(module):
    _, found = module
    assert any(line.score for lines in found.values() for line in lines if line.text.strip().startswith("raise "))
