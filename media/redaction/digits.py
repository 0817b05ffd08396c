"""Reads the digits in a text, written or spoken: "4111 1111", "four one double one", "forty-one eleven"."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

_DIGITS = {
    "en": "zero|oh|o|nought|naught|nil one two|too three four|for five six seven eight|ate nine|niner "
    "ten eleven twelve "
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
    "de": "null eins|ein|eine zwei|zwo drei vier funf|fuenf sechs sieben acht neun zehn elf "
    "zwolf|zwoelf dreizehn vierzehn "
    "funfzehn sechzehn siebzehn achtzehn neunzehn",
    "fr": "zero un|une deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize",
    "es": "cero uno|un|una dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciseis "
    "diecisiete dieciocho diecinueve",
    "it": "zero uno|un|una due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici "
    "sedici diciassette diciotto diciannove",
    "pt": "zero um|uma dois|duas tres quatro cinco seis|meia sete oito nove dez onze doze treze "
    "catorze|quatorze quinze "
    "dezesseis|dezasseis dezessete|dezassete dezoito dezenove|dezanove",
    "nl": "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien "
    "zestien zeventien "
    "achttien negentien",
}
_TENS = {
    "en": "twenty thirty forty|fourty fifty sixty seventy eighty ninety",
    "de": "zwanzig dreißig|dreissig vierzig funfzig sechzig siebzig achtzig neunzig",
    "fr": "vingt|vingts trente quarante cinquante soixante septante huitante|octante nonante",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "it": "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
    "nl": "twintig dertig veertig vijftig zestig zeventig tachtig negentig",
}
_REPEATS = MappingProxyType(
    dict.fromkeys(("double", "doppel", "doppelt", "doble", "doppio", "duplo", "dubbel"), 2)
    | dict.fromkeys(("triple", "treble", "triplo", "dreifach"), 3)
    | {"quadruple": 4, "zweimal": 2, "dreimal": 3, "viermal": 4}
)
_TIMES = frozenset(("times", "mal", "fois", "veces", "volte", "vezes", "keer"))
"""Words between how often a digit comes and the digit: "trois fois zero"."""
_PLURALS = MappingProxyType(
    {"ohs": 0, "zeros": 0, "zeroes": 0, "ones": 1, "twos": 2, "threes": 3, "fours": 4, "fives": 5, "sixes": 6}
    | {"sevens": 7, "eights": 8, "nines": 9}
)
"""Digits behind how often they come: "three ones"."""
_ANDS = frozenset(("et", "y", "e"))
"""Words inside one number: "quarante et un", "cuarenta y uno"."""
_ZEROS = MappingProxyType({"hundred": "00", "thousand": "000"})
_ARTICLES = frozenset(("ein", "eine", "un", "una", "une", "um", "uma", "een"))
"""Words that mean a digit only behind another one."""
_AMBIGUOUS = frozenset("to too for ate die once six dix ten due sei meia sex no o on".split()) | _ARTICLES
"""Words that tell nothing about the language in which somebody reads a number."""
_FEWEST_OF_ANOTHER = 2
"""Number words of another language that are no accident."""
_ONLY_INSIDE = frozenset(("too", "for", "ate", "o", "sei", "meia"))
"""Words that mean a digit only between other digits: recognisers write "for" for "four"."""
JOINS = frozenset(
    "and then uh um er erm ah eh hmm dash hyphen minus space comma okay ok so next und dann strich et puis tiret y e en"
    " streepje".split()
)
"""Words that may stand between the digits of a number."""
_MOST_JOINS = 3
FILLERS = JOINS | frozenset(
    "point dot slash underscore like let me see hold on sorry wait a sec second moment i think i'm mean you know yes "
    "yeah right got it it's is was that that's the this now well there here followed by rest are last next four digits "
    "digit number part please again x punkt warte moment also bitte ja virgule alors attendez voila oui puis espera si "
    "luego aspetta allora poi espere sim depois wacht even".split()
)
"""Words that may also stand between the digits of a card, which proves itself by its check digit."""
_MOST_FILLERS = 8
_TOKEN = re.compile(
    r"[$€£¥]\s?\d[\d.,]*|\d[\d.,]*\s?[$€£¥%]|\d{1,3}(?:,\d{3})+(?![\d-])|\d+(?:[.,]\d{1,2})?(?=\s?(?:dollars|euros?|pounds|cents)\b)"
    r"|[^\W_]+(?:['’][^\W_]+)?"
)
"""An amount of money, a percentage or a large count, which are no part of a number that is read out; or a word."""
_LOOSE_TOKEN = re.compile(r"\d+|[^\W\d_]+(?:['’][^\W\d_]+)?")
_LOOSE_GAP = re.compile(r"[^\w|<>=+]*|_+")
_GAP = re.compile(r"[\s.,;\-–—…·]*")
"""What may stand between two pieces of a number. A colon and a slash belong to times and dates."""
_COUNT = re.compile(r"\d{1,3}(?:,\d{3})+")
_LONG_COUNT = 13
"""Digits of a count that is none: recognisers write "4,111,111,111,111,111"."""
_DIGIT_WORD = 10
"""Words for numbers below it stand for one digit."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A word of a number, with the digits that it stands for."""

    digits: str
    start: int
    end: int
    after_pause: bool = False
    """Whether a comma, a dash or such a word stands before it."""


