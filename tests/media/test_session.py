"""A session over one stream: what is heard, said, sent, recorded and cancelled."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
import pytest

from calls.services import facts
from inference.backends import Engines
from inference.engines.scripted import (
    DEFAULT_REPLY,
    DEFAULT_TRANSCRIPT,
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
)
from inference.mulaw import decode_mulaw
from inference.requests import ToolRequests
from inference.types import NO_TOOLS, EngineError, Message, TextDelta
from media.messages import Media
from media.session import Session
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.media.scripted_call import QUIET, STREAM, run_call, voice


def test_a_question_is_heard_and_answered():
    result = run_call([(0.5, "What time do you open?")], seconds=9.0)
    assert result.turns[0] == ("caller", "What time do you open?")
    speaker, heard = result.turns[1]
    assert speaker == "agent"
    assert heard == DEFAULT_REPLY
    response = result.times("media")[0] - result.caller_stopped["What time do you open?"]
    assert response < 0.4
    stages = result.facts.of(facts.TurnEnded)[1].stages
    assert stages["response_latency"] == pytest.approx(response, abs=0.06)


@pytest.mark.parametrize(
    ("frame_seconds", "marked"), [(0.02, 0), (0.0205, 1), (0.022, 0), (0.026, 0), (0.03, 0), (0.04, 0)]
)
def test_no_latency_is_stored_that_is_longer_than_the_wait_for_the_answer(frame_seconds, marked, caplog):
    """The sender takes longer for a frame than the frame lasts, as many test clients do. The map follows."""
    questions = [(0.7 + 8.0 * number, f"What time do you open on day {number}?") for number in range(5)]
    result = run_call(questions, seconds=41.0, frame_seconds=frame_seconds)
    heard_at = [when for when, message in result.sent if message["event"] == "media"]
    waits = [min(when for when in heard_at if when > stopped) - stopped for stopped in result.caller_stopped.values()]
    turns = [turn for turn in result.facts.of(facts.TurnEnded) if turn.speaker == "agent"]
    assert len(turns) == len(waits)
    for turn, wait in zip(turns, waits, strict=True):
        assert turn.stages.get("response_latency", 0.0) <= wait + 0.02  # the end of the voice is known to a frame
        assert ("response_latency" in turn.stages) != ("clock_lag" in turn.stages)
    assert sum("clock_lag" in turn.stages for turn in turns) == marked
    assert sum("falls behind" in line.getMessage() for line in caplog.records) <= 1


def test_only_the_three_kinds_of_messages_are_sent():
    result = run_call([(0.5, "What time do you open?"), (3.2, "No, I want to know about Sunday mornings")], seconds=8.0)
    shapes = {
        "media": {"event", "streamSid", "media"},
        "mark": {"event", "streamSid", "mark"},
        "clear": {"event", "streamSid"},
    }
    assert {message["event"] for _, message in result.sent} == set(shapes)
    for _, message in result.sent:
        assert set(message) == shapes[message["event"]]
        assert message["streamSid"] == STREAM


def test_an_interruption_clears_what_is_queued():
    result = run_call(
        [(2.0, "No, I want to know about Sunday mornings")],
        seconds=5.0,
        options=ConversationOptions(
            greeting="This greeting is long enough that somebody will want to talk over all of it."
        ),
        stt={"transcripts": ["no I want to know about Sunday mornings"]},
    )
    (cleared,) = result.times("clear")
    assert 0.3 < cleared - 2.0 < 0.5
    first = result.facts.of(facts.TurnEnded)[0]
    assert first.interrupted
    assert first.said.startswith(first.heard)
    assert first.stages["barge_in_stop"] < 0.5


def test_a_murmur_leaves_the_agent_speaking():
    result = run_call(
        [(2.0, "Mm.")],
        seconds=6.0,
        options=ConversationOptions(
            greeting="This greeting is long enough that somebody will want to murmur into it, once."
        ),
        stt={"transcripts": ["mm-hm"]},
    )
    (greeting,) = result.turns
    assert greeting[1].endswith("once.")


def test_both_sides_are_recorded_at_their_positions():
    result = run_call([(0.5, "What time do you open?")], seconds=8.0)
    assert len(result.recording.said) == 8 * 8000
    position, _ = result.recording.heard[0]
    assert position / 8000 == pytest.approx(result.times("media")[0], abs=0.05)
    heard = sum(len(audio) for _, audio in result.recording.heard)
    sent = sum(len(base64.b64decode(m["media"]["payload"])) for _, m in result.sent if m["event"] == "media")
    assert heard == sent
    ends = [position + len(audio) for position, audio in result.recording.heard]
    starts = [position for position, _ in result.recording.heard]
    assert all(start >= end - 8 for end, start in zip(ends, starts[1:], strict=False))


def test_the_agent_apologises_when_the_language_model_fails():
    result = run_call(
        [(0.5, "What time do you open?")],
        seconds=9.0,
        llm={"failures": [{"rate": 1.0}]},
    )
    options = ConversationOptions()
    assert result.turns[-1] == ("agent", f"{options.fillers[0]} {options.apology}")
    assert result.facts.of(facts.EventNoted)[0].kind == "engine-failed"


def test_the_agent_says_that_it_did_not_catch_the_words_when_recognition_fails():
    result = run_call([(0.5, "What time do you open?")], seconds=6.0, stt={"failures": [{"rate": 1.0}]})
    assert result.turns == [("agent", ConversationOptions().not_caught)]


def test_the_agent_apologises_with_a_prepared_phrase_when_its_voice_fails():
    result = run_call(
        [(0.5, "What time do you open?")],
        seconds=9.0,
        tts={"failures": [{"on": n} for n in range(len(ConversationOptions().stock_phrases) + 1, 90)]},
    )
    assert result.turns[-1][1].endswith(ConversationOptions().apology)


def test_the_agent_ends_the_call():
    result = run_call(
        [(0.5, "What time do you open?")],
        seconds=20.0,
        llm={"replies": ("We open at nine. Goodbye.",), "end_call_after": 1},
    )
    assert result.hung_up == "agent-ended"


def test_no_task_is_left_after_the_call():
    for seconds in (0.6, 1.9, 2.1, 4.0):
        result = run_call([(0.5, "What time do you open?")], seconds=seconds)
        assert result.tasks_left == 0


def test_lost_sound_becomes_silence_of_the_same_length():
    """Sound that Twilio dropped shows as a jump of ``timestamp``. Positions count the silence in its place."""

    def lose(session: Session) -> None:
        take = session.media

        def take_late(message: Media) -> None:
            if message.timestamp_ms is not None and message.timestamp_ms >= 150 + 900:
                take(message)

        session.media = take_late  # type: ignore[method-assign]

    result = run_call([], seconds=1.5, during=lose, at=0.31)
    assert bytes(result.recording.said) == QUIET * 75


DISCLOSURE = "I am a computer and this call is recorded."


def test_nothing_is_recorded_before_the_disclosure_was_heard():
    result = run_call(
        [(0.2, "Hello."), (4.5, "What time do you open?")],
        seconds=14.0,
        options=ConversationOptions(disclosure=DISCLOSURE, greeting="Hello there."),
    )
    assert [heard for speaker, heard in result.turns if speaker == "agent"] == [
        DISCLOSURE,
        "Hello there.",
        DEFAULT_REPLY,
    ]
    (disclosed,) = [fact for fact in result.facts.of(facts.EventNoted) if fact.kind == "disclosed"]
    # Of the caller: silence instead of the first question, then everything, where it was.
    assert len(result.recording.said) == 14 * 8000
    begun = next(index for index, sample in enumerate(result.recording.said) if sample != QUIET[0])
    assert begun / 8000 > 4.4
    # Of the agent: from the greeting on, where it was.
    disclosure_ends = len(DISCLOSURE) * 0.04
    position, _ = result.recording.heard[0]
    assert position / 8000 >= disclosure_ends
    said = sum(len(audio) for _, audio in result.recording.heard)
    sent = sum(len(base64.b64decode(m["media"]["payload"])) for _, m in result.sent if m["event"] == "media")
    assert sent - said == pytest.approx(disclosure_ends * 8000, abs=400)
    assert disclosed.data == {}


def test_nothing_is_recorded_if_the_caller_hangs_up_during_the_disclosure():
    result = run_call(
        [(0.3, "What time do you open?")], seconds=1.5, options=ConversationOptions(disclosure=DISCLOSURE)
    )
    assert (result.recording.said, result.recording.heard) == (b"", [])


def test_a_transfer_is_recorded():
    result = run_call(
        [(0.5, "What time do you open?")],
        seconds=20.0,
        llm={"transfer_after": 1, "transfer_to": "sales"},
        options=ConversationOptions(transfer_targets=("sales",)),
    )
    assert result.hung_up == "transferred"
    (transfer,) = result.facts.of(facts.TransferRequested)
    assert (transfer.call_id, transfer.target) == (UUID(int=1), "sales")
    (tool,) = [fact.data for fact in result.facts.of(facts.EventNoted) if fact.kind == "tool-call"]
    assert tool == {"tool": "transfer", "target": "sales", "accepted": True}


def test_a_transfer_that_an_operator_orders_is_recorded():
    result = run_call([], seconds=9.0, during=lambda session: session.receive(ev.TransferRequested()), at=1.0)
    assert result.hung_up == "transferred"
    assert [fact.target for fact in result.facts.of(facts.TransferRequested)] == [""]


def test_an_opt_out_is_recorded():
    result = run_call(
        [(0.5, "What time do you open?")], seconds=20.0, stt={"transcripts": ["please take me off your list"]}
    )
    assert result.hung_up == "opted-out"
    (opt_out,) = result.facts.of(facts.OptedOut)
    assert (opt_out.call_id, opt_out.how) == (UUID(int=1), "asked")
    assert opt_out.words == "please take me off your list"


def test_an_opt_out_that_the_language_model_understood_is_recorded():
    result = run_call([(0.5, "What time do you open?")], seconds=30.0, llm={"opt_out_after": 1})
    assert [fact.how for fact in result.facts.of(facts.OptedOut)] == ["agent"]
    assert result.hung_up == "opted-out"


def test_the_opt_out_key_stops_the_playout():
    options = ConversationOptions(
        greeting="This greeting is long enough that a key can be pressed in it.",
        greeting_interruptible=False,
        opt_out_key="9",
    )
    result = run_call([], seconds=12.0, options=options, during=lambda session: session.key("9"), at=1.0)
    assert result.times("clear") == [pytest.approx(1.0, abs=0.01)]
    assert [fact.how for fact in result.facts.of(facts.OptedOut)] == ["key"]
    assert result.turns[-1] == ("agent", options.opted_out)
    assert result.hung_up == "opted-out"


@dataclass
class RequestLog:
    """The requests to a language model, in order; ``warmed`` is logged when a ``warm`` was not cancelled."""

    log: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)

    def note(self, what: str, messages: Sequence[Message]) -> None:
        self.log.append((what, [(message.role, message.content) for message in messages]))

    def model(self, *, reading: float) -> type[ScriptedLanguageModel]:
        asked = self

        class Model(ScriptedLanguageModel):
            async def warm(self, messages, *, tools=NO_TOOLS):
                asked.note("warm", messages)
                await asyncio.sleep(reading)
                asked.note("warmed", messages)

            def stream(self, messages, **options):
                asked.note("stream", messages)
                return super().stream(messages, **options)

        return Model


def test_the_language_model_is_warmed_with_everything_said_before_a_request():
    """At the start, and after each of the agent's turns; a request adds to it only what the caller said."""
    asked = RequestLog()
    options = ConversationOptions(greeting="Good morning.")
    result = run_call([(4.0, "What time do you open?")], seconds=14, options=options, model=asked.model(reading=0.05))
    assert [speaker for speaker, _ in result.turns] == ["agent", "caller", "agent"]
    told = [("user" if speaker == "caller" else "assistant", heard) for speaker, heard in result.turns]
    read = [messages for what, messages in asked.log if what == "warmed"]
    system = ("system", "You are kind.")
    assert read == [[system], [system, told[0]], [system, *told]]
    requests = [messages for what, messages in asked.log if what == "stream"]
    assert requests
    assert all(messages[:-1] == read[1] for messages in requests)


