"""A voice that fails is replaced, in mid-sentence too; a call stays with the voice that took over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from inference.engines.fallback import FallbackTextToSpeech
from inference.engines.scripted import ScriptedTextToSpeech
from inference.types import AudioChunk, EngineError, EngineFull
from tests.inference.contract import leaving_no_task
from tests.inference.fallback.engines import (
    FAILING,
    SILENT,
    count_samples,
    entry,
    exactly,
    loop_time,
    outcomes,
    speak,
    started,
    text_of,
    tts,
)
from tests.virtual_time import run

HERE = f"{__name__}."

CLAUSES = ("We open at ten in the morning. ", "We shut at six, ", "on Sundays at four.")
LENGTH = sum(map(len, CLAUSES))


def voices(first: Mapping[str, Any], second: Mapping[str, Any], **options: Any) -> FallbackTextToSpeech:
    return FallbackTextToSpeech(engines=[tts(**first), tts(tone_hz=440, **second)], **options)


class RecordingTextToSpeech(ScriptedTextToSpeech):
    """Notes the clauses that it is given, how much of them was heard, and when its voice is closed."""

    def __init__(self, *, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.name = name

    def open(self, *, voice: str = "", language: str = "en") -> Any:
        return _RecordingSpeech(self.name, super().open(voice=voice, language=language))


class _RecordingSpeech:
    records: list[tuple[str, Any]] = []

    def __init__(self, name: str, inner: Any) -> None:
        self._name = name
        self._inner = inner

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        async def recorded() -> AsyncIterator[str]:
            async for clause in text:
                self.records.append((self._name, clause))
                yield clause

        async with aclosing(self._inner.speak(recorded())) as chunks:
            async for chunk in chunks:
                yield chunk

    def heard(self, samples: int) -> None:
        self.records.append((self._name, samples))

    async def close(self) -> None:
        self.records.append((self._name, "closed"))


@pytest.fixture
def records() -> list[tuple[str, Any]]:
    _RecordingSpeech.records.clear()
    return _RecordingSpeech.records


def recording_voices(first: Mapping[str, Any], second: Mapping[str, Any], **options: Any) -> FallbackTextToSpeech:
    by_name = {"first": first, "second": second}
    engines = [entry(f"{HERE}RecordingTextToSpeech", name=name, **given) for name, given in by_name.items()]
    return FallbackTextToSpeech(engines=engines, **options)


@pytest.mark.parametrize(("trouble", "wait"), [(FAILING, 0.0), (SILENT, 0.5)])
def test_a_voice_that_fails_is_replaced_at_once_and_a_silent_one_at_its_deadline(trouble, wait):
    async def work():
        engine = await started(voices(trouble, {"first_delay": 0.1}, deadline=0.5))
        async with leaving_no_task():
            begun = loop_time()
            async with aclosing(engine.open().speak(text_of(*CLAUSES))) as chunks:
                await anext(chunks)
                assert loop_time() - begun == exactly(wait + 0.1)
                rest = [chunk async for chunk in chunks]
            assert rest[-1].text_end == LENGTH

    run(work())


@pytest.mark.parametrize("trouble", ["failures", "stalls"])
def test_a_voice_that_fails_in_mid_sentence_is_replaced_at_the_next_word(trouble, records):
    async def work():
        stall = {"seconds": 99.0} if trouble == "stalls" else {}
        first = {trouble: [{"on": 1, "at": "middle", **stall}], "chunk_seconds": 0.04, "chunk_delay": 0.01}
        engine = await started(recording_voices(first, {}, deadline=0.5))
        speech, gaps, ends, last = engine.open(), [], [], loop_time()
        async for chunk in speech.speak(text_of(*CLAUSES)):
            if chunk.again_from is not None:  # it is told before the next voice speaks
                assert not len(chunk.pcm)
                continue
            gaps.append(loop_time() - last)
            ends.append(chunk.text_end)
            last = loop_time()
        # Each chunk is one character. Half of the first clause is "We open at ten", so the next word is "in".
        assert records[0] == ("first", CLAUSES[0])
        assert [text for name, text in records if name == "second"] == ["in the morning. ", *CLAUSES[1:]]
        assert ends == sorted(ends)
        assert ends[-1] == LENGTH
        assert max(gaps) <= 0.5 + 0.05 + 1e-6
        assert ("first", "closed") in records

    run(work())


def test_a_call_stays_with_the_voice_that_took_over(records):
    async def work():
        engine = await started(recording_voices({"failures": [{"on": 1}]}, {}, retry_after=10.0))
        speech, other = engine.open(), engine.open()
        await speak(speech, "One.")
        await speak(speech, "Two.")
        await speak(other, "Three.")
        await asyncio.sleep(10)
        await speak(speech, "Four.")
        assert [record for record in records if record[1] != "closed"] == [
            ("first", "One."),
            ("second", "One."),
            ("second", "Two."),
            ("first", "Three."),
            ("first", "Four."),
        ]

    run(work())


def test_a_call_returns_to_the_first_voice_when_the_second_fails_too(records):
    async def work():
        engine = await started(recording_voices({"failures": [{"on": 1}]}, {"failures": [{"on": 2}]}))
        speech = engine.open()
        await speak(speech, "One.")
        assert await speak(speech, "Two.")
        assert [record for record in records if record[1] != "closed"] == [
            ("first", "One."),
            ("second", "One."),
            ("second", "Two."),
            ("first", "Two."),
        ]

    run(work())


def test_a_voice_may_be_silent_while_it_waits_for_text():
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


class EndlessTextToSpeech(ScriptedTextToSpeech):
    """Says everything, but its speech never ends."""

    def open(self, **options: Any) -> Any:
        return _EndlessSpeech(super().open(**options))


class _EndlessSpeech:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        async for chunk in self._inner.speak(text):
            yield chunk
        await asyncio.Event().wait()

    async def close(self) -> None:
        raise EngineError("it cannot be closed")


def test_a_voice_that_never_ends_is_stopped_and_nothing_is_said_twice():
    async def work():
        engine = await started(FallbackTextToSpeech(engines=[entry(f"{HERE}EndlessTextToSpeech"), tts()], deadline=0.5))
        async with leaving_no_task():
            chunks = await speak(engine.open(), *CLAUSES)
        assert count_samples(chunks) == count_samples(await speak(ScriptedTextToSpeech().open(), *CLAUSES))
        assert outcomes(engine) == [(0, 0, 1, 0), (0, 0, 0, 0)]

    run(work())


class MuteTextToSpeech(ScriptedTextToSpeech):
    """Reads the text and makes no sound."""

    def open(self, **options: Any) -> Any:
        return _MuteSpeech()


class _MuteSpeech:
    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        async for _ in text:
            yield AudioChunk(np.zeros(0, np.int16), 0)

    async def close(self) -> None: ...


def test_a_voice_that_ends_without_a_sound_has_failed_if_there_were_words_to_say():
    async def work():
        engine = await started(FallbackTextToSpeech(engines=[entry(f"{HERE}MuteTextToSpeech"), tts()]))
        assert count_samples(await speak(engine.open(), *CLAUSES)) > 0
        assert await speak(engine.open()) == []
        assert [chunk.text_end for chunk in await speak(engine.open(), "...")][-1] <= 3
        assert outcomes(engine)[0][1] == 1

    run(work())


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 24000])
def test_the_second_voice_is_resampled_to_the_rate_of_the_first(rate_hz):
    async def work():
        engine = await started(voices({**FAILING, "rate_hz": 24000}, {"rate_hz": rate_hz}))
        assert engine.rate_hz == 24000
        sound = np.concatenate([chunk.pcm for chunk in await speak(engine.open(), *CLAUSES)])
        assert len(sound) / 24000 == pytest.approx(LENGTH * 0.04, abs=0.001)
        spectrum = np.abs(np.fft.rfft(sound.astype(float)))
        assert np.argmax(spectrum) * 24000 / len(sound) == pytest.approx(440, abs=1)

    run(work())


class LateTextToSpeech(ScriptedTextToSpeech):
    """Starts at the second attempt, and does not know its own rate before."""

    def __init__(self, **options: Any) -> None:
        self.known = True
        super().__init__(**options)
        self.known = self.tried = False

    async def start(self) -> None:
        self.known, self.tried = self.tried, True
        if not self.known:
            raise EngineError("there is no worker yet")

    def _once_started(self, fact: Any) -> Any:
        if not self.known:
            raise EngineError("not known before start()")
        return fact

    rate_hz = property(
        lambda self: self._once_started(self._rate_hz), lambda self, rate_hz: setattr(self, "_rate_hz", rate_hz)
    )
    may_speculate = property(lambda self: self._once_started(True))


def test_the_rate_is_that_of_the_first_voice_to_know_it_and_does_not_change():
    async def work():
        engines = [entry(f"{HERE}LateTextToSpeech", rate_hz=24000, tone_hz=440), tts(rate_hz=16000)]
        alone = FallbackTextToSpeech(engines=engines[:1])
        assert not alone.may_speculate
        with pytest.raises(EngineError, match="not known"):
            _ = alone.rate_hz
        engine = await started(FallbackTextToSpeech(engines=engines, retry_after=10.0))
        assert engine.may_speculate
        lengths = []
        for _ in range(2):
            assert engine.rate_hz == 16000
            lengths.append(count_samples(await speak(engine.open(), *CLAUSES)) / 16000)
            await asyncio.sleep(11)
        assert lengths == [pytest.approx(LENGTH * 0.04, abs=0.001)] * 2
        assert outcomes(engine) == [(1, 0, 0, 1), (1, 0, 0, 0)]

    run(work())


def test_the_voice_that_spoke_learns_how_much_was_heard(records):
    async def work():
        engine = await started(recording_voices({"rate_hz": 24000}, {"rate_hz": 8000}))
        speech = engine.open()
        await speak(speech, "One. ")
        speech.heard(1200)
        assert records[-1] == ("first", 1200)

    run(work())


def test_two_voices_of_one_turn_learn_how_much_was_heard_at_their_own_rates(records):
    async def work():
        first = {"rate_hz": 24000, "failures": [{"on": 2, "at": "middle"}]}
        engine = await started(recording_voices(first, {"rate_hz": 8000}, retry_after=0.0))
        speech = engine.open()
        await speak(speech, *CLAUSES)
        chunks = await speak(speech, *CLAUSES)
        characters = sum(len(text) for name, text in records if name == "second")
        assert 0 < characters < LENGTH
        records.clear()
        speech.heard(count_samples(chunks))
        assert records == [("second", pytest.approx(characters * 320, abs=1))]
        records.clear()
        speech.heard(0)
        assert records == [("second", 0)]

    run(work())


def test_an_error_of_the_text_counts_against_no_voice():
    async def text():
        yield CLAUSES[0]
        raise ValueError("a defect of what produces the text")

    async def work():
        engine = await started(voices({}, {}))
        with pytest.raises(ValueError, match="produces the text"):
            async for _ in engine.open().speak(text()):
                pass
        assert outcomes(engine) == [(0, 0, 0, 0), (0, 0, 0, 0)]

    run(work())


def test_another_engine_uses_the_voice_that_its_setting_names_or_else_its_default():
    async def work():
        known = {"voices": ["ada"], **FAILING}
        named = {**tts(voices=["tone"]), "VOICES": {"ada": "tone"}}
        for second in (named, tts(voices=["other"])):
            engine = await started(FallbackTextToSpeech(engines=[tts(**known), second], failures=1))
            assert await speak(engine.open(voice="ada"), "Hello.")
            with pytest.raises(EngineError, match="no scripted voice 'bob'"):
                (await started(FallbackTextToSpeech(engines=[tts(**known), second]))).open(voice="bob")

    run(work())


@pytest.mark.parametrize(("permanent", "skipped"), [(True, 3), (False, 0)])
def test_an_engine_that_refuses_a_voice_when_it_speaks_stays_healthy(permanent, skipped):
    async def work():
        refusing = {"failures": [{"rate": 1.0, "permanent": permanent}]}
        engine = await started(voices(refusing, {}, failures=4))
        for _ in range(3):
            assert await speak(engine.open(voice="tone"), "Hello.")
        assert outcomes(engine) == [(0, 3 - skipped, 0, skipped), (3, 0, 0, 0)]

    run(work())


def test_the_preferred_voice_can_be_used_alone():
    async def work():
        engine = await started(voices({"failures": [{"on": 1}]}, {}))
        assert engine.preferred.describe() == ScriptedTextToSpeech().describe()
        speech = engine.preferred.open()
        with pytest.raises(EngineError, match="as its script says"):
            await speak(speech, "Hello.")
        assert await speak(speech, "Hello.")
        assert outcomes(engine) == [(1, 1, 0, 0), (0, 0, 0, 0)]

    run(work())


class HangingTextToSpeech(ScriptedTextToSpeech):
    """Its voice cannot be closed."""

    def open(self, **options: Any) -> Any:
        return _HangingSpeech()


class _HangingSpeech:
    async def close(self) -> None:
        await asyncio.Event().wait()


def test_a_voice_that_hangs_when_it_is_closed_holds_up_the_end_of_a_call_for_a_limited_time():
    async def work():
        engine = await started(FallbackTextToSpeech(engines=[entry(f"{HERE}HangingTextToSpeech")]))
        speech = engine.open()
        async with leaving_no_task():
            await speech.close()
        assert loop_time() == exactly(5.0)

    run(work())


class FullTextToSpeech(ScriptedTextToSpeech):
    def open(self, **options: Any) -> Any:
        raise EngineFull("no slot")


def test_a_call_gets_the_second_voice_if_the_first_is_full_and_is_refused_if_all_are():
    async def work():
        full = entry(f"{HERE}FullTextToSpeech")
        engine = await started(FallbackTextToSpeech(engines=[full, tts()]))
        assert await speak(engine.open(), "Hello.")
        assert outcomes(engine)[0][:3] == (0, 0, 0)
        with pytest.raises(EngineFull):
            (await started(FallbackTextToSpeech(engines=[full, full]))).open()

    run(work())
