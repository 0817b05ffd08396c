"""
Builds what the voice of a call remembers: its prompt first, then the last turns as they were heard.

Everything is kept as text and codes, and written out as the positions that the model should have been fed. The speaker
compares that with what it *was* fed: the common beginning stays in the cache, the rest is prefilled again. So a
barge-in, an old turn that is dropped and a clause that is tried again are handled in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.types import ContextTooLarge

Positions = NDArray[np.int32]
"""Positions of the model, shape ``(n, codebooks + 1)``: codes and 0, or a text token, zeros, and 1."""
Codes = NDArray[np.int16]
"""Frames of 80 ms, shape ``(n, codebooks)``."""

FRAMES_PER_SECOND = 12.5
"""Of Mimi: a frame is 80 ms."""


def text_positions(tokens: Sequence[int], codebooks: int) -> Positions:
    positions = np.zeros((len(tokens), codebooks + 1), np.int32)
    positions[:, 0] = tokens
    positions[:, -1] = 1
    return positions


def sound_positions(codes: Codes) -> Positions:
    """The frames, followed by the frame of zeros that ends speech."""
    positions = np.zeros((len(codes) + 1, codes.shape[1] + 1), np.int32)
    positions[:-1, :-1] = codes
    return positions


def common_beginning(a: Positions, b: Positions) -> int:
    """Count the positions at the beginning that are equal."""
    shorter = min(len(a), len(b))
    same = (a[:shorter] == b[:shorter]).all(axis=1)
    return shorter if same.all() else int(same.argmin())


@dataclass(frozen=True, slots=True, eq=False)
class ContextSegment:
    """One clause, or the prompt: its words as tokens (with speaker and markers), and their sound."""

    tokens: tuple[int, ...]
    codes: Codes

    @property
    def seconds(self) -> float:
        return len(self.codes) / FRAMES_PER_SECOND

    def positions(self) -> Positions:
        return np.concatenate([text_positions(self.tokens, self.codes.shape[1]), sound_positions(self.codes)])

    def __len__(self) -> int:
        return len(self.tokens) + len(self.codes) + 1


class Context:
    """
    ``prompt`` is always first and never forgotten. When more than ``most_seconds`` were said since, the oldest segments
    are dropped until ``keep_seconds`` remain, so that the rest must be prefilled again only now and then. The whole
    never takes more than ``positions``.
    """

    def __init__(
        self, prompt: ContextSegment | None, *, codebooks: int, positions: int, most_seconds: float, keep_seconds: float
    ) -> None:
        self._prompt = prompt
        """None for a voice that the model makes up."""
        self._codebooks = codebooks
        self._positions = positions
        self._most, self._keep = most_seconds, keep_seconds
        self._said: list[ContextSegment] = []
        """The segments since the prompt that are still remembered, the oldest first."""

    def add(self, segment: ContextSegment, *, before: ContextSegment | None = None) -> None:
        """Add what was said last, or what was said ``before`` another segment. A segment without sound is ignored."""
        if len(segment.codes):
            at = next((n for n, said in enumerate(self._said) if said is before), len(self._said))
            self._said.insert(at, segment)

    def forget(self, segment: ContextSegment) -> None:
        """Remove a segment that was not heard, or not as it is. Has no effect if it is gone already."""
        self._said = [said for said in self._said if said is not segment]

    def trim(self) -> None:
        """Drop the oldest segments if there is too much. For the time between replies."""
        if self.seconds > self._most:
            while self._said and self.seconds > self._keep:
                del self._said[0]

    def make_room(self, positions: int) -> None:
        """Drop the oldest segments until so many positions fit behind; ``ContextTooLarge`` if even then they do not."""
        while self._said and len(self) + positions > self._positions:
            del self._said[0]
        if len(self) + positions > self._positions:
            raise ContextTooLarge(
                f"{positions} positions do not fit behind a voice prompt of {len(self)}: there are {self._positions}."
            )

    def written_out(self) -> Positions:
        """Return the positions that the model should have been fed."""
        parts = [np.zeros((0, self._codebooks + 1), np.int32)]
        return np.concatenate(parts + [segment.positions() for segment in self._segments])

    @property
    def seconds(self) -> float:
        """The seconds of sound that are remembered beside the prompt."""
        return sum(segment.seconds for segment in self._said)

    @property
    def _segments(self) -> list[ContextSegment]:
        return [self._prompt, *self._said] if self._prompt is not None else self._said

    def __len__(self) -> int:
        return sum(map(len, self._segments))
