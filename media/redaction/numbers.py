"""
Finds the numbers in a text that must not be stored: cards, bank accounts, social security, security codes.

A number is found by itself where its digits prove what it is (check digits, lengths, groups), and by the words around
it or the question before it where they do not. Telephone numbers, dates, prices and order numbers stay.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from media.redaction.digits import JOINS, Piece, Run, Token, fold, read_loosely, read_runs, tokens_of


class Kind(StrEnum):
    """What a number is. The value stands in its place in the transcript."""

    CARD = "[card number]"
    ACCOUNT = "[account number]"
    SOCIAL = "[social security number]"
    CODE = "[security code]"
    UNKNOWN = "[number]"
    """One of which it was not known yet what it is when the process died."""


@dataclass(frozen=True, slots=True)
class Found:
    """A number in a text, from ``start`` to ``end``."""

    start: int
    end: int
    kind: Kind

    def overlaps(self, other: Found | Run) -> bool:
        return self.start < other.end and other.start < self.end


def phrases(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b")


NAMES = {
    Kind.CODE: phrases(
        "security code", r"cv[vc]2?", r"cv two", "card verification", r"(?:digits|number|code) on the back",
        "prufnummer", "prufziffer", "kartenprufnummer", "cryptogramme", "codigo de seguridad", "codice di sicurezza",
        "codigo de seguranca", "beveiligingscode", r"pin(?: code| number)?",
    ),
    Kind.SOCIAL: phrases(
        "social(?: security)?(?: number)?", "ssn", "social insurance(?: number)?", "national insurance(?: number)?",
        "tax(?:payer)? (?:id|identification|number)", "ein number", "sozialversicherungsnummer", "steuer ?id",
        "steueridentifikationsnummer", "securite sociale", "seguridad social", "dni", "codice fiscale",
        "burgerservicenummer", "bsn", "cpf", "seguranca social",
    ),
    Kind.ACCOUNT: phrases(
        r"(?:account|acct|a c) (?:number|no)s?", "acct", r"bank (?:account|details)", r"sort code", "routing",
        "aba number", "iban", "kontonummer", "bankleitzahl", "numero de compte", "coordonnees bancaires",
        "numero de cuenta", "cuenta bancaria", "numero di conto", "numero da conta", "rekeningnummer", "bankrekening",
    ),
    Kind.CARD: phrases(
        r"card(?:'?s)? (?:number|details)", r"(?:credit|debit|bank|payment) cards?",
        r"number (?:of|on) (?:the|my|your)(?: \w+)? card",
        r"(?:the|my|your|that|this) card", "visa", "master ?card", "amex", "american express", "long number",
        r"(?:16|sixteen) digits?", "kartennummer", "kreditkarte", "numero de (?:la )?carte",
        "carte (?:bancaire|de credit)",
        "numero de (?:la )?tarjeta", "tarjeta de (?:credito|debito)", "numero della carta", "carta di credito",
        "numero do cartao", "cartao de credito", "kaartnummer", "creditcard",
    ),
}  # fmt: skip
OTHER = phrases(
    "phone", "telephone", "mobile", "cell(?:phone)?", "call", "reach", "text", "fax", "orders?", "booking",
    "reservation",
    "confirmation", "reference", "tracking", "ticket", "case", "invoice", "zip", "post ?code", "postal",
    "birth(?:day)?",
    "born", "address", "street", "flight", "room", "extension", "appointment", "serial", "model", "member(?:ship)?",
    "loyalty", "policy", "dates?", "day", "time", "o'clock", "name", "e ?mail", "how (?:many|much|old|long)",
    "when", "amount",
    "price", "total", "costs?", "telefon(?:nummer)?", "handy", "bestell(?:ung|nummer)", "telefono", "pedido",
    "commande",
)  # fmt: skip
"""Words that say of a number that it is another one, or ask for one."""
_PLAIN = frozenset(
    "dollar dollars euro euros pound pounds cent cents bucks percent people persons guests day days week "
    "weeks month months "
    "year years hour hours minute minutes second seconds am pm o'clock times mile miles kilometers degrees "
    "street avenue "
    "road lane drive items pieces tickets nights euro uhr prozent january february march april may june july august "
    "september october november december jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
"""Words that stand beside amounts, times and dates."""
_BEFORE_YEAR = frozenset("in since from of until till by year back seit im".split())
_REQUEST = phrases(
    "please", "tell me", "give me", "read", "enter", "may i", "can i", "could (?:i|you)", "can you", "need",
    "provide", "what",
    "what's", "type", "key in", "confirm", "say", "let me have", "have", "repeat", "bitte", "nennen",
    "por favor", "s'il vous plait",
)  # fmt: skip
_start = attrgetter("start")
_EXPIRES = re.compile(r"[\s,.]*\d\d?\s?/\s?(?:20)?\d\d\b(?:[\s,.]*\d{3,4}\b)?")
"""A date behind a card, and the security code behind that."""
_SENTENCE = re.compile(r"[^.!?]+[.!?]*")

_AROUND = frozenset("it's its is that's yes yeah sure then pressed no sorry".split())
"""Words around a dictated number that say nothing else."""

NEAR = 12
"""Words between the name of a number and its digits: "my account number is, let me see, hold on, it's 1234"."""
SHORTEST = {Kind.CARD: 6, Kind.ACCOUNT: 5, Kind.SOCIAL: 4, Kind.CODE: 3}
"""Digits of a number that the speaker has named. The last four digits of a card identify it and may be kept."""
LONGEST_CARD = 19
_SHORTEST_APART = 15
"""Digits of a card with other things between them, or over several turns. Cards of 13 digits are not made any more."""
_TELEPHONE = range(7, 12)
"""Digits of a telephone number."""
_MOST_BEHIND_CARD = 10
"""Digits of an expiry date and a security code."""
SHORTEST_ASKED = 3
"""Digits of a part of a number that was asked for."""
SHORTEST_REPEATED = 4
"""Digits among other words that are taken for a part of a number that was said before."""
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18,
    "EE": 20, "ES": 24,
    "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27,
    "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24, "SA": 24,
    "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "TR": 26,
}  # fmt: skip
_BEGINS_IBAN = re.compile(r"[a-z]{1,2}(?:\d|$)")
"""A country's code, or a letter of it."""
_INSURANCE = re.compile(r"\b[a-ceghj-prstw-z] ?[a-ceghj-nprstw-z][ -]?\d\d[ -]?\d\d[ -]?\d\d[ -]?[a-d]\b")
"""A British National Insurance number."""


