"""
Which words ask never to be called again, which may, and which only sound like it.

``opt_out/README.md`` says where the sentences come from. "demand" is a plain demand of the speaker, to those who call,
never to be called again; the other sentences were mostly written to sound like one. The figures of ``sealed.json`` are
those to expect for words of people whom neither the rules nor the model have met.
"""

from __future__ import annotations

import json
import re
from functools import cache

import pytest

from media.turns.opt_out import Demand, Judgement, judge_opt_out
from media.turns.opt_out_likelihood import WEIGHTS, features, likelihood
from media.turns.opt_out_words import reduce_words
from tests.media.turns.opt_out.train import FILES, Sentence, digest, read, replaced, train
from tests.rows import each_row

CORPUS = {name: read(name) for name in (*FILES, "sealed")}
KNOWN = [*CORPUS["sentences"], *CORPUS["blind"]]
"""The sentences that the rules were written for."""
MOST_MISSED = 0.03
"""The share of the demands that may be taken for something else. The language model still has its tool for them."""
FEWEST_PLAIN = {"sentences": 0.6, "blind": 0.6, "unseen": 0.5, "taught": 0.33, "sealed": 0.5}
"""The share of the demands of each file that is obeyed without a question."""
MOST_ASKED = 0.15
"""The share of the other sentences of a file about which the caller may be asked, though they sound like a demand."""
MOST_ASKED_SHORT = 0.2
"""The same for ``sentences.json``, half of which are near twins of demands."""
MOST_ASKED_ORDINARY = 0.005
"""The same for ordinary sentences."""

PLAIN, SUSPECTED, NONE = Demand.PLAIN, Demand.SUSPECTED, Demand.NONE


def texts(sentences: list[Sentence], *, demand: bool) -> list[str]:
    return [one.text for one in sentences if one.demand is demand]


@cache
def judge(text: str) -> Judgement:
    """The judgement on a sentence of a caller. Several tests count them, so each sentence is judged once."""
    return judge_opt_out(text)


def judged(sentences: list[str], *demands: Demand) -> list[str]:
    """The sentences that are judged as one of these."""
    return [text for text in sentences if judge(text).demand in demands]


# The sentences of callers


@pytest.mark.parametrize("name", [name for name in CORPUS if name != "ordinary"])
def test_there_are_enough_sentences_of_each_kind(name):
    assert len(texts(CORPUS[name], demand=True)) >= 90
    assert len(texts(CORPUS[name], demand=False)) >= 90


@pytest.mark.parametrize("name", [name for name in CORPUS if name != "ordinary"])
def test_hardly_any_plain_demand_is_missed(name):
    demands = texts(CORPUS[name], demand=True)
    assert len(judged(demands, NONE)) <= MOST_MISSED * len(demands), judged(demands, NONE)


@pytest.mark.parametrize("name", FEWEST_PLAIN)
def test_many_plain_demands_are_obeyed_without_a_question(name):
    demands = texts(CORPUS[name], demand=True)
    assert len(judged(demands, PLAIN)) >= FEWEST_PLAIN[name] * len(demands)


@pytest.mark.parametrize("name", CORPUS)
def test_no_other_sentence_is_obeyed_without_a_question(name):
    assert judged(texts(CORPUS[name], demand=False), PLAIN) == []


@pytest.mark.parametrize("name", CORPUS)
def test_no_other_sentence_is_obeyed_because_the_caller_hangs_up(name):
    assert [text for text in texts(CORPUS[name], demand=False) if judge(text).strong] == []


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("sentences", MOST_ASKED_SHORT),
        ("blind", MOST_ASKED),
        ("unseen", MOST_ASKED),
        ("taught", MOST_ASKED),
        ("sealed", MOST_ASKED),
        ("ordinary", MOST_ASKED_ORDINARY),
    ],
)
def test_callers_are_seldom_asked_about_other_sentences(name, share):
    others = texts(CORPUS[name], demand=False)
    assert len(judged(others, SUSPECTED)) <= share * len(others)


# The model


def test_the_weights_were_trained_on_the_sentences_that_are_here():
    sentences = [sentence for name in FILES for sentence in CORPUS[name]]
    assert json.loads(WEIGHTS.read_text(encoding="utf-8"))["sentences"] == digest(sentences), (
        "the sentences have changed: python -m tests.media.turns.opt_out.train"
    )


def test_a_feature_is_a_word_or_a_pair_as_spoken_and_as_reduced():
    assert features("Stop it!", " stop it ") == {
        *("'stop", "'it", "^ 'stop", "'stop 'it", "'it $", "^ * 'it", "'stop * $"),
        *("stop", "it", "^ stop", "stop it", "it $", "^ * it", "stop * $"),
    }


