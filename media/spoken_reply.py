"""
Decides which clauses of a reply are spoken: no sentence again and again, and no more than a caller listens to.

What counts is how long the caller listens, not how many sentences there are. A reply ends after a sentence, never
inside an item of a list, and what would be only a few words more is said as well.
"""

from __future__ import annotations

import re
import unicodedata

from media.clauses import Clause, ClauseSplitter

GRACE = 6.0
"""Seconds that the rest of a reply may take to be said after all: to ask and to be answered takes as long."""
UNBROKEN = 15.0
"""Seconds beyond the longest reply after which the reply is cut even inside a sentence, for a model that never ends
one."""
CHARACTERS_PER_SECOND = 16.0
"""Voices say 150 to 180 words a minute, which is 14 to 18 letters and spaces a second."""
SECONDS_PER_DIGIT = 0.35
"""A digit is a word of its own in telephone numbers, and two of them are in most other numbers."""
SECONDS_PER_WIDE_CHARACTER = 0.2
"""A character of Chinese or Japanese is a syllable or more."""
LONGEST_UNSAID = 1000
"""Characters that are kept of what was not said: two more replies of the greatest length."""
LOOP = 4
"""Sentences left out in succession after which the model is in a loop, and nothing else is expected of it."""
MOST_LEADS = 2
"""Sentences of leading words alone that are said in succession: "No. No." """
MOST_STALE = 2
"""Sentences in succession without a word that the reply has not had before. More of them say nothing new."""
SHORTEST_STALE = 4
"""Words of the shortest such sentence: shorter ones are answers and greetings."""
_LEADS = frozenset("so and but well yes no okay ok also then now oh again".split())
"""Words that lead to a sentence. They make no other sentence of it, and end no loop when they stand alone."""
_SENTENCE = re.compile(r"(?<=[.!?…])\s+")


def seconds_of_speech(text: str) -> float:
    """Estimate how long it takes to say ``text``."""
    digits = sum(map(str.isdigit, text))
    wide = 0 if text.isascii() else sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    others = len(text) - digits - wide
    return others / CHARACTERS_PER_SECOND + digits * SECONDS_PER_DIGIT + wide * SECONDS_PER_WIDE_CHARACTER


class SpokenReply:
    """
    Splits one reply into the clauses that are spoken.

    ``push`` the text as it comes and ``finish`` at its end; both return the clauses that can be spoken now. ``longest``
    is how many seconds of speech the caller is to listen to.
    """

    def __init__(self, longest: float) -> None:
        self.full = False
        """So much was said that it depends on the length of the rest whether that is said."""
        self.done = False
        """No clause follows: the rest is too long, or the model repeats itself."""
        self._longest = longest
        self._splitter = ClauseSplitter()
        self._repetitions = _Repetitions()
        self._seconds = 0.0
        """How long the clauses so far take to say."""
        self._rest: list[Clause] = []
        """What comes after a reply of full length."""
        self._rest_seconds = 0.0
        """How long that takes to say."""
        self._is_cut = False

    def hurry(self) -> None:
        """Make the first clause shorter, because the words come slowly."""
        self._splitter.hurry()

    def push(self, text: str) -> list[str]:
        return self._limit(self._repetitions.filter(self._splitter.push(text)))

    def finish(self, *, is_cut: bool = False) -> list[str]:
        """``is_cut``: the model was stopped before it had finished, so the last words may be only half of something."""
        clauses = self._repetitions.filter(self._splitter.finish(is_cut=is_cut)) + self._repetitions.finish()
        spoken = self._limit(clauses)
        self._is_cut = is_cut
        if not self.done:
            spoken += [clause.text for clause in self._rest]
            self._rest = []
        return spoken

    @property
    def looping(self) -> bool:
        """The model says nothing new any more."""
        return self._repetitions.dropped >= LOOP

    @property
    def unsaid(self) -> str:
        """The rest of the reply, which is not said; known after ``finish``. Its end is missing if it is long."""
        rest = [clause.text for clause in self._rest]
        text = " ".join([*rest, self._splitter.fragment])
        if not self._is_cut and len(text) <= LONGEST_UNSAID:
            return text.strip()
        return f"{text[:LONGEST_UNSAID].rstrip()} ...".lstrip()

    def _limit(self, clauses: list[Clause]) -> list[str]:
        spoken: list[str] = []
        for clause in clauses:
            if self.full:
                self._rest.append(clause)
                self._rest_seconds += seconds_of_speech(clause.text)
                continue
            self._seconds += seconds_of_speech(clause.text)
            spoken.append(clause.text)
            self.full = self._seconds >= self._longest + (0.0 if clause.ends else UNBROKEN)
        self.done = self.done or self.looping or self._rest_seconds > GRACE
        return spoken


