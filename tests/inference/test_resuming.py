"""Where a voice goes on that has broken off."""

import pytest

from inference.resuming import resume_at

TEXT = "We open at nine. And we close at six, always."
ENDS = (17, 38, 45)
"""The ends of "We open at nine. ", "And we close at six, " and "always."."""


@pytest.mark.parametrize(
    ("said", "sent", "rest"),
    [
        (0, 0, TEXT),
        (17, 17, "And we close at six, always."),
        (26, 10, "And we close at six, always."),  # nothing of the clause was heard: all of it is said again
        (26, 17, "And we close at six, always."),
        (26, 20, "close at six, always."),  # in mid-word: the word is said again
        (24, 20, "close at six, always."),
        (27, 27, "close at six, always."),  # of the word, more than half was heard
        (28, 28, "at six, always."),  # nearly all of it
        (29, 20, "at six, always."),  # between two words
        (30, 20, "at six, always."),
        (36, 20, "always."),  # only a comma is left of the clause
        (44, 44, ""),
        (45, 45, ""),
    ],
)
def test_the_voice_goes_on_with_what_was_not_heard(said, sent, rest):
    assert TEXT[resume_at(TEXT, ENDS, said=said, sent=sent) :] == rest


def test_more_text_may_follow():
    assert resume_at("We open", (), said=4, sent=4) == 3
