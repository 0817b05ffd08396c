"""``manage.py runworker``: what it refuses, and the reason that it gives."""

import asyncio
import re
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from inference.management.commands import runworker
from tests.inference.remote.processes import worker_process

REDIS_URL = "redis://127.0.0.1:1/0"
"""A command that is refused does not connect to it."""


@pytest.mark.parametrize(
    ("profile", "arguments", "redis_url", "message"),
    [
        ("scripted", ("tts", "ears"), REDIS_URL, "There is no engine 'ears'. Choose from: stt, llm, tts."),
        ("scripted", ("tts", "--layer=x"), REDIS_URL, "CHANNEL_LAYERS has no 'x'; it has: default, stream"),
        ("scripted", ("tts", "--slots=0"), REDIS_URL, "argument --slots: it must be at least 1"),
        ("scripted", ("tts",), "", "REDIS_URL is not set."),
        ("remote", ("tts",), REDIS_URL, "A worker cannot use ENGINES_PROFILE=remote"),
    ],
)
def test_a_wrong_command_is_refused_with_what_is_right(profile, arguments, redis_url, message, settings):
    settings.REDIS_URL, settings.ENGINES = redis_url, settings.ENGINES_PROFILES[profile]
    with pytest.raises(CommandError, match=re.escape(message)):
        call_command("runworker", *arguments)


def test_an_engine_that_cannot_be_made_is_named_with_the_reason(redis_server, tmp_path):
    with worker_process(tmp_path, redis_server.url, "tts", tts={"pitch": 3}) as worker:
        assert worker.wait() == 1
        worker.wait_for_group()
        assert "Cannot serve the engines: ENGINES['tts']" in worker.text
        assert "'pitch'" in worker.text


async def test_a_worker_shows_that_it_lives_once_its_engines_are_loaded(monkeypatch):
    monkeypatch.setattr(runworker, "ALIVE_INTERVAL", 0.0)
    server, file = SimpleNamespace(loaded=asyncio.Event()), FileOfLife()
    showing = asyncio.ensure_future(runworker.show_life(file, [server]))
    await asyncio.sleep(0)
    assert file.touched == 0
    server.loaded.set()
    await asyncio.wait_for(file.twice.wait(), 60)
    showing.cancel()


class FileOfLife:
    """Counts how often it is touched."""

    def __init__(self):
        self.touched, self.twice, self._loop = 0, asyncio.Event(), asyncio.get_running_loop()

    def touch(self):
        self.touched += 1
        if self.touched == 2:
            self._loop.call_soon_threadsafe(self.twice.set)
