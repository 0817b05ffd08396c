"""Tokens become clauses: a short one first, then sentences, and numbers or abbreviations are never cut in two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.clauses import MAX_CLAUSE, ClauseSplitter, ReplyGuard, clauses

UNGUARDED = ReplyGuard(max_sentences=1000, max_characters=100_000)


def split(text: str, *, guard: ReplyGuard = UNGUARDED, size: int = 1) -> list[str]:
    splitter = ClauseSplitter(guard)
    ready = [clause for at in range(0, len(text), size) for clause in splitter.push(text[at : at + size])]
    return ready + splitter.finish()


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
    assert splitter.push("?") == ["How are you?"]
    assert splitter.push(" It is 3.") == []  # it may be 3.50
    assert splitter.push(" ") == ["It is 3."]
    assert splitter.push("Fine!") == ["Fine!"]
    assert splitter.push("And") == []
    assert splitter.finish() == ["And"]


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
    assert " ".join(split(text)) == ("Opening hours. We are open: Monday to Friday. Saturday**; Nine. Ten. That is all")


def test_fenced_code_is_left_out():
    assert split("Do it like this now:\n```python\nprint(1)\n- x\n```\nThat is all.") == [
        "Do it like this now:",
        "That is all.",
    ]


def test_text_that_only_looks_like_a_marker_stays():
    assert split("5 of us came. *Really* so.\n-5 degrees.\n10 a day.") == [
        "5 of us came.",
        "Really* so.",
        "-5 degrees.",
        "10 a day.",
    ]


def test_the_guard_ends_a_reply_after_a_whole_sentence():
    text = "One two three, four. Two two. Three three. Four four. Five five. "
    assert split(text, guard=ReplyGuard(max_sentences=2)) == ["One two three,", "four.", "Two two."]
    assert split(text, guard=ReplyGuard(max_characters=25)) == ["One two three,", "four.", "Two two."]
    assert split("- item\n" * 50, guard=ReplyGuard(max_sentences=4, max_characters=1000)) == [
        "item. item. item.",
        *["item."] * 3,
    ]


def test_the_guard_ends_a_reply_without_the_end_of_a_sentence():
    spoken = split("word " * 10_000, guard=ReplyGuard())
    assert sum(map(len, spoken)) < 600 + 3 * MAX_CLAUSE


class Source:
    """The tokens of a model. ``closed`` says whether it was closed, ``read`` how many tokens were asked for."""

    def __init__(self, *deltas: str) -> None:
        self._deltas = iter(deltas)
        self.closed = False
        self.read = 0

    def __aiter__(self):
        return self

    async def __anext__(self) -> str:
        self.read += 1
        try:
            return next(self._deltas)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.closed = True


async def test_a_reply_is_streamed_and_its_source_closed_at_the_end():
    source = Source("We open", " at nine", ". Every", " day.")
    assert [clause async for clause in clauses(source)] == ["We open at nine.", "Every day."]
    assert source.closed


async def test_the_source_is_closed_when_the_guard_ends_the_reply():
    source = Source(*["This is a sentence. "] * 100)
    assert len([clause async for clause in clauses(source, guard=ReplyGuard(max_sentences=3))]) == 3
    assert source.closed
    assert source.read == 3


async def test_the_source_is_closed_when_the_consumer_stops():
    source = Source(*["This is a sentence. "] * 100)
    spoken = clauses(source)
    assert await anext(spoken) == "This is a sentence."
    await spoken.aclose()
    assert source.closed
    assert source.read == 1


async def test_a_source_need_not_have_a_way_to_be_closed():
    class Plain(Source):
        aclose = None

    assert [clause async for clause in clauses(Plain("We open at nine."))] == ["We open at nine."]


WORDS = (
    'We open at 10:30 a.m. $3.50 No. 5 Dr. Smith, and; but: why? Yes! — … ... e.g. - 1. # ** ``` " ( info@a.com'.split()
)
pieces = st.lists(st.sampled_from([*WORDS, "\n"]) | st.text(max_size=6), max_size=40)


@given(pieces, st.integers(1, 9))
def test_the_clauses_do_not_depend_on_how_the_text_is_cut_into_tokens(words, size):
    text = " ".join(words)
    assert split(text, size=size) == split(text)


@given(st.lists(st.sampled_from("we open, at nine. Dr. 3.50 why? yes! and 10:30 a.m. so; — then".split()), max_size=80))
def test_every_word_is_spoken_once_and_in_order(words):
    spoken = " ".join(split(" ".join(words))).replace("— ", "—").replace("—", " ").split()
    wanted = " ".join(words).replace("— ", "—").replace("—", " ").split()
    assert spoken == wanted


@given(st.text(max_size=300))
def test_any_text_is_accepted_and_every_clause_has_a_word(text):
    assert all(any(map(str.isalnum, clause)) and clause == clause.strip() for clause in split(text))
