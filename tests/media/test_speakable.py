"""Written text becomes the words that a person would say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.speakable import speakable

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
    ("Done.It is example.com", "Done.It is example dot com"),
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


@pytest.mark.parametrize(("written", "said"), SAYINGS)
def test_written_text_becomes_spoken_words(written, said):
    assert speakable(written) == said


@pytest.mark.parametrize(("written", "said"), SAYINGS)
def test_converting_the_result_again_does_not_change_it(written, said):
    assert speakable(said) == said


@pytest.mark.parametrize(
    "plain",
    ["We open at nine.", "Well, I do not know!", "Sunny days in May.", "twenty-one, please", "It's the boss' turn."],
)
def test_plain_words_are_not_changed(plain):
    assert speakable(plain) == plain.replace("boss'", "boss")


def test_in_other_languages_only_markdown_and_emoji_are_removed():
    assert speakable("**Um 9:30 Uhr** 😀 [hier](http://x.de): 5 €", "de") == "Um 9:30 Uhr hier: 5 €"
    assert speakable("می‌خواهم", "fa") == "می‌خواهم"
    assert speakable("At 9", "en-GB") == "At nine"


WRITTEN = [
    *"$3.50 10:30 am a.m. 14:00 2026-11-21 Nov 21 , 415-555-0123 15% 21st 5 km 9–5 12 Main St. Dr. We".split(),
    *"info@example.com e.g. etc. No. & &amp;amp; ** _ - # ( ) [a](b) ½ 1/2 😀 °C 007 X7K9 ~".split(),
    *"' \" . ... ! | ` ```".split(),
    "\n",
    " ",
]
anything = st.lists(st.sampled_from(WRITTEN) | st.text(max_size=5), max_size=15).flatmap(
    lambda parts: st.sampled_from([" ".join(parts), "".join(parts)])
)


@settings(max_examples=300)
@given(anything, st.sampled_from(["en", "de"]))
def test_any_text_is_accepted_and_the_result_is_final(text, language):
    said = speakable(text, language)
    assert speakable(said, language) == said
    assert len(said) <= 10 + 40 * len(text)


@settings(max_examples=300)
@given(anything)
def test_no_digit_and_no_markdown_is_left(text):
    said = speakable(text)
    assert not any(character in "0123456789*_#`[]<>|$%&@" for character in said)


@pytest.mark.parametrize("text", ["[" * 5000, "9" * 5000, "1," * 3000, "a." * 3000, "&amp;" * 2000, "&" + "amp;" * 500])
def test_hostile_text_takes_bounded_time(text):
    assert len(speakable(text)) <= 10 + 40 * len(text)
