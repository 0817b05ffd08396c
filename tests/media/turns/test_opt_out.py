"""
Which words ask never to be called again, which may, and which only sound like it.

Both files have sentences of callers with the label "demand" (a plain demand of the speaker, to those who call, never to
be called again) or "other".

- ``opt_out_sentences.json``: The sources ``callers`` and ``reports`` were not written for this test; ``short`` and
  ``written`` were. ``neighbours`` were written beside the faults found in the other file.
- ``opt_out_sentences_blind.json``: 90 demands and 90 others that were judged once before anyone who worked on the rules
  had read them. In that run 6.7 % of the demands were missed (6), 59 % were obeyed at once (53) and the caller was
  asked about the rest (31). None of the others was obeyed, and the caller was asked about 4.4 % of them (4). These are
  the figures to expect for words that the rules have not met. The kinds of the six and the four have been mended since,
  so the tests hold the set to more than that.
- ``opt_out_sentences_unseen.json``: 90 demands and 90 others by a third author, judged once after that mending. 8.9 %
  of the demands were missed (8), 56 % were obeyed at once (50) and the caller was asked about the rest (32). None of
  the others was obeyed, and the caller was asked about 4.4 % of them (4). Nothing has been mended with this set, so
  that its figures can be compared with those of another design.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from media.turns.opt_out import Demand, Judgement, judge_opt_out

HERE = Path(__file__).parent
SENTENCES = json.loads((HERE / "opt_out_sentences.json").read_text(encoding="utf-8"))
BLIND_SENTENCES = json.loads((HERE / "opt_out_sentences_blind.json").read_text(encoding="utf-8"))
UNSEEN_SENTENCES = json.loads((HERE / "opt_out_sentences_unseen.json").read_text(encoding="utf-8"))
MOST_MISSED_UNSEEN = 0.09
"""The share of the demands that is missed in words that the rules were not written for."""
SOURCES = ("callers", "reports", "short", "written", "neighbours")
MOST_MISSED = 0.03
"""The share of the demands that may be taken for something else. The language model still has its tool for them."""
FEWEST_PLAIN = {"callers": 0.75, "reports": 0.4, "short": 0.8, "written": 0.6, "neighbours": 0.5}
"""The share of the demands of each source that is obeyed without a question."""
MOST_ASKED = 0.05
"""The share of the other sentences about which the caller may be asked."""

FEWEST_PLAIN_BLIND = 0.64
"""The share of the demands of the blind set that is obeyed without a question: 58 of 90, now that it is known."""

PLAIN, SUSPECTED, NONE = Demand.PLAIN, Demand.SUSPECTED, Demand.NONE


def texts(label: str, source: str = "") -> list[str]:
    return [one["text"] for one in SENTENCES if one["label"] == label and source in ("", one["source"])]


def judged(sentences: list[str], *demands: Demand) -> list[str]:
    """The sentences that are judged as one of these."""
    return [text for text in sentences if judge_opt_out(text).demand in demands]


# The sentences of callers


def test_there_are_enough_sentences_of_each_kind():
    assert len(texts("demand")) > 400
    assert len(texts("other")) > 400
    assert len(texts("demand", "callers")) == len(texts("other", "callers")) == 90


@pytest.mark.parametrize("source", SOURCES)
def test_hardly_any_plain_demand_is_missed(source):
    demands = texts("demand", source)
    assert len(judged(demands, NONE)) <= MOST_MISSED * len(demands), judged(demands, NONE)


@pytest.mark.parametrize("source", SOURCES)
def test_most_plain_demands_are_obeyed_without_a_question(source):
    demands = texts("demand", source)
    assert len(judged(demands, PLAIN)) >= FEWEST_PLAIN[source] * len(demands)


def test_no_other_sentence_is_obeyed_without_a_question():
    assert judged(texts("other"), PLAIN) == []


def test_no_other_sentence_is_obeyed_because_the_caller_hangs_up():
    assert [text for text in texts("other") if judge_opt_out(text).strong] == []


def test_callers_are_hardly_ever_asked_about_other_sentences():
    assert len(judged(texts("other"), SUSPECTED)) <= MOST_ASKED * len(texts("other"))


# The sentences of the blind set, now that it is known


def blind_texts(label: str) -> list[str]:
    return [one["text"] for one in BLIND_SENTENCES if one["label"] == label]


def test_the_blind_set_has_as_many_demands_as_others():
    assert len(blind_texts("demand")) == len(blind_texts("other")) == 90


def test_no_demand_of_the_blind_set_is_missed_any_longer():
    assert judged(blind_texts("demand"), NONE) == []


def test_most_demands_of_the_blind_set_are_obeyed_without_a_question():
    demands = blind_texts("demand")
    assert len(judged(demands, PLAIN)) >= FEWEST_PLAIN_BLIND * len(demands)


def test_callers_are_not_asked_about_any_other_sentence_of_the_blind_set():
    assert judged(blind_texts("other"), PLAIN, SUSPECTED) == []


def test_what_holds_for_words_that_the_rules_were_not_written_for():
    demands = [one["text"] for one in UNSEEN_SENTENCES if one["label"] == "demand"]
    others = [one["text"] for one in UNSEEN_SENTENCES if one["label"] == "other"]
    assert len(demands) == len(others) == 90
    assert len(judged(demands, NONE)) <= MOST_MISSED_UNSEEN * len(demands)
    assert judged(others, PLAIN) == []
    assert len(judged(others, SUSPECTED)) <= MOST_ASKED * len(others)


# What recognition makes of them


def bare(text: str) -> str:
    """The letters of a text alone."""
    return "".join(letter for letter in text.lower().replace("-", " ") if letter.isalnum() or letter == " ")


def hesitating(text: str) -> str:
    """The text with its first words said twice and with fillers between the others."""
    words = text.split()
    return " ".join([*words[:2], "uh", *words[:3], "um", *words[3:]])


def with_errors(text: str) -> str:
    """The text with words that recognition confuses."""
    for said, heard in (("again", "a gain"), ("anymore", "any more"), ("off your", "of your"), ("don't", "do nt")):
        text = re.sub(rf"\b{said}\b", heard, text)
    return text


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        bare,
        hesitating,
        with_errors,
        lambda text: f"no listen I am busy. {text}",
        lambda text: f"hello {text}",
    ],
    ids=["capitals", "no punctuation", "hesitation", "errors", "a sentence before", "a word before"],
)
def test_the_figures_hold_however_the_words_are_recognised(change):
    demands, others = texts("demand") + blind_texts("demand"), texts("other") + blind_texts("other")
    assert len(judged([change(text) for text in demands], NONE)) <= MOST_MISSED * len(demands)
    assert judged([change(text) for text in others], PLAIN) == []


# The parts of a demand


@pytest.mark.parametrize(
    ("words", "demand"),
    [
        # Who is to stop.
        ("stop calling me", PLAIN),
        ("tell your boss to stop calling me", PLAIN),
        ("they stop calling me", NONE),
        ("tell the driver to stop calling me", NONE),
        ("my ex won't stop calling me", NONE),
        # What is to stop.
        ("don't ring me again", PLAIN),
        ("don't get in touch with me again", PLAIN),
        ("don't send me to the wrong desk again", NONE),
        ("stop telling me to wait", NONE),
        # Who is called.
        ("don't call our home number again", PLAIN),
        ("don't ring my mother again", SUSPECTED),
        ("don't call the police", NONE),
        ("don't call him again", NONE),
        # Which list.
        ("take me off your calling list", PLAIN),
        ("take me off all of your lists", PLAIN),
        ("take me off the list", SUSPECTED),
        ("take me off your mailing list", SUSPECTED),
        ("take me off the cancellation list", NONE),
        ("take me off your guest list", NONE),
        ("put me on your do not call list", PLAIN),
        ("is there a do not call list", NONE),
        # A time or a condition.
        ("don't call me before nine", NONE),
        ("don't call me again until Monday", NONE),
        ("if it rains don't call me", NONE),
        ("if you're late don't ever call me again", SUSPECTED),
        # Another channel, and an invitation.
        ("don't call me, text me", SUSPECTED),
        ("don't call me, I'll call you", SUSPECTED),
        ("when I said don't call me I was angry, you can call me now", NONE),
        # A report, a question, the contrary.
        ("I told you to stop calling me", PLAIN),
        ("who said stop calling me", NONE),
        ("did you take me off your list", NONE),
        ("don't take me off your list", NONE),
        ("I never asked you to stop calling me", NONE),
        # Calling by a name.
        ("don't call me sir", NONE),
        ("don't ring me sir", PLAIN),
        ("don't ever call me Susan", NONE),
        ("stop calling me Susan, it's Suzanne", NONE),
        ("stop calling me yeah", PLAIN),
        ("don't call this number pal", PLAIN),
        # The title of a work.
        ("do you know the song Don't Call Me Angel", NONE),
        # The speaker is the one who calls.
        ("I'm never calling that restaurant again", NONE),
        ("I can't make any calls from this phone", NONE),
        ("you're never calling me again", SUSPECTED),
        # One call is not calls.
        ("I don't want this call recorded", NONE),
        ("I don't want any call from your bank", PLAIN),
        # Communication.
        ("cease all telephone communication with me", PLAIN),
        ("stop communicating with me by phone", PLAIN),
        ("don't communicate with me in French", NONE),
        # What is to come of it.
        ("fix it so my number doesn't get dialled any more", SUSPECTED),
        ("I'm annoyed that I don't get called back", NONE),
        # Words said one by one.
        ("Stop. Calling. Me.", PLAIN),
        ("Remove. My. Number.", SUSPECTED),
        ("No. Sorry. Call me.", NONE),
        # Words that say less.
        ("take me off for good", SUSPECTED),
        ("drop me off today", NONE),
        ("leave me alone", SUSPECTED),
        ("unsubscribe", SUSPECTED),
        ("unsubscribe me from the newsletter", NONE),
        ("", NONE),
    ],
)
def test_each_part_of_a_demand_counts(words, demand):
    assert judge_opt_out(words).demand is demand


@pytest.mark.parametrize(
    "words", ["leave me alone", "take me off the list", "don't call back", "don't call me, text me"]
)
def test_a_suspicion_is_strong_if_most_who_say_this_want_no_calls(words):
    assert judge_opt_out(words) == Judgement(SUSPECTED, strong=True)


@pytest.mark.parametrize("words", ["unsubscribe", "please remove my number", "I'm tired of you people calling me"])
def test_a_suspicion_is_weak_if_the_words_may_well_mean_something_else(words):
    assert judge_opt_out(words) == Judgement(SUSPECTED)
