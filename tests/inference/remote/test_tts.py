"""Text to speech by a worker; in virtual time."""

import asyncio
from contextlib import AsyncExitStack

import numpy as np
import pytest

from inference.engines.remote import RemoteTextToSpeech
from inference.engines.scripted import ScriptedTextToSpeech
from inference.remote import wire
from inference.types import ContextTooLarge, EngineError, EngineFull, EngineTimeout
from tests.inference.contract import leaving_no_task
from tests.inference.remote.breakable import Network, PlacementLayer, StreamLayer
from tests.inference.remote.clients import (
    HELLO_SAMPLES,
    QUICK,
    SAMPLES_PER_CHARACTER,
    SECOND,
    spoken_samples,
    started,
    text_of,
)
from tests.inference.remote.engines import ListingTextToSpeech
from tests.inference.remote.serving import replaced, serving, wait_until
from tests.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("memory_layers")


@in_virtual_time
async def test_a_chunk_that_is_too_long_for_one_message_is_split():
    engine = ScriptedTextToSpeech(**QUICK, chunk_seconds=20.0, rate_hz=24000)
    async with serving("tts", engine), started(RemoteTextToSpeech()) as tts:
        chunks = [chunk async for chunk in tts.open().speak(text_of("x" * 500))]
    assert sum(len(chunk.pcm) for chunk in chunks) == 480_000
    assert [chunk.text_end for chunk in chunks] == [0, 0, 0, 500]


@in_virtual_time
async def test_the_engine_learns_how_much_was_heard_of_the_last_turn_only():
    class Remembering(ScriptedTextToSpeech):
        def open(self, **options):
            speech = super().open(**options)
            speech.heard = heard.append
            return speech

    heard = []
    async with serving("tts", Remembering(**QUICK)), started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        speech.heard(5)
        assert await spoken_samples(speech, "Hello.")
        speech.heard(700)
        await wait_until(lambda: heard)
        assert await spoken_samples(speech, "Goodbye.")
        assert heard == [700]


