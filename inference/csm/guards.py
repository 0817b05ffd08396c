"""
Guards over the sound of one clause: a language model of audio does not always stop, and not always speak.

Pure: told what each frame was, says what to do. Thresholds marked (tune) were chosen without listening to real weights.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil

FRAMES_PER_SECOND = 12.5

# -- how long a text takes to say

WORD_SECONDS = 0.4
"""Speech has 130 to 180 words a minute, with its short pauses: 0.33 to 0.46 s each."""

CLAUSE_SECONDS = 0.5
"""Beside its words: the onset, and the pause in which it ends."""

LETTERS_PER_WORD = 8
"""A longer word counts as more than one: "unfortunately" takes thrice as long as "the", and German has longer ones."""

SPELLED_LETTERS = 5
"""Capitals up to so many are taken as spelled ("NHS", "SW1A"), each letter a word. If they are not, the guards are only
a little later."""

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
"""Scripts in which spaces do not show the words: counted by the character."""

# -- when to step in

MOST_WORD_SECONDS, MOST_CLAUSE_SECONDS = 0.55, 1.5
"""The longest a clause may take: 110 words a minute, the slowest that is still fluent, and a long pause."""

MOST_FRAMES = 250
"""20 s: what a slot's memory has room for."""

BABBLE_FACTOR = 1.6
"""More than the expected length by this factor is no slow speaker any more: for short clauses sooner than the cap."""

PARTIAL_ENDS = 2
"""Frames in a row whose first codes are those of the end: one can be chance. (tune)"""

SILENCE_DBFS = -50.0
"""The noise in pauses of speech at -20 dBFS is below it, the quietest consonants are above. (tune)"""

SILENT_FRAMES = 8
"""0.64 s: longer than a pause inside a clause; counts once SPOKEN_PART of the clause was said."""

SPOKEN_PART = 0.6

SILENT_FRAMES_ANYWHERE = 25
"""2 s: on the phone, people ask "hello?" after that."""

KEPT_PAUSE = 2
"""Frames of a silence that stay when the rest is dropped: 0.16 s, the pause between two clauses."""

NGRAM, NGRAM_TIMES = 6, 3
"""0.48 s of the same first codes in the same order, three times: sampled speech does not repeat itself so. (tune)"""

LEAST_FRAMES = 3
"""0.24 s of sound, the shortest "yes". A clause that ends with less was not said."""

MOST_TRIES = 2
"""How often a clause is begun before it is left out."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of one frame, as soon as it is made."""

    code0: int
    head_zeros: bool
    """Codes 0 to 3 are those of the end, but the frame as a whole is not."""
    end: bool
    """The end-of-speech frame."""
    level_dbfs: float
    finite: bool = True
    """No number of its slot was infinite or not a number."""


class Verdict(Enum):
    CONTINUE = auto()
    """The frame is spoken."""
    END = auto()
    """The clause is over; this frame is not spoken."""
    CUT = auto()
    """The clause is over; this frame is spoken, fading out."""
    RETRY = auto()
    """Say the clause again, with new randomness."""
    FAIL = auto()
    """The slot's numbers are broken: rebuild it."""


