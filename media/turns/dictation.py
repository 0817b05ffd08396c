"""How far the caller has come with what they dictate: digits, letters, a date, an e-mail address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from media.turns.expectation import Expectation, Kind
from media.turns.labels import QUESTION_MARKS
from media.turns.lexicon import Lexicon, words_of

LONGEST_TELEPHONE_NUMBER = 15
"""Digits of the longest telephone number with its country's code (ITU-T E.164)."""
SHORTEST_TELEPHONE_NUMBER = 7
"""Digits of the shortest one. Area codes and the first groups of a longer one have fewer."""
SHORTEST_ABROAD = 11
"""Digits of the shortest usual number with its country's code."""
MOST_DIGITS = 10
"""Other numbers whose length the agent has not named seldom have more digits and letters."""
MOST_WORDS = 5
"""Longer texts without any sign of what was asked for say something else: "it's Anna Maria Smith" begins an e-mail
address."""
LONGEST_DATE = 16
"""Words of the longest text that is taken for a date."""

_COMPACT_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.([a-z]{2,})\W*$", re.IGNORECASE)
_LAST_LABEL = re.compile(r"\.([a-z]{2,})\W*$", re.IGNORECASE)
_NUMERIC_DATE = re.compile(r"\b\d{1,4}[./-]\d{1,2}(?:[./-]\d{2,4})?\b")
_NUMERIC_BIRTH = re.compile(r"\b(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}-\d\d-\d\d)\b")
_CLOCK = re.compile(r"\b\d{1,2}[:.h]\d\d\b")
_ORDINAL = re.compile(r"\d{1,2}(?:st|nd|rd|th|e|er)$")
_LOCAL_NUMBER = re.compile(r"(?<![\d-])\d{3}-\d{4}\W*$")


class Progress(Enum):
    """How far it is."""

    NONE = auto()
    """The caller does not dictate."""
    GOES_ON = auto()
    MAY_END = auto()
    """It may be whole, and may as well go on."""
    COMPLETE = auto()


@dataclass(slots=True)
class Run:
    """The digits and letters with which a text ends."""

    digits: str = ""
    """A question mark stands for a digit of a compound word."""
    letters: str = ""
    is_open: bool = False
    """The last word announces another digit or letter: "double"."""
    before: tuple[str, ...] = ()
    """The words before the run."""

    @property
    def pieces(self) -> int:
        return len(self.digits) + len(self.letters)


def progress(text: str, expectation: Expectation, lexicon: Lexicon) -> Progress:
    """Say how far the caller has come with the answer that the agent expects."""
    words = words_of(text)
    if expectation.confirms and not _has_signs(text, words, lexicon):
        return Progress.NONE
    match expectation.kind:
        case Kind.EMAIL:
            return _email(text, words, lexicon)
        case Kind.DATE | Kind.BIRTH:
            return _date(text, words, lexicon, with_year=expectation.kind is Kind.BIRTH)
        case Kind.TIME:
            ends = any(at + lexicon.length_at("dictation.clock", words, at) == len(words) for at in range(len(words)))
            return Progress.COMPLETE if words and (ends or _CLOCK.search(text)) else Progress.NONE
        case Kind.SPELLING:
            return _spelling(words, expectation, lexicon)
        case Kind.TELEPHONE | Kind.NUMBER:
            run = read_run(words, lexicon, alphabet=expectation.kind is Kind.NUMBER)
            if not run.pieces and not run.is_open:
                return Progress.NONE
            if run.pieces == 1 and lexicon.has("dictation.declines", words[1:]):
                # "I don't have one": a "no" at the beginning is no reason, "no, it's four".
                return Progress.NONE
            if run.is_open:
                return Progress.GOES_ON
            return _telephone(text, run, lexicon) if expectation.kind is Kind.TELEPHONE else _number(run, expectation)
        case _:
            return Progress.NONE


def _has_signs(text: str, words: tuple[str, ...], lexicon: Lexicon) -> bool:
    """Whether the words have digits, letters or the signs of an e-mail address in them."""
    run = read_run(words, lexicon, alphabet=False)
    return run.pieces > 0 or "@" in text or any(lexicon.has(f"dictation.{listed}", words) for listed in ("at", "dot"))


def _number(run: Run, expectation: Expectation) -> Progress:
    enough = expectation.digits or MOST_DIGITS
    return Progress.COMPLETE if run.pieces >= enough else Progress.GOES_ON


