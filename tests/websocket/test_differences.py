"""Whether this decoder and wsproto agree on the tables, but for the differences that are known."""

import pytest
from conformance.frame_differences import DIFFERENCES, difference_from_wsproto, opinion_of_ours, opinion_of_wsproto
from conformance.frames import CASES

# wsproto has no limit.
COMPARED = {name: case for name, case in CASES.items() if case.fail != 1009}


@pytest.mark.parametrize("case", COMPARED.values(), ids=COMPARED)
def test_wsproto_understands_the_same_or_the_difference_is_known(case):
    assert difference_from_wsproto(case.data, case.deflate, case.judge([case.data])) is None


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.reason)
def test_a_known_difference_has_a_case(row):
    assert any(
        row.explains(opinion_of_ours(case.judge([case.data])), opinion_of_wsproto(case.data, case.deflate))
        for case in COMPARED.values()
    )
