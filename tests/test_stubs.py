"""Whether the stub of each compiled module says what the built module has."""

import ast
import importlib.util
import types
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "pyserver"
# A part that only other compiled parts use needs no stub; mypy misses the stub of one that Python imports.
STUBBED = sorted(path.stem for path in SOURCES.glob("*.pyi"))
if importlib.util.find_spec("aioquic") is None:
    STUBBED.remove("_http3")


def stub_of(name: str) -> ast.Module:
    return ast.parse((SOURCES / f"{name}.pyi").read_text("utf-8"))


def declared(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a stub, or a class in it, declares under a public name."""
    names: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            names[ast.unparse(node.target)] = node
        elif isinstance(node, ast.Assign):
            names.update(dict.fromkeys(map(ast.unparse, node.targets), node))
    return {name: node for name, node in names.items() if not name.startswith("_")}


def defined(module: types.ModuleType) -> dict[str, object]:
    """What a module offers under a public name, without what it imported."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", module.__name__) == module.__name__
    }


@pytest.mark.parametrize("name", STUBBED)
def test_a_stub_names_what_the_module_has(name):
    module = importlib.import_module(f"pyserver.{name}")
    assert sorted(declared(stub_of(name).body)) == sorted(defined(module))


@pytest.mark.parametrize("name", STUBBED)
def test_a_stub_names_what_each_class_has(name):
    module = importlib.import_module(f"pyserver.{name}")
    for class_name, node in declared(stub_of(name).body).items():
        if not isinstance(node, ast.ClassDef):
            continue
        built = getattr(module, class_name)
        members = {member for member in vars(built) if not member.startswith("_")}
        assert set(declared(node.body)) == members, class_name
        for member, declaration in declared(node.body).items():
            value = vars(built)[member]
            if isinstance(declaration, ast.Assign):  # a member of an enumeration
                assert getattr(built, member) == ast.literal_eval(declaration.value), f"{class_name}.{member}"
            else:
                is_method = isinstance(declaration, ast.FunctionDef) and not declaration.decorator_list
                assert callable(value) is is_method, f"{class_name}.{member}"
