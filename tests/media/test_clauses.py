"""Tokens become clauses: a short one first, then sentences, and numbers or abbreviations are never cut in two."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.clauses import MAX_CLAUSE, Clause, ClauseSplitter


def clauses(text: str, *, size: int = 1, is_cut: bool = False) -> list[Clause]:
    splitter = ClauseSplitter()
    ready = [clause for at in range(0, len(text), size) for clause in splitter.push(text[at : at + size])]
    return ready + splitter.finish(is_cut=is_cut)


def split(text: str, *, size: int = 1, is_cut: bool = False) -> list[str]:
    return [clause.text for clause in clauses(text, size=size, is_cut=is_cut)]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("", []),
        ("...", []),
        ("Yes.", ["Yes."]),
        ("We open at nine.", ["We open at nine."]),
        ("Of course I can, let me look.", ["Of course I can,", "let me look."]),
        ("Sure, we open at nine, every day.", ["Sure, we open at nine,", "every day."]),
        ("Hi! How are you? Good.", ["Hi! How are you?", "Good."]),
        ("That is right; we do: every day — even Sunday.", ["That is right;", "we do: every day — even Sunday."]),
        ("That is right—we do.", ["That is right—", "we do."]),
        ("It is free today - if you like.", ["It is free today -", "if you like."]),
        ("One two three. Four, five, six! Seven? Eight", ["One two three.", "Four, five, six!", "Seven?", "Eight"]),
        ('He said "come in now." Then left.', ['He said "come in now."', "Then left."]),
        ("What is that?! I do not know.", ["What is that?", "I do not know."]),
        (
            "We are open from nine in the morning until six every day.",
            ["We are open from nine", "in the morning until six every day."],
        ),
        (
            "I can certainly arrange a very quiet corner table for you and your family.",
            ["I can certainly arrange a very quiet corner table", "for you and your family."],
        ),
    ],
)
def test_the_first_clause_is_short_and_sentences_follow(text, spoken):
    assert split(text) == spoken


@pytest.mark.parametrize(
    "sentence",
    [
        "It costs $3.50 or 1,000 yen.",
        "Come at 10:30 a.m. or at 2 p.m. on Monday.",
        "Ask Dr. Smith or Mrs. Jones of St. Mary's.",
        "Take fruit, e.g. apples, i.e. something sweet.",
        "See www.example.com/a?b=c or http://example.org/x!y now.",
        "Write to info@example.com?subject=x today.",
        "Ask for J. R. Smith in room No. 5 upstairs.",
        "The U.S. office on Main St. near the station.",
        "Version 1.2.3 of it... is good.",
        "We sell apples, pears, etc. in the shop.",
        "On Nov. 21 we are closed.",
    ],
)
def test_numbers_times_abbreviations_and_addresses_are_not_cut(sentence):
    assert split("Here you are. " + sentence) == ["Here you are.", sentence]


@pytest.mark.parametrize(
    "sentence",
    [
        "We are open 9 am - 5 pm.",
        "We are open 9 a.m. – 5 p.m. today.",
        "We are open Mon - Fri, 8:30 am - 6 pm, and Sat 9 - 1.",
        "The fee is between **£20 – £35** today.",
        "It takes about 10 - 12 days.",
        "The number is 2 - 1 - 3 - 4 then.",
        "Ouvert du lun. - ven. de 9h - 17h",
        "Open van ma - vr 9:00 - 17:00 uur",
        "It is a 45-min. visit.",
        "The fee is $120/hr. after the first hour.",
        "It is in Rm. 12 on the 4th fl. of Bldg. 3 today.",
        "We come within 25 mi. of the city.",
        ".5 miles from here.",
        "Das ist am 3. März oder vom 4. bis 5. Mai.",
        "Das Zimmer ist am Montag, 3. März frei.",
    ],
)
def test_ranges_units_and_ordinals_are_not_cut_in_the_first_clause(sentence):
    """jarvis#234, hermes-studio#1405: the parts of a range belong together, and ".5" keeps its point."""
    assert split(sentence)[0].startswith(sentence.split(",")[0])
    assert re.sub(r"[^\w$.]", "", "".join(split(sentence))) == re.sub(r"[^\w$.]", "", sentence)


def test_an_abbreviation_ends_a_sentence_if_a_capital_letter_follows():
    text = "We close then. We open at 9 a.m. Come early. No. We are shut. Ask the U.S. office. Well... Yes."
    assert split(text) == [
        "We close then.",
        "We open at 9 a.m.",
        "Come early.",
        "No.",
        "We are shut.",
        "Ask the U.S. office.",
        "Well...",
        "Yes.",
    ]


