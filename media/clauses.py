"""
From the tokens of a language model to clauses that can be spoken, the first one as early as possible.

The first clause is short, so that speech starts early. Whole sentences follow, because a voice gets their melody right.
A number, a time, an abbreviation, a web address or a name with initials is never cut in two. Lists and headings become
sentences. The clauses do not depend on how the text was cut into tokens. Time counts only for a first clause that is
late: it becomes shorter.
"""

from __future__ import annotations

import re
from typing import NamedTuple

FIRST_WORDS = 3
"""Words of the shortest first clause: a shorter one has no melody, and is over before the next clause is ready. Only a
sentence at the end of its line may be shorter, because most likely nothing follows, and one that is late."""
LONG_FIRST_WORDS = 8
"""Words after which a first clause without punctuation is cut where a phrase ends: the caller waits for it ..."""
_LONGEST_FIRST_WORDS = 14
"""... and after which it is cut behind any word that may end a clause."""
_LATE_FIRST_WORDS = 4
"""Words after which a late first clause is cut where a phrase ends."""
MAX_CLAUSE = 160
"""Characters. A longer sentence is cut at a comma, so that an interruption or a late token costs less."""
_MIN_PART = 40
"""Characters of the shortest part that a long sentence is cut into: shorter ones sound chopped."""

_MOST_BRACKETED = 80
"""Characters of the longest text in emphasis or parentheses that is not cut."""

_ENDS = ".!?…"
_PAUSES = ",;:"
_EMPHASIS = "*_"
"""Marks that open what they close elsewhere: "*smiles* Of course"."""
_CLOSERS = "\"'”’)]*_`"

_NEVER_LAST = frozenset(
    "dr mr mrs ms mx prof st rev hon gen col sgt capt lt sen rep gov pres fr mt ft approx appt dept est fig vs e.g i.e"
    " cf ca al ee incl excl jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat"
    " tel ext apt ste"
    " inkl exkl ggf evtl zzgl nr vgl bzw zi z.b d.h u.a dhr mevr mw bijv bv m.a.w d.w.z o.a env tél av bd bât p.ex núm"
    " tlf avda sra srta dña aprox pág máx mín p.ej sig dott pag ing".split()
)
"""Abbreviations that need a word behind them: no sentence ends with one."""
_MAYBE_LAST = frozenset(
    "etc inc ltd co corp jr sr ave blvd rd ln hwy hr hrs min mins sec secs wk wks mo mos yr yrs lb lbs oz mi ft yd gal"
    " qt pt tsp tbsp rs rte in rm fl bldg dist sq temp ver max art vol para pub"
    " std tsd usw mwst mio mrd okt dez mär enz mrt janv févr juil déc ene abr dic ecc mag giu lug ott"
    " lun mer jeu ven sam dim".split()
)
"""Abbreviations that may end a sentence, like a.m. and U.S.: it has ended if the next word has a capital letter."""
_SHORT_ENDS = ("str", "nr")
"""The ends of longer abbreviations of German: "Hauptstr. 5", "Kundennr. 4711"."""
_UNIT = re.compile(r"(?<=[\d/-])[a-z]+$")
"""The abbreviation at the end of "45-min", "10min" and "$20/hr"."""
_NUMBER_SIGN = "no."
"""``No. 5`` goes on and ``No. We do not.`` ends after one word: the sentence goes on if a digit follows. In small
letters and behind a word, as in "the part no. is", it goes on if no capital letter follows."""
_BREAKS_BEFORE = frozenset(
    "and but or so because that which who when where while if since although until unless then"
    " for with at on in from by to as than about after before".split()
)
"""Words that begin a phrase, so that a cut before one sounds natural."""
_WEAK_LAST = _BREAKS_BEFORE | frozenset(
    "a an the my your our his her its their this of is are was were be not very".split()
)
"""Words that a clause must not end with, because they belong to the next word."""
_GO_ON_WITH_AND = frozenset(("hundred", "thousand", "million"))
"""Parts of a number that may go on: "one hundred and twenty"."""
_ADDRESS = re.compile(r"://|www\.|@|\w\.\w+/")
_PART = re.compile(r"(?<=[,;:]) |(?<=—)(?!\s?[\d$€£])| (?=[-–] (?![\d$€£A-Z]))")
_ORDINAL = re.compile(r"(?:\d{1,2}\.?[-–])?\d{1,2}(?:\.\d{1,2})?")
"""What is an ordinal or a date with a full stop in German: "am 3. März", "vom 3.-5. März", "am 24.12. zu"."""
_BEFORE_ORDINAL = frozenset(
    "am vom zum im dem den der des beim bis ab seit nach vor einem jeden jedem und montag, dienstag, mittwoch,"
    " donnerstag, freitag, samstag, sonntag, mo, di, mi, do, fr, sa, so,".split()
)
"""Words of German in front of an ordinal, with which no sentence ends. The next word may have a capital letter."""
_DASHES = ("-", "–", "—", "--")
_RANGE_BEGINS = re.compile(r"[\d$€£¥%°]|^(?:[ap]\.?m\.?|noon|midnight|min|hrs?|Uhr|uur|uhr|heures?|horas?|ore)$", re.I)
"""What the word in front of the dash of a range has."""
_RANGE_GOES_ON = re.compile(r"[\d.,$€£¥~]")
"""What may begin the second part of a range: "9 am - 5 pm", "$5 – $10"."""
_SHORT_DAYS = frozenset(
    "lun lunes lundi mar mardi martes mer mie mié gio jeu jue ven vie sam sab sáb dim dom ma di wo do vr za zo seg ter"
    " qua qui sex segunda".split()
)
"""Days of the week in small letters, after which a dash goes on: "lun - ven"."""
_SIGN = r"(?:#{1,6}|[-*+•‣–>]|\d{1,2}[.)])"
_MARKER = re.compile(rf"\s*(?:{_SIGN}\s+)+")
_MAYBE_MARKER = re.compile(rf"\s*(?:{_SIGN}\s+)*(?:{_SIGN}|\d{{1,2}}|`{{1,3}}|[-*_=]+)?")
_RULE = re.compile(r"\s*[-*_=]{3,}\s*")
_NUMBER = re.compile(r"(\d{1,2})[.)]\s*$")
"""The number of an item of a list."""
_WHOLE = re.compile(r"(?<!\d)[.!?…][\"'”’)\]*_]*$")
"""The end of a sentence that was not cut. A full stop behind a digit may be a decimal point."""
_BULLETED = re.compile(r"\s*(?:[-*+•‣–]\s+)+(?=\d{1,2}[.)]\s)")
"""The bullet of an item whose text begins with a number, such as the date in "- 1. Mai"."""
_LINE_END = "\n"