def _telephone(text: str, run: Run, lexicon: Lexicon) -> Progress:
    count = len(run.digits)
    if _LOCAL_NUMBER.search(text) and count == SHORTEST_TELEPHONE_NUMBER:
        return Progress.COMPLETE
    if count < SHORTEST_TELEPHONE_NUMBER:
        return Progress.GOES_ON
    usual = {int(word) for (word,) in lexicon.tables["dictation.telephone_digits"]}
    if "+" in text or "plus" in text.lower() or run.digits.startswith("00"):
        return Progress.COMPLETE if count >= SHORTEST_ABROAD else Progress.GOES_ON
    # American numbers have 10 digits, or 11 with a 1 before them; British ones have 11 with their 0.
    if lexicon.tables["dictation.telephone_digits"] == {("10",), ("11",)} and count in usual:
        return Progress.COMPLETE if (run.digits[0] in "01") is (count == max(usual)) else Progress.MAY_END
    return Progress.COMPLETE if count in usual or count > max(usual) else Progress.MAY_END


def _spelling(words: tuple[str, ...], expectation: Expectation, lexicon: Lexicon) -> Progress:
    run = read_run(words, lexicon, alphabet=True)
    if run.pieces:
        known = (*run.before, *expectation.words)
        return Progress.COMPLETE if len(run.letters) > 1 and run.letters in known else Progress.GOES_ON
    letters = "".join(word for word in words if len(word) == 1)
    if len(letters) > 1 and words[-1] == letters:
        return Progress.COMPLETE
    return Progress.NONE if _says_something_else(words, lexicon) else Progress.GOES_ON


def _says_something_else(words: tuple[str, ...], lexicon: Lexicon) -> bool:
    listed = all(phrase.kind for phrase in lexicon.split(words))
    return listed or len(words) > MOST_WORDS or lexicon.has("dictation.declines", words)


def _email(text: str, words: tuple[str, ...], lexicon: Lexicon) -> Progress:
    if compact := _COMPACT_EMAIL.search(text):
        return _ending(compact[1], lexicon)
    at = max((at for at in range(len(words)) if lexicon.length_at("dictation.at", words, at)), default=-1)
    dots = [dot for dot in range(len(words)) if lexicon.length_at("dictation.dot", words, dot)]
    label = _LAST_LABEL.search(text)
    if at < 0:
        if dots or len(read_run(words, lexicon, alphabet=True).letters) > 1:
            return Progress.GOES_ON
        return Progress.NONE if _says_something_else(words, lexicon) or "?" in text else Progress.GOES_ON
    if label is not None and label.start() > 0 and text[label.start() - 1].isalnum():
        return _ending(label[1], lexicon)
    if dots and dots[-1] > at:
        return _ending("".join(words[dots[-1] + 1 :]), lexicon)
    return Progress.GOES_ON


def _ending(label: str, lexicon: Lexicon) -> Progress:
    known = (label.lower(),) in lexicon.tables["dictation.endings"]
    return Progress.COMPLETE if known else Progress.GOES_ON


def _date(text: str, words: tuple[str, ...], lexicon: Lexicon, *, with_year: bool) -> Progress:
    if len(words) > LONGEST_DATE or not words or text.rstrip().endswith(tuple(QUESTION_MARKS)):
        return Progress.NONE
    if _NUMERIC_BIRTH.search(text):
        return Progress.COMPLETE
    month = lexicon.has("dictation.months", words)
    run = read_run(words, lexicon, alphabet=False)
    numbers = sum(1 for at in range(len(words)) if _number_at(words, at, lexicon)[0])
    days = numbers + sum(
        1 for at, word in enumerate(words) if _ORDINAL.match(word) or lexicon.length_at("dictation.ordinals", words, at)
    )
    if words[-1] in lexicon.unfinished and (month or days) and (words[-1],) not in lexicon.tables["dictation.months"]:
        return Progress.GOES_ON
    if with_year:
        whole = len(run.digits) >= 4 or (len(run.digits) == 2 and month and days > 1)
        return Progress.COMPLETE if whole else Progress.GOES_ON if month or days else Progress.NONE
    if _NUMERIC_DATE.search(text) or lexicon.has("dictation.days", words[-2:]) or (month and days) or days > 1:
        return Progress.COMPLETE
    return Progress.GOES_ON if month else Progress.MAY_END if days else Progress.NONE


# -- digits and letters


def read_run(words: tuple[str, ...], lexicon: Lexicon, *, alphabet: bool) -> Run:
    """Read the digits and letters with which the words end. ``alphabet``: "bravo" stands for a letter."""
    run, at = Run(), 0
    while at < len(words):
        length = _take(words, at, run, lexicon, alphabet=alphabet)
        if not length:
            run = Run(before=words[: at + 1])
        at += max(length, 1)
    return run


