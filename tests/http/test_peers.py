"""Which peers are among those that are trusted."""

import pytest

from pyserver._proxies import Peers

DEFAULT = ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("allowed", "peer", "trusted"),
    [
        (DEFAULT, "127.0.0.1", True),
        (DEFAULT, "::1", True),
        (DEFAULT, "0:0:0:0:0:0:0:1", True),
        (DEFAULT, "::ffff:127.0.0.1", True),
        (DEFAULT, "127.0.0.2", False),
        (DEFAULT, "", True),
        ((), "127.0.0.1", False),
        (("*",), "192.0.2.7", True),
        (("10.0.0.0/8",), "10.255.0.1", True),
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("10.1.2.3/8",), "10.200.0.1", True),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", True),
        (("10.0.0.0/8",), "a00::1", False),
        (("2001:db8::/32",), "2001:db8:1::1", True),
        (("2001:db8::/32",), "2001:db9::1", False),
        (("::ffff:10.0.0.0/104",), "10.1.1.1", True),
        (("0.0.0.0/0",), "203.0.113.9", True),
        (("0.0.0.0/0",), "2001:db8::1", False),
        (("192.0.2.7/32",), "192.0.2.7", True),
        (("192.0.2.0/25",), "192.0.2.127", True),
        (("192.0.2.0/25",), "192.0.2.128", False),
        (("2001:db8::/127",), "2001:db8::1", True),
        (("2001:db8::/127",), "2001:db8::2", False),
        (("::/0",), "192.0.2.7", False),
        (("10.0.0.1", "10.0.0.2"), "10.0.0.2", True),
        (("10.0.0.1", "*"), "2001:db8::1", True),
    ],
)
def test_a_peer_is_trusted_by_address_or_network(allowed, peer, trusted):
    assert Peers(allowed)(peer) is trusted
