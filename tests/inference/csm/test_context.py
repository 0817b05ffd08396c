"""What the voice remembers, as the positions that the model should have been fed."""

import numpy as np
import pytest

from inference.csm.context import Context, ContextSegment, common_beginning, sound_positions, text_positions
from inference.types import ContextTooLarge

CODEBOOKS = 4


def segment(words: int, frames: int, code: int = 1) -> ContextSegment:
    return ContextSegment(tuple(range(10, 10 + words)), np.full((frames, CODEBOOKS), code, np.int16))


def context(
    prompt: ContextSegment | None = None, positions: int = 400, most: float = 8.0, keep: float = 4.0
) -> Context:
    return Context(prompt, codebooks=CODEBOOKS, positions=positions, most_seconds=most, keep_seconds=keep)


def test_text_comes_before_its_sound_and_a_frame_of_zeros_ends_it():
    said = context()
    said.add(segment(words=2, frames=1, code=7))
    assert said.written_out().tolist() == [[10, 0, 0, 0, 1], [11, 0, 0, 0, 1], [7, 7, 7, 7, 0], [0, 0, 0, 0, 0]]


def test_the_prompt_is_first_and_never_forgotten():
    prompt = segment(words=5, frames=100)
    said = context(prompt)
    for code in range(1, 10):
        said.add(segment(words=3, frames=50, code=code))
        said.trim()
    assert common_beginning(said.written_out(), prompt.positions()) == len(prompt)


def test_beyond_the_limit_the_oldest_turns_are_dropped_down_to_what_is_kept():
    said = context(most=8.0, keep=4.0)
    lengths = []
    for code in range(1, 12):
        said.add(segment(words=3, frames=12, code=code))  # 0.96 s each
        said.trim()
        lengths.append(round(said.seconds / 0.96))
    assert lengths == [1, 2, 3, 4, 5, 6, 7, 8, 4, 5, 6]
    assert said.written_out()[3, 0] == 6  # the oldest segment left


def test_a_turn_without_sound_is_not_remembered():
    said = context()
    said.add(segment(words=3, frames=0))
    assert len(said) == 0
    assert said.written_out().shape == (0, CODEBOOKS + 1)


def test_a_segment_can_be_forgotten_more_than_once():
    said = context()
    heard, unheard = segment(words=2, frames=3, code=1), segment(words=2, frames=3, code=2)
    said.add(heard)
    said.add(unheard)
    said.forget(unheard)
    said.forget(unheard)
    assert np.array_equal(said.written_out(), heard.positions())


def test_room_is_made_by_forgetting_turns_but_never_the_prompt():
    prompt = segment(words=10, frames=89)
    said = context(prompt, positions=400)
    for code in range(1, 4):
        said.add(segment(words=10, frames=59, code=code))
    assert len(said) == 100 + 3 * 70
    said.make_room(90)
    assert len(said) == 100 + 3 * 70
    said.make_room(91)
    assert len(said) == 100 + 2 * 70
    said.make_room(300)
    assert len(said) == 100
    with pytest.raises(ContextTooLarge, match="400"):
        said.make_room(301)


def test_the_common_beginning_ends_where_the_first_position_differs():
    a = np.concatenate([text_positions([1, 2, 3], CODEBOOKS), sound_positions(np.ones((2, CODEBOOKS), np.int16))])
    b = a.copy()
    assert common_beginning(a, b) == len(a) == 6
    assert common_beginning(a[:4], b) == 4
    b[4, 2] = 9
    assert common_beginning(a, b) == 4
    assert common_beginning(a[:0], b) == 0


def test_a_text_token_differs_from_a_frame_that_begins_with_the_same_number():
    text, frame = text_positions([3], CODEBOOKS), sound_positions(np.array([[3, 0, 0, 0]], np.int16))
    assert common_beginning(text, frame) == 0