def test_a_clause_is_returned_as_soon_as_it_is_certain():
    splitter = ClauseSplitter()
    assert splitter.push("How are you") == []
    assert splitter.push("?") == [Clause("How are you?")]
    assert splitter.push(" It is 3.") == []  # it may be 3.50
    assert splitter.push(" ") == []  # it may be the third of March, in German
    assert splitter.push("F") == [Clause("It is 3.")]
    assert splitter.push("ine!") == [Clause("Fine!")]
    assert splitter.push("And") == []
    assert splitter.finish() == [Clause("And")]


def late(text: str) -> list[str]:
    """The clauses of a reply that is late from its second word on."""
    splitter = ClauseSplitter()
    ready = splitter.push(text[:1])
    splitter.hurry()
    return [clause.text for clause in [*ready, *splitter.push(text[1:]), *splitter.finish()]]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Yes we are open on Saturdays from nine.", ["Yes we are open", "on Saturdays from nine."]),
        ("I can book a table for two.", ["I can book a table", "for two."]),
        ("Your code is four two seven one nine three.", ["Your code is four two seven one nine three."]),
        ("It costs one hundred and twenty euros for two.", ["It costs one hundred and twenty euros", "for two."]),
        ("La tienda abre hoy hasta las ocho.", ["La tienda abre hoy hasta las ocho."]),
        ("👍. Sure, I can do that.", ["Sure, I can do that."]),
        ("Yes.", ["Yes."]),
        ("Yes. I will make it two hundred dollars then.", ["Yes.", "I will make it two hundred dollars then."]),
        ("So the people who want their", ["So the people who want their"]),
    ],
)
def test_a_late_first_clause_is_shorter(text, spoken):
    assert late(text) == spoken


def test_a_short_sentence_before_the_clause_was_late_is_spoken_by_itself():
    splitter = ClauseSplitter()
    assert splitter.push("Yes, please. I will ") == []
    splitter.hurry()
    assert splitter.push("make ") == [Clause("Yes, please.")]


@pytest.mark.parametrize("line", ["Yes.", "No.", "At 10 a.m.", "It is 3.", "Hi!", "Well..."])
@pytest.mark.parametrize("end", ["\n", " \n", "  \n"])
def test_a_sentence_is_certain_at_the_end_of_its_line(line, end):
    assert ClauseSplitter().push(f"{line}{end}") == [Clause(line)]


@pytest.mark.parametrize("text", ["We see Dr.\nSmith today.", "Approx.\n5 miles from here.", "Ask B.\nSmith about it."])
def test_an_abbreviation_before_a_name_does_not_end_a_sentence_with_its_line(text):
    assert split(text) == [text.replace("\n", " ")]


def test_only_the_first_clause_is_shorter_when_words_come_slowly():
    text = "We open at nine. You can find our main entrance just around the corner in Mill Lane today."
    assert late(text) == split(text)


def test_a_long_sentence_is_cut_at_its_commas():
    text = "All right then. " + "we have a table by the window, " * 12 + "and that is all."
    first, *parts = split(text)
    assert first == "All right then."
    assert all(len(part) <= MAX_CLAUSE for part in parts)
    assert all(part.endswith("window,") for part in parts[:-1])


def test_a_long_sentence_without_commas_is_cut_between_words():
    words = ["word"] * 200
    parts = split("All right then. " + " ".join(words))
    assert all(len(part) <= MAX_CLAUSE + 5 for part in parts)
    assert " ".join(parts[1:]).split() == words


def test_lists_and_headings_become_sentences():
    text = "# Opening hours\n\nWe are open:\n- Monday to Friday\n* **Saturday**;\n1. Nine\n2) Ten\n\n---\nThat is\nall"
    assert " ".join(split(text)) == "Opening hours. We are open: Monday to Friday. **Saturday**; Nine. Ten. That is all"


def test_fenced_code_is_left_out():
    assert split("Do it like this now:\n```python\nprint(1)\n- x\n```\nThat is all.") == [
        "Do it like this now:",
        "That is all.",
    ]


