"""What the calls of a process share: when it is ready to take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from media import runtime as service_module
from media.runtime import Service
from media.turns.options import ConversationOptions


def engines(**tts: Any) -> dict[str, dict[str, Any]]:
    backend = "inference.engines.scripted.Scripted"
    options = {"stt": ("SpeechToText", {}), "llm": ("LanguageModel", {}), "tts": ("TextToSpeech", tts)}
    return {alias: {"BACKEND": backend + kind, "OPTIONS": of} for alias, (kind, of) in options.items()}


async def serve(**tts: Any) -> tuple[Service, list[bool]]:
    """A service that was started and closed, and which of its phrases were ready when it took calls."""
    with override_settings(ENGINES=engines(**tts)):
        service = Service()
    await service.start()
    assert service.problem == ""
    ready = [bool(service.phrases.get(text, voice="", language="en")) for text in ConversationOptions().stock_phrases]
    await service.close()
    return service, ready


@pytest.mark.django_db(transaction=True)
async def test_calls_do_not_wait_for_phrases_that_the_voice_does_not_make(monkeypatch):
    monkeypatch.setattr(service_module, "PHRASES_PATIENCE", 0.05)
    _, ready = await serve(stalls=[{"rate": 1.0, "seconds": 3600.0}])
    assert not any(ready)


@pytest.mark.django_db(transaction=True)
async def test_the_phrases_of_the_process_before_are_there_at_the_start():
    quick = {"first_delay": 0.0, "chunk_delay": 0.0}
    _, ready = await serve(**quick)
    assert all(ready)
    files = list((Path(settings.SPOOL_DIR) / "phrases").iterdir())
    assert len(files) == len(ConversationOptions().stock_phrases)
    service, ready = await serve(**quick)
    assert all(ready)
    assert service.engines.tts.deal_fate().name == "scripted speech 1"  # it was never asked
