"""Whether imports point one way: right along the layers, and to the leaves."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyserver"

# A module may import what stands in a later row, and the leaves. Modules of one row may not import each other,
# except within a package; what is in no row here is found by test_every_module_has_its_place.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"checking"},
    {"settings"},
    {"arbiter"},
    {"admin"},
    {"workers"},
    {"_wsgi", "_asgi"},
    {"_http_call", "_websocket_call"},
    {"_call"},
    {"_engine"},
    {"_streams"},
    {"_lane"},
    {"_giving"},
    {"_steward"},
    {"_http2", "_http3"},
    {"_reactor"},
    {"_leadership"},
    {"_abort"},
    {"_exchange"},
    {"_doors"},
    {"_poller"},
    {"_commons"},
    {"_carried", "_tls"},
    {"_channel"},
    {"_connection"},
    {"_response"},
    {"_proxies"},
    {"_http", "_websocket"},
]
LEAVES = {
    "_version", "errors", "refusals", "signals", "_scoreboard", "_signals", "sockets", "log", "_access", "_spool",
    "_system", "_collector", "_process", "_stacks", "_alarm", "identity", "daemon", "systemd", "lifespan",
    "commons", "_balance", "_statsd", "syslog", "glogging", "loggers", "ledger", "metrics", "lending", "sni", "tls",
    "trial", "_hpack", "_frames", "_atoms",
}  # fmt: skip
# `__init__` offers names of any layer, so nothing but a user imports it; the demo is an application.
OUTSIDE = {"__init__", "demo"}

# Of the layers to its right, a layer named here takes these modules only.
ONLY = {
    # It knows nothing of HTTP; what a worker does when it is aborted has to be there before anything else.
    "arbiter": {
        "pyserver.workers", "pyserver.workers.app", "pyserver.workers.base", "pyserver.workers.configuration",
        "pyserver.workers.hooks",
        "pyserver.workers.messages",
        "pyserver._abort",
        "pyserver.admin.process",  # In a child, which is none when it has imported it.
    },
}
# What a leaf takes from a layer; _http imports nothing, so no cycle can come of it.
ALSO = {
    "refusals": {"pyserver._http"},  # Its rows are keyed by the faults that the parser reports.
    "_access": {"pyserver._http"},  # It writes down what the parser found.
    "_atoms": {"pyserver._http"},  # Likewise.
    "_statsd": {"pyserver._http"},  # Numbers are written as everywhere.
    "_hpack": {"pyserver._http"},  # It writes to the same kind of memory.
    "_frames": {"pyserver._http"},  # Bytes and outcomes are told as everywhere.
}
SELF_CONTAINED = {"_http", "_websocket"}  # They import nothing of ours, not even a leaf.
CIMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import|c?import[ \t]+([\w., \t]+))", re.MULTILINE)


def part_of(module: str) -> str:
    """`pyserver.settings.model` is part of `settings`; the package itself is `__init__`."""
    return [*module.split("."), "__init__"][1]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    return sorted(path for suffix in ("py", "pyi", "pyx", "pxd") for path in PACKAGE.rglob(f"*.{suffix}"))


def imported(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, wherever in it the import stands."""
    text = path.read_text("utf-8")
    names = _cimported(text) if path.suffix in (".pyx", ".pxd") else _imported_by_python(ast.parse(text))
    for name in names:
        assert not name.startswith("."), f"{path}: a relative import hides which layer it reaches: {name}"
        if name.split(".")[0] == "pyserver":
            yield name


def _imported_by_python(tree: ast.AST) -> Iterator[str]:
    for node in _run(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (_submodule_or(module, alias.name) for alias in node.names)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node but what only a type checker reads: an annotation may name what is handed in from the left."""
    for child in ast.iter_child_nodes(node):
        yield child
        is_for_types = isinstance(child, ast.If) and ast.unparse(child.test) in (
            "TYPE_CHECKING",
            "typing.TYPE_CHECKING",
        )
        for below in [ast.Module(child.orelse, [])] if is_for_types else [child]:
            yield from _run(below)


def _cimported(text: str) -> Iterator[str]:
    for module, several in CIMPORT.findall(text):
        if module:
            yield module
        yield from (name.split(" as ")[0].strip() for name in several.split(",") if name.strip())


def _submodule_or(module: str, name: str) -> str:
    """`from pyserver import access` names a module, `from pyserver.access import AccessLog` one of its names."""
    below = ROOT.joinpath(*module.split("."), name)
    exists = below.is_dir() or any(below.with_suffix(suffix).exists() for suffix in (".py", ".pyx"))
    return f"{module}.{name}" if exists else module


def is_allowed(importer: str, module: str) -> bool:
    """Whether `importer`, a part, may import `module` of ours."""
    target = part_of(module)
    if importer in OUTSIDE or importer == target:
        return True
    if importer in SELF_CONTAINED:
        return False
    if target in LEAVES or module in ALSO.get(importer, ()):
        return True
    ranks = {part: rank for rank, row in enumerate(LAYERS) for part in row}
    is_right = importer in ranks and target in ranks and ranks[importer] < ranks[target]
    return is_right and module in ONLY.get(importer, {module})


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_to_the_right_and_leaves_only(path):
    importer = part_of(module_of(path))
    wrong = sorted({module for module in imported(path) if not is_allowed(importer, module)})
    assert not wrong, f"{importer} may not import {', '.join(wrong)}"


def test_every_module_has_its_place():
    placed = set().union(*LAYERS) | LEAVES | OUTSIDE
    assert not {part_of(module_of(path)) for path in sources()} - placed


@pytest.mark.parametrize(
    ("importer", "module", "allowed"),
    [
        ("cli", "pyserver.arbiter.loop", True),
        ("arbiter", "pyserver.workers.base", True),
        ("arbiter", "pyserver.workers.sync", False),
        ("arbiter", "pyserver._http", False),
        ("arbiter", "pyserver.admin.answers", False),
        ("admin", "pyserver._http", True),
        ("admin", "pyserver.arbiter.crew", False),
        ("workers", "pyserver.arbiter.policy", False),
        ("_engine", "pyserver._wsgi", False),
        ("_connection", "pyserver._poller", False),
        ("_http", "pyserver.errors", False),
        ("_websocket", "pyserver._http", False),
        ("log", "pyserver.errors", True),
        ("log", "pyserver.settings", False),
        ("settings", "pyserver", False),
    ],
)
def test_the_order_is_the_one_that_is_documented(importer, module, allowed):
    assert is_allowed(importer, module) is allowed


def test_imports_are_found_in_both_languages():
    assert list(_cimported("from pyserver._http cimport Limits\ncimport cython, pyserver._poller as p\n")) == [
        "pyserver._http",
        "cython",
        "pyserver._poller",
    ]
    tree = ast.parse(
        "if TYPE_CHECKING:\n    import a\ndef late():\n    from pyserver import demo\n    import pyserver.cli\n"
    )
    assert list(_imported_by_python(tree)) == ["pyserver.demo", "pyserver.cli"]
