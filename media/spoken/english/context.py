"""
Decides by the words around digits whether they are a code, keys to press, a telephone number or an amount.

"Your code is 482913", "press 10" and "call 116 117" are said digit by digit; "12 people" is not.
"""

from __future__ import annotations

import re
from enum import Enum

from media.spoken.spans import Match


class Context(Enum):
    CODE = "code"
    """A code, a PIN or part of an account number: said digit by digit however short it is."""
    NUMBER = "number"
    """Something with a number: said digit by digit unless it is as short as "number 12"."""
    RECORD = "record"
    """A record that may also be counted ("order 4471", "ticket 12"): said digit by digit if it is long."""
    KEYS = "keys"
    """Keys of the telephone."""
    PHONE = "phone"
    """Something to dial."""


def _words(context: Context, words: str) -> dict[str, Context]:
    return dict.fromkeys(words.split(), context)


_KEYWORDS = (
    _words(
        Context.CODE,
        "code codes pin pins passcode passcodes password passwords otp id ids account accounts acct a/c iban bic"
        " routing serial imei isbn vin ssn zip postcode pincode combination extension ext cvv cvc digits token",
    )
    | _words(Context.NUMBER, "number numbers nos")
    | _words(
        Context.RECORD,
        "order orders ticket case invoice claim booking reservation policy reference ref confirmation card customer"
        " member membership tracking license licence passport",
    )
    | _words(Context.KEYS, "press presses pressing dial dials dialing dialling enter key type push")
    | _words(
        Context.PHONE,
        "call calls calling tel telephone phone telephones fax mobile cell text texting sms ring whatsapp reach contact"
        " hotline helpline",
    )
)

_LINKS = frozenset(
    "is are was were be will it its your the my our their this that you we i they he she him her us me them has have"
    " had been to at on or and then plus also below following as follows called sent received given gave entered again"
    " now please just back toll free emailed texted assigned which reads new old correct same directly anytime today"
    " tonight here either only still currently actually really always probably maybe us's it's that's star pound hash"
    " key".split()
)
"""Words that may stand between such a word and its digits."""

_QUALIFIERS = frozenset(
    "account order confirmation reference tracking policy invoice booking reservation serial routing case ticket claim"
    " card customer member membership id license licence passport security".split()
)
"""What makes even two digits after "number" a code: "account number 42"."""

_TOKEN = re.compile(r"[A-Za-z][A-Za-z/'’]*|\d+")
_SENTENCE_END = re.compile(r"(?<!\b[Rr]ef)(?<!\b[Tt]el)(?<!\b[Ee]xt)(?<!\b[Aa]cct)[.!?](?:\s|$)")
_NUMBER_OF_RECORD = re.compile(
    rf"\b({'|'.join(sorted(_QUALIFIERS))})\sno\.\s|(?<=[a-z]\s)no\.:?(?=\s(?:(?:is|are|was)\b|[A-Z\d]))", re.I
)
"""The "no." of "tracking no. 1234" or "part no.: 12", which is said as number."""


def _as_number(match: Match) -> str:
    return f"{match[1] or ''} number "


_REACH = 90
"""Characters before the digits in which a word may introduce them: about fifteen words."""
_NEAR = 9
"""Words before the digits in which it may: "the code that we have just sent to you is"."""

_ENDING = re.compile(r"\b(?:ending|(?:ending|ends|end)\s(?:in|with|on))[\s:]*$", re.I)
_NAMED_BY_ITS_END = re.compile(
    r"\b(?:accounts?|cards?|codes?|pins?|phones?|numbers?|lines?|mobile|cell|visa|mastercard|amex|iban|ones?|serial)\b",
    re.I,
)
"""What is named by its last digits. "The lease ends on 2027-07-19" and "the sale ends in 20 minutes" name none."""
_BEFORE_A_CODE = re.compile(
    r"\s(?:is|was|are)\s(?:your|the|my|our|a|an)\s(?:[\w-]+\s){0,3}(?:code|pin|password|passcode|number|otp|id)\b", re.I
)
_COUNTED = re.compile(
    r"\s(?:people|men|women|children|percent|(?!(?:is|as|this|was|us|plus|has|its|always|unless|across|perhaps|thus"
    r"|expires|needs|works|starts|ends|opens|closes|goes|gets|comes|shows|says|does|remains|belongs|includes|means|costs"
    r"|arrives|appears|applies|departs|takes|gives|lets|begins|runs|matches)\b)[a-z]+s)\b"
)
"""A noun in the plural, so that the digits before it count something."""


