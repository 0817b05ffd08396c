"""German."""

from __future__ import annotations

from functools import lru_cache

from num2words import num2words  # type: ignore[import-untyped]

from media.spoken.languages.language import (
    DateWords,
    Language,
    counter,
    currencies,
    dictionary,
    nouns,
    speller,
)

_MONTHS = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
_SHORT_MONTHS = "Jan Feb Mär Apr Mai Jun Jul Aug Sep Okt Nov Dez"
_cardinal = speller("de")
_OBLIQUE = frozenset(
    "am vom zum im dem den beim bis ab seit nach vor des ans einem einen jeden jedem diesem diesen".split()
)
"""Words after which an ordinal ends in -ten: "am dritten März"."""
_ARTICLES = frozenset("der die das diese dieser jede jeder".split())


def _year(value: int) -> str:
    return str(num2words(value, lang="de", to="year"))


@lru_cache(512)
def _ordinal(value: int, before: str) -> str:
    words = str(num2words(value, lang="de", to="ordinal"))
    return words + ("n" if before in _OBLIQUE else "" if before in _ARTICLES else "r")


def _before_noun(value: int, noun: str) -> str | None:
    if value != 1 or not noun[0].isupper():
        return None
    return "eine" if noun.endswith(("e", "ung", "heit", "keit", "ion", "tät")) else "ein"


_ACCUSATIVE = frozenset(
    "beträgt betragen kostet kosten macht machen zahlen zahlt bezahlen bezahlt für um ohne durch gegen über per pro"
    " haben hat habe spart sparen kriegen kriegt bekommen bekommt erhalten erhält enthält benötigt brauchen braucht"
    " wiegt misst dauert nur noch etwa genau rund circa mindestens höchstens maximal".split()
)
_DATIVE = frozenset("mit von vom zu bei aus nach seit ab in vor unter zwischen binnen innerhalb außer".split())
"""Words after which "1 €" is "einem Euro"; what lasts, or happens in some time, is meant by "in", "vor" and "unter"."""
_MASCULINE = (
    "Euro", "Cent", "Dollar", "Franken", "Rappen", "Penny", "Yen", "Zloty", "Groszy", "Kilometer", "Meter",
    "Zentimeter", "Millimeter", "Quadratmeter", "Kubikmeter", "Liter", "Milliliter", "Grad", "Tag", "Monat",
    "Gast", "Tisch", "Platz", "Termin", "Koffer", "Schritt",
)  # fmt: skip
"""The nouns of amounts whose accusative differs from the nominative."""


def _decline(words: str, before: str) -> str:
    """ "ein Euro" in the case that the word in front of it asks for."""
    article, _, noun = words.partition(" ")
    if article not in ("ein", "eine"):
        return words
    if before in _DATIVE:
        return f"{'einer' if article == 'eine' else 'einem'} {noun}"
    return f"einen {noun}" if before in _ACCUSATIVE and noun.startswith(_MASCULINE) else words


def _date(date: DateWords) -> str:
    return " ".join(filter(None, [_ordinal(date.day, date.before), date.month, date.year]))


def _clock(hour: int, minute: int, unit: str) -> str:
    words = "ein Uhr" if hour == 1 else f"{_cardinal(hour)} Uhr"
    return f"{words} {_cardinal(minute)}" if minute else words


def _fraction(above: int, below: int) -> str:
    if below == 2 and above == 1:
        return "ein halb"
    if not 2 < below < 13 or above >= below:
        return (
            f"{_cardinal(above)} zu {_cardinal(below)}"
            if above >= below
            else f"{_cardinal(above)} von {_cardinal(below)}"
        )
    part = _ordinal(below, "der").removesuffix("te") + "tel"
    return f"{'ein' if above == 1 else _cardinal(above)} {part.capitalize()}"


