"""Whether nginx accepts the site in conf/nginx, and passes on what it should, over TCP and a Unix socket."""

import re
import subprocess
from typing import NamedTuple

import pytest
from conf.files import CONF, read, tool
from support import Client, Server, eventually
from websocket_client import WebSocketClient

from pyserver.settings.model import Settings

SITE = read("nginx/pyserver.conf")
NGINX = tool("nginx")
UPSTREAM = "server 127.0.0.1:8000;"
UNIX_UPSTREAM = "# server unix:/run/pyserver/shop.sock;"
BIG = 3_000_000  # bytes; more than the kernel's buffers of a socket

needs_nginx = pytest.mark.skipif(not NGINX, reason="nginx is not installed here")

APPLICATION = """
import asyncio

released = None


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await talk(receive, send)
    elif scope["type"] == "http":
        await ANSWERS[scope["path"]](scope, receive, send)


async def talk(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


async def respond(send, content, *, more=False, fields=()):
    await send({"type": "http.response.start", "status": 200, "headers": list(fields)})
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def what_arrived(scope, receive, send):
    fields = {name.decode(): value.decode() for name, value in scope["headers"]}
    fields["scheme"] = scope["scheme"]
    fields["port"] = str((scope["client"] or ["", "none"])[1])
    await respond(send, repr(fields).encode())


async def length(scope, receive, send):
    total, more = 0, True
    while more:
        event = await receive()
        total += len(event["body"])
        more = event["more_body"]
    await respond(send, str(total).encode())


async def stream(scope, receive, send):
    global released
    released = asyncio.Event()
    await respond(send, b"data: first\\n\\n", more=True, fields=[(b"x-accel-buffering", b"no")])
    await released.wait()
    await send({"type": "http.response.body", "body": b"data: last\\n\\n"})


async def release(scope, receive, send):
    released.set()
    await respond(send, b"")


ANSWERS = {"/": what_arrived, "/length": length, "/stream": stream, "/release": release}
"""


class Proxied(NamedTuple):
    """A server and the nginx before it, which listens on a Unix socket."""

    server: Server
    path: str

    def client(self, timeout=10.0):
        return Client(self.path, timeout)

    def is_open(self):
        # The socket has its name before it takes connections.
        try:
            self.client().close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    """A server that listens on TCP and on a Unix socket."""
    directory = tmp_path_factory.mktemp("upstream")
    (directory / "app.py").write_text(APPLICATION, "utf-8")
    keep_alive = re.search(r"--keep-alive (\d+)", read("systemd/pyserver.service"))
    server = Server(
        "app:application", "--bind", "127.0.0.1:0", "--bind", "unix:s.sock", *keep_alive[0].split(), directory=directory
    )
    try:
        server.wait_until_listening()
        yield server
    finally:
        server.stop()


def site_for(server, over, path):
    """The site, with another place to listen at and this server behind it."""
    host_and_port, socket = server.addresses
    text = re.sub(r"(?m)^    listen 80;\n    listen \[::\]:80;$", f"    listen unix:{path};", SITE)
    if over == "unix":
        text = text.replace(UPSTREAM, "").replace(UNIX_UPSTREAM, f"server unix:{socket};")
    return text.replace(UPSTREAM, "server {}:{};".format(*host_and_port))


def write_configuration(directory, site):
    (directory / "site.conf").write_text(site, "utf-8")
    places = "".join(
        f"{name}_temp_path {name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}include site.conf;\n}}\n",
        "utf-8",
    )
    return [NGINX, "-e", "stderr", "-p", f"{directory}/", "-c", "nginx.conf"]


@pytest.fixture(scope="module", params=["tcp", "unix"])
def proxied(request, upstream, tmp_path_factory):
    directory = tmp_path_factory.mktemp("nginx")
    command = write_configuration(directory, site_for(upstream, request.param, directory / "n.sock"))
    with (directory / "nginx.log").open("wb") as log:
        nginx = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        site = Proxied(upstream, str(directory / "n.sock"))
        eventually(site.is_open)
        yield site
        assert "[emerg]" not in (directory / "nginx.log").read_text("utf-8")
    finally:
        nginx.terminate()
        nginx.wait(10)


