"""How much of a text is spoken at which sample of its sound: by the provider's timing, else estimated. Pure."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

RATE_HZ = 8000
"""The rate of the sound of all hosted voices here."""
PACE = 15.0
"""Characters that a voice speaks in a second, until it is known."""
PACE_WEIGHT = 4.0
"""Seconds of speech that count as much as ``PACE``."""
LOOK_AHEAD = 60
"""Letters among which timing that has lost the text finds it again."""
SURE = 4
"""Letters that must agree for that: shorter words occur twice."""
MOST_OVERSHOOT = RATE_HZ
"""Samples by which the times of pieces of audio may run ahead of it. More is an error of theirs."""
FOLLOWED = 0.3
"""Seconds. Timing whose next words begin sooner after the last known time leaves no gap."""


class Pace:
    """How fast one voice speaks, learnt from what it has said."""

    def __init__(self) -> None:
        self._characters = PACE * PACE_WEIGHT
        self._seconds = PACE_WEIGHT

    @property
    def rate(self) -> float:
        """Characters in a second."""
        return self._characters / self._seconds

    def learn(self, characters: int, samples: int) -> None:
        """These characters took so many samples. What no voice can speak, such as ten characters in 1 s, is ignored."""
        seconds = samples / RATE_HZ
        if characters >= 10 and 5 <= characters / max(seconds, 0.1) <= 40:
            self._characters += characters
            self._seconds += seconds


class Timing:
    """
    The timing of the text of one context, which begins with sample 0.

    Texts and timing may come in any order. What the provider calls the words is followed only where it continues the
    text: letters and digits are compared, and everything else is skipped.
    """

    def __init__(self, pace: Pace) -> None:
        self.text = ""
        self._pace = pace
        self._letters: list[str] = []
        self._ends: list[int] = []
        """For each letter, the number of characters up to its end."""
        self._followed = 0
        """Letters that are timed."""
        self._marks: list[tuple[int, int]] = [(0, 0)]
        """At this sample so many characters are spoken. Neither falls."""
        self._exact: list[tuple[int, int]] = []
        """Between these samples, the marks are all there is to know."""
        self._base = 0
        """The sample with which the provider's clock began."""
        self._overshoot = 0
        """The sample up to which the times of pieces have come, if they are longer than their audio."""

    @property
    def is_followed(self) -> bool:
        """Whether all of the text is timed."""
        return self._followed == len(self._letters)

    def is_followed_to(self, characters: int) -> bool:
        """Whether the timing has come exactly to the end of so many characters."""
        return bool(self._followed) and self._followed == bisect_right(self._ends, characters)

    @property
    def covered(self) -> int:
        """The sample up to which the timing is known; 0 if it is known of nothing."""
        return self._exact[-1][1] if self._exact else 0

    def add(self, text: str) -> None:
        """More text follows."""
        for number, character in enumerate(text, start=len(self.text) + 1):
            letters = _letters(character)
            self._letters += letters
            self._ends += [number] * len(letters)
        self.text += text

    def follow(
        self, tokens: Sequence[str], ends: Sequence[int], *, begin: int | None = None, until: int | None = None
    ) -> bool:
        """
        Take the sample at which each word or character ends. Return whether they continue the text.

        ``begin`` and ``until`` are given for tokens of one piece of audio: its samples. The ends then count from there.
        Otherwise they count from sample 0.
        """
        spoken = [(letter, end) for token, end in zip(tokens, ends, strict=False) for letter in _letters(token)]
        start = self._place([letter for letter, _ in spoken])
        if start is None:
            return False
        last = max((end for _, end in spoken), default=0)
        if begin is not None:
            # The times of a piece can be wrong by themselves and right in their sum.
            base = max(begin, min(self._overshoot, begin + MOST_OVERSHOOT))
            self._overshoot = base + last
        else:
            if start >= self._followed and spoken and last + self._base < self._marks[-1][0]:
                self._base = self._marks[-1][0]  # the provider's clock has begun anew
            base = self._base
        for index, (_, end) in enumerate(spoken):
            position = start + index
            # A word is spoken at its end: only its last letter is a mark.
            if position >= self._followed and (index + 1 == len(spoken) or spoken[index + 1][1] != end):
                self._mark(base + end, self._end_of(position))
        follows, repeats = start == self._followed, start < self._followed
        self._followed = max(self._followed, start + len(spoken))
        if not repeats:
            known_from = base
            if begin is None and spoken:
                known_from = self.covered if follows else base + spoken[0][1]
            self._add_exact(known_from, max(base + last, until or 0), follows=follows)
        return follows

    def complete(self, characters: int, sample: int) -> None:
        """So many characters were spoken up to this sample."""
        letters = bisect_right(self._ends, characters)
        if self._followed == letters:
            known_from = max(self.covered, self._marks[-1][0])  # behind the last word there is no other
            self._add_exact(known_from, sample, follows=bool(self._exact))
        self._followed = max(self._followed, letters)
        self._mark(sample, characters)

    def cut(self, sample: int) -> None:
        """The sound has ended here, although its times go on: they were wrong."""
        self._marks = [(min(at, sample), characters) for at, characters in self._marks]
        self._exact = [(begin, min(until, sample)) for begin, until in self._exact if begin <= sample]
        self._overshoot = min(self._overshoot, sample)

    def at(self, sample: int, limit: int) -> tuple[int, bool]:
        """
        Return the characters that are spoken at this sample, and whether that is known.

        An estimate stays below ``limit``, the characters that may be spoken by then.
        """
        index = bisect_right(self._marks, sample, key=lambda mark: mark[0]) - 1
        mark, characters = self._marks[index]
        if any(begin <= sample <= until for begin, until in reversed(self._exact)):
            return characters, True
        ceiling = limit - 1
        if index + 1 < len(self._marks):
            ceiling = min(ceiling, self._marks[index + 1][1])
        estimate = characters + int((sample - mark) / RATE_HZ * self._pace.rate)
        return max(characters, min(estimate, ceiling)), False

    def _place(self, spoken: list[str]) -> int | None:
        """Return the letter of the text with which the spoken ones begin; None if they are not in it."""
        if not spoken:
            return self._followed
        if self._matches(self._followed, spoken):
            return self._followed
        if len(spoken) >= SURE:
            for start in range(self._followed + 1, self._followed + LOOK_AHEAD):
                if self._matches(start, spoken):
                    return start
        # It has begun again with what it had said before.
        for start in range(self._followed - 1, -1, -1):
            if self._matches(start, spoken):
                return start
        return None

    def _matches(self, start: int, spoken: list[str]) -> bool:
        return self._letters[start : start + len(spoken)] == spoken

    def _end_of(self, letter: int) -> int:
        """Return the number of characters up to the end of a letter and the punctuation behind it."""
        end = self._ends[letter]
        while end < len(self.text) and not self.text[end].isspace() and not _letters(self.text[end]):
            end += 1
        return end

    def _mark(self, sample: int, characters: int) -> None:
        last, before = self._marks[-1]
        self._marks.append((max(sample, last), max(characters, before)))

    def _add_exact(self, begin: int, until: int, *, follows: bool) -> None:
        if follows and self._exact and begin - self._exact[-1][1] <= FOLLOWED * RATE_HZ:
            begin, known = self._exact.pop()
            until = max(until, known)
        if until > begin or not self._exact:
            self._exact.append((begin, max(begin, until)))


@lru_cache(maxsize=1000)
def _letters(text: str) -> tuple[str, ...]:
    """Return the letters and digits, without accents and case. It is asked for the same characters again and again."""
    return tuple(each for each in unicodedata.normalize("NFKD", text.casefold()) if each.isalnum())