def find_numbers(
    text: str, *, asked: Kind | None = None, known: Collection[str] = (), language: str = "en"
) -> list[Found]:
    """
    Find the numbers in one side's words that must not be stored, in their order.

    ``asked``: the other side has asked for such a number. ``known``: the digits of those that were said before.
    """
    folded, tokens = fold(text), tokens_of(text)
    found = [*_ibans(tokens, language), *(Found(*match.span(), Kind.SOCIAL) for match in _INSURANCE.finditer(folded))]
    cards = _cards(text, language)
    found += [card for card in cards if not any(map(card.overlaps, found))]
    has_card, is_alone = bool(cards), (asked is not None or bool(known)) and is_dictated(text, language)
    for run in read_runs(text, language):
        if any(one.overlaps(run) for one in found):
            continue
        if is_social_security(run):
            found.append(Found(run.start, run.end, Kind.SOCIAL))
            continue
        kind = asked if is_alone and asked is not None else _named(run, folded, tokens, asked)
        if kind is None and has_card and len(run.digits) in (3, 4) and not _is_plain(run, tokens):
            kind = Kind.CODE
        shortest = SHORTEST_ASKED if is_alone else SHORTEST_REPEATED
        if kind is None and len(run.digits) >= shortest and any(run.digits in digits for digits in known):
            kind = Kind.CARD if asked is None else asked
        if kind is not None:
            found.append(Found(run.start, run.end, kind))
    return sorted(found, key=lambda one: one.start)


def redact(text: str, found: Collection[Found]) -> str:
    """Replace the numbers by what they are."""
    at, parts = 0, []
    for one in found:
        parts += [text[at : one.start], one.kind.value]
        at = one.end
    return "".join((*parts, text[at:]))


def asked_for(agent_said: str, before: Kind | None = None) -> Kind | None:
    """
    The kind of number that the agent's last question or request asks for.

    ``before``: what was asked for before. Words such as "go on" or "and the last four digits?" leave that as it is.
    """
    for sentence in reversed(_SENTENCE.findall(fold(agent_said))):
        is_request = sentence.rstrip().endswith("?") or _REQUEST.search(sentence)
        kind = named_in(sentence)
        if kind is not None:
            return kind if is_request else before
        if is_request and OTHER.search(sentence):
            return None
    return before


