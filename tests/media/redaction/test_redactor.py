"""Numbers over turns and keys: what is stored, in which order, and what is muted."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from calls.services import facts
from media.redaction.redactor import AGENT, CALLER, Redactor

CALL = UUID(int=1)
AT = datetime(2026, 1, 1, tzinfo=UTC)
CARD = "4111 1111 1111 1111"


class Stream:
    """A stream whose turns last a second each."""

    def __init__(self, language: str = "en") -> None:
        self.kept: dict[str, facts.Fact] = {}
        """What would be stored of the facts that are held back if the process died."""
        self.redactor = Redactor(language=language, mute=self.mute, release=self.release, keep=self.keep)
        self.stored: list[facts.Fact] = []
        self.muted: list[tuple[int, int, int]] = []
        self.released = 0
        self.position = 8000

    def keep(self, fact: facts.Fact) -> None:
        self.kept[fact.fact_id] = fact

    def mute(self, side: int, begin: int, end: int) -> None:
        assert begin >= self.released or side == AGENT or end <= self.released, "it is written already"
        self.muted.append((side, begin, end))

    def release(self, position: int) -> None:
        self.released = max(self.released, position)

    def says(self, speaker: str, said: str, heard: str | None = None) -> int:
        begin, self.position = self.position, self.position + 16000
        turn = facts.TurnEnded(
            call_id=CALL, number=1, speaker=speaker, said=said, heard=said if heard is None else heard, started_at=AT,
            start_position=begin, end_position=begin + 8000,
        )  # fmt: skip
        self.stored += self.redactor.take(turn, 0)
        return begin

    def agent(self, said: str, heard: str | None = None) -> int:
        return self.says("agent", said, heard)

    def caller(self, said: str) -> int:
        return self.says("caller", said)

    def notes(self, kind: str, /, **data: object) -> None:
        note = facts.EventNoted(call_id=CALL, kind=kind, at=AT, data=data)
        self.stored += self.redactor.take(note, self.position)

    def presses(self, keys: str) -> None:
        for key in keys:
            self.notes("key", digit=key)
            self.position += 1000
        self.caller(f"[pressed {' '.join(keys)}]")

    def end(self) -> list[facts.Fact]:
        self.stored += self.redactor.finish()
        return self.stored

    @property
    def words(self) -> list[str]:
        return [fact.said for fact in self.stored if isinstance(fact, facts.TurnEnded)]

    @property
    def keys(self) -> list[object]:
        return [fact.data["digit"] for fact in self.stored if isinstance(fact, facts.EventNoted) and fact.kind == "key"]

    def is_muted(self, side: int, position: int) -> bool:
        return any(muted == side and begin <= position < end for muted, begin, end in self.muted)


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_a_card_in_one_turn_is_taken_out_and_muted(stream):
    stream.caller("I'd like to pay.")
    begin = stream.caller(f"It's {CARD}.")
    stream.caller("Thank you.")
    assert stream.words == ["I'd like to pay.", "It's [card number].", "Thank you."]
    assert all(stream.is_muted(CALLER, begin + at) for at in (-3000, 0, 4000, 8000))
    assert not stream.is_muted(CALLER, 8000)
    assert not stream.is_muted(AGENT, begin)


@pytest.mark.parametrize("between", ["Mm-hm.", "Go on."])
def test_a_card_that_nobody_asked_for_is_found_over_several_turns(stream, between):
    places = []
    for part in ("Take four one one one", "one one one one", "uh, 1111", "1111. Did you get that?"):
        assert not any("one" in words or "11" in words for words in stream.words)
        places.append(stream.caller(part))
        stream.agent(between)
    assert stream.words == [
        "Take [card number]", between, "[card number]", between, "uh, [card number]", between,
        "[card number]. Did you get that?", between,
    ]  # fmt: skip
    assert all(stream.is_muted(CALLER, place + 4000) for place in places)


def test_a_number_that_is_none_comes_back_whole_and_in_order(stream):
    stream.caller("My number is 415 555")
    stream.agent("Yes?")
    stream.notes("filler", after=1.0)
    assert stream.stored == []
    stream.caller("0123. Call me there.")
    assert stream.words == ["My number is 415 555", "Yes?", "0123. Call me there."]
    assert stream.muted == []
    assert stream.released == stream.position - 8000


def test_a_held_turn_is_stored_when_the_call_ends(stream):
    stream.caller("Order 123456")
    assert stream.words == []
    stream.end()
    assert stream.words == ["Order 123456"]


def test_a_card_that_the_end_of_the_call_cuts_off_is_not_stored(stream):
    stream.caller("4111 1111")
    stream.agent("Yes?")
    stream.caller("1111 1")
    stream.end()
    assert stream.words == ["[card number]", "Yes?", "[card number]"]
    assert stream.is_muted(CALLER, 8000)


def test_a_pause_does_not_end_a_dictation(stream):
    stream.caller("4111 1111 1111")
    stream.agent("Yes?")
    stream.caller("Hold on.")
    stream.agent("Sure.")
    stream.caller("1111.")
    assert stream.words == ["[card number]", "Yes?", "Hold on.", "Sure.", "[card number]."]


def test_parts_of_a_number_that_was_asked_for_are_never_stored(stream):
    stream.agent("What is your card number, please?")
    for part in ("41", "Eleven.", "Sure, it's one one one.", "Double four."):
        stream.caller(part)
        stream.agent("Go on.")
    stream.agent("And what day suits you?")
    stream.caller("The 24th, at 11 30.")
    stream.end()
    assert stream.words[1::2][:4] == ["[card number]", "[card number].", "Sure, it's [card number].", "[card number]."]
    assert stream.words[-1] == "The 24th, at 11 30."


def test_a_caller_who_announces_a_number_is_understood(stream):
    stream.caller("My account number is")
    stream.agent("Yes?")
    stream.caller("1234")
    stream.caller("5678")
    assert stream.words == ["My account number is", "Yes?", "[account number]", "[account number]"]


def test_the_agent_s_repetition_is_taken_out_and_muted_as_far_as_it_was_heard(stream):
    stream.agent("What is your account number?")
    stream.caller("12345678")
    begin = stream.agent("So that is 1234 5678, right? I'll look it up.", heard="So that is 1234 56")
    fact = stream.stored[-1]
    assert (fact.said, fact.heard) == (
        "So that is [account number], right? I'll look it up.",
        "So that is [account number]",
    )
    assert stream.is_muted(AGENT, begin + 4000)
    assert not stream.is_muted(CALLER, begin + 4000)


def test_what_the_agent_repeats_during_a_dictation_is_taken_out_and_muted(stream):
    places = []
    for part in ("4111", "11", "1111", "111111"):
        stream.caller(part)
        places.append(stream.agent(f"{part[:3]}?"))
    stream.agent("All right, I have it.")
    assert stream.words[1:6:2] == ["[card number]?"] * 3
    assert all(stream.is_muted(AGENT, place + 4000) for place in places)
    assert not stream.is_muted(AGENT, stream.position - 4000)


def test_what_was_asked_for_may_take_any_number_of_turns(stream):
    stream.agent("What is your account number?")
    for digits in range(10, 20):
        stream.caller(str(digits))
        stream.agent("Mm-hm.")
    assert stream.words[1::2] == ["[account number]"] * 10


def test_other_numbers_of_the_agent_stay(stream):
    stream.agent("We open at 9 30. The price is 1499 dollars, and our number is 415 555 0123.")
    assert stream.words == ["We open at 9 30. The price is 1499 dollars, and our number is 415 555 0123."]


def test_keys_that_were_asked_for_are_taken_out_at_once(stream):
    stream.agent("Please enter your card number.")
    stream.notes("key", digit="4")
    assert stream.keys == ["redacted"]
    assert stream.is_muted(CALLER, stream.position)
    stream.caller("[pressed 4]")
    assert stream.words[-1] == "[pressed [card number]]"


def test_a_card_that_is_pressed_without_a_question_is_found(stream):
    stream.presses("41111111")
    assert stream.keys == []
    stream.presses("11111111")
    assert stream.keys == ["redacted"] * 16
    assert stream.words == ["[pressed [card number]]"] * 2


def test_other_keys_are_stored_in_their_place(stream):
    stream.presses("1")
    assert stream.keys == ["1"]
    assert stream.words == ["[pressed 1]"]
    stream.presses("123456")
    stream.caller("That's it, thank you very much, and have a nice day.")
    assert stream.keys == ["1", *"123456"]


def test_words_in_events_are_redacted_and_held_like_those_of_turns(stream):
    stream.notes("answered", kind="person", text=f"Hello, {CARD}")
    stream.caller("4111 1111")
    stream.notes("opt-out-answer", answer="other", text="4111 1111")
    stream.caller("1111 1111")
    assert "1111" not in str(stream.end())


def test_a_number_that_is_said_over_the_agent_is_muted_although_it_is_in_no_turn(stream):
    stream.caller("Hello.")
    end = stream.position - 8000
    stream.position += 40_000
    stream.notes("overlap", judged="BACKCHANNEL", text=f"it's {CARD}")
    stream.notes("overlap", judged="BACKCHANNEL", text="mm-hm")
    assert [fact.data["text"] for fact in stream.stored[1:]] == ["it's [card number]", "mm-hm"]
    assert stream.is_muted(CALLER, end)
    assert stream.is_muted(CALLER, stream.position)
    assert not stream.is_muted(CALLER, end - 1)
    assert not stream.is_muted(CALLER, stream.position + 8000)


def test_an_opt_out_is_never_late(stream):
    stream.caller("4111 1111")
    opt_out = facts.OptedOut(call_id=CALL, how="asked", words=f"Take me off, {CARD}", at=AT)
    [stored] = stream.redactor.take(opt_out, 0)
    assert stored.words == "Take me off, [card number]"


def test_what_recognition_has_missed_is_muted_while_a_number_is_asked_for(stream):
    stream.agent("What is your card number?")
    begin = stream.position
    stream.position += 8000
    stream.notes("transcript-failed")
    assert stream.is_muted(CALLER, begin + 4000)
    stream.end()
    assert stream.is_muted(CALLER, begin + 100_000)


def test_the_sound_of_a_held_turn_is_not_released(stream):
    stream.caller("Hello.")
    before = stream.released
    stream.caller("4111 1111")
    stream.agent("Yes?")
    assert stream.released == before == 16000
    stream.caller("1111 1111")
    assert stream.released == stream.position - 8000


def test_numbers_are_read_in_the_language_to_which_the_call_has_changed(stream):
    stream.redactor.take(facts.LanguageChanged(call_id=CALL, language="de-AT", at=AT), 0)
    stream.caller("vier eins eins eins eins eins eins eins eins eins eins eins eins eins eins eins")
    assert stream.words == ["[card number]"]


@pytest.mark.parametrize(
    "turns",
    [list("4111111111111111"), ["41"] + ["11"] * 7, ["Four.", "Uh, one.", *["one"] * 14], ["4", "11", "It's 1"]],
)
def test_single_digits_over_many_turns_are_held_back_too(stream, turns):
    for words in turns:
        stream.caller(words)
        stream.agent("Mm-hm.")
        assert stream.words == [] or "[card number]" in stream.words
    stream.end()
    digits = [words for words in stream.words[::2] if "[card number]" not in words]
    assert digits == ([] if len(turns) > 4 else turns)


def test_short_answers_behind_a_telephone_number_are_not_held_back_for_long(stream):
    stream.caller("My number is 415 555 0123")
    for _ in range(6):
        stream.agent("Is that so?")
        stream.caller("Yes.")
    assert len(stream.words) >= 9
    stream.caller("415 555 0123")
    for hour in range(8):
        stream.agent("When?")
        stream.caller(f"1{hour} 30")
    assert stream.words.count("When?") == 8
    assert stream.muted == []


def test_more_digits_than_a_number_has_are_not_held_back(stream):
    for _ in range(8):
        stream.caller("1 2 3 4 5 6 7 8")
    assert len(stream.words) >= 5


def test_an_answer_of_one_digit_is_stored_with_the_next_turn(stream):
    stream.agent("For how many?")
    stream.caller("Two.")
    stream.agent("Two?")
    assert stream.words == ["For how many?"]
    stream.caller("Tomorrow.")
    assert stream.words == ["For how many?", "Two.", "Two?", "Tomorrow."]


def test_what_is_held_back_is_kept_without_any_digits_for_a_process_that_dies(stream):
    stream.caller("Take 41 11")
    stream.agent("41 11, right?")
    stream.notes("key", digit="4")
    stream.notes("opt-out-answer", answer="other", text="it was 4111")
    stream.caller("And 7")
    assert stream.stored == []
    kept = list(stream.kept.values())
    assert [fact.said for fact in kept if isinstance(fact, facts.TurnEnded)] == [
        "Take [number]", "[number], right?", "And [number]",
    ]  # fmt: skip
    assert [fact.data for fact in kept if isinstance(fact, facts.EventNoted)] == [
        {"digit": "redacted"}, {"answer": "other", "text": "it was [number]"},
    ]  # fmt: skip
    assert {fact.fact_id for fact in stream.end()} == {*stream.kept}


def test_what_is_said_behind_the_last_words_is_muted_when_the_call_ends(stream):
    stream.caller("I would like to pay.")
    end = stream.position - 8000
    stream.end()
    assert stream.is_muted(CALLER, end)
    assert not stream.is_muted(CALLER, end - 1)
    assert not stream.is_muted(AGENT, end)
