"""How a clause is cut for a voice that makes its sound at once."""

import numpy as np
import pytest

from inference.voices.pieces import EDGE, next_piece, pause_behind, trim_piece

LONG = "I can change your booking to Thursday, if you would like that, and send you a letter."


def pieces(text: str, *, hurried: bool) -> list[str]:
    found = []
    while text:
        found.append(next_piece(text, hurried=hurried))
        text = text[len(found[-1]) :]
    return found


@pytest.mark.parametrize(
    ("text", "calm", "hurried"),
    [
        ("", [], []),
        ("Hello.", ["Hello."], ["Hello."]),
        ("Yes, we are open.", ["Yes, we are open."], ["Yes, we are open."]),
        (
            "We are open, and you may come in.",
            ["We are open, ", "and you may come in."],
            ["We are open, ", "and you may come in."],
        ),
        (
            LONG,
            ["I can change your booking to Thursday, ", "if you would like that, ", "and send you a letter."],
            ["I can change your booking ", "to Thursday, if you would like that, ", "and send you a letter."],
        ),
        (
            "I have moved your call with the doctor to the end of the week",
            ["I have moved your call with the doctor to the end of the week"],
            ["I have moved your call ", "with the doctor ", "to the end of the week"],
        ),
    ],
)
def test_a_clause_is_cut_at_marks_and_at_phrases_only_if_another_call_waits(text, calm, hurried):
    assert pieces(text, hurried=False) == calm
    assert pieces(text, hurried=True) == hurried


def test_the_silence_of_a_piece_is_trimmed_to_its_soft_edges():
    voice = np.full(2400, 3000, np.int16)
    silence = np.full(4800, 20, np.int16)
    pcm, lost = trim_piece(np.concatenate((silence, voice, silence)), 24_000)
    edge = int(EDGE * 24_000)
    assert (lost, len(pcm)) == (4800 - edge, 2400 + 2 * edge)
    assert pcm[0] == pcm[-1] == 0
    assert (pcm[edge:-edge] == 3000).all()
    assert trim_piece(silence, 24_000)[0].size == 0


@pytest.mark.parametrize(("piece", "seconds"), [("yes, ", 0.08), ("with the ", 0.0), ("", 0.0)])
def test_a_pause_follows_a_mark_only(piece, seconds):
    assert len(pause_behind(piece, 8000)) == seconds * 8000
