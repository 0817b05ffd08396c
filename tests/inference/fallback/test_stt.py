"""A recogniser that fails is replaced, and the next one hears the utterance from its start."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import numpy as np
import pytest

from inference.engines.fallback import FallbackSpeechToText
from inference.engines.scripted import ScriptedSpeechToText
from inference.types import EngineError, Pcm, Transcript
from tests.inference.contract import leaving_no_task
from tests.inference.fallback.engines import (
    FAILING,
    SILENT,
    entry,
    loop_time,
    outcomes,
    started,
    stt,
)
from tests.virtual_time import run

HERE = f"{__name__}."


class CountingSpeechToText(ScriptedSpeechToText):
    """Its words say how many samples it has heard."""

    def open(self, **options: Any) -> Any:
        return _CountingTranscription(super().open(**options))


class _CountingTranscription:
    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._heard: list[Pcm] = []
        self.cancel = inner.cancel

    def push(self, pcm: Pcm) -> None:
        self._heard.append(pcm)
        self._inner.push(pcm)

    async def snapshot(self) -> Transcript:
        return self._count(await self._inner.snapshot())

    async def finish(self) -> Transcript:
        return self._count(await self._inner.finish())

    def _count(self, transcript: Transcript) -> Transcript:
        loudest = max((int(np.abs(pcm).max()) for pcm in self._heard), default=0)
        return Transcript(f"{sum(map(len, self._heard))} samples, {loudest} at most", transcript.samples)


def counting(**options: Any) -> dict[str, Any]:
    return entry(f"{HERE}CountingSpeechToText", **options)


class PacedSpeechToText(ScriptedSpeechToText):
    """Its partials cost it much; its words say how urgent they were each time sound came."""

    def open(self, **options: Any) -> Any:
        return _PacedTranscription(super().open(**options))


class _PacedTranscription(_CountingTranscription):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.hurried = True
        self._paces: list[bool] = []

    def push(self, pcm: Pcm) -> None:
        self._paces.append(self.hurried)

    def _count(self, transcript: Transcript) -> Transcript:
        return Transcript(" ".join(map(str, self._paces)))


def sound(seconds: float, rate_hz: int = 8000) -> Pcm:
    return np.full(int(seconds * rate_hz), 1000, np.int16)


def test_each_engine_that_wants_to_know_learns_whether_words_are_urgent():
    async def work():
        paced = entry(f"{HERE}PacedSpeechToText")
        engine = await started(FallbackSpeechToText(engines=[stt(**FAILING), paced]))
        utterance = engine.open()
        utterance.push(sound(0.1))
        utterance.hurried = False
        utterance.push(sound(0.1))
        assert (await utterance.snapshot()).text == "False False"  # by the second engine, which hears all of it
        utterance.hurried = True
        utterance.push(sound(0.1))
        assert (await utterance.finish()).text == "False False True"

    run(work())


@pytest.mark.parametrize(("trouble", "wait"), [(FAILING, 0.05), (SILENT, 0.75)])
def test_the_next_recogniser_hears_the_utterance_from_its_start(trouble, wait):
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**trouble), counting()], deadline=0.7))
        async with leaving_no_task():
            utterance = engine.open()
            for _ in range(10):
                utterance.push(sound(0.1))
            asked_at = loop_time()
            assert await utterance.snapshot() == Transcript("8000 samples, 1000 at most", 8000)
            assert loop_time() - asked_at <= wait + 0.05
            utterance.push(sound(0.5))
            assert (await utterance.finish()).text.startswith("12000 samples")
        assert outcomes(engine)[1] == (2, 0, 0, 0)

    run(work())


def test_three_snapshots_that_fail_together_count_as_one_failure():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**SILENT), counting()], failures=2))
        utterance = engine.open()
        utterance.push(sound(1.0))
        answers = await asyncio.gather(*(utterance.snapshot() for _ in range(3)))
        assert {answer.samples for answer in answers} == {8000}
        assert outcomes(engine) == [(0, 0, 1, 0), (3, 0, 0, 0)]

    run(work())


def test_a_recogniser_at_another_rate_hears_all_and_its_samples_are_converted():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**FAILING), counting(rate_hz=16000)]))
        utterance = engine.open()
        utterance.push(sound(1.0))
        transcript = await utterance.finish()
        assert int(transcript.text.split()[0]) == pytest.approx(16000, abs=56)
        assert transcript.samples == pytest.approx(8000, abs=28)

    run(work())


class GermanSpeechToText(ScriptedSpeechToText):
    """It finds German in all sound in which that may be spoken."""

    def open(self, **options: Any) -> Any:
        self.found = ["de"] if "de" in options["others"] else []
        return super().open(**options)


def test_the_next_recogniser_finds_the_language_too():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**FAILING), entry(f"{HERE}GermanSpeechToText")]))
        for others, found in ((("de",), ("de", 1.0)), ((), ("", 0.0))):
            utterance = engine.open(others=others)
            utterance.push(sound(1.0))
            transcript = await utterance.finish()
            assert (transcript.language, transcript.language_probability) == found

    run(work())


class EagerSpeechToText(ScriptedSpeechToText):
    """It hears the first word that it is told to expect."""

    def open(self, **options: Any) -> Any:
        self.transcripts = [*options["keyterms"][:1], "nothing expected"]
        return super().open(**options)


def test_the_next_recogniser_is_told_which_words_to_expect():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**FAILING), entry(f"{HERE}EagerSpeechToText")]))
        utterance = engine.open(keyterms=("Okafor",))
        utterance.push(sound(1.0))
        assert (await utterance.finish()).text == "Okafor"

    run(work())


def test_the_next_recogniser_hears_the_last_half_minute_of_a_very_long_utterance():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**FAILING), counting()]))
        utterance = engine.open()
        for _ in range(450):
            utterance.push(sound(0.1))
        transcript = await utterance.finish()
        assert int(transcript.text.split()[0]) == 30 * 8000
        assert transcript.samples == 45 * 8000

    run(work())


def test_when_all_recognisers_have_failed_the_next_request_asks_them_again():
    async def work():
        first, second = stt(failures=[{"on": 1}], transcripts=["Hello."]), stt(failures=[{"on": 1}])
        engine = await started(FallbackSpeechToText(engines=[first, second]))
        utterance = engine.open()
        utterance.push(sound(1.0))
        with pytest.raises(EngineError, match="as its script says"):
            await utterance.snapshot()
        assert await utterance.finish() == Transcript("Hello.", 8000)

    run(work())


def test_partials_come_only_from_the_recogniser_in_use():
    async def work():
        heard: list[str] = []
        first = stt(partials=True, transcripts=["one two three four five six"], **SILENT)
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


class DeafSpeechToText(ScriptedSpeechToText):
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
def test_a_recogniser_that_cannot_be_opened_or_takes_no_sound_is_replaced_at_once(opens):
    async def work():
        deaf = entry(f"{HERE}DeafSpeechToText", opens=opens)
        engine = await started(FallbackSpeechToText(engines=[deaf, counting()]))
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


class PendingSpeechToText(ScriptedSpeechToText):
    """Answers a request only by an error when the utterance is cancelled; keeps its utterances."""

    utterances: list[_PendingTranscription] = []

    def open(self, **options: Any) -> Any:
        utterance = _PendingTranscription()
        self.utterances.append(utterance)
        return utterance


class _PendingTranscription:
    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    def push(self, pcm: Pcm) -> None: ...

    async def snapshot(self) -> Transcript:
        await self.cancelled.wait()
        raise EngineError("it was cancelled")

    def cancel(self) -> None:
        self.cancelled.set()


def test_an_error_after_the_utterance_was_cancelled_does_not_count():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[entry(f"{HERE}PendingSpeechToText"), stt()], failures=3))
        for _ in range(3):
            utterance = engine.open()
            pending = asyncio.ensure_future(utterance.snapshot())
            await asyncio.sleep(0)
            utterance.cancel()
            with pytest.raises(EngineError, match="it was cancelled"):
                await pending
        assert outcomes(engine) == [(0, 0, 0, 0), (0, 0, 0, 0)]

    run(work())


class SoundRefusingSpeechToText(PendingSpeechToText):
    """Refuses all sound."""

    def open(self, **options: Any) -> Any:
        utterance = super().open(**options)
        utterance.push = self.refuse
        return utterance

    def refuse(self, pcm: Pcm) -> None:
        raise EngineError("it takes no sound")


def test_every_utterance_that_was_opened_is_cancelled_in_the_end():
    async def work():
        PendingSpeechToText.utterances.clear()
        pending, refusing = entry(f"{HERE}PendingSpeechToText"), entry(f"{HERE}SoundRefusingSpeechToText")
        engine = await started(FallbackSpeechToText(engines=[pending, refusing, pending]))
        utterance = engine.open()
        utterance.push(sound(0.1))
        with pytest.raises(EngineError):
            await utterance.snapshot()
        utterance.cancel()
        with pytest.raises(EngineError):
            await utterance.snapshot()
        assert [opened.cancelled.is_set() for opened in PendingSpeechToText.utterances] == [True] * 3
        assert outcomes(engine) == [(0, 0, 1, 0), (0, 1, 0, 0), (0, 0, 1, 0)]

    run(work())


class NamedSpeechToText(ScriptedSpeechToText):
    """Notes its name when an utterance is cancelled; gives snapshots only if ``snapshots``."""

    cancelled: list[str] = []

    def __init__(self, *, name: str, snapshots: bool) -> None:
        super().__init__(transcripts=["Hello."])
        self.name = name
        self.snapshots = snapshots

    def open(self, **options: Any) -> Any:
        utterance = super().open(**options)
        if not self.snapshots:
            utterance.snapshot = self.refuse
        utterance.cancel = partial(self.cancelled.append, self.name)
        return utterance

    async def refuse(self) -> Transcript:
        raise EngineError("it gives no snapshots")


def test_when_one_recogniser_finishes_the_one_that_took_over_is_cancelled():
    async def work():
        NamedSpeechToText.cancelled.clear()
        engines = [
            entry(f"{HERE}NamedSpeechToText", name=name, snapshots=name == "second") for name in ("first", "second")
        ]
        engine = await started(FallbackSpeechToText(engines=engines))
        utterance = engine.open()
        utterance.push(sound(1.0))
        final, snapshot = await asyncio.gather(utterance.finish(), utterance.snapshot())
        assert (final.text, snapshot.text) == ("Hello.", "Hello.")
        assert set(NamedSpeechToText.cancelled) == {"first", "second"}
        assert await utterance.snapshot() is final

    run(work())


def test_cancelling_an_utterance_ends_a_pending_request():
    async def work():
        engine = await started(FallbackSpeechToText(engines=[stt(**SILENT), counting()]))
        async with leaving_no_task():
            utterance = engine.open()
            pending = asyncio.ensure_future(utterance.snapshot())
            await asyncio.sleep(0)
            utterance.cancel()
            with pytest.raises(EngineError):
                await pending
        assert outcomes(engine)[1] == (0, 0, 0, 0)

    run(work())