def is_counted(match: Match) -> bool:
    """Whether the digits count what follows them: "12 people"."""
    return _COUNTED.match(match.string, match.end()) is not None


_SOFTWARE = re.compile(
    r"\b(?:iOS|macOS|OS|Python|Android|Windows|Java|Node|Ubuntu|PHP|Ruby|Chrome|Firefox|Safari|[Rr]elease|[Ff]irmware"
    r"|[Ss]oftware|[Bb]uild|[Uu]pdate|[Ss]ection|[Cc]hapter|[Ff]igure)\s$"
)
"""What has versions, or sections: "Python 3.11" is three point eleven, "Windows 10/11" no date."""


def is_versioned(match: Match) -> bool:
    return _SOFTWARE.search(match.string[max(0, match.start() - 12) : match.start()]) is not None


def dash(match: Match) -> str:
    """The word for the dash of a range: "and" behind "between", otherwise "to"."""
    before, after = match.string[max(0, match.start() - 40) : match.start()], match.string[match.end() :]
    return "and" if _BETWEEN.search(before) and not _AND_FOLLOWS.match(after) else "to"


_BETWEEN = re.compile(r"\b(?:between|b/w)\s(?:(?!and\b)[^\s.!?]+\s?|\d\.\d+\s?){0,4}$", re.I)
_AND_FOLLOWS = re.compile(r"[^.!?]{0,24}\band\b")
"""What "between" joins follows: "between 9-10 a.m. and noon"."""


def context(match: Match) -> Context | None:
    """What the words around a match say it is. None if they say nothing."""
    text, start = match.string, match.start()
    before = _NUMBER_OF_RECORD.sub(_as_number, text[max(0, start - _REACH) : start])
    ends_there = _ENDING.search(before) and _NAMED_BY_ITS_END.search(before) and not is_counted(match)
    if ends_there or _BEFORE_A_CODE.match(text, match.end()):
        return Context.CODE
    boundaries = list(_SENTENCE_END.finditer(before))
    tokens = [_known(token) for token in _TOKEN.findall(before[boundaries[-1].end() if boundaries else 0 :])]
    return _introduced(tokens[-_NEAR:]) or _introduced_from_afar(tokens[-_NEAR:], before)


def _known(token: str) -> str:
    """A word in small letters. One in capitals is what to send ("Text YES to 55512"), unless it is "PIN" or "ID"."""
    small = token.lower()
    return "to" if token.isupper() and len(token) > 1 and small not in _KEYWORDS else small


def _introduced(tokens: list[str]) -> Context | None:
    for index in range(len(tokens) - 1, -1, -1):
        token = tokens[index]
        if token in _KEYWORDS:
            found = _KEYWORDS[token]
            if found is Context.NUMBER and index:
                return _qualified(tokens[index - 1])
            return found
        if token not in _LINKS and not token.isdigit():
            return None
    return None


def _qualified(word: str) -> Context:
    """What the word in front of "number" makes of it."""
    if word in _QUALIFIERS:
        return Context.CODE
    return Context.PHONE if _KEYWORDS.get(word) is Context.PHONE else Context.NUMBER


def _introduced_from_afar(tokens: list[str], before: str) -> Context | None:
    """Finds the word in "The code for the front door is 4821", where any words may stand before the verb."""
    if not tokens or tokens[-1] not in ("is", "are", "was") or "," in before[-40:]:
        return None
    for index, token in enumerate(tokens):
        found = _KEYWORDS.get(token)
        counts = index + 1 < len(tokens) and tokens[index + 1] == "of"
        if found in (Context.CODE, Context.NUMBER) and token != "digits" and not counts:
            return found
    return None
