"""A session finds a worker, or learns why there is none; in virtual time."""

import asyncio

import pytest

from inference.engines.remote import RemoteTextToSpeech
from inference.engines.scripted import ScriptedTextToSpeech
from inference.remote import wire
from inference.remote.known_workers import KnownWorkers
from inference.remote.placement import PLACE_AGAIN
from inference.types import EngineError, EngineFull, EngineLoading, NoWorker
from tests.inference.remote.clients import HELLO_SAMPLES, QUICK, contains, spoken_samples, started
from tests.inference.remote.engines import LoadingTextToSpeech
from tests.inference.remote.serving import make_server, serving, wait_until
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("memory_layers")


@in_virtual_time
async def test_a_worker_that_loads_is_told_apart_from_none():
    with pytest.raises(NoWorker, match="in this process; set REDIS_URL to use workers elsewhere"):
        await RemoteTextToSpeech(start_timeout=0.05).start()
    engine = LoadingTextToSpeech(**QUICK)
    server = make_server("tts", engine)
    task = asyncio.ensure_future(server.serve())
    with pytest.raises(EngineLoading):
        await RemoteTextToSpeech(start_timeout=0.3).start()
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        speech = tts.open()
        with pytest.raises(EngineLoading):
            await spoken_samples(speech, "Hello.")
        engine.may_be_ready.set()
        await wait_until(lambda: server.state == "ready" and tts.describe().capacity)
        assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES
        assert tts.describe().capacity == 128
    await server.close()
    await asyncio.gather(task, return_exceptions=True)


@in_virtual_time
async def test_an_engine_is_of_no_use_before_it_is_started_and_after_it_is_closed():
    async with serving("tts", ScriptedTextToSpeech(**QUICK)):
        tts = RemoteTextToSpeech()
        with pytest.raises(EngineError, match=r"not known before start\(\)"):
            tts.open()
        async with started(tts):
            speech = tts.open()
        with pytest.raises(EngineError, match="not started, or was closed"):
            await spoken_samples(speech, "Hello.")
        async with started(tts):
            assert await spoken_samples(tts.open(), "Hello.") == HELLO_SAMPLES


@in_virtual_time
async def test_a_session_is_refused_at_once_when_all_workers_are_full():
    async with serving("tts", ScriptedTextToSpeech(**QUICK), slots=1), started(RemoteTextToSpeech()) as tts:
        first, second = tts.open(), None
        await spoken_samples(first, "Hello.")
        await wait_until(lambda: tts.workers.slots and tts.workers.full)
        async with asyncio.timeout(0.4):
            second = tts.open()
            with pytest.raises(EngineFull):
                await spoken_samples(second, "Hello.")
        await first.close()
        await wait_until(lambda: not tts.workers.full)
        assert await spoken_samples(second, "Hello.")


@in_virtual_time
async def test_a_worker_at_another_rate_is_not_used(caplog):
    async with serving("tts", ScriptedTextToSpeech()), started(RemoteTextToSpeech(rate_hz=24000)) as tts:
        await wait_until(lambda: "Not using a worker" in caplog.text)
        with pytest.raises(NoWorker):
            await spoken_samples(tts.open(), "Hello.")
    assert caplog.text.count("its rate is 8000 Hz and not 24000 Hz") == 1


@in_virtual_time
async def test_a_worker_is_asked_directly_if_nobody_answers_the_placement(memory_layers):
    """A worker of another version takes it and drops it, and one that dies takes it along."""
    placements, _ = memory_layers
    lost = []

    async def lose(channel, message):
        lost.append(message)

    placements.send = lose
    async with serving("tts", ScriptedTextToSpeech(**QUICK)) as server, started(RemoteTextToSpeech()) as tts:
        async with asyncio.timeout(2 * PLACE_AGAIN):
            speech = tts.open()
            assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES
        assert len(lost) == 1
        await speech.close()
        await wait_until(lambda: server.free == server.slots)


@in_virtual_time
async def test_while_no_worker_is_heard_the_placement_is_sent_again(memory_layers, monkeypatch):
    monkeypatch.setattr(KnownWorkers, "free_slots", lambda workers, **options: {})
    placements, _ = memory_layers
    send, lost = placements.send, []

    async def lose_the_first(channel, message):
        if lost:
            await send(channel, message)
        lost.append(message)

    placements.send = lose_the_first
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        assert await spoken_samples(tts.open(), "Hello.") == HELLO_SAMPLES
    assert len(lost) == 2


@in_virtual_time
async def test_an_offer_that_was_lost_is_made_again(lossy_layer):
    lost = []

    def lose_the_first(packet):
        if is_offer := contains(packet, wire.Offer):
            lost.append(packet)
        return is_offer and len(lost) == 1

    lossy_layer.loses = lose_the_first
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        async with asyncio.timeout(1):
            assert await spoken_samples(tts.open(), "Hello.") == HELLO_SAMPLES
    assert lost
