"""Rates such as 600/minute."""

import pytest

from calls.rates import is_rate, parse_rate


@pytest.mark.parametrize(
    ("rate", "expected"),
    [("600/minute", (600, 60)), ("1/second", (1, 1)), ("20/hour", (20, 3600)), ("1000/day", (1000, 86400))],
)
def test_a_rate_is_a_number_of_requests_and_a_period_in_seconds(rate, expected):
    assert is_rate(rate)
    assert parse_rate(rate) == expected


@pytest.mark.parametrize(
    "text", ["", "600", "0/minute", "-1/minute", "5/fortnight", "1.5/second", "600/minute\n", " 6/day", "٦/day"]
)
def test_any_other_text_is_not_a_rate(text):
    assert not is_rate(text)
