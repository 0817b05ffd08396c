"""The rules that German, French, Spanish, Italian, Portuguese and Dutch share: comma for decimals, day before month."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from media.spoken import telephones, web
from media.spoken.languages.language import DateWords, Language, Noun
from media.spoken.languages.words import DASH, PERIODS, alternatives, days_of, rates_of, stop, word_rules
from media.spoken.spans import Match, Rule, Start, full_stop, rule, text_before

_NUMBER = (
    r"(?:\d{1,3}(?:\.\d{3})+(?:,\d{1,12})?|\d{1,3}(?:'\d{3})+(?:[.,]\d{1,12})?|\d{1,15},\d{1,12}"
    r"|\d{1,15}\.\d{1,2}(?!\d)|\d{1,15})"
)
_SPACED = r"(?:\d{1,3}(?: \d{3})+(?:,\d{1,12})?)"
_ELIDED = re.compile(r"\bde (?=[aeéèiou])")
"""What loses its vowel in French: "deux millions d'euros"."""
_SPACED_MILLIONS = r"(?:[1-9](?: \d{3}){2,3}(?:,\d{1,12})?(?![ ]?\d))"
"""1 234 444, which is no telephone number: those have more digits in their first group."""
_LONGEST_PLAIN = 6
"""Digits of the longest number that is said as one; longer ones without marks of thousands are codes."""
_LONGEST = 12
"""Digits of the longest number that is said as one at all: num2words knows the names up to there in each language."""
_REACH = 80
"""Characters before digits in which a word may introduce them."""
_NEAR = 8
"""Words before digits in which it may."""
_WORD_AFTER = re.compile(r"\s([^\W\d_]+)(?![^\W_])")
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+")
_SENTENCE_END = re.compile(r"(?:[!?]|(?<=\d)\.|(?<=[^\W\d_]{4})(?<!nr)\.)\s")
"""The end of a sentence. The full stop of a shorter word may be that of an abbreviation: "Tel. 030"."""
_SHORT_NUMBER = 2
"""Digits up to which "number 17" is said as a number, as in a queue; longer ones are those of a record."""
_LONGEST_COUNT = 3
"""Digits of the longest number that is taken for a count where a noun follows; a code has more."""
_NEVER_DOTTED = frozenset("km cm mm kg mg ml cl dl mn".split())
"""Units of two or three letters that have no point, so that one behind them ends the sentence."""
_SHORT_CODE = 3
"""Digits from which a number to call is said digit by digit: "call 112"."""


class Speaker:
    """Says the spans of one language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        full = [rf"{re.escape(month)}(?![^\W\d_])" for month in language.months]
        short = [rf"{re.escape(month)}\b\.?" for month in language.short_months.split()]
        self.month_pattern = "(?i:" + "|".join([*full, *short]) + ")"
        self.number_pattern = f"(?:{_SPACED if language.spaced_thousands else _SPACED_MILLIONS}|{_NUMBER})"
        self.amount_pattern = f"(?:{_SPACED}|{_NUMBER})"

    # --- Numbers ---------------------------------------------------------------------------------------------

    def digits(self, text: str) -> str:
        return " ".join(self.language.digits[int(character)] for character in text if character.isdigit())

    def digit_groups(self, text: str) -> str:
        groups = re.findall(r"\d+", text)
        return (" " if all(len(group) == 1 for group in groups) else ", ").join(map(self.digits, groups))

    def plain(self, text: str) -> tuple[str, str]:
        """The whole digits and the decimals of a number, however it is written."""
        text = text.replace(" ", "").replace("'", "").rstrip(",-–—")
        if re.fullmatch(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?", text):
            text = text.replace(".", "")
        whole, _, part = text.replace(",", ".").partition(".")
        return whole, part

    def number(self, text: str) -> str:
        whole, part = self.plain(text)
        plain = text.replace(",", ".").partition(".")[0]
        code = (len(plain) > _LONGEST_PLAIN and plain.isdigit()) or self.is_code_like(whole)
        words = self.digits(whole) if code else self.language.cardinal(int(whole))
        return f"{words} {self.language.point} {self.digits(part)}" if part else words

    def is_code_like(self, whole: str) -> bool:
        """Whether digits are none of a count: they begin with 0, or are too many."""
        return (len(whole) > 1 and whole[0] == "0") or len(whole) > _LONGEST

    def counted(self, text: str, noun: Noun) -> str:
        whole, part = self.plain(text)
        if part or self.is_code_like(whole):
            return f"{self.number(text)} {noun.many}"
        return self.language.count(int(whole), noun)

    def small_number(self, text: str) -> str:
        """Digits in an address."""
        return self.language.cardinal(int(text)) if len(text) < 3 and text[0] != "0" else self.digits(text)

    def telephone(self, match: Match) -> str:
        plus = f"{self.language.plus} " if match[0].startswith("+") else ""
        return plus + ", ".join(map(self.digits, telephones.groups(match[0])))

    def stands_before_noun(self, match: Match) -> bool:
        """Whether the number agrees with the noun behind it: "21 personas", "1 Frage"."""
        say, keys = self.language.before_noun, self.language.key_words | self.language.code_words
        return say is not None and say(int(match[1]), match[2]) is not None and not self.introduced(keys, match)

    def before_noun(self, match: Match) -> str:
        say = self.language.before_noun
        words = say(int(match[1]), match[2]) if say else None
        return self.declined(f"{words or self.number(match[1])} {match[2]}", match)

    # --- Context ---------------------------------------------------------------------------------------------

    def introduced(self, words: frozenset[str], match: Match) -> bool:
        """Whether one of ``words`` introduces the match."""
        before = _SENTENCE_END.split(match.string[max(0, match.start() - _REACH) : match.start()])[-1]
        for token in reversed([token.lower() for token in _TOKEN.findall(before)][-_NEAR:]):
            if token in words:
                return True
            if token not in self.language.link_words and not token.isdigit():
                return False
        return False

    def is_code(self, match: Match) -> bool:
        if re.fullmatch(r"\d-\d", match[0]) or telephones.is_date(match[0]):
            return False
        if len(match[0]) <= _SHORT_NUMBER and self.follows_number_word(match):
            return False
        if len(match[0]) <= _LONGEST_COUNT and self.is_counted(match):
            return False
        return self.introduced(self.language.code_words | self.language.key_words, match)

    def follows_number_word(self, match: Match) -> bool:
        """Whether the word "number" stands in front of the match, with no more between than "is the"."""
        before = _SENTENCE_END.split(match.string[max(0, match.start() - _REACH) : match.start()])[-1]
        for token in reversed([token.lower() for token in _TOKEN.findall(before)][-_NEAR:]):
            if token in self.language.number_words:
                return True
            if token not in self.language.copulas:
                return False
        return False

    def is_counted(self, match: Match) -> bool:
        """Whether the match counts the noun that follows it: "80 chambres"."""
        noun = _WORD_AFTER.match(match.string, match.end())
        if noun is None:
            return False
        plural = self.language.plural
        is_plural = bool(plural) and re.fullmatch(plural, noun[1]) is not None
        return is_plural or (noun[1] in self.language.units and len(noun[1]) > _LONGEST_COUNT)

    def is_dialled(self, match: Match) -> bool:
        return telephones.is_dialled(match) and self.introduced(self.language.phone_words, match)

    def is_dialled_short(self, match: Match) -> bool:
        return len(match[0]) >= _SHORT_CODE and self.introduced(self.language.phone_words, match)

    def is_harmonised(self, match: Match) -> bool:
        """Whether this is a service number and no number of thousands, as in "116 117 habitants"."""
        return not self.language.spaced_thousands or not self.is_counted(match)

    def is_key(self, match: Match) -> bool:
        return self.introduced(self.language.key_words | self.language.phone_words, match)

    def keys(self, match: Match) -> str:
        names = self.language.keys
        return " ".join(names.get(part) or self.digits(part) for part in re.findall(r"[*#]|\d+", match[0]))

    # --- Money, units, dates and times -----------------------------------------------------------------------

    def money(self, match: Match) -> str:
        currency = self.language.currencies[match["sign"]]
        whole, part = self.plain(match["amount"])
        minus = f"{self.language.minus} " if match["minus"] else ""
        if len(part) > 2 or currency.hundredth is None:
            return minus + self.counted(match["amount"], currency.unit)
        cents = int(part.ljust(2, "0")) if part else 0
        if not cents:
            return minus + self.declined(self.counted(whole, currency.unit), match)
        small = self.language.count(cents, currency.hundredth)
        if not int(whole):
            return minus + small
        joint = self.language.and_cents
        spoken_cents = f"{joint} {small}" if joint else self.language.cardinal(cents)
        return f"{minus}{self.counted(whole, currency.unit)} {spoken_cents}"

    def scaled_money(self, match: Match) -> str:
        """1,2 M €: the words of a large amount."""
        minus = f"{self.language.minus} " if match["minus"] else ""
        words = f"{self.language.scales[match['scale']]} {self.language.currencies[match['sign']].unit.many}"
        return f"{minus}{self.number(match['amount'])} {_ELIDED.sub(self.language.elided, words)}"

    def money_range(self, match: Match) -> str:
        return f"{self.number(match['first'])} {self.language.to} {self.money(match)}"

    def measure(self, match: Match) -> str:
        words = self.counted(match["amount"], self.language.units[match["unit"]])
        return self.declined(words, match) + self.stop_of_unit(match)

    def is_measure(self, match: Match) -> bool:
        """Whether the sign ° stands for degrees, not for an ordinal: "1° piano"."""
        ordinal = self.language.ordinal
        return match["unit"] != "°" or not ordinal or re.compile(ordinal).match(match.string, match.start()) is None

    def declined(self, words: str, match: Match) -> str:
        decline = self.language.decline
        return decline(words, _last_word(text_before(match))) if decline else words

    def stop_of_unit(self, match: Match) -> str:
        """The full stop behind a unit, unless it belongs to an abbreviation: "5 km. Danach", "5 Min. Pause"."""
        if not match[0].endswith("."):
            return ""
        dotted = re.fullmatch(r"[A-Z]?[a-z]{2,3}", match["unit"]) is not None and match["unit"] not in _NEVER_DOTTED
        if not dotted:
            return "."
        return stop(match) if self.language.nouns_have_capitals else full_stop(match)

    def date(self, match: Match) -> str:
        year = match["year"]
        number = int(match["month"]) if match["month"].isdigit() else 0
        month = self.language.months[number - 1] if number else self.month(match["month"])
        value = int(year) + (2000 if len(year) == 2 else 0) if year else 0
        before = _last_word(text_before(match))
        words = DateWords(int(match["day"]), month, self.language.year(value) if year else "", before)
        return self.language.date(words) + ("" if number else stop(match))

    def month(self, written: str) -> str:
        """The full name of a month."""
        name = written.rstrip(".").lower()
        for month, short in zip(self.language.months, self.language.short_months.split(), strict=True):
            if name in (month.lower(), short.rstrip(".").lower()):
                return month
        return written

    def is_date(self, match: Match) -> bool:
        month = match["month"]
        return 1 <= int(match["day"]) <= 31 and (not month.isdigit() or 1 <= int(month) <= 12)

    def is_short_date(self, match: Match) -> bool:
        days = "|".join(self.language.days)
        before = rf"\b(?:{self.language.before_short_date}{f'|{days}' if days else ''})\.?,?\s$"
        return re.search(before, text_before(match), re.I) is not None and self.is_date(match)

    def days(self, match: Match) -> str:
        """3-5 March: both days, and the month once."""
        before = _last_word(text_before(match))
        year = self.language.year(int(match["year"])) if match["year"] else ""
        first = self.language.date(DateWords(int(match["first"]), "", "", before))
        month = (
            self.language.months[int(match["month"]) - 1] if match["month"].isdigit() else self.month(match["month"])
        )
        last = self.language.date(DateWords(int(match["day"]), month, year, before))
        return f"{first} {self.language.to} {last}{stop(match)}"

    def are_days(self, match: Match) -> bool:
        return 1 <= int(match["first"]) <= 31 and self.is_date(match)

    def time(self, match: Match) -> str:
        return self.language.clock(int(match["hour"]), int(match["minute"] or 0), (match["unit"] or "").strip())

    def is_dotted_time(self, match: Match) -> bool:
        before = re.search(rf"\b(?:{self.language.before_time})\s$", text_before(match), re.I)
        return before is not None

    def ordinal(self, match: Match) -> str:
        assert self.language.say_ordinal is not None
        written = match[0][match.end(1) - match.start() :]
        return self.language.say_ordinal(int(match[1]), written, _last_word(text_before(match)))

    def letters_and_digits(self, match: Match) -> str:
        spelled = self.is_code(match)

        def run(part: Match) -> str:
            return f" {self.digits(part[0]) if spelled or len(part[0]) > 2 else self.number(part[0])} "

        return re.sub(r"\d+", run, match[0]).strip()

    def month_and_year(self, match: Match) -> str:
        between = " ".join(match["of"].split())
        gap = f" {between} " if between else " "
        return f"{self.month(match['month'])}{gap}{self.language.year(int(match['year']))}"


def _last_word(before: str) -> str:
    words = re.findall(r"[^\W\d_]+", before[-24:])
    return words[-1].lower() if words and before[-1:].isspace() else ""


def build(language: Language) -> tuple[Rule, ...]:
    """All rules of a language, the more certain ones first."""
    speaker = Speaker(language)
    return (
        *web.rules(web.address_sayer(language.address_signs, speaker.small_number)),
        *_introduced(speaker),
        *_money(speaker),
        *_dates(speaker),
        *_times(speaker),
        *_telephones(speaker),
        *_measures(speaker),
        *_numbers(speaker),
        *word_rules(language),
    )


def _money(speaker: Speaker) -> tuple[Rule, ...]:
    sign = rf"(?P<sign>{alternatives(list(speaker.language.currencies))})"
    amount = rf"(?P<amount>{speaker.amount_pattern}(?:,[-–—])?)"
    minus = r"(?P<minus>(?<![\w)])-)?"
    scale = rf"(?P<scale>{alternatives(list(speaker.language.scales))})\.?"
    names = {noun.split(" ")[-1] for c in speaker.language.currencies.values() for noun in (c.unit.one, c.unit.many)}
    again = rf"(?:\s(?i:{alternatives(list(names))}))?"
    return (
        rule("money", rf"(?<!\w){minus}(?<![A-Za-z]){sign}\s?{amount}(?!\w|[.,]\d){again}", speaker.money),
        rule("money", rf"(?<!\w){minus}(?<![A-Za-z]){sign}\s?{amount}\s?{scale}(?!\w){again}", speaker.scaled_money),
        rule("money", rf"(?<![\w.,]){minus}(?<![\w.,]){amount}\s?{scale}\s?{sign}(?!\w){again}", speaker.scaled_money),
        rule(
            "money range",
            rf"(?<![\w.,]){sign}\s?(?P<first>{speaker.number_pattern}){DASH}(?P<minus>){amount}(?!\w)",
            speaker.money_range,
        ),
        rule("money", rf"(?<![\w.,]){minus}(?<![\w.,]){amount}\s?{sign}(?!\w){again}", speaker.money),
    )


def _dates(speaker: Speaker) -> tuple[Rule, ...]:
    language, month = speaker.language, speaker.month_pattern
    named = rf"(?P<month>{month})"
    year = rf"(?:(?:{language.of}|\s)(?P<year>(?:1\d|20)\d\d)(?![\w.,]\d))?"
    numeric = (
        r"(?<![\w/.,-])(?P<day>\d{1,2})(?P<mark>[./-])\s?(?P<month>\d{1,2})(?P=mark)\s?(?P<year>\d{4}|\d\d)"
        r"(?![\w/-]|[.,:]\d)"
    )
    iso = r"(?<![\w-])(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?![\w-])"
    day = language.day.replace("(", "(?P<day>", 1)
    first = language.day.replace("(", "(?P<first>", 1)
    rules = [
        rule("date", iso, speaker.date, speaker.is_date),
        rule("date", numeric, speaker.date, speaker.is_date),
        rule(
            "date",
            rf"(?<![\w.,:]){day}{language.of}{named}{year}",
            speaker.date,
            speaker.is_date,
            start=Start.NUMBER,
        ),
        rule(
            "date range",
            rf"(?<![\w.,:]){first}{DASH}{day}{language.of}{named}{year}",
            speaker.days,
            speaker.are_days,
            start=Start.NUMBER,
        ),
        rule("date", rf"\b{named}(?P<of>{language.of})(?P<year>(?:19|20)\d\d)(?![\w]|[.,]\d)", speaker.month_and_year),
        rule(
            "date",
            r"(?<![\w/.,])(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>)(?!\d)",
            speaker.date,
            speaker.is_date,
            start=Start.NUMBER,
        ),
        rule("year", r"(?<![\w.,#])(?:19|20)\d\d(?![\w%]|[.,:]\d)", lambda m: language.year(int(m[0]))),
    ]
    last = r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>(?:\d{4})?)(?!\d)"
    days = rf"(?<![\w.,:/])(?P<first>\d{{1,2}})\.?{DASH}{last}"
    rules.append(rule("date range", days, speaker.days, speaker.are_days, start=Start.NUMBER))
    if language.before_short_date:
        short = r"(?<![\w/.,])(?P<day>\d{1,2})[/-](?P<month>\d{1,2})(?P<year>)(?![\w/]|[.,]\d)"
        rules.insert(2, rule("date", short, speaker.date, speaker.is_short_date))
    return tuple(rules)


