"""How long to wait in silence before the caller has finished."""

from __future__ import annotations

from itertools import pairwise

import pytest

from media.turns.endpointing import (
    CLAUSE,
    COMPLETE,
    LIKELY,
    LONGEST,
    PAUSED_BEFORE,
    REQUESTED,
    UNFINISHED,
    UNSURE,
    Endpointing,
)


def wait(text: str, agent_said: str = "") -> float:
    return Endpointing().judge(text, agent_said=agent_said).wait


@pytest.mark.parametrize(
    ("text", "agent_said"),
    [
        ("What time do you open?", ""),
        ("I would like to change my booking.", ""),
        ("how much does it cost", ""),
        ("what's the weather like", ""),
        ("Yes.", "Is that right?"),
        ("yes please", "Would you like to hear our prices?"),
        ("Monday", "Which day would suit you?"),
        ("Where are you?", ""),
        ("what time do you close on sundays", ""),
        ("hello can you hear me", ""),
        ("and what about sunday", ""),
        ("yeah where are you", ""),
        ("so what's the address", ""),
        ("could you repeat that please", ""),
        ("i'd like a haircut please", ""),
        ("i think so", "Is that right?"),
        ("no i'm not", "Are you a member?"),
        ("yes i have", "Have you been here before?"),
        ("that's all thanks", "Anything else?"),
        ("i don't know", "Which office is it?"),
    ],
)
def test_a_whole_turn_waits_200_to_350_ms(text, agent_said):
    judgement = Endpointing().judge(text, agent_said=agent_said)
    assert 0.2 <= judgement.wait <= 0.35
    assert judgement.complete


@pytest.mark.parametrize(
    "text",
    [
        "What's the weather like?",
        "I'm not feeling well.",
        "Is that so?",
        "That's what I'm looking for.",
        "I want to come in.",
        "Who should I talk to?",
        "Where are you from?",
        "What is it for?",
        "I don't want to.",
        "I'd love to.",
        "I know where you are.",
        "I think so.",
        "It all went well.",
        "Please turn it on.",
        "Could I drop by?",
        "It's 42.",
        "It costs $20.",
        "It is room 12.",
        "I need it by 10.",
        "Flight BA 117.",
        "At 2:30 p.m.",
    ],
)
def test_a_mark_shows_that_words_which_seldom_end_a_sentence_do_end_it(text):
    assert wait(text, "What can I do for you?") == COMPLETE


@pytest.mark.parametrize(
    ("text", "agent_said"),
    [("42.", "How old are you?"), ("$20.", "How much is it?"), ("Room 12.", "Which room?"), ("By 10.", "When?")],
)
def test_a_number_in_digits_is_a_whole_answer_unless_digits_were_asked_for(text, agent_said):
    assert wait(text, agent_said) == COMPLETE
    assert wait(text, "What is your card number?") == UNFINISHED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He might even have been made.", CLAUSE),
        ("I would like to change my booking.", CLAUSE),
        ("I'd like a table for.", UNFINISHED),
        ("I'm looking for the.", UNFINISHED),
        ("Blue.", UNSURE),
        ("So...", UNFINISHED),
        ("Well,", UNFINISHED),
        ("What time do you open?", COMPLETE),
        ("I'm not feeling well.", CLAUSE),
        ("That's what I'm looking for.", UNSURE),
    ],
)
def test_a_full_stop_that_does_not_count_says_nothing_and_other_marks_say_what_they_do(text, expected):
    assert Endpointing().judge(text, stop_counts=False).wait == expected
    assert Endpointing().judge(text.rstrip(".") if text != "So..." else text).wait == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [("de", "Gestern war ich im Büro."), ("fr", "Je vais faire une liste."), ("zh", "我想要预订一张桌子。")],
)
def test_a_full_stop_that_does_not_count_says_nothing_in_other_languages(language, text):
    assert Endpointing(language).judge(text).wait <= LIKELY
    assert Endpointing(language).judge(text, stop_counts=False).wait >= CLAUSE


@pytest.mark.parametrize(
    "text",
    [
        "my prices booking",
        "I went to the office yesterday",
        "the blue one",
        "blue",
        "i'd like to book a table for two",
        "i'd like one as well",
        "it was the fifth of may",
        "what do you need",
        "when i was there yesterday",
        "thank you",
        "tomorrow morning",
        "my number",
        "that's all",
    ],
)
def test_words_that_may_go_on_wait_longer(text):
    assert 0.35 < wait(text) <= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "I would like to",
        "my name is",
        "and then I",
        "um",
        "so, well,",
        "on Tuesday and",
        "I want to go from...",
        "can you tell me the",
        "can you tell me",
        "could you please",
        "can i",
        "may i have",
        "are you",
        "do you have",
        "i need",
        "how do i get to",
        "there's",
        "what's the",
        "yes but",
        "let me see",
        "just a moment",
        "I'm looking for the, uh,",
        "I would like to.",
    ],
)
def test_an_unfinished_sentence_waits_longest(text):
    assert wait(text) == UNFINISHED


@pytest.mark.parametrize(
    ("text", "agent_said"),
    [
        ("five five five", ""),
        ("five", "What is your number?"),
        ("it's 5 5 5", ""),
        ("s m i", "Could you spell that?"),
        ("555-123", "What is your number?"),
        ("one two three four one two three four one two three four", "What is your card number?"),
        ("john dot smith", "What is your e-mail address?"),
        ("john dot smith at", "What is your e-mail address?"),
    ],
)
def test_a_caller_who_spells_something_out_may_finish(text, agent_said):
    assert wait(text, agent_said) == UNFINISHED