def is_dictated(text: str, language: str = "en") -> bool:
    """Whether the words are digits and what people say between them, and nothing else."""
    runs = read_runs(text, language)
    left = [
        token.word
        for token in tokens_of(text)
        if not any(run.start <= token.start < run.end for run in runs) and token.word not in JOINS
    ]
    return bool(runs) and not {*left} - _AROUND


def named_in(text: str) -> Kind | None:
    """The kind of number that is named last in these folded words; a security code rather than its card."""
    ends = {kind: max((m.end() for m in name.finditer(text)), default=0) for kind, name in NAMES.items()}
    if ends[Kind.CODE] and not read_runs(text):
        return Kind.CODE
    last = max(ends, key=lambda kind: ends[kind])
    return last if ends[last] else None


# --- Numbers that prove themselves ---------------------------------------------------------------------------


def _cards(text: str, language: str) -> list[Found]:
    """The cards, with the expiry date and the security code that follow at once."""
    found = [card for run in read_runs(text, language) for card in _cards_in(text, run, shortest=13)]
    loosely = (card for run in read_loosely(text, language) for card in _cards_in(text, run, shortest=_SHORTEST_APART))
    return found + [card for card in loosely if not any(map(card.overlaps, found))]


def _cards_in(text: str, run: Run, *, shortest: int) -> Iterator[Found]:
    pieces = run.pieces
    while (place := _card_at(pieces, shortest)) is not None:
        first, behind = place
        follows = sum(len(piece.digits) for piece in pieces[behind:])
        last = pieces[behind - 1] if follows > _MOST_BEHIND_CARD else pieces[-1]
        expires = _EXPIRES.match(text, pieces[behind - 1].end)
        yield Found(pieces[first].start, max(last.end, expires.end() if expires else 0), Kind.CARD)
        pieces = pieces[behind:] if follows > _MOST_BEHIND_CARD else ()


def _card_at(pieces: tuple[Piece, ...], shortest: int = 13) -> tuple[int, int] | None:
    """The piece with which the first card begins, and the one behind its longest reading; None if there is none."""
    for first in range(len(pieces)):
        digits, behind = "", 0
        for place, piece in enumerate(pieces[first:], first + 1):
            digits += piece.digits
            if len(digits) >= shortest and is_card(digits) and not _is_said_twice(digits):
                behind = place
            if len(digits) > LONGEST_CARD:
                break
        if behind:
            return first, behind
    return None


def _is_said_twice(digits: str) -> bool:
    """Whether these are the digits of a telephone number and, at least in part, the same again."""
    period = next(period for period in range(1, len(digits) + 1) if digits[period:] == digits[:-period])
    return period in _TELEPHONE


def is_card_over(turns: Sequence[Run], *, is_unlikely: bool = False) -> bool:
    """
    Whether digits over several turns are those of a card: from the first one of a turn on, to the last one.

    The last turn may go on with the expiry date and the security code, unless it looks like a telephone number: two of
    these, or one and a time, would often be a card otherwise. ``is_unlikely``: the agent has asked for something else,
    so that all the digits must be those of a card, of a usual length.
    """
    last = len(turns[-1].digits)
    if is_unlikely and sum(len(turn.digits) for turn in turns) not in (15, 16):
        return False
    behind = 0 if is_telephone(turns[-1]) else _MOST_BEHIND_CARD
    for first in range(len(turns) - 1):
        pieces = [piece for turn in turns[first:] for piece in turn.pieces]
        digits, left = "", sum(len(piece.digits) for piece in pieces)
        for piece in pieces:
            digits += piece.digits
            left -= len(piece.digits)
            is_whole = left <= behind and left < last and len(digits) >= _SHORTEST_APART
            if is_whole and is_card(digits) and not _is_said_twice(digits):
                return True
    return False


def is_telephone(run: Run) -> bool:
    """Whether the run has as many digits as a telephone number with its area code."""
    return len(run.digits) in (10, 11)


