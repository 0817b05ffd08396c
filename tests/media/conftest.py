"""The application under a real web server, for the tests of whole calls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async


@pytest.fixture
def engines_options(request) -> dict[str, dict]:
    """Options of the scripted engines, and those of the test. Speech is made fast, for each server prepares phrases."""
    return {"tts": {"chunk_delay": 0.001}, **getattr(request, "param", {})}


@pytest.fixture
async def server(settings, engines_options) -> AsyncIterator[str]:
    """The application under uvicorn, with scripted engines. Its address."""
    # Only here: they take a second, which most tests of this folder can save.
    import uvicorn

    from calls.models import Agent
    from clientcaller.asgi import application
    from media.runtime import close_runtime
    from tests.media.whole_calls import PUBLIC

    settings.ENGINES_PROFILE = "scripted"
    settings.ENGINES = {
        alias: {**engine, "OPTIONS": engines_options.get(alias, {})}
        for alias, engine in settings.ENGINES_PROFILES["scripted"].items()
    }
    settings.PUBLIC_BASE_URL = PUBLIC
    settings.ALLOWED_HOSTS = ["*"]
    await sync_to_async(Agent.objects.update)(greeting="Hello, how can I help you?")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, ws="websockets-sansio", lifespan="on", log_config=None, ws_max_size=65536)
    serving = uvicorn.Server(config)
    task = asyncio.ensure_future(serving.serve(sockets=[listening]))
    while not serving.started:  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    serving.should_exit = True
    await task
    await close_runtime()
