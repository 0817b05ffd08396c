"""
From the tokens of a language model to clauses that can be spoken, the first one as early as possible.

The first clause is short, so that speech starts early; after it come whole sentences, whose melody a voice gets
right. A cut never falls into a number, a time, an abbreviation, an address of the web or a name with
initials. Lists and headings become sentences, and a reply that goes on too long ends at the end of a sentence. How
the text was cut into tokens makes no difference to what comes out.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

FIRST_WORDS = 3
"""A first clause of fewer words gives the voice nothing to work with, and is over before the next one is ready."""
LONG_FIRST_WORDS = 8
"""A first clause without punctuation is cut after this many, where a phrase ends ..."""
_LONGEST_FIRST_WORDS = 14  # ... and after this many wherever it does no harm
MAX_CLAUSE = 160
"""Characters. A longer sentence is cut at a comma, so that an interruption or a late token costs less."""
_MIN_PART = 40  # characters of such a part

_ENDS = ".!?…"
_PAUSES = ",;:"
_CLOSERS = "\"'”’)]*_`"

_IN_FRONT = frozenset(
    "dr mr mrs ms mx prof st rev hon gen col sgt capt lt sen rep gov pres fr mt ft approx appt dept est fig vs e.g i.e"
    " cf ca al jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat tel ext apt"
    " ste".split()
)
"""Abbreviations that stand in front of something: no sentence ends with them."""
_MAYBE_LAST = frozenset("etc inc ltd co corp jr sr ave blvd rd ln hwy hr hrs min mins lb lbs oz".split())
"""Abbreviations that may end a sentence, as may a.m. and U.S.: a capital letter after them tells."""
_NUMBER_SIGN = "no"
"""``No. 5`` goes on and ``No. We do not.`` does not: a digit after it tells."""
_BREAKS_BEFORE = frozenset(
    "and but or so because that which who when where while if since although until unless then"
    " for with at on in from by to as than about after before".split()
)
_WEAK_LAST = _BREAKS_BEFORE | frozenset(
    "a an the my your our his her its their this of is are was were be not very".split()
)
_ADDRESS = re.compile(r"://|www\.|@|\w\.\w+/")
_PART = re.compile(r"(?<=[,;:]) |(?<=—)| (?=[-–] )")
_SIGN = r"(?:#{1,6}|[-*+•‣–>]|\d{1,2}[.)])"
_MARKER = re.compile(rf"\s*(?:{_SIGN}\s+)+")
_MAYBE_MARKER = re.compile(rf"\s*(?:{_SIGN}\s+)*(?:{_SIGN}|\d{{1,2}}|`{{1,3}}|[-*_=]+)?")
_RULE = re.compile(r"\s*[-*_=]{3,}\s*")


@dataclass(frozen=True, slots=True)
class ReplyGuard:
    """How much of a reply is spoken. The sentence that reaches a limit is still finished."""

    max_sentences: int = 4
    max_characters: int = 600


class _Lines:
    """Markdown as running text: items, headings and lines that do not end become sentences, fenced code goes."""

    def __init__(self) -> None:
        self._head: str | None = ""  # of the line, as long as it may yet turn out to be a marker
        self._skipping = False
        self._fenced = False
        self._item = False
        self._last = ""  # character that was neither a space nor a closing quote
        self._open = False  # the line before had no end, and what follows tells whether that is one
        self._must_end = False

    def take(self, character: str) -> str:
        """The text that this character makes certain."""
        if character == "\n":
            return self._end_line()
        if self._head is None:
            return "" if self._skipping else self._text(character)
        self._head += character
        return "" if _MAYBE_MARKER.fullmatch(self._head) and len(self._head) < 80 else self._begin_line()

    def finish(self) -> str:
        return self._begin_line() if self._head else ""

    def _begin_line(self) -> str:
        head, self._head = self._head or "", None
        fence = head.lstrip().startswith("```")
        self._fenced ^= fence
        self._skipping = fence or self._fenced or _RULE.fullmatch(head) is not None
        if self._skipping:
            return ""
        marker = _MARKER.match(head)
        self._item = marker is not None
        return "".join(map(self._text, head[marker.end() :] if marker else head.lstrip()))

    def _end_line(self) -> str:
        text = self._begin_line() if self._head else ""
        blank = self._head == ""
        self._open = bool(self._last) and self._last not in _ENDS + _PAUSES
        self._must_end = self._open and (self._must_end or blank or self._item)
        self._head, self._skipping, self._item = "", False, False
        return text if self._open else text + " "

    def _text(self, character: str) -> str:
        if character.isspace():
            return "" if self._open else " "
        joint = ""
        if self._open:
            joint = ". " if self._must_end or self._item or not character.islower() else " "
            self._open = self._must_end = False
        if character not in _CLOSERS:
            self._last = character
        return joint + character


class ClauseSplitter:
    """
    The clauses of one reply: ``push`` what came, ``finish`` at its end; both give what can be spoken now.

    ``done`` turns true when the guard has heard enough; nothing comes after that.
    """

    def __init__(self, guard: ReplyGuard | None = None) -> None:
        self.done = False
        self._guard = guard or ReplyGuard()
        self._lines = _Lines()
        self._waiting = ""
        self._first = True
        self._sentences = 0
        self._characters = 0
        self._unless: str | None = None  # what the next word must not begin with for a sentence to have ended
        self._ready: list[str] = []

    def push(self, text: str) -> list[str]:
        for character in text:
            for certain in self._lines.take(character):
                self._take(certain)
        return self._collect()

    def finish(self) -> list[str]:
        for certain in self._lines.finish():
            self._take(certain)
        self._cut(len(self._waiting), sentence=True)
        self.done = True
        return self._collect()

    def _collect(self) -> list[str]:
        ready, self._ready = self._ready, []
        return ready

    def _take(self, character: str) -> None:
        if self.done or (not self._waiting and (character == " " or character in _ENDS + _PAUSES + _CLOSERS)):
            return
        before = self._waiting[-1:]
        if character == " ":
            if before != " ":
                self._waiting += " "
                self._word_ended()
            return
        if before == " ":
            self._word_begins(character)
        self._waiting += character
        if character in "!?":
            if not _ADDRESS.search(self._last_word()):
                self._end_sentence()
        elif character == "—" and not before.isdigit():
            self._pause()

    def _last_word(self) -> str:
        return self._waiting.rstrip().rpartition(" ")[2]

    def _word_begins(self, character: str) -> None:
        unless, self._unless = self._unless, None
        if (unless == "digit" and not character.isdigit()) or (unless == "small" and character.isupper()):
            self._end_sentence()

    def _word_ended(self) -> None:
        word = self._last_word().rstrip(_CLOSERS)
        if word.endswith((".", "…")):
            self._full_stop(word.lstrip("([\"'*_"))
        elif word.endswith(tuple(_PAUSES)) or word in ("-", "–", "--"):
            self._pause()
        if self._first and self._waiting:
            self._long_first()
        elif len(self._waiting) > MAX_CLAUSE:
            parts = [match.end() for match in _PART.finditer(self._waiting) if match.end() >= _MIN_PART]
            self._cut(parts[-1] if parts else self._phrase_end() or len(self._waiting), sentence=False)

    def _full_stop(self, word: str) -> None:
        name = word.rstrip(".…").lower()
        initials = re.fullmatch(r"(?:\w\.)*\w", name) and not name[-1].isdigit()
        if name in _IN_FRONT or (initials and "." not in name):
            return
        if name == _NUMBER_SIGN:
            self._unless = "digit"
        elif initials or name in _MAYBE_LAST or word.endswith(("..", "…")):
            self._unless = "small"
        else:
            self._end_sentence()

    def _end_sentence(self) -> None:
        if not self._first or len(self._waiting.split()) >= FIRST_WORDS:
            self._cut(len(self._waiting), sentence=True)

    def _pause(self) -> None:
        if self._first and len(self._waiting.split()) >= FIRST_WORDS:
            self._cut(len(self._waiting), sentence=False)

    def _long_first(self) -> None:
        words = len(self._waiting.split())
        if words >= LONG_FIRST_WORDS and (end := self._phrase_end()):
            self._cut(end, sentence=False)
        elif words >= _LONGEST_FIRST_WORDS and self._last_word().lower() not in _WEAK_LAST:
            self._cut(len(self._waiting), sentence=False)

    def _phrase_end(self) -> int:
        """Where the last phrase begins that a cut may stand before, or 0."""
        words = self._waiting.split()
        for index in range(len(words) - 1, FIRST_WORDS, -1):
            before, word = words[index - 1].lower(), words[index].lower()
            if word in _BREAKS_BEFORE and before not in _WEAK_LAST and before.rstrip(".").isalpha():
                return len(" ".join(words[:index]))
        return 0

    def _cut(self, end: int, *, sentence: bool) -> None:
        clause, self._waiting = self._waiting[:end].strip(), self._waiting[end:].lstrip()
        if not any(map(str.isalnum, clause)):
            return
        self._ready.append(clause)
        self._first = False
        self._unless = None
        self._sentences += sentence
        self._characters += len(clause)
        enough = self._sentences >= self._guard.max_sentences or self._characters >= self._guard.max_characters
        self.done = (enough and sentence) or self._characters >= self._guard.max_characters + 2 * MAX_CLAUSE


async def clauses(deltas: AsyncIterator[str], *, guard: ReplyGuard | None = None) -> AsyncGenerator[str, None]:
    """
    The clauses of ``deltas`` as they become speakable.

    ``deltas`` is closed at the end, which comes early when the guard has heard enough or this is closed.
    """
    splitter = ClauseSplitter(guard)
    try:
        async for delta in deltas:
            for clause in splitter.push(delta):
                yield clause
            if splitter.done:
                return
        for clause in splitter.finish():
            yield clause
    finally:
        close = getattr(deltas, "aclose", None)
        if close is not None:
            await close()
