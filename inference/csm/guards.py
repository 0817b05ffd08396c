"""
Guards over the sound of one clause: a language model of audio does not always stop, and does not always speak.

This module is pure: it is told about each frame and answers what to do. Thresholds marked (tune) were chosen without
listening to real weights.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil

FRAMES_PER_SECOND = 12.5
"""Of Mimi: a frame is 80 ms."""

# -- how long a text takes to say

WORD_SECONDS = 0.4
"""Speech with its short pauses has 130 to 180 words a minute: 0.33 to 0.46 s each."""

CLAUSE_SECONDS = 0.5
"""The time that a clause takes beside its words: the onset, and the pause at its end."""

LETTERS_PER_WORD = 8
"""A longer word counts as more: "unfortunately" takes three times as long as "the", and German has longer words."""

SPELLED_LETTERS = 5
"""Words of at most so many capitals count as spelled ("NHS", "SW1A"), each letter as a word. If they are not spelled,
the guards only act a little later."""

SYLLABIC = (
    # first and last character, words per character
    ("\u0e00", "\u0eff", 0.2),  # Thai, Lao: several letters a syllable
    ("\u1000", "\u109f", 0.2),  # Burmese
    ("\u1780", "\u17ff", 0.2),  # Khmer
    ("\u3040", "\u30ff", 0.3),  # kana: 7 to 8 a second
    ("\u3400", "\u9fff", 0.5),  # Han: 4 to 5 syllables a second
    ("\uac00", "\ud7a3", 0.4),  # Hangul: 5 to 6 syllables a second
    ("\uf900", "\ufaff", 0.5),
    ("\U00020000", "\U0003ffff", 0.5),
)
"""Scripts in which spaces do not separate words are counted by the character."""

# -- when to step in

MOST_WORD_SECONDS, MOST_CLAUSE_SECONDS = 0.55, 1.5
"""The longest time that a clause may take: 110 words a minute, the slowest fluent speech, and a long pause."""

MOST_FRAMES = 250
"""20 s: so much room is kept free in a slot for one clause."""

BABBLE_FACTOR = 1.6
"""Not even a slow speaker takes so many times the expected length. For short clauses this limit is the lower one."""

PARTIAL_ENDS = 2
"""Consecutive frames whose first codes are those of the end. A single one can be chance. (tune)"""

SILENCE_DBFS = -50.0
"""In speech at -20 dBFS the noise of the pauses is quieter, and the softest consonants are louder. (tune)"""

SILENT_FRAMES = 8
"""0.64 s, longer than a pause inside a clause. So much silence ends the clause once SPOKEN_PART of it was said."""

SPOKEN_PART = 0.6
"""Of the expected length, of which a fast speaker (0.28 s a word) needs 0.7. (tune)"""

SILENT_FRAMES_ANYWHERE = 25
"""2 s of silence end the clause anywhere: on the phone, people then ask "hello?"."""

KEPT_PAUSE = 2
"""Frames of a silence that are kept when the rest is dropped: 0.16 s, the pause between two clauses."""

NGRAM, NGRAM_TIMES = 6, 3
"""The same first codes in the same order for 0.48 s, three times: sampled speech does not repeat itself so. (tune)"""

LEAST_FRAMES = 3
"""0.24 s of sound, the shortest "yes". A clause with less sound was not said."""

MOST_TRIES = 2
"""A clause that was begun so often without success counts as unsaid."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The facts about a frame that are known as soon as it is made."""

    code0: int
    head_zeros: bool
    """Whether codes 0 to 3 are those of the end, but the whole frame is not."""
    end: bool
    """Whether it is the frame that ends speech."""
    level_dbfs: float
    finite: bool = True
    """Whether no number of its slot was NaN or infinite."""


class Verdict(Enum):
    CONTINUE = auto()
    """Speak the frame."""
    END = auto()
    """The clause is over. Do not speak this frame."""
    CUT = auto()
    """The clause is over. Speak this frame, fading out."""
    RETRY = auto()
    """The clause was not said. Begin it again with new random numbers."""
    FAIL = auto()
    """The slot's state has NaN or infinite values. Rebuild it."""


