"""
From the tokens of a language model to clauses that can be spoken, the first one as early as possible.

The first clause is short, so that speech starts early. Whole sentences follow, because a voice gets their melody right.
A number, a time, an abbreviation, a web address or a name with initials is never cut in two. Lists and headings become
sentences, and a reply that is too long ends after a whole sentence. The clauses do not depend on how the text was cut
into tokens.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

FIRST_WORDS = 3
"""Words of the shortest first clause: a shorter one has no melody, and is over before the next clause is ready."""
LONG_FIRST_WORDS = 8
"""Words after which a first clause without punctuation is cut where a phrase ends: the caller waits for it ..."""
_LONGEST_FIRST_WORDS = 14
"""... and after which it is cut behind any word that may end a clause."""
MAX_CLAUSE = 160
"""Characters. A longer sentence is cut at a comma, so that an interruption or a late token costs less."""
_MIN_PART = 40
"""Characters of the shortest part that a long sentence is cut into: shorter ones sound chopped."""

_ENDS = ".!?…"
_PAUSES = ",;:"
_CLOSERS = "\"'”’)]*_`"

_NEVER_LAST = frozenset(
    "dr mr mrs ms mx prof st rev hon gen col sgt capt lt sen rep gov pres fr mt ft approx appt dept est fig vs e.g i.e"
    " cf ca al jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat tel ext apt"
    " ste".split()
)
"""Abbreviations that need a word behind them: no sentence ends with one."""
_MAYBE_LAST = frozenset("etc inc ltd co corp jr sr ave blvd rd ln hwy hr hrs min mins lb lbs oz".split())
"""Abbreviations that may end a sentence, like a.m. and U.S.: it has ended if the next word has a capital letter."""
_NUMBER_SIGN = "no"
"""``No. 5`` goes on and ``No. We do not.`` ends after one word: the sentence goes on if a digit follows."""
_BREAKS_BEFORE = frozenset(
    "and but or so because that which who when where while if since although until unless then"
    " for with at on in from by to as than about after before".split()
)
"""Words that begin a phrase, so that a cut before one sounds natural."""
_WEAK_LAST = _BREAKS_BEFORE | frozenset(
    "a an the my your our his her its their this of is are was were be not very".split()
)
"""Words that a clause must not end with, because they belong to the next word."""
_ADDRESS = re.compile(r"://|www\.|@|\w\.\w+/")
_PART = re.compile(r"(?<=[,;:]) |(?<=—)| (?=[-–] )")
_SIGN = r"(?:#{1,6}|[-*+•‣–>]|\d{1,2}[.)])"
_MARKER = re.compile(rf"\s*(?:{_SIGN}\s+)+")
_MAYBE_MARKER = re.compile(rf"\s*(?:{_SIGN}\s+)*(?:{_SIGN}|\d{{1,2}}|`{{1,3}}|[-*_=]+)?")
_RULE = re.compile(r"\s*[-*_=]{3,}\s*")


@dataclass(frozen=True, slots=True)
class ReplyGuard:
    """How much of a reply is spoken. The sentence that reaches a limit is spoken to its end."""

    max_sentences: int = 4
    max_characters: int = 600


class _Lines:
    """Markdown as running text: items, headings and unfinished lines become sentences, and fenced code is left out."""

    def __init__(self) -> None:
        self._head: str | None = ""
        """The beginning of the line, as long as it may still turn out to be a marker; None after that."""
        self._skipping = False
        """The line is left out: it is a rule, or code."""
        self._fenced = False
        """The line is between the fences of a code block."""
        self._item = False
        """The line is a heading or an item of a list."""
        self._last = ""
        """The last character that was neither a space nor a closing quote."""
        self._open = False
        """The line before has no full stop; whether it is a sentence depends on what follows."""
        self._must_end = False
        """The line before is a sentence in any case, because it was an item or an empty line came after it."""

    def take(self, character: str) -> str:
        """The text that is certain with this character."""
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
    Splits one reply into clauses.

    ``push`` the text as it comes and ``finish`` at its end; both return the clauses that can be spoken now.
    """

    def __init__(self, guard: ReplyGuard | None = None) -> None:
        self.done = False
        """The reply has reached a limit of the guard or its end: no clause follows."""
        self._guard = guard or ReplyGuard()
        self._lines = _Lines()
        self._waiting = ""
        """The text that is not part of a clause yet."""
        self._first = True
        """The first clause is still to come."""
        self._sentences = 0
        self._characters = 0
        """How much was put into clauses, for the guard."""
        self._unless: str | None = None
        """What continues the sentence ("digit" or "small" letter) if the next word begins with it; else it has ended.
        None if there is no such doubt."""
        self._ready: list[str] = []
        """The clauses that were not returned yet."""

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
        if name in _NEVER_LAST or (initials and "." not in name):
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
        """Where the last phrase begins before which the text may be cut, or 0."""
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
    The clauses of ``deltas``, each as soon as it is complete.

    ``deltas`` is closed at the end, also if the guard or the consumer ends the clauses early.
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
