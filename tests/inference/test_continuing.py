"""A reply that has broken off is finished without a word twice."""

import pytest

from inference.continuing import Continuation
from inference.requests import NO_REQUESTS, ToolRequests
from inference.types import Message, TextDelta

SAID = "We open at"


def rest_of(said: str, *deltas: str) -> str:
    continuation = Continuation(said)
    passed = [each for delta in deltas for each in continuation.push(TextDelta(delta))]
    return "".join(delta.text for delta in [*passed, *continuation.finish()])


@pytest.mark.parametrize(
    ("said", "deltas", "rest"),
    [
        (SAID, ("nine", " today."), " nine today."),
        (SAID, (" nine", " today."), " nine today."),
        (f"{SAID} ", ("nine",), "nine"),
        (SAID, (", or", " so."), ", or so."),
        (SAID, ("We", " open", " at", " nine."), " nine."),
        (SAID, ("we open, at nine.",), " nine."),
        (SAID, ("We", " close", " at", " six."), " We close at six."),
        (SAID, ("We", " open"), ""),
        ("We op", ("We", " open", " at", " nine."), "en at nine."),
        ("We op", ("We open.",), "en."),
        (SAID, (), ""),
    ],
)
def test_what_is_repeated_is_dropped(said, deltas, rest):
    assert rest_of(said, *deltas) == rest


def test_words_are_passed_on_as_soon_as_they_are_no_repetition():
    continuation = Continuation(SAID)
    assert continuation.push(TextDelta("nine ")) == [TextDelta(" nine ")]
    assert continuation.push(TextDelta("today")) == [TextDelta("today")]


def test_what_is_requested_is_kept():
    continuation, goodbye = Continuation(SAID), ToolRequests(end_call=True)
    assert continuation.push(TextDelta("We ", goodbye)) == []
    assert continuation.push(TextDelta("open", NO_REQUESTS, is_cut=True)) == []
    assert continuation.finish() == [TextDelta("", goodbye, is_cut=True)]


def test_the_model_is_shown_the_words_so_far():
    assert Continuation(f"{SAID} ").messages([Message("user", "When?")]) == [
        Message("user", "When?"),
        Message("assistant", SAID),
        Message("broken-off", ""),
    ]
