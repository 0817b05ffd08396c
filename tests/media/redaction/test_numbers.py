"""Which numbers are found in what is said, as a table: ``sentences.txt``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from media.redaction.digits import read_runs
from media.redaction.numbers import Kind, asked_for, find_numbers, has_check_digit, is_card, redact
from tests.rows import each_row

ASKED = {"card": Kind.CARD, "account": Kind.ACCOUNT, "social": Kind.SOCIAL, "code": Kind.CODE}
LANGUAGES = ("de", "fr", "es", "it", "nl", "pt")


def rows() -> list[tuple[Kind | None, str, str, str]]:
    table = []
    for line in Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        head, _, rest = line.partition(": ")
        if head not in ASKED and head not in LANGUAGES:
            head, rest = "", line
        said, _, stored = rest.partition(" > ")
        table.append((ASKED.get(head), head if head in LANGUAGES else "en", said, stored or said))
    return table


@each_row(("asked", "language", "said", "stored"), rows())
def test_a_number_is_taken_out_and_everything_else_stays(asked, language, said, stored):
    assert redact(said, find_numbers(said, asked=asked, language=language)) == stored


def test_hardly_an_ordinary_sentence_with_numbers_is_taken_for_one():
    """The sentences by which the agent's reading of numbers is tested, except for those that have such a number."""
    texts = [
        line
        for name in ("de", "en", "es", "fr", "it", "nl", "pt")
        for line in Path(__file__, "..", "..", "spoken", f"{name}.txt")
        .resolve()
        .read_text(encoding="utf-8")
        .splitlines()
        if re.search(r"\d.*\d.*\d", line) and not re.match(r"(account|code) ", line)
    ]
    assert len(texts) > 500
    assert [text for text in texts if find_numbers(text)] == []


@each_row(
    ("said", "digits"),
    [
        ("four one one one", "4111"),
        ("double five, triple oh", "55000"),
        ("forty two eleven", "4211"),
        ("twenty oh five", "2005"),
        ("four hundred twelve", "40012"),
        ("1 2 3 4", "1234"),
        ("12-34 56", "123456"),
        ("one for two", "142"),
        ("seven, uh, and then eight", "78"),
    ],
)
def test_digits_are_read_in_the_ways_in_which_people_say_them(said, digits):
    [run] = read_runs(said)
    assert run.digits == digits


@pytest.mark.parametrize(
    ("digits", "valid"),
    [
        ("4111111111111111", True),
        ("4111111111111112", False),
        ("378282246310005", True),
        ("1234567812345670", False),  # the check digit fits, but no card begins so
        ("411111111111", False),
    ],
)
def test_a_card_has_its_beginning_its_length_and_its_check_digit(digits, valid):
    assert is_card(digits) is valid


def test_a_wrong_digit_is_noticed():
    assert has_check_digit("4242424242424242")
    assert not any(has_check_digit(f"42424242424242{last:02}") for last in range(43, 50))


@each_row(
    ("agent", "before", "asked"),
    [
        ("Could you tell me your card number, please?", None, Kind.CARD),
        ("Please read me the sixteen digits on the front.", None, Kind.CARD),
        ("And the security code on the back of the card?", Kind.CARD, Kind.CODE),
        ("What is your account number?", None, Kind.ACCOUNT),
        ("I need the last four of your social security number.", None, Kind.SOCIAL),
        ("Go on.", Kind.CARD, Kind.CARD),
        ("Thank you. And the last four digits?", Kind.CARD, Kind.CARD),
        ("Sorry, could you repeat that?", Kind.CARD, Kind.CARD),
        ("Thanks, got it. What is your phone number?", Kind.CARD, None),
        ("We take credit cards. What day would you like to come?", None, None),
        ("Your card was charged yesterday.", None, None),
        ("How can I help you?", None, None),
        ("Wie lautet Ihre Kartennummer?", None, Kind.CARD),
        ("Quel est votre numéro de carte ?", None, Kind.CARD),
    ],
)
def test_the_last_question_says_what_the_caller_will_give(agent, before, asked):
    assert asked_for(agent, before) is asked