def is_card(digits: str) -> bool:
    """Whether these are the digits of a card: its check digit, its length and the beginnings that are in use."""
    count = len(digits)
    if not 13 <= count <= LONGEST_CARD:
        return False
    two, four = int(digits[:2]), int(digits[:4])
    usual = (
        (digits[0] == "4" and count in (13, 16, 19))
        or (count == 16 and (51 <= two <= 55 or 2200 <= four <= 2720))
        or (two in (34, 37) and count == 15)
        or (two in (30, 36, 38, 39) and count >= 14)
        or (two in (35, 50, 56, 57, 58, 60, 61, 62, 63, 64, 65, 67, 68, 69, 81, 97) and count >= 16)
    )
    return usual and has_check_digit(digits)


def has_check_digit(digits: str) -> bool:
    """Whether the last digit fits the others (Luhn)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[::-2])) % 10 == 0


def may_begin_card(digits: str) -> bool:
    """Whether more digits could make these the number of a card."""
    return bool(digits) and digits[0] in "23456" and len(digits) < 19


def is_social_security(run: Run) -> bool:
    """Whether the run has the three groups of an American number, whose telephone numbers are grouped otherwise."""
    area, group, serial = (run.digits[:3], run.digits[3:5], run.digits[5:])
    valid = area not in ("000", "666") and area[:1] != "9" and group != "00" and serial != "0000"
    return valid and (3, 2, 4) in (run.groups, run.pauses)


def _ibans(tokens: list[Token], language: str) -> Iterator[Found]:
    """The IBANs, written or spelled."""
    end = 0
    for first, token in enumerate(tokens):
        if token.start < end or not _BEGINS_IBAN.match(token.word):
            continue
        if (last := _iban_end(tokens, first, language)) is not None:
            end = last
            yield Found(token.start, end, Kind.ACCOUNT)


def _iban_end(tokens: list[Token], first: int, language: str) -> int | None:
    written = ""
    for token in tokens[first : first + 34]:
        word = token.word
        if len(word) > 1 and word.isalpha():
            runs = read_runs(word, language)
            word = runs[0].digits if runs else word if len(word) <= 4 and word.isascii() else "?"
        written += word.upper()
        if not re.fullmatch(r"[A-Z]{0,2}|[A-Z]{2}[0-9][0-9A-Z]{0,31}", written):
            return None
        if len(written) == _IBAN_LENGTHS.get(written[:2]):
            return (
                token.end if int("".join(str(int(sign, 36)) for sign in written[4:] + written[:4])) % 97 == 1 else None
            )
    return None


# --- Numbers that are known by the words around them -----------------------------------------------------------


def _named(run: Run, folded: str, tokens: list[Token], asked: Kind | None) -> Kind | None:
    """The kind of a number by what was said just before it, just behind it, or asked."""
    count = len(run.digits)
    if count < SHORTEST_ASKED or _is_plain(run, tokens):
        return None
    first = bisect_left(tokens, run.start, key=_start)
    before = tokens[max(first - NEAR, 0) : first]
    words = folded[before[0].start : run.start] if before else ""
    others = [match.end() for match in OTHER.finditer(words)]
    kinds = [(match.end(), kind) for kind, name in NAMES.items() for match in name.finditer(words)]
    if kinds and max(kinds)[0] >= max(others, default=0):
        kind = max(kinds)[1]
        return kind if count >= (SHORTEST_ASKED if asked else SHORTEST[kind]) else None
    if others:
        return None
    behind = re.match(r"\W*(?:is|was|that's|ist|c'est)\W+(?:my |the |our )?(.{0,30})", folded[run.end : run.end + 60])
    if count in (3, 4) and re.match(r"\W*(?:on|from) the (?:back|rear|reverse)\b", folded[run.end : run.end + 30]):
        return Kind.CODE
    if behind and (named := named_in(behind[1])) and count >= SHORTEST[named]:
        return named
    return asked


def _is_plain(run: Run, tokens: list[Token]) -> bool:
    """Whether a number stands beside a unit or a month, or is a year."""
    first, behind = (bisect_left(tokens, place, key=_start) for place in (run.start, run.end))
    before = [token.word for token in tokens[max(first - 1, 0) : first]]
    after = [token.word for token in tokens[behind : behind + 1]]
    is_year = re.fullmatch(r"(?:19|20)\d\d", run.digits) and len(run.pieces) <= 2 and {*before} & _BEFORE_YEAR
    return bool(is_year or {*before, *after} & _PLAIN)
