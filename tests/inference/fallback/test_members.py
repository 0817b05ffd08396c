"""Several engines as one: nothing above notices which of them serves, and a call goes on when one of them dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np
import pytest

from inference.backends import make_engine
from inference.engines.fallback import FallbackLanguageModel, FallbackSpeechToText, FallbackTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.fallback.breaker import Breaker, BreakerState
from inference.requests import ToolRequests
from inference.types import (
    AudioChunk,
    ContextTooLarge,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
    Message,
    Pcm,
    TextDelta,
    Transcript,
)
from tests.inference.contract import (
    LanguageModelContract,
    SpeechToTextContract,
    TextToSpeechContract,
    leaving_no_task,
)
from tests.virtual_time import run

SCRIPTED = "inference.engines.scripted.Scripted"
HERE = "tests.inference.fallback.test_members."


def entry(backend: str, **options: Any) -> dict[str, Any]:
    return {"BACKEND": backend, "OPTIONS": options}


def scripted(kind: str, **options: Any) -> dict[str, Any]:
    return entry(f"{SCRIPTED}{kind}", **options)


llm = partial(scripted, "LanguageModel")
tts = partial(scripted, "TextToSpeech")
stt = partial(scripted, "SpeechToText")

PATIENT: dict[str, Any] = {"failures": 10**6, "window": 10**6, "retry_after": 0.0}
"""The first engine is asked every time, however often it failed."""


# -- the contract --------------------------------------------------------------------------------------------


class TestLanguageModel(LanguageModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = llm(first_delay=0.001, token_delay=0.0005)
        return partial(FallbackLanguageModel, engines=[quick, quick])


class TestLanguageModelWhoseFirstEngineFails(LanguageModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = {"first_delay": 0.001, "token_delay": 0.0005}
        engines = [llm(failures=[{"rate": 1.0}], **quick), llm(**quick)]
        return partial(FallbackLanguageModel, engines=engines, **PATIENT)


class TestSpeechToText(SpeechToTextContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        # The shorter of the two utterances is a backchannel.
        quick = stt(final_delay=0.001, partials=True, backchannel_below=0.8)
        return partial(FallbackSpeechToText, engines=[quick, quick])


class TestSpeechToTextWhoseFirstEngineFails(SpeechToTextContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = {"final_delay": 0.001, "backchannel_below": 0.8}
        engines = [stt(failures=[{"rate": 1.0}], **quick), stt(rate_hz=16000, **quick)]
        return partial(FallbackSpeechToText, engines=engines, **PATIENT)


class TestTextToSpeech(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = tts(first_delay=0.001, chunk_delay=0.0005)
        return partial(FallbackTextToSpeech, engines=[quick, quick])


class TestTextToSpeechWhoseFirstEngineFailsInMidSentence(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        quick = {"first_delay": 0.001, "chunk_delay": 0.0005}
        engines = [tts(failures=[{"rate": 1.0, "at": "middle"}], **quick), tts(rate_hz=24000, **quick)]
        return partial(FallbackTextToSpeech, engines=engines, **PATIENT)


# -- what the tests of behaviour share -----------------------------------------------------------------------

ASKED = [Message("user", "Hello?")]
ALIVE = "I am the second one."
DEAD: dict[str, Any] = {"stalls": [{"rate": 1.0, "seconds": 3600.0}]}
FAILING: dict[str, Any] = {"failures": [{"rate": 1.0}]}


def now() -> float:
    return asyncio.get_running_loop().time()


def exactly(seconds: float) -> Any:
    return pytest.approx(seconds, abs=1e-6)


async def reply(engine: Any, messages: Sequence[Message] = ASKED, **options: Any) -> str:
    async with aclosing(engine.stream(messages, **options)) as deltas:
        return "".join([delta.text async for delta in deltas])


async def given(*clauses: str) -> AsyncGenerator[str, None]:
    for clause in clauses:
        yield clause


async def said(speech: Any, *clauses: str) -> list[AudioChunk]:
    async with aclosing(speech.speak(given(*clauses))) as chunks:
        return [chunk async for chunk in chunks]


def samples(chunks: Sequence[AudioChunk]) -> int:
    return sum(len(chunk.pcm) for chunk in chunks)


async def started(engine: Any) -> Any:
    await engine.start()
    return engine


def outcomes(engine: Any) -> list[tuple[int, int, int, int]]:
    return [(count.served, count.failed, count.timed_out, count.skipped) for count in engine.counts.values()]


# -- the breaker ---------------------------------------------------------------------------------------------


def fail(breaker: Breaker, times: int, at: float = 0.0) -> None:
    for _ in range(times):
        ticket = breaker.admit(at)
        assert ticket is not None
        breaker.report_failure(ticket, at)


def test_a_breaker_opens_after_failures_in_a_row():
    breaker = Breaker(failures=3)
    fail(breaker, 2)
    breaker.report_success(breaker.ticket, 0.0)
    fail(breaker, 2)
    assert breaker.closed
    fail(breaker, 1)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit(9.9) is None


def test_a_breaker_opens_when_too_many_of_the_last_requests_failed():
    breaker = Breaker(failures=3, share=0.5, window=6)
    for _ in range(2):
        breaker.report_success(breaker.ticket, 0.0)
        fail(breaker, 1)
    breaker.report_success(breaker.ticket, 0.0)
    assert breaker.closed
    fail(breaker, 1)
    assert breaker.state is BreakerState.OPEN


def test_one_request_probes_an_open_breaker_and_closes_it():
    breaker = Breaker(failures=1, retry_after=10.0)
    fail(breaker, 1)
    probe = breaker.admit(10.0)
    assert probe is not None
    assert breaker.state is BreakerState.PROBING
    assert breaker.admit(10.0) is None
    breaker.report_success(probe, 10.5)
    assert breaker.closed
    assert breaker.admit(10.5) is not None


def test_a_probe_that_fails_opens_it_for_as_long_again():
    breaker = Breaker(failures=3, retry_after=10.0)
    fail(breaker, 3)
    fail(breaker, 1, at=10.0)
    assert breaker.admit(19.9) is None
    assert breaker.admit(20.0) is not None


def test_a_probe_that_never_tells_makes_room_for_another():
    breaker = Breaker(failures=1, retry_after=10.0)
    fail(breaker, 1)
    assert breaker.admit(10.0) is not None
    assert breaker.admit(19.9) is None
    assert breaker.admit(20.0) is not None


def test_what_was_asked_before_a_change_of_state_tells_nothing_after_it():
    breaker = Breaker(failures=1, retry_after=10.0)
    old = breaker.admit(0.0)
    assert old is not None
    fail(breaker, 1)
    breaker.report_success(old, 1.0)
    assert breaker.state is BreakerState.OPEN
    probe = breaker.admit(10.0)
    assert probe is not None
    breaker.report_failure(old, 10.1)
    assert breaker.state is BreakerState.PROBING


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"share": 0.0}, {"share": 1.1}, {"window": 0}, {"retry_after": -1}])
def test_a_breaker_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ValueError, match="a breaker needs"):
        Breaker(**wrong)


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"engines": [llm(), entry("nowhere.Engine")]}, r"llm, engines\[1\].*nowhere"),
        ({"engines": [llm(tokens=3)]}, r"llm, engines\[0\].*does not take"),
        ({"engines": [{**llm(), "DEADLIN": 1}]}, r"llm, engines\[0\].*takes BACKEND, DEADLINE, OPTIONS, not"),
        ({"engines": ["inference.engines.echo"]}, r"llm, engines\[0\].*takes BACKEND"),
        ({"engines": []}, "at least one engine"),
        ({"engines": [llm()], "failures": 0}, "failures >= 1"),
        ({}, "does not take OPTIONS"),
        ({"engines": [llm()], "hedge": 1}, "does not take OPTIONS"),
    ],
)
def test_wrong_settings_are_refused_with_the_place(options, complaint):
    with pytest.raises(EngineError, match=complaint) as refusal:
        make_engine("llm", entry("inference.engines.fallback.FallbackLanguageModel", **options))
    assert refusal.value.permanent


def test_it_describes_all_its_engines():
    description = FallbackLanguageModel(engines=[llm(), llm()]).describe()
    one = ScriptedLanguageModel().describe()
    assert description.weights == f"{one.weights}; then {one.weights} (on {one.device})"
    assert (description.memory_bytes, description.device) == (2 * one.memory_bytes, one.device)
    assert description.capacity == one.capacity


# -- starting ------------------------------------------------------------------------------------------------


class Starter(ScriptedLanguageModel):
    """Fails to start ``refusals`` times, and takes its time."""

    def __init__(self, *, refusals: int, permanent: bool = False, seconds: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.refusals = refusals
        self.permanent = permanent
        self.seconds = seconds

    async def start(self) -> None:
        await asyncio.sleep(self.seconds)
        self.refusals -= 1
        if self.refusals >= 0:
            raise EngineError("its weights are not there", permanent=self.permanent)


def starter(**options: Any) -> dict[str, Any]:
    return entry(f"{HERE}Starter", **options)


@pytest.mark.parametrize("permanent", [True, False])
def test_an_engine_that_does_not_start_is_tried_again_behind_the_calls(permanent, caplog):
    async def work():
        engines = [starter(refusals=2, permanent=permanent, replies=["first"]), llm(replies=["second"])]
        engine = await started(FallbackLanguageModel(engines=engines, retry_after=10.0))
        assert now() == exactly(0.0)
        answers = [await reply(engine)]
        await asyncio.sleep(11)
        answers.append(await reply(engine))
        await asyncio.sleep(10)
        answers.append(await reply(engine))
        assert answers == ["second", "second", "first"]
        assert outcomes(engine) == [(1, 0, 0, 2), (2, 0, 0, 0)]
        async with leaving_no_task():
            await engine.close()

    run(work())
    lines = [record.message for record in caplog.records if "start" in record.message]
    assert lines == [
        "The llm engine 1 (Starter) does not start, trying again every 10 s: its weights are not there",
        "The llm engine 1 (Starter) has started",
    ]


def test_nothing_waits_longer_for_a_slow_start_than_it_must():
    async def work():
        slow, hanging = starter(refusals=0, seconds=40.0, replies=["slow"]), starter(refusals=0, seconds=3600.0)
        engine = FallbackLanguageModel(engines=[hanging, slow], start_patience=5.0)
        await engine.start()
        assert now() == exactly(40.0)
        assert await reply(engine) == "slow"
        await engine.close()
        engine = FallbackLanguageModel(engines=[hanging, llm()], start_patience=5.0)
        await engine.start()
        assert now() == pytest.approx(45.0, abs=1.0)
        async with leaving_no_task():
            await engine.close()

    run(work())


@pytest.mark.parametrize("permanent", [True, False])
def test_if_none_starts_it_says_why(permanent):
    async def work():
        engines = [starter(refusals=9, permanent=True), starter(refusals=9, permanent=permanent)]
        async with leaving_no_task():
            engine = FallbackLanguageModel(engines=engines)
            with pytest.raises(EngineError, match="no llm engine starts: its weights are not there; its") as failure:
                await engine.start()
        assert failure.value.permanent is permanent
        with pytest.raises(EngineLoading):
            await reply(engine)

    run(work())


# -- language model ------------------------------------------------------------------------------------------


def test_a_language_model_that_fails_is_replaced_at_once_and_one_that_is_silent_at_the_deadline():
    async def work():
        for trouble, seconds in ((FAILING, 0.0), (DEAD, 0.4), ({"replies": ["\n \n"], "token_delay": 9.0}, 0.4)):
            first = {**llm(first_delay=0.0, **trouble), "DEADLINE": 0.4}
            engine = await started(FallbackLanguageModel(engines=[first, llm(replies=[ALIVE], first_delay=0.1)]))
            asked_at = now()
            async with leaving_no_task(), aclosing(engine.stream(ASKED)) as deltas:
                await anext(deltas)
                assert now() - asked_at <= seconds + 0.1 + 1e-6
            assert await reply(engine) == ALIVE

    run(work())


def test_an_empty_reply_is_no_reply():
    async def work():
        engine = await started(FallbackLanguageModel(engines=[llm(replies=[""]), llm(replies=[ALIVE])]))
        assert await reply(engine) == ALIVE
        mute = await started(FallbackLanguageModel(engines=[llm(replies=[""])]))
        with pytest.raises(EngineError, match="empty reply"):
            await reply(mute)

    run(work())


def test_a_reply_that_only_asks_for_the_end_of_the_call_is_one():
    async def work():
        engine = await started(FallbackLanguageModel(engines=[llm(replies=[""], end_call_after=1), llm()]))
        assert [delta async for delta in engine.stream(ASKED)] == [TextDelta(requests=ToolRequests(end_call=True))]

    run(work())


@pytest.mark.parametrize("trouble", ["failures", "stalls"])
def test_a_reply_that_breaks_off_is_not_begun_anew_by_another_voice(trouble):
    async def work():
        broken = llm(**{trouble: [{"rate": 1.0, "at": "middle", **({"seconds": 99.0} if trouble == "stalls" else {})}]})
        engine = await started(FallbackLanguageModel(engines=[broken, llm(replies=[ALIVE])], stall=2.0))
        deltas = engine.stream(ASKED)
        for _ in range(15):
            await anext(deltas)
        with pytest.raises(EngineError) as failure:
            await anext(deltas)
        assert isinstance(failure.value, EngineTimeout) is (trouble == "stalls")
        assert outcomes(engine)[0] == ((0, 0, 1, 0) if trouble == "stalls" else (0, 1, 0, 0))

    run(work())


class Closable(ScriptedLanguageModel):
    closed: list[str] = []

    async def stream(self, messages, **options):
        try:
            async with aclosing(super().stream(messages, **options)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self.closed.append("closed")


def test_the_late_one_is_cancelled_at_its_source_before_the_next_is_asked():
    async def work():
        Closable.closed.clear()
        engine = await started(FallbackLanguageModel(engines=[entry(f"{HERE}Closable", **DEAD), llm()]))
        async with aclosing(engine.stream(ASKED)) as deltas:
            await anext(deltas)
            assert Closable.closed == ["closed"]

    run(work())


class Refusing(ScriptedLanguageModel):
    """Raises what ``raises`` names."""

    def __init__(self, *, raises: str) -> None:
        super().__init__()
        known = {"full": EngineFull, "large": ContextTooLarge, "bug": ZeroDivisionError, "key": EngineError}
        self.error = known[raises]("it says no")

    async def stream(self, messages, **options):
        raise self.error
        yield


@pytest.mark.parametrize("raises", ["full", "large"])
def test_a_full_engine_and_one_too_small_are_passed_by_and_stay_healthy(raises):
    async def work():
        refusing = entry(f"{HERE}Refusing", raises=raises)
        engine = await started(FallbackLanguageModel(engines=[refusing, llm(replies=[ALIVE])], failures=2))
        assert [await reply(engine) for _ in range(5)] == [ALIVE] * 5
        assert outcomes(engine) == [(0, 0, 0, 5), (5, 0, 0, 0)]
        alone = await started(FallbackLanguageModel(engines=[refusing]))
        with pytest.raises(EngineFull if raises == "full" else ContextTooLarge):
            await reply(alone)

    run(work())


def test_a_defect_of_one_engine_is_answered_by_the_next_and_stands_in_the_log(caplog):
    async def work():
        engine = await started(FallbackLanguageModel(engines=[entry(f"{HERE}Refusing", raises="bug"), llm()]))
        assert await reply(engine)

    run(work())
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)


def test_an_engine_that_fails_again_and_again_is_left_alone_and_tried_again_later(caplog):
    caplog.set_level(logging.INFO)

    async def work():
        first = llm(replies=["first"], stalls=[{"on": n, "seconds": 99.0} for n in (1, 2, 3, 4)])
        engine = await started(
            FallbackLanguageModel(engines=[first, llm(replies=["second"])], failures=3, retry_after=10.0)
        )
        waits = []
        for pause in (0, 0, 0, 0, 0, 10, 0, 10, 0):
            await asyncio.sleep(pause)
            asked_at = now()
            words = await reply(engine)
            waits.append((words, now() - asked_at > 0.9))
        slow, quick = ("second", True), ("second", False)
        assert waits == [slow, slow, slow, quick, quick, slow, quick, ("first", False), ("first", False)]
        assert outcomes(engine) == [(2, 0, 4, 3), (7, 0, 0, 0)]

    run(work())
    name = "the llm engine 1 (ScriptedLanguageModel)"
    lines = [record.message for record in caplog.records if name in record.message]
    assert [line.replace(name, "it") for line in lines if not line.startswith("The ")] == [
        "Not using it for 10 s: it failed too often",
        "Trying it again",
        "Not using it for 10 s: it failed too often",
        "Trying it again",
        "Using it again: it works",
    ]


def test_an_engine_that_is_left_alone_is_not_asked_on_a_guess_where_a_paid_one_would_answer():
    async def work():
        paid = entry(f"{HERE}PaidByTheToken", replies=["paid"])
        engine = await started(FallbackLanguageModel(engines=[llm(**DEAD), paid], failures=1))
        assert await reply(engine) == "paid"
        asked_at = now()
        with pytest.raises(EngineError, match="takes no speculative requests"):
            await reply(engine, speculative=True)
        assert now() == asked_at

    run(work())


def test_if_all_are_left_alone_the_others_are_asked_after_the_first():
    async def work():
        first, second = llm(**FAILING), llm(replies=["back"], failures=[{"on": 1}])
        engine = await started(FallbackLanguageModel(engines=[first, second], failures=1, retry_after=60.0))
        with pytest.raises(EngineError):
            await reply(engine)
        assert [await reply(engine) for _ in range(2)] == ["back", "back"]

    run(work())


def test_if_all_are_left_alone_one_is_asked_nevertheless():
    async def work():
        first = llm(replies=["back"], failures=[{"on": 1}])
        engine = await started(FallbackLanguageModel(engines=[first, llm(**FAILING)], failures=1, retry_after=60.0))
        with pytest.raises(EngineError):
            await reply(engine)
        assert await reply(engine) == "back"
        assert await reply(engine) == "back"

    run(work())


class PaidByTheToken(ScriptedLanguageModel):
    may_speculate = False


def test_where_tokens_are_paid_for_nothing_is_asked_on_a_guess():
    async def work():
        paid = entry(f"{HERE}PaidByTheToken", replies=["paid"])
        engine = await started(FallbackLanguageModel(engines=[llm(**FAILING), paid], failures=2))
        assert engine.may_speculate
        with pytest.raises(EngineError, match="as its script says"):
            await reply(engine, speculative=True)
        assert await reply(engine) == "paid"
        assert not engine.may_speculate

    run(work())


class Warmable(ScriptedLanguageModel):
    warmed: list[str] = []

    def __init__(self, *, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.name = name

    async def warm(self, messages, **options):
        self.warmed.append(self.name)


def test_the_one_that_would_be_asked_is_warmed():
    async def work():
        Warmable.warmed.clear()
        first = entry(f"{HERE}Warmable", name="first", **FAILING)
        engine = FallbackLanguageModel(engines=[first, entry(f"{HERE}Warmable", name="second")], failures=1)
        await engine.warm(ASKED)
        await engine.start()
        await engine.warm(ASKED)
        await reply(engine)
        await engine.warm(ASKED)
        assert Warmable.warmed == ["first", "second"]

    run(work())


def test_whoever_stops_listening_says_nothing_of_an_engines_health():
    async def work():
        engine = await started(FallbackLanguageModel(engines=[llm(**DEAD), llm()], deadline=1.0))
        reader = asyncio.ensure_future(reply(engine))
        await asyncio.sleep(0.5)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert outcomes(engine) == [(0, 0, 0, 0), (0, 0, 0, 0)]

    run(work())


# -- text to speech ------------------------------------------------------------------------------------------

CLAUSES = ("We open at ten in the morning. ", "We shut at six, ", "on Sundays at four.")
LENGTH = sum(map(len, CLAUSES))


def voices(first: Mapping[str, Any], second: Mapping[str, Any], **options: Any) -> FallbackTextToSpeech:
    return FallbackTextToSpeech(engines=[tts(**first), tts(tone_hz=440, **second)], **options)


class Diary(ScriptedTextToSpeech):
    """Writes down what it was given to say, and what it was told was heard of it."""

    def __init__(self, *, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.name = name

    def open(self, *, voice: str = "", language: str = "en") -> Any:
        return _DiaryVoice(self, super().open(voice=voice, language=language))


class _DiaryVoice:
    written: list[tuple[str, Any]] = []

    def __init__(self, engine: Diary, inner: Any) -> None:
        self._name = engine.name
        self._inner = inner

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        async def noted() -> AsyncIterator[str]:
            async for clause in text:
                self.written.append((self._name, clause))
                yield clause

        async with aclosing(self._inner.speak(noted())) as chunks:
            async for chunk in chunks:
                yield chunk

    def heard(self, samples: int) -> None:
        self.written.append((self._name, samples))

    async def close(self) -> None:
        self.written.append((self._name, "closed"))


@pytest.fixture
def diary() -> list[tuple[str, Any]]:
    _DiaryVoice.written.clear()
    return _DiaryVoice.written


def diaries(first: Mapping[str, Any], second: Mapping[str, Any], **options: Any) -> FallbackTextToSpeech:
    engines = [entry(f"{HERE}Diary", name=name, **of) for name, of in (("first", first), ("second", second))]
    return FallbackTextToSpeech(engines=engines, **options)


@pytest.mark.parametrize(("trouble", "wait"), [(FAILING, 0.0), (DEAD, 0.5)])
def test_a_voice_that_makes_no_sound_is_replaced_by_the_deadline(trouble, wait):
    async def work():
        engine = await started(voices(trouble, {"first_delay": 0.1}, deadline=0.5))
        async with leaving_no_task():
            begun = now()
            async with aclosing(engine.open().speak(given(*CLAUSES))) as chunks:
                await anext(chunks)
                assert now() - begun == exactly(wait + 0.1)
                rest = [chunk async for chunk in chunks]
            assert rest[-1].text_end == LENGTH

    run(work())


@pytest.mark.parametrize("trouble", ["failures", "stalls"])
def test_a_voice_that_dies_in_mid_sentence_is_relieved_at_the_next_word(trouble, diary):
    async def work():
        stall = {"seconds": 99.0} if trouble == "stalls" else {}
        first = {trouble: [{"on": 1, "at": "middle", **stall}], "chunk_seconds": 0.04, "chunk_delay": 0.01}
        engine = await started(diaries(first, {}, deadline=0.5))
        speech, gaps, ends, last = engine.open(), [], [], now()
        async for chunk in speech.speak(given(*CLAUSES)):
            gaps.append(now() - last)
            ends.append(chunk.text_end)
            last = now()
        # A chunk a character: half of the first clause is "We open at ten ", less a letter.
        assert diary[0] == ("first", CLAUSES[0])
        assert [text for name, text in diary if name == "second"] == ["in the morning. ", *CLAUSES[1:]]
        assert ends == sorted(ends)
        assert ends[-1] == LENGTH
        assert max(gaps) <= 0.5 + 0.05 + 1e-6
        assert ("first", "closed") in diary

    run(work())


def test_a_call_stays_with_the_voice_that_relieved_the_other(diary):
    async def work():
        engine = await started(diaries({"failures": [{"on": 1}]}, {}, retry_after=10.0))
        speech, other = engine.open(), engine.open()
        await said(speech, "One.")
        await said(speech, "Two.")
        await said(other, "Three.")
        await asyncio.sleep(10)
        await said(speech, "Four.")
        assert [line for line in diary if line[1] != "closed"] == [
            ("first", "One."),
            ("second", "One."),
            ("second", "Two."),
            ("first", "Three."),
            ("first", "Four."),
        ]

    run(work())


def test_a_call_comes_back_to_the_first_voice_when_the_other_fails_too(diary):
    async def work():
        engine = await started(diaries({"failures": [{"on": 1}]}, {"failures": [{"on": 2}]}))
        speech = engine.open()
        await said(speech, "One.")
        assert await said(speech, "Two.")
        assert [line for line in diary if line[1] != "closed"] == [
            ("first", "One."),
            ("second", "One."),
            ("second", "Two."),
            ("first", "Two."),
        ]

    run(work())


def test_waiting_for_text_is_no_silence_of_the_voice():
    async def slowly():
        for clause in CLAUSES:
            await asyncio.sleep(30)
            yield clause
        await asyncio.sleep(30)

    async def work():
        engine = await started(voices({}, {}, deadline=0.5))
        chunks = [chunk async for chunk in engine.open().speak(slowly())]
        assert chunks[-1].text_end == LENGTH
        assert outcomes(engine) == [(1, 0, 0, 0), (0, 0, 0, 0)]

    run(work())


class Endless(ScriptedTextToSpeech):
    """Says everything, and never says that it is done."""

    def open(self, **options: Any) -> Any:
        return _EndlessVoice(super().open(**options))


class _EndlessVoice:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        async for chunk in self._inner.speak(text):
            yield chunk
        await asyncio.Event().wait()

    async def close(self) -> None:
        raise EngineError("it hangs")


def test_a_voice_that_never_ends_is_ended_and_nothing_is_said_twice():
    async def work():
        engine = await started(FallbackTextToSpeech(engines=[entry(f"{HERE}Endless"), tts()], deadline=0.5))
        async with leaving_no_task():
            chunks = await said(engine.open(), *CLAUSES)
        assert samples(chunks) == samples(await said(ScriptedTextToSpeech().open(), *CLAUSES))
        assert outcomes(engine) == [(0, 0, 1, 0), (0, 0, 0, 0)]

    run(work())


class Mute(ScriptedTextToSpeech):
    def open(self, **options: Any) -> Any:
        return _MuteVoice()


class _MuteVoice:
    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        async for _ in text:
            yield AudioChunk(np.zeros(0, np.int16), 0)

    async def close(self) -> None: ...


def test_a_voice_that_ends_without_a_sound_has_failed():
    async def work():
        engine = await started(FallbackTextToSpeech(engines=[entry(f"{HERE}Mute"), tts()]))
        assert samples(await said(engine.open(), *CLAUSES)) > 0
        assert await said(engine.open()) == []
        assert [chunk.text_end for chunk in await said(engine.open(), "...")][-1] <= 3
        assert outcomes(engine)[0][1] == 1

    run(work())


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 24000])
def test_the_rate_stays_the_first_ones(rate_hz):
    async def work():
        engine = await started(voices({**FAILING, "rate_hz": 24000}, {"rate_hz": rate_hz}))
        assert engine.rate_hz == 24000
        sound = np.concatenate([chunk.pcm for chunk in await said(engine.open(), *CLAUSES)])
        assert len(sound) / 24000 == pytest.approx(LENGTH * 0.04, abs=0.001)
        spectrum = np.abs(np.fft.rfft(sound.astype(float)))
        assert np.argmax(spectrum) * 24000 / len(sound) == pytest.approx(440, abs=1)

    run(work())


class Distant(ScriptedTextToSpeech):
    """Knows nothing of itself before it has started, which it does at the second attempt."""

    def __init__(self, **options: Any) -> None:
        self.known = self.tried = False
        super().__init__(**options)

    async def start(self) -> None:
        self.known, self.tried = self.tried, True
        if not self.known:
            raise EngineError("nobody is there")

    def _told(self, fact: Any) -> Any:
        if not self.known:
            raise EngineError("not known before start()")
        return fact

    rate_hz = property(lambda self: self._told(self._rate_hz), lambda self, rate_hz: setattr(self, "_rate_hz", rate_hz))
    may_speculate = property(lambda self: self._told(True))


def test_a_rate_that_the_first_does_not_know_is_the_seconds_and_stays_it():
    async def work():
        engines = [entry(f"{HERE}Distant", rate_hz=24000, tone_hz=440), tts(rate_hz=16000)]
        alone = FallbackTextToSpeech(engines=engines[:1])
        assert not alone.may_speculate
        with pytest.raises(EngineError, match="not known"):
            _ = alone.rate_hz
        engine = await started(FallbackTextToSpeech(engines=engines, retry_after=10.0))
        assert engine.may_speculate
        lengths = []
        for _ in range(2):
            assert engine.rate_hz == 16000
            lengths.append(samples(await said(engine.open(), *CLAUSES)) / 16000)
            await asyncio.sleep(11)
        assert lengths == [pytest.approx(LENGTH * 0.04, abs=0.001)] * 2
        assert outcomes(engine) == [(1, 0, 0, 1), (1, 0, 0, 0)]

    run(work())


def test_what_was_heard_is_told_to_whoever_said_it(diary):
    async def work():
        engine = await started(diaries({"rate_hz": 24000}, {"rate_hz": 8000}))
        speech = engine.open()
        await said(speech, "One. ")
        speech.heard(1200)
        assert diary[-1] == ("first", 1200)

    run(work())


def test_what_was_heard_of_two_voices_is_told_in_the_rate_of_each(diary):
    async def work():
        first = {"rate_hz": 24000, "failures": [{"on": 2, "at": "middle"}]}
        engine = await started(diaries(first, {"rate_hz": 8000}, retry_after=0.0))
        speech = engine.open()
        await said(speech, *CLAUSES)
        chunks = await said(speech, *CLAUSES)
        characters = sum(len(text) for name, text in diary if name == "second")
        assert 0 < characters < LENGTH
        diary.clear()
        speech.heard(samples(chunks))
        assert diary == [("second", pytest.approx(characters * 320, abs=1))]
        diary.clear()
        speech.heard(0)
        assert diary == [("second", 0)]

    run(work())


def test_an_error_of_the_text_is_nobodys_fault():
    async def text():
        yield CLAUSES[0]
        raise ValueError("a defect of whoever writes the text")

    async def work():
        engine = await started(voices({}, {}))
        with pytest.raises(ValueError, match="writes the text"):
            async for _ in engine.open().speak(text()):
                pass
        assert outcomes(engine) == [(0, 0, 0, 0), (0, 0, 0, 0)]

    run(work())


def test_a_voice_is_called_by_another_name_where_it_has_one_and_else_is_the_default():
    async def work():
        known = {"voices": ["ada"], **FAILING}
        named = {**tts(voices=["tone"]), "VOICES": {"ada": "tone"}}
        for second in (named, tts(voices=["other"])):
            engine = await started(FallbackTextToSpeech(engines=[tts(**known), second], failures=1))
            assert await said(engine.open(voice="ada"), "Hello.")
            with pytest.raises(EngineError, match="no scripted voice 'bob'"):
                (await started(FallbackTextToSpeech(engines=[tts(**known), second]))).open(voice="bob")

    run(work())


@pytest.mark.parametrize(("permanent", "skipped"), [(True, 3), (False, 0)])
def test_a_voice_that_is_refused_when_it_is_to_speak_says_nothing_of_an_engines_health(permanent, skipped):
    async def work():
        refusing = {"failures": [{"rate": 1.0, "permanent": permanent}]}
        engine = await started(voices(refusing, {}, failures=4))
        for _ in range(3):
            assert await said(engine.open(voice="tone"), "Hello.")
        assert outcomes(engine) == [(0, 3 - skipped, 0, skipped), (3, 0, 0, 0)]

    run(work())


def test_the_preferred_voice_can_be_had_alone():
    async def work():
        engine = await started(voices({"failures": [{"on": 1}]}, {}))
        assert engine.preferred.describe() == ScriptedTextToSpeech().describe()
        speech = engine.preferred.open()
        with pytest.raises(EngineError, match="as its script says"):
            await said(speech, "Hello.")
        assert await said(speech, "Hello.")
        assert outcomes(engine) == [(1, 1, 0, 0), (0, 0, 0, 0)]

    run(work())


class Clinging(ScriptedTextToSpeech):
    def open(self, **options: Any) -> Any:
        return _ClingingVoice()


class _ClingingVoice:
    async def close(self) -> None:
        await asyncio.Event().wait()


def test_a_voice_that_cannot_be_closed_does_not_hold_up_the_end_of_the_call():
    async def work():
        engine = await started(FallbackTextToSpeech(engines=[entry(f"{HERE}Clinging")]))
        speech = engine.open()
        async with leaving_no_task():
            await speech.close()
        assert now() == exactly(5.0)

    run(work())


class Full(ScriptedTextToSpeech):
    def open(self, **options: Any) -> Any:
        raise EngineFull("no place")


def test_a_full_voice_leaves_the_call_to_the_next_and_full_voices_refuse_it():
    async def work():
        full = entry(f"{HERE}Full")
        engine = await started(FallbackTextToSpeech(engines=[full, tts()]))
        assert await said(engine.open(), "Hello.")
        assert outcomes(engine)[0][:3] == (0, 0, 0)
        with pytest.raises(EngineFull):
            (await started(FallbackTextToSpeech(engines=[full, full]))).open()

    run(work())


# -- speech to text ------------------------------------------------------------------------------------------


class Listener(ScriptedSpeechToText):
    """Its words are the number of samples that it heard."""

    def open(self, **options: Any) -> Any:
        return _Listening(super().open(**options))


class _Listening:
    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._heard: list[Pcm] = []
        self.cancel = inner.cancel

    def push(self, pcm: Pcm) -> None:
        self._heard.append(pcm)
        self._inner.push(pcm)

    async def snapshot(self) -> Transcript:
        return self._told(await self._inner.snapshot())

    async def finish(self) -> Transcript:
        return self._told(await self._inner.finish())

    def _told(self, transcript: Transcript) -> Transcript:
        loudest = max((int(np.abs(pcm).max()) for pcm in self._heard), default=0)
        return Transcript(f"{sum(map(len, self._heard))} samples, {loudest} at most", transcript.samples)


def listener(**options: Any) -> dict[str, Any]:
    return entry(f"{HERE}Listener", **options)


def sound(seconds: float, rate_hz: int = 8000) -> Pcm:
    return np.full(int(seconds * rate_hz), 1000, np.int16)


@pytest.mark.parametrize(("trouble", "wait"), [(FAILING, 0.05), (DEAD, 0.75)])
def test_the_next_recogniser_hears_the_utterance_from_its_beginning(trouble, wait):
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**trouble), listener()], deadline=0.7))
        async with leaving_no_task():
            utterance = engine.open()
            for _ in range(10):
                utterance.push(sound(0.1))
            asked_at = now()
            assert await utterance.snapshot() == Transcript("8000 samples, 1000 at most", 8000)
            assert now() - asked_at <= wait + 0.05
            utterance.push(sound(0.5))
            assert (await utterance.finish()).text.startswith("12000 samples")
        assert outcomes(engine)[1] == (2, 0, 0, 0)

    run(work())


def test_a_recogniser_that_fails_three_snapshots_at_once_has_failed_once():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**DEAD), listener()], failures=2))
        utterance = engine.open()
        utterance.push(sound(1.0))
        answers = await asyncio.gather(*(utterance.snapshot() for _ in range(3)))
        assert {answer.samples for answer in answers} == {8000}
        assert outcomes(engine) == [(0, 0, 1, 0), (3, 0, 0, 0)]

    run(work())


def test_another_rate_hears_the_same_and_counts_in_ours():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**FAILING), listener(rate_hz=16000)]))
        utterance = engine.open()
        utterance.push(sound(1.0))
        transcript = await utterance.finish()
        assert int(transcript.text.split()[0]) == pytest.approx(16000, abs=40)
        assert transcript.samples == pytest.approx(8000, abs=20)

    run(work())


def test_of_a_very_long_utterance_the_last_half_minute_is_kept():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**FAILING), listener()]))
        utterance = engine.open()
        for _ in range(450):
            utterance.push(sound(0.1))
        transcript = await utterance.finish()
        assert int(transcript.text.split()[0]) == 30 * 8000
        assert transcript.samples == 45 * 8000

    run(work())


def test_when_every_recogniser_failed_the_next_question_asks_them_again():
    async def work():
        first, second = stt(failures=[{"on": 1}], transcripts=["Hello."]), stt(failures=[{"on": 1}])
        engine = await started(FallbackSpeechToText(engines=[first, second]))
        utterance = engine.open()
        utterance.push(sound(1.0))
        with pytest.raises(EngineError, match="as its script says"):
            await utterance.snapshot()
        assert await utterance.finish() == Transcript("Hello.", 8000)

    run(work())


def test_partials_come_from_the_one_that_listens_now():
    async def work():
        heard: list[str] = []
        first = stt(partials=True, transcripts=["one two three four five six"], **DEAD)
        second = stt(partials=True, transcripts=["uno due tre quattro cinque sei"])
        engine = await started(FallbackSpeechToText(engines=[first, second]))
        utterance = engine.open(on_partial=lambda partial: heard.append(partial.text))
        utterance.push(sound(0.7))
        await asyncio.sleep(0)
        assert heard == ["one two"]
        await utterance.snapshot()
        utterance.push(sound(0.5))
        await asyncio.sleep(0)
        assert heard[-1] == "uno due tre quattro"
        assert not any("three" in words for words in heard)
        await utterance.finish()

    run(work())


class Deaf(ScriptedSpeechToText):
    """Cannot be opened, or takes no sound."""

    def __init__(self, *, opens: bool) -> None:
        super().__init__()
        self.opens = opens

    def open(self, **options: Any) -> Any:
        if not self.opens:
            raise EngineError("it cannot be opened")
        utterance = super().open(**options)
        utterance.push = self.refuse
        return utterance

    def refuse(self, pcm: Pcm) -> None:
        raise EngineError("it takes no sound")


@pytest.mark.parametrize("opens", [True, False])
def test_a_recogniser_that_takes_nothing_is_replaced_at_once(opens):
    async def work():
        deaf = entry(f"{HERE}Deaf", opens=opens)
        engine = await started(FallbackSpeechToText(engines=[deaf, listener()]))
        utterance = engine.open()
        utterance.push(sound(1.0))
        assert (await utterance.finish()).text.startswith("8000 samples")
        assert outcomes(engine)[0] == (0, 1, 0, 0)
        alone = await started(FallbackSpeechToText(engines=[deaf]))

        async def hear() -> None:
            utterance = alone.open()
            utterance.push(sound(1.0))
            await utterance.finish()

        with pytest.raises(EngineError, match="it "):
            await hear()

    run(work())


class Hasty(ScriptedSpeechToText):
    """Answers nothing, but says so at once when an utterance is cancelled; knows who is still open."""

    utterances: list[_HastyUtterance] = []

    def open(self, **options: Any) -> Any:
        utterance = _HastyUtterance()
        self.utterances.append(utterance)
        return utterance


class _HastyUtterance:
    def __init__(self) -> None:
        self.over = asyncio.Event()

    def push(self, pcm: Pcm) -> None: ...

    async def snapshot(self) -> Transcript:
        await self.over.wait()
        raise EngineError("it was cancelled")

    def cancel(self) -> None:
        self.over.set()


def test_a_recogniser_is_not_to_blame_for_what_was_cancelled():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[entry(f"{HERE}Hasty"), stt()], failures=3))
        for _ in range(3):
            utterance = engine.open()
            pending = asyncio.ensure_future(utterance.snapshot())
            await asyncio.sleep(0)
            utterance.cancel()
            with pytest.raises(EngineError, match="it was cancelled"):
                await pending
        assert outcomes(engine) == [(0, 0, 0, 0), (0, 0, 0, 0)]

    run(work())


class Choking(Hasty):
    """Takes no sound that is handed over to it."""

    def open(self, **options: Any) -> Any:
        utterance = super().open(**options)
        utterance.push = self.refuse
        return utterance

    def refuse(self, pcm: Pcm) -> None:
        raise EngineError("it takes no sound")


def test_every_utterance_that_was_opened_is_let_go():
    async def work():
        Hasty.utterances.clear()
        hasty, choking = entry(f"{HERE}Hasty"), entry(f"{HERE}Choking")
        engine = await started(FallbackSpeechToText(engines=[hasty, choking, hasty]))
        utterance = engine.open()
        utterance.push(sound(0.1))
        with pytest.raises(EngineError):
            await utterance.snapshot()
        utterance.cancel()
        with pytest.raises(EngineError):
            await utterance.snapshot()
        assert [opened.over.is_set() for opened in Hasty.utterances] == [True] * 3
        assert outcomes(engine) == [(0, 0, 1, 0), (0, 1, 0, 0), (0, 0, 1, 0)]

    run(work())


class Curt(ScriptedSpeechToText):
    """Perhaps gives no snapshots; knows whom it was told to forget."""

    forgotten: list[str] = []

    def __init__(self, *, name: str, snapshots: bool) -> None:
        super().__init__(transcripts=["Hello."])
        self.name = name
        self.snapshots = snapshots

    def open(self, **options: Any) -> Any:
        utterance = super().open(**options)
        if not self.snapshots:
            utterance.snapshot = self.refuse
        utterance.cancel = partial(self.forgotten.append, self.name)
        return utterance

    async def refuse(self) -> Transcript:
        raise EngineError("it gives no snapshots")


def test_an_utterance_that_one_finished_is_taken_from_the_other_that_was_to_go_on():
    async def work():
        Curt.forgotten.clear()
        curt = [entry(f"{HERE}Curt", name=name, snapshots=name == "second") for name in ("first", "second")]
        engine = await started(FallbackSpeechToText(engines=curt))
        utterance = engine.open()
        utterance.push(sound(1.0))
        final, snapshot = await asyncio.gather(utterance.finish(), utterance.snapshot())
        assert (final.text, snapshot.text) == ("Hello.", "Hello.")
        assert set(Curt.forgotten) == {"first", "second"}
        assert await utterance.snapshot() is final

    run(work())


def test_cancelling_an_utterance_ends_the_question_that_is_pending():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**DEAD), listener()]))
        async with leaving_no_task():
            utterance = engine.open()
            pending = asyncio.ensure_future(utterance.snapshot())
            await asyncio.sleep(0)
            utterance.cancel()
            with pytest.raises(EngineError):
                await pending
        assert outcomes(engine)[1] == (0, 0, 0, 0)

    run(work())
