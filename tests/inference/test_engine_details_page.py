"""
Each example of docs/engine-details.md makes an engine that works, with the settings that stand there and no others.

A hosted service is an imitation on this machine, and local weights are tiny models that the tests make. Only the
address and the path of the weights are replaced.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clientcaller.profiles import engine_profiles
from inference.backends import make_engine
from inference.engines.cartesia import CartesiaOptions
from inference.engines.elevenlabs import ElevenLabsOptions
from tests.inference.contract import band_noise
from tests.inference.hosted import (
    aura_service,
    cartesia_service,
    deepgram_service,
    elevenlabs_service,
    flux_tts_service,
    openai_service,
)
from tests.inference.hosted.service import Service
from tests.inference.hosted.speaking import say
from tests.inference.tiny_kokoro import make_tiny_kokoro
from tests.inference.tiny_piper import make_tiny_piper
from tests.inference.tiny_whisper import make_tiny_whisper

PAGE = Path(__file__).parents[2] / "docs" / "engine-details.md"
Serve = Callable[[], Service]


@dataclass(frozen=True)
class Stand:
    """What stands in for the service or the weights of an example."""

    service: Serve | None = None
    address: Callable[[Service], str] = lambda service: service.base_url
    weights: Callable[[Path], Path] | None = None


STANDS = {
    "Whisper": Stand(weights=make_tiny_whisper),
    "Deepgram Nova-3": Stand(deepgram_service.DeepgramService),
    "Deepgram Flux": Stand(deepgram_service.DeepgramService),
    "OpenAI Realtime": Stand(openai_service.OpenAIService, lambda service: f"{service.base_url}/v1"),
    "Transcription by request": Stand(openai_service.OpenAIService, lambda service: f"{service.base_url}/v1"),
    "Piper": Stand(weights=make_tiny_piper),
    "Kokoro": Stand(weights=make_tiny_kokoro),
    "Cartesia": Stand(cartesia_service.CartesiaService),
    "ElevenLabs": Stand(elevenlabs_service.ElevenLabsService),
    "Deepgram Aura-2": Stand(aura_service.AuraService),
    "Deepgram Flux TTS": Stand(flux_tts_service.FluxService),
    "Speech by request": Stand(openai_service.OpenAIService, lambda service: f"{service.base_url}/v1"),
}
DEFAULT_VOICES = {
    "Cartesia": (cartesia_service, {"id": CartesiaOptions(api_key="k").voice, "name": "the default voice"}),
    "ElevenLabs": (elevenlabs_service, {"voice_id": ElevenLabsOptions(api_key="k").voice, "name": "the default voice"}),
}
"""The voices of agents that name none, for the imitations that know few."""
NOT_RUN = {
    "CSM": "inference.engines.csm.CsmTextToSpeech",
    "pocket-tts": "inference.engines.pocket_tts.PocketTextToSpeech",
}
"""Examples that are made and described here, but not started: they need a card, or a download of gigabytes."""


def examples() -> dict[str, dict[str, str]]:
    """The environment of each example, by its heading."""
    sections = re.findall(r"^##+ (.+?)\n(.*?)(?=^##|\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    blocks = {title: re.search(r"```sh\n(.*?)```", text, re.S) for title, text in sections}
    return {
        title: dict(line.split("=", 1) for line in block[1].splitlines()) for title, block in blocks.items() if block
    }


def test_every_example_is_tried():
    assert set(examples()) == {*STANDS, *NOT_RUN}


def setting_of(title: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[str, dict[str, Any]]:
    """The kind of the engine of an example, and its setting."""
    environment = examples()[title]
    monkeypatch.setattr(os, "environ", {"VAR_DIR": str(folder), **environment})
    profiles = engine_profiles("")
    assert not profiles.missing["scripted"]
    (kind,) = (name.partition("_")[0].lower() for name in environment if name.endswith("_ENGINE"))
    return kind, dict(profiles.settings["scripted"][kind])


@pytest.fixture
async def engine(title: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[tuple[str, Any]]:
    """The kind and the started engine of an example."""
    kind, setting = setting_of(title, monkeypatch, tmp_path)
    stand, options = STANDS[title], dict(setting["OPTIONS"])
    async with AsyncExitStack() as stack:
        if stand.service is not None:
            service = stand.service()
            (key,) = (value for name, value in examples()[title].items() if name.endswith("_KEY"))
            if hasattr(service, "key"):
                service.key = key
            else:
                monkeypatch.setattr(import_module(type(service).__module__), "KEY", key, raising=False)
            if title in DEFAULT_VOICES:
                module, voice = DEFAULT_VOICES[title]
                monkeypatch.setattr(module, "VOICES", [*module.VOICES, voice])
            await stack.enter_async_context(service.serving())
            options["base_url"] = stand.address(service)
        if stand.weights is not None:
            options["model"] = str(stand.weights(tmp_path / "weights"))
        engine = make_engine(kind, {**setting, "OPTIONS": options})
        await engine.start()
        yield kind, engine
        await engine.close()


@pytest.mark.parametrize("title", STANDS)
async def test_an_example_hears_or_speaks(engine, title):
    kind, made = engine
    if kind == "tts":
        chunks = await say(made, "Good morning. ")
        assert np.abs(np.concatenate([chunk.pcm for chunk in chunks]).astype(int)).max() > 1000
    else:
        utterance = made.open()
        utterance.push(band_noise(100, 1500, 1.2, made.rate_hz))
        assert (await utterance.snapshot()).text
        utterance.cancel()


@pytest.mark.parametrize("title", NOT_RUN)
def test_an_example_of_a_large_model_makes_its_engine(monkeypatch, tmp_path, title):
    kind, setting = setting_of(title, monkeypatch, tmp_path)
    assert setting["BACKEND"] == NOT_RUN[title]
    assert make_engine(kind, setting).describe().weights
