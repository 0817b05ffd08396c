"""A process that is told to end while it starts ends soon, by the signal or with 0, and without a traceback."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.real_services import RedisServer, migrate, process, process_env, reserve_port

SOON = 15.0
"""Seconds on a machine that has other work: without a call there is nothing to wait for."""
SLOW = "tests.web_server.slow_engine.SlowTextToSpeech"
ENDED = {0, -signal.SIGTERM}
CELERY = "-m celery -A clientcaller worker --beat --without-mingle --without-gossip"
CASES = {
    "web-at-once": ("-m clientcaller.web.server --port {port}", {}, ""),
    "web-loading": ("-m clientcaller.web.server --port {port}", {"TTS_ENGINE": SLOW}, "loading slowly"),
    "celery-at-once": (CELERY, {}, ""),
    "celery-connecting": (CELERY, {"CELERY_BROKER_URL": "redis://127.0.0.1:{dead}/0"}, "Cannot connect to redis"),
    "runworker-at-once": ("manage.py runworker tts", {}, ""),
    "runworker-loading": ("manage.py runworker tts", {"TTS_ENGINE": SLOW}, "loading slowly"),
    "runworker-connecting": ("manage.py runworker tts", {"REDIS_URL": "redis://127.0.0.1:{dead}/0"}, "loaded on"),
}
"""A command, settings of its own, and what it writes before it is told to end; without one this is at once."""


@pytest.mark.parametrize("name", CASES)
def test_a_process_that_is_told_to_end_while_it_starts_ends_soon(name, redis_server: RedisServer, tmp_path):
    command, more, moment = CASES[name]
    ports = {"port": reserve_port(), "dead": reserve_port()}
    settings = {key: value.format(**ports) for key, value in more.items()}
    env = {**process_env(tmp_path, redis_url=redis_server.url, ENGINES_PROFILE="scripted"), **settings}
    if name.startswith("runworker"):
        env["DJANGO_SETTINGS_MODULE"] = "clientcaller.pod"
    elif moment:
        migrate(env)
    with process(sys.executable, *command.format(**ports).split(), env=env) as started:
        if moment:
            started.wait_for(moment)
        started.signal(signal.SIGTERM)
        assert started.wait(timeout=SOON) in ENDED, started.text
        started.wait_for_group()
        assert "Traceback" not in started.text
