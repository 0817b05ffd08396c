"""
Written text becomes the words that a person would say.

The forms are in ``spoken/en.txt`` and the files of the other languages beside it, one on each line, so that a person
who speaks the language can check them.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from media.clauses import ClauseSplitter
from media.speakable import speakable
from tests.media.spoken import reader
from tests.rows import each_row

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl")


def read_table(language: str) -> list[tuple[str, str, str]]:
    """The lines ``type | written | spoken`` of a language. A fourth column names the public report of the form."""
    text = (Path(__file__).parent / "spoken" / f"{language}.txt").read_text(encoding="utf-8")
    rows = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("# "):
            kind, written, spoken, *_ = (
                part.strip().replace("\0", "|") for part in line.replace(r"\|", "\0").split("|")
            )
            rows.append((kind, written.replace(r"\n", "\n"), spoken))
    return rows


FORMS = [(language, *row) for language in LANGUAGES for row in read_table(language)]


@each_row(("language", "kind", "written", "spoken"), FORMS)
def test_each_form_of_the_tables_is_said_as_a_person_says_it(language, kind, written, spoken):
    assert speakable(written, language) == spoken
    assert speakable(spoken, language) == spoken, "a spoken form stays as it is"


NOT_INSIDE = ("```python", "3. März", "3.-5. März")
"""Written forms that are what they are only at the beginning of a reply."""


@each_row(
    ("language", "written", "spoken"),
    [(language, written, spoken) for language, _, written, spoken in FORMS if not written.startswith(NOT_INSIDE)],
)
def test_a_reply_that_is_cut_into_clauses_is_said_as_it_is_in_one_piece(language, written, spoken):
    said, before = [], ""
    splitter = ClauseSplitter()
    for clause in splitter.push(f"We can tell you this: {written}") + splitter.finish():
        said.append(speakable(clause.text, language, before=before))
        before += f" {clause.text}"
    words = re.findall(r"\w+", " ".join(said))
    assert words == re.findall(r"\w+", f"We can tell you this: {spoken}")


CLAUSES = [
    ("en", "You can press 1,", "2, or #.", "two, or pound."),
    ("en", "Press 1 for sales,", "2 for support, or # to end.", "two for support, or pound to end."),
    ("en", "Your code is as follows:", "482913.", "four eight two nine one three."),
    ("en", "I have your card here,", "ending in 4242.", "ending in four two four two."),
    ("en", "Your code is 42.", "We have 300 rooms.", "We have three hundred rooms."),
    ("de", "Drücken Sie die 1,", "die 2 oder #.", "die zwei oder Raute."),
    ("fr", "Votre code est le suivant :", "482913.", "quatre huit deux neuf un trois."),
]


@each_row(("language", "before", "written", "spoken"), CLAUSES)
def test_the_clause_before_decides_what_digits_are(language, before, written, spoken):
    assert speakable(written, language, before=before) == spoken
    assert speakable(spoken, language, before=before) == spoken


def test_the_tables_have_enough_forms():
    """At least 15 of each type in English, at least 30 in each other language."""
    english = [kind for language, kind, *_ in FORMS if language == "en"]
    assert min(english.count(kind) for kind in set(english)) >= 15
    assert all(sum(form[0] == language for form in FORMS) >= 30 for language in LANGUAGES)


SAYINGS = [
    # money
    ("It is $3.50.", "It is three dollars and fifty cents."),
    ("$1 or $0.99 or $1,000", "one dollar or ninety-nine cents or one thousand dollars"),
    ("£5.01, €20 and 5 USD", "five pounds and one penny, twenty euros and five dollars"),
    ("$3.5 million", "three point five million dollars"),
    ("$5–10", "five to ten dollars"),
    # times
    ("at 10:30 am.", "at ten thirty a.m."),
    ("at 10:30 a.m. sharp", "at ten thirty a.m. sharp"),
    ("14:00, 9:00 and 9:05", "two p.m., nine o'clock and nine oh five"),
    ("0:15 or 24:00", "twelve fifteen a.m. or twelve a.m."),
    ("from 9am-5pm", "from nine a.m. to five p.m."),
    ("9:30–17:00", "nine thirty to five p.m."),
    # dates
    ("on 2026-11-21", "on November twenty-first, twenty twenty-six"),
    ("Nov 21, Nov. 3, 2005", "November twenty-first, November third, two thousand five"),
    ("21 November", "the twenty-first of November"),
    ("the 1st of May 2026", "the first of May, twenty twenty-six"),
    ("11/21/2026 or 21/11/26", "November twenty-first, twenty twenty-six or November twenty-first, twenty twenty-six"),
    ("in May 1999", "in May nineteen ninety-nine"),
    ("in 1999, the 1990s or '80s", "in nineteen ninety-nine, the nineteen nineties or eighties"),
    ("Mon-Fri, but Sun, Nov 2", "Monday to Friday, but Sunday, November second"),
    # telephones
    ("(415) 555-0123", "four one five, five five five, zero one two three"),
    ("415-555-0123", "four one five, five five five, zero one two three"),
    ("4155550123", "four one five, five five five, zero one two three"),
    ("+14155550123", "plus one, four one five, five five five, zero one two three"),
    ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
    ("555-0123", "five five five, zero one two three"),
    # numbers
    ("15% or 3.5%", "fifteen percent or three point five percent"),
    ("1,234 and 3.14", "one thousand two hundred thirty-four and three point one four"),
    ("1st, 22nd", "first, twenty-second"),
    ("9–5, 10-15", "nine to five, ten to fifteen"),
    ("-5 or ~20", "minus five or about twenty"),
    ("1/2, 3/4, 5½ and 9/10", "one half, three quarters, five and a half and nine out of ten"),
    ("12345678 and 007", "one two three four five six seven eight and zero zero seven"),
    ("B12, X7K9 and v1.2.3", "B twelve, X seven K nine and version one point two point three"),
    ("No. 5, #6", "number five, number six"),
    ("10k, 24/7", "ten thousand, twenty-four seven"),
    ("٣ apples", "three apples"),
    # units
    ("1 km, 5 km, 60 mph", "one kilometer, five kilometers, sixty miles per hour"),
    ("20°C, 70°F, 3°", "twenty degrees Celsius, seventy degrees Fahrenheit, three degrees"),
    ("2 lbs. of it. 30 min.", "two pounds of it. thirty minutes."),
    # addresses
    ("at 12 Main St. in town", "at twelve Main Street in town"),
    ("We are at 221 Baker St. Come.", "We are at two twenty-one Baker Street. Come."),
    ("1600 Pennsylvania Ave, Apt. 4B", "sixteen hundred Pennsylvania Avenue, apartment four B"),
    ("305 N. 5th Ave.", "three oh five N. fifth Avenue."),
    ("CA 94105", "CA nine four one zero five"),
    ("Ask at St. Mary on Main St. or Oak Rd.", "Ask at Saint Mary on Main Street or Oak Road."),
    # the web
    ("Write to info@example.com.", "Write to info at example dot com."),
    ("jo_ann-7@mail.example.co.uk", "jo underscore ann dash seven at mail dot example dot co dot uk"),
    ("See https://www.example.com/hours?x=1 now", "See example dot com slash hours now"),
    ("Done.It is example.com", "Done. It is example dot com"),
    # abbreviations
    ("Dr. Smith, Mrs. Jones", "Doctor Smith, Missus Jones"),
    ("fruit, e.g. apples, etc. Ask.", "fruit, for example apples, et cetera. Ask."),
    ("cats vs. dogs & birds", "cats versus dogs and birds"),
    ("No. We do not.", "No. We do not."),
    # markdown and signs
    ("**Bold**, _it_, `code`, ~~gone~~", "Bold, it, code, gone"),
    ("see [our site](http://x.com/y) and ![a cat](cat.png)", "see our site and a cat"),
    ("## Hours\n- one\n- two\n> three", "Hours one two three"),
    ("```python\nprint(1)\n```\nDone", "Done"),
    ("a | b\n---|---", "a, b"),
    ("Fish &amp; chips <br> done", "Fish and chips done"),
    ("Hi 😀👨‍👩‍👧 there 1️⃣", "Hi there one"),
    ("yes (free) — really", "yes, free, really"),
    ("A + B = C @ home", "A plus B equals C at home"),
    ("It's a well-known “thing”… isn’t it?", "It's a well-known thing... isn't it?"),
    ("Ça va, Zoë?", "Ça va, Zoë?"),
    ("😀", ""),
    ("---", ""),
]


@each_row(("written", "said"), SAYINGS)
def test_written_text_becomes_spoken_words(written, said):
    assert speakable(written) == said


@each_row(("written", "said"), SAYINGS)
def test_converting_the_result_again_does_not_change_it(written, said):
    assert speakable(said) == said


@pytest.mark.parametrize(
    "plain",
    ["We open at nine.", "Well, I do not know!", "Sunny days in May.", "twenty-one, please", "It's the boss' turn."],
)
def test_plain_words_are_not_changed(plain):
    assert speakable(plain) == plain.replace("boss'", "boss")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("on 3/4/2026", "on April third, twenty twenty-six"),
        ("25/12/2026", "December twenty-fifth, twenty twenty-six"),
        ("Press #.", "Press hash."),
    ],
)
def test_outside_of_north_america_the_day_comes_first(written, said):
    assert speakable(written, "en-GB") == said


def test_brazilian_portuguese_has_its_own_words():
    assert speakable("R$ 16,50", "pt-BR") == "dezesseis reais e cinquenta centavos"
    assert speakable("16 km", "pt") == "dezasseis quilómetros"


def test_in_languages_without_rules_only_markdown_and_emoji_are_removed():
    assert speakable("**O 9:30** 😀 [tu](http://x.pl): 5 zł", "pl") == "O 9:30 tu: 5 zł"
    assert speakable("می‌خواهم", "fa") == "می‌خواهم"
    assert speakable("At 9", "en-AU") == "At nine"


def test_a_script_goes_only_to_a_voice_that_can_speak_it():
    assert speakable("Привет, мир! こんにちは。", "en") == ""
    assert speakable("Привет, мир!", "ru") == "Привет, мир!"
    assert speakable("こんにちは。", "ja") == "こんにちは。"
    assert speakable("Привет こんにちは Anna", "ru") == "Привет Anna"
    assert speakable("Guten Tag, 世界 und Ελλάδα", "de") == "Guten Tag, und"


# --- No digit is lost, invented or reordered: what is said is read back -------------------------------------------

SERVICES = (911, 116_000, 116_006, 116_111, 116_117, 116_123)
"""Numbers that are services even where no word says so, and are said digit by digit."""
numbers = st.decimals(min_value=-999_999, max_value=999_999, places=2) | st.integers(0, 999_999).filter(
    lambda value: value not in SERVICES
).map(Decimal)
amounts = st.decimals(min_value=0, max_value=9_999_999, places=2)
dates = st.dates(min_value=date(1900, 1, 1), max_value=date(2099, 12, 31))
digit_strings = st.text("0123456789", min_size=3, max_size=15)


@given(digit_strings, st.sampled_from(["Your code is {}.", "PIN {}", "My account number is {}", "Your ID: {}"]))
def test_a_code_is_said_digit_by_digit(code, sentence):
    said = speakable(sentence.format(code))
    before, after = sentence.split("{}")
    assert reader.read_digits(said.removeprefix(before).removesuffix(after)) == code


@given(st.lists(st.text("0123456789", min_size=2, max_size=4), min_size=2, max_size=4))
@example(["1300", "555", "019"])
@example(["100", "000", "000"])
def test_groups_of_digits_after_call_are_a_telephone_number(groups):
    if 7 <= sum(map(len, groups)) <= 15:
        said = speakable(f"Please call {' '.join(groups)} now.")
        assert reader.read_digits(said.removeprefix("Please call ").removesuffix(" now.")) == "".join(groups)


@given(st.tuples(st.integers(200, 999), st.integers(200, 999), st.integers(0, 9999)))
def test_american_numbers_in_every_notation(parts):
    area, exchange, line = parts[0], parts[1], f"{parts[2]:04}"
    for number in (f"({area}) {exchange}-{line}", f"{area}-{exchange}-{line}", f"{area}.{exchange}.{line}"):
        assert reader.read_digits(speakable(number)) == f"{area}{exchange}{line}"
    assert (
        reader.read_digits(speakable(f"+1{area}{exchange}{line}").removeprefix("plus ")) == f"1{area}{exchange}{line}"
    )


@given(numbers)
def test_a_number_keeps_its_value(value):
    looks_like_a_year_or_time = 1100 <= value < 2100 or f"{value}".endswith(".30")
    for written in (f"{value:,}", f"{value}"):
        if not looks_like_a_year_or_time:
            assert reader.read_number(speakable(written)) == value
            assert reader.read_number(speakable(f"It is {written}.").removeprefix("It is ").removesuffix(".")) == value
    assert reader.read_number(speakable(f"{value} km").removesuffix("s").removesuffix(" kilometer")) == value
    assert reader.read_number(speakable(f"{value}%").removesuffix(" percent")) == value


@given(amounts)
def test_an_amount_of_money_keeps_its_value(value):
    for written in (f"${value:,}", f"{value:,} USD", f"USD {value:,}", f"$ {value:,} dollars"):
        assert reader.read_money(speakable(written)) == value


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_range_keeps_both_ends(low, high):
    low, high = sorted((low, high))
    for written, unit in (
        (f"{low}-{high} km", "kilometers"),
        (f"${low} – ${high}", "dollars"),
        (f"{low}–{high}%", "percent"),
    ):
        first, last = speakable(written).split(" to ")
        assert reader.read_integer(first) == low
        assert reader.read_integer(last.removesuffix(f" {unit}").removesuffix(f" {unit[:-1]}")) == high


@given(dates)
def test_a_date_is_the_same_in_every_notation(day):
    month = reader.MONTHS[day.month - 1]
    for written in (
        day.isoformat(),
        f"{day.month}/{day.day}/{day.year}",
        f"{day.day}.{day.month}.{day.year}",
        f"{month} {day.day}, {day.year}",
        f"{month[:3]}. {day.day}, {day.year}",
    ):
        assert reader.read_date(speakable(written)) == (day.year, day.month, day.day)


@given(st.times())
def test_a_time_is_the_same_in_every_notation(time):
    half = "am" if time.hour < 12 else "pm"
    written = f"{time.hour % 12 or 12}:{time.minute:02}"
    for text in (f"{written}{half}", f"{written} {half[0]}.m.", f"{written} {half.upper()}"):
        assert reader.read_time(speakable(text)) == (time.hour, time.minute)
    hour, minute = reader.read_time(speakable(f"{time.hour:02}:{time.minute:02}"))
    assert (hour % 12, minute) == (time.hour % 12, time.minute)


@given(st.integers(1, 9999))
def test_an_ordinal_keeps_its_value(value):
    ending = "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    assert reader.read_ordinal(speakable(f"{value}{ending}")) == value


@given(st.lists(st.integers(0, 999).filter(lambda value: value not in SERVICES), min_size=1, max_size=6))
def test_numbers_among_words_keep_their_order(values):
    said = speakable(" apples and ".join(map(str, values)))
    assert [reader.read_integer(part) for part in said.split(" apples and ")] == values


DIGITS = {
    "de": "null eins zwei drei vier fünf sechs sieben acht neun",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
    "pt": "zero um dois três quatro cinco seis sete oito nove",
    "nl": "nul één twee drie vier vijf zes zeven acht negen",
}


@given(st.sampled_from(sorted(DIGITS)), st.lists(st.text("0123456789", min_size=2, max_size=4), min_size=3, max_size=4))
def test_telephone_numbers_keep_their_digits_in_every_language(language, groups):
    names = DIGITS[language].split()
    said = speakable(f"+{' '.join(groups)}", language)
    if 7 <= sum(map(len, groups)) <= 15 and len(groups[0]) <= 3:
        words = said.replace(",", "").split()[1:]  # the first one is the plus
        assert "".join(str(names.index(word)) for word in words) == "".join(groups)


@given(st.sampled_from(sorted(DIGITS)), st.integers(0, 999_999), st.text("0123456789", min_size=1, max_size=4))
def test_decimals_keep_their_digits_in_every_language(language, whole, decimals):
    names = DIGITS[language].split()
    said = speakable(f"{whole},{decimals}", language).split()
    assert "".join(str(names.index(word)) for word in said[-len(decimals) :]) == decimals
    assert " ".join(said[: -len(decimals) - 1]) == speakable(f"{whole:,}".replace(",", "."), language)


# --- Any text ------------------------------------------------------------------------------------------------------

WRITTEN = [
    *"$3.50 10:30 am a.m. 14:00 2026-11-21 Nov 21 , 415-555-0123 15% 21st 5 km 9–5 12 Main St. Dr. We".split(),
    *"info@example.com e.g. etc. No. & &amp;amp; ** _ - # ( ) [a](b) ½ 1/2 😀 °C 007 X7K9 ~".split(),
    *"code press call * *67 in. x × = + ^2 / : ; < > § c. C F# Mon Sat Jan p a/b w/ é 日 ʼ № z. B. €".split(),
    *"' \" . ... ! | ` ```".split(),
    "\n",
    " ",
]
anything = st.lists(st.sampled_from(WRITTEN) | st.text(max_size=5), max_size=15).flatmap(
    lambda parts: st.sampled_from([" ".join(parts), "".join(parts)])
)


@settings(max_examples=300)
@given(anything, st.sampled_from([*LANGUAGES, "en-GB", "pt-BR", "pl", "ja"]))
def test_any_text_is_accepted_and_the_result_is_final(text, language):
    said = speakable(text, language)
    assert speakable(said, language) == said
    assert len(said) <= 20 + 40 * len(text)


@settings(max_examples=300)
@given(anything, st.sampled_from(LANGUAGES))
def test_nothing_is_left_that_a_voice_would_spell(text, language):
    said = speakable(text, language)
    left = {c for c in said if not (c.isalpha() or unicodedata.category(c).startswith("M") or c in " .,!?;:'-")}
    assert left == set()


@given(anything, anything, st.sampled_from([*LANGUAGES, "en-GB", "pt-BR", "pl"]))
def test_any_text_before_a_clause_is_accepted_and_not_said(before, text, language):
    said = speakable(text, language, before=before)
    assert len(said) <= 20 + 40 * len(text)
    assert speakable("we open today", language, before=before) == "we open today"


@each_row("language", [*LANGUAGES, "pt-BR"])
@each_row("group", [".000", ",000", " 000", "'000"])
def test_a_number_without_a_name_is_accepted(language, group):
    for unit in ("", " €", " km", "%"):
        assert speakable("1" + group * 30 + unit, language)


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000, "9" * 5000, "1," * 3000, "a." * 3000, "&amp;" * 2000, "&" + "amp;" * 500, "1-" * 3000, "1 " * 3000,
        "(1) " * 1500, "*" * 5000, "a@" * 2000, "$1 " * 1500, "1/2/" * 1500, "9:30-" * 1000, "is " * 2000,
    ],
)  # fmt: skip
def test_hostile_text_takes_bounded_time(text, language):
    assert len(speakable(text, language)) <= 20 + 40 * len(text)
