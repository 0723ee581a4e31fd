"""What an application finds in environ; PEP 3333, "environ Variables"."""

import ast
import json
import socket
from pathlib import Path

import pytest

ASKING = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: repr(value) for key, value in environ.items()}).encode()]


def request(target, *fields, method="GET", version="1.1", content=b""):
    lines = [f"{method} {target} HTTP/{version}", "Host: example.org", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


def ask(server, sent):
    """The environ that a request makes, without what has no literal."""
    with server.client() as client:
        client.send(sent)
        return environ_in(client.receive_response())


def environ_in(response):
    return {key: read(value) for key, value in json.loads(response.content).items()}


def client_from(source, server):
    """A client with another address of this host."""
    client = server.client()
    client.close()
    client.socket = socket.create_connection(server.address, timeout=5, source_address=(source, 0))
    return client


def read(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def test_the_variables_of_a_plain_request(server, worker_class):
    host, port = server.address
    environ = ask(server, request("/a/b?c=d"))
    assert environ.pop("pyserver.queue_time") >= 0
    for key in ("REMOTE_PORT", "wsgi.errors", "wsgi.input", "wsgi.file_wrapper"):
        environ.pop(key)
    assert environ == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "c=d",
        "RAW_URI": "/a/b?c=d",
        "REQUEST_URI": "/a/b?c=d",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "pyserver",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "example.org",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": worker_class.at_once > 1,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "pyserver.slot": 0,
    }


def test_the_peer_is_named_by_address_and_port(server):
    with server.client() as client:
        client.send(ASKING)
        environ = environ_in(client.receive_response())
        assert [environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"])] == list(client.socket.getsockname())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_peer_is_named_by_its_address(serving):
    environ = ask(serving("-b", "[::1]:0"), ASKING)
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("::1", "::1")


def test_a_peer_on_a_unix_socket_has_no_address(serving):
    environ = ask(serving("-b", "unix:socket"), ASKING)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("", "")


@pytest.mark.parametrize(
    ("host", "name", "port", "port_with_https"),
    [
        ("shop.example", "shop.example", "80", "443"),
        ("shop.example:8443", "shop.example", "8443", "8443"),
        ("shop.example:", "shop.example", "80", "443"),
        ("[::1]:8443", "[::1]", "8443", "8443"),
        ("[::1]", "[::1]", "80", "443"),
    ],
)
def test_on_a_unix_socket_the_server_is_what_the_client_takes_it_for(serving, host, name, port, port_with_https):
    server = serving("-b", "unix:socket")
    asking = f"GET / HTTP/1.1\r\nHost: {host}\r\n"
    environ = ask(server, f"{asking}\r\n".encode())
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)
    environ = ask(server, f"{asking}X-Forwarded-Proto: https\r\n\r\n".encode())
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port_with_https)


def test_on_a_unix_socket_the_server_is_called_something_when_nobody_says_how(serving):
    environ = ask(serving("-b", "unix:socket"), b"GET / HTTP/1.0\r\n\r\n")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")


def test_two_peers_are_not_mixed_up(server):
    for source in ("127.0.0.1", "127.0.0.3", "127.0.0.1"):
        with client_from(source, server) as client:
            assert environ_in(client.request("GET", "/"))["REMOTE_ADDR"] == source


def test_several_workers_are_said_to_be_several(serve):
    server = serve(Path(__file__).read_text("utf-8"), "-w", "2", "--pythonpath", str(Path(__file__).parents[1]))
    assert ask(server, ASKING)["wsgi.multiprocess"] is True


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE", "OPTIONS", "PATCH", "M-SEARCH", "get"])
def test_the_method_is_as_it_was_sent(server, method):
    with server.client() as client:
        client.send(request("/", method=method))
        response = client.receive_response(method)
        assert method == "HEAD" or environ_in(response)["REQUEST_METHOD"] == method


