"""Several workers share what clients ask for; on a real Redis."""

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest

from inference.engines.remote import RemoteLanguageModel, RemoteTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedTextToSpeech
from tests.inference.remote.clients import (
    HELLO_SAMPLES,
    MESSAGES,
    QUICK,
    SAMPLES_PER_CHARACTER,
    SENTENCE,
    spoken_samples,
    started,
    text_of,
)
from tests.inference.remote.serving import running_worker, serving, wait_until

pytestmark = pytest.mark.usefixtures("redis_layers")


async def test_if_two_workers_take_the_same_placement_one_of_them_is_declined(redis_layers):
    """Channels' Redis layer may deliver a message twice when several processes read."""
    placements, _ = redis_layers
    send = placements.send

    async def send_twice(channel, message):
        await send(channel, message)
        await send(channel, message)

    placements.send = send_twice
    engine = ScriptedTextToSpeech(**QUICK)
    async with serving("tts", engine) as one, serving("tts", engine) as other, started(RemoteTextToSpeech()) as tts:
        voices = [tts.open() for _ in range(5)]
        assert await asyncio.gather(*(spoken_samples(voice, "Hello.") for voice in voices)) == [HELLO_SAMPLES] * 5
        await wait_until(lambda: one.free + other.free == 2 * 128 - 5)
        for voice in voices:
            await voice.close()
        await wait_until(lambda: one.free + other.free == 2 * 128)


async def test_a_worker_that_is_stopped_lets_a_turn_end_and_another_one_speaks_the_next():
    engine = ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.01)
    async with running_worker(engine, drain=60.0) as (first, task), started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        turn = speech.speak(text_of(SENTENCE))
        samples = len((await anext(turn)).pcm)
        first.stop()
        async with serving("tts", engine):
            samples += sum([len(chunk.pcm) async for chunk in turn])
            assert samples == len(SENTENCE) * SAMPLES_PER_CHARACTER
            await asyncio.wait_for(task, 30)  # half of what it may drain: it does not wait for the call to end
            assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES
            await speech.close()


async def test_a_request_to_a_worker_that_is_leaving_is_served_by_another_at_once():
    engine = ScriptedLanguageModel(first_delay=0.0, token_delay=0.0)
    async with serving("llm", engine), started(RemoteLanguageModel()) as llm:
        async with serving("llm", engine) as leaving:
            llm.preferred_worker = leaving.links.channel
            await wait_until(lambda: llm.workers.has_free_slot(leaving.links.channel))
            llm.links._max_silent_beats = 1000  # the client must not have to notice by itself that the worker is gone
            await leaving.links.close()  # it receives nothing any more, and has not announced that yet
            reply = llm.stream(MESSAGES)
            first = asyncio.ensure_future(anext(reply))
            await wait_until(lambda: llm.links.sessions)
        async with asyncio.timeout(8):  # less than an answer may take
            assert (await first).text
        await reply.aclose()


async def test_the_weights_do_not_change_with_the_number_of_workers():
    async with AsyncExitStack() as stack:
        weights = set()
        async with serving("tts", ScriptedTextToSpeech()) as one:
            tts = await stack.enter_async_context(started(RemoteTextToSpeech()))
            weights.add(tts.describe().weights)
            assert one.engine.describe().weights in tts.describe().weights
            async with serving("tts", ScriptedTextToSpeech()):
                await wait_until(lambda: tts.describe().capacity == 256)
                weights.add(tts.describe().weights)
        await wait_until(lambda: tts.describe().capacity == 0)
        assert weights == {tts.describe().weights}


async def test_a_language_model_asks_its_worker_directly_and_another_one_when_that_is_full(redis_layers):
    placements, _ = redis_layers
    sent = []
    send = placements.send

    async def counted(channel, message):
        sent.append(channel)
        await send(channel, message)

    placements.send = counted
    engine = ScriptedLanguageModel(replies=["word " * 100], first_delay=0.0, token_delay=0.0)
    async with serving("llm", engine, slots=1) as one, started(RemoteLanguageModel()) as llm:
        for _ in range(3):
            async with aclosing(llm.stream(MESSAGES)) as deltas:
                assert [delta async for delta in deltas]
            await wait_until(lambda: one.free == 1 and llm.workers.has_free_slot(one.links.channel))
        assert len(sent) == 1
        async with serving("llm", engine, slots=1) as other:
            await wait_until(lambda: llm.workers.has_free_slot(other.links.channel))
            async with aclosing(llm.stream(MESSAGES)) as held:
                await anext(held)
                async with aclosing(llm.stream(MESSAGES)) as deltas:
                    assert [delta async for delta in deltas]
            assert llm.preferred_worker == other.links.channel
