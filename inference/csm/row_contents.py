"""Tracks what one row of the model was fed, position by position, and what is still to be fed."""

from __future__ import annotations

import numpy as np

from inference.csm.context import Codes, Positions, common_beginning


class RowContents:
    """
    The host's copy of what the model's cache holds for one call.

    What the model should have been fed is compared with it, so that only the difference is prefilled.
    """

    def __init__(self, positions: int, codebooks: int) -> None:
        self.length = 0
        """The number of positions that the row was fed."""
        self.waiting: Positions = np.zeros((0, codebooks + 1), np.int32)
        """Positions that are still to be prefilled, in order."""
        self.is_fresh = False
        """Whether a prefill came after the last frame. The next frame is then drawn without a step of the model."""
        self._storage: Positions = np.zeros((positions, codebooks + 1), np.int32)
        self._last_frame: Codes | None = None
        """The last frame that was drawn, unless a prefill or a rewind came after it. The next step feeds it."""

    @property
    def fed(self) -> Positions:
        return self._storage[: self.length]

    def common_beginning(self, wanted: Positions) -> tuple[int, int]:
        """Count the first positions of ``wanted`` that were fed or wait already, and all that were fed or wait."""
        expected = np.concatenate([self.fed, self.waiting])
        return common_beginning(expected, wanted), len(expected)

    def next_chunk(self, most: int) -> Positions:
        """Take the next positions to prefill, at most so many; ``record_prefill`` confirms them."""
        chunk, self.waiting = self.waiting[:most], self.waiting[most:]
        return chunk

    def record_prefill(self, chunk: Positions) -> None:
        self._storage[self.length : self.length + len(chunk)] = chunk
        self.length += len(chunk)
        self._last_frame = None
        self.is_fresh = True

    def record_frame(self, codes: Codes) -> None:
        """A frame was drawn, for which the row was fed the frame before it."""
        if self._last_frame is not None:
            self._storage[self.length, :-1] = self._last_frame
            self._storage[self.length, -1] = 0
            self.length += 1
        self._last_frame = codes
        self.is_fresh = False

    def rewind(self, length: int) -> None:
        self.length = length
        self._last_frame = None

    def drop_waiting(self) -> None:
        self.waiting = self.waiting[:0]
