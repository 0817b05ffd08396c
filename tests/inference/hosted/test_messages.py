"""Fields of any type are read without a crash."""

from __future__ import annotations

import math

import pytest

from inference.hosted.messages import as_number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((1, 1), (-0.5, -0.5), (10**400, None), (-(10**400), None)),
        *((math.inf, None), (math.nan, None), (True, None), ("1", None)),
    ],
)
def test_a_number_is_one_that_a_time_can_have(value, number):
    assert as_number(value) == number
