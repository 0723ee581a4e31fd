"""From `module:name` to an application, and what is said when there is none."""

import functools
import inspect
import os
import sys
import textwrap

import pytest

from pyserver.errors import EXIT_APP_LOAD, BootError
from pyserver.workers.app import check_interface, interface_of, load_application, own_traceback


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write the source of a module that is gone when the test is over."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def written(source, path="shop.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(textwrap.dedent(source), "utf-8")

    yield written
    for name in set(sys.modules) - before:
        del sys.modules[name]


def failure(spec):
    with pytest.raises(BootError) as caught:
        load_application(spec)
    assert caught.value.exit_code == EXIT_APP_LOAD
    assert "\n" not in str(caught.value)
    return caught.value


# What can be named


def test_an_attribute_is_named(module):
    module("def web(environ, start_response): pass")
    assert load_application("shop:web").__name__ == "web"


def test_an_attribute_of_an_attribute_is_named(module):
    module("""
        class site:
            class front:
                def web(environ, start_response): pass
    """)
    assert load_application("shop:site.front.web").__name__ == "web"


def test_a_module_in_a_package_is_named(module):
    module("", "store/__init__.py")
    module("def web(environ, start_response): pass", "store/front.py")
    assert load_application("store.front:web").__module__ == "store.front"


@pytest.mark.parametrize(("source", "name"), [("app = len", "app"), ("app = max\napplication = len", "application")])
def test_without_an_attribute_it_is_application_or_app(module, source, name):
    module(source)
    assert load_application("shop") is len


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("make()", ((), {})),
        ("make('eu', 3)", (("eu", 3), {})),
        ("make(debug=True, hosts=['a', None])", ((), {"debug": True, "hosts": ["a", None]})),
        ("site.make(-1)", ((-1,), {})),
    ],
)
def test_a_factory_is_called_with_literals(module, call, arguments):
    module("""
        def make(*positional, **keywords):
            def web(environ, start_response): pass
            web.arguments = positional, keywords
            return web
        class site:
            make = make
    """)
    assert load_application(f"shop:{call}").arguments == arguments