@pytest.mark.parametrize("hears_caller", [True, False])
@in_virtual_time
async def test_only_a_voice_that_hears_the_caller_is_sent_what_the_caller_said(hears_caller):
    engine = ScriptedTextToSpeech(**QUICK, hears_caller=hears_caller)
    async with serving("tts", engine), started(RemoteTextToSpeech()) as tts:
        assert tts.hears_caller == hears_caller
        speech = tts.open()
        assert await spoken_samples(speech, "Hello.")
        speech.caller_said("Are you open?", SECOND, 8000)
        speech.caller_said("What a long story.", np.tile(SECOND, 60), 8000)
        assert await spoken_samples(speech, "Yes.")
        received = [(text, len(pcm), rate_hz) for text, pcm, rate_hz in engine.caller_said]
    sent = [("Are you open?", 8000, 8000), ("What a long story.", wire.MAX_SOUND_BYTES // 2, 8000)]
    assert received == (sent if hears_caller else [])


@in_virtual_time
async def test_a_worker_that_takes_over_learns_what_was_said_and_heard():
    class Remembering(ScriptedTextToSpeech):
        remembers = True

        def open(self, **options):
            speech = super().open(**options)
            speech.agent_said = lambda text, pcm, rate_hz: said.append(("agent", text, len(pcm)))
            speech.caller_said = lambda text, pcm, rate_hz: said.append(("caller", text, len(pcm)))
            return speech

    said, voice = [], {**QUICK, "hears_caller": True}
    async with AsyncExitStack() as stack:
        async with serving("tts", Remembering(**voice)):
            tts = await stack.enter_async_context(started(RemoteTextToSpeech()))
            speech = tts.open()
            assert await spoken_samples(speech, "Hello. How are you?")
            speech.heard(HELLO_SAMPLES)
            speech.caller_said("Are you open?", SECOND, 8000)
            assert await spoken_samples(speech, "Yes.")
            await wait_until(lambda: said)
            said.clear()
        await stack.enter_async_context(serving("tts", Remembering(**voice)))
        await wait_until(lambda: tts.describe().capacity)
        assert await spoken_samples(speech, "We are.")
        assert said == [
            ("agent", "Hello", 2 * 800),
            ("caller", "Are you open?", 8000),
            ("agent", "Yes.", 4 * SAMPLES_PER_CHARACTER),
        ]


@in_virtual_time
async def test_what_was_heard_of_a_turn_counts_from_where_the_worker_took_over():
    heard, network = [], Network()

    class Remembering(ScriptedTextToSpeech):
        def open(self, **options):
            speech = super().open(**options)
            speech.heard = heard.append
            return speech

    async with AsyncExitStack() as stack:
        stack.enter_context(replaced(PlacementLayer(network), StreamLayer(network)))
        engine = Remembering(first_delay=0.0, chunk_delay=0.05)
        servers = [await stack.enter_async_context(serving("tts", engine)) for _ in range(2)]
        tts = await stack.enter_async_context(started(RemoteTextToSpeech()))
        await wait_until(lambda: tts.describe().capacity == 256)
        speech = tts.open()
        turn = speech.speak(text_of("One. ", "Two, three."))
        samples = [len((await anext(turn)).pcm) for _ in range(3)]  # until after "One. T"
        network.freeze(next(server.links.channel for server in servers if server.links.sessions))
        rest = [chunk async for chunk in turn]
        assert (rest[0].again_from, len(rest[0].pcm)) == (5, 0)
        speech.heard(sum(samples) + 1000)
        await wait_until(lambda: heard)
        assert heard == [1000]


@in_virtual_time
async def test_the_end_of_a_voice_is_told_before_another_one_speaks():
    """Else what is sent until then would be heard twice."""
    network, engine = Network(), ScriptedTextToSpeech(first_delay=1.0, chunk_delay=0.05)
    with replaced(PlacementLayer(network), StreamLayer(network)):
        async with serving("tts", engine) as one, serving("tts", engine) as other, started(RemoteTextToSpeech()) as tts:
            await wait_until(lambda: tts.describe().capacity == 256)
            turn = tts.open().speak(text_of("Two, three, " * 50))
            await anext(turn)
            network.freeze(next(server.links.channel for server in (one, other) if server.links.sessions))
            now, chunk = asyncio.get_running_loop().time, await anext(turn)
            while chunk.again_from is None:
                chunk = await anext(turn)
            told = now()
            await anext(turn)
            assert now() - told == pytest.approx(1.0, abs=0.02)
            await turn.aclose()


@pytest.mark.parametrize("error", [EngineFull("no slot"), ContextTooLarge("too long"), EngineTimeout("too late")])
@in_virtual_time
async def test_an_error_of_the_engine_reaches_the_client_as_the_same_kind(error):
    class Refusing(ScriptedTextToSpeech):
        def open(self, **options):
            raise error

    async with serving("tts", Refusing()) as server, started(RemoteTextToSpeech()) as tts:
        with pytest.raises(type(error), match=str(error)) as raised:
            await spoken_samples(tts.open(), "Hello.")
        assert raised.value.permanent == error.permanent
        await wait_until(lambda: server.free == server.slots)


@in_virtual_time
async def test_an_unknown_voice_is_refused_by_the_first_turn_if_the_workers_do_not_list_theirs():
    async with serving("tts", ScriptedTextToSpeech()), started(RemoteTextToSpeech()) as tts:
        with pytest.raises(EngineError, match="no scripted voice 'bass'") as refusal:
            await spoken_samples(tts.open(voice="bass"), "Hello.")
        assert refusal.value.permanent


@in_virtual_time
async def test_an_unknown_voice_is_refused_by_the_voices_of_the_workers_that_are_there_now():
    async with AsyncExitStack() as stack:
        async with serving("tts", ListingTextToSpeech(**QUICK, voices=["ann"])):
            tts = await stack.enter_async_context(started(RemoteTextToSpeech()))
            with pytest.raises(EngineError, match="no worker has the voice 'bob'; they have: ann"):
                tts.open(voice="bob")
        await wait_until(lambda: not tts.describe().capacity)
        async with serving("tts", ListingTextToSpeech(**QUICK, voices=["bob"])):
            await wait_until(lambda: tts.describe().capacity)
            assert await spoken_samples(tts.open(voice="bob"), "Hello.") == HELLO_SAMPLES
            with pytest.raises(EngineError, match="no worker has the voice 'ann'; they have: bob"):
                tts.open(voice="ann")


@in_virtual_time
async def test_a_voice_can_be_used_after_a_turn_that_failed():
    engine = ScriptedTextToSpeech(**QUICK, failures=[{"on": 1, "at": "middle", "permanent": True}])
    async with serving("tts", engine) as server, started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        with pytest.raises(EngineError, match="as its script says") as failure:
            await spoken_samples(speech, "A sentence of some length.")
        assert failure.value.permanent
        assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES
        assert server.free == server.slots - 1


@in_virtual_time
async def test_a_voice_can_be_used_after_turns_that_were_cancelled_at_every_point():
    async with leaving_no_task(), serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        for turns_of_the_loop in range(60):
            task = asyncio.ensure_future(spoken_samples(speech, "Hello. ", "And goodbye."))
            for _ in range(turns_of_the_loop):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES
        await speech.close()


@in_virtual_time
async def test_a_voice_that_never_makes_a_sound_times_out():
    engine = ScriptedTextToSpeech(stalls=[{"on": 1, "seconds": 30.0}])
    async with (
        leaving_no_task(),
        serving("tts", engine) as server,
        started(RemoteTextToSpeech(answer_timeout=0.1)) as tts,
    ):
        speech = tts.open()
        with pytest.raises(EngineTimeout):
            await spoken_samples(speech, "Hello.")
        await speech.close()
        await wait_until(lambda: server.free == server.slots)


@in_virtual_time
async def test_a_voice_may_be_silent_while_it_waits_for_text():
    async def hesitating():
        yield "Well. "
        await asyncio.sleep(0.3)
        yield "Yes."

    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech(answer_timeout=0.1)) as tts:
        chunks = [chunk async for chunk in tts.open().speak(hesitating())]
    assert chunks[-1].text_end == len("Well. Yes.")