_CURRENCIES = currencies("""
€ EUR | ein Euro | Euro | ein Cent | Cent
$ USD US$ | ein Dollar | Dollar | ein Cent | Cent
£ GBP | ein Pfund | Pfund | ein Penny | Pence
CHF | ein Franken | Franken | ein Rappen | Rappen
¥ JPY | ein Yen | Yen
PLN zł | ein Zloty | Zloty | ein Groszy | Groszy
""")
_UNITS = nouns("""
km | ein Kilometer | Kilometer
m | ein Meter | Meter
cm | ein Zentimeter | Zentimeter
mm | ein Millimeter | Millimeter
m^2 qm | ein Quadratmeter | Quadratmeter
m^3 | ein Kubikmeter | Kubikmeter
km/h | ein Kilometer pro Stunde | Kilometer pro Stunde
kg | ein Kilogramm | Kilogramm
g | ein Gramm | Gramm
mg | ein Milligramm | Milligramm
l L | ein Liter | Liter
ml | ein Milliliter | Milliliter
h Std | eine Stunde | Stunden
min Min | eine Minute | Minuten
s Sek | eine Sekunde | Sekunden
kWh | eine Kilowattstunde | Kilowattstunden
kW | ein Kilowatt | Kilowatt
GB | ein Gigabyte | Gigabyte
MB | ein Megabyte | Megabyte
°C | ein Grad Celsius | Grad Celsius
°F | ein Grad Fahrenheit | Grad Fahrenheit
° | ein Grad | Grad
% | ein Prozent | Prozent
Mio | eine Million | Millionen
Mrd | eine Milliarde | Milliarden
""")
_WORDS = dictionary("""
z. B. = zum Beispiel | z.B. = zum Beispiel | d. h. = das heißt | d.h. = das heißt | u. a. = unter anderem
u.a. = unter anderem | usw. = und so weiter | etc. = et cetera | bzw. = beziehungsweise | ca. = circa
inkl. = inklusive | exkl. = exklusive | ggf. = gegebenenfalls | evtl. = eventuell | zzgl. = zuzüglich
max. = maximal | min. = mindestens | Nr. = Nummer | Str. = Straße | Tel. = Telefon | Dr. = Doktor | Hr. = Herr
Fr. = Frau | Prof. = Professor | St. = Sankt | Mio. = Millionen | Mrd. = Milliarden | Std. = Stunden | Abs. = Absatz
S. = Seite | Zi. = Zimmer | MwSt. = Mehrwertsteuer | MwSt = Mehrwertsteuer
o. Ä. = oder Ähnliches | vgl. = vergleiche
""")
_SIGNS = {
    "#": "Nummer", "<": "kleiner als", ">": "größer als",
    "&": "und", "+": "plus", "=": "gleich", "@": "at", "%": "Prozent", "€": "Euro", "$": "Dollar", "£": "Pfund",
    "§": "Paragraf", "/": "Schrägstrich", "°": "Grad", "×": "mal", "÷": "geteilt durch", "→": "zu",
}  # fmt: skip
_ADDRESS = {
    ".": "Punkt",
    "-": "minus",
    "_": "Unterstrich",
    "/": "Schrägstrich",
    "@": "at",
    "+": "plus",
    ":": "Doppelpunkt",
}
_DAYS = dictionary(
    "Mo = Montag | Di = Dienstag | Mi = Mittwoch | Do = Donnerstag | Fr = Freitag | Sa = Samstag | So = Sonntag"
)

GERMAN = Language(
    cardinal=_cardinal,
    year=_year,
    count=counter(_cardinal),
    digits=("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    point="Komma",
    minus="minus",
    plus="plus",
    per="pro",
    to="bis",
    times="mal",
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
        "code pin tan passwort kennwort nummer kundennummer kontonummer bestellnummer rechnungsnummer auftragsnummer"
        " buchungsnummer vorgangsnummer ticketnummer postleitzahl plz zugangscode bestätigungscode sicherheitscode"
        " konto id iban ziffern kundennr kontonr bestellnr rechnungsnr auftragsnr buchungsnr artikelnr"
        " referenznummer aktenzeichen".split()
    ),
    phone_words=frozenset(
        "telefon tel telefonnummer rufnummer handynummer handy mobil fax ruf rufen anrufen rufe wählen wähle"
        " wählt hotline notruf durchwahl nummer erreichen".split()
    ),
    link_words=frozenset(
        "ist sind lautet lauten ihre ihr der die das den dem unter sie uns mich an auf bitte und dann mit"
        " ihn einfach jetzt oder hier unsere unserer kostenlos gleich war einmal noch".split()
    ),
    key_words=frozenset("drücken drücke drückt tippen taste tasten wählen eingeben".split()),
    number_words=frozenset("nummer nummern".split()),
    copulas=frozenset("ist die der".split()),
    plural=r"[A-ZÄÖÜ][a-zäöüß]{2,}(?:e|en|er|n|s)",
    keys={"#": "Raute", "*": "Stern"},
    day=r"(\d{1,2})\.",
    of=r"\s?",
    time_unit="Uhr",
    before_time="um|ab|bis|von|gegen|nach|vor",
    suffixes={"str.": "straße", "Str.": "Straße", "nr.": "nummer"},
    ordinal=r"(\d{1,3})\.(?=\s+(?:[a-zäöü]|(?:Stock|Etage|Mal|Tag|Woche|Monat|Jahr|Klasse|Platz|Quartal|OG|UG|Obergeschoss|Untergeschoss|Stockwerk|Reihe|Geburtstag|Auflage|Oktober)))",
    say_ordinal=lambda value, _written, before: _ordinal(value, before),
    before_noun=_before_noun,
    decline=_decline,
    nouns_have_capitals=True,
    fractions=_fraction,
    halves=("ein halber ", "eine halbe "),
    scales=dictionary("""
        k = tausend | K = tausend | Tsd = tausend | Tausend = tausend | M = Millionen | Mio = Millionen
        Million = Million | Millionen = Millionen | Mrd = Milliarden | Milliarden = Milliarden
    """),
    rates=dictionary("Mon = Monat | mtl = Monat | Pers = Person | Std = Stunde | Stk = Stück | T = Tag | J = Jahr"),
    days=_DAYS,
)
