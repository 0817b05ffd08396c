"""What the calls of a process share: when it is ready to take them."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from calls.models import Agent
from calls.services import Refusal
from calls.services.pacing import get_dialler_state
from calls.services.readiness import find_refusal, readiness_details, readiness_problems
from inference.garbage import THRESHOLDS, freeze_loaded
from inference.types import EngineFull
from media import runtime as media_runtime
from media.agent_options import options_of
from media.runtime import Runtime, close_runtime, get_runtime, in_own_connection
from media.turns.options import ConversationOptions
from tests.media.claims import stream_claim


def engines(**tts: Any) -> dict[str, dict[str, Any]]:
    backend = "inference.engines.scripted.Scripted"
    options = {"stt": ("SpeechToText", {}), "llm": ("LanguageModel", {}), "tts": ("TextToSpeech", tts)}
    return {alias: {"BACKEND": backend + kind, "OPTIONS": of} for alias, (kind, of) in options.items()}


async def serve(**tts: Any) -> tuple[Runtime, list[bool]]:
    """A runtime that was started and closed, and which of its phrases were ready when it took calls."""
    with override_settings(ENGINES=engines(**tts)):
        runtime = Runtime()
    await runtime.start()
    assert runtime.problem == ""
    ready = [bool(runtime.phrases.get(text, voice="", language="en")) for text in ConversationOptions().stock_phrases]
    await runtime.close()
    return runtime, ready


@pytest.mark.django_db(transaction=True)
async def test_calls_do_not_wait_for_phrases_that_the_voice_does_not_make(monkeypatch):
    monkeypatch.setattr(media_runtime, "MAX_WAIT_FOR_PHRASES", 0.05)
    _, ready = await serve(stalls=[{"rate": 1.0, "seconds": 3600.0}])
    assert not any(ready)


@pytest.mark.django_db(transaction=True)
async def test_the_phrases_of_the_process_before_are_there_at_the_start():
    quick = {"first_delay": 0.0, "chunk_delay": 0.0}
    _, ready = await serve(**quick)
    assert all(ready)
    files = list((Path(settings.SPOOL_DIR) / "phrases").iterdir())
    assert len(files) == len(ConversationOptions().stock_phrases)
    runtime, ready = await serve(**quick)
    assert all(ready)
    assert runtime.engines.tts.troubles.draw_for_next_request().name == "scripted speech 1"  # it was never asked


@pytest.mark.django_db(transaction=True)
async def test_the_phrases_of_each_agent_are_made_in_its_language_and_voice():
    await Agent.objects.acreate(name="empfang", language="de", voice="tone")
    await Agent.objects.acreate(name="ancien", language="fr", active=False)
    with override_settings(ENGINES=engines(first_delay=0.0, chunk_delay=0.0)):
        runtime = Runtime()
    await runtime.start()
    assert runtime.phrases.get("Sind Sie noch da?", voice="tone", language="de")
    assert runtime.phrases.get("Are you still there?", voice="", language="en")
    assert not runtime.phrases.get("Are you still there?", voice="tone", language="de")
    assert not runtime.phrases.get("Vous êtes toujours en ligne ?", voice="", language="fr")
    await runtime.close()


@pytest.mark.django_db(transaction=True)
async def test_the_phrases_of_the_languages_to_which_an_agent_may_change_are_made_too():
    await Agent.objects.aupdate(other_languages={"de": "tone"})
    with override_settings(ENGINES=engines(first_delay=0.0, chunk_delay=0.0)):
        runtime = Runtime()
    await runtime.start()
    assert runtime.phrases.get("Sind Sie noch da?", voice="tone", language="de")
    assert runtime.phrases.get("Are you still there?", voice="", language="en")
    await runtime.close()


@pytest.mark.parametrize(
    ("stt", "tts", "able"),
    [
        (("en", "de", "auto"), ("de", "en"), True),
        (("en", "de"), ("de", "en"), False),
        (("en", "auto"), ("de", "en"), False),
        (("en", "de", "auto"), ("en",), False),
        (None, None, True),
    ],
)
async def test_the_agent_changes_only_to_a_language_that_the_engines_have_and_notice(monkeypatch, stt, tts, able):
    with override_settings(ENGINES=engines()):
        runtime = Runtime()
    for engine, languages in ((runtime.engines.stt, stt), (runtime.engines.tts, tts)):
        monkeypatch.setattr(engine, "languages", frozenset(languages) if languages else None, raising=False)
    assert runtime.can_change_to("de-AT") is able
    await runtime.close()


@pytest.mark.django_db(transaction=True)
async def test_the_phrases_of_a_call_are_made_in_the_language_to_which_it_has_changed():
    with override_settings(ENGINES=engines(first_delay=0.0, chunk_delay=0.0)):
        runtime = Runtime()
    claim = stream_claim(stream=2, language="de", agent={"voice": "tone", "other_languages": {"de": ""}})
    options = options_of(claim, speculate=True)
    await runtime.engines.start()
    await runtime.prepare_phrases(options, claim.agent)
    assert runtime.phrases.get(options.still_there, voice="", language="de")
    assert not runtime.phrases.get(options.still_there, voice="tone", language="en")
    await runtime.close()


@pytest.mark.django_db(transaction=True)
async def test_a_process_is_not_ready_while_its_engines_load_and_asks_no_more_once_it_has_stopped():
    with override_settings(ENGINES=engines()):
        runtime = Runtime()
    runtime.begin()
    assert await runtime.database(readiness_problems) == ["engines are loading"]
    await runtime.start()
    assert await runtime.database(readiness_problems) == []
    runtime.problem = "engines: out of memory"
    assert await runtime.database(readiness_problems) == ["engines: out of memory"]
    await runtime.close()
    assert await asyncio.to_thread(in_own_connection, readiness_problems) == []


@pytest.mark.django_db(transaction=True)
async def test_each_service_of_a_process_leaves_no_check_behind():
    for _ in range(3):
        runtime = get_runtime()
        runtime.begin()
        await close_runtime()
        assert await asyncio.to_thread(in_own_connection, readiness_problems) == []


@pytest.mark.django_db(transaction=True)
async def test_what_is_loaded_is_left_out_of_garbage_collections_before_the_first_call():
    with override_settings(ENGINES=engines()):
        runtime = Runtime()
    problems = []
    runtime.begin(ready=lambda: problems.append(runtime.problem))
    runtime.begin(ready=lambda: problems.append("again"))
    await runtime.start()
    assert problems == ["engines are loading"]
    await runtime.close()


def test_frozen_objects_are_in_no_collection():
    before = gc.get_freeze_count()
    thresholds = gc.get_threshold()
    loaded = [[] for _ in range(1000)]
    freeze_loaded()
    try:
        assert gc.get_freeze_count() - before > len(loaded)
        assert not any(thing is loaded for thing in gc.get_objects())
        assert gc.get_threshold() == THRESHOLDS
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


@pytest.mark.django_db(transaction=True)
async def test_a_process_whose_engine_is_full_refuses_calls_until_it_ends():
    with override_settings(ENGINES=engines()):
        runtime = Runtime()
    await runtime.start()
    assert find_refusal() is None
    runtime.engines.availability.note(
        EngineFull("too many requests", retry_after=60.0), asyncio.get_running_loop().time()
    )
    assert await asyncio.to_thread(find_refusal) == Refusal("too many requests", is_busy=True)
    assert readiness_details()["refuses_calls"] == "too many requests"
    async with asyncio.timeout(10):
        while not (stopped := (await asyncio.to_thread(get_dialler_state)).stopped):
            pass
    assert [(state.pause.cause, state.pause.reason) for state in stopped] == [("engines", "too many requests")]
    await runtime.close()
    assert find_refusal() is None
    assert readiness_details() == {}