def _times(speaker: Speaker) -> tuple[Rule, ...]:
    language = speaker.language
    unit = rf"(?P<unit>\s?(?:{language.time_unit})\b)"
    hour, minute = r"(?P<hour>[01]?\d|2[0-4])", r"(?P<minute>[0-5]\d)"
    mark = rf"\s?{language.hour_mark}\s?" if language.hour_mark else ":"
    return (
        rule("time", rf"(?<![\w:.,]){hour}:{minute}(?![\d:]){unit}?", speaker.time, signs=":", start=Start.NUMBER),
        rule("time", rf"(?<![\w:.,]){hour}\.{minute}{unit}", speaker.time, start=Start.NUMBER),
        rule(
            "time",
            rf"(?<![\w:.,]){hour}\.{minute}(?P<unit>)(?!\w|[.,]\d)",
            speaker.time,
            speaker.is_dotted_time,
            start=Start.NUMBER,
        ),
        rule("time", rf"(?<![\w:.,]){hour}(?P<minute>){unit}", speaker.time, start=Start.NUMBER),
        rule("time", rf"(?<![\w:.,]){hour}{mark}{minute}(?P<unit>)(?!\w)", speaker.time, start=Start.NUMBER),
    )


def _introduced(speaker: Speaker) -> tuple[Rule, ...]:
    """Codes and short numbers to dial. A year of the same length is none."""
    return (
        rule("service", telephones.HARMONISED, speaker.telephone, speaker.is_harmonised, start=Start.NUMBER),
        rule(
            "service",
            r"(?<![\w.,:/-])\d{3,6}(?![\w%]|[.,:/-]\d)",
            lambda m: speaker.digits(m[0]),
            speaker.is_dialled_short,
            start=Start.NUMBER,
        ),
        rule(
            "code",
            r"(?<![\w.,:/])\d{1,40}(?:[ -]\d{1,20}){0,12}(?![\w%]|[.,:/]\d)",
            lambda m: speaker.digit_groups(m[0]),
            speaker.is_code,
            start=Start.NUMBER,
        ),
    )


