"""Reads the digits in a text, written or spoken: "4111 1111", "four one double one", "forty-one eleven"."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
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
    "fr": "vingt trente quarante cinquante soixante septante huitante|octante nonante",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "it": "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
    "nl": "twintig dertig veertig vijftig zestig zeventig tachtig negentig",
}
_REPEATS = MappingProxyType(
    dict.fromkeys(("double", "doppel", "doppelt", "doble", "doppio", "duplo", "dubbel"), 2)
    | dict.fromkeys(("triple", "treble", "triplo", "dreifach"), 3)
)
_ZEROS = MappingProxyType({"hundred": "00", "thousand": "000"})
_ARTICLES = frozenset(("ein", "eine", "un", "una", "une", "um", "uma", "een"))
"""Words that mean a digit only behind another one."""
_ONLY_INSIDE = frozenset(("too", "for", "ate", "o", "sei", "meia"))
"""Words that mean a digit only between other digits: recognisers write "for" for "four"."""
JOINS = frozenset(
    "and then uh um er erm ah eh hmm dash hyphen minus space comma okay ok so next und dann strich et puis tiret y e en"
    " streepje".split()
)
"""Words that may stand between the digits of a number."""
_MOST_JOINS = 3
_TOKEN = re.compile(
    r"[$€£¥]\s?\d[\d.,]*|\d[\d.,]*\s?[$€£¥%]|\d{1,3}(?:,\d{3})+(?![\d-])|\d+(?:[.,]\d{1,2})?(?=\s?(?:dollars|euros?|pounds|cents)\b)"
    r"|[^\W_]+(?:['’][^\W_]+)?"
)
"""An amount of money, a percentage or a large count, which are no part of a number that is read out; or a word."""
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


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the text, in lower case and without accents."""

    word: str
    start: int
    end: int


def fold(text: str) -> str:
    """The text in lower case and without accents, each character in its place."""
    return "".join(unicodedata.normalize("NFKD", sign)[0].lower()[0] for sign in text)


def tokens_of(text: str) -> list[Token]:
    """Split a text into words, numbers and amounts."""
    folded = fold(text)
    return [Token(match[0], match.start(), match.end()) for match in _TOKEN.finditer(folded)]


def read_runs(text: str, language: str = "en") -> list[Run]:
    """The numbers in a text that are read out digit by digit or in groups, in their order."""
    tokens, runs = tokens_of(text), []
    pieces: list[Piece] = []
    at = joins = after = 0
    while at < len(tokens):
        taken, piece = _piece_at(tokens, at, language, inside=bool(pieces))
        if piece is not None and pieces and not _is_next(text, tokens[after:at], pieces[-1], piece):
            runs.append(Run(tuple(pieces)))
            pieces = []
            taken, piece = _piece_at(tokens, at, language, inside=False)
        if piece is not None:
            pieces.append(piece)
            joins, after = 0, at + taken
        elif pieces and (tokens[at].word not in JOINS or joins == _MOST_JOINS):
            runs.append(Run(tuple(pieces)))
            pieces, joins = [], 0
        else:
            joins += 1 if pieces else 0
        at += taken
    return [*runs, Run(tuple(pieces))] if pieces else runs


def _is_next(text: str, between: list[Token], last: Piece, piece: Piece) -> bool:
    """Whether only pauses stand around the words ``between`` two pieces."""
    at = last.end
    for token in [*between, Token("", piece.start, piece.start)]:
        if not _GAP.fullmatch(text[at : token.start]):
            return False
        at = token.end
    return True


def _piece_at(tokens: list[Token], at: int, language: str, *, inside: bool) -> tuple[int, Piece | None]:
    """The number of words of the piece that begins here, and the piece; one word and None if there is none."""
    token, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else None
    values = _values(language.partition("-")[0].lower())
    word = token.word
    if _COUNT.fullmatch(word) and len(plain := word.replace(",", "")) >= _LONG_COUNT:
        return 1, Piece(plain, token.start, token.end)
    if word.isascii() and word.isdigit():
        return 1, Piece(word, token.start, token.end)
    if (times := _REPEATS.get(word)) and following is not None:
        digit = following.word if following.word.isdigit() else str(values.get(following.word, ""))
        if len(digit) == 1:
            return 2, Piece(digit * times, token.start, following.end)
    if inside and word in _ZEROS:
        return 1, Piece(_ZEROS[word], token.start, token.end)
    value = values.get(word)
    if (
        value is None
        or (word in _ARTICLES and not inside)
        or (word in _ONLY_INSIDE and not _has_neighbour(tokens, at, values))
    ):
        return 1, None
    if value >= 20 and not value % 10 and following is not None and following.word not in _ONLY_INSIDE | _ARTICLES:
        unit = values.get(following.word, 0)
        if 0 < unit < _DIGIT_WORD:
            return 2, Piece(str(value + unit), token.start, following.end)
    return 1, Piece(str(value), token.start, token.end)


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
