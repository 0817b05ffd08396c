"""How much of a reply is spoken: whole lists, nothing twice, and no more than a caller listens to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.clauses import MAX_CLAUSE
from media.spoken_reply import GRACE, UNBROKEN, SpokenReply, seconds_of_speech

LONGEST = 25.0
WEEK = "\n".join(
    f"- **{day}:** 9:30 am to 5:30 pm"
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
)


def spoken(
    text: str, *, longest: float = LONGEST, size: int = 4, is_cut: bool = False
) -> tuple[list[str], SpokenReply]:
    reply = SpokenReply(longest)
    clauses: list[str] = []
    for start in range(0, len(text), size):
        was_done = reply.done
        ready = reply.push(text[start : start + size])
        assert not (was_done and ready), "a clause after the last one"
        clauses += ready
    return clauses + reply.finish(is_cut=is_cut), reply


# Length


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("We open at nine in the morning and close at five in the evening.", 4.0),
        ("Call 202 555 0140.", 4.3),
        ("営業時間は九時からです", 2.2),
    ],
)
def test_the_length_of_speech_is_estimated(text, seconds):
    assert seconds_of_speech(text) == pytest.approx(seconds, abs=0.3)


def test_a_weeks_opening_hours_are_said_whole():
    """genie-claw#385."""
    clauses, reply = spoken(f"Here are our opening hours:\n{WEEK}\n\nIs there anything else?")
    assert " ".join(clauses).count("5:30 pm") == 7
    assert clauses[-1] == "Is there anything else?"
    assert reply.unsaid == ""


def test_four_short_sentences_before_a_goodbye_are_no_long_reply():
    """vocode-core#320, dograh#627."""
    text = "Thanks for calling today. Your table is booked. We look forward to seeing you. Goodbye."
    clauses, reply = spoken(text)
    assert " ".join(clauses) == text
    assert not reply.full


COUNT = "one two three four five six seven eight nine".split()
SENTENCE = "This is one of the many sentences that nobody wants to hear on the phone, number {}. "


def sentences(count: int) -> str:
    return "".join(SENTENCE.format(word) for word in COUNT[:count])


def test_a_reply_that_is_too_long_ends_after_a_sentence_and_the_rest_is_known():
    clauses, reply = spoken(sentences(9))
    assert reply.full
    assert reply.done
    assert LONGEST <= sum(map(seconds_of_speech, clauses)) < LONGEST + 6
    assert clauses[-1].endswith("number five.")
    assert reply.unsaid == sentences(9)[len(sentences(5)) :].strip()


def test_a_rest_that_is_short_is_said():
    clauses, reply = spoken(f"{sentences(5)}Is there anything else? Goodbye.")
    assert clauses[-2:] == ["Is there anything else?", "Goodbye."]
    assert reply.full
    assert reply.unsaid == ""


def test_a_reply_is_not_cut_inside_an_item_of_a_list():
    items = "".join(f"- Step {word}. {SENTENCE.format(word)}Then wait for a moment.\n" for word in COUNT)
    clauses, reply = spoken(f"Do this in order:\n{items}")
    assert clauses[-1] == "Then wait for a moment."
    assert reply.unsaid.startswith("Step ")


def test_a_reply_that_never_ends_a_sentence_is_cut_nevertheless():
    words = " ".join(f"word{number}" for number in range(5000))
    clauses, reply = spoken(words)
    seconds = sum(map(seconds_of_speech, clauses))
    assert LONGEST <= seconds < LONGEST + UNBROKEN + seconds_of_speech("9" * MAX_CLAUSE)
    assert len(reply.unsaid) < 1100


def test_the_end_of_a_reply_that_the_server_cut_is_known_to_be_missing():
    clauses, reply = spoken("We open at nine. On Sundays we op", is_cut=True)
    assert clauses == ["We open at nine."]
    assert reply.unsaid == "On Sundays we op ..."
    assert spoken("We open at nine.", is_cut=True)[1].unsaid == "..."
    assert spoken("We op", is_cut=True)[0] == []


