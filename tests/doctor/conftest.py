"""A healthy deployment for the tests of the doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calls.models import Agent
from calls.services import heartbeats
from clientcaller.doctor import engines, media_path, public, stores
from tests.doctor.faults import World

SECRET = "a-key-of-more-than-fifty-characters-that-nobody-guesses-0123456789"
ACCOUNT_SID = "AC" + "0f" * 16
AUTH_TOKEN = "the-token-of-the-tests"
NUMBER = "+12025550142"
SCRIPTED = {
    alias: {"BACKEND": f"inference.engines.scripted.{name}", "OPTIONS": {}}
    for alias, name in (
        ("stt", "ScriptedSpeechToText"),
        ("llm", "ScriptedLanguageModel"),
        ("tts", "ScriptedTextToSpeech"),
    )
}


@pytest.fixture
def world(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> World:
    """A deployment whose settings are as they should be."""
    settings.DEBUG = False
    settings.SIMULATED = False
    settings.SECRET_KEY = SECRET
    settings.PUBLIC_BASE_URL = "https://phone.example.com"
    settings.ALLOWED_HOSTS = ["phone.example.com", "127.0.0.1", "localhost"]
    settings.TWILIO_ACCOUNT_SID = ACCOUNT_SID
    settings.TWILIO_AUTH_TOKENS = [AUTH_TOKEN]
    settings.TWILIO_AUTH_TOKEN = AUTH_TOKEN
    settings.TWILIO_PHONE_NUMBER = NUMBER
    settings.TWILIO_API_BASE_URL = "https://api.twilio.com"
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.SECURE_HSTS_SECONDS = 3600
    settings.CALLING_HOURS = {"*": "08:00-21:00"}
    settings.VAR_DIR = tmp_path / "var"
    settings.ENGINES = SCRIPTED
    return World(settings, monkeypatch, tmp_path, request)


@pytest.fixture(autouse=True)
def _any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine of the tests is not what the checks look for: nothing is slow here unless a test says so."""
    for module, names in (
        (stores, ("SLOW_DATABASE", "SLOW_REDIS")),
        (public, ("SLOW",)),
        (media_path, ("SLOW", "PATIENCE")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, 60.0)
    monkeypatch.setattr(media_path, "BUNCHED", 0.5)
    monkeypatch.setattr(engines, "SLOW", dict.fromkeys(engines.SLOW, 60.0))


@pytest.fixture
def at_work(db: None) -> None:
    """The beat and a worker are at work, and the agent says that it records."""
    Agent.objects.update(disclosure="This call is recorded.")
    for kind in heartbeats.Kind:
        heartbeats.note_heartbeat(kind)
