"""Certificates and keys: which is shown to whom, who is asked for one, and what happens when files change."""

import contextlib
import os
import shutil
import signal
import ssl
import subprocess

import pytest
from classes import DEFAULT
from sharing import Routes
from support import Client, eventually

from pyserver.arbiter.certificates import Files, context_of
from pyserver.errors import ConfigError
from pyserver.settings.model import Settings

application = Routes()
SECOND = 1_000_000_000
NOT_SERVED = (ssl.SSLError, ConnectionError, EOFError)


@pytest.fixture(scope="module")
def worker_class():
    """The one of a plain server: what is shown here is the arbiter's to do, and ssl's."""
    return DEFAULT


@application.route
def client(environ, start_response):
    start_response("200 OK", [])
    return [f"{key}={value}\n".encode("latin-1") for key, value in environ.items() if key.startswith("SSL_CLIENT_")]


def reload(server):
    """HUP, and wait until all workers are new ones."""
    before = set(server.workers())
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.workers() and not before & set(server.workers()))


def shown(server, context, name="localhost"):
    """The names in the certificate that a client gets who asks for that name."""
    with Client(server.address) as plain:
        context.check_hostname = False
        with context.wrap_socket(plain.socket, server_hostname=name) as encrypted:
            return [value for _, value in encrypted.getpeercert()["subjectAltName"]]


# ---- several of them ----


@pytest.fixture
def with_names(serving, certificate, authority):
    """A server with a certificate for localhost, one for a name, and one for a domain."""
    named, domain = authority.issue("www.example.org", file="www"), authority.issue("*.example.net", file="domain")
    names = ("--sni", f"www.example.org={','.join(named)}", "--sni", f"*.example.net={','.join(domain)}")
    return serving(*certificate, *names)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("www.example.org", ["www.example.org"]),
        ("WWW.example.ORG", ["www.example.org"]),
        ("www.example.org.", ["www.example.org"]),
        ("any.example.net", ["*.example.net"]),
        ("a.b.example.net", ["localhost", "127.0.0.1"]),
        ("elsewhere.example", ["localhost", "127.0.0.1"]),
        (None, ["localhost", "127.0.0.1"]),
    ],
)
def test_the_certificate_is_that_of_the_name(with_names, authority, asked, found):
    assert shown(with_names, authority.client(), asked) == found


@pytest.mark.parametrize("length", [1000, 300, 1])
def test_a_name_that_is_not_ascii_is_refused_in_one_line(with_names, authority, length):
    before = with_names.log()
    hello = hello_of(authority.client(), "xxxxxxxx.example").replace(b"xxxxxxxx", "münchen".encode())
    # The same in several records.
    body = hello[5:]
    parts = [body[at : at + length] for at in range(0, len(body), length)]
    with Client(with_names.address) as client:
        for part in parts:
            client.send(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part)
        assert client.read_until_closed() == b"\x15\x03\x03\x00\x02\x02\x70"
    (line,) = with_names.log().removeprefix(before).splitlines()
    assert "it asks for a name that is not ASCII" in line