@dataclass(frozen=True, slots=True)
class Run:
    """Digits that are said one after the other."""

    pieces: tuple[Piece, ...]

    @property
    def digits(self) -> str:
        return "".join(piece.digits for piece in self.pieces)

    @property
    def start(self) -> int:
        return self.pieces[0].start

    @property
    def end(self) -> int:
        return self.pieces[-1].end

    @property
    def groups(self) -> tuple[int, ...]:
        """The number of digits of each piece."""
        return tuple(len(piece.digits) for piece in self.pieces)

    @property
    def pauses(self) -> tuple[int, ...]:
        """The number of digits from one pause to the next."""
        counts = [0]
        for piece in self.pieces:
            if piece.after_pause:
                counts.append(0)
            counts[-1] += len(piece.digits)
        return tuple(counts)


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the text, in lower case and without accents."""

    word: str
    start: int
    end: int


def fold(text: str) -> str:
    """The text in lower case, without accents and with the digits of other scripts as ours, each in its place."""
    return "".join(
        str(unicodedata.decimal(sign)) if sign.isdecimal() else unicodedata.normalize("NFKD", sign)[0].lower()[0]
        for sign in text
    )


def tokens_of(text: str) -> list[Token]:
    """Split a text into words, numbers and amounts."""
    folded = fold(text)
    return [Token(match[0], match.start(), match.end()) for match in _TOKEN.finditer(folded)]


def read_runs(text: str, language: str = "en") -> list[Run]:
    """The numbers in a text that are read out digit by digit or in groups, in their order."""
    return _read(text, tokens_of(text), language, _GAP, JOINS, _MOST_JOINS)


def read_loosely(text: str, language: str = "en") -> list[Run]:
    """The same with anything between the digits that people say or write there: "4111/1111, let me see, 1111"."""
    tokens = [Token(match[0], match.start(), match.end()) for match in _LOOSE_TOKEN.finditer(fold(text))]
    return _read(text, tokens, language, _LOOSE_GAP, FILLERS, _MOST_FILLERS)


def _read(
    text: str, tokens: list[Token], language: str, gap: re.Pattern[str], joining: frozenset[str], most: int
) -> list[Run]:
    """``joining`` words, ``most`` of them in succession, and what ``gap`` matches may stand inside a number."""
    language = _language_of(tokens, language.partition("-")[0].lower())
    runs: list[Run] = []
    pieces: list[Piece] = []
    at = joins = after = 0
    while at < len(tokens):
        taken, piece = _piece_at(tokens, at, language, inside=bool(pieces))
        if piece is not None and pieces and not _is_next(text, tokens[after:at], pieces[-1], piece, gap):
            runs.append(Run(tuple(pieces)))
            pieces = []
            taken, piece = _piece_at(tokens, at, language, inside=False)
        if piece is not None:
            if pieces and text[pieces[-1].end : piece.start].strip():
                piece = replace(piece, after_pause=True)
            pieces.append(piece)
            joins, after = 0, at + taken
        elif pieces and (tokens[at].word not in joining or joins == most):
            runs.append(Run(tuple(pieces)))
            pieces, joins = [], 0
        else:
            joins += 1 if pieces else 0
        at += taken
    return [*runs, Run(tuple(pieces))] if pieces else runs


def _language_of(tokens: list[Token], usual: str) -> str:
    """The language of the number words: ``usual``, unless there are clearly more of another one."""
    words = [token.word for token in tokens if not token.word.isdigit() and token.word not in _AMBIGUOUS]
    counts = {language: sum(word in _values(language) for word in words) for language in _DIGITS}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] >= counts.get(usual, counts["en"]) + _FEWEST_OF_ANOTHER else usual


def _is_next(text: str, between: list[Token], last: Piece, piece: Piece, gap: re.Pattern[str]) -> bool:
    """Whether only pauses stand around the words ``between`` two pieces."""
    at = last.end
    for token in [*between, Token("", piece.start, piece.start)]:
        if not gap.fullmatch(text[at : token.start]):
            return False
        at = token.end
    is_time_or_date = 2 in (len(last.digits), len(piece.digits)) and {":", "/"} & {*text[last.end : piece.start]}
    return not is_time_or_date


def _piece_at(tokens: list[Token], at: int, language: str, *, inside: bool) -> tuple[int, Piece | None]:
    """The number of words of the piece that begins here, and the piece; one word and None if there is none."""
    token = tokens[at]
    values = _values(language)
    word = token.word
    if _COUNT.fullmatch(word) and len(plain := word.replace(",", "")) >= _LONG_COUNT:
        return 1, Piece(plain, token.start, token.end)
    if (repeated := _repeated_at(tokens, at, values)) is not None:
        return repeated
    if word.isascii() and word.isdigit():
        return 1, Piece(word, token.start, token.end)
    if inside and word in _ZEROS:
        return 1, Piece(_ZEROS[word], token.start, token.end)
    value = values.get(word)
    if (
        value is None
        or (word in _ARTICLES and not inside)
        or (word in _ONLY_INSIDE and not _has_neighbour(tokens, at, values))
    ):
        return 1, None
    taken, value = _compound(tokens, at, values, value)
    return taken, Piece(str(value), token.start, tokens[at + taken - 1].end)


def _repeated_at(tokens: list[Token], at: int, values: dict[str, int]) -> tuple[int, Piece] | None:
    """A digit that comes several times: "double five", "three ones", "drei mal die null"."""
    words = [token.word for token in tokens[at : at + 4]]
    count, taken = _REPEATS.get(words[0], 0), 1
    if not count:
        count = int(words[0]) if words[0] in {*"23456789"} else values.get(words[0], 0)
        if len(words) < 2 or not 2 <= count < _DIGIT_WORD:
            return None
        if words[1] in _PLURALS:
            return 2, Piece(str(_PLURALS[words[1]]) * count, tokens[at].start, tokens[at + 1].end)
        if words[1] not in _TIMES:
            return None
        taken = 2
    if words[taken : taken + 1] == ["die"]:
        taken += 1
    if taken >= len(words):
        return None
    digit = words[taken] if words[taken].isdigit() else str(values.get(words[taken], ""))
    return (taken + 1, Piece(digit * count, tokens[at].start, tokens[at + taken].end)) if len(digit) == 1 else None


def _compound(tokens: list[Token], at: int, values: dict[str, int], value: int) -> tuple[int, int]:
    """The words of a number below a hundred, and its value: "forty one", "quarante et un", "quatre-vingt-dix-sept"."""
    words = [token.word for token in tokens[at : at + 4]]
    taken = 1
    if words[0] == "quatre" and words[1:2] in (["vingt"], ["vingts"]):
        taken, value = 2, 80
    if not 20 <= value < 100 or value % 10:
        return taken, value
    behind = taken + (words[taken : taken + 1] != [] and words[taken] in _ANDS)
    if behind < len(words):
        unit = values.get(words[behind], 0)
        # "un" is a digit behind "et", and French counts from 60 and 80 on to 79 and 99.
        most = 20 if words[0] in ("soixante", "quatre") else _DIGIT_WORD
        excluded = _ONLY_INSIDE if behind > taken else _ONLY_INSIDE | _ARTICLES
        if 0 < unit < most and (words[behind] not in excluded or most == 20):
            return _add_unit(words, behind, values, value + unit)
    return taken, value


def _add_unit(words: list[str], at: int, values: dict[str, int], value: int) -> tuple[int, int]:
    """French 70 and 90 with a unit behind them: "soixante-dix-sept"."""
    if value in (70, 90) and words[at] == "dix" and 7 <= (unit := values.get("".join(words[at + 1 : at + 2]), 0)) <= 9:
        return at + 2, value + unit
    return at + 1, value


def _has_neighbour(tokens: list[Token], at: int, values: dict[str, int]) -> bool:
    """Whether digits stand on both sides of a word, or two on one side: "oh two seven", "one for two"."""

    def is_digit(place: int) -> bool:
        if not 0 <= place < len(tokens):
            return False
        word = tokens[place].word
        return (word.isdigit() or word in values or word in _REPEATS) and (word not in _ONLY_INSIDE or word == "o")

    both = is_digit(at - 1) and is_digit(at + 1)
    return both or (tokens[at].word == "o" and (is_digit(at - 1) or is_digit(at + 1)))


@lru_cache(maxsize=16)
def _values(language: str) -> dict[str, int]:
    """The value of each number word of a language, from 0 to 99; English for one that is not known."""
    language = language if language in _DIGITS else "en"
    values: dict[str, int] = {}
    for value, spellings in enumerate(_DIGITS[language].split()):
        values |= dict.fromkeys(map(fold, spellings.split("|")), value)
    units = [(word, value) for word, value in values.items() if 0 < value < _DIGIT_WORD]
    for ten, spellings in enumerate(_TENS[language].split(), 2):
        for word in map(fold, spellings.split("|")):
            values[word] = 10 * ten
            # "vierunddreißig", "vierendertig", "ventuno", "veintidos", "cuarenta y dos" is read as two pieces.
            for unit, value in units:
                values[f"{unit}und{word}"] = values[f"{unit}en{word}"] = 10 * ten + value
                values[f"{word}{unit}"] = values[f"{word[:-1]}{unit}"] = values[f"{word[:-1]}i{unit}"] = (
                    10 * ten + value
                )
    return values