class Clause(NamedTuple):
    """What the voice says without a break."""

    text: str
    ends: bool = True
    """A sentence ends with it, and the item of a list if it is in one: here the agent may stop."""


class _Lines:
    """Markdown as running text: items, headings and unfinished lines become sentences, and fenced code is left out."""

    def __init__(self) -> None:
        self._head: str | None = ""
        """The beginning of the line, as long as it may still turn out to be a marker; None after that."""
        self._skipping = False
        """The line is left out: it is a rule, or code."""
        self._fenced = False
        """The line is between the fences of a code block."""
        self.in_item = False
        """The line is a heading or an item of a list."""
        self.number = 0
        """The number of the last item, if the list is numbered."""
        self.says_numbers = False
        """The numbers of this list are said, because the reply begins with it: "1. That is all." may be an answer."""
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
        marker = _BULLETED.match(head) or _MARKER.match(head)
        number = _NUMBER.search(marker[0]) if marker else None
        if marker and number:
            goes_on = int(number[1]) == self.number + 1
            if int(number[1]) == 1 or goes_on:
                self.number = int(number[1])
                self.says_numbers = not self._last or (goes_on and self.says_numbers)
            else:
                # "42. Anything else?" is an answer.
                marker = None
        self.in_item = marker is not None
        text = head[number.start(1) if number and self.says_numbers else marker.end() :] if marker else head.lstrip()
        return "".join(map(self._text, text))

    def _end_line(self) -> str:
        text = self._begin_line() if self._head else ""
        blank = self._head == ""
        self._open = bool(self._last) and self._last not in _ENDS + _PAUSES
        self._must_end = self._open and (self._must_end or blank or self.in_item)
        self._head, self._skipping, self.in_item = "", False, False
        return text if self._open else text + _LINE_END

    def _text(self, character: str) -> str:
        if character.isspace():
            return "" if self._open else " "
        joint = ""
        if self._open:
            joint = f".{_LINE_END}" if self._must_end or self.in_item or not character.islower() else " "
            self._open = self._must_end = False
        if character not in _CLOSERS:
            self._last = character
        return joint + character


