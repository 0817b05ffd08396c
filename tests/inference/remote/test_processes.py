"""Workers in processes of their own, which are stopped, killed and frozen, on a Redis that is away for a while."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, ExitStack

import pytest
from channels.layers import channel_layers

from clientcaller.pubsub_layer import PubSubChannelLayer
from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import DEFAULT_TRANSCRIPT, ScriptedLanguageModel
from inference.remote.links import BEAT, SILENT_BEATS
from inference.types import EngineFull, NoWorker
from tests.inference.remote.clients import (
    MESSAGES,
    SAMPLES_PER_CHARACTER,
    SECOND,
    SENTENCE,
    spoken_samples,
    started,
    text_of,
)
from tests.inference.remote.processes import POD, wait_until_loaded, worker_process
from tests.inference.remote.serving import layers, wait_until
from tests.real_services import process, process_env
from tests.word_tones import BUSY_SECONDS

SENTENCE_SAMPLES = len(SENTENCE) * SAMPLES_PER_CHARACTER


@pytest.fixture
def redis_url(redis_server):
    with layers(redis_server.url):
        yield redis_server.url


async def test_one_process_serves_all_three_engines_to_another(redis_url, tmp_path):
    with worker_process(tmp_path, redis_url, "stt", "tts", "llm") as worker:
        await wait_until_loaded(worker, "stt", "tts", "llm")
        async with AsyncExitStack() as stack:
            stt = await stack.enter_async_context(started(RemoteSpeechToText()))
            llm = await stack.enter_async_context(started(RemoteLanguageModel()))
            tts = await stack.enter_async_context(started(RemoteTextToSpeech()))
            assert (stt.rate_hz, stt.gives_partials, tts.rate_hz) == (8000, False, 8000)
            assert stt.may_speculate
            assert llm.may_speculate
            assert tts.may_speculate
            assert f"({ScriptedLanguageModel().describe().weights})" in llm.describe().weights
            utterance = stt.open()
            utterance.push(SECOND)
            final = await utterance.finish()
            assert (final.text, final.samples) == (DEFAULT_TRANSCRIPT, 8000)

            async def reply():
                async for delta in llm.stream(MESSAGES):
                    yield delta.text

            chunks = [chunk async for chunk in tts.open().speak(reply())]
            assert chunks[-1].text_end == 130
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "Stopped" in worker.lines[-1]


async def test_a_worker_may_start_after_its_client(redis_url, tmp_path):
    tts = RemoteTextToSpeech()
    starting = asyncio.ensure_future(tts.start())
    with worker_process(tmp_path, redis_url, "tts"):
        await starting
        assert await spoken_samples(tts.open(), SENTENCE) == SENTENCE_SAMPLES
    await tts.close()


async def test_two_workers_share_the_sessions_and_full_ones_take_no_more(redis_url, tmp_path):
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        with (
            worker_process(tmp_path, redis_url, "tts", "--slots=2") as one,
            worker_process(tmp_path, redis_url, "tts", "--slots=2") as two,
        ):
            await wait_until_loaded(one, "tts")
            await wait_until_loaded(two, "tts")
            await wait_until(lambda: len([news for news in tts.workers.all_news if news.free]) == 2)
            voices = [tts.open() for _ in range(4)]
            spoken = await asyncio.gather(*(spoken_samples(voice, SENTENCE) for voice in voices))
            assert spoken == [SENTENCE_SAMPLES] * 4
            await wait_until(lambda: [news.free for news in tts.workers.all_news] == [0, 0])
            with pytest.raises(EngineFull):
                await spoken_samples(tts.open(), SENTENCE)
            await voices[0].close()
            await wait_until(lambda: sum(news.free for news in tts.workers.all_news) == 1)
            assert await spoken_samples(tts.open(), SENTENCE) == SENTENCE_SAMPLES


async def test_the_sessions_of_a_worker_that_is_killed_go_on_with_another(redis_url, tmp_path):
    slow = {"tts": {"chunk_delay": 5.0}}
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts, started(RemoteSpeechToText(rate_hz=8000)) as stt:
        with ExitStack() as stack:
            first = stack.enter_context(worker_process(tmp_path, redis_url, "stt", "tts", **slow))
            await wait_until_loaded(first, "stt", "tts")
            await wait_until(lambda: tts.workers.all_news and stt.workers.all_news)
            speech, utterance = tts.open(), stt.open()
            utterance.push(SECOND)
            turn = speech.speak(text_of(SENTENCE))
            begun = await anext(turn)
            second = stack.enter_context(worker_process(tmp_path, redis_url, "stt", "tts"))
            await wait_until_loaded(second, "stt", "tts")
            await wait_until(lambda: len(tts.workers.all_news) == len(stt.workers.all_news) == 2)
            first.signal(signal.SIGKILL)
            async with asyncio.timeout(20):
                rest = [chunk async for chunk in turn]
            # The first word, "A", was said, and the second one was begun.
            assert begun.text_end == rest[0].again_from == 2
            assert rest[-1].text_end == len(SENTENCE)
            assert sum(len(chunk.pcm) for chunk in rest) == (len(SENTENCE) - 2) * SAMPLES_PER_CHARACTER
            # The sound that the dead worker had received is sent to the other one.
            utterance.push(SECOND)
            assert (await utterance.finish()).samples == 16000
            assert await spoken_samples(speech, SENTENCE) == SENTENCE_SAMPLES


async def test_a_frozen_worker_loses_its_sessions_and_has_free_slots_when_it_continues(redis_url, tmp_path):
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        with worker_process(tmp_path, redis_url, "tts", "--slots=1", tts={"chunk_delay": 0.1}) as worker:
            await wait_until_loaded(worker, "tts")
            await wait_until(lambda: tts.workers.all_news)
            speech = tts.open()
            turn = speech.speak(text_of(SENTENCE))
            await anext(turn)
            worker.signal(signal.SIGSTOP)
            with pytest.raises(NoWorker, match="no worker of 'tts' was heard"):
                [chunk async for chunk in turn]
            await wait_until(lambda: not tts.workers.all_news)
            with pytest.raises(NoWorker, match=r"manage\.py runworker tts"):
                await spoken_samples(speech, SENTENCE)
            worker.signal(signal.SIGCONT)
            await wait_until(lambda: tts.workers.all_news and tts.workers.all_news[0].free == 1)
            assert await spoken_samples(speech, SENTENCE) == SENTENCE_SAMPLES


async def test_a_worker_whose_event_loop_is_held_up_keeps_its_sessions(redis_url, tmp_path):
    voice = "tests.word_tones.WordTonesTextToSpeech"
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        with worker_process(tmp_path, redis_url, "tts", voice=voice, tts={"chunk_delay": 0.02}) as worker:
            await wait_until_loaded(worker, "tts")
            await wait_until(lambda: tts.workers.all_news)
            # Less than the worker is held up, and more than a machine that runs other tests holds up its thread.
            tts._links._max_silent_beats = 10
            assert 10 * BEAT < BUSY_SECONDS
            turn = tts.open().speak(text_of(SENTENCE))
            chunks = [await anext(turn)]
            worker.signal(signal.SIGUSR1)
            chunks += [chunk async for chunk in turn]
            assert chunks[-1].text_end == len(SENTENCE)
            assert {chunk.again_from for chunk in chunks} == {None}


@pytest.mark.parametrize("signals", [1, 2])
async def test_sigterm_lets_a_turn_end_and_a_second_one_does_not(redis_url, tmp_path, signals):
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        with worker_process(tmp_path, redis_url, "tts", tts={"chunk_delay": 0.06}) as worker:
            await wait_until_loaded(worker, "tts")
            await wait_until(lambda: [news.state for news in tts.workers.all_news] == ["ready"])
            turn = tts.open().speak(text_of(SENTENCE))
            samples = len((await anext(turn)).pcm)
            worker.signal(signal.SIGTERM)
            await wait_until(lambda: [news.state for news in tts.workers.all_news] == ["draining"])
            with pytest.raises(NoWorker):
                await spoken_samples(tts.open(), SENTENCE)
            if signals == 1:
                assert samples + sum([len(chunk.pcm) async for chunk in turn]) == SENTENCE_SAMPLES
            else:
                worker.signal(signal.SIGTERM)
                with pytest.raises(NoWorker):  # another one would go on
                    [chunk async for chunk in turn]
            assert await asyncio.to_thread(worker.wait) == 0
            await wait_until(lambda: not tts.workers.all_news)


@pytest.fixture
def own_layers(own_redis):
    """The project's own layer for open sessions, which reconnects, on a Redis of one test."""
    with layers(own_redis.url):
        channel_layers.set("stream", PubSubChannelLayer(hosts=[own_redis.url]))
        yield own_redis


