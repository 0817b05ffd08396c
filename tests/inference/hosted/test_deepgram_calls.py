"""Many calls at once, as the product recognises them, at a Deepgram whose sockets fail now and then."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import numpy as np
import pytest

from inference import usage
from inference.deepgram.account import DeepgramOptions
from inference.engines.deepgram import DeepgramSpeechToText
from inference.engines.deepgram_flux import DeepgramFluxSpeechToText
from inference.types import EngineError
from tests.inference.contract import leaving_no_task
from tests.inference.hosted.deepgram_faults import closes, dies, ignores_it
from tests.inference.hosted.deepgram_service import KEY, RATE_HZ, WORDS, DeepgramService, say

PIECE = RATE_HZ // 10
"""The samples that the session pushes at once."""


def sometimes(random: Random, probability: float) -> Any:
    """Let a socket fail at any message, in any way."""

    async def intercept(socket: Any, message: Any) -> bool:
        if random.random() >= probability:
            return False
        fault = random.choice([dies, closes, ignores_it] if isinstance(message, dict) else [dies, closes])
        return await fault(socket)

    return intercept


async def call(engine: Any, random: Random, utterances: int) -> None:
    """Speak some sentences with pauses. In each pause the words are asked for, and at the end the utterance is left."""
    meter = usage.UsageMeter()
    for _ in range(utterances):
        with usage.metering(meter):
            utterance = engine.open()
        words = [random.choice(WORDS[1:]) for _ in range(random.randint(1, 8))]
        position = 0
        while position < len(words):
            part = words[position : position + random.randint(1, 3)]
            position += len(part)
            sound = np.concatenate([say(*part), say("")])
            for start in range(0, len(sound), PIECE):
                utterance.push(sound[start : start + PIECE])
                await asyncio.sleep(0)
            try:
                heard = await utterance.snapshot()
            except EngineError:  # three sockets failed in succession: a later request tries again
                heard = await utterance.snapshot()
            assert heard.text == " ".join(words[:position])
        utterance.cancel()
    assert list(meter.as_json()) == ["stt"]


@pytest.mark.parametrize("engine_class", [DeepgramSpeechToText, DeepgramFluxSpeechToText])
async def test_no_call_loses_a_word_or_hears_one_of_another_call(engine_class):
    random = Random(5)
    async with DeepgramService().serving_elsewhere() as service:
        service.intercept = sometimes(random, 0.01)
        options = DeepgramOptions(
            api_key=KEY,
            base_url=service.base_url,
            limit=30,
            patience=2.0,
            connect_timeout=30.0,
            answer_timeout=30.0,
            warm=2,
        )
        engine = engine_class(options)
        async with leaving_no_task():
            await engine.start()
            try:
                async with asyncio.TaskGroup() as calls:
                    for number in range(12):
                        calls.create_task(call(engine, Random(number), 4))
            finally:
                await engine.close()
        assert engine._pool.lost > 5
        assert service.violations == []