def _take(words: tuple[str, ...], at: int, run: Run, lexicon: Lexicon, *, alphabet: bool) -> int:
    """Add the piece at this position to the run. Return how many words it has; 0 if none stands there."""
    for listed, times in (("dictation.doubles", 2), ("dictation.triples", 3)):
        if length := lexicon.length_at(listed, words, at):
            return length + _repeat(words, at + length, run, lexicon, times)
    length, digits = _number_at(words, at, lexicon)
    if length and not (alphabet and words[at] == "o" and not run.digits):
        run.digits, run.is_open = run.digits + digits, False
        return length
    if run.digits and (length := lexicon.length_at("dictation.hundreds", words, at)):
        run.digits += "00"
        return length
    if run.digits and (length := lexicon.length_at("dictation.thousands", words, at)):
        run.digits += "000"
        return length
    length, letter = _letter_at(words, at, run, lexicon, alphabet=alphabet)
    if length:
        run.letters, run.is_open = run.letters + letter, False
        return length
    if length := lexicon.length_at("dictation.case", words, at):
        run.is_open = run.pieces > 0 or at + length == len(words) or len(words[at + length]) == 1
        return length if run.is_open else 0
    if run.pieces and (length := lexicon.length_at("dictation.joins", words, at)):
        run.is_open = at + length == len(words)
        return length
    return 0


def _repeat(words: tuple[str, ...], at: int, run: Run, lexicon: Lexicon, times: int) -> int:
    """Add the digit or letter behind "double". Return how many words it has."""
    if at >= len(words):
        run.is_open = True
        return 0
    length, digits = _number_at(words, at, lexicon)
    if length and len(digits) == 1:
        run.digits += digits * times
    elif len(words[at]) == 1:
        run.letters, length = run.letters + words[at] * times, 1
    else:
        return 0
    run.is_open = False
    return length


def _number_at(words: tuple[str, ...], at: int, lexicon: Lexicon) -> tuple[int, str]:
    """Return how many words the number at this position has, and its digits."""
    word = words[at]
    if word.isdecimal():
        return 1, word
    if length := lexicon.length_at("dictation.teens", words, at):
        return length, "??"
    if length := lexicon.length_at("dictation.tens", words, at):
        return length + _unit_after(words, at + length, lexicon), "??"
    if length := lexicon.length_at("dictation.numbers", words, at):
        return length, str(lexicon.numbers[words[at : at + length]])
    if length := lexicon.length_at("dictation.digits", words, at):
        return length, "0" if word.startswith("o") else "?"
    return (1, "??") if _is_compound(word, lexicon) else (0, "")


def _unit_after(words: tuple[str, ...], at: int, lexicon: Lexicon) -> int:
    """Count the words of the unit behind a ten: "one" in "twenty one", "y uno" in "treinta y uno"."""
    for joined in (0, 1):
        unit = words[at + joined : at + joined + 1]
        if joined and words[at : at + 1] not in (("y",), ("et",), ("e",)):
            continue
        if unit in lexicon.tables["dictation.digits"] or 0 < lexicon.numbers.get(unit, 0) < 10:
            return joined + 1
    return 0


def _is_compound(word: str, lexicon: Lexicon) -> bool:
    """Whether a word is a number of several: "vierunddreißig", "ventuno"."""
    tens = [ten for (ten, *more) in lexicon.tables["dictation.tens"] if not more]
    units = [unit for (unit, *more), value in lexicon.numbers.items() if not more and 0 < value < 10]
    return any(
        word != ten
        and (
            (word.endswith(ten) and any(word.startswith(unit[:3]) for unit in units))
            or (word.startswith(ten[:-1]) and any(word.endswith(unit) for unit in units))
        )
        for ten in tens
    )


def _letter_at(words: tuple[str, ...], at: int, run: Run, lexicon: Lexicon, *, alphabet: bool) -> tuple[int, str]:
    """Return how many words the letter at this position has with what explains it, "b as in boy", and the letter."""
    word = words[at]
    if len(word) == 1 and word.isalpha():
        like = lexicon.length_at("dictation.like", words, at + 1) if at + 1 < len(words) else 0
        explained = words[at + 1 + like] if like and at + 1 + like < len(words) else ""
        if explained.startswith(word):
            return 2 + like, word
        neighbour = run.pieces > 0 or (at + 1 < len(words) and _begins_piece(words[at + 1], lexicon))
        return (1, word) if neighbour or len(words) == 1 else (0, "")
    if alphabet and (length := lexicon.length_at("dictation.alphabet", words, at)):
        return length, word[0]
    return 0, ""


def _begins_piece(word: str, lexicon: Lexicon) -> bool:
    return (
        len(word) == 1
        or word.isdecimal()
        or (word,) in lexicon.numbers
        or (word,) in lexicon.tables["dictation.doubles"]
    )