def test_training_learns_what_only_the_demands_say():
    demands = ["lose my number", "just lose it", "lose the number now", "you lose it"]
    others = ["find my number", "just find it", "find the number now", "you find it"]
    sentences = [Sentence(text, text in demands, "test") for text in (*demands, *others)]
    model = train(sentences)
    assert train(sentences) == model
    with replaced(model):
        assert likelihood("would you lose that", " would you lose that ") > 0
        assert likelihood("would you find that", " would you find that ") < 0


def test_words_that_the_model_does_not_know_are_no_demand():
    assert likelihood("zyxwv", reduce_words("zyxwv")) < 0
    assert judge_opt_out("zyxwv").demand is NONE


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
    demands, others = texts(KNOWN, demand=True), texts(KNOWN, demand=False)
    assert len(judged([change(text) for text in demands], NONE)) <= MOST_MISSED * len(demands)
    assert judged([change(text) for text in others], PLAIN) == []


# The parts of a demand


@each_row(
    ("words", "demand"),
    [
        # Who is to stop.
        ("stop calling me", PLAIN),
        ("tell your boss to stop calling me", PLAIN),
        ("they stop calling me", SUSPECTED),
        ("tell the driver to stop calling me", SUSPECTED),
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
        ("don't call him again", SUSPECTED),
        # Which list.
        ("take me off your calling list", PLAIN),
        ("take me off all of your lists", PLAIN),
        ("take me off the list", SUSPECTED),
        ("take me off your mailing list", SUSPECTED),
        ("take me off the cancellation list", NONE),
        ("take me off your guest list", NONE),
        ("put me on your do not call list", PLAIN),
        ("is there a do not call list", SUSPECTED),
        # A time or a condition.
        ("don't call me before nine", NONE),
        ("don't call me again until Monday", NONE),
        ("if it rains don't call me", SUSPECTED),
        ("if you're late don't ever call me again", SUSPECTED),
        # Another channel, and an invitation.
        ("don't call me, text me", SUSPECTED),
        ("don't call me, I'll call you", SUSPECTED),
        ("when I said don't call me I was angry, you can call me now", NONE),
        # A report, a question, the contrary.
        ("I told you to stop calling me", PLAIN),
        ("who said stop calling me", SUSPECTED),
        ("did you take me off your list", SUSPECTED),
        ("don't take me off your list", SUSPECTED),
        ("I never asked you to stop calling me", SUSPECTED),
        # Calling by a name.
        ("don't call me sir", NONE),
        ("don't ring me sir", SUSPECTED),
        ("don't ever call me Susan", SUSPECTED),
        ("stop calling me Susan, it's Suzanne", NONE),
        ("stop calling me yeah", PLAIN),
        ("don't call this number pal", PLAIN),
        # The title of a work.
        ("do you know the song Don't Call Me Angel", NONE),
        # The speaker is the one who calls.
        ("I'm never calling that restaurant again", NONE),
        ("I can't make any calls from this phone", SUSPECTED),
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
        ("drop me off at the station", NONE),
        ("leave me alone", SUSPECTED),
        ("unsubscribe", SUSPECTED),
        ("unsubscribe me from the newsletter", NONE),
        ("", NONE),
    ],
)
def test_each_part_of_a_demand_counts(words, demand):
    assert judge_opt_out(words).demand is demand


@pytest.mark.parametrize("words", ["leave me alone", "take me off the list", "just take me off"])
def test_a_suspicion_is_strong_if_most_who_say_this_want_no_calls(words):
    assert judge_opt_out(words) == Judgement(SUSPECTED, likely=True, strong=True)


@pytest.mark.parametrize("words", ["please remove my number", "I'm tired of you people calling me"])
def test_a_suspicion_is_likely_if_the_model_alone_is_sure(words):
    assert judge_opt_out(words) == Judgement(SUSPECTED, likely=True)


@pytest.mark.parametrize("words", ["unsubscribe", "they stop calling me", "don't call me, text me"])
def test_a_suspicion_is_weak_if_the_words_may_well_mean_something_else(words):
    assert judge_opt_out(words) == Judgement(SUSPECTED)


@pytest.mark.parametrize(
    "words", ["my ex keeps calling me and I said never call me again", "the song is don't call me"]
)
def test_words_about_something_besides_are_not_obeyed_unasked(words):
    assert not judge_opt_out(words).strong
    assert judge_opt_out(words).demand is not PLAIN
