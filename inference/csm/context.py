"""
What the voice of a call remembers: its prompt first, then the last turns as they were heard.

Everything is kept as text and codes, and written out as the positions that the model shall have been fed. The engine
compares that with what it *was* fed: the common beginning stays in the cache, the rest is fed anew. So a barge-in, an
old turn that is dropped and a clause that is tried again are all the same thing.
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


def text_positions(tokens: Sequence[int], codebooks: int) -> Positions:
    positions = np.zeros((len(tokens), codebooks + 1), np.int32)
    positions[:, 0] = tokens
    positions[:, -1] = 1
    return positions


def sound_positions(codes: Codes) -> Positions:
    """The frames, and the frame of zeros with which speech ends."""
    positions = np.zeros((len(codes) + 1, codes.shape[1] + 1), np.int32)
    positions[:-1, :-1] = codes
    return positions


def common_beginning(a: Positions, b: Positions) -> int:
    """How many positions at the beginning are the same."""
    shorter = min(len(a), len(b))
    same = (a[:shorter] == b[:shorter]).all(axis=1)
    return shorter if same.all() else int(same.argmin())


@dataclass(frozen=True, slots=True, eq=False)
class ContextSegment:
    """One clause, or the prompt: its words as tokens (speaker and markers included), and their sound."""

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
    ``prompt`` is always first. Of what was said since, more than ``most_seconds`` is cut down to ``keep_seconds`` at
    once, so that the rest is fed anew only now and then; and never does it take more than ``positions``.
    """

    def __init__(
        self, prompt: ContextSegment | None, *, codebooks: int, positions: int, most_seconds: float, keep_seconds: float
    ) -> None:
        self._prompt = prompt
        self._codebooks = codebooks
        self._positions = positions
        self._most, self._keep = most_seconds, keep_seconds
        self._said: list[ContextSegment] = []

    def add(self, segment: ContextSegment, *, before: ContextSegment | None = None) -> None:
        """The last that was said, or what was said ``before`` another one. Without sound it is nothing."""
        if len(segment.codes):
            at = next((n for n, said in enumerate(self._said) if said is before), len(self._said))
            self._said.insert(at, segment)

    def forget(self, segment: ContextSegment) -> None:
        """It was not heard, or not so. Harmless if it is forgotten already."""
        self._said = [said for said in self._said if said is not segment]

    def trim(self) -> None:
        """Between replies: forget the oldest, if it has become too much."""
        if self.seconds > self._most:
            while self._said and self.seconds > self._keep:
                del self._said[0]

    def make_room(self, positions: int) -> None:
        """Forget the oldest until so many positions fit behind; ``ContextTooLarge`` if they never do."""
        while self._said and len(self) + positions > self._positions:
            del self._said[0]
        if len(self) + positions > self._positions:
            raise ContextTooLarge(
                f"{positions} positions do not fit behind a voice prompt of {len(self)}: there are {self._positions}"
            )

    def written_out(self) -> Positions:
        parts = [np.zeros((0, self._codebooks + 1), np.int32)]
        return np.concatenate(parts + [segment.positions() for segment in self._segments])

    @property
    def seconds(self) -> float:
        """The sound that is remembered beside the prompt."""
        return sum(segment.seconds for segment in self._said)

    @property
    def _segments(self) -> list[ContextSegment]:
        return [self._prompt, *self._said] if self._prompt is not None else self._said

    def __len__(self) -> int:
        return sum(map(len, self._segments))
