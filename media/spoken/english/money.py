"""Amounts of money in English: any currency, in front of the amount or behind it, by sign or by code."""

from __future__ import annotations

import re
from dataclasses import dataclass

from media.spoken.english.context import dash
from media.spoken.english.dates import DASH
from media.spoken.english.numerals import cardinal, number
from media.spoken.english.units import PER, per
from media.spoken.spans import Match, Rule, Start, rule, text_before


@dataclass(frozen=True, slots=True)
class _Currency:
    one: str
    many: str
    small_one: str
    small_many: str
    """The hundredth part. Empty where the currency has none in use."""


_TABLE = """
$ USD US$ USD$ $USD $US | dollar dollars cent cents
€ EUR | euro euros cent cents
£ GBP | pound pounds penny pence
¥ JPY JP¥ 円 | yen yen
CN¥ RMB CNY | yuan yuan fen fen
CA$ C$ CAD CDN$ | Canadian_dollar Canadian_dollars cent cents
A$ AU$ AUD | Australian_dollar Australian_dollars cent cents
NZ$ NZD | New_Zealand_dollar New_Zealand_dollars cent cents
HK$ HKD | Hong_Kong_dollar Hong_Kong_dollars cent cents
S$ SGD | Singapore_dollar Singapore_dollars cent cents
MX$ MXN | Mexican_peso Mexican_pesos centavo centavos
R$ BRL | real reais centavo centavos
CHF SFr | Swiss_franc Swiss_francs centime centimes
₹ INR Rs Rs. | rupee rupees paisa paise
₩ KRW | won won
₽ RUB | ruble rubles kopeck kopecks
₺ TRY | lira lira kurus kurus
₪ ILS NIS | shekel shekels agora agorot
₫ VND | dong dong
₱ PHP | peso pesos centavo centavos
₴ UAH | hryvnia hryvnias kopiyka kopiykas
₦ NGN | naira naira kobo kobo
₿ BTC | bitcoin bitcoins
฿ THB | baht baht satang satang
zł PLN | zloty zlotys grosz groszy
Kč CZK | koruna korunas haler halers
SEK | Swedish_krona Swedish_kronor öre öre
NOK | Norwegian_krone Norwegian_kroner øre øre
DKK | Danish_krone Danish_kroner øre øre
kr kr. | krone kroner øre øre
ZAR | rand rand cent cents
AED | dirham dirhams fils fils
SAR | riyal riyals halala halalas
"""
"""The signs and codes of each currency, then its unit and hundredth part in singular and plural."""


def _read_table() -> dict[str, _Currency]:
    currencies = {}
    for line in _TABLE.strip().splitlines():
        signs, _, names = line.partition("|")
        one, many, *small = (name.replace("_", " ") for name in names.split())
        currency = _Currency(one, many, *(small or ("", "")))
        currencies.update(dict.fromkeys(signs.split(), currency))
    return currencies


_CURRENCIES = _read_table()
_SCALES = {"k": "thousand", "m": "million", "mm": "million", "mn": "million", "b": "billion", "bn": "billion"}
_SCALES |= {"tn": "trillion", "t": "trillion"}
_SCALE = (
    r"(?:\s?(hundred|thousand|million|billion|trillion|lakh|crore|(?<!\s)(?:[kKmMbBtT]n?|MM)\b(?!['’]|-[a-z])"
    r"|(?<=\s)(?:[KMB]|[mbt]n|MM)\b(?![)/&'’-]|\.\w)))?"
)
"""A single letter behind a space may begin something else: "A) $10 B) $15"."""
_AMOUNT = (
    r"(\d{1,2}(?:,\d\d){1,4},\d{3}(?:\.\d{1,2})?(?!\d)|\d{1,3}(?:,\d{3})+(?:\.\d{1,4})?(?!\d)|\d{1,3}(?:\.\d{3})+(?:,\d\d)?(?![\d,])"
    r"|\d{1,15}(?:\.\d{1,6}|,\d\d?(?!\d))?(?![\d]|[.,]\d)|\.\d{1,4}(?![\d.]))"
)
"""1,234.50, 1.234,50, 12,50 and 1,00,000 too."""


def _alternatives(signs: list[str]) -> str:
    return "|".join(re.escape(sign) + (r"\b" if sign[-1].isalpha() else "") for sign in sorted(signs, key=len)[::-1])


_AFTER = f"(?:{_alternatives(list(_CURRENCIES))})"
_BEFORE = rf"(?:(?<![A-Za-z]){_AFTER})"
_NAME = r"(?:\s(?:U\.?S\.?\s|US\s)?(?:dollars?|USD|euros?|EUR|pounds?|GBP|yen|rupees?|bucks?|quid))"
"""The name of the currency after an amount that has its sign: "$60 dollars" is said as sixty dollars."""


def _plain(amount: str) -> str:
    """The amount with a point before its decimals."""
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+(?:,\d\d)?|\d{1,15},\d\d?", amount):
        return amount.replace(".", "").replace(",", ".")
    return amount


