"""
What every engine promises in ``inference/interfaces.py``, as tests to inherit.

A test class has a class-scoped fixture ``make``, which returns a function that makes an engine that is not started. One
started engine is used by all tests of a class, as one engine serves all calls of a process.
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
    """Fail unless the tasks that the block has started end with it or soon after it."""
    before = asyncio.all_tasks()
    yield
    started = asyncio.all_tasks() - before
    if started:
        _, running = await asyncio.wait(started, timeout=30)
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

    async def test_starting_and_closing_are_idempotent(self, make):
        async with leaving_no_task():
            engine = make()
            await engine.start()
            await engine.start()
            await engine.close()
            await engine.close()

    async def test_an_engine_can_be_closed_without_having_been_started(self, make):
        await make().close()

    async def test_an_engine_describes_itself_before_it_is_started_and_after(self, make, engine):
        for description in (make().describe(), engine.describe()):
            assert description.weights.strip()
            assert description.device.strip()
            assert description.memory_bytes >= 0
            assert description.capacity >= 0

    async def test_an_engine_says_whether_it_may_speculate(self, engine):
        assert engine.may_speculate in (True, False)


class SpeechToTextContract(EngineContract):
    heeds_keyterms = False
    """Whether words to expect may change what is recognised."""

    @classmethod
    def sounds(cls, rate_hz: int) -> tuple[Pcm, Pcm]:
        """Two utterances that are recognised as different words."""
        return band_noise(100, 1500, 1.2, rate_hz), band_noise(2200, 3900, 0.6, rate_hz)

    @classmethod
    def words(cls, transcript: Transcript) -> Hashable:
        """The part of a transcript that must be equal for equal sound."""
        return transcript.text

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def expected(cls, engine) -> tuple[Hashable, Hashable]:
        """The words of the two utterances, each pushed alone and in one piece."""
        return tuple([cls.words(await cls._recognise(engine, [sound])) for sound in cls.sounds(engine.rate_hz)])

    @classmethod
    async def _recognise(cls, engine, chunks) -> Transcript:
        utterance = engine.open()
        for chunk in chunks:
            utterance.push(chunk)
        return await utterance.finish()

    async def test_the_rate_is_a_usual_one(self, engine):
        assert engine.rate_hz in RATES_HZ

    async def test_different_utterances_are_recognised_as_different_words(self, engine, expected):
        first, second = expected
        assert first
        assert second
        assert first != second

    @pytest.mark.parametrize("chunk_samples", [1, 7, 160, 333, 4000])
    async def test_the_size_of_the_chunks_makes_no_difference(self, engine, expected, chunk_samples):
        sound = self.sounds(engine.rate_hz)[0]
        pieces = [sound[start : start + chunk_samples] for start in range(0, len(sound), chunk_samples)]
        heard = await self._recognise(engine, [sound[:0], *pieces, sound[:0]])
        assert self.words(heard) == expected[0]

    async def test_an_engine_without_use_for_keyterms_ignores_them(self, engine, expected):
        utterance = engine.open(keyterms=("Okafor", "Wellington boots"))
        utterance.push(self.sounds(engine.rate_hz)[0])
        heard = await utterance.finish()
        assert self.heeds_keyterms or self.words(heard) == expected[0]

    async def test_a_chunk_may_be_overwritten_after_it_was_pushed(self, engine, expected):
        utterance, sound = engine.open(), self.sounds(engine.rate_hz)[0]
        buffer = np.empty(160, np.int16)
        for start in range(0, len(sound), 160):
            buffer[:] = sound[start : start + 160]
            utterance.push(buffer)
            buffer[:] = 0
        assert self.words(await utterance.finish()) == expected[0]

    async def test_languages_that_it_does_not_know_change_nothing(self, engine, expected):
        utterance = engine.open(others=("xx", "tlh-AQ"))
        utterance.push(self.sounds(engine.rate_hz)[0])
        assert self.words(await utterance.finish()) == expected[0]

    async def test_a_snapshot_does_not_disturb_recognition(self, engine, expected):
        utterance, sound = engine.open(), self.sounds(engine.rate_hz)[0]
        accounted = [0]
        for piece in np.array_split(sound, 4):
            utterance.push(piece)
            snapshot = await utterance.snapshot()
            accounted.append(snapshot.samples)
        final = await utterance.finish()
        assert self.words(final) == expected[0]
        assert accounted == sorted(accounted)
        assert 0 < final.samples <= len(sound)
        assert 0 <= final.confidence <= 1

    async def test_pushing_goes_on_while_a_snapshot_is_awaited(self, engine, expected):
        utterance, sound = engine.open(), self.sounds(engine.rate_hz)[0]
        begin, middle, end = np.array_split(sound, 3)
        utterance.push(begin)
        snapshots = [asyncio.ensure_future(utterance.snapshot()) for _ in range(3)]
        utterance.push(middle)
        await asyncio.sleep(0)
        utterance.push(end)
        final = await utterance.finish()
        assert self.words(final) == expected[0]
        assert all(isinstance(snapshot, Transcript) for snapshot in await asyncio.gather(*snapshots))

    async def test_a_snapshot_can_be_cancelled(self, engine, expected):
        async with leaving_no_task():
            utterance = engine.open()
            utterance.push(self.sounds(engine.rate_hz)[0])
            snapshot = asyncio.ensure_future(utterance.snapshot())
            await asyncio.sleep(0)
            snapshot.cancel()
            assert self.words(await utterance.finish()) == expected[0]

    async def test_finishing_is_idempotent_and_later_sound_is_ignored(self, engine, expected):
        utterance = engine.open()
        first, second = self.sounds(engine.rate_hz)
        utterance.push(first)
        final = await utterance.finish()
        utterance.push(second)
        assert await utterance.finish() == final
        utterance.cancel()
        assert self.words(final) == expected[0]

    async def test_cancelling_is_idempotent_and_later_sound_is_ignored(self, engine):
        async with leaving_no_task():
            utterance = engine.open()
            first, second = self.sounds(engine.rate_hz)
            utterance.push(first)
            utterance.cancel()
            utterance.push(second)
            utterance.cancel()

    async def test_an_utterance_without_sound_can_be_finished(self, engine):
        assert (await engine.open().finish()).samples == 0

    async def test_utterances_of_several_calls_do_not_mix(self, engine, expected):
        sounds = self.sounds(engine.rate_hz)
        utterances = [engine.open() for _ in sounds]
        for pieces in zip(*(np.array_split(sound, 20) for sound in sounds), strict=True):
            for utterance, piece in zip(utterances, pieces, strict=True):
                utterance.push(piece)
        finals = await asyncio.gather(*(utterance.finish() for utterance in utterances))
        assert tuple(self.words(final) for final in finals) == expected

    async def test_partials_are_passed_on_the_loop_and_not_after_the_end(self, engine):
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
        await self._recognise(engine, [sound])
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
            (outcome,) = await asyncio.wait_for(asyncio.gather(finishing, return_exceptions=True), 60)
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

    reads_notes: bool = True
    """Whether the model tells a note behind the caller's words from the words."""

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def expected(cls, engine) -> list[str]:
        return [await cls._reply(engine, messages) for messages in cls.conversations]

    @classmethod
    async def _reply(cls, engine, messages, **options) -> str:
        async with aclosing(engine.stream(messages, **options)) as deltas:
            return "".join([delta.text async for delta in deltas])

    async def test_a_reply_comes_in_pieces(self, engine, expected):
        async with leaving_no_task():
            deltas = [delta async for delta in engine.stream(self.conversations[0])]
        assert len([delta for delta in deltas if delta.text]) > 1
        assert all(isinstance(delta, TextDelta) for delta in deltas)
        assert "".join(delta.text for delta in deltas) == expected[0]
        assert expected[0].strip()

    async def test_a_speculative_reply_is_the_same(self, engine, expected):
        assert await self._reply(engine, self.conversations[0], speculative=True) == expected[0]

    async def test_warming_does_not_change_the_reply(self, engine, expected):
        await engine.warm(self.conversations[0][:1])
        assert await self._reply(engine, self.conversations[0]) == expected[0]

    async def test_tools_that_are_not_asked_for_do_not_change_the_reply(self, engine, expected):
        tools = Tools(transfer_targets=("sales", "the night porter"), opt_out=True)
        await engine.warm(self.conversations[0][:1], tools=tools)
        async with aclosing(engine.stream(self.conversations[0], tools=tools)) as deltas:
            said = [delta async for delta in deltas]
        assert "".join(delta.text for delta in said) == expected[0]
        assert not any(delta.requests.transfer or delta.requests.opt_out for delta in said)

    async def test_a_caller_who_has_finished_gets_a_reply(self, engine, expected):
        messages = [*self.conversations[0], Message("finished", "")]
        async with aclosing(engine.stream(messages, tools=Tools(may_wait=True))) as deltas:
            said = [delta async for delta in deltas]
        reply = "".join(delta.text for delta in said).strip()
        assert reply == expected[0] if self.reads_notes else reply
        assert not any(delta.requests.wait for delta in said)

    async def test_closing_in_mid_reply_leaves_nothing_behind(self, engine, expected):
        async with leaving_no_task():
            deltas = engine.stream(self.conversations[0])
            await anext(deltas)
            await deltas.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(deltas)
        assert await self._reply(engine, self.conversations[0]) == expected[0]

    async def test_a_reply_can_be_closed_before_it_has_begun(self, engine):
        async with leaving_no_task():
            await engine.stream(self.conversations[0]).aclose()

    async def test_cancelling_the_reader_leaves_nothing_behind(self, engine, expected):
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
        assert await self._reply(engine, self.conversations[0]) == expected[0]

    async def test_replies_to_several_calls_do_not_mix(self, engine, expected):
        replies = await asyncio.gather(*(self._reply(engine, messages) for messages in self.conversations * 3))
        assert replies == expected * 3

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
    refuses_unknown_voices = True
    """False for an engine that speaks with its default voice instead."""
    length_tolerance = 0.02
    """By how much two readings of a text may differ in length: some synthesisers speak a clause with a few samples more
    or less each time. An engine that samples may have 0.1."""

    async def _text_of(self, *clauses: str) -> AsyncGenerator[str, None]:
        for clause in clauses:
            yield clause

    async def _speak(self, engine, *clauses: str) -> list[AudioChunk]:
        speech = engine.open()
        async with aclosing(speech.speak(self._text_of(*clauses))) as chunks:
            said = [chunk async for chunk in chunks]
        await speech.close()
        return said

    async def test_the_rate_is_a_usual_one(self, engine):
        assert engine.rate_hz in RATES_HZ

    async def test_sound_is_16_bit_mono_and_says_how_much_text_was_spoken(self, engine):
        async with leaving_no_task():
            said = await self._speak(engine, *self.clauses)
        assert all(isinstance(chunk, AudioChunk) for chunk in said)
        assert all(chunk.pcm.dtype == np.int16 and chunk.pcm.ndim == 1 for chunk in said)
        ends = [chunk.text_end for chunk in said]
        assert ends == sorted(ends)
        assert ends[0] >= 0
        assert ends[-1] == sum(map(len, self.clauses))
        sound = np.concatenate([chunk.pcm for chunk in said])
        assert len(sound) > 0.1 * engine.rate_hz
        assert np.abs(sound.astype(int)).max() > 1000

    async def test_the_first_clause_is_spoken_before_the_second_is_known(self, engine):
        first_heard = asyncio.Event()

        async def clauses():
            yield self.clauses[0]
            await asyncio.wait_for(first_heard.wait(), 60)
            yield self.clauses[1]

        ends = []
        async for chunk in engine.open().speak(clauses()):
            ends.append(chunk.text_end)
            if len(chunk.pcm):
                first_heard.set()
        assert ends[0] <= len(self.clauses[0])
        assert ends[-1] == sum(map(len, self.clauses))

    async def test_without_text_there_is_no_sound(self, engine):
        assert await self._speak(engine) == []

    async def test_closing_in_mid_speech_leaves_nothing_behind(self, engine):
        async with leaving_no_task():
            speech = engine.open()
            chunks = speech.speak(self._text_of(*self.clauses))
            heard = len((await anext(chunks)).pcm)
            await chunks.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)
            speech.heard(heard)
            again = [chunk async for chunk in speech.speak(self._text_of(*self.clauses))]
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
        alone = [sum(len(chunk.pcm) for chunk in await self._speak(engine, clause)) for clause in self.clauses]
        together = await asyncio.gather(*(self._speak(engine, clause) for clause in self.clauses * 2))
        lengths = [sum(len(chunk.pcm) for chunk in said) for said in together]
        assert lengths == pytest.approx(alone * 2, rel=self.length_tolerance)
        assert [said[-1].text_end for said in together] == [len(clause) for clause in self.clauses] * 2

    async def test_an_error_of_the_text_is_raised_to_the_listener(self, engine):
        async def clauses():
            yield self.clauses[0]
            raise EngineError("the language model is gone")

        async with leaving_no_task():
            with pytest.raises(EngineError, match="language model is gone"):
                async for _ in engine.open().speak(clauses()):
                    pass

    async def test_an_unknown_voice_is_refused_permanently_or_replaced_by_the_default(self, engine):
        if self.refuses_unknown_voices:
            with pytest.raises(EngineError) as refusal:
                engine.open(voice="no such voice")
            assert refusal.value.permanent
        else:
            speech = engine.open(voice="no such voice")
            said = [chunk async for chunk in speech.speak(self._text_of("Hello."))]
            assert said[-1].text_end == len("Hello.")

    async def test_the_engine_can_be_closed_in_mid_speech(self, make):
        async with leaving_no_task():
            engine = make()
            await engine.start()
            speech = engine.open()
            chunks = speech.speak(self._text_of(*self.clauses))
            await anext(chunks)
            await engine.close()
            await chunks.aclose()
            await speech.close()