class _Repetitions:
    """
    Leaves out sentences that the model has said already, when they come again at once or as part of a loop.

    A sentence of one word and a number may be meant: "No. No." A question may be asked twice.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """Sentences left out in succession."""
        self._leads = 0
        """Sentences of leading words alone since the last one that was said."""
        self._words: set[str] = set()
        """The words so far."""
        self._stale = 0
        """Sentences in succession that had no other words than these."""
        self._said: list[str] = []
        """The sentences so far, as they are compared."""
        self._begun: list[str] = []
        """The clauses of a sentence that has not ended."""
        self._held: list[Clause] = []
        """A sentence that was said before: if the next one goes on as it went on then, it is a loop."""
        self._held_as = ""
        """How that sentence is compared."""
        self._loop = 0
        """The place in ``_said`` of the first sentence that came again."""
        self._matched: int | None = None
        """The place in ``_said`` of the sentence that came again last."""

    def filter(self, clauses: list[Clause]) -> list[Clause]:
        return [kept for clause in clauses for kept in self._filter(clause)]

    def finish(self) -> list[Clause]:
        return [clause for clause in self._held if clause.text.endswith("?")]

    def _filter(self, clause: Clause) -> list[Clause]:
        sentences = _SENTENCE.split(clause.text)
        if len(sentences) == 1:
            return self._take(clause)
        kept = [part for text in sentences for part in self._take(Clause(text, clause.ends))]
        return [clause] if " ".join(part.text for part in kept) == clause.text else kept

    def _take(self, clause: Clause) -> list[Clause]:
        self._begun.append(clause.text)
        whole = " ".join(self._begun)
        is_whole = clause.text[-1] in ".!?…" or clause.ends
        if is_whole:
            self._begun = []
        compared = _compared(whole)
        if not is_whole or not re.search(r"[^\W\d_]", whole):
            return [*self._release(), clause]
        if self._goes_on_as_before(compared):
            self.dropped += 1 + len(self._held)
            self._held = []
            return []
        kept = self._release()
        if not compared:
            self._leads += 1
            if self._leads > MOST_LEADS:
                self.dropped += 1
                return kept
            return [*kept, clause]
        if compared in self._said and whole == clause.text:
            at_once = self._said[-1] == compared
            if at_once and (" " in compared or self._said[-2:] == [compared, compared]):
                self.dropped += 1
                return kept
            if not at_once and " " in compared:
                self._loop = self._matched = len(self._said) - 1 - self._said[::-1].index(compared)
                self._held, self._held_as = [clause], compared
                return kept
        if self._is_stale(compared.split()) and whole == clause.text:
            self.dropped += 1
            return kept
        self._said.append(compared)
        self.dropped = self._leads = 0
        return [*kept, clause]

    def _is_stale(self, words: list[str]) -> bool:
        """Whether there were too many sentences in succession without a new word, this one included."""
        has_new = not self._words.issuperset(words)
        self._words.update(words)
        if has_new or len(words) < SHORTEST_STALE:
            self._stale = 0
        else:
            self._stale += 1
        return self._stale > MOST_STALE

    def _goes_on_as_before(self, compared: str) -> bool:
        """Whether the model says again what it said after the sentence that came again last."""
        if self._matched is None:
            return False
        following = self._matched + 1 if self._matched + 1 < len(self._said) else self._loop
        if self._said[following] != compared:
            return False
        self._matched = following
        return True

    def _release(self) -> list[Clause]:
        """It was no loop: what was held is said."""
        kept, self._held, self._matched = self._held, [], None
        if kept:
            self._said.append(self._held_as)
            self.dropped = 0
        return kept


def _compared(sentence: str) -> str:
    """The words of a sentence without those that only lead to it."""
    words = re.findall(r"\w+", sentence.lower())
    while words and words[0] in _LEADS:
        words.pop(0)
    return " ".join(words)