# Repetitions


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("We open at nine. We open at nine. We open at nine.", "We open at nine."),
        ("Two people. Two people. Two people.", "Two people."),
        ("I can help. We open at nine. I can help. We open at nine. I can help.", "I can help. We open at nine."),
        ("Sure. We open at nine. We close at five. We open at nine. We close at five. Bye.",
         "Sure. We open at nine. We close at five. Bye."),
        ("We open at nine! we open at NINE. Bye.", "We open at nine! Bye."),
        ("We open at nine. Yes, at nine. We open at nine.", "We open at nine. Yes, at nine."),
        ("It costs $5. It costs $5. It costs $5.", "It costs $5."),
        ("Bye. Bye. Bye. Bye.", "Bye. Bye."),
        ("We open at nine. So we open at nine. Yes, we open at nine.", "We open at nine."),
        ("Just a call. No, no. So just a call. No. Just a call? Well, just a call. No. Bye.",
         "Just a call. No, no. No. Bye."),
        ("No. No. No. No. No. We are open.", "No. No. We are open."),
    ],
)  # fmt: skip
def test_a_sentence_is_not_said_over_and_over(text, said):
    """speech-to-speech#125, qwen-code#1403."""
    assert " ".join(spoken(text)[0]) == said


@pytest.mark.parametrize(
    "text",
    [
        "No, no, we are open.",
        "No. No. We are open.",
        "Your name is Ann. Is that right? Your number is 5. Is that right?",
        "Press 5. 5. 5. 5. Then 5.",
        "We open at nine. It is a holiday. We open at nine. Then we close.",
        "Monday is free. Tuesday is free. Wednesday is free.",
        "Five. Five. Two. Five. Five. Two.",
    ],
)
def test_what_may_be_meant_is_said_again(text):
    assert " ".join(spoken(text)[0]) == text


def test_a_model_that_turns_the_same_words_round_and_round_is_not_listened_to():
    """A real small model's reply of 26 s (SmolLM2-135M)."""
    text = (
        "I'm not an AI, I'm an agent. I'm not a customer, I'm an agent. I'm not an AI, I'm a customer. "
        "I'm an agent, not a customer. I'm a customer, not an AI. I'm not an agent, I'm an AI. "
    )
    clauses, reply = spoken(text * 2)
    assert " ".join(clauses) == (
        "I'm not an AI, I'm an agent. I'm not a customer, I'm an agent. I'm not an AI, I'm a customer. "
        "I'm an agent, not a customer."
    )
    assert reply.looping


@pytest.mark.parametrize(
    "text",
    [
        "Take the red bus to the old bridge. Then take the blue bus. Then the red bus to the bridge.",
        "A room costs twenty dollars an hour. The hall costs forty dollars an hour. Two hours cost eighty dollars.",
        "You said Tuesday at nine. Not Monday at nine. I have Tuesday at nine. Is Tuesday at nine right?",
    ],
)
def test_a_few_sentences_without_a_new_word_are_said(text):
    assert " ".join(spoken(text)[0]) == text


def test_a_model_in_a_loop_is_not_listened_to():
    clauses, reply = spoken("We open at nine. We close at five. " * 50)
    assert " ".join(clauses) == "We open at nine. We close at five."
    assert reply.looping
    assert reply.done


@given(st.lists(st.sampled_from("A b c. D e. F! G h? 5. I, j k.".split()), max_size=40), st.integers(1, 9))
def test_what_is_spoken_does_not_depend_on_the_tokens_and_is_taken_from_the_text(words, size):
    text = " ".join(words)
    clauses, _ = spoken(text, size=size)
    assert clauses == spoken(text, size=1000)[0]
    assert set(" ".join(clauses).split()) <= set(words)
    assert GRACE < LONGEST
