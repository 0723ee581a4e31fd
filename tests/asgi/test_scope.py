"""What an application is told of a request: the scope of ASGI 3, HTTP and WebSockets 2.5."""

import ast

import pytest
from calls import body, start
from support import Client
from websocket_client import WebSocketClient


async def application(scope, receive, send):
    """Answer with the scope, and leave traces in it."""
    told = repr(scope).encode()
    if scope["type"] == "lifespan":
        return
    scope["extensions"]["left"] = scope["asgi"]["left"] = scope["state"]["left"] = scope["left"] = True
    scope["headers"].append((b"left", b"by another"))
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": told})
        return
    await send(start())
    await send(body(told))


def scope_of(server, line, *fields, host="Host: a"):
    with server.client() as client:
        client.send("\r\n".join([line, host, *fields, "Connection: close", "", ""]).encode("latin-1"))
        response = client.receive_response()
        assert response.status == 200
        return ast.literal_eval(response.content.decode())


def socket_scope_of(server, target="/", **options):
    with WebSocketClient(server, target, **options) as client:
        return ast.literal_eval(client.receive_message().decode())


def test_a_request_has_every_field_and_no_other(server):
    with server.client() as client:
        response = client.request("GET", "/shop/cart?id=1&x")
        scope = ast.literal_eval(response.content.decode())
        assert scope["extensions"].pop("pyserver")["queue_time"] >= 0
        assert scope == {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/shop/cart",
            "raw_path": b"/shop/cart",
            "query_string": b"id=1&x",
            "root_path": "",
            "headers": [(b"host", b"test")],
            "client": client.socket.getsockname(),
            "server": server.address,
            "state": {},
            "extensions": {
                "http.response.early_hint": {},
                "http.response.trailers": {},
                "http.response.pathsend": {},
                "http.response.zerocopysend": {},
            },
        }


def test_a_websocket_has_every_field_and_no_other(server):
    with WebSocketClient(server, "/chat?id=1", fields=["Sec-WebSocket-Protocol: a, b"]) as client:
        scope = ast.literal_eval(client.receive_message().decode())
        assert scope.pop("headers")[0] == (b"host", b"a")
        assert scope["extensions"].pop("pyserver", {"queue_time": 0.001})["queue_time"] >= 0.001
        assert scope == {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/chat",
            "raw_path": b"/chat",
            "query_string": b"id=1",
            "root_path": "",
            "client": client.socket.getsockname(),
            "server": server.address,
            "subprotocols": ["a", "b"],
            "state": {},
            "extensions": {"websocket.http.response": {}},
        }


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/", "/", b"/", b""),
        ("/a%20b", "/a b", b"/a%20b", b""),
        ("/a%2Fb", "/a/b", b"/a%2Fb", b""),
        ("/%C3%A9", "/é", b"/%C3%A9", b""),
        ("/%ff", "/\ufffd", b"/%ff", b""),
        ("/a+b", "/a+b", b"/a+b", b""),
        ("/a?b=%C3%A9+c", "/a", b"/a", b"b=%C3%A9+c"),
        ("/a?", "/a", b"/a", b""),
        ("/a?b?c", "/a", b"/a", b"b?c"),
        ("//a", "//a", b"//a", b""),
        ("/a/../b", "/a/../b", b"/a/../b", b""),
        ("http://a/b%20c?d", "/b c", b"/b%20c", b"d"),
        ("http://a", "/", b"/", b""),
        ("http://a?b", "/", b"/", b"b"),
    ],
)
def test_the_target_is_taken_apart_and_the_path_decoded(server, target, path, raw_path, query):
    scope = scope_of(server, f"GET {target} HTTP/1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


def test_a_request_for_the_whole_server_has_an_asterisk(server):
    scope = scope_of(server, "OPTIONS * HTTP/1.1")
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("OPTIONS", "*", b"*")


def test_field_names_are_in_lower_case_and_all_lines_are_there_in_order(server):
    scope = scope_of(server, "GET / HTTP/1.1", "X-B: 1", "Cookie: a=b", "x-a:  2 \t", "X-B: 3, 4", "Cookie: c", "X-C:")
    assert scope["headers"][1:-1] == [
        (b"x-b", b"1"),
        (b"cookie", b"a=b"),
        (b"x-a", b"2"),
        (b"x-b", b"3, 4"),
        (b"cookie", b"c"),
        (b"x-c", b""),
    ]


def test_field_values_are_the_bytes_that_were_sent(server):
    scope = scope_of(server, "GET / HTTP/1.1", "X-Name: \xe9\xff")
    assert (b"x-name", b"\xe9\xff") in scope["headers"]


def test_fields_of_one_request_are_not_taken_for_those_of_another(server):
    lines = [[f"X-{'N' * (size % 70)}{number}: {'v' * size}{number}" for size in range(90)] for number in range(5)]
    for sent in [*lines, *lines]:
        found = [name + b": " + value for name, value in scope_of(server, "GET / HTTP/1.1", *sent)["headers"][1:-1]]
        assert found == [
            line.partition(":")[0].lower().encode() + b":" + line.partition(":")[2].encode() for line in sent
        ]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "GETS", "GE", "X-1"])
