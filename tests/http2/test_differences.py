"""Whether h2, as a client, and ours understand each other in connections made at random."""

import random

import pytest
from conformance.http2_differences import Conversation


@pytest.mark.parametrize("seed", range(25))
def test_h2_and_ours_are_of_one_opinion(seed):
    Conversation(random.Random(seed)).play(50)
