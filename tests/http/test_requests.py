"""Whether the parser makes of each request what the tables say, however its bytes arrive."""

from __future__ import annotations

import re

import pytest
from conformance.case import Case, judge
from conformance.requests import CASES, TABLES

from pyserver._http import Request

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_case
def test_a_request_that_arrives_whole_is_judged_by_the_rules(case: Case):
    outcome = judge([case.data], case.limits)
    wanted = [{"is_complete": True, **facts} for facts in case.accept]
    understood = [
        {fact: request[fact] for fact in facts} for request, facts in zip(outcome.requests, wanted, strict=False)
    ]
    assert understood == wanted
    assert len(outcome.requests) == len(wanted)
    assert outcome.refusal == (None if case.refuse is None else (case.refuse, len(case.send)))
    if case.refuse is None:
        assert outcome.is_between_requests is not case.waits


@every_case
def test_a_request_that_arrives_byte_by_byte_is_judged_the_same(case: Case):
    assert judge(case.parts(), case.limits) == judge([case.data], case.limits)


@every_case
def test_a_request_cut_anywhere_is_judged_the_same(case: Case):
    whole = judge([case.data], case.limits)
    for parts in case.cuts():
        assert judge(parts, case.limits) == whole, f"cut behind {len(parts[0])} bytes"


def test_every_case_has_a_name_of_its_own():
    assert len(CASES) == sum(map(len, TABLES.values()))


def test_every_case_says_where_its_rule_is_written():
    assert [
        case.name for case in CASES.values() if not re.fullmatch(r"RFC \d+ §\d+(\.\d+)*|PEP 3333", case.source)
    ] == []


def test_facts_name_what_a_request_has():
    attributes = {name for name in vars(Request) if not name.startswith("_")}
    assert {fact for case in CASES.values() for facts in case.accept for fact in facts} <= attributes | {
        "content",
        "is_complete",
    }