@needs_nginx
def test_nginx_accepts_the_site_as_it_is(tmp_path):
    checked = subprocess.run([*write_configuration(tmp_path, SITE), "-t"], capture_output=True, text=True)
    assert (checked.returncode, re.findall(r"\[(warn|emerg)\].*", checked.stderr)) == (0, []), checked.stderr


@needs_nginx
def test_the_application_learns_how_the_client_connected(proxied):
    with proxied.client() as client:
        answer = client.request("GET", "/", [("X-Forwarded-For", "192.0.2.7")]).content.decode()
    for part in ("'host': 'test'", "'x-forwarded-proto': 'http'", "'x-forwarded-for': '192.0.2.7, unix:'"):
        assert part in answer


@needs_nginx
def test_a_scheme_that_the_client_claims_is_not_passed_on(proxied):
    with proxied.client() as client:
        answer = client.request("GET", "/", [("X-Forwarded-Proto", "https")]).content.decode()
    assert "'scheme': 'http'" in answer


@needs_nginx
def test_requests_share_a_connection_to_the_server(proxied):
    seen = set()
    for _ in range(3):
        with proxied.client() as client:
            answer = client.request("GET", "/").content.decode()
        assert "'connection'" not in answer
        seen.add(re.search(r"'port': '(.+?)'", answer)[1])
    assert len(seen) == 1


@needs_nginx
def test_a_websocket_is_passed_on(proxied):
    with WebSocketClient(proxied) as websocket:
        websocket.send("there and back")
        assert websocket.receive_message() == "there and back"


@needs_nginx
def test_a_large_request_is_passed_on(proxied):
    with proxied.client() as client:
        assert client.request("POST", "/length", content=b"x" * BIG).content == str(BIG).encode()


@needs_nginx
def test_a_request_over_the_limit_is_refused_before_the_server(proxied):
    with proxied.client() as client:
        client.send(b"POST /length HTTP/1.1\r\nHost: test\r\nContent-Length: 10485761\r\n\r\n")
        assert client.receive_response().status == 413


@needs_nginx
def test_a_stream_of_events_arrives_as_it_is_made(proxied):
    with proxied.client() as client, proxied.client() as other:
        client.send(b"GET /stream HTTP/1.1\r\nHost: test\r\n\r\n")
        client.receive_head()
        assert client.receive_chunk() == b"data: first\n\n"
        other.request("GET", "/release")
        assert client.receive_chunk() == b"data: last\n\n"


def seconds(name):
    return float(re.search(rf"(?m)^ +{name} (\d+)s;$", SITE)[1])


def test_it_is_nginx_that_closes_idle_connections():
    given = {
        float(value)
        for name in ("systemd/pyserver.service", "systemd/shop.env")
        for value in re.findall(r"(?:--keep-alive |PYSERVER_KEEPALIVE=)(\d+)", read(name))
    }
    assert len(given) == 1
    assert seconds("keepalive_timeout") < min(given)


def test_it_is_the_server_that_ends_what_takes_too_long():
    defaults = Settings()
    assert seconds("proxy_read_timeout") > max(defaults.timeout, defaults.ws_ping_interval)
    assert seconds("proxy_send_timeout") >= defaults.write_timeout


@needs_nginx
def test_a_second_application_has_the_file_under_another_name(tmp_path):
    other = SITE.replace("shop", "blog").replace("server_name example.com", "server_name example.org")
    checked = subprocess.run([*write_configuration(tmp_path, SITE + other), "-t"], capture_output=True, text=True)
    assert (checked.returncode, re.findall(r"\[(warn|emerg)\].*", checked.stderr)) == (0, []), checked.stderr


@needs_nginx
@pytest.mark.skipif(not tool("openssl"), reason="openssl is not installed here")
def test_nginx_accepts_the_example_of_the_page_about_proxies(tmp_path):
    page = (CONF.parent / "docs" / "proxies.md").read_text("utf-8")
    example = re.search(r"(?ms)^```nginx\n(upstream .*?)^```$", page)[1]
    key, certificate = tmp_path / "app.key", tmp_path / "app.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    example = example.replace("/etc/ssl", str(tmp_path))
    checked = subprocess.run([*write_configuration(tmp_path, example), "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