# What is said when it cannot be


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere:app", "module 'nowhere' cannot be found in "),
        ("nowhere.deep:app", "module 'nowhere.deep' cannot be found: there is no 'nowhere' in "),
        ("shop.deep:app", "module 'shop.deep' cannot be found in "),
        ("shop:missing", "module 'shop' has no attribute 'missing'"),
        ("shop:number.missing", "module 'shop' has no attribute 'number.missing'"),
        ("shop", "module 'shop' has neither 'application' nor 'app'"),
        ("shop:number", "'shop:number' is of type int, which cannot be called"),
        ("shop:nothing()", "'shop:nothing()' returned None, which cannot be called"),
        ("shop:number()", "'number' in module 'shop' is of type int, not a factory"),
        ("shop:nothing(1)", "'shop:nothing(1)' cannot be called so: nothing() takes 0 positional arguments but 1"),
        ("shop:nothing(number)", "the arguments of the call must be literals"),
        ("shop:nothing(**{})", "the arguments of the call must be literals"),
        ("shop:a b", "'a b' is neither an attribute nor a call"),
        ("shop:[0]", "'[0]' is neither an attribute nor a call"),
        ("shop:", "'shop:' does not name an application"),
        (":app", "':app' does not name an application"),
        ("shop.py:app", "'shop.py:app' has the name of a file; write 'shop:app'"),
        ("./shop.py", "'./shop.py' has the name of a file; write 'shop'"),
        ("{directory}/shop.py:app", "/shop.py:app' has the name of a file; write 'shop:app' and --chdir /"),
        ("shop.number", "module 'shop.number' cannot be found; what module 'shop' has is written 'shop:number'"),
    ],
)
def test_what_cannot_be_named_is_told_in_one_line_without_a_traceback(module, spec, message):
    module("number = 1\ndef nothing(): pass")
    error = failure(spec.replace("{directory}", os.getcwd()))
    assert message in str(error)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("source", "message", "last"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named", "ModuleNotFoundError: No module named"),
        ("1 / 0", "ZeroDivisionError: division by zero", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError: ", "SyntaxError: "),
        ("import sys; sys.exit(3)", "SystemExit: 3", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise ValueError('two\\nlines')", "ValueError: two", "lines"),
    ],
)
def test_what_the_import_raises_has_a_traceback_of_the_application_alone(module, source, message, last):
    module(source)
    error = failure("shop:app")
    assert str(error).startswith(f"module 'shop' cannot be imported: {message}")
    text = own_traceback(error.__cause__)
    assert text.splitlines()[-1].startswith(last)
    assert "shop.py" in text
    assert "pyserver" not in text
    assert "importlib" not in text


def test_a_module_that_imports_a_missing_module_of_its_own_name_is_not_taken_for_missing(module):
    module("", "store/__init__.py")
    module("import store.front.deep", "store/front.py")
    error = failure("store.front:app")
    assert "cannot be imported" in str(error)
    assert error.__cause__ is not None


def test_what_a_factory_raises_has_its_traceback(module):
    module("def make(): raise LookupError('no database')")
    error = failure("shop:make()")
    assert str(error) == "'shop:make()' cannot be called: LookupError: no database"
    assert "in make" in own_traceback(error.__cause__)


def test_a_type_error_in_a_factory_is_not_taken_for_wrong_arguments(module):
    module("def make(): len()")
    assert "in make" in own_traceback(failure("shop:make()").__cause__)


def test_the_cause_of_what_was_raised_is_in_the_traceback(module):
    module("""
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise RuntimeError("no config") from error
    """)
    assert "ZeroDivisionError" in own_traceback(failure("shop:app").__cause__)


# WSGI or ASGI


def wsgi(environ, start_response): ...


def wsgi_with_an_option(environ, start_response, option=None): ...


def anything(*arguments): ...


def with_self(self, environ, start_response): ...


async def asgi(scope, receive, send): ...


def asgi_that_returns_an_awaitable(scope, receive, send): ...


@functools.wraps(asgi)
def adapter(environ, start_response): ...


def wsgi_with_a_keyword(environ, start_response, option=None, *, key): ...


async def asgi_generator(*arguments):
    yield


def that_says_otherwise(*arguments): ...


that_says_otherwise.__signature__ = inspect.signature(asgi)


class ObjectThatSaysOtherwise:
    __signature__ = inspect.signature(asgi)

    def __call__(self, *arguments): ...


class WSGIObject:
    def __call__(self, environ, start_response): ...


class WSGIClass:
    def __init__(self, environ, start_response): ...


class ASGIObject:
    async def __call__(self, scope, receive, send): ...

    async def method(self, scope, receive, send): ...


@pytest.mark.parametrize(
    ("application", "interface"),
    [
        (wsgi, "wsgi"),
        (wsgi_with_an_option, "wsgi"),
        (WSGIObject(), "wsgi"),
        (WSGIClass, "wsgi"),
        (functools.partial(with_self, None), "wsgi"),
        (adapter, "wsgi"),
        (asgi, "asgi"),
        (asgi_that_returns_an_awaitable, "asgi"),
        (ASGIObject(), "asgi"),
        (ASGIObject().method, "asgi"),
        (functools.partial(asgi), "asgi"),
        (wsgi_with_a_keyword, "wsgi"),
        (asgi_generator, "asgi"),
        (that_says_otherwise, "asgi"),
        (ObjectThatSaysOtherwise(), "asgi"),
        (anything, ""),
        (print, ""),
        (len, ""),
    ],
)
def test_the_interface_is_told_from_how_it_wants_to_be_called(application, interface):
    assert interface_of(application) == interface


@pytest.mark.parametrize(
    ("application", "served", "words"),
    [
        (asgi, ("wsgi",), "'shop:app' is an ASGI application, and SyncWorker serves WSGI; serve it with -k asgi"),
        (wsgi, ("asgi",), "'shop:app' is a WSGI application, and SyncWorker serves ASGI; serve it with -k sync"),
    ],
)
def test_an_application_of_another_interface_is_refused_in_one_line(application, served, words):
    with pytest.raises(BootError) as caught:
        check_interface(application, "shop:app", served, "SyncWorker")
    assert str(caught.value).startswith(words)
    assert caught.value.exit_code == EXIT_APP_LOAD


@pytest.mark.parametrize("application", [wsgi, anything])
def test_an_application_that_can_be_served_passes(application):
    check_interface(application, "shop:app", ("wsgi",), "SyncWorker")


def test_a_traceback_can_be_had_where_the_standard_library_cannot_be_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "traceback", None)
    try:
        1 / 0  # noqa: B018 - for what it raises.
    except ZeroDivisionError as error:
        first, frame, last = own_traceback(error).splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "ZeroDivisionError: division by zero")
    assert "test_app.py" in frame