def hello_of(context, name):
    """What a client sends first."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


# ---- those of clients ----


def asked(authority, serving, certificate, requirement):
    return serving(*certificate, "--ca-certs", authority.file, "--cert-reqs", requirement)


def test_environ_says_who_the_client_is(serving, certificate, authority):
    server = asked(authority, serving, certificate, "required")
    own = authority.issue("alice@example.org", file="alice", common_name="Älice, A")
    with Client(server.address, tls=authority.client(own)) as connection:
        told = connection.request("GET", "/client").content.decode()
    assert "SSL_CLIENT_VERIFY=SUCCESS" in told
    assert "CN=Älice\\, A" in told
    assert "-----BEGIN CERTIFICATE-----" in told


def test_a_client_without_a_certificate_is_not_served_where_one_is_required(serving, certificate, authority):
    server = asked(authority, serving, certificate, "required")
    with pytest.raises(NOT_SERVED), Client(server.address, tls=authority.client()) as one:
        one.request("GET", "/client")
    eventually(lambda: "peer did not return a certificate" in server.log())


def test_a_client_without_a_certificate_is_served_where_it_is_optional(serving, certificate, authority):
    server = asked(authority, serving, certificate, "optional")
    with Client(server.address, tls=authority.client()) as connection:
        assert connection.request("GET", "/client").content == b"SSL_CLIENT_VERIFY=NONE\n"


def test_a_certificate_of_somebody_else_is_refused(serving, certificate, authority, tmp_path):
    stranger = type(authority)(tmp_path).issue("mallory@example.org", file="mallory")
    server = asked(authority, serving, certificate, "optional")
    with pytest.raises(NOT_SERVED), Client(server.address, tls=authority.client(stranger)) as one:
        one.request("GET", "/client")
    eventually(lambda: "self-signed" in server.log() or "unable to get local issuer certificate" in server.log())


def test_nothing_is_told_where_nobody_is_asked(serving, certificate, authority):
    with Client(serving(*certificate).address, tls=authority.client()) as connection:
        assert connection.request("GET", "/client").content == b""


# ---- going on with a session ----


def test_a_session_goes_on_with_another_worker_after_a_reload(serve, certificate, authority):
    server = serve(HELLO, *certificate)
    context = authority.client()
    with Client(server.address, tls=context) as first:
        first.request("GET", "/")
        session = first.socket.session
    reload(server)
    with Client(server.address, tls=context, session=session) as second:
        assert second.request("GET", "/").content == b"hello"
        assert second.socket.session_reused


# ---- the hook ----


def test_what_a_hook_did_before_a_reload_is_not_there_after_it(serve, authority, certificate, tmp_path):
    named = f"certfile = {certificate[1]!r}\nkeyfile = {certificate[3]!r}\n"
    hook = "import ssl\ndef ssl_context(config, factory):\n    context = factory()\n"
    hook += f"    context.load_verify_locations({authority.file!r})\n    context.verify_mode = ssl.CERT_REQUIRED\n"
    (tmp_path / "server.conf.py").write_text(named + hook + "    return context\n")
    server = serve(HELLO, "-c", "server.conf.py")
    with pytest.raises(NOT_SERVED), Client(server.address, tls=authority.client()) as one:
        one.request("GET", "/")
    (tmp_path / "server.conf.py").write_text(named)
    reload(server)
    with Client(server.address, tls=authority.client()) as one:
        assert one.request("GET", "/").content == b"hello"


def test_a_hook_is_asked_for_the_certificate_of_each_name(serve, authority, certificate, tmp_path):
    names = ",".join(authority.issue("www.example.org", file="www"))
    (tmp_path / "server.conf.py").write_text(
        f"certfile = {certificate[1]!r}\nkeyfile = {certificate[3]!r}\nsni = ['www.example.org={names}']\n"
        "import ssl\ndef ssl_context(config, factory):\n"
        "    print('asked by', config.worker_class_str, config.certfile, config.keyfile, flush=True)\n"
        f"    context = factory()\n    context.load_verify_locations({authority.file!r})\n"
        "    context.verify_mode = ssl.CERT_REQUIRED\n    return context\n"
    )
    server = serve(HELLO, "-c", "server.conf.py")
    assert f"asked by sync {certificate[1]} {certificate[3]}" in server.log()
    assert f"asked by sync {names.replace(',', ' ')}" in server.log()
    context = authority.client(authority.issue("alice@example.org", file="alice"))
    context.check_hostname = False
    with Client(server.address) as plain, context.wrap_socket(plain.socket, server_hostname="www.example.org") as own:
        own.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert own.recv(1000).startswith(b"HTTP/1.1 200 OK")


# ---- files that change ----


def replace(certificate, by):
    for old, new in zip((certificate[1], certificate[3]), by, strict=True):
        shutil.copy(new, old)


@pytest.fixture
def own(authority, tmp_path):
    """The options of a server whose certificate is its own, and may change."""
    certfile, keyfile = authority.issue("localhost", file=f"own-{os.urandom(4).hex()}")
    return "--certfile", certfile, "--keyfile", keyfile


HELLO = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


def test_a_reload_takes_up_new_files(serve, authority, own):
    server = serve(HELLO, *own)
    replace(own, authority.issue("localhost", "new.example", file="new"))
    reload(server)
    assert shown(server, authority.client()) == ["localhost", "new.example"]


def test_a_broken_pair_leaves_the_old_one_in_use(serve, authority, own):
    server = serve(HELLO, *own)
    replace(own, (authority.issue("localhost", file="one")[0], authority.issue("localhost", file="two")[1]))
    server.send_signal(signal.SIGHUP)
    eventually(lambda: "The reload is refused and nothing has changed" in server.log())
    assert "the key is not that of the certificate" in server.log()
    assert shown(server, authority.client()) == ["localhost"]


def test_files_that_change_are_noticed(serve, authority, own):
    server = serve(HELLO, *own, "--certificate-check", "100ms")
    replace(own, authority.issue("localhost", "new.example", file="new"))
    eventually(lambda: shown(server, authority.client()) == ["localhost", "new.example"])


def test_a_change_is_taken_up_when_what_hindered_its_reload_is_over(serve, authority, own, tmp_path):
    (tmp_path / "server.conf.py").write_text("import os\nassert not os.path.exists('hindered')\n")
    server = serve(HELLO, *own, "--certificate-check", "100ms", "-c", "server.conf.py")
    (tmp_path / "hindered").touch()
    replace(own, authority.issue("localhost", "new.example", file="new"))
    eventually(lambda: "The reload is refused and nothing has changed" in server.log())
    (tmp_path / "hindered").unlink()
    eventually(lambda: shown(server, authority.client()) == ["localhost", "new.example"])


def test_a_file_that_cannot_be_a_certificate_is_not_tried_again(own):
    files = Files(Settings(certfile=own[1], keyfile=own[3], certificate_check=1), 0)
    with open(own[1], "w") as certfile:
        certfile.write("none")
    assert files.changed(1 * SECOND) == [own[1]]
    with pytest.raises(ConfigError) as refused:
        context_of(Settings(certfile=own[1], keyfile=own[3]))
    files.note_refusal(refused.value)
    assert files.changed(2 * SECOND) == []


def test_a_file_that_others_may_read_has_changed(own):
    files = Files(Settings(certfile=own[1], keyfile=own[3], certificate_check=1), 0)
    os.chmod(own[3], 0o640)
    assert files.changed(SECOND) == [own[3]]


# ---- what cannot be loaded ----


def refusal(start, *arguments):
    server = start(HELLO, *arguments)
    assert server.wait() == 1
    return server.log()


def test_a_missing_file_is_told(start, certificate):
    assert "certfile: cannot read missing.pem: No such file or directory" in refusal(start, "--certfile", "missing.pem")


def test_a_missing_key_is_told(start, certificate):
    assert "there is no private key in it" in refusal(start, "--certfile", certificate[1])


def test_a_key_of_another_certificate_is_told(start, authority, certificate):
    other = authority.issue("other", file="other")
    told = refusal(start, "--certfile", certificate[1], "--keyfile", other[1])
    assert "the key is not that of the certificate" in told


def test_a_key_without_a_certificate_is_told(start, certificate):
    assert "certfile no certificate for it" in refusal(start, "--keyfile", certificate[3])


def test_asking_clients_without_an_authority_is_told(start, certificate):
    assert "ca_certs names nobody" in refusal(start, *certificate, "--cert-reqs", "required")


def test_an_https_bind_without_a_certificate_is_told(start):
    assert "certfile names no certificate for it" in refusal(start, "-b", "https://127.0.0.1:0")


def encrypted_key(certificate, directory):
    path = directory / "encrypted.pem"
    command = ["openssl", "pkey", "-in", certificate[3], "-aes256", "-passout", "pass:secret", "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return str(path)


def test_an_encrypted_key_without_a_password_is_told(start, certificate, tmp_path):
    key = encrypted_key(certificate, tmp_path)
    told = refusal(start, "--certfile", certificate[1], "--keyfile", key)
    assert "keyfile_password does not say where its password is" in told


def test_a_wrong_password_is_told(start, certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_PASSWORD", "wrong")
    key = encrypted_key(certificate, tmp_path)
    options = ("--certfile", certificate[1], "--keyfile", key, "--keyfile-password", "env:KEY_PASSWORD")
    assert "the password of the key is wrong" in refusal(start, *options)


@pytest.mark.parametrize("source", ["file", "env"])
def test_the_password_of_a_key_is_found(serve, certificate, authority, tmp_path, monkeypatch, source):
    monkeypatch.setenv("KEY_PASSWORD", "secret")
    (tmp_path / "password").write_text("secret\n")
    place = "env:KEY_PASSWORD" if source == "env" else f"file:{tmp_path / 'password'}"
    key = encrypted_key(certificate, tmp_path)
    server = serve(HELLO, "--certfile", certificate[1], "--keyfile", key, "--keyfile-password", place)
    with Client(server.address, tls=authority.client()) as connection:
        assert connection.request("GET", "/").content == b"hello"
