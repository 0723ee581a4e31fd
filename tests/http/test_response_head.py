"""Whether response heads are what the tables say, and exactly dated."""

from __future__ import annotations

import calendar
from email.utils import formatdate

import pytest
from conformance import responses
from conformance.responses import CASES, ResponseCase

from pyserver._response import format_response_head

SENT = {name: case for name, case in CASES.items() if case.refuse is None}
REFUSED = {name: case for name, case in CASES.items() if case.refuse}


def instant(*date: int) -> int:
    """The Unix time of (year, month, day, hours, minutes, seconds); what is left out is the least."""
    return calendar.timegm((*date, *(1970, 1, 1, 0, 0, 0)[len(date) :]))


def head_of(case: ResponseCase) -> tuple[bytes, bool]:
    return format_response_head(case.status, case.fields, **case.options)


@pytest.mark.parametrize("case", SENT.values(), ids=SENT)
def test_a_response_head_holds_these_lines_and_no_others(case: ResponseCase):
    assert head_of(case)[0] == "\r\n".join([case.status_line, *case.lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("case", SENT.values(), ids=SENT)
def test_a_response_head_decides_whether_the_connection_persists(case: ResponseCase):
    assert head_of(case)[1] is case.persists


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_an_application_may_not_give_is_refused(case: ResponseCase):
    with pytest.raises(case.refuse):
        head_of(case)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_not_quoted_raw(case: ResponseCase):
    with pytest.raises(case.refuse) as raised:
        head_of(case)
    assert str(raised.value).isprintable()


def test_every_case_has_a_name_of_its_own():
    tables = (responses.STATUSES, responses.FIELDS, responses.FRAMING, responses.STAMPS)
    assert len(CASES) == sum(map(len, tables))


def test_fields_may_be_given_by_any_iterable():
    head, _ = format_response_head("200 OK", (("X", text) for text in "bc"), known=0, date=False)
    assert head == b"HTTP/1.1 200 OK\r\nX: b\r\nX: c\r\nContent-Length: 0\r\n\r\n"


def test_an_error_of_the_iterable_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        format_response_head("200 OK", (("X", str(1 // number)) for number in (1, 0)))


def test_a_subclass_of_str_is_a_str():
    class Text(str):
        __slots__ = ()

    head, _ = format_response_head(Text("200 OK"), [(Text("X"), Text("b"))], known=0, date=False)
    assert head == b"HTTP/1.1 200 OK\r\nX: b\r\nContent-Length: 0\r\n\r\n"


def test_a_head_may_be_longer_than_any_buffer():
    head, _ = format_response_head("200 OK", [("X", "b" * 100_000)] * 3, known=0, date=False)
    assert head == b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"b" * 100_000 + b"\r\n") * 3 + b"Content-Length: 0\r\n\r\n"


@pytest.mark.parametrize("size", [4096, 8192])
def test_a_head_may_end_anywhere_around_the_end_of_a_buffer(size):
    # The sanitizers see what is written beyond it.
    for length in range(size - 400, size + 10):
        head, _ = format_response_head("200 OK", [("X", "b" * length)], server=b"s" * 64, known=5, minor=0)
        assert head.startswith(b"HTTP/1.1 200 OK\r\nX: " + b"b" * length + b"\r\nDate: ")
        assert head.endswith(b"\r\nServer: " + b"s" * 64 + b"\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n")


INSTANTS = {
    "the-first-second": 0,
    "the-last-second-of-a-day": 86399,
    "the-second-day": 86400,
    "the-example-of-rfc-9110": 784111777,
    "a-leap-day": instant(2024, 2, 29, 23, 59, 59),
    "the-day-behind-a-leap-day": instant(2024, 3, 1),
    "the-last-day-of-a-leap-year": instant(2024, 12, 31),
    "no-leap-day": instant(2023, 2, 28, 23, 59, 59),
    "the-day-behind-no-leap-day": instant(2023, 3, 1),
    "the-leap-day-of-a-fourth-century": instant(2000, 2, 29),
    "the-day-behind-it": instant(2000, 3, 1),
    "no-leap-day-of-a-century": instant(2100, 2, 28, 23, 59, 59),
    "the-day-behind-none": instant(2100, 3, 1),
    "the-next-fourth-century": instant(2400, 2, 29),
    "behind-31-bits": 1 << 31,
    "behind-32-bits": 1 << 32,
    "the-last-second-of-four-digits": instant(9999, 12, 31, 23, 59, 59),
}


def date_at(unix_time: int) -> str:
    head, _ = format_response_head("200 OK", [], known=0, unix_time=unix_time)
    return head.split(b"\r\n")[1].removeprefix(b"Date: ").decode()


@pytest.mark.parametrize("unix_time", INSTANTS.values(), ids=INSTANTS)
def test_a_date_is_that_of_the_standard_library(unix_time):
    assert date_at(unix_time) == formatdate(unix_time, usegmt=True)


@pytest.mark.parametrize("month", range(1, 13), ids=lambda month: calendar.month_name[month])
def test_the_first_and_the_last_day_of_each_month_are_dated_in_every_year(month):
    for year in range(1970, 2402):
        for day in (1, calendar.monthrange(year, month)[1]):
            unix_time = instant(year, month, day, year % 24, day, month)
            assert date_at(unix_time) == formatdate(unix_time, usegmt=True)
