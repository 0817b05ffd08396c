from __future__ import annotations

import pytest

from media.turns.barge_in import Overlap, classify, is_farewell


@pytest.mark.parametrize(
    "text",
    [
        "mm-hm",
        "Mm-hmm.",
        "uh huh",
        "yeah",
        "Oh, okay.",
        "I see.",
        "right, right",
        "of course",
        "yes",
        "i know",
        "that's right",
        "okay thank you",
        "haha",
        "oh all right",
    ],
)
def test_murmurs_take_no_turn(text):
    assert classify(text) is Overlap.BACKCHANNEL


@pytest.mark.parametrize(
    "text",
    [
        "stop",
        "Wait, wait.",
        "okay stop",
        "hold on a second",
        "excuse me",
        "Never mind",
        "that's enough",
        "just a second",
    ],
)
def test_some_words_ask_for_silence(text):
    assert classify(text) is Overlap.STOP


@pytest.mark.parametrize(
    "text",
    [
        "no that's wrong",
        "yeah but what about Sunday",
        "Tuesday",
        "I see a problem",
        "5551234",
        "да",
        "no",
        "no no",
        "i",
        "i seem to",
        "but",
        "what",
        "hello",
    ],
)
def test_anything_else_is_somebody_speaking(text):
    assert classify(text) is Overlap.WORDS


@pytest.mark.parametrize("text", ["", "  ", "...", "—"])
def test_no_words_are_nothing(text):
    assert classify(text) is Overlap.NOTHING


def test_many_murmurs_in_a_row_want_the_floor():
    assert classify("yeah yeah yeah okay right") is Overlap.WORDS


@pytest.mark.parametrize("text", ["bye", "Okay, thank you, goodbye!", "bye bye", "have a nice day", "you too"])
def test_a_farewell_is_known(text):
    assert is_farewell(text)


@pytest.mark.parametrize("text", ["", "bye but one more thing", "what about Sunday", "no", "да", "555"])
def test_whatever_says_more_is_no_farewell(text):
    assert not is_farewell(text)