def test_http_1_0_is_named(server):
    assert ask(server, request("/", version="1.0"))["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_the_raw_target_and_method_are_of_this_request_not_of_the_last(server):
    with server.client() as client:
        client.send(request("/one?x", "X-One: 1", method="PUT", version="1.1") + request("/two"))
        first, second = (environ_in(client.receive_response()) for _ in range(2))
    assert first["REQUEST_METHOD"] == "PUT"
    assert (second["REQUEST_METHOD"], second["RAW_URI"], second["QUERY_STRING"]) == ("GET", "/two", "")
    assert "HTTP_X_ONE" not in second


# ---- targets ----


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/a?b?c", "/a", "b?c"),
        ("/a%20b?c%20d", "/a b", "c%20d"),
        ("/%2F", "//", ""),
        ("/%e4%f6", "/\xe4\xf6", ""),
        ("/%C3%A4", "/\xc3\xa4", ""),
        ("/%00", "/\0", ""),
        ("/%", "/%", ""),
        ("/%2", "/%2", ""),
        ("/%zz%41", "/%zzA", ""),
        ("/%2541", "/%41", ""),
        ("/a/../b//c/.", "/a/../b//c/.", ""),
        ("/a;b=c", "/a;b=c", ""),
        ("http://example.org/x?y", "/x", "y"),
        ("http://example.org", "/", ""),
        ("http://example.org?y", "/", "y"),
    ],
)
def test_a_target_is_taken_apart_and_decoded_once(server, target, path, query):
    environ = ask(server, request(target))
    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["RAW_URI"]) == (path, query, target)


def test_the_asterisk_of_options_is_no_path(server):
    # RFC 9112 §3.3: such a request is for the server itself, whose URI has an empty path.
    environ = ask(server, request("*", method="OPTIONS"))
    assert (environ["PATH_INFO"], environ["RAW_URI"]) == ("", "*")


@pytest.mark.parametrize(
    ("target", "path"),
    [("/app/x", "/x"), ("/app/", "/"), ("/app", ""), ("/application", "/application"), ("/other/app", "/other/app")],
)
def test_the_root_path_is_the_script_name_and_no_part_of_the_path(serving, target, path):
    environ = ask(serving("--root-path", "/app"), request(target))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["RAW_URI"]) == ("/app", path, target)


# ---- fields ----


def test_a_field_becomes_a_variable(server):
    environ = ask(server, request("/", "X-Thing: one", "accept:  text/html \t"))
    assert (environ["HTTP_X_THING"], environ["HTTP_ACCEPT"]) == ("one", "text/html")


def test_an_empty_field_is_an_empty_variable(server):
    assert ask(server, request("/", "X-Thing:"))["HTTP_X_THING"] == ""


def test_octets_of_a_field_are_latin_1(server):
    assert ask(server, request("/", "X-Thing: \xe4\xc3\xa4"))["HTTP_X_THING"] == "\xe4\xc3\xa4"


def test_long_names_and_values_arrive_whole(server):
    name, other, value = "X-" + "n" * 100, "X-" + "n" * 99 + "m", "v" * 5000
    environ = ask(server, request("/", f"{name}: {value}", f"{other}: 1"))
    assert environ[f"HTTP_{name.upper().replace('-', '_')}"] == value
    assert environ[f"HTTP_{other.upper().replace('-', '_')}"] == "1"


def test_many_names_and_values_are_not_mixed_up(server):
    with server.client() as client:
        for turn in range(60):
            fields = {f"X-{turn}-{number}": f"{number * turn}" for number in range(90)}
            environ = environ_in(client.request("GET", f"/{turn}", list(fields.items())))
            assert environ["PATH_INFO"] == f"/{turn}"
            assert {name: environ[f"HTTP_{name.replace('-', '_')}"] for name in fields} == fields


def test_repeated_fields_are_joined_in_their_order(server):
    assert ask(server, request("/", "X-A: 1", "X-B: x", "x-a: 2", "X-A: 3"))["HTTP_X_A"] == "1,2,3"


def test_cookies_are_joined_as_cookies(server):
    assert ask(server, request("/", "Cookie: a=1", "Cookie: b=2"))["HTTP_COOKIE"] == "a=1; b=2"


def test_the_content_type_has_a_variable_of_its_own(server):
    environ = ask(server, request("/", "Content-Type: text/plain", method="POST"))
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert "HTTP_CONTENT_TYPE" not in environ


def test_the_content_length_has_a_variable_of_its_own(server):
    environ = ask(server, request("/", "Content-Length: 2", method="POST", content=b"hi"))
    assert environ["CONTENT_LENGTH"] == "2"
    assert "HTTP_CONTENT_LENGTH" not in environ


def test_a_content_length_of_0_is_told(server):
    assert ask(server, request("/", "Content-Length: 0", method="POST"))["CONTENT_LENGTH"] == "0"


def test_without_content_there_is_no_length_and_no_type(server):
    assert not {"CONTENT_LENGTH", "CONTENT_TYPE"} & set(ask(server, ASKING))