class ClauseGuard:
    """
    Watches one clause; ``judge`` each frame that is made for it, in order.

    ``tries`` is how often it was begun before. After the first verdict that is not CONTINUE, ``reason`` says why in a
    word for counting, and ``drop`` how many of the last ``frames`` are silence to be neither spoken nor kept.
    """

    def __init__(self, text: str, *, tries: int = 0) -> None:
        words = count_words(text)
        self._may_be_silent = words == 0
        self._tries = tries
        self._expected = _frames(words, WORD_SECONDS, CLAUSE_SECONDS)
        self._cap = min(_frames(words, MOST_WORD_SECONDS, MOST_CLAUSE_SECONDS), MOST_FRAMES)
        self._frames = 0
        self._sounding = 0
        self._silent = 0  # the last so many
        self._partial = 0  # the last so many
        self._reason = ""
        self._drop = 0
        self._last_codes: deque[int] = deque(maxlen=NGRAM)
        self._seen: dict[tuple[int, ...], tuple[int, int]] = {}  # times, and the frame after the last of them

    @property
    def frames(self) -> int:
        """Of the clause so far: those that are spoken."""
        return self._frames

    @property
    def expected(self) -> int:
        """``expected_frames`` of the text, worked out once."""
        return self._expected

    @property
    def reason(self) -> str:
        return self._reason

    @property
    def drop(self) -> int:
        return self._drop

    def judge(self, frame: Frame) -> Verdict:
        if self._reason:
            return Verdict.END  # made before the verdict took effect
        if not frame.finite:
            self._reason = "not-finite"
            return Verdict.FAIL
        if frame.end:
            return self._over("end")
        self._partial = self._partial + 1 if frame.head_zeros else 0
        if self._partial == PARTIAL_ENDS:
            return self._over("partial-end", drop=PARTIAL_ENDS - 1)
        if frame.level_dbfs < SILENCE_DBFS:
            self._silent += 1
            self._last_codes.clear()  # silence repeats its codes by nature
            said = self._frames + 1 - self._silent >= SPOKEN_PART * self._expected
            if self._silent >= (SILENT_FRAMES if said else SILENT_FRAMES_ANYWHERE):
                return self._over("silence", drop=self._silent - 1 - KEPT_PAUSE)
        else:
            self._silent = 0
            self._sounding += 1
        self._frames += 1
        if self._repeats(frame) or self._frames > BABBLE_FACTOR * self._expected:
            self._reason = "babble"
        elif self._frames >= self._cap:
            self._reason = "too-long"
        return Verdict.CUT if self._reason else Verdict.CONTINUE

    def _over(self, reason: str, *, drop: int = 0) -> Verdict:
        self._drop = drop
        if self._sounding >= LEAST_FRAMES or self._may_be_silent:
            self._reason = reason
            return Verdict.END
        self._reason = "immediate-end"
        return Verdict.RETRY if self._tries + 1 < MOST_TRIES else Verdict.END

    def _repeats(self, frame: Frame) -> bool:
        """Whether the last NGRAM codes of sounding frames were heard NGRAM_TIMES by now, apart from each other."""
        if self._silent:
            return False
        self._last_codes.append(frame.code0)
        if len(self._last_codes) < NGRAM:
            return False
        ngram = tuple(self._last_codes)
        times, free_from = self._seen.get(ngram, (0, 0))
        if self._frames - NGRAM < free_from:
            return False
        self._seen[ngram] = times + 1, self._frames
        return times + 1 == NGRAM_TIMES


def expected_frames(text: str) -> int:
    """How many frames it takes to say the text, at an ordinary pace."""
    return _frames(count_words(text), WORD_SECONDS, CLAUSE_SECONDS)


def _frames(words: float, word_seconds: float, clause_seconds: float) -> int:
    return ceil(FRAMES_PER_SECOND * (word_seconds * words + clause_seconds))


_WORD = re.compile(r"\d|[^\W\d_]+(?:['’][^\W\d_]+)*|[$£€¥%&@+=#°]|(?<=\w)\.(?=\w)")
"""Digits are read one by one; signs that are read, and the dots of numbers and addresses, are words too."""


def count_words(text: str) -> float:
    """How long the text is, in ordinary words: each digit and spelled letter is one, a long word more than one."""
    text, words = unicodedata.normalize("NFC", text), 0.0
    letters = []
    for character in text:
        if weight := 0.0 if character < "\u0e00" else _syllabic(character):
            words += weight
            letters.append(" ")
        elif character < "\u0300" or not unicodedata.category(character).startswith("M"):
            letters.append(character)  # marks above and below letters part no word
    for word in _WORD.findall("".join(letters)):
        spelled = len(word) <= SPELLED_LETTERS and word.isupper()
        words += len(word) if spelled else max(1.0, len(word) / LETTERS_PER_WORD)
    return words


def _syllabic(character: str) -> float:
    return next((weight for first, last, weight in SYLLABIC if first <= character <= last), 0.0)
