"""Whatever Deepgram sends, no utterance breaks the engine, and the next one is recognised."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.deepgram import flux, nova
from inference.deepgram.account import DeepgramOptions
from inference.engines.deepgram import DeepgramSpeechToText
from inference.engines.deepgram_flux import DeepgramFluxSpeechToText
from inference.types import EngineError, Transcript
from tests.inference.contract import leaving_no_task
from tests.inference.hosted.deepgram_service import KEY, DeepgramService, Turns, results, say

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["Results", "TurnInfo", "EndOfTurn", "Warning", "Connected", flux.NO_TURN])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
WORDS = [{"word": "one", "start": 0.02, "end": 0.3, "confidence": 0.9, "punctuated_word": "one"}]
VALID_V1 = [
    results(WORDS, 0.02, 0.3, is_final=False),
    results(WORDS, 0.02, 0.3, is_final=True),
    results([], 0.3, 0.3, is_final=True, marked=True),
    {"type": "Metadata", "duration": 1.0},
    {"type": "ConfigureSuccess", "keyterms": []},
]
TURNS = Turns(5000)
VALID_V2 = [
    TURNS.info("Update"),
    {**TURNS.info("StartOfTurn"), "transcript": "one", "words": [{"word": "one", "confidence": 0.8}]},
    {**TURNS.info("EndOfTurn", trigger="manual"), "transcript": "one", "audio_window_end": 0.5},
    {**TURNS.info("Update"), "turn_index": 1, "audio_window_end": 1.0},
    TURNS.message("Warning", code=flux.NO_TURN, description="no turn"),
]


@st.composite
def mutated(draw: st.DrawFn, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """A valid message of which some values, at any depth, are others or missing."""
    message = json.loads(json.dumps(draw(st.sampled_from(messages))))
    for _ in range(draw(st.integers(0, 3))):
        place: Any = message
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(JSON)
            break
    return message


def messages(valid: list[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return mutated(valid) | st.dictionaries(
        st.sampled_from(
            ["type", "event", "channel", "start", "duration", "is_final", "turn_index", "transcript", "code"]
        ),
        JSON,
    )


def steps(valid: list[dict[str, Any]]) -> st.SearchStrategy[list[Any]]:
    """Messages, sound (a number of samples) and flushes (None), in any order."""
    return st.lists(messages(valid) | st.integers(1, 4000) | st.none(), max_size=20)


def check_exchange(exchange: Any, script: list[Any]) -> None:
    pushed, answered = 0, 0
    exchange.begin()
    for step in script:
        if step is None:
            assert exchange.flush()
        elif isinstance(step, int):
            assert exchange.push(bytes(step))
            pushed += step
        else:
            exchange.receive(step)
        heard = exchange.heard
        assert answered <= exchange.answered <= pushed
        assert 0 <= heard.samples <= pushed
        assert 0 <= exchange.settled.samples <= pushed
        assert 0 <= heard.confidence <= 1
        assert 0 <= heard.language_probability <= 1
        assert isinstance(heard.text, str)
        assert exchange.quiet > 0
        answered = exchange.answered
    exchange.flush()
    exchange.settle()
    assert exchange.answered == pushed
    assert exchange.quiet == inf


@given(steps(VALID_V1))
def test_novas_exchange_takes_any_message(script):
    check_exchange(nova.NovaExchange(), script)


@given(steps(VALID_V2))
def test_flux_exchange_takes_any_message(script):
    check_exchange(flux.FluxExchange(keyterms=["a"]), script)


@given(st.text(max_size=30) | st.binary(max_size=10) | JSON.map(json.dumps))
def test_reading_a_frame_gives_an_object_or_nothing(frame):
    with suppress(ValueError):  # the pool takes any exception for nothing
        received = nova.read(frame)
        assert received is None or isinstance(received.message, dict)


def frames(valid: list[dict[str, Any]]) -> st.SearchStrategy[str | bytes]:
    """What a server may send: messages, parts of them, text and bytes."""
    whole = messages(valid).map(json.dumps)
    cut = st.tuples(st.sampled_from(valid).map(json.dumps), st.floats(0, 1)).map(
        lambda of: of[0][: int(len(of[0]) * of[1])]
    )
    return whole | cut | st.text(max_size=20) | st.binary(max_size=20)


async def recognise_among(engine_class: Any, noise: list[str | bytes]) -> None:
    async with DeepgramService().serving() as service:
        engine = engine_class(
            DeepgramOptions(api_key=KEY, base_url=service.base_url, warm=1, answer_timeout=1.0, patience=0.5)
        )
        async with leaving_no_task():
            await engine.start()
            service.edit = lambda message: [message, *noise] if message["type"] == "Connected" else [*noise, message]
            utterance = engine.open(on_partial=lambda partial: None)
            for piece in np.array_split(say("one", "two"), 5):
                utterance.push(piece)
            with suppress(EngineError):
                assert isinstance(await utterance.snapshot(), Transcript)
            utterance.cancel()
            service.edit = lambda message: [message]
            following = engine.open()
            following.push(say("three"))
            assert (await following.finish()).text == "three"
            await engine.close()


@pytest.mark.parametrize(
    ("engine_class", "valid"), [(DeepgramSpeechToText, VALID_V1), (DeepgramFluxSpeechToText, VALID_V2)]
)
def test_an_utterance_among_noise_leaves_nothing_behind(engine_class, valid):
    @settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(frames(valid), min_size=1, max_size=5))
    def check(noise: list[str | bytes]) -> None:
        asyncio.run(recognise_among(engine_class, noise))

    check()
