"""The page that is served in development instead of an application that cannot be loaded."""

import html
import re
import sys
import textwrap
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from pyserver.errors import BootError
from pyserver.workers.app import load_application
from pyserver.workers.broken import describe_failure, wsgi_application
from pyserver.workers.sources import source_places


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Why `package.name` with this source cannot be loaded."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def why(source, name="views"):
        package = tmp_path / "a_shop"
        package.mkdir()
        (package / "__init__.py").write_text(f"from a_shop import {name}\n")
        (package / f"{name}.py").write_text(textwrap.dedent(source))
        with pytest.raises(BootError) as caught:
            load_application("a_shop")
        return caught.value

    yield why
    for name in set(sys.modules) - before:
        del sys.modules[name]


def lines_of(page):
    """The lines that each <pre> of the page shows, and those that are marked, as a browser shows them."""
    text = page.html.decode()
    marked = re.findall("<mark>(.*?)</mark>", text)
    shown = [re.sub("</?mark>", "", pre).splitlines() for pre in re.findall("<pre>(.*?)</pre>", text, re.DOTALL)]
    return [[html.unescape(line) for line in pre] for pre in shown], [html.unescape(line) for line in marked]


def test_each_frame_is_shown_with_the_lines_around(broken):
    page = describe_failure(broken("first = 1\n\ndef half(x):\n    return x / 0\n\nhalf('<b>' and 1)\n"))
    shown, marked = lines_of(page)
    assert marked == ["    1  from a_shop import views", "    6  half('<b>' and 1)", "    4      return x / 0"]
    assert "    1  first = 1" in shown[2]
    assert b"<b>" not in page.html
    assert b"ZeroDivisionError: division by zero" in page.html


def test_a_syntax_error_is_shown_where_it_is(broken):
    page = describe_failure(broken("x = 1\ndef broken(:\n    pass\n"))
    assert lines_of(page)[1][-1] == "    2  def broken(:"
    assert b"/a_shop/views.py" in page.html


def test_what_led_to_an_error_is_shown_before_it(broken):
    page = describe_failure(broken("try:\n    1 / 0\nexcept ZeroDivisionError:\n    {}['key']\n"))
    assert "    2      1 / 0" in lines_of(page)[1]
    assert lines_of(page)[1][-1] == "    4      {}['key']"
    text = page.html.decode()
    assert text.index("<h2>ZeroDivisionError") < text.index("<h2>KeyError")


def test_an_error_without_a_traceback_is_told_in_a_line():
    with pytest.raises(BootError) as caught:
        load_application("pyserver.demo:missing")
    page = describe_failure(caught.value)
    assert page.text == b"module 'pyserver.demo' has no attribute 'missing'\n"
    assert b"<h1>module &#x27;pyserver.demo&#x27; has no attribute &#x27;missing&#x27;</h1>" in page.html


def test_the_traceback_has_no_frame_of_pyserver(broken):
    page = describe_failure(broken("import sys\nsys.exit('no')\n"))
    assert b"SystemExit: no" in page.text
    assert b"/pyserver/" not in page.text + page.html


def test_names_that_are_not_utf_8_are_escaped(broken):
    assert b"ValueError: \\udcff" in describe_failure(broken("raise ValueError(chr(0xdcff))\n")).html


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json, TEXT/HTML ; q=0.5", "text/html"),
        ("*/*", "text/plain"),
        ("", "text/plain"),
        ("text/html;q=0, text/plain", "text/plain"),
        ("text/html; q=0.0", "text/plain"),
        ("application/json", "text/plain"),
    ],
)
def test_who_asks_for_html_gets_it(accept, content_type):
    answered = {}

    def start_response(status, fields, exc_info=None):
        answered.update(fields, status=status)

    page = describe_failure(BootError("it is <broken>"))
    environ = {"HTTP_ACCEPT": accept, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    response = validator(wsgi_application(page))(environ, start_response)
    content = b"".join(response)
    response.close()
    assert answered["status"] == "500 Internal Server Error"
    assert answered["Content-Type"] == f"{content_type}; charset=utf-8"
    assert answered["Content-Length"] == str(len(content))
    assert (b"&lt;broken&gt;" in content) == (content_type == "text/html")


def test_the_files_that_failed_are_among_the_places_of_the_sources(broken, tmp_path):
    packages, _ = source_places(broken("def broken(:\n"))
    assert str(tmp_path / "a_shop") in packages


def test_loaded_packages_and_modules_are_among_the_places_of_the_sources(tmp_path, monkeypatch):
    for name in ("a_package/__init__.py", "modules/a_module.py", "spaces/a_namespace/one.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    for directory in ("", "modules", "spaces"):
        monkeypatch.syspath_prepend(str(tmp_path / directory))
    for name in ("a_package", "a_module", "a_namespace.one"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        __import__(name)
    packages, directories = source_places(None)
    assert {str(tmp_path / "a_package"), str(tmp_path / "spaces" / "a_namespace")} <= set(packages)
    assert str(tmp_path / "modules") in directories
    for name in ("a_package", "a_module", "a_namespace", "a_namespace.one"):
        del sys.modules[name]


def test_what_is_installed_is_not_among_the_places_of_the_sources():
    places = [place for several in source_places(None) for place in several]
    assert not [place for place in places if "site-packages" in place or place.endswith(("/pyserver", "/json"))]