def test_a_stream_that_takes_over_knows_what_was_said_before():
    asked = RequestLog()
    heard = (("agent", "Good morning."), ("caller", "What time do"))
    result = run_call([], seconds=6, model=asked.model(reading=0), claim={"history": heard, "is_reconnect": True})
    assert result.turns == [("agent", ConversationOptions().resumed)]
    told = [("system", "You are kind."), ("assistant", "Good morning."), ("user", "What time do")]
    assert asked.log[0] == ("warm", told)


def test_warming_is_cancelled_by_the_request_for_a_reply():
    asked = RequestLog()
    result = run_call([(4.0, "What time do you open?")], seconds=8, model=asked.model(reading=60))
    assert result.times("media")
    assert "stream" in [what for what, _ in asked.log]
    assert "warmed" not in [what for what, _ in asked.log]
    assert result.tasks_left == 0


def test_a_call_goes_on_when_the_language_model_cannot_be_warmed(caplog):
    class Model(ScriptedLanguageModel):
        async def warm(self, messages, *, tools=NO_TOOLS):
            raise EngineError("the model server is away")

    result = run_call([(2.0, "Hello?")], seconds=8, model=Model)
    assert [speaker for speaker, _ in result.turns] == ["caller", "agent"]
    assert not [record for record in caplog.records if record.exc_info]


