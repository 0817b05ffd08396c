"""Slots that speak are kept in the first rows, with everything that their rows hold."""

from collections import Counter

import pytest

from inference.csm.context import Context
from inference.csm.replies import SpokenReply
from inference.csm.rows import Rows, Slot
from inference.csm.speaker import Format, Speaker

ROWS = 8


class Model:
    """Records what is done with its rows."""

    rows = ROWS

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []
        self.mimi = self

    def reset(self, row: int) -> None:
        self.done.append(("reset", row))

    def rewind(self, row: int, length: int) -> None:
        self.done.append(("rewind", row, length))

    def set_sampling(self, row: int, *, temperature: float, top_k: int, gain: float) -> None:
        self.done.append(("set_sampling", row, temperature, top_k, gain))

    def swap_rows(self, a: int, b: int, *, positions: int) -> None:
        self.done.append(("swap_rows", a, b, positions))


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def slots() -> dict[int, Slot]:
    return {number: Slot(number, speaker(fed=10 * number)) for number in range(ROWS)}


@pytest.fixture
def rows(model, slots) -> Rows:
    return Rows(model, lambda count: next(bucket for bucket in (1, 2, 4, 8) if bucket >= count), slots)


def speaker(fed: int) -> Speaker:
    context = Context(None, codebooks=4, positions=99, most_seconds=24.0, keep_seconds=16.0)
    made = Speaker(context, None, Format(100, 4, 1920, 24000), tokenize=lambda text: (), counts=Counter())
    made.row.length = fed
    return made


def speak(slots, rows, number: int) -> None:
    slots[number].speaker.speaking = SpokenReply(print)
    rows.prepare_row(number)


def test_a_call_that_enters_gets_an_empty_row_with_its_settings(rows, model):
    rows.enter(3, temperature=0.9, top_k=50, gain=2.0)
    assert model.done == [("rewind", 3, 0), ("set_sampling", 3, 0.9, 50, 2.0)]


def test_a_slot_that_begins_to_speak_is_swapped_to_the_front(rows, model, slots):
    speak(slots, rows, 5)
    assert model.done == [("swap_rows", 5, 0, 50), ("reset", 0)]
    assert (rows.row_of[5], rows.row_of[0]) == (0, 5)


def test_a_slot_that_is_in_front_already_is_not_moved(rows, model, slots):
    speak(slots, rows, 0)
    assert model.done == [("reset", 0)]


def test_every_slot_that_speaks_is_within_the_bucket_of_all_that_do(rows, slots):
    for count, number in enumerate((7, 3, 6, 1, 0), start=1):
        speak(slots, rows, number)
        bucket = next(bucket for bucket in (1, 2, 4, 8) if bucket >= count)
        speaking = [slot.number for slot in slots.values() if slot.speaker.speaking is not None]
        assert all(rows.row_of[slot] < bucket for slot in speaking)
    assert sorted(rows.row_of) == list(range(ROWS))


def test_a_rewind_reaches_the_row_to_which_the_slot_has_moved(rows, model, slots):
    speak(slots, rows, 5)
    rows.rewind(5, 20)
    assert model.done[-1] == ("rewind", 0, 20)
