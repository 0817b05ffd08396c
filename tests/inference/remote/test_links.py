"""A session never goes on with a gap, no matter what is lost on the way; in virtual time."""

import asyncio
import logging
import random
from collections import Counter
from contextlib import aclosing, suppress

import numpy as np
import pytest

from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.remote import wire
from inference.remote.waiting import cancel_and_wait
from inference.types import EngineError
from tests.inference.remote.clients import (
    HELLO_SAMPLES,
    MESSAGES,
    QUICK,
    SAMPLES_PER_CHARACTER,
    SECOND,
    SENTENCE,
    contains,
    lose_one,
    spoken_samples,
    started,
)
from tests.inference.remote.serving import serving, wait_until
from tests.virtual_time import in_virtual_time


@in_virtual_time
async def test_an_invalid_message_is_dropped_with_one_line_and_disturbs_no_session(memory_layers, caplog):
    placements, stream = memory_layers
    caplog.set_level(logging.WARNING)
    async with serving("tts", ScriptedTextToSpeech(**QUICK)) as server, started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        for invalid in ({"type": "nonsense"}, {**wire.pack(wire.Placement("a", 1, {})), "version": 7}):
            await placements.send("inference.tts", invalid)
            await stream.send(server.links.channel, invalid)
            await stream.send(tts.links.channel, invalid)
        await placements.send("inference.tts", wire.pack(wire.Packet("a", 0, 0, [])))
        await stream.send(
            server.links.channel, wire.pack(wire.Packet("a", 0, 0, [wire.Piece(9, 1, b"", 0, exact=False)]))
        )
        assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES
        assert await spoken_samples(tts.open(), "Hello.") == HELLO_SAMPLES
    lines = [record.getMessage() for record in caplog.records]
    assert sum("does not belong to the protocol" in line for line in lines) == 3
    assert sum("protocol version 7" in line for line in lines) == 3
    assert sum("it is a Packet and not a Placement" in line for line in lines) == 1
    assert len(lines) == 7


@in_virtual_time
async def test_a_client_that_ends_tells_the_worker_even_while_its_last_message_is_being_sent(lossy_layer, caplog):
    send = lossy_layer.send

    async def send_slowly(channel, message):
        await asyncio.sleep(0.05)
        await send(channel, message)

    async with serving("tts", ScriptedTextToSpeech(**QUICK)) as server:
        async with started(RemoteTextToSpeech()) as tts:
            speech = tts.open()
            assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES
            lossy_layer.send = send_slowly
            await speech.close()
            await asyncio.sleep(0.01)
        await wait_until(lambda: server.free == server.slots)
    assert "lost" not in caplog.text


@in_virtual_time
async def test_lost_sound_is_sent_again(lossy_layer):
    engine = ScriptedTextToSpeech(first_delay=0.0, chunk_delay=0.01)
    async with serving("tts", engine), started(RemoteTextToSpeech()) as tts:
        lossy_layer.loses = lose_one(wire.Piece, number=2)
        assert await spoken_samples(tts.open(), SENTENCE) == len(SENTENCE) * SAMPLES_PER_CHARACTER


@in_virtual_time
async def test_a_worker_that_hears_nothing_any_more_is_left(lossy_layer):
    """It is still heard itself: only its connection for reading is broken."""
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        speech = tts.open()
        assert await spoken_samples(speech, "Hello.") == HELLO_SAMPLES
        lossy_layer.loses = lambda packet: contains(packet, wire.Speak)
        with pytest.raises(EngineError, match="does not confirm"):
            await spoken_samples(speech, SENTENCE)


@in_virtual_time
async def test_the_loss_of_the_last_message_is_noticed_by_the_next_beat(lossy_layer):
    async with serving("tts", ScriptedTextToSpeech(**QUICK)), started(RemoteTextToSpeech()) as tts:
        lossy_layer.loses = lose_one(wire.Done, number=1)
        async with asyncio.timeout(0.5):
            assert await spoken_samples(tts.open(), "Hello.") == HELLO_SAMPLES