def test_a_whole_telephone_number_is_not_unfinished():
    assert wait("five five five one two three four five six seven", "What is your number?") < UNFINISHED


def test_an_address_waits_for_its_parts():
    assert wait("fourteen main street", "What is your address?") > wait("fourteen main street")
    assert wait("john dot smith at gmail dot com", "What is your e-mail address?") < UNFINISHED
    assert wait("yes", "Is that your address?") <= 0.35


def test_an_answer_to_a_question_waits_less():
    assert wait("two people", "How many will you be?") < wait("two people")


def test_a_caller_who_pauses_long_gets_more_time():
    endpointing = Endpointing()
    before = endpointing.judge("the blue one").wait
    for _ in range(3):
        endpointing.resumed_after(0.9)
    assert before < endpointing.judge("the blue one").wait <= LONGEST


@pytest.mark.parametrize("language", ["en", "de", "xx"])
def test_a_caller_who_has_paused_in_this_turn_may_do_so_again(language):
    endpointing = Endpointing(language)
    unsure = "blue" if language == "en" else "blau" if language == "de" else "sinine"
    first = endpointing.judge(unsure).wait
    assert endpointing.judge(unsure, has_paused=True).wait == pytest.approx(PAUSED_BEFORE * first)


@pytest.mark.parametrize(
    "text", ["What time do you open?", "I would like to", "yes", "Hi.", "It's five five five oh one", "um"]
)
def test_a_pause_before_changes_nothing_where_the_words_are_sure(text):
    said = "How can I help?"
    endpointing = Endpointing()
    once, again = (endpointing.judge(text, agent_said=said, has_paused=paused).wait for paused in (False, True))
    assert once == again


def test_one_long_stop_does_not_make_every_turn_slow():
    endpointing = Endpointing()
    for pause in (0.15, 0.2, 1.2):
        endpointing.resumed_after(pause)
    assert endpointing.judge("the blue one").wait < 0.7


def test_a_gap_of_several_seconds_does_not_count_as_a_pause():
    endpointing = Endpointing()
    for _ in range(5):
        endpointing.resumed_after(4.0)
    assert endpointing.judge("the blue one").wait == Endpointing().judge("the blue one").wait


def test_a_whole_turn_waits_at_most_350_ms_even_for_a_caller_who_pauses_long():
    endpointing = Endpointing()
    for _ in range(5):
        endpointing.resumed_after(1.0)
    assert endpointing.judge("What time do you open?").wait <= 0.35


def test_the_grades_have_no_cliff():
    """From the surest to the least sure no step is longer than 700 ms."""
    grades = sorted(
        wait(text)
        for text in (
            "What time do you open?",
            "how much is it now",
            "I went there yesterday",
            "the blue one",
            "I am um",
        )
    )
    assert all(later - earlier <= 0.7 for earlier, later in pairwise(grades))


def test_any_text_gets_a_wait():
    for text in ("", "?!", "12", "…", "ok" * 500, "\n\n", "ÄÖÜ ß"):
        assert 0.2 <= wait(text) <= LONGEST


ASKED = {"de": "Für wann?", "fr": "Pour quand ?", "es": "¿Para cuándo?", "it": "Per quando?", "pt": "Para quando?"}


@pytest.mark.parametrize(
    ("language", "text", "asked", "expected"),
    [
        ("de", "Was kostet das?", False, COMPLETE),
        ("de", "Ich nehme dann das also.", False, COMPLETE),  # an English sentence does not end with "also"
        ("de", "was kostet ein Zimmer", False, REQUESTED),
        ("de", "Ja.", True, COMPLETE),
        ("de", "nein danke", True, COMPLETE),
        ("de", "am Dienstag", True, LIKELY),
        ("de", "ich hätte gern einen Tisch für", False, UNFINISHED),
        ("de", "Ich hätte gern einen Tisch und.", False, UNFINISHED),
        ("de", "einen Moment bitte", False, UNFINISHED),
        ("de", "Dienstag,", True, UNFINISHED),
        ("de", "0 1 7 1", True, UNFINISHED),
        ("de", "gestern war ich im Büro", False, CLAUSE),
        ("fr", "oui", True, COMPLETE),
        ("fr", "qu'est-ce qu'il y a ?", False, COMPLETE),
        ("fr", "M A R", True, UNFINISHED),
        ("fr", "je voudrais une table pour", False, UNFINISHED),
        ("fr", "C'est combien ?", False, COMPLETE),
        ("es", "sí", True, COMPLETE),
        ("es", "quisiera una mesa para", False, UNFINISHED),
        ("es", "¿Cuánto es?", False, COMPLETE),
        ("it", "va bene", True, COMPLETE),
        ("it", "vorrei un tavolo per", False, UNFINISHED),
        ("pt", "claro", True, COMPLETE),
        ("pt", "queria uma mesa para", False, UNFINISHED),
        ("nl", "een tafel voor", False, UNFINISHED),
        ("nl", "Hoe laat gaat u open?", False, COMPLETE),
        ("pl", "Chciałbym zarezerwować stolik.", False, COMPLETE),
        ("zh", "您几点开门？", False, COMPLETE),
        ("pl", "", False, UNSURE),
    ],
)
def test_other_languages_are_judged_by_their_lists_and_the_marks(language, text, asked, expected):
    agent_said = ASKED.get(language, "?") if asked else "."
    assert Endpointing(language).judge(text, agent_said=agent_said).wait == expected
