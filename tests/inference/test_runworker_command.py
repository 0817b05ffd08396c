"""``manage.py runworker``: what it refuses, and the reason that it gives."""

import re

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

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
