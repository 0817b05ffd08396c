"""One stream of one call: scripted engines and real voice activity behind it, a telephone in virtual time before it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import pytest

from calls.services import facts
from inference.backends import Engines
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.scripted import (
    DEFAULT_REPLY,
    DEFAULT_TRANSCRIPT,
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
)
from inference.types import NO_TOOLS, EngineError, Message
from media.audio import decode_mulaw
from media.brief import CallBrief
from media.messages import Media
from media.phone.clips import Clip
from media.phrases import Phrases
from media.reply import render
from media.session import Session
from media.speech import VoiceDetector
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.virtual_time import run

QUIET = b"\xff" * 160
STREAM = "MZ0"


@cache
def voice(text: str) -> bytes:
    """The text as the caller would say it, mu-law."""

    async def speak() -> bytes:
        tts = EspeakTextToSpeech()
        await tts.start()
        try:
            return await render(text, tts=tts, voice="", language="en")
        finally:
            await tts.close()

    # On a thread, for tests that have a loop running here.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(speak())).result()


FactType = TypeVar("FactType", bound=facts.Fact)


class FactLog:
    """Keeps the facts of a call as a spool would pass them on."""

    def __init__(self) -> None:
        self.facts: list[facts.Fact] = []

    def record(self, fact: facts.Fact) -> None:
        assert facts.decode(facts.encode(fact)) == fact
        self.facts.append(fact)

    def of(self, kind: type[FactType]) -> list[FactType]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


@dataclass
class Tape:
    said: bytearray = field(default_factory=bytearray)
    heard: list[tuple[int, bytes]] = field(default_factory=list)

    def caller(self, position: int, mulaw: bytes) -> None:
        assert position == len(self.said)
        self.said += mulaw

    def agent(self, position: int, mulaw: bytes) -> None:
        self.heard.append((position, mulaw))


@dataclass
class Line:
    """What a call left behind."""

    sent: list[tuple[float, dict[str, Any]]]
    facts: FactLog
    tape: Tape
    hung_up: str
    tasks_left: int
    caller_stopped: dict[str, float]

    def times(self, event: str) -> list[float]:
        return [when for when, message in self.sent if message["event"] == event]

    @property
    def turns(self) -> list[tuple[str, str]]:
        return [(turn.speaker, turn.heard) for turn in self.facts.of(facts.TurnEnded)]


def call(
    says: list[tuple[float, str]],
    *,
    seconds: float,
    options: ConversationOptions | None = None,
    stt: dict[str, Any] | None = None,
    llm: dict[str, Any] | None = None,
    tts: dict[str, Any] | None = None,
    during: Callable[[Session], None] | None = None,
    at: float = 0.0,
    model: type[ScriptedLanguageModel] = ScriptedLanguageModel,
    served_by: Engines | None = None,
) -> Line:
    """A call in which the caller says these things at these seconds; ``during`` is done at second ``at``."""
    clips = [(start, text, voice(text)) for start, text in says]

    async def work() -> Line:
        loop = asyncio.get_running_loop()
        engines = served_by or Engines(
            ScriptedSpeechToText(**(stt or {})),
            model(**(llm or {})),
            ScriptedTextToSpeech(**(tts or {})),
        )
        await engines.start()
        log, tape, phrases = FactLog(), Tape(), Phrases(engines.tts)
        behaviour = options or ConversationOptions()
        await phrases.prepare(behaviour.stock_phrases, voice="", language="en")
        before = len(asyncio.all_tasks())
        ended: list[str] = []
        session = Session(
            CallBrief(UUID(int=1), 1, "You are kind.", "", "en", behaviour),
            engines=engines,
            detector=VoiceDetector(),
            phrases=phrases,
            facts=log,
            hang_up=ended.append,
            recording=tape,
        )
        sent: list[tuple[float, dict[str, Any]]] = []
        began = loop.time()

        async def read() -> None:
            """The carrier: echoes marks when what was sent before them has played."""
            plays_until = 0.0
            while True:
                message = json.loads(await session.outgoing())
                now = loop.time() - began
                sent.append((now, message))
                match message["event"]:
                    case "media":
                        seconds = len(base64.b64decode(message["media"]["payload"])) / 8000
                        plays_until = max(plays_until, now) + seconds
                    case "clear":
                        plays_until = now
                    case "mark":
                        loop.call_later(max(0.0, plays_until - now), session.mark, message["mark"]["name"])

        reader = asyncio.ensure_future(read())
        session.start(STREAM)
        sound = bytearray(QUIET * round(seconds * 50))
        stopped = {}
        for start, text, clip in clips:
            sound[round(start * 8000) : round(start * 8000) + len(clip)] = clip
            stopped[text] = start + Clip.of(clip).last_loud / 8000
        if during is not None:
            loop.call_later(at, during, session)
        for number in range(round(seconds * 50)):
            await asyncio.sleep(began + (number + 1) * 0.02 - loop.time())
            if ended:
                break
            payload = base64.b64encode(bytes(sound[number * 160 : number * 160 + 160])).decode()
            session.media(Media(STREAM, payload, timestamp_ms=150 + number * 20, chunk=number + 1))
        await session.close("caller-hung-up")
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await engines.close()
        await asyncio.sleep(0)
        left = len(asyncio.all_tasks()) - before
        return Line(sent, log, tape, ended[0] if ended else "", left, stopped)

    return run(work())


def test_a_question_is_heard_and_answered():
    line = call([(0.5, "What time do you open?")], seconds=9.0)
    assert line.turns[0] == ("caller", "What time do you open?")
    speaker, heard = line.turns[1]
    assert speaker == "agent"
    assert heard == DEFAULT_REPLY
    response = line.times("media")[0] - line.caller_stopped["What time do you open?"]
    assert response < 0.4
    stages = line.facts.of(facts.TurnEnded)[1].stages
    assert stages["response_latency"] == pytest.approx(response, abs=0.06)


def test_everything_sent_is_one_of_the_three_messages():
    line = call([(0.5, "What time do you open?"), (3.2, "No, I want to know about Sunday mornings")], seconds=8.0)
    shapes = {
        "media": {"event", "streamSid", "media"},
        "mark": {"event", "streamSid", "mark"},
        "clear": {"event", "streamSid"},
    }
    assert {message["event"] for _, message in line.sent} == set(shapes)
    for _, message in line.sent:
        assert set(message) == shapes[message["event"]]
        assert message["streamSid"] == STREAM


def test_an_interruption_clears_what_is_queued():
    line = call(
        [(2.0, "No, I want to know about Sunday mornings")],
        seconds=5.0,
        options=ConversationOptions(
            greeting="This greeting is long enough that somebody will want to talk over all of it."
        ),
        stt={"transcripts": ["no I want to know about Sunday mornings"]},
    )
    (cleared,) = line.times("clear")
    assert 0.3 < cleared - 2.0 < 0.5
    first = line.facts.of(facts.TurnEnded)[0]
    assert first.interrupted
    assert first.said.startswith(first.heard)
    assert first.stages["barge_in_stop"] < 0.5


def test_a_murmur_leaves_the_agent_speaking():
    line = call(
        [(2.0, "Mm.")],
        seconds=6.0,
        options=ConversationOptions(
            greeting="This greeting is long enough that somebody will want to murmur into it, once."
        ),
        stt={"transcripts": ["mm-hm"]},
    )
    (greeting,) = line.turns
    assert greeting[1].endswith("once.")


def test_the_recording_has_both_sides_in_their_places():
    line = call([(0.5, "What time do you open?")], seconds=8.0)
    assert len(line.tape.said) == 8 * 8000
    position, _ = line.tape.heard[0]
    assert position / 8000 == pytest.approx(line.times("media")[0], abs=0.05)
    heard = sum(len(audio) for _, audio in line.tape.heard)
    sent = sum(len(base64.b64decode(m["media"]["payload"])) for _, m in line.sent if m["event"] == "media")
    assert heard == sent
    ends = [position + len(audio) for position, audio in line.tape.heard]
    starts = [position for position, _ in line.tape.heard]
    assert all(start >= end - 8 for end, start in zip(ends, starts[1:], strict=False))


def test_a_failing_language_model_is_answered_for():
    line = call(
        [(0.5, "What time do you open?")],
        seconds=9.0,
        llm={"failures": [{"rate": 1.0}]},
    )
    options = ConversationOptions()
    assert line.turns[-1] == ("agent", f"{options.fillers[0]} {options.apology}")
    assert line.facts.of(facts.EventNoted)[0].kind == "engine-failed"


def test_failing_recognition_does_not_leave_the_caller_in_silence():
    line = call([(0.5, "What time do you open?")], seconds=6.0, stt={"failures": [{"rate": 1.0}]})
    assert line.turns == [("agent", ConversationOptions().not_caught)]


def test_a_voice_that_fails_in_mid_call_still_apologises():
    line = call(
        [(0.5, "What time do you open?")],
        seconds=9.0,
        tts={"failures": [{"on": n} for n in range(len(ConversationOptions().stock_phrases) + 1, 90)]},
    )
    assert line.turns[-1][1].endswith(ConversationOptions().apology)


def test_the_agent_ends_the_call():
    line = call([(0.5, "What time do you open?")], seconds=20.0, llm={"end_call_after": 1})
    assert line.hung_up == "agent-ended"


def test_nothing_runs_on_after_the_call():
    for seconds in (0.6, 1.9, 2.1, 4.0):
        line = call([(0.5, "What time do you open?")], seconds=seconds)
        assert line.tasks_left == 0


def test_a_lost_second_is_silence_to_recognition_and_no_end_of_the_world():
    """What Twilio dropped shows as a jump in ``timestamp``; positions go on as the caller lived them."""

    def skip(session: Session) -> None:
        session.media(Media(STREAM, base64.b64encode(QUIET).decode(), timestamp_ms=150 + 2000, chunk=10_000))

    line = call([], seconds=1.0, during=skip, at=0.9)
    assert len(line.tape.said) == pytest.approx(2.0 * 8000, abs=400)


DISCLOSURE = "I am a computer and this call is recorded."


def test_nothing_is_recorded_before_the_disclosure_was_heard():
    line = call(
        [(0.2, "Hello."), (4.5, "What time do you open?")],
        seconds=14.0,
        options=ConversationOptions(disclosure=DISCLOSURE, greeting="Hello there."),
    )
    assert [heard for speaker, heard in line.turns if speaker == "agent"] == [DISCLOSURE, "Hello there.", DEFAULT_REPLY]
    (disclosed,) = [fact for fact in line.facts.of(facts.EventNoted) if fact.kind == "disclosed"]
    # Of the caller: silence instead of the first question, then everything, where it was.
    assert len(line.tape.said) == 14 * 8000
    begun = next(index for index, sample in enumerate(line.tape.said) if sample != QUIET[0])
    assert begun / 8000 > 4.4
    # Of the agent: from the greeting on, where it was.
    disclosure_ends = len(DISCLOSURE) * 0.04
    position, _ = line.tape.heard[0]
    assert position / 8000 >= disclosure_ends
    said = sum(len(audio) for _, audio in line.tape.heard)
    sent = sum(len(base64.b64decode(m["media"]["payload"])) for _, m in line.sent if m["event"] == "media")
    assert sent - said == pytest.approx(disclosure_ends * 8000, abs=400)
    assert disclosed.data == {}


def test_a_caller_who_hangs_up_in_the_disclosure_leaves_no_recording():
    line = call([(0.3, "What time do you open?")], seconds=1.5, options=ConversationOptions(disclosure=DISCLOSURE))
    assert (line.tape.said, line.tape.heard) == (b"", [])


def test_a_transfer_is_recorded():
    line = call(
        [(0.5, "What time do you open?")],
        seconds=20.0,
        llm={"transfer_after": 1, "transfer_to": "sales"},
        options=ConversationOptions(transfer_targets=("sales",)),
    )
    assert line.hung_up == "transferred"
    (transfer,) = line.facts.of(facts.TransferRequested)
    assert (transfer.call_id, transfer.target) == (UUID(int=1), "sales")
    (tool,) = [fact.data for fact in line.facts.of(facts.EventNoted) if fact.kind == "tool-call"]
    assert tool == {"tool": "transfer", "target": "sales", "accepted": True}


def test_a_transfer_that_an_operator_orders_is_recorded():
    line = call([], seconds=9.0, during=lambda session: session.receive(ev.TransferRequested()), at=1.0)
    assert line.hung_up == "transferred"
    assert [fact.target for fact in line.facts.of(facts.TransferRequested)] == [""]


def test_an_opt_out_is_recorded():
    line = call([(0.5, "What time do you open?")], seconds=20.0, stt={"transcripts": ["please take me off your list"]})
    assert line.hung_up == "opted-out"
    (opt_out,) = line.facts.of(facts.OptedOut)
    assert (opt_out.call_id, opt_out.how) == (UUID(int=1), "asked")
    assert opt_out.words == "please take me off your list"


def test_the_language_model_may_see_to_it_as_well():
    line = call([(0.5, "What time do you open?")], seconds=30.0, llm={"opt_out_after": 1})
    assert [fact.how for fact in line.facts.of(facts.OptedOut)] == ["agent"]
    assert line.hung_up == "opted-out"


def test_the_opt_out_key_stops_the_sound():
    options = ConversationOptions(
        greeting="This greeting is long enough that a key can be pressed in it.",
        greeting_interruptible=False,
        opt_out_key="9",
    )
    line = call([], seconds=12.0, options=options, during=lambda session: session.key("9"), at=1.0)
    assert line.times("clear") == [pytest.approx(1.0, abs=0.01)]
    assert [fact.how for fact in line.facts.of(facts.OptedOut)] == ["key"]
    assert line.turns[-1] == ("agent", options.opted_out)
    assert line.hung_up == "opted-out"


@dataclass
class Asked:
    """What was asked of a language model, in order; ``warmed`` is what it has read to its end."""

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


def test_the_language_model_reads_what_was_said_before_it_is_asked():
    """At the start, and after each of the agent's turns; a request adds to it only what the caller said."""
    asked = Asked()
    options = ConversationOptions(greeting="Good morning.")
    line = call([(4.0, "What time do you open?")], seconds=14, options=options, model=asked.model(reading=0.05))
    assert [speaker for speaker, _ in line.turns] == ["agent", "caller", "agent"]
    told = [("user" if speaker == "caller" else "assistant", heard) for speaker, heard in line.turns]
    read = [messages for what, messages in asked.log if what == "warmed"]
    system = ("system", "You are kind.")
    assert read == [[system], [system, told[0]], [system, *told]]
    requests = [messages for what, messages in asked.log if what == "stream"]
    assert requests
    assert all(messages[:-1] == read[1] for messages in requests)


