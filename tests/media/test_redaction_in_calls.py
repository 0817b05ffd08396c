"""A card number on a whole call: heard by the language model, stored nowhere, and muted in the recording."""

from __future__ import annotations

from calls.services import facts
from media.audio import SILENCE
from tests.media.scripted_call import CallResult, run_call

SAYS = [(0.5, "I would like to pay for my table."), (9.0, "four one one one"), (17.0, "one one one one again")]
TRANSCRIPTS = ["I'd like to pay for my table.", "4111 1111 1111 1111", "Thank you. Goodbye now."]
REPLIES = ["What is your card number, please?", "I have 4111 1111 1111 1111. Is that right?", "You are welcome."]


def talk(*, redact: bool = True) -> CallResult:
    return run_call(SAYS, seconds=27.0, stt={"transcripts": TRANSCRIPTS}, llm={"replies": REPLIES}, redact=redact)


def loud(sound: bytes) -> bool:
    return any(sign not in (0xFF, 0x7F, SILENCE[0]) for sign in sound)


def test_the_number_is_in_no_fact_and_in_neither_side_of_the_recording():
    plain, result = talk(redact=False), talk()
    assert "4111" in str(plain.facts.facts)
    assert not any(digits in str(result.facts.facts) for digits in ("4111", "1111"))
    turns = result.facts.of(facts.TurnEnded)
    assert [turn.said for turn in turns if turn.speaker == "caller"] == [
        TRANSCRIPTS[0],
        "[card number]",
        TRANSCRIPTS[2],
    ]
    assert [turn.said for turn in turns if turn.speaker == "agent"][1] == "I have [card number]. Is that right?"
    number, repeated = (next(turn for turn in turns[2:] if turn.speaker == side) for side in ("caller", "agent"))
    said = result.recording.said
    assert len(said) == len(plain.recording.said) == 27 * 8000
    assert not loud(said[number.start_position - 4000 : number.end_position])
    assert loud(plain.recording.said[number.start_position : number.end_position])
    assert said[: 8 * 8000] == plain.recording.said[: 8 * 8000]
    assert said[16 * 8000 :] == plain.recording.said[16 * 8000 :]
    repetition = range(repeated.start_position, repeated.end_position)
    assert not any(loud(audio) for position, audio in result.recording.heard if position in repetition)
    assert any(loud(audio) for position, audio in plain.recording.heard if position in repetition)


def test_the_caller_hears_the_same_call():
    plain, result = talk(redact=False), talk()
    assert result.sent == plain.sent