class ClauseGuard:
    """
    Watches one clause: call ``judge`` for each frame that is made for it, in order.

    ``tries`` is how often the clause was begun before.
    """

    def __init__(self, text: str, *, tries: int = 0) -> None:
        words = count_words(text)
        self.frames = 0
        """The number of frames of the clause that are spoken so far."""
        self.expected = _frames(words, WORD_SECONDS, CLAUSE_SECONDS)
        """The ``expected_frames`` of the text, computed once."""
        self.reason = ""
        """The reason why the clause is over, a name for counting; empty until the first verdict other than CONTINUE."""
        self.drop = 0
        """Once the clause is over: how many of its last frames are silence that the context should not keep."""
        self._may_be_silent = words == 0
        self._tries = tries
        self._cap = min(_frames(words, MOST_WORD_SECONDS, MOST_CLAUSE_SECONDS), MOST_FRAMES)
        """Frames that the clause may take."""
        self._sounding = 0
        """Frames that were not silent."""
        self._silent = 0
        """Consecutive silent frames up to the last one."""
        self._partial = 0
        """Consecutive frames with the first codes of an end, up to the last one."""
        self._last_codes: deque[int] = deque(maxlen=NGRAM)
        """The first codes of the last sounding frames."""
        self._seen: dict[tuple[int, ...], tuple[int, int]] = {}
        """For each sequence of NGRAM codes: how often it came, and the number of the frame after the last time."""

    def judge(self, frame: Frame) -> Verdict:
        if self.reason:
            return Verdict.END  # the frame was made before the last verdict took effect
        if not frame.finite:
            self.reason = "not-finite"
            return Verdict.FAIL
        if frame.end:
            return self._over("end")
        self._partial = self._partial + 1 if frame.head_zeros else 0
        if self._partial == PARTIAL_ENDS:
            return self._over("partial-end", drop=PARTIAL_ENDS - 1)
        if frame.level_dbfs < SILENCE_DBFS:
            self._silent += 1
            self._last_codes.clear()  # silence always repeats its codes
            said = self.frames + 1 - self._silent >= SPOKEN_PART * self.expected
            if self._silent >= (SILENT_FRAMES if said else SILENT_FRAMES_ANYWHERE):
                return self._over("silence", drop=self._silent - 1 - KEPT_PAUSE)
        else:
            self._silent = 0
            self._sounding += 1
        self.frames += 1
        if self._repeats(frame) or self.frames > BABBLE_FACTOR * self.expected:
            self.reason = "babble"
        elif self.frames >= self._cap:
            self.reason = "too-long"
        return Verdict.CUT if self.reason else Verdict.CONTINUE

    def _over(self, reason: str, *, drop: int = 0) -> Verdict:
        self.drop = drop
        if self._sounding >= LEAST_FRAMES or self._may_be_silent:
            self.reason = reason
            return Verdict.END
        self.reason = "immediate-end"
        return Verdict.RETRY if self._tries + 1 < MOST_TRIES else Verdict.END

    def _repeats(self, frame: Frame) -> bool:
        """Whether the last NGRAM codes of sounding frames have now come NGRAM_TIMES, without overlapping."""
        if self._silent:
            return False
        self._last_codes.append(frame.code0)
        if len(self._last_codes) < NGRAM:
            return False
        ngram = tuple(self._last_codes)
        times, free_from = self._seen.get(ngram, (0, 0))
        if self.frames - NGRAM < free_from:
            return False
        self._seen[ngram] = times + 1, self.frames
        return times + 1 == NGRAM_TIMES


def expected_frames(text: str) -> int:
    """The number of frames that it takes to say the text at an ordinary pace."""
    return _frames(count_words(text), WORD_SECONDS, CLAUSE_SECONDS)


def _frames(words: float, word_seconds: float, clause_seconds: float) -> int:
    return ceil(FRAMES_PER_SECOND * (word_seconds * words + clause_seconds))


_WORD = re.compile(r"\d|[^\W\d_]+(?:['’][^\W\d_]+)*|[$£€¥%&@+=#°]|(?<=\w)\.(?=\w)")
"""Digits are read one by one. Signs that are read aloud, and the dots of numbers and addresses, count as words."""


def count_words(text: str) -> float:
    """The length of the text in ordinary words: each digit and spelled letter counts as one, a long word as more."""
    text, words = unicodedata.normalize("NFC", text), 0.0
    letters = []
    for character in text:
        if weight := 0.0 if character < "\u0e00" else _syllabic(character):
            words += weight
            letters.append(" ")
        elif character < "\u0300" or not unicodedata.category(character).startswith("M"):
            letters.append(character)  # combining marks do not separate words
    for word in _WORD.findall("".join(letters)):
        spelled = len(word) <= SPELLED_LETTERS and word.isupper()
        words += len(word) if spelled else max(1.0, len(word) / LETTERS_PER_WORD)
    return words


def _syllabic(character: str) -> float:
    return next((weight for first, last, weight in SYLLABIC if first <= character <= last), 0.0)
