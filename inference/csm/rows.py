"""Assigns rows of the model to slots: the slots that speak are kept in the first rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference.csm.speaker import Speaker

if TYPE_CHECKING:
    from inference.csm.model import CsmModel


@dataclass(slots=True, eq=False)
class Slot:
    """Room for one call, given out by ``CsmThread.join``. Other threads call the speaker by ``CsmThread.post``."""

    number: int
    """The slot's number in the scheduler."""
    speaker: Speaker


class Rows:
    """
    A step works on the first rows of the model, up to the last one that speaks, in one of a few sizes.

    ``bucket`` is the smallest of these sizes for a number of rows. ``slots`` are the calls that have joined and not
    left, by number; the engine's thread changes them.
    """

    def __init__(self, model: CsmModel, bucket: Callable[[int], int], slots: Mapping[int, Slot]) -> None:
        self.row_of = list(range(model.rows))
        """The row of each slot."""
        self._slot_in = list(range(model.rows))
        """The slot of each row: the inverse of ``row_of``."""
        self._model = model
        self._bucket = bucket
        self._slots = slots

    def enter(self, number: int, *, temperature: float, top_k: int, gain: float) -> None:
        """A call has this slot from now on."""
        row = self.row_of[number]
        self._model.rewind(row, 0)
        self._model.set_sampling(row, temperature=temperature, top_k=top_k, gain=gain)

    def prepare_row(self, number: int) -> None:
        """Make ready for a clause: move the slot to the front, and begin a new stream of the codec."""
        self._move_to_front(number)
        self._model.mimi.reset(self.row_of[number])

    def rewind(self, number: int, length: int) -> None:
        self._model.rewind(self.row_of[number], length)

    def _move_to_front(self, number: int) -> None:
        """Swap the slot, which speaks, with a silent one among the first rows: a smaller bucket is a faster frame."""
        speaking = [slot for slot in self._slots.values() if slot.speaker.speaking is not None]
        front = self._bucket(len(speaking))
        row = self.row_of[number]
        if row < front:
            return
        taken = {self.row_of[slot.number] for slot in speaking}
        better = next(row for row in range(front) if row not in taken)
        other = self._slot_in[better]
        longest = max(self._slots[slot].speaker.row.length for slot in (number, other) if slot in self._slots)
        self._model.swap_rows(row, better, positions=longest)
        self._slot_in[row], self._slot_in[better] = other, number
        self.row_of[number], self.row_of[other] = better, row
