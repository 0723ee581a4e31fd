"""Whether every way to refuse a request has its answer, and its example."""

import re

import pytest
from conformance.requests import CASES

from pyserver._http import Fault
from pyserver.refusals import REASONS, REFUSALS

FAULTS = [fault for fault in Fault if fault is not Fault.NO_FAULT]
# What only a clock can find, or who knows whose the connection is; tests with real sockets show these.
NOT_IN_BYTES = {
    *(Fault.HEAD_TIMEOUT, Fault.CONTENT_TIMEOUT, Fault.SCHEME_CONTRADICTION),
    *(Fault.PROXY_HEADER, Fault.PROXY_FORBIDDEN, Fault.PROXY_MISSING, Fault.NOT_TLS),
}

every_refusal = pytest.mark.parametrize("refusal", REFUSALS.values(), ids=[Fault(fault).name for fault in REFUSALS])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_has_an_answer(fault):
    assert fault in REFUSALS


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault not in NOT_IN_BYTES], ids=lambda fault: fault.name
)
def test_every_fault_has_a_case(fault):
    assert [name for name, case in CASES.items() if case.refuse is fault]


def test_no_fault_is_answered_that_is_none():
    assert Fault.NO_FAULT not in REFUSALS


@every_refusal
def test_every_status_has_a_reason_phrase(refusal):
    assert refusal.status in REASONS


@every_refusal
def test_every_refusal_says_where_the_rule_is_written(refusal):
    assert re.fullmatch(r"(RFC \d+|PROXY protocol) §\d+(\.\d+)*|PEP 3333", refusal.section)


@every_refusal
def test_every_refusal_says_what_is_wrong_in_one_line(refusal):
    assert re.fullmatch(r"[\x20-\x7e]+[^.]", refusal.words)


def test_no_two_refusals_say_the_same():
    assert len({refusal.words for refusal in REFUSALS.values()}) == len(REFUSALS)
