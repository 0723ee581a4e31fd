"""Whether the parser and h11 agree on the tables, but for the differences that are known."""

from __future__ import annotations

import pytest
from conformance.case import judge
from conformance.differences import LAXER, STRICTER, difference_from_h11, opinion_of_h11
from conformance.requests import CASES

# Limits are h11's own affair.
LIFTED = {"line": 0, "fields": 0, "field": 0}
COMPARED = {name: case for name, case in CASES.items() if not case.limits and case.stride == 1}


@pytest.mark.parametrize("case", COMPARED.values(), ids=COMPARED)
def test_h11_understands_the_same_or_the_difference_is_known(case):
    outcome = judge([case.data], LIFTED)
    assert difference_from_h11(case.data, outcome.requests, outcome.refusal) is None


@pytest.mark.parametrize("row", STRICTER, ids=lambda row: f"{row.fault.name}-{row.reason}")
def test_a_known_refusal_of_ours_has_a_case_that_h11_accepts(row):
    cases = [case for case in COMPARED.values() if case.refuse is row.fault and not case.first]
    assert any(
        row.where(case.data, len(case.send))
        and (opinion_of_h11(case.data).is_complete or (not case.accept and opinion_of_h11(case.data).request))
        for case in cases
    )


@pytest.mark.parametrize("row", LAXER, ids=lambda row: row.reason)
def test_a_known_refusal_of_h11_has_a_case_that_we_accept(row):
    cases = [case for case in COMPARED.values() if case.refuse is None]
    assert any(row.where(case.data, 0) and opinion_of_h11(case.data).refusal for case in cases)