class ClauseSplitter:
    """
    Splits one reply into clauses.

    ``push`` the text as it comes and ``finish`` at its end; both return the clauses that can be spoken now.
    """

    def __init__(self) -> None:
        self.fragment = ""
        """The end of a reply that was cut, as far as it is no whole clause. Known after ``finish``."""
        self._lines = _Lines()
        self._waiting = ""
        """The text that is not part of a clause yet."""
        self._first = True
        """The first clause is still to come."""
        self._late = False
        """The caller has waited long for the first clause."""
        self._short_end = 0
        """Where a sentence ends that is too short for a first clause, unless that is late."""
        self._items = 0
        """The last number at the beginning of a sentence, which may be that of an item."""
        self._line_ended = False
        """The last character ended a line."""
        self._spaced = True
        """No word has begun since the last space."""
        self._dash_waits = False
        """A dash was the last sign but spaces: the next one shows whether it is a pause or part of a range."""
        self._point = ""
        """The point at the beginning of a number: ".5 miles"."""
        self._unless: str | None = None
        """What continues the sentence ("digit" or "small" letter) if the next word begins with it; else it has ended.
        None if there is no such doubt."""
        self._ready: list[Clause] = []
        """The clauses that were not returned yet."""

    def push(self, text: str) -> list[Clause]:
        for character in text:
            for certain in self._lines.take(character):
                self._take(certain)
        return self._collect()

    def hurry(self) -> None:
        """Make the first clause shorter from now on, because the words come slowly and the caller waits for it."""
        self._late = True

    def finish(self, *, is_cut: bool = False) -> list[Clause]:
        """``is_cut``: the text ends anywhere, and only what is surely a whole clause is to be spoken."""
        for certain in self._lines.finish():
            self._take(certain)
        if is_cut and not _WHOLE.search(self._waiting):
            self._drop_fragment()
        self._line_ended = True
        self._cut(len(self._waiting), sentence=True)
        return self._collect()

    def _drop_fragment(self) -> None:
        parts = [part.end() for part in _PART.finditer(self._waiting)]
        end = next((end for end in reversed(parts) if len(self._waiting[:end].split()) >= FIRST_WORDS), 0)
        self.fragment = self._waiting[end:].strip()
        clause = self._waiting[:end].rstrip(f" {_PAUSES}—–-")
        self._waiting = f"{clause}." if clause else ""

    def _collect(self) -> list[Clause]:
        ready, self._ready = self._ready, []
        return ready

    def _take(self, character: str) -> None:
        self._line_ended = character == _LINE_END
        character = " " if self._line_ended else character
        word_begins, self._spaced = self._spaced, character == " "
        opens = word_begins and character in _EMPHASIS
        self._spaced |= opens
        if not self._waiting and not opens and (character == " " or character in _ENDS + _PAUSES + _CLOSERS):
            self._point = "" if character == " " else self._point + character
            return
        if not self._waiting and character.isdigit() and self._point in (".", ","):
            self._waiting = self._point
        self._point = ""
        if self._dash_waits and character != " " and character not in _EMPHASIS:
            self._dash_waits = False
            if not self._is_range(character):
                self._pause()
        before = self._waiting[-1:]
        if character == " ":
            if before != " ":
                self._waiting += " "
                self._word_ended()
            if self._line_ended and self._waiting and (self._unless or self._short_end == len(self._waiting.rstrip())):
                self._end_sentence()
            return
        if before == " ":
            self._word_begins(character)
        self._waiting += character
        if character in "!?":
            if not _ADDRESS.search(self._last_word()):
                self._end_sentence()
        elif character == "—":
            self._dash_waits = True

    def _last_word(self) -> str:
        return self._waiting.rstrip().rpartition(" ")[2]

    def _word_begins(self, character: str) -> None:
        unless, self._unless = self._unless, None
        if (unless == "digit" and not character.isdigit()) or (unless == "small" and character.isupper()):
            self._end_sentence()

    def _word_ended(self) -> None:
        word = self._last_word()
        if word.endswith(")") and self._is_number_of_item(word):
            return
        word = word.rstrip(_CLOSERS)
        if word.endswith((".", "…")):
            self._full_stop(word.lstrip("([\"'*_"))
        elif word.endswith(tuple(_PAUSES)) and word[-2:-1] != "." and word[:-1].lower() not in _SHORT_DAYS:
            self._pause()
        elif word in _DASHES:
            self._dash_waits = True
        if self._first and self._waiting:
            self._long_first()
        elif len(self._waiting) > MAX_CLAUSE:
            parts = [match.end() for match in _PART.finditer(self._waiting) if match.end() >= _MIN_PART]
            self._cut(parts[-1] if parts else self._phrase_end() or len(self._waiting), sentence=False)

    def _is_range(self, character: str) -> bool:
        """Whether the dash stands between two parts of a range, of which ``character`` begins the second one."""
        before = self._waiting.rstrip(" -–—").rpartition(" ")[2].strip(_EMPHASIS)
        if before.rstrip(".") in _SHORT_DAYS or (before[:1].isupper() and character.isupper()):
            return True
        return _RANGE_GOES_ON.match(character) is not None and _RANGE_BEGINS.search(before) is not None

    def _full_stop(self, word: str) -> None:
        if self._is_number_of_item(word):
            return
        name = word.rstrip(".…").lower()
        unit = _UNIT.search(name)
        name = unit[0] if unit and unit[0] in _MAYBE_LAST else name
        initials = re.fullmatch(r"(?:\w\.)*\w", name) and not name[-1].isdigit()
        if name in _NEVER_LAST or (initials and "." not in name):
            return
        ordinal = _ORDINAL.fullmatch(name) is not None
        if ordinal and self._goes_on_after_number(self._waiting.rstrip()[: -len(word)]):
            return
        if self._line_ended:
            self._end_sentence()
        elif word == _NUMBER_SIGN and len(self._waiting.split()) > 1:
            self._unless = "small"
        elif name == "no":
            self._unless = "digit"
        elif initials or ordinal or name in _MAYBE_LAST or name.endswith(_SHORT_ENDS) or word.endswith(("..", "…")):
            self._unless = "small"
        else:
            self._end_sentence()

    def _goes_on_after_number(self, before: str) -> bool:
        """Whether a number with a full stop is an ordinal of German: "am 3. März", "(1. Stock)"."""
        word = before.rstrip().rpartition(" ")[2].lower()
        return word in _BEFORE_ORDINAL or before.endswith("(") or (not word and self._lines.in_item)

    def _is_number_of_item(self, word: str) -> bool:
        """Whether this is the "2." of a list in running text. A number that goes on from the last item is not said."""
        number = _NUMBER.fullmatch(word)
        before = self._waiting.rstrip()[: -len(word)].rstrip()
        if number is None or (before and before[-1] not in _ENDS + ":"):
            return False
        if int(number[1]) == self._lines.number + 1 > 1:
            self._lines.number += 1
            if self._lines.says_numbers:
                return True
            self._waiting = f"{before} " if before else ""
            return True
        # Otherwise it may be an answer, such as "42.", unless the list begins or goes on here.
        goes_on = int(number[1]) in (1, self._items + 1)
        self._items = int(number[1])
        return goes_on

    def _end_sentence(self) -> None:
        is_short = self._first and len(self._waiting.split()) < FIRST_WORDS
        if is_short and not self._line_ended and not self._late:
            self._short_end = len(self._waiting.rstrip())
        else:
            self._cut(len(self._waiting), sentence=True)

    @property
    def _in_brackets(self) -> bool:
        """Emphasis or parentheses are open, which may be a stage direction: in one piece it is known as such."""
        text = self._waiting
        return len(text) <= _MOST_BRACKETED and (text.count("*") % 2 == 1 or text.count("(") > text.count(")"))

    def _pause(self) -> None:
        if self._first and not self._in_brackets and len(self._waiting.split()) >= FIRST_WORDS:
            self._cut(len(self._waiting), sentence=False)

    def _long_first(self) -> None:
        if self._in_brackets:
            return
        words = len(self._waiting.split())
        if self._late and self._short_end:
            self._cut(self._short_end, sentence=True)
        elif words >= (_LATE_FIRST_WORDS if self._late else LONG_FIRST_WORDS) and (end := self._phrase_end()):
            self._cut(end, sentence=False)
        elif words >= _LONGEST_FIRST_WORDS and self._last_word().lower() not in _WEAK_LAST:
            self._cut(len(self._waiting), sentence=False)

    def _phrase_end(self) -> int:
        """Where the last phrase begins before which the text may be cut, or 0."""
        words = self._waiting.split()
        for index in range(len(words) - 1, FIRST_WORDS, -1):
            before, word = words[index - 1].lower(), words[index].lower()
            if word == "and" and before in _GO_ON_WITH_AND:
                continue
            if word in _BREAKS_BEFORE and before not in _WEAK_LAST and before.rstrip(".").isalpha():
                return len(" ".join(words[:index]))
        return 0

    def _cut(self, end: int, *, sentence: bool) -> None:
        clause, self._waiting = self._waiting[:end].strip(), self._waiting[end:].lstrip()
        self._short_end = 0
        if not any(map(str.isalnum, clause)):
            return
        self._ready.append(Clause(clause, sentence and (self._line_ended or not self._lines.in_item)))
        self._first = False
        self._unless = None