def _telephones(speaker: Speaker) -> tuple[Rule, ...]:
    language = speaker.language
    grouped = telephones.is_grouped
    if language.spaced_thousands:

        def grouped(match: Match) -> bool:
            return telephones.is_grouped(match) and re.fullmatch(r"\d{1,3}(?: \d{3})+", match[0]) is None

    return (
        rule("telephone", telephones.INTERNATIONAL, speaker.telephone, telephones.is_international),
        rule("telephone", telephones.NATIONAL, speaker.telephone, telephones.is_national),
        rule("telephone", r"(?<![\w.,-])\(\d{2,3}\)\s?\d{3,5}[ -]\d{4}(?![\w-])", speaker.telephone),
        rule("telephone", r"(?<![\w.,-])3\d\d[ .-]\d{6,7}(?![\w-])", speaker.telephone, start=Start.NUMBER),
        rule("telephone", telephones.GROUPED, speaker.telephone, grouped),
        rule("telephone", telephones.IN_CONTEXT, speaker.telephone, speaker.is_dialled),
        rule(
            "account",
            r"(?<![\w.-])\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}(?![\w-])",
            lambda m: speaker.digit_groups(m[0]),
            start=Start.NUMBER,
        ),
        rule(
            "account",
            r"\b[A-Z]{2}\d{2}(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,4})?\b",
            partial(_iban, speaker),
            start=Start.CAPITAL,
        ),
        rule(
            "account",
            r"(?<![\w.-])\d{2,20}(?:-\d{1,20}){2,12}(?![\w-])",
            lambda m: speaker.digit_groups(m[0]),
            start=Start.NUMBER,
        ),
        rule(
            "key",
            r"(?<![\w*#])[*#]{1,2}\d{1,16}(?:[*#]{1,2}\d{1,16}){0,6}[*#]{0,2}(?!\w)",
            speaker.keys,
            speaker.is_key,
            signs="#*",
        ),
        rule("key", r"(?<![\w*#])[*#](?![\w*#])", speaker.keys, speaker.is_key, signs="#*"),
    )