def test_every_method_is_served(server, method):
    assert scope_of(server, f"{method} / HTTP/1.1")["method"] == method


def test_a_method_in_lower_case_is_refused_for_asgi_would_change_it(server):
    with server.client() as client:
        assert client.request("get").status == 501
        assert client.is_closed_by_server()


def test_http_1_0_is_told(server):
    assert scope_of(server, "GET / HTTP/1.0", host="X-A: b")["http_version"] == "1.0"


def without_what_varies(scope):
    """It, but for what no two requests have in common."""
    del scope["client"]
    scope["extensions"].pop("pyserver", None)
    return scope


def test_what_an_application_leaves_in_its_scope_is_not_in_the_next(server):
    first, second = (without_what_varies(scope_of(server, "GET / HTTP/1.1")) for _ in range(2))
    assert first == second


def test_what_an_application_leaves_in_the_scope_of_a_websocket_is_not_in_the_next(server):
    first, second = (without_what_varies(socket_scope_of(server)) for _ in range(2))
    assert first == second


def test_a_name_with_an_underscore_is_dropped(server):
    assert scope_of(server, "GET / HTTP/1.1", "X_Forged: 1", "X-A: 1")["headers"][1] == (b"x-a", b"1")


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        (["X-Forwarded-Proto: https"], "https"),
        (["X-Forwarded-Proto: http"], "http"),
        (["X-Forwarded-Ssl: on"], "https"),
    ],
)
def test_a_trusted_proxy_says_the_scheme(server, fields, scheme):
    assert scope_of(server, "GET / HTTP/1.1", *fields)["scheme"] == scheme


def test_fields_of_a_proxy_that_contradict_each_other_are_refused(server):
    with server.client() as client:
        client.request("GET", "/", [("X-Forwarded-Proto", "https")])
        response = client.request("GET", "/", [("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "off")])
        assert (response.status, client.is_closed_by_server()) == (400, True)


def test_a_trusted_proxy_says_the_scheme_of_a_websocket(server):
    assert socket_scope_of(server, fields=["X-Forwarded-Proto: https"])["scheme"] == "wss"


@pytest.fixture(scope="module")
def other(share):
    """A server whose settings have an effect on the scope, at a Unix socket, too."""
    return share(
        *("-b", "127.0.0.1:0", "-b", "unix:web.sock", "--root-path", "/mounted", "--header-map", "dangerous"),
        *("--forwarded-allow-ips", "10.0.0.1", "--no-sendfile"),
    )


def test_the_root_path_is_that_of_the_settings(other):
    scope = scope_of(other, "GET /a HTTP/1.1")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/mounted", "/a", b"/a")


def test_names_with_an_underscore_can_be_had(other):
    assert (b"x_a", b"1") in scope_of(other, "GET / HTTP/1.1", "X_A: 1")["headers"]


def test_who_is_no_trusted_proxy_does_not_say_the_scheme(other):
    assert scope_of(other, "GET / HTTP/1.1", "X-Forwarded-Proto: https")["scheme"] == "http"


def test_a_unix_socket_has_a_path_and_no_client(other):
    with Client(next(address for address in other.addresses if isinstance(address, str))) as client:
        scope = ast.literal_eval(client.request("GET").content.decode())
    assert (scope["server"], scope["client"]) == (("web.sock", None), None)


def test_without_sendfile_no_file_can_be_given(other):
    extensions = scope_of(other, "GET / HTTP/1.1")["extensions"]
    assert set(extensions) == {"http.response.early_hint", "http.response.trailers", "pyserver"}
