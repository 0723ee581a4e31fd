"""What the parser for tests and fuzzers says of itself."""

import pytest

from pyserver._http import Fault, Limits, Request, RequestParser

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


def test_a_request_comes_before_its_content_and_the_end_comes_last():
    request, content, end = RequestParser().receive(POST + b"hello")
    assert isinstance(request, Request)
    assert (content, end) == (b"hello", None)


def test_a_head_is_reported_before_its_content_has_come():
    assert [type(event) for event in RequestParser().receive(POST)] == [Request]


def test_content_is_reported_as_it_arrives():
    parser = RequestParser()
    parser.receive(POST)
    assert parser.receive(b"he") == [b"he"]


def test_a_request_without_content_ends_at_once():
    assert RequestParser().receive(GET)[1:] == [None]


def test_nothing_follows_from_no_bytes():
    assert RequestParser().receive(b"") == []


def test_a_new_parser_is_between_requests():
    assert RequestParser().is_between_requests


@pytest.mark.parametrize("data", [GET[:1], GET[:-1], POST, POST + b"hell"])
def test_a_parser_within_a_request_is_not_between_requests(data):
    parser = RequestParser()
    parser.receive(data)
    assert not parser.is_between_requests


@pytest.mark.parametrize("data", [b"\r\n", b"\r", GET, POST + b"hello", GET + b"\r\n"])
def test_a_parser_before_a_request_line_is_between_requests(data):
    parser = RequestParser()
    parser.receive(data)
    assert parser.is_between_requests


def test_a_refusal_is_a_fault_and_its_offset():
    assert RequestParser().receive(b"GET /\n") == [(Fault.TARGET, 5)]


def test_nothing_is_parsed_after_a_refusal():
    parser = RequestParser()
    parser.receive(b"GET /\n")
    assert parser.receive(GET) == []


def test_a_parser_takes_bytes_only():
    with pytest.raises(TypeError):
        RequestParser().receive("GET")


def test_a_parser_does_not_take_none():
    with pytest.raises(TypeError):
        RequestParser().receive(None)


@pytest.mark.parametrize("name", ["line", "fields", "field", "content"])
def test_a_limit_is_not_negative(name):
    with pytest.raises(OverflowError):
        Limits(**{name: -1})


@pytest.mark.parametrize("name", ["line", "fields", "field", "content"])
def test_a_limit_may_be_as_large_as_anybody_likes(name):
    assert RequestParser(Limits(**{name: 1 << 100})).receive(GET)[1:] == [None]