def _iban(speaker: Speaker, match: Match) -> str:
    def spelled(text: str) -> str:
        return re.sub(r"\d+", lambda run: f" {speaker.digits(run[0])} ", text).strip()

    return ", ".join(map(spelled, match[0].split()))


def _measures(speaker: Speaker) -> tuple[Rule, ...]:
    unit = rf"(?P<unit>{'|'.join(map(re.escape, sorted(speaker.language.units, key=len, reverse=True)))})"
    per = rf"/\s?(?:{PERIODS}|(?:{alternatives(list(rates_of(speaker.language)))})(?!\w))"
    return (
        rule(
            "measure",
            rf"(?<![\w.,/])(?P<amount>{speaker.number_pattern})\s?{unit}(?![\w^]|(?!{per})/)\.?",
            speaker.measure,
            speaker.is_measure,
            start=Start.NUMBER,
        ),
    )


def _numbers(speaker: Speaker) -> tuple[Rule, ...]:
    language = speaker.language
    rules = [
        rule(
            "number",
            r"(?<![\w.,])(\d{1,3})x(?!\w)",
            lambda m: f"{speaker.number(m[1])} {language.times}",
            start=Start.NUMBER,
            signs="x",
        ),
        rule(
            "number",
            r"(?<![\w.,/:-])(?<!\d )(\d{1,6})\s([^\W\d_]{3,})",
            speaker.before_noun,
            speaker.stands_before_noun,
        ),
        rule(
            "number",
            rf"(?<![\w.])(?<!\d,){speaker.number_pattern}(?!\w|[.,]\d)",
            lambda m: speaker.number(m[0]),
            start=Start.NUMBER,
        ),
        rule("number", r"(?<![\w.,]),\d+", lambda m: f"{language.point} {speaker.digits(m[0])}"),
        rule("version", r"(?<![\w.,])\d{1,6}(?:\.\d{1,6}){2,}(?!\w)", partial(_parts, speaker), start=Start.NUMBER),
        rule(
            "number", r"(?<![\w/])24/7(?![\w/])", f"{language.cardinal(24)} {language.cardinal(7)}", start=Start.NUMBER
        ),
        rule(
            "version",
            r"(?<!\w)((?:[vV]ersi?[a-zãóõ]*|v|iOS|Android|Windows)\.?\s?)(\d{1,6}(?:\.\d{1,6}){1,4})(?!\w)",
            partial(_version, speaker),
        ),
        rule("range", rf"{DASH}", f" {language.to} ", _range_finder(language), signs="-–—"),
        rule("sign", r"[-–](?=[$€£¥]?\d)", f"{language.minus} ", _follows_space, signs="-–"),
        rule("code", r"(?<!\w)(?=[^\W_]*\d)(?=\d*[^\W\d_])[^\W_]+(?!\w)", speaker.letters_and_digits),
        rule("number", r"\d+", lambda m: speaker.number(m[0]), start=Start.NUMBER),
    ]
    if language.ordinal and language.say_ordinal:
        rules.insert(0, rule("ordinal", rf"(?<![\w.,]){language.ordinal}", speaker.ordinal))
    if language.fractions:
        say: Callable[[int, int], str] = language.fractions
        rules.append(
            rule(
                "fraction",
                r"(?<![\w/.,])(\d{1,3})/([1-9]\d{0,2})(?![\w/%]|[.,]\d)",
                lambda m: say(int(m[1]), int(m[2])),
                start=Start.NUMBER,
            )
        )
        units = "|".join(filter(None, [alternatives(list(language.units)), language.time_unit]))
        rules.append(
            rule(
                "fraction",
                rf"(?<![\w/.,])(\d{{1,3}})/([1-9]\d{{0,2}})\s?({units})(?![\w/])",
                partial(_part_of_unit, speaker),
                start=Start.NUMBER,
            )
        )
    return tuple(rules)


