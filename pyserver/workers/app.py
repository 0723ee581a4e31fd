"""From `module:name` to the application's callable, and whether it is a WSGI or an ASGI application.

What is wrong is told in one line; only an exception of the application's own code comes with its traceback.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType, TracebackType
from typing import Any, NamedTuple

from pyserver.errors import EXIT_APP_LOAD, BootError

Application = Callable[..., Any]

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
    function = _function(application)
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
    # PEP 3333: application(environ, start_response). ASGI: application(scope, receive, send).
    if len(required) <= 2 <= len(positional):
        return "wsgi"
    return "asgi" if len(required) <= 3 <= len(positional) else ""


def check_interface(application: Application, spec: str, interfaces: tuple[str, ...], worker: str) -> None:
    """Raise BootError when a worker class of that name, which serves `interfaces`, cannot call the application."""
    interface = interface_of(application)
    if interface and interface not in interfaces:
        served = " and ".join(one.upper() for one in interfaces)
        article = "an" if interface == "asgi" else "a"
        raise _failure(
            f"{spec!r} is {article} {interface.upper()} application, and {worker} serves {served}; "
            f"wrap the application in an adapter, or give a --worker-class that serves {interface.upper()}"
        )


def own_traceback(error: BaseException) -> str:
    """The traceback of what the application raised, from its own first frame on; ends without a newline."""
    # Needed only when something failed.
    import traceback

    return "".join(traceback.format_exception(type(error), error, own_frames(error))).rstrip()


def _parse(spec: str) -> _Spec:
    module, colon, expression = spec.partition(":")
    if not module or (colon and not expression):
        raise _failure(f"{spec!r} does not name an application; write module:attribute")
    if not colon:
        return _Spec(spec, module, (), None)
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
    try:
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError
        positional = tuple(ast.literal_eval(argument) for argument in call.args)
        return positional, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
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
        return f"{spec.text!r} has the name of a file; write {spec.text.replace('.py', '', 1)!r}"
    if missing != spec.module:
        return f"module {spec.module!r} cannot be found: there is no {missing!r} in {os.getcwd()} or on sys.path"
    return f"module {spec.module!r} cannot be found in {os.getcwd()} or on sys.path"


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


def _function(application: Application) -> object:
    while isinstance(application, functools.partial):
        application = application.func
    if isinstance(application, (FunctionType, type)) or inspect.ismethod(application):
        return application
    return getattr(type(application), "__call__", application)


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