def test_reading_ahead_ends_when_the_reply_is_wanted():
    asked = Asked()
    line = call([(4.0, "What time do you open?")], seconds=8, model=asked.model(reading=60))
    assert line.times("media")
    assert "stream" in [what for what, _ in asked.log]
    assert "warmed" not in [what for what, _ in asked.log]
    assert line.tasks_left == 0


def test_a_language_model_that_cannot_read_ahead_costs_a_line_in_the_log(caplog):
    class Model(ScriptedLanguageModel):
        async def warm(self, messages, *, tools=NO_TOOLS):
            raise EngineError("nobody is there")

    line = call([(2.0, "Hello?")], seconds=8, model=Model)
    assert [speaker for speaker, _ in line.turns] == ["caller", "agent"]
    assert not [record for record in caplog.records if record.exc_info]


def test_nothing_is_read_ahead_once_the_call_ends():
    asked = Asked()
    call([(4.0, "Bye.")], seconds=12, llm={"end_call_after": 1}, model=asked.model(reading=0))
    assert asked.log[-1][0] == "stream"


def test_a_voice_that_answers_to_the_caller_is_told_what_was_said_and_how():
    voice_of_call = ScriptedTextToSpeech(hears_caller=True)
    engines = Engines(ScriptedSpeechToText(), ScriptedLanguageModel(), voice_of_call)
    call([(0.5, "What time do you open?")], seconds=6.0, served_by=engines)
    ((text, pcm, rate_hz),) = voice_of_call.caller_said
    clip = decode_mulaw(voice("What time do you open?"))
    assert (text, rate_hz) == (DEFAULT_TRANSCRIPT, 8000)
    assert len(pcm) == pytest.approx(len(clip), abs=0.3 * 8000)
    agree = np.correlate(pcm.astype(float), clip[2000:6000].astype(float)).max()
    assert agree > 0.95 * np.square(clip[2000:6000].astype(float)).sum()