@pytest.mark.parametrize(("content", "length"), [(b"2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n", "3"), (b"0\r\n\r\n", "0")])
def test_chunked_content_has_a_length_and_no_coding(server, content, length):
    environ = ask(server, request("/", "Transfer-Encoding: chunked", method="POST", content=content))
    assert environ["CONTENT_LENGTH"] == length
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_a_proxy_field_is_not_passed_on(server):
    assert "HTTP_PROXY" not in ask(server, request("/", "Proxy: http://evil.example"))


def test_a_field_with_an_underscore_is_dropped(server):
    environ = ask(server, request("/", "X-Forwarded-For: 1", "X_Forwarded_For: 2", "X_Other: 3"))
    assert environ["HTTP_X_FORWARDED_FOR"] == "1"
    assert "HTTP_X_OTHER" not in environ


@pytest.mark.parametrize("field", ["Content_Length: 5", "Content_Type: text/html", "Transfer_Encoding: chunked"])
def test_a_field_that_looks_like_framing_with_an_underscore_is_dropped(server, field):
    environ = ask(server, request("/", field))
    assert not [key for key in environ if key.endswith(("CONTENT_LENGTH", "CONTENT_TYPE", "TRANSFER_ENCODING"))]


def test_a_field_with_an_underscore_can_be_refused(serving):
    server = serving("--header-map", "refuse")
    with server.client() as client:
        client.send(request("/", "X_Thing: 1"))
        assert client.receive_response().status == 400


def test_a_field_with_an_underscore_can_be_passed_on(serving):
    assert ask(serving("--header-map", "dangerous"), request("/", "X_Thing: 1"))["HTTP_X_THING"] == "1"


# ---- who may say https ----


def scheme(server, source, *fields):
    with client_from(source, server) as client:
        client.send(request("/", *fields))
        return environ_in(client.receive_response())["wsgi.url_scheme"]


@pytest.mark.parametrize("field", ["X-Forwarded-Proto: https", "X-Forwarded-Protocol: ssl", "X-Forwarded-Ssl: on"])
def test_a_trusted_proxy_may_say_https(server, field):
    assert scheme(server, "127.0.0.1", field) == "https"


@pytest.mark.parametrize("field", ["X-Forwarded-Proto: http", "X-Forwarded-Proto: https,http", "X-Forwarded-Ssl: off"])
def test_any_other_value_says_http(server, field):
    assert scheme(server, "127.0.0.1", field) == "http"


@pytest.mark.parametrize(
    "fields",
    [["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"], ["X-Forwarded-Proto: https", "X-Forwarded-Proto: https"]],
)
def test_several_fields_may_say_https(server, fields):
    assert scheme(server, "127.0.0.1", *fields) == "https"


@pytest.mark.parametrize(
    "fields",
    [
        ["X-Forwarded-Proto: http", "X-Forwarded-Ssl: on"],
        ["X-Forwarded-Ssl: on", "X-Forwarded-Proto: http"],
        ["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"],
    ],
)
def test_fields_of_a_proxy_that_contradict_each_other_are_refused(server, fields):
    with server.client() as client:
        client.send(request("/", *fields))
        assert client.receive_response().status == 400
        assert client.is_closed_by_server()
    assert "fields in which a proxy tells the scheme contradict each other" in server.log()


def test_fields_of_a_stranger_may_contradict_each_other(server):
    assert scheme(server, "127.0.0.2", "X-Forwarded-Proto: http", "X-Forwarded-Ssl: on") == "http"


def test_a_stranger_may_not_say_https(server):
    assert scheme(server, "127.0.0.2", "X-Forwarded-Proto: https") == "http"


def test_a_network_may_be_trusted(serving):
    server = serving("--forwarded-allow-ips", "127.0.0.0/30")
    assert scheme(server, "127.0.0.2", "X-Forwarded-Proto: https") == "https"
    assert scheme(server, "127.0.0.5", "X-Forwarded-Proto: https") == "http"


def test_a_proxy_on_a_unix_socket_is_trusted(serving):
    server = serving("-b", "unix:socket")
    assert ask(server, request("/", "X-Forwarded-Proto: https"))["wsgi.url_scheme"] == "https"


def test_a_request_without_the_field_is_http_again(server):
    with client_from("127.0.0.1", server) as client:
        client.send(request("/", "X-Forwarded-Proto: https") + request("/"))
        schemes = [environ_in(client.receive_response())["wsgi.url_scheme"] for _ in range(2)]
    assert schemes == ["https", "http"]


def test_the_field_that_says_https_is_a_setting(serving):
    server = serving("--secure-scheme-headers", "X-Scheme=secure")
    assert scheme(server, "127.0.0.1", "X-Scheme: secure") == "https"
    assert scheme(server, "127.0.0.1", "X-Forwarded-Proto: https") == "http"
