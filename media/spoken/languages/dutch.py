"""Dutch."""

from __future__ import annotations

import re

from num2words import num2words  # type: ignore[import-untyped]

from media.spoken.languages.language import (
    DateWords,
    Language,
    counter,
    currencies,
    dictionary,
    fraction_speller,
    nouns,
    speller,
)

_MONTHS = "januari februari maart april mei juni juli augustus september oktober november december"
_SHORT_MONTHS = "jan feb mrt apr mei jun jul aug sept okt nov dec"


def _spaced(words: str) -> str:
    """A space stands behind "duizend" in Dutch spelling."""
    return re.sub(r"duizend(?=\w)", "duizend ", words)


_cardinal = speller("nl", _spaced)


def _year(value: int) -> str:
    return _spaced(str(num2words(value, lang="nl", to="year")).replace(" ", ""))


def _date(date: DateWords) -> str:
    return " ".join(filter(None, [_cardinal(date.day), date.month, date.year]))


def _clock(hour: int, minute: int, unit: str) -> str:
    words = f"{_cardinal(hour)} uur"
    return f"{words} {_cardinal(minute)}" if minute else words


def _ordinal(value: int, _written: str, _before: str) -> str:
    return str(num2words(value, lang="nl", to="ordinal"))


_CURRENCIES = currencies("""
€ EUR | één euro | euro | één cent | cent
$ USD US$ | één dollar | dollar | één cent | cent
£ GBP | één pond | pond | één penny | pence
CHF | één Zwitserse frank | Zwitserse frank | één rappen | rappen
¥ JPY | één yen | yen
""")
_UNITS = nouns("""
km | één kilometer | kilometer
m | één meter | meter
cm | één centimeter | centimeter
mm | één millimeter | millimeter
m^2 | één vierkante meter | vierkante meter
m^3 | één kubieke meter | kubieke meter
km/u km/h | één kilometer per uur | kilometer per uur
kg | één kilo | kilo
g | één gram | gram
mg | één milligram | milligram
l L | één liter | liter
ml mL | één milliliter | milliliter
min | één minuut | minuten
s sec | één seconde | seconden
kWh | één kilowattuur | kilowattuur
GB | één gigabyte | gigabyte
MB | één megabyte | megabyte
°C | één graad Celsius | graden Celsius
° | één graad | graden
% | één procent | procent
""")
_WORDS = dictionary("""
dhr. = de heer | Dhr. = de heer | mevr. = mevrouw | Mevr. = mevrouw | mw. = mevrouw | Mw. = mevrouw | dr. = dokter
Dr. = dokter | prof. = professor | bijv. = bijvoorbeeld | bv. = bijvoorbeeld | enz. = enzovoort | etc. = et cetera
m.a.w. = met andere woorden | d.w.z. = dat wil zeggen | o.a. = onder andere | i.p.v. = in plaats van
a.u.b. = alstublieft | t/m = tot en met | ca. = circa | nr. = nummer | Nr. = nummer | tel. = telefoon
Tel. = telefoon | incl. = inclusief | excl. = exclusief | max. = maximaal | min. = minimaal | blz. = bladzijde
evt. = eventueel | p.p. = per persoon | p.p.p.n. = per persoon per nacht | m.b.t. = met betrekking tot
""")
_SIGNS = {
    "#": "nummer", "<": "kleiner dan", ">": "groter dan",
    "&": "en", "+": "plus", "=": "is", "@": "apenstaartje", "%": "procent", "€": "euro", "$": "dollar",
    "£": "pond", "/": "schuine streep", "°": "graden", "×": "keer", "÷": "gedeeld door", "→": "naar", "§": "paragraaf",
}  # fmt: skip
_ADDRESS = {
    ".": "punt",
    "-": "streepje",
    "_": "laag streepje",
    "/": "schuine streep",
    "@": "apenstaartje",
    "+": "plus",
    ":": "dubbele punt",
}
_DAYS = dictionary(
    "ma = maandag | di = dinsdag | wo = woensdag | do = donderdag | vr = vrijdag | za = zaterdag | zo = zondag"
)

DUTCH = Language(
    cardinal=_cardinal,
    year=_year,
    count=counter(_cardinal),
    digits=("nul", "één", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen"),
    point="komma",
    minus="min",
    plus="plus",
    per="per",
    to="tot",
    times="keer",
    months=tuple(_MONTHS.split()),
    short_months=_SHORT_MONTHS,
    date=_date,
    clock=_clock,
    currencies=_CURRENCIES,
    units=_UNITS,
    words=_WORDS,
    signs=_SIGNS,
    address_signs=_ADDRESS,
    code_words=frozenset(
        "code codes pincode pin wachtwoord nummer klantnummer rekeningnummer ordernummer bestelnummer factuurnummer"
        " referentienummer referentie rekening bestelling toegangscode verificatiecode postcode iban id cijfers".split()
    ),
    phone_words=frozenset(
        "telefoon tel telefoonnummer bel belt bellen draai toets mobiel fax nummer bereiken bereikbaar".split()
    ),
    link_words=frozenset(
        "is zijn uw je jouw ons onze het de met naar op of ons mij en dan of gratis alstublieft is: luidt"
        " eerst daarna".split()
    ),
    key_words=frozenset("druk toets toetsen kies drukken".split()),
    number_words=frozenset("nummer nummers".split()),
    copulas=frozenset("is de het".split()),
    keys={"#": "hekje", "*": "sterretje"},
    day=r"(\d{1,2})",
    of=r"\s+",
    time_unit="uur|u",
    before_time="om|vanaf|tot|rond",
    before_short_date="op|tot|vanaf|maandag|dinsdag|woensdag|donderdag|vrijdag|zaterdag|zondag",
    ordinal=r"(\d{1,3})(?:e|de|ste)(?!\w)",
    say_ordinal=_ordinal,
    fractions=fraction_speller(
        _cardinal,
        names={2: "half", 4: "kwart"},
        name=lambda below: _ordinal(below, "", ""),
        many=lambda part: part,
        one="een",
        of="van",
        largest=12,
    ),
    days=_DAYS,
    halves=("een halve ", "een halve "),
    scales=dictionary("""
        k = duizend | K = duizend | duizend = duizend | M = miljoen | mln = miljoen | miljoen = miljoen
        mld = miljard | miljard = miljard
    """),
    rates=dictionary("u = uur | mnd = maand | pp = persoon"),
)
