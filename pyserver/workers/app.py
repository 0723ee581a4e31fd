"""From `module:name` to the application's callable, and whether it is a WSGI or an ASGI application.

What is wrong is told in one line; only an exception of the application's own code comes with its traceback.
"""

from __future__ import annotations

import functools
import keyword
import os
import sys
from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from pyserver.errors import EXIT_APP_LOAD, BootError
from pyserver.log import without_source

if TYPE_CHECKING:
    import ast

Application = Callable[..., Any]

# Of a code object; `inspect` has names for them, and takes its time to be imported.
_TAKES_ANY_NUMBER = 0x04
_IS_ASYNCHRONOUS = 0x80 | 0x200  # a coroutine, an asynchronous generator

_DEFAULT_NAMES = ("application", "app")
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


class _Spec(NamedTuple):
    text: str
    module: str
    path: tuple[str, ...]  # the attribute and attributes of it; empty: one of _DEFAULT_NAMES
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None  # those of the factory; None: it is no call


def load_application(spec: str) -> Application:
    """The application that `spec` names.

    Args:
        spec: `module`, `module:attribute`, `module:attribute.attribute` or `module:factory("literal", key=1)`.
            Without an attribute it is `application`, or `app` when there is none.

    Raises:
        BootError: in one line; its cause, if it has one, is what the application's code raised.
    """
    parsed = _parse(spec)
    found = _attribute(parsed, _module(parsed))
    if parsed.arguments is not None:
        found = _built(parsed, found)
    if not callable(found):
        made = " returned" if parsed.arguments is not None else " is"
        raise _failure(f"{spec!r}{made} {_described(found)}, which cannot be called as an application")
    application: Application = found
    return application


def interface_of(application: Application) -> str:
    """Either "wsgi" or "asgi", by how the application wants to be called; "" when that cannot be told."""
    plain = _plain_function(application)
    if plain is None:
        return _interface_of_any(application)
    function, bound = plain
    code = function.__code__
    if code.co_flags & _IS_ASYNCHRONOUS:
        return "asgi"
    if code.co_flags & _TAKES_ANY_NUMBER:
        return ""
    most = code.co_argcount - bound
    return _interface_called_with(most - len(function.__defaults__ or ()), most)


def _plain_function(application: Application) -> tuple[FunctionType, int] | None:
    """The function whose code tells how the application is called, and how many arguments it has already been given.

    None when that takes a closer look: at a class, a partial, or what says itself how it is to be called.
    """
    function: object = application
    if isinstance(application, MethodType):
        function = application.__func__
    elif not isinstance(application, (FunctionType, type, functools.partial)):
        if getattr(application, "__signature__", None) is not None:
            return None
        # As it stands in the class: a static method is not given the object.
        function = next((vars(one)["__call__"] for one in type(application).__mro__ if "__call__" in vars(one)), None)
    # functools.wraps leaves a trace that says nothing about the wrapper itself.
    if isinstance(function, FunctionType) and vars(function).keys() <= {"__wrapped__"}:
        return function, int(function is not application)
    return None


