"""The environ keys of field names: remembered and interned, but not without end."""

import sys

import pytest
from sharing import Routes

application = Routes()

REMEMBERED = 513  # NAMES and one in _wsgi.pxd
REQUESTS, FIELDS = 30, 95  # more than that, in requests of as many as are allowed by default


@application.route
def count_interned(environ, start_response):
    """How many keys that a client made up are interned; Python 3.12 never forgets these."""
    made_up = [key for key in environ if key.startswith("HTTP_X_MADE_UP")]
    interned = [key for key in made_up if sys.intern("".join(list(key))) is key]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % len(interned)]


@application.route
def value(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ[environ["QUERY_STRING"]].encode()]


def fields(number, prefix="X-Made-Up"):
    return [(f"{prefix}-{number}-{at}", f"{number} {at}") for at in range(FIELDS)]


@pytest.mark.parametrize("prefix", ["X-Made-Up", "X-Made-Up-That-Is-Longer-Than-What-Is-Remembered-Of-Names"])
def test_names_without_end_are_not_interned(server, prefix):
    with server.client() as client:
        counts = [
            int(client.request("GET", "/count_interned", fields(number, prefix)).content) for number in range(REQUESTS)
        ]
        assert sum(counts) <= REMEMBERED


def test_a_name_is_the_same_key_after_all_places_were_taken(server):
    with server.client() as client:
        for number in range(REQUESTS):
            for target, wanted in ((f"/value?HTTP_X_MADE_UP_{number}_7", f"{number} 7"), ("/value?HTTP_HOST", "test")):
                assert client.request("GET", target, fields(number)).content == wanted.encode()
