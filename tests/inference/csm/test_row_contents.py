"""The host's copy of what one row of the model was fed."""

import numpy as np
import pytest

from inference.csm.context import sound_positions, text_positions
from inference.csm.row_contents import RowContents

CODEBOOKS = 4


@pytest.fixture
def row() -> RowContents:
    return RowContents(positions=20, codebooks=CODEBOOKS)


def frame(code: int) -> np.ndarray:
    return np.full(CODEBOOKS, code, np.int16)


def test_positions_are_prefilled_in_chunks(row):
    row.waiting = text_positions(range(1, 6), CODEBOOKS)
    first = row.next_chunk(3)
    assert (len(first), len(row.waiting), row.length) == (3, 2, 0)
    row.record_prefill(first)
    row.record_prefill(row.next_chunk(3))
    assert row.is_fresh
    assert np.array_equal(row.fed, text_positions(range(1, 6), CODEBOOKS))


def test_a_frame_is_fed_when_the_next_one_is_drawn(row):
    row.record_prefill(text_positions([1], CODEBOOKS))
    row.record_frame(frame(7))
    assert (row.length, row.is_fresh) == (1, False)
    row.record_frame(frame(8))
    assert np.array_equal(row.fed[1:], sound_positions(frame(7)[None])[:1])


@pytest.mark.parametrize("interruption", ["prefill", "rewind"])
def test_a_frame_before_a_prefill_or_rewind_is_not_fed_any_more(row, interruption):
    row.record_prefill(text_positions([1, 2], CODEBOOKS))
    row.record_frame(frame(7))
    if interruption == "prefill":
        row.record_prefill(text_positions([3], CODEBOOKS))
    else:
        row.rewind(1)
    length = row.length
    row.record_frame(frame(8))
    assert row.length == length


def test_the_common_beginning_includes_what_waits(row):
    row.record_prefill(text_positions([1, 2], CODEBOOKS))
    row.waiting = text_positions([3, 4], CODEBOOKS)
    assert row.common_beginning(text_positions([1, 2, 3, 9, 5], CODEBOOKS)) == (3, 4)
    row.drop_waiting()
    assert row.common_beginning(text_positions([1, 2, 3], CODEBOOKS)) == (2, 2)