_HOURS = ("heure", "hora", "ora")


def _part_of_unit(speaker: Speaker, match: Match) -> str:
    """1/2 l."""
    say, unit = speaker.language.fractions, speaker.language.units.get(match[3])
    assert say is not None
    name = speaker.language.rates.get(match[3], match[3])
    if unit:
        name = unit.one.partition(" ")[2] if match[1] == "1" else unit.many
    if match[1] == "1" and match[2] == "2":
        feminine = name in _HOURS or (unit is not None and unit.one.split(" ")[0] in ("eine", "une", "una", "uma"))
        return f"{speaker.language.halves[feminine]}{name}"
    return f"{say(int(match[1]), int(match[2]))} {name}"


def _version(speaker: Speaker, match: Match) -> str:
    dot = speaker.language.address_signs["."]
    return match[1].rstrip() + " " + f" {dot} ".join(map(speaker.small_number, match[2].split(".")))


def _parts(speaker: Speaker, match: Match) -> str:
    return f" {speaker.language.address_signs['.']} ".join(map(speaker.small_number, match[0].split(".")))


def _range_finder(language: Language) -> Callable[[Match], bool]:
    """Accepts a dash between numbers, prices, times or days."""
    days = days_of(language)
    names = "|".join(map(re.escape, [*days, *days.values(), *language.months]))
    unit = r"\d\s?(?:[%°€$£ºª.]|[^\W\d_]{1,2}|Uhr|uur|heures|horas|ore)"
    before = re.compile(rf"(?:\d|[%°€$£]|{unit}|(?<!\w)(?:{names})\.?)$")
    after = re.compile(rf"(?:[A-Z]{{0,2}}[$€£¥])?\s?\d|(?:{names})(?!\w)")

    def accepts(match: Match) -> bool:
        text = text_before(match)
        return before.search(text) is not None and after.match(match.string, match.end()) is not None

    return accepts


def _follows_space(match: Match) -> bool:
    return re.search(r"(?:^|[\s(])$", text_before(match)) is not None
