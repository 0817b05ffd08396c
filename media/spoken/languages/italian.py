"""Italian."""

from __future__ import annotations

import re

from num2words import num2words  # type: ignore[import-untyped]

from media.spoken.languages.language import (
    DateWords,
    Language,
    Noun,
    currencies,
    dictionary,
    fraction_speller,
    nouns,
    speller,
)

_MONTHS = "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"
_SHORT_MONTHS = "gen feb mar apr mag giu lug ago set ott nov dic"
_cardinal = speller("it", lambda words: re.sub(r"(?<=\w)tre\b", "tré", words))


def _count(value: int, noun: Noun) -> str:
    if value == 1:
        return noun.one
    words = _cardinal(value)
    joint = " di " if words.endswith(("milione", "milioni", "miliardo", "miliardi")) else " "
    return f"{words}{joint}{noun.many}"


_ONE = {
    "una": "persona notte settimana camera stanza volta domanda pagina linea bottiglia copia sedia".split(),
    "un": "giorno minuto secondo mese anno tavolo posto biglietto messaggio adulto bambino passeggero".split(),
}
"""Nouns behind "1". Of other words it is not certain that they are counted: "il tasto 1 per le vendite"."""


def _before_noun(value: int, noun: str) -> str | None:
    if value != 1:
        return None
    return next((one for one, nouns_of_it in _ONE.items() if noun in nouns_of_it), None)


def _date(date: DateWords) -> str:
    return " ".join(filter(None, ["primo" if date.day == 1 else _cardinal(date.day), date.month, date.year]))


def _clock(hour: int, minute: int, unit: str) -> str:
    words = "una" if hour == 1 else _cardinal(hour)
    if minute:
        return f"{words} e {_cardinal(minute)}"
    if hour == 1:
        return "un'ora" if unit else words
    return f"{words} ore" if unit else words


def _ordinal(value: int, written: str, _before: str) -> str:
    words = str(num2words(value, lang="it", to="ordinal"))
    return words[:-1] + "a" if written.endswith("ª") else words


_CURRENCIES = currencies("""
€ EUR | un euro | euro | un centesimo | centesimi
$ USD US$ | un dollaro | dollari | un centesimo | centesimi
+£ GBP | una sterlina | sterline | un penny | pence
CHF | un franco svizzero | franchi svizzeri | un centesimo | centesimi
¥ JPY | uno yen | yen
""")
_UNITS = nouns("""
km | un chilometro | chilometri
m | un metro | metri
cm | un centimetro | centimetri
mm | un millimetro | millimetri
m^2 mq | un metro quadrato | metri quadrati
m^3 | un metro cubo | metri cubi
km/h | un chilometro all'ora | chilometri all'ora
kg | un chilo | chili
g | un grammo | grammi
mg | un milligrammo | milligrammi
l L | un litro | litri
ml mL | un millilitro | millilitri
min | un minuto | minuti
s sec | un secondo | secondi
kWh | un chilowattora | chilowattora
GB | un gigabyte | gigabyte
MB | un megabyte | megabyte
°C | un grado | gradi
° | un grado | gradi
% | uno per cento | per cento
""")
_WORDS = dictionary("""
Sig. = signor | Sig.ra = signora | Sig.na = signorina | Dott. = dottor | Dr. = dottor | Dott.ssa = dottoressa
Prof. = professor | Prof.ssa = professoressa | Ing. = ingegner | Avv. = avvocato | ecc. = eccetera | es. = esempio
p. es. = per esempio | tel. = telefono | Tel. = telefono | n. = numero | N. = numero | ca. = circa | v.le = viale
p.zza = piazza | pag. = pagina | max. = massimo | min. = minimo | lun. = lunedì | mar. = martedì | mer. = mercoledì
gio. = giovedì | ven. = venerdì | sab. = sabato | dom. = domenica
""")
_SIGNS = {
    "#": "numero", "<": "minore di", ">": "maggiore di",
    "&": "e", "+": "più", "=": "uguale", "@": "chiocciola", "%": "per cento", "€": "euro", "$": "dollari",
    "£": "sterline", "/": "barra", "°": "gradi", "×": "per", "÷": "diviso", "→": "a", "§": "paragrafo",
}  # fmt: skip
_ADDRESS = {
    ".": "punto",
    "-": "trattino",
    "_": "trattino basso",
    "/": "barra",
    "@": "chiocciola",
    "+": "più",
    ":": "due punti",
}
_DAYS = dictionary(
    "lun = lunedì | mar = martedì | mer = mercoledì | gio = giovedì | ven = venerdì | sab = sabato | dom = domenica"
)

ITALIAN = Language(
    cardinal=_cardinal,
    year=_cardinal,
    count=_count,
    digits=("zero", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove"),
    point="virgola",
    minus="meno",
    plus="più",
    per="per",
    to="a",
    times="volte",
    months=tuple(_MONTHS.split()),
    short_months=_SHORT_MONTHS,
    date=_date,
    clock=_clock,
    currencies=_CURRENCIES,
    and_cents="e",
    units=_UNITS,
    words=_WORDS,
    signs=_SIGNS,
    address_signs=_ADDRESS,
    code_words=frozenset(
        "codice codici pin password numero numeri conto ordine riferimento prenotazione pratica iban id cap"
        " cifre".split()
    ),
    phone_words=frozenset(
        "telefono tel chiami chiamare chiama chiamate chiamateci componga comporre cellulare fax numero"
        " contatti".split()
    ),
    link_words=frozenset(
        "è sono il lo la le al allo a ci mi del di suo sua vostro e poi o gratuito verde cliente conferma"
        " verifica accesso l prego pure".split()
    ),
    key_words=frozenset("prema premere premi premete digiti digitare digita tasto".split()),
    number_words=frozenset("numero numeri".split()),
    copulas=frozenset("è il la".split()),
    keys={"#": "cancelletto", "*": "asterisco"},
    day=r"(\d{1,2})(?:º|°)?",
    of=r"\s+",
    time_unit="h|ore|ora",
    before_time="alle|dalle|ore|le",
    before_short_date="il|del|dal|al|lunedì|martedì|mercoledì|giovedì|venerdì|sabato|domenica",
    ordinal=r"(\d{1,3})(?:[ºª]|°(?=\s(?:piano|posto|livello|fila|classe|turno|giorno|mese|anno|gruppo|grado)\b))",
    say_ordinal=_ordinal,
    before_noun=_before_noun,
    fractions=fraction_speller(
        _cardinal,
        names={2: "mezzo"},
        name=lambda below: _ordinal(below, "", ""),
        many=lambda part: f"{part[:-1]}i",
        one="un",
        of="su",
        largest=12,
    ),
    days=_DAYS,
    halves=("mezzo ", "mezza "),
    scales=dictionary("""
        k = mila | K = mila | mila = mila | M = milioni di | mln = milioni di | milione = milione di
        milioni = milioni di | mld = miliardi di | miliardi = miliardi di
    """),
    rates=dictionary("h = ora | gg = giorno | pers = persona"),
)
