"""Formats of the access log: how they are read, and what is said about one that is wrong."""

import os
import re

import pytest
from sharing import Routes

application = Routes()

PLAIN = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return []
"""


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("nothing to fill in", "nothing to fill in"),
        ("100%% %(s)s", "100% 200"),
        ("%(s)d %(B)d", "200 0"),
        ("%(s)s%(s)s", "200200"),
        ("\u20ac %(m)s", "\\u20ac GET"),
        ("", ""),
        ('"%(r)s" %(T)s', r'"GET / HTTP/1\.1" 0'),
    ],
)
def test_a_format_is_printed_as_it_reads(logging, line, pattern):
    server, log = logging(line)
    server.get("/")
    with log.path.open(encoding="utf-8") as file:
        assert all(re.fullmatch(pattern, printed) for printed in file.read().splitlines())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%(x)s", "there is no atom %(x)s"),
        ("%(hh)s", "there is no atom %(hh)s"),
        ("%({name}x)s", "there is no atom %({name}x)s"),
        ("%()s", "there is no atom %()s"),
        ("%(h", "'%(h' is not of the form %(atom)s"),
        ("%h", "'%h' is not of the form %(atom)s"),
        ("%(h)x", "'%(h)x' is not of the form %(atom)s"),
        ("100%", "'%' is not of the form %(atom)s"),
    ],
)
def test_a_format_that_is_wrong_ends_the_server_with_one_clear_line(start, line, said):
    server = start(PLAIN, "--access-logfile", "access.log", "--access-logformat", line)
    assert server.wait() == 1
    complaints = [text for text in server.log().splitlines() if "access_log_format" in text]
    assert len(complaints) == 1
    assert said in complaints[0]
    assert "Traceback" not in server.log()


def test_a_file_that_cannot_be_opened_ends_the_server_with_one_clear_line(start):
    server = start(PLAIN, "--access-logfile", "no/such/directory/access.log")
    assert server.wait() == os.EX_OK + 1
    complaints = [text for text in server.log().splitlines() if "no/such/directory/access.log" in text]
    assert len(complaints) == 1
    assert "No such file or directory" in complaints[0]
    assert "Traceback" not in server.log()