def test_text_that_only_looks_like_a_marker_stays():
    assert split("5 of us came. *Really* so.\n-5 degrees.\n10 a day.") == [
        "5 of us came.",
        "*Really* so.",
        "-5 degrees.",
        "10 a day.",
    ]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (
            "1. Turn it off. 2. Wait a minute. 3. Turn it on again.",
            ["1. Turn it off.", "2. Wait a minute.", "3. Turn it on again."],
        ),
        ("1. Turn it off.\n2. Wait a minute.\n3. Go on.", ["1. Turn it off.", "2. Wait a minute.", "3. Go on."]),
        ("Do this now:\n1. Turn it off.\n2. Wait. 3. Go.", ["Do this now:", "Turn it off.", "Wait.", "Go."]),
        ("1. That is all I see.", ["1. That is all I see."]),
        ("1.\nAnything else?", ["1. Anything else?"]),
        ("Do this now: 1. Turn it off. 2. Wait.", ["Do this now:", "1. Turn it off.", "2. Wait."]),
        ("1) Turn it off. 2) Wait a minute.", ["1) Turn it off.", "2) Wait a minute."]),
        ("42. Anything else?", ["42. Anything else?"]),
        ("It costs more than that. 42. Anything else?", ["It costs more than that.", "42.", "Anything else?"]),
        ("There are exactly 3. Anything else?", ["There are exactly 3.", "Anything else?"]),
        ("41. The first.\n42. The second one.", ["41. The first.", "42. The second one."]),
        ("We open at 9. 2. floor is closed.", ["We open at 9. 2. floor is closed."]),
        ("Geschlossen ist am:\n- 1. Mai\n- 3. Oktober", ["Geschlossen ist am:", "1. Mai.", "3. Oktober"]),
    ],
)
def test_the_number_of_an_item_is_no_sentence(text, spoken):
    """genie-claw#385, jarvis#234: no bare "3." is said, and no answer is taken for the number of an item."""
    assert split(text) == spoken


def test_a_reply_may_end_after_a_sentence_and_after_an_item():
    text = "We are open, as always:\n- Monday, all day. But not at night.\n- Tuesday\n\nThat is all. Bye, then"
    assert clauses(text) == [
        Clause("We are open,", False),
        Clause("as always: Monday, all day.", False),
        Clause("But not at night."),
        Clause("Tuesday."),
        Clause("That is all."),
        Clause("Bye, then"),
    ]


@pytest.mark.parametrize(
    ("text", "spoken", "fragment"),
    [
        ("We open at nine. On Sundays we op", ["We open at nine."], "On Sundays we op"),
        ("We open at nine. On Sundays we open at ten.", ["We open at nine.", "On Sundays we open at ten."], ""),
        ("We open at nine. On Sundays we open at 9.", ["We open at nine."], "On Sundays we open at 9."),
        ("Yes, we do. On all Sundays, and also on Sat", ["Yes, we do.", "On all Sundays."], "and also on Sat"),
        ("We open", [], "We open"),
        ("- Monday is fine\n- Tuesday is f", ["Monday is fine."], "Tuesday is f"),
        ("", [], ""),
    ],
)
def test_a_reply_that_was_cut_ends_with_its_last_whole_clause(text, spoken, fragment):
    splitter = ClauseSplitter()
    ready = splitter.push(text) + splitter.finish(is_cut=True)
    assert ([clause.text for clause in ready], splitter.fragment) == (spoken, fragment)


WORDS = (
    'We open at 10:30 a.m. $3.50 No. 5 Dr. Smith, and; but: why? Yes! — … ... e.g. - 1. # ** ``` " ( info@a.com'.split()
)
pieces = st.lists(st.sampled_from([*WORDS, "\n"]) | st.text(max_size=6), max_size=40)


@given(pieces, st.integers(1, 9))
def test_the_clauses_do_not_depend_on_how_the_text_is_cut_into_tokens(words, size):
    text = " ".join(words)
    assert split(text, size=size) == split(text)


@given(pieces, st.integers(0, 60), st.integers(1, 9))
def test_every_word_is_spoken_once_and_whole_whenever_the_clause_is_late(words, late_at, size):
    text = " ".join(words)
    splitter, ready = ClauseSplitter(), []
    for at in range(0, len(text), size):
        if at >= late_at:
            splitter.hurry()
        ready += splitter.push(text[at : at + size])
    ready += splitter.finish()
    spoken, usual = (re.findall(r"\w+", " ".join(texts)) for texts in ([c.text for c in ready], split(text)))
    assert spoken == usual


@given(st.lists(st.sampled_from("we open, at nine. Dr. 3.50 why? yes! and 10:30 a.m. so; — then".split()), max_size=80))
def test_every_word_is_spoken_once_and_in_order(words):
    spoken = " ".join(split(" ".join(words))).replace("— ", "—").replace("—", " ").split()
    wanted = " ".join(words).replace("— ", "—").replace("—", " ").split()
    assert spoken == wanted


@given(st.text(max_size=300))
def test_any_text_is_accepted_and_every_clause_has_a_word(text):
    assert all(any(map(str.isalnum, clause)) and clause == clause.strip() for clause in split(text))