def test_the_language_model_is_not_warmed_at_the_end_of_the_call():
    asked = RequestLog()
    run_call(
        [(4.0, "Bye.")],
        seconds=12,
        llm={"replies": ("We open at nine. Goodbye.",), "end_call_after": 1},
        model=asked.model(reading=0),
    )
    assert asked.log[-1][0] == "stream"


class WaitingModel(ScriptedLanguageModel):
    """Takes every sentence for unfinished until it is told that the caller has finished."""

    def stream(self, messages, *, speculative=False, tools=NO_TOOLS):
        if messages[-1].role != "finished" and tools.may_wait:
            return self._wait()
        return super().stream(messages, speculative=speculative, tools=tools)

    async def _wait(self):
        await asyncio.sleep(self.first_delay)
        yield TextDelta(requests=ToolRequests(wait=True))


def test_words_that_the_language_model_takes_for_unfinished_are_answered_after_the_long_wait():
    result = run_call([(0.5, "What time do you open?")], seconds=9.0, model=WaitingModel)
    assert [speaker for speaker, _ in result.turns] == ["caller", "agent"]
    response = result.times("media")[0] - result.caller_stopped["What time do you open?"]
    assert 1.2 <= response < 1.35
    turn = result.facts.of(facts.TurnEnded)[0]
    assert (turn.speculation_hits, turn.speculation_waste) == (1, 1)