def money(amount: str, sign: str, scale: str = "", *, attributive: bool = False) -> str:
    """``attributive``: in front of what costs it, as in "a twenty dollar fee"."""
    currency = _CURRENCIES[sign]
    many = currency.one if attributive else currency.many
    amount = _plain(amount)
    if scale:
        return f"{number(amount)} {_SCALES.get(scale.lower(), scale.lower())} {many}"
    whole, _, part = amount.partition(".")
    if len(part) > 2 or (part and not currency.small_one):
        return f"{number(amount)} {many}"
    small = int(part.ljust(2, "0")) if part else 0
    big = number(whole) if whole else "zero"
    words = f"{big} {currency.one if big == 'one' else many}"
    if not small:
        return words
    cents = f"{cardinal(small)} {currency.small_one if small == 1 or attributive else currency.small_many}"
    return cents if big == "zero" else f"{words} and {cents}"


def _is_attributive(match: Match) -> bool:
    """Whether the amount describes the noun that follows: "a $20 fee", "the $20 fee"."""
    before = text_before(match)
    if _AFTER_A.search(before):
        return _WORD.match(match.string, match.end()) is not None
    return _AFTER_THE.search(before) is not None and _PAID.match(match.string, match.end()) is not None


_AFTER_A = re.compile(r"(?:^|\s)an?\s$", re.I)
_AFTER_THE = re.compile(r"(?:^|\s)(?:the|your|our|my|this|that|each|any|every|another|one)\s$", re.I)
_WORD = re.compile(r"\s[a-z]")
_PAID = re.compile(
    r"\s(?:fees?|bills?|notes?|discounts?|deposits?|charges?|gift|cards?|credits?|coupons?|payments?|refunds?|minimum"
    r"|maximum|co-?pays?|tips?|tickets?|plans?|deductible|limit|budget|late|cancellation|service|delivery|penalty)\b"
)
"""What has a price, so that "the $20 …" describes it."""


def _cents(match: Match) -> str:
    amount = match[1] or match[2]
    return f"{number(amount)} {'cent' if amount == '1' else 'cents'}{per(match)}"


def _single(match: Match) -> str:
    said = money(match["amount"], match["sign"], match["scale"] or "", attributive=_is_attributive(match))
    return said + per(match)


def _prefixed(match: Match) -> str:
    return ("minus " if match["minus"] or match["minus_inside"] else "") + _single(match)


def _range(match: Match) -> str:
    first, last, sign = match["amount"], match["last"], match["sign"]
    scale, last_scale = match["scale"] or "", match["last_scale"] or ""
    end = money(last, sign, last_scale, attributive=_is_attributive(match)) + per(match)
    if re.fullmatch(r"[\d,]+", first) or scale:
        start = number(first) + (
            f" {_SCALES.get(scale.lower(), scale.lower())}" if scale and scale != last_scale else ""
        )
        return f"{start} {dash(match)} {end}"
    return f"{money(first, sign, scale)} {dash(match)} {end}"


def _named(pattern: str, name: str) -> str:
    """``pattern`` with its first group named."""
    return pattern.replace("(", f"(?P<{name}>", 1)


def _scale(name: str) -> str:
    return _SCALE.replace(r"(hundred", rf"(?P<{name}>hundred")


_FIRST = _named(_AMOUNT, "amount") + _scale("scale")
_LAST = _named(_AMOUNT, "last") + _scale("last_scale")
_RATE = rf"(?:{PER})?"

RULES: tuple[Rule, ...] = (
    rule(
        "money",
        rf"(?P<minus>(?<![\w)])-)?(?P<sign>{_BEFORE})\s?(?P<minus_inside>-)?{_FIRST}(?!\w)(?:(?:/-|[.,][-–—]+)(?!\w))?(?:{_NAME}\b)?{_RATE}",
        _prefixed,
    ),
    rule(
        "money range",
        rf"(?P<sign>{_BEFORE})\s?{_FIRST}{DASH}(?:(?P=sign))?\s?{_LAST}(?!\w){_RATE}",
        _range,
        signs="-–—",
    ),
    rule(
        "money range",
        rf"(?<![\w.,]){_FIRST}(?:\s?(?P<first_sign>{_AFTER}))?{DASH}{_LAST}\s?(?P<sign>{_AFTER}){_RATE}",
        _range,
        lambda m: m["first_sign"] in (None, m["sign"]),
        start=Start.NUMBER,
        signs="-–—",
    ),
    rule(
        "money", rf"(?<![\w.,]){_FIRST}\s?(?P<sign>{_AFTER})(?!\w|\d)(?:{_NAME}\b)?{_RATE}", _single, start=Start.NUMBER
    ),
    rule("money", rf"(?<![\w.,])(?:(\d{{1,3}})\s?¢|¢(\d{{1,3}})(?!\w|[.,]\d)){_RATE}", _cents, signs="¢"),
    rule(
        "money",
        r"(?<![\w.,£])(\d{1,2})p(?!\w)",
        lambda m: "one penny" if m[1] == "1" else f"{number(m[1])} pence",
        start=Start.NUMBER,
        signs="p",
    ),
)
