"""Who the client is, and what it has asked for, when a proxy says so in fields; and of whom they are believed."""

import pytest
from proxies.conftest import request
from support import eventually

FIELDS = (
    *("--forwarded-fields", "x-forwarded-for,x-forwarded-host,x-forwarded-port,x-forwarded-prefix"),
    *("--forwarded-allow-ips", "127.0.0.1,10.0.0.0/8", "--root-path", "/root"),
    *("--access-logfile", "-", "--access-logformat", "line of %(h)s: %(m)s %(U)s %(s)s"),
)
FORWARDED = (
    *("--forwarded-fields", "forwarded", "--forwarded-allow-ips", "127.0.0.1,10.0.0.0/8"),
    *("--proxy-protocol", "--header-map", "refuse", "--forwarder-headers", "SCRIPT_NAME,REMOTE_USER"),
)
# What strangers, or servers that were not asked to look, leave as it is.
WHOLE_WAY = (
    *("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: shop.example", "X-Forwarded-Port: 8443"),
    *("X-Forwarded-Prefix: /shop", "Forwarded: for=192.0.2.1;host=shop.example;proto=https"),
)


def relay(client):
    return f"PROXY TCP4 {client} 198.51.100.2 40000 443\r\n".encode()


# ---- X-Forwarded-… ----


def test_the_client_is_the_last_that_is_no_proxy(behind):
    site = behind(*FIELDS)
    told = site.ask("X-Forwarded-For: 203.0.113.9, 192.0.2.1, 10.0.0.1")
    assert told["client"] == ["192.0.2.1", "0"]


def test_each_request_of_a_connection_has_its_own_client(behind):
    site = behind(*FIELDS)
    with site.visit() as client:
        ways = ["192.0.2.1:4711", "[2001:db8::1]:80", "<script>", None]
        fields = [[f"X-Forwarded-For: {way}"] if way else [] for way in ways]
        clients = [site.asked(client, *each)["client"] for each in fields]
        host, port = client.socket.getsockname()
    assert clients == [["192.0.2.1", "4711"], ["2001:db8::1", "80"], [host, str(port)], [host, str(port)]]


def test_the_access_log_names_the_client(behind):
    site = behind(*FIELDS)
    site.ask("X-Forwarded-For: 192.0.2.77", target="/root/logged")
    site.ask(target="/root/logged/otherwise")
    eventually(lambda: "line of 127.0.0.1: GET /root/logged/otherwise 200" in site.server.log())
    assert "line of 192.0.2.77: GET /root/logged 200" in site.server.log()


@pytest.mark.parametrize(
    ("fields", "host", "port"),
    [
        (["X-Forwarded-Host: shop.example"], "shop.example", None),
        (["X-Forwarded-Host: shop.example:8443"], "shop.example:8443", None),
        (["X-Forwarded-Port: 8443"], "own.example:8443", "8443"),
        (["X-Forwarded-Port: 80"], "own.example", "80"),
        (["X-Forwarded-Port: 443", "X-Forwarded-Proto: https"], "own.example", "443"),
        (["X-Forwarded-Port: 80", "X-Forwarded-Proto: https"], "own.example:80", "80"),
        (["X-Forwarded-Host: [2001:db8::1]:80", "X-Forwarded-Port: 8443"], "[2001:db8::1]:8443", "8443"),
        (["X-Forwarded-Host: shop example", "X-Forwarded-Port: x"], "own.example", None),
    ],
)
def test_the_host_is_the_one_that_the_client_asked(behind, fields, host, port):
    site = behind(*FIELDS)
    told = site.ask(*fields)
    assert (told["host"], told["port"]) == (host, port or str(site.server.address[1]))


def test_the_prefix_is_in_front_of_where_the_application_is_mounted(behind):
    assert behind(*FIELDS).ask("X-Forwarded-Prefix: /shop/", target="/root/a")["root"] == "/shop/root"