@pytest.mark.parametrize("outage", ["killed", "frozen"])
async def test_sessions_stay_with_their_worker_while_redis_is_away(own_layers, tmp_path, outage):
    with worker_process(tmp_path, own_layers.url, "tts", "--slots=1", tts={"chunk_delay": 0.1}) as worker:
        await wait_until_loaded(worker, "tts")
        async with started(RemoteTextToSpeech()) as tts:
            speech = tts.open()
            turn = speech.speak(text_of(SENTENCE))
            chunks = [await anext(turn)]
            with own_layers.away(outage):
                await wait_until(lambda: tts.links.layer.beats_without > 2 * SILENT_BEATS)
                other = tts.open()  # waits as well
            chunks += [chunk async for chunk in turn]
            assert sum(len(chunk.pcm) for chunk in chunks) == SENTENCE_SAMPLES
            assert {chunk.again_from for chunk in chunks} == {None}
            await speech.close()
            assert await spoken_samples(other, SENTENCE) == SENTENCE_SAMPLES


async def test_a_worker_waits_for_a_redis_that_is_not_there_yet(own_redis, tmp_path):
    own_redis.stop()
    with layers(own_redis.url), worker_process(tmp_path, own_redis.url, "tts") as worker:
        await asyncio.to_thread(worker.wait_for, "cannot reach the channel layer")
        with pytest.raises(NoWorker, match="Redis cannot be reached"):
            await RemoteTextToSpeech(start_timeout=0.2).start()
        own_redis.start()
        async with started(RemoteTextToSpeech()) as tts:
            assert await spoken_samples(tts.open(), SENTENCE) == SENTENCE_SAMPLES
        assert sum("cannot reach the channel layer" in line for line in worker.lines) == 1


CLIENT = """
import asyncio, django
django.setup()
from channels.layers import channel_layers

from clientcaller.pubsub_layer import PubSubChannelLayer
from inference.engines.remote import RemoteTextToSpeech

async def clauses():
    yield "Hello. "
    await asyncio.Event().wait()

async def main():
    tts = RemoteTextToSpeech()
    await tts.start()
    async for chunk in tts.open().speak(clauses()):
        print("speaking", flush=True)

asyncio.run(main())
"""


async def test_the_slot_of_a_client_that_is_killed_becomes_free(redis_url, tmp_path):
    env = process_env(tmp_path, redis_url=redis_url, **POD)
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        with (
            worker_process(tmp_path, redis_url, "tts", "--slots=1") as worker,
            process(sys.executable, "-c", CLIENT, env=env) as other,
        ):
            await wait_until_loaded(worker, "tts")
            await asyncio.to_thread(other.wait_for, "speaking")
            await wait_until(lambda: tts.workers.all_news and tts.workers.all_news[0].free == 0)
            other.signal(signal.SIGKILL)
            await wait_until(lambda: tts.workers.all_news[0].free == 1)
            assert await spoken_samples(tts.open(), SENTENCE) == SENTENCE_SAMPLES