def test_the_language_model_is_not_told_of_waiting_where_that_is_switched_off():
    options = ConversationOptions(model_may_wait=False)
    result = run_call([(0.5, "What time do you open?")], seconds=9.0, model=WaitingModel, options=options)
    assert result.times("media")[0] - result.caller_stopped["What time do you open?"] < 0.4


def test_a_reply_is_begun_before_the_caller_has_paused():
    question = "Will you let me know when you are all available again on Monday morning?"
    responses = []
    for early in (False, True):
        result = run_call(
            [(0.5, question)],
            seconds=12.0,
            options=ConversationOptions(begin_early=early),
            stt={"transcripts": ["what time do you open?"], "partials": True},
        )
        assert [speaker for speaker, _ in result.turns] == ["caller", "agent"]
        responses.append(result.times("media")[0] - result.caller_stopped[question])
        turn = result.facts.of(facts.TurnEnded)[0]
        assert (turn.speculation_hits, turn.speculation_waste) == (1, 0)
    assert responses[1] < responses[0] - 0.05
    assert responses[1] >= 0.2


def test_a_voice_that_hears_the_caller_gets_the_words_and_the_sound_of_each_turn():
    voice_of_call = ScriptedTextToSpeech(hears_caller=True)
    engines = Engines(ScriptedSpeechToText(), ScriptedLanguageModel(), voice_of_call)
    run_call([(0.5, "What time do you open?")], seconds=6.0, served_by=engines)
    ((text, pcm, rate_hz),) = voice_of_call.caller_said
    clip = decode_mulaw(voice("What time do you open?"))
    assert (text, rate_hz) == (DEFAULT_TRANSCRIPT, 8000)
    assert len(pcm) == pytest.approx(len(clip), abs=0.3 * 8000)
    agree = np.correlate(pcm.astype(float), clip[2000:6000].astype(float)).max()
    assert agree > 0.95 * np.square(clip[2000:6000].astype(float)).sum()


@pytest.mark.parametrize(("gap", "first_delay"), [(0.33, 0.2), (0.36, 0.3)])
def test_a_caller_who_goes_on_before_the_reply_sounds_is_not_cut_in_on(gap, first_delay):
    introduction, question = "My name is Michael and I have a question.", "What time do you open?"
    rest = "And when do you close on Sunday?"

    def call(*says: tuple[float, str]):
        engines = Engines(
            ScriptedSpeechToText(transcripts=[introduction, question, rest]),
            ScriptedLanguageModel(first_delay=first_delay),
            ScriptedTextToSpeech(),
        )
        said = [(0.5, introduction), (8.0, question), *says]
        return run_call(said, seconds=14.0, served_by=engines, options=ConversationOptions())

    result = call((call().caller_stopped[question] + gap, rest))
    kinds = {event.kind for event in result.facts.of(facts.EventNoted)}
    assert "caller-went-on" in kinds
    assert "cut-in" not in kinds
