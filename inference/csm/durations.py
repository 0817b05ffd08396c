"""Measures how long the steps of the model take, for the scheduler and the admission of calls."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain
from math import inf

WEIGHT = 0.1
"""The weight of the newest measurement in the mean, which so follows a change within about ten ticks (0.8 s of steady
speech)."""

OUTLIER = 2.0
"""A measurement counts as at most so many times the mean: one hiccup of a second must not refuse calls."""

MEASURED_FOR = 60.0
"""Seconds without a measurement after which a step of this size is expected to take its shortest time so far. Without
this, one busy minute would refuse calls for ever: only the refused calls could have shown that it is over."""


class Durations:
    """The seconds that a step takes, by its size rounded up to one of a few."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        # For each size:
        self._recent: list[float | None] = [None] * len(sizes)
        """The mean of late."""
        self._best = [inf] * len(sizes)
        """The shortest ever."""
        self._at = [-inf] * len(sizes)
        """The time of the last measurement."""

    def add(self, size: int, seconds: float, *, now: float) -> None:
        i = self._index(size)
        mean = self._recent[i]
        if mean is None:
            mean = seconds
        else:
            # A mean of 0 could never grow without the millisecond.
            mean += WEIGHT * (min(seconds, OUTLIER * mean + 0.001) - mean)
        self._recent[i], self._best[i], self._at[i] = mean, min(self._best[i], seconds), now

    def predict(self, size: int, *, now: float) -> float:
        """For a size never measured: what the next larger one takes, else the next smaller one, else 0.0."""
        i = self._index(size)
        for j in chain(range(i, len(self._sizes)), range(i - 1, -1, -1)):
            if (mean := self._recent[j]) is not None:
                return mean if now - self._at[j] <= MEASURED_FOR else self._best[j]
        return 0.0

    def _index(self, size: int) -> int:
        return min(bisect_left(self._sizes, size), len(self._sizes) - 1)