def _interface_of_any(application: Application) -> str:
    # Most applications are plain functions, or objects whose __call__ is one.
    import inspect

    function = application
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, (FunctionType, type, MethodType)):
        function = getattr(type(function), "__call__", function)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "asgi"
    try:
        parameters = inspect.signature(application, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return ""
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return ""
    required = [one for one in positional if one.default is one.empty]
    return _interface_called_with(len(required), len(positional))


def _interface_called_with(fewest: int, most: int) -> str:
    # PEP 3333: application(environ, start_response). ASGI: application(scope, receive, send).
    if fewest <= 2 <= most:
        return "wsgi"
    return "asgi" if fewest <= 3 <= most else ""


def check_interface(application: Application, spec: str, interfaces: tuple[str, ...], worker: str) -> None:
    """Raise BootError when a worker class of that name, which serves `interfaces`, cannot call the application."""
    interface = interface_of(application)
    if interface and interface not in interfaces:
        # Only for a mistake; the table is made of classes that stand on this module.
        from pyserver.workers import WORKERS

        served = " and ".join(one.upper() for one in interfaces)
        article = "an" if interface == "asgi" else "a"
        others = " or ".join(f"-k {name}" for name, kind in WORKERS.items() if kind.interfaces == (interface,))
        raise _failure(
            f"{spec!r} is {article} {interface.upper()} application, and {worker} serves {served}; "
            f"serve it with {others}"
        )


def own_traceback(error: BaseException) -> str:
    """The traceback of what the application raised, from its own first frame on; ends without a newline."""
    try:
        # Needed only when something failed.
        import traceback
    except ImportError:
        # The user that workers are may not be able to read the standard library; that may be why it failed.
        return without_source(error, own_frames(error))
    return "".join(traceback.format_exception(type(error), error, own_frames(error))).rstrip()


def _parse(spec: str) -> _Spec:
    module, colon, expression = spec.partition(":")
    if not module or (colon and not expression):
        raise _failure(f"{spec!r} does not name an application; write module:attribute")
    if not colon:
        return _Spec(spec, module, (), None)
    names = expression.split(".")
    if all(name.isascii() and name.isidentifier() and not keyword.iskeyword(name) for name in names):
        return _Spec(spec, module, tuple(names), None)
    # Only a call, or a mistake, takes more than that.
    import ast

    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise _failure(f"{spec!r}: {expression!r} is neither an attribute nor a call") from None
    arguments = None
    if isinstance(node, ast.Call):
        arguments = _literals(spec, node)
        node = node.func
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise _failure(f"{spec!r}: {expression!r} is neither an attribute nor a call of one")
    return _Spec(spec, module, (node.id, *path), arguments)


def _literals(spec: str, call: ast.Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    import ast

    try:
        if any(one.arg is None for one in call.keywords):
            raise ValueError
        positional = tuple(ast.literal_eval(argument) for argument in call.args)
        return positional, {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except ValueError:
        raise _failure(f"{spec!r}: the arguments of the call must be literals") from None


def _module(spec: _Spec) -> ModuleType:
    try:
        # Not importlib.import_module: with this one Python leaves its own frames out of a traceback.
        __import__(spec.module)
        return sys.modules[spec.module]
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if own_frames(error) is None and (spec.module == missing or spec.module.startswith(missing + ".")):
            raise _failure(_not_found(spec, missing)) from None
        raise _raised(f"module {spec.module!r} cannot be imported", error) from error
    except BaseException as error:
        # SystemExit as well: an application that exits when it is imported would be started over and over.
        raise _raised(f"module {spec.module!r} cannot be imported", error) from error


def _not_found(spec: _Spec, missing: str) -> str:
    if spec.module.endswith(".py") and os.path.exists(spec.module):
        return f"{spec.text!r} has the name of a file; write {_of_file(spec)}"
    parent, _, attribute = spec.module.rpartition(".")
    if not spec.path and attribute in getattr(sys.modules.get(parent), "__dict__", ()):
        return f"module {spec.module!r} cannot be found; what module {parent!r} has is written '{parent}:{attribute}'"
    if missing != spec.module:
        return f"module {spec.module!r} cannot be found: there is no {missing!r} in {os.getcwd()} or on sys.path"
    return f"module {spec.module!r} cannot be found in {os.getcwd()} or on sys.path"


def _of_file(spec: _Spec) -> str:
    """How a file is named that was named by its path."""
    path = os.path.normpath(spec.module).removesuffix(".py")
    rest = spec.text.removeprefix(spec.module)
    if not os.path.isabs(path) and not path.startswith(os.pardir):
        return repr(path.replace(os.sep, ".") + rest)
    directory, module = os.path.split(path)
    return f"{module + rest!r} and --chdir {directory}"


def _attribute(spec: _Spec, module: ModuleType) -> Any:
    paths = [spec.path] if spec.path else [(name,) for name in _DEFAULT_NAMES]
    for path in paths:
        try:
            return functools.reduce(getattr, path, module)
        except AttributeError:
            pass
        except BaseException as error:
            # A module that makes its attributes when they are asked for may raise anything.
            raise _raised(f"{spec.text!r} cannot be loaded", error) from error
    if spec.path:
        raise _failure(f"module {spec.module!r} has no attribute {'.'.join(spec.path)!r}")
    raise _failure(f"module {spec.module!r} has neither {' nor '.join(map(repr, _DEFAULT_NAMES))}; name the attribute")


def _built(spec: _Spec, factory: Any) -> Any:
    positional, keywords = spec.arguments or ((), {})
    name = ".".join(spec.path)
    if not callable(factory):
        raise _failure(f"{name!r} in module {spec.module!r} is {_described(factory)}, not a factory to be called")
    try:
        return factory(*positional, **keywords)
    except BaseException as error:
        # As when a module is imported.
        if isinstance(error, TypeError) and own_frames(error) is None:
            raise _failure(f"{spec.text!r} cannot be called so: {error}") from None
        raise _raised(f"{spec.text!r} cannot be called", error) from error


def own_frames(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame of the application's code on; None when that code was not reached."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        frames = frames.tb_next
    return frames


def _described(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _raised(what: str, error: BaseException) -> BootError:
    text = str(error).partition("\n")[0]
    return _failure(f"{what}: {type(error).__name__}{': ' if text else ''}{text}")


def _failure(message: str) -> BootError:
    return BootError(message, EXIT_APP_LOAD)
