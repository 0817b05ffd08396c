"""Placeholders in prompts and greetings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.variables import faults_of, fill, misspelt, placeholders
from tests.rows import each_row


@pytest.mark.parametrize("text", ["Hello {{name}}!", "Hello {{ name }}!", "Hello {{\tname   }}!"])
def test_a_placeholder_becomes_its_value(text):
    assert fill(text, {"name": "Ada"}) == "Hello Ada!"


def test_every_occurrence_is_filled_with_values_of_any_type():
    assert fill("{{ n }} and {{ n }} of {{ kind_2 }}", {"n": 3, "kind_2": "tea"}) == "3 and 3 of tea"


@pytest.mark.parametrize("variables", [{}, {"name": None}, {"Name": "Ada"}])
def test_an_unknown_name_becomes_nothing(variables):
    assert fill("Hello {{ name }}!", variables) == "Hello !"


@pytest.mark.parametrize(
    "text", ["{name}", "{ {name} }", "{{Name}}", "{{ 2nd }}", "{{ a.b }}", "{{ a b }}", "{{}}", "{% if x %}", "{{ name"]
)
def test_other_braces_are_unchanged(text):
    assert fill(text, {"name": "Ada", "a": "b"}) == text
    assert placeholders(text) == set()


def test_a_value_is_inserted_literally():
    variables = {"a": "{{ b }}", "b": r"\1 \g<0> {{ a }} $b %s"}
    assert fill("{{ a }}|{{ b }}|{{{a}}}", variables) == r"{{ b }}|\1 \g<0> {{ a }} $b %s|{{{ b }}}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("one\ntwo\r\nthree\rfour", "one two three four"),
        ("one\ttwo\u2028three", "one two three"),
        ("nu\x00ll be\x07ll de\x7fl c\x9b1", "null bell del c1"),
        ("half a \ud83d pair", "half a  pair"),
        ("Zoë 😀 ‍नमस्ते", "Zoë 😀 ‍नमस्ते"),
    ],
)
def test_a_value_becomes_one_line_without_control_characters(value, text):
    assert fill("{{ value }}", {"value": value}) == text


@given(value=st.text(st.characters(codec=None)))
def test_any_value_stays_on_one_line_and_can_be_encoded(value):
    filled = fill("{{ value }}", {"value": value})
    assert len(filled.splitlines()) <= 1
    assert filled.encode().decode() == filled
    assert "\x00" not in filled


def test_the_placeholders_of_a_text_are_found():
    assert placeholders("{{ name }}, your {{what}} of {{ name }} {{ Odd }}") == {"name", "what"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Hello {{ name }}, this is {{company_2}}.", []),
        # AVA-AI-Voice-Agent-for-Asterisk#124, clairvoyance#620
        ("Hello {caller_name}, your number is {caller_number}.", ["{caller_name}", "{caller_number}"]),
        ("Hello {{ First-Name }}!", ["{{ First-Name }}"]),
        ("Hello {{ name }!", ["{{ name }"]),
        ("Hello ${name}!", ["${name}"]),
        ("Hello {{name", ["{{name"]),
        ("Hello name}}!", ["}}"]),
        ("{a} and {a}", ["{a}"]),
    ],
)
def test_what_only_looks_like_a_placeholder_in_a_line_is_found(text, wrong):
    assert misspelt(text, spoken=True) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('Answer with {"day": "Monday"} or {}.', []),
        ("You speak to {{ name }} of {{Company}}.", ["{{Company}}"]),
        ("You speak to {{ name }.", ["{{ name }"]),
    ],
)
def test_a_prompt_may_contain_single_braces(text, wrong):
    assert misspelt(text, spoken=False) == wrong


@each_row(
    ("variables", "wrong"),
    [
        ({"name": "Zoë", "n": 5, "x": 0.5, "old": True, "nobody": None, "_a1": ""}, []),
        ({"Name": "x"}, ["Name"]),
        ({"1st": "x"}, ["1st"]),
        ({"a" * 65: "x"}, ["a" * 65]),
        ({"": "x", "b c": "x"}, ["", "b c"]),
        ({"name": ["Ann"], "other": {"a": 1}}, ["name", "other"]),
        ({"name": "x" * 1000, "other": "x" * 1001}, ["other"]),
        ({"name": "a\0", "other": "\ud800"}, ["name", "other"]),
        ({"name": float("nan"), "other": float("inf")}, ["name", "other"]),
    ],
)
def test_what_cannot_be_stored_or_spoken_is_named(variables, wrong):
    assert list(faults_of(variables)) == wrong
