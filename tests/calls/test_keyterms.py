"""An agent names the words that recognition should expect: one on each line, or separated by commas."""

import pytest
from django.core.exceptions import ValidationError

from calls.keyterms import parse_keyterms
from calls.models import Agent


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        (" \n,, \r\n", ()),
        ("Okafor", ("Okafor",)),
        ("Okafor, Wellington  boots\r\nMüller-Lüdenscheidt\n", ("Okafor", "Wellington boots", "Müller-Lüdenscheidt")),
        ("b, a, b", ("b", "a")),
    ],
)
def test_terms_are_read_in_their_order_and_each_once(text, terms):
    assert parse_keyterms(text) == terms


def test_what_is_beyond_the_limits_is_left_out():
    assert parse_keyterms("x" * 51 + ", Okafor") == ("Okafor",)
    assert parse_keyterms(",".join(f"t{number}" for number in range(101)))[-1] == "t99"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Okafor, " + "x" * 51, "is too long. A term has at most 50 characters"),
        (",".join(f"t{number}" for number in range(101)), "at most 100 terms"),
        ("{name}", "is no variable"),
    ],
)
def test_an_operator_is_told_of_the_limits(text, message):
    with pytest.raises(ValidationError, match=message):
        Agent(name="sales", keyterms=text).full_clean()


@pytest.mark.django_db
def test_a_variable_may_be_longer_as_it_is_written():
    Agent(name="sales", keyterms="{{ " + "customer_" * 8 + " }}, Okafor").full_clean()