@in_virtual_time
async def test_a_request_that_was_lost_is_sent_again_though_its_worker_serves_others(lossy_layer):
    """The request went to the worker directly, so the worker does not know its session and cannot miss it."""
    engine = ScriptedLanguageModel(replies=["word " * 10], first_delay=0.0, token_delay=0.01)
    async with serving("llm", engine) as server, started(RemoteLanguageModel()) as llm:

        async def read_reply() -> None:
            async with aclosing(llm.stream(MESSAGES)) as deltas:
                [delta async for delta in deltas]

        async def read_replies() -> None:
            while True:
                with suppress(EngineError):
                    await asyncio.gather(read_reply(), asyncio.sleep(0.05))

        await read_reply()
        lossy_layer.loses = lose_one(wire.OpenReply, number=1)
        async with asyncio.timeout(3):
            lost = asyncio.ensure_future(read_reply())
            await asyncio.sleep(0.01)
            others = [asyncio.ensure_future(read_replies()) for _ in range(2)]
            await lost
        await cancel_and_wait(*others)
        await wait_until(lambda: server.free == server.slots)


@in_virtual_time
async def test_a_session_that_begins_ends_no_other_whose_last_message_was_lost(lossy_layer):
    """The worker has ended the first session already, and so has none when the second one begins."""

    class Counting(ScriptedLanguageModel):
        asked = 0

        def stream(self, messages, **options):
            self.asked += 1
            return super().stream(messages, **options)

    engine = Counting(first_delay=0.0, token_delay=0.0)
    async with serving("llm", engine) as server, started(RemoteLanguageModel()) as llm:
        lossy_layer.loses = lose_one(wire.Done, number=1)

        async def read_reply() -> None:
            async with aclosing(llm.stream(MESSAGES)) as deltas:
                [delta async for delta in deltas]

        first = asyncio.ensure_future(read_reply())
        await wait_until(lambda: engine.asked and server.free == server.slots)
        llm.preferred_worker = ""
        await asyncio.gather(first, read_reply())
    assert engine.asked == 2


@in_virtual_time
async def test_an_utterance_goes_on_if_some_of_its_sound_was_lost(lossy_layer):
    class Counting(ScriptedSpeechToText):
        def open(self, **options):
            self.utterances = [*getattr(self, "utterances", []), super().open(**options)]
            return self.utterances[-1]

    engine = Counting(final_delay=0.001)
    async with serving("stt", engine), started(RemoteSpeechToText()) as stt:
        utterance = stt.open()
        lossy_layer.loses = lose_one(wire.Push, number=2)
        for piece in np.array_split(SECOND, 10):
            utterance.push(piece)
            await asyncio.sleep(0.005)
        assert (await utterance.finish()).samples == len(SECOND)
    assert len(engine.utterances) == 1


@in_virtual_time
async def test_with_random_losses_every_result_is_complete_and_all_slots_become_free(lossy_layer):
    """One packet in fifty is lost, in both directions, while thirty sessions are used at once."""
    randomness, outcomes = random.Random(7), Counter()

    async def hear(stt):
        utterance = stt.open()
        for piece in np.array_split(SECOND, 5):
            utterance.push(piece)
            await asyncio.sleep(0)
        return (await utterance.finish()).samples == len(SECOND)

    async def answer(llm):
        async with aclosing(llm.stream(MESSAGES)) as deltas:
            return len([delta async for delta in deltas]) == 30

    async def say(tts):
        speech = tts.open()
        try:
            return await spoken_samples(speech, "Hello. ", "And goodbye.") == 19 * SAMPLES_PER_CHARACTER
        finally:
            await speech.close()

    async def use_repeatedly(use, engine):
        for _ in range(6):
            try:
                assert await use(engine)
                outcomes[use.__name__] += 1
            except EngineError:
                outcomes["failed"] += 1
            await asyncio.sleep(randomness.random() * 0.02)

    async with (
        serving("stt", ScriptedSpeechToText(final_delay=0.001)) as hearing,
        serving("llm", ScriptedLanguageModel(first_delay=0.001, token_delay=0.0)) as thinking,
        serving("tts", ScriptedTextToSpeech(**QUICK)) as speaking,
        started(RemoteSpeechToText()) as stt,
        started(RemoteLanguageModel()) as llm,
        started(RemoteTextToSpeech()) as tts,
    ):
        lossy_layer.loses = lambda packet: randomness.random() < 0.02
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                for use, engine in ((hear, stt), (answer, llm), (say, tts)):
                    group.create_task(use_repeatedly(use, engine))
        lossy_layer.loses = lossy_layer.loses_none
        for server in (hearing, thinking, speaking):
            await wait_until(lambda server=server: server.free == server.slots)
    assert outcomes == {"hear": 60, "answer": 60, "say": 60}
