"""Whatever fails and when, every session gets its whole result and leaves nothing behind; in virtual time."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.remote.waiting import cancel_and_wait
from tests.inference.remote.breakable import Network, PlacementLayer, StreamLayer
from tests.inference.remote.clients import MESSAGES, SAMPLES_PER_CHARACTER, SECOND, started, text_of
from tests.inference.remote.serving import replaced, serving, wait_until
from tests.thorough import size
from tests.virtual_time import in_virtual_time

CLAUSES = ("Hello there. ", "We open at nine in the morning. ", "And we close at six.")
LENGTH = len("".join(CLAUSES))
REPLY = [f"word{number}" for number in range(40)]
USES = 3
"""How often each client uses its engine."""


class Clients:
    """What clients do with the engines, and check. Some of them stop in the middle."""

    def __init__(self, randomness: random.Random, stt, llm, tts) -> None:
        self.done: Counter[str] = Counter()
        self._random = randomness
        self._stt, self._llm, self._tts = stt, llm, tts

    async def run(self, clients: int) -> None:
        uses = (self._hear, self._think, self._speak)
        await asyncio.gather(*(self._repeat(use) for use in uses for _ in range(clients)))

    async def _repeat(self, use) -> None:
        for _ in range(USES):
            await use()
            self.done[use.__name__] += 1
            await asyncio.sleep(self._random.random() * 0.3)

    def _stops_after(self, most: int) -> int:
        return self._random.randint(1, most) if self._random.random() < 0.3 else 1000

    async def _hear(self) -> None:
        utterance, samples = self._stt.open(), 0
        for _ in range(self._random.randint(5, 30)):
            utterance.push(SECOND[:800])
            samples += 800
            await asyncio.sleep(0.1)
            if self._random.random() < 0.1:
                assert (await utterance.snapshot()).samples == samples
        if self._random.random() < 0.2:
            utterance.cancel()
        else:
            assert (await utterance.finish()).samples == samples

    async def _think(self) -> None:
        said, stops_after = "", self._stops_after(40)
        async with aclosing(self._llm.stream(MESSAGES)) as deltas:
            async for delta in deltas:
                said += delta.text
                if (stops_after := stops_after - 1) == 0:
                    return
        assert said.split() == REPLY

    async def _speak(self) -> None:
        speech = self._tts.open()
        for _ in range(2):
            samples, text_end, stops_after = 0, 0, self._stops_after(20)
            async with aclosing(speech.speak(text_of(*CLAUSES))) as chunks:
                async for chunk in chunks:
                    if chunk.again_from is not None:
                        samples = chunk.again_from * SAMPLES_PER_CHARACTER
                    samples, text_end = samples + len(chunk.pcm), chunk.text_end
                    if (stops_after := stops_after - 1) == 0:
                        break
            if stops_after:
                assert (text_end, samples) == (LENGTH, LENGTH * SAMPLES_PER_CHARACTER)
            else:
                speech.heard(samples // 2)
        await speech.close()


async def break_again_and_again(randomness: random.Random, network: Network, workers) -> None:
    while True:
        await asyncio.sleep(randomness.uniform(0.5, 3.0))
        match randomness.choice(("worker", "worker", "frozen", "refused")):
            case "worker":
                network.freeze(*(server.links.channel for server in randomness.choice(workers)))
                await asyncio.sleep(randomness.uniform(0.2, 6.0))
                network.continue_all()
            case "frozen":
                network.freeze_redis()
                await asyncio.sleep(randomness.uniform(0.2, 3.0))
                network.continue_redis()
            case "refused":
                network.refuses = True
                await asyncio.sleep(randomness.uniform(0.2, 3.0))
                network.refuses = False


@asynccontextmanager
async def a_site(network: Network):
    """Three workers with all engines, and the remote engines."""
    engines = {
        "stt": ScriptedSpeechToText(final_delay=0.05),
        "llm": ScriptedLanguageModel(replies=[" ".join(REPLY)], first_delay=0.05, token_delay=0.03),
        "tts": ScriptedTextToSpeech(first_delay=0.05, chunk_delay=0.08),
    }
    async with AsyncExitStack() as stack:
        stack.enter_context(replaced(PlacementLayer(network), StreamLayer(network)))
        workers = [
            [await stack.enter_async_context(serving(alias, engine)) for alias, engine in engines.items()]
            for _ in range(3)
        ]
        kinds = (RemoteSpeechToText, RemoteLanguageModel, RemoteTextToSpeech)
        remote = [await stack.enter_async_context(started(kind())) for kind in kinds]
        await wait_until(lambda: all(len(engine.workers.all_news) == 3 for engine in remote))
        yield workers, remote


@pytest.mark.parametrize("seed", range(size(2, 30)))
@in_virtual_time
async def test_every_result_is_complete_and_nothing_is_left(seed):
    randomness, network = random.Random(seed), Network()
    async with a_site(network) as (workers, remote):
        tasks = len(asyncio.all_tasks())
        clients = Clients(randomness, *remote)
        breaking = asyncio.ensure_future(break_again_and_again(randomness, network, workers))
        await clients.run(2)
        await cancel_and_wait(breaking)
        network.refuses = False
        network.continue_redis()
        network.continue_all()
        servers = [server for worker in workers for server in worker]
        await wait_until(lambda: all(server.free == server.slots for server in servers))
        assert clients.done == {"_hear": 2 * USES, "_think": 2 * USES, "_speak": 2 * USES}
        assert not any(engine.links.sessions or engine._waiting or engine._placing for engine in remote)
        await wait_until(lambda: len(asyncio.all_tasks()) == tasks)
