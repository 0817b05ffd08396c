"""
What every engine promises, as tests to inherit: ``inference/interfaces.py`` in executable form.

A test class names its engine with a class-scoped fixture ``make`` that returns a function from nothing to a fresh
engine, not yet started. One started engine serves the tests of a class, as one serves the calls of a process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from inference.types import AudioChunk, EngineError, Message, Pcm, TextDelta, Tools, Transcript

RATES_HZ = {8000, 16000, 22050, 24000}


def band_noise(low_hz: float, high_hz: float, seconds: float, rate_hz: int, *, seed: int = 1) -> Pcm:
    """Loud noise between two frequencies, shape ``(seconds * rate_hz,)``."""
    samples = round(seconds * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / rate_hz)
    spectrum[(frequencies < low_hz) | (frequencies >= high_hz)] = 0
    sound = np.fft.irfft(spectrum, samples)
    return (12000 * sound / np.abs(sound).max()).astype(np.int16)


@asynccontextmanager
async def leaving_no_task() -> AsyncIterator[None]:
    """What runs inside must have ended its tasks, or must be about to."""
    before = asyncio.all_tasks()
    yield
    started = asyncio.all_tasks() - before
    if started:
        _, running = await asyncio.wait(started, timeout=2)
        assert not running


@pytest.mark.asyncio(loop_scope="class")
class EngineContract:
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls, make: Callable[[], Any]) -> AsyncIterator[Any]:
        engine = make()
        await engine.start()
        yield engine
        await engine.close()

    async def test_starting_and_closing_twice_does_no_harm(self, make):
        async with leaving_no_task():
            engine = make()
            await engine.start()
            await engine.start()
            await engine.close()
            await engine.close()

    async def test_it_can_be_closed_without_having_been_started(self, make):
        await make().close()

    async def test_it_describes_itself_before_it_is_started_and_after(self, make, engine):
        for description in (make().describe(), engine.describe()):
            assert description.weights.strip()
            assert description.device.strip()
            assert description.memory_bytes >= 0
            assert description.capacity >= 0

    async def test_it_says_whether_it_may_be_speculated_on(self, engine):
        assert engine.may_speculate in (True, False)


class SpeechToTextContract(EngineContract):
    @classmethod
    def sounds(cls, rate_hz: int) -> tuple[Pcm, Pcm]:
        """Two utterances that are not heard as the same words."""
        return band_noise(100, 1500, 1.2, rate_hz), band_noise(2200, 3900, 0.6, rate_hz)

    @classmethod
    def words(cls, transcript: Transcript) -> Hashable:
        """What of a transcript must be equal for equal sound."""
        return transcript.text

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def told(cls, engine) -> tuple[Hashable, Hashable]:
        """The words of the two utterances, each heard alone and in one piece."""
        return tuple([cls.words(await cls._hear(engine, [sound])) for sound in cls.sounds(engine.rate_hz)])

    @classmethod
    async def _hear(cls, engine, chunks) -> Transcript:
        utterance = engine.open()
        for chunk in chunks:
            utterance.push(chunk)
        return await utterance.finish()

    async def test_its_rate_is_one_that_sound_comes_in(self, engine):
        assert engine.rate_hz in RATES_HZ

    async def test_it_tells_different_utterances_apart(self, engine, told):
        first, second = told
        assert first
        assert second
        assert first != second

    @pytest.mark.parametrize("chunk_samples", [1, 7, 160, 333, 4000])
    async def test_the_size_of_the_chunks_makes_no_difference(self, engine, told, chunk_samples):
        sound = self.sounds(engine.rate_hz)[0]
        pieces = [sound[start : start + chunk_samples] for start in range(0, len(sound), chunk_samples)]
        heard = await self._hear(engine, [sound[:0], *pieces, sound[:0]])
        assert self.words(heard) == told[0]

    async def test_a_chunk_may_be_overwritten_after_it_was_pushed(self, engine, told):
        utterance, sound = engine.open(), self.sounds(engine.rate_hz)[0]
        buffer = np.empty(160, np.int16)
        for start in range(0, len(sound), 160):
            buffer[:] = sound[start : start + 160]
            utterance.push(buffer)
            buffer[:] = 0
        assert self.words(await utterance.finish()) == told[0]

    async def test_a_snapshot_gives_words_and_does_not_disturb(self, engine, told):
        utterance, sound = engine.open(), self.sounds(engine.rate_hz)[0]
        accounted = [0]
        for piece in np.array_split(sound, 4):
            utterance.push(piece)
            snapshot = await utterance.snapshot()
            accounted.append(snapshot.samples)
        final = await utterance.finish()
        assert self.words(final) == told[0]
        assert accounted == sorted(accounted)
        assert 0 < final.samples <= len(sound)
        assert 0 <= final.confidence <= 1

    async def test_pushing_goes_on_while_a_snapshot_is_awaited(self, engine, told):
        utterance, sound = engine.open(), self.sounds(engine.rate_hz)[0]
        begin, middle, end = np.array_split(sound, 3)
        utterance.push(begin)
        snapshots = [asyncio.ensure_future(utterance.snapshot()) for _ in range(3)]
        utterance.push(middle)
        await asyncio.sleep(0)
        utterance.push(end)
        final = await utterance.finish()
        assert self.words(final) == told[0]
        assert all(isinstance(snapshot, Transcript) for snapshot in await asyncio.gather(*snapshots))

    async def test_a_snapshot_that_nobody_waits_for_any_more_does_no_harm(self, engine, told):
        async with leaving_no_task():
            utterance = engine.open()
            utterance.push(self.sounds(engine.rate_hz)[0])
            snapshot = asyncio.ensure_future(utterance.snapshot())
            await asyncio.sleep(0)
            snapshot.cancel()
            assert self.words(await utterance.finish()) == told[0]

    async def test_finishing_again_gives_the_same_and_later_sound_is_ignored(self, engine, told):
        utterance = engine.open()
        first, second = self.sounds(engine.rate_hz)
        utterance.push(first)
        final = await utterance.finish()
        utterance.push(second)
        assert await utterance.finish() == final
        utterance.cancel()
        assert self.words(final) == told[0]

    async def test_cancelling_again_does_no_harm_and_later_sound_is_ignored(self, engine):
        async with leaving_no_task():
            utterance = engine.open()
            first, second = self.sounds(engine.rate_hz)
            utterance.push(first)
            utterance.cancel()
            utterance.push(second)
            utterance.cancel()

    async def test_an_utterance_without_sound_can_be_finished(self, engine):
        assert (await engine.open().finish()).samples == 0

    async def test_utterances_of_several_calls_do_not_mix(self, engine, told):
        sounds = self.sounds(engine.rate_hz)
        utterances = [engine.open() for _ in sounds]
        for pieces in zip(*(np.array_split(sound, 20) for sound in sounds), strict=True):
            for utterance, piece in zip(utterances, pieces, strict=True):
                utterance.push(piece)
        finals = await asyncio.gather(*(utterance.finish() for utterance in utterances))
        assert tuple(self.words(final) for final in finals) == told

    async def test_partials_come_on_the_loop_and_not_after_the_end(self, engine):
        loop, partials = asyncio.get_running_loop(), []

        def on_partial(partial: Transcript) -> None:
            assert asyncio.get_running_loop() is loop
            partials.append(partial)

        utterance = engine.open(on_partial=on_partial)
        sound = self.sounds(engine.rate_hz)[0]
        for piece in np.array_split(np.tile(sound, 3), 15):
            utterance.push(piece)
            await utterance.snapshot()
        await utterance.finish()
        seen = len(partials)
        await asyncio.sleep(0)
        await self._hear(engine, [sound])
        assert len(partials) == seen
        assert bool(seen) == engine.gives_partials
        assert all(isinstance(partial, Transcript) and partial.text for partial in partials)

    async def test_the_engine_can_be_closed_with_utterances_open(self, make):
        async with leaving_no_task():
            engine = make()
            await engine.start()
            idle, pending = engine.open(), engine.open()
            for utterance in (idle, pending):
                utterance.push(self.sounds(engine.rate_hz)[0])
            finishing = asyncio.ensure_future(pending.finish())
            await asyncio.sleep(0)
            await engine.close()
            (outcome,) = await asyncio.wait_for(asyncio.gather(finishing, return_exceptions=True), 5)
            assert isinstance(outcome, Transcript | EngineError)
            idle.push(self.sounds(engine.rate_hz)[0])
            idle.cancel()


class LanguageModelContract(EngineContract):
    conversations = (
        (Message("system", "You answer the telephone."), Message("user", "What time do you open?")),
        (
            Message("system", "You answer the telephone."),
            Message("assistant", "Good morning."),
            Message("user", "Where are you?"),
        ),
    )

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def told(cls, engine) -> list[str]:
        return [await cls._reply(engine, messages) for messages in cls.conversations]

    @classmethod
    async def _reply(cls, engine, messages, **options) -> str:
        async with aclosing(engine.stream(messages, **options)) as deltas:
            return "".join([delta.text async for delta in deltas])

    async def test_a_reply_comes_in_pieces(self, engine, told):
        async with leaving_no_task():
            deltas = [delta async for delta in engine.stream(self.conversations[0])]
        assert len([delta for delta in deltas if delta.text]) > 1
        assert all(isinstance(delta, TextDelta) for delta in deltas)
        assert "".join(delta.text for delta in deltas) == told[0]
        assert told[0].strip()

    async def test_a_speculative_reply_is_the_same(self, engine, told):
        assert await self._reply(engine, self.conversations[0], speculative=True) == told[0]

    async def test_warming_changes_nothing(self, engine, told):
        await engine.warm(self.conversations[0][:1])
        assert await self._reply(engine, self.conversations[0]) == told[0]

    async def test_tools_that_are_not_called_for_change_no_answer(self, engine, told):
        tools = Tools(transfer_targets=("sales", "the night porter"), opt_out=True)
        await engine.warm(self.conversations[0][:1], tools=tools)
        async with aclosing(engine.stream(self.conversations[0], tools=tools)) as deltas:
            said = [delta async for delta in deltas]
        assert "".join(delta.text for delta in said) == told[0]
        assert not any(delta.requests.transfer or delta.requests.opt_out for delta in said)

    async def test_closing_in_mid_reply_leaves_nothing_behind(self, engine, told):
        async with leaving_no_task():
            deltas = engine.stream(self.conversations[0])
            await anext(deltas)
            await deltas.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(deltas)
        assert await self._reply(engine, self.conversations[0]) == told[0]

    async def test_a_reply_that_was_never_begun_can_be_closed(self, engine):
        async with leaving_no_task():
            await engine.stream(self.conversations[0]).aclose()

    async def test_cancelling_whoever_reads_leaves_nothing_behind(self, engine, told):
        async with leaving_no_task():
            begun = asyncio.Event()

            async def read():
                async with aclosing(engine.stream(self.conversations[0])) as deltas:
                    async for _ in deltas:
                        begun.set()

            reader = asyncio.ensure_future(read())
            await begun.wait()
            reader.cancel()
            await asyncio.wait([reader])
        assert await self._reply(engine, self.conversations[0]) == told[0]

    async def test_replies_to_several_calls_do_not_mix(self, engine, told):
        replies = await asyncio.gather(*(self._reply(engine, messages) for messages in self.conversations * 3))
        assert replies == told * 3

    async def test_the_engine_can_be_closed_in_mid_reply(self, make):
        async with leaving_no_task():
            engine = make()
            await engine.start()
            deltas = engine.stream(self.conversations[0])
            await anext(deltas)
            await engine.close()
            await deltas.aclose()


class TextToSpeechContract(EngineContract):
    clauses = ("We open at ten in the morning. ", "And we shut at six.")

    async def _given(self, *clauses: str) -> AsyncGenerator[str, None]:
        for clause in clauses:
            yield clause

    async def _said(self, engine, *clauses: str) -> list[AudioChunk]:
        speech = engine.open()
        async with aclosing(speech.speak(self._given(*clauses))) as chunks:
            said = [chunk async for chunk in chunks]
        await speech.close()
        return said

    async def test_its_rate_is_one_that_sound_comes_in(self, engine):
        assert engine.rate_hz in RATES_HZ

    async def test_sound_is_16_bit_mono_and_says_how_far_in_the_text_it_is(self, engine):
        async with leaving_no_task():
            said = await self._said(engine, *self.clauses)
        assert all(isinstance(chunk, AudioChunk) for chunk in said)
        assert all(chunk.pcm.dtype == np.int16 and chunk.pcm.ndim == 1 for chunk in said)
        ends = [chunk.text_end for chunk in said]
        assert ends == sorted(ends)
        assert ends[0] >= 0
        assert ends[-1] == sum(map(len, self.clauses))
        sound = np.concatenate([chunk.pcm for chunk in said])
        assert len(sound) > 0.1 * engine.rate_hz
        assert np.abs(sound.astype(int)).max() > 1000

    async def test_the_first_clause_is_heard_before_the_second_is_known(self, engine):
        first_heard = asyncio.Event()

        async def clauses():
            yield self.clauses[0]
            await asyncio.wait_for(first_heard.wait(), 10)
            yield self.clauses[1]

        ends = []
        async for chunk in engine.open().speak(clauses()):
            ends.append(chunk.text_end)
            if len(chunk.pcm):
                first_heard.set()
        assert ends[0] <= len(self.clauses[0])
        assert ends[-1] == sum(map(len, self.clauses))

    async def test_without_text_there_is_no_sound(self, engine):
        assert await self._said(engine) == []

    async def test_closing_in_mid_speech_leaves_nothing_behind(self, engine):
        async with leaving_no_task():
            speech = engine.open()
            chunks = speech.speak(self._given(*self.clauses))
            heard = len((await anext(chunks)).pcm)
            await chunks.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)
            speech.heard(heard)
            again = [chunk async for chunk in speech.speak(self._given(*self.clauses))]
            assert again[-1].text_end == sum(map(len, self.clauses))
            await speech.close()
            await speech.close()

    async def test_closing_while_the_next_clause_is_awaited_leaves_nothing_behind(self, engine):
        async def clauses():
            yield self.clauses[0]
            await asyncio.Event().wait()

        async with leaving_no_task():
            heard = asyncio.Event()

            async def play():
                async with aclosing(engine.open().speak(clauses())) as chunks:
                    async for _ in chunks:
                        heard.set()

            player = asyncio.ensure_future(play())
            await heard.wait()
            player.cancel()
            with pytest.raises(asyncio.CancelledError):
                await player

    async def test_the_speech_of_several_calls_does_not_mix(self, engine):
        alone = [sum(len(chunk.pcm) for chunk in await self._said(engine, clause)) for clause in self.clauses]
        together = await asyncio.gather(*(self._said(engine, clause) for clause in self.clauses * 2))
        # Some synthesisers vary a clause by some samples from one time to the next.
        assert [sum(len(chunk.pcm) for chunk in said) for said in together] == pytest.approx(alone * 2, rel=0.02)
        assert [said[-1].text_end for said in together] == [len(clause) for clause in self.clauses] * 2

    async def test_an_error_of_the_text_reaches_whoever_listens(self, engine):
        async def clauses():
            yield self.clauses[0]
            raise EngineError("the language model is gone")

        async with leaving_no_task():
            with pytest.raises(EngineError, match="language model is gone"):
                async for _ in engine.open().speak(clauses()):
                    pass

    async def test_an_unknown_voice_is_refused_for_good(self, engine):
        with pytest.raises(EngineError) as refusal:
            engine.open(voice="no such voice")
        assert refusal.value.permanent

    async def test_the_engine_can_be_closed_in_mid_speech(self, make):
        async with leaving_no_task():
            engine = make()
            await engine.start()
            speech = engine.open()
            chunks = speech.speak(self._given(*self.clauses))
            await anext(chunks)
            await engine.close()
            await chunks.aclose()
            await speech.close()