def test_a_stranger_is_not_believed(behind):
    site = behind(*FIELDS)
    told = site.ask(*WHOLE_WAY, source="127.0.0.2")
    assert (told["client"][0], told["host"], told["root"]) == ("127.0.0.2", "own.example", "/root")
    assert told["port"] == str(site.server.address[1])


def test_nothing_is_looked_at_that_was_not_asked_for(behind):
    told = behind().ask(*WHOLE_WAY)
    assert (told["client"][0], told["host"], told["root"], told["scheme"]) == ("127.0.0.1", "own.example", "", "http")


# ---- Forwarded ----


def test_forwarded_tells_client_host_and_scheme(behind):
    told = behind(*FORWARDED).ask(
        'Forwarded: for=203.0.113.9;proto=http, for="192.0.2.1:4711";proto=https;host=shop.example',
        "Forwarded: for=10.1.1.1",
    )
    assert (told["client"], told["host"], told["scheme"]) == (["192.0.2.1", "4711"], "shop.example", "https")


def test_of_a_malformed_forwarded_nothing_is_believed(behind):
    told = behind(*FORWARDED).ask('Forwarded: for=192.0.2.1;proto=https;host=shop.example;x="')
    assert (told["client"][0], told["host"], told["scheme"]) == ("127.0.0.1", "own.example", "http")


def test_a_scheme_that_another_field_denies_is_refused(behind):
    site = behind(*FORWARDED)
    assert site.refuses(request("Forwarded: for=192.0.2.1;proto=https", "X-Forwarded-Proto: http")) == 400


def test_fields_are_not_believed_of_a_client_that_a_proxy_header_names(behind):
    told = behind(*FORWARDED).ask("Forwarded: for=192.0.2.1;host=shop.example", before=relay("203.0.113.9"))
    assert (told["client"], told["host"]) == (["203.0.113.9", "40000"], "own.example")


def test_fields_are_believed_of_a_trusted_one_that_a_proxy_header_names(behind):
    told = behind(*FORWARDED).ask("Forwarded: for=192.0.2.1;host=shop.example", before=relay("10.0.0.9"))
    assert (told["client"], told["host"]) == (["192.0.2.1", "0"], "shop.example")


# ---- fields with an underscore ----


@pytest.mark.parametrize("arguments", [(), FORWARDED])
@pytest.mark.parametrize(
    ("value", "root"),
    [
        *(("/shop", "/shop"), ("/shop/", "/shop"), ("", ""), ("/", ""), ("shop", "")),
        *(("//shop", ""), ("/\\shop", ""), ("/../shop", ""), ("/shop//a", "")),
    ],
)
def test_a_proxy_may_say_where_the_application_is_mounted(behind, arguments, value, root):
    told = behind(*arguments).ask(f"SCRIPT_NAME: {value}", target="/shop/a")
    assert (told["root"], told["path"]) == (root, "/shop/a")


def test_a_field_of_that_name_with_a_hyphen_says_nothing(behind):
    assert behind().ask("Script-Name: /shop", target="/shop/a")["root"] == ""


def test_a_proxy_may_set_fields_with_an_underscore_that_are_named(behind):
    assert behind(*FORWARDED).ask("remote_user: joe")["forwarder"] == "joe"


def test_others_are_treated_as_header_map_says(behind):
    assert behind(*FORWARDED).refuses(request("X_Thing: 1")) == 400
    assert behind().ask("REMOTE_USER: joe")["forwarder"] is None


def test_a_stranger_may_not_set_them(behind):
    assert behind(*FORWARDED).refuses(request("REMOTE_USER: joe"), source="127.0.0.2") == 400
    assert behind().ask("SCRIPT_NAME: /shop", source="127.0.0.2")["root"] == ""


def test_a_client_that_a_proxy_header_names_may_not_set_them(behind):
    site = behind(*FORWARDED)
    assert site.refuses(relay("203.0.113.9") + request("REMOTE_USER: joe")) == 400
    assert site.ask("REMOTE_USER: joe", before=relay("10.0.0.9"))["forwarder"] == "joe"
