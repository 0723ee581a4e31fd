"""Requests over TLS are requests as any other."""

import hashlib
import os
import socket
import ssl

import pytest
from records import Records
from sharing import Routes
from support import Client, eventually

application = Routes()
LARGE = bytes(range(256)) * 40_000


@application.route
def scheme(environ, start_response):
    content = environ["wsgi.url_scheme"].encode()
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


@application.route
def digest(environ, start_response):
    content = hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


@application.route
def mark(environ, start_response):
    open(f"mark {os.getppid()}", "w").close()
    return scheme(environ, start_response)


@application.route
def large(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(LARGE)))])
    return [LARGE]


@application.route
def pieces(environ, start_response):
    start_response("200 OK", [])
    return (LARGE[at : at + 10_000] for at in range(0, len(LARGE), 10_000))


@application.route
def file(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(LARGE)))])
    opened = open("large", "rb")  # noqa: SIM115  # The server closes it.
    return environ["wsgi.file_wrapper"](opened)


@pytest.fixture
def connect(serving, certificate, authority):
    """A connection to the server over TLS: `connect(receive_buffer=…)`."""
    server = serving(*certificate)
    (server.directory / "large").write_bytes(LARGE)
    clients = []

    def connected(**options):
        clients.append(Client(server.address, tls=authority.client(), **options))
        return clients[-1]

    yield connected
    for client in clients:
        client.close()


def test_a_request_is_answered(connect):
    assert connect().request("GET", "/scheme").content == b"https"


def test_a_connection_persists(connect):
    client = connect()
    assert [client.request("GET", "/scheme").content for _ in range(3)] == [b"https"] * 3


def test_requests_that_are_sent_together_are_all_answered(connect):
    client = connect()
    client.send(b"GET /scheme HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    assert [client.receive_response().content for _ in range(3)] == [b"https"] * 3


def test_a_head_that_comes_in_many_records_is_one(connect):
    client = connect()
    for byte in b"GET /scheme HTTP/1.1\r\nHost: a\r\n\r\n":
        client.send(bytes([byte]))
    assert client.receive_response().content == b"https"


def test_content_of_many_records_arrives_whole(connect):
    assert connect().request("POST", "/digest", content=LARGE).content == hashlib.sha256(LARGE).hexdigest().encode()


def test_content_in_chunks_arrives_whole(connect):
    client = connect()
    client.send(b"POST /digest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(LARGE), 70_000):
        part = LARGE[at : at + 70_000]
        client.send(b"%x\r\n%b\r\n" % (len(part), part))
    client.send(b"0\r\n\r\n")
    assert client.receive_response().content == hashlib.sha256(LARGE).hexdigest().encode()


@pytest.mark.parametrize("target", ["/large", "/pieces", "/file"])
def test_a_large_response_arrives_whole_at_a_slow_client(connect, target):
    client = connect(receive_buffer=8192)
    assert client.request("GET", target).content == LARGE


def test_a_response_that_ends_with_the_connection_ends_with_a_close_notify(connect):
    client = connect()
    client.socket.suppress_ragged_eofs = False
    client.send(b"GET /pieces HTTP/1.0\r\n\r\n")
    response = client.receive_head()
    received = b""
    while data := client.socket.recv(65536):
        received += data
    assert response.status == 200
    assert (client._received + received) == LARGE


def test_a_client_that_says_close_is_closed_with_a_close_notify(connect):
    client = connect()
    client.socket.suppress_ragged_eofs = False
    client.request("GET", "/scheme", [("Connection", "close")])
    assert client.socket.recv(1) == b""


def test_a_close_notify_behind_half_a_request_ends_it(serving, certificate, authority):
    with Records(serving(*certificate).address, authority.client()) as client:
        client.socket.sendall(client.encrypted(b"GET / HTT") + client.close_notify())
        assert client.read_until_closed() == b""


def test_a_close_notify_ends_the_connection_behind_the_response(serving, certificate, authority):
    with Records(serving(*certificate, "--keep-alive", "60").address, authority.client()) as client:
        client.socket.sendall(client.encrypted(b"GET /scheme HTTP/1.1\r\nHost: a\r\n\r\n") + client.close_notify())
        client.read_until_closed()


def test_a_request_that_a_bad_record_follows_is_one(serving, certificate, authority):
    server = serving(*certificate)
    marked = server.directory / f"mark {server.pid}"
    with Records(server.address, authority.client()) as client:
        client.socket.sendall(
            client.encrypted(b"GET /mark HTTP/1.1\r\nHost: a\r\n\r\n") + b"\x17\x03\x03\x00\x20" + bytes(32)
        )
        eventually(marked.exists)


def test_a_block_of_many_records_and_a_part_of_one_is_taken(serving, certificate, authority):
    with Records(serving(*certificate).address, authority.client()) as client:
        head = b"POST /digest HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n"
        sent = client.encrypted(head) + b"".join(client.encrypted(b"x" * length) for length in [1] * 5000 + [16000] * 3)
        sent += client.encrypted(b"x" * 7000)
        for at in range(0, len(sent), 50_021):
            client.socket.sendall(sent[at : at + 50_021])
        assert client.read_until_closed().endswith(hashlib.sha256(b"x" * 60000).hexdigest().encode())


def test_clients_with_tls_1_2_are_served(serving, certificate, authority):
    context = authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Client(serving(*certificate).address, tls=context) as client:
        assert client.request("GET", "/scheme").content == b"https"


def test_a_client_that_leaves_in_the_middle_of_a_response_disturbs_nobody(connect):
    client = connect(receive_buffer=8192)
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    client.receive_head()
    client.socket.unwrap = None
    client.close()
    assert connect().request("GET", "/scheme").content == b"https"


def test_plain_and_encrypted_binds_stand_beside_each_other(serve, certificate, authority):
    server = serve(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [environ['wsgi.url_scheme'].encode()]\n",
        *("-b", "127.0.0.1:0", "-b", "http://127.0.0.2:0", *certificate),
    )
    with Client(server.addresses[0], tls=authority.client()) as client:
        assert client.request("GET", "/").content == b"https"
    with Client(server.addresses[1]) as client:
        assert client.request("GET", "/").content == b"http"


def test_a_unix_socket_speaks_tls_too(serve, certificate, authority):
    server = serve(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [environ['wsgi.url_scheme'].encode()]\n",
        *("-b", "unix:server.sock", *certificate),
    )
    with Client(str(server.directory / "server.sock"), tls=authority.client()) as client:
        assert client.request("GET", "/").content == b"https"


def test_a_proxy_header_stands_before_the_handshake(serve, certificate, authority):
    server = serve(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [environ['REMOTE_ADDR'].encode()]\n",
        *("--proxy-protocol", "v1", *certificate),
    )
    plain = socket.create_connection(server.address, 8)
    plain.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n")
    with authority.client().wrap_socket(plain, server_hostname="localhost") as encrypted:
        encrypted.sendall(b"GET / HTTP/1.0\r\n\r\n")
        received = b""
        while data := encrypted.recv(65536):
            received += data
    assert received.endswith(b"192.0.2.7")


def test_a_refused_request_is_in_the_access_log(serving, certificate, authority):
    server = serving(*certificate, "--access-logfile", "access.log", "--access-logformat", "%(s)s %(r)s")
    with Client(server.address, tls=authority.client()) as client:
        client.send(b"GET /no-host HTTP/1.1\r\n\r\n")
        assert client.receive_response().status == 400
    eventually(lambda: (server.directory / "access.log").read_text().endswith("400 GET /no-host HTTP/1.1\n"))
