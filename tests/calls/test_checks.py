"""The reports of ``manage.py check`` about the settings."""

import os
import secrets
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from django.conf import settings as current
from django.core.checks import CheckMessage
from django.test import override_settings
from django.utils import timezone

from calls.checks import check_agents, check_dialling, check_settings
from calls.models import Agent, DialPause
from calls.services import pauses

PRODUCTION = {
    "DEBUG": False,
    "SECRET_KEY": "x" * 60,
    "PUBLIC_BASE_URL": "https://phone.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "a1" * 16,
    "TWILIO_AUTH_TOKENS": ["secret"],
    "TWILIO_PHONE_NUMBER": "+15551234567",
    "ALLOWED_HOSTS": ["phone.example.com"],
    "ENGINES_PROFILE": "cpu",
    "TWILIO_API_BASE_URL": "https://api.twilio.com",
    "DATABASES": {"default": {"ENGINE": "django.db.backends.postgresql"}},
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "DIAL_COUNTRIES": ("US", "CA"),
    "CALLING_HOURS": {"*": "08:00-21:00"},
    "MAX_LIVE_CALLS": 20,
    "OUTBOUND_MAX_CALLS": 16,
}
DEVELOPMENT = {
    **PRODUCTION,
    "DEBUG": True,
    "SECRET_KEY": current.DEVELOPMENT_SECRET_KEY,
    "PUBLIC_BASE_URL": "http://127.0.0.1:8000",
    "TWILIO_ACCOUNT_SID": current.DEVELOPMENT_ACCOUNT_SID,
    "TWILIO_AUTH_TOKENS": [current.DEVELOPMENT_AUTH_TOKEN],
    "TWILIO_API_BASE_URL": "http://127.0.0.1:8010",
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3"}},
    "REDIS_URL": "",
    "DIAL_COUNTRIES": ("*",),
}


def messages(settings: dict) -> list[CheckMessage]:
    with warnings.catch_warnings():
        # Django warns of an override of DATABASES. Nothing connects to it here.
        warnings.filterwarnings("ignore", message="Overriding setting DATABASES")
        with override_settings(**settings):
            return check_settings()


def message_ids(settings: dict) -> list[str]:
    return [message.id for message in messages(settings)]


@pytest.mark.parametrize("good", [PRODUCTION, DEVELOPMENT], ids=["production", "development"])
def test_correct_settings_pass(good):
    assert message_ids(good) == []


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"SECRET_KEY": current.DEVELOPMENT_SECRET_KEY}, ["calls.E010"]),
        ({"TWILIO_ACCOUNT_SID": ""}, ["calls.E011"]),
        ({"TWILIO_ACCOUNT_SID": current.DEVELOPMENT_ACCOUNT_SID}, ["calls.E011"]),
        ({"TWILIO_ACCOUNT_SID": "SK" + "a1" * 16}, ["calls.E001"]),
        ({"TWILIO_AUTH_TOKENS": []}, ["calls.E012"]),
        ({"TWILIO_AUTH_TOKENS": [current.DEVELOPMENT_AUTH_TOKEN]}, ["calls.E002", "calls.E012"]),
        ({"TWILIO_AUTH_TOKENS": ["a", "b", "c"]}, ["calls.E004"]),
        ({"TWILIO_PHONE_NUMBER": ""}, ["calls.W013"]),
        ({"TWILIO_PHONE_NUMBER": "555 1234"}, ["calls.E003"]),
        ({"PUBLIC_BASE_URL": "http://phone.example.com"}, ["calls.E014"]),
        ({"PUBLIC_BASE_URL": "https://localhost"}, ["calls.E014"]),
        ({"PUBLIC_BASE_URL": "https://10.0.0.5"}, ["calls.E014"]),
        ({"PUBLIC_BASE_URL": "https://[fd00::5]"}, ["calls.E014"]),
        ({"PUBLIC_BASE_URL": "https://169.254.169.254"}, ["calls.E014"]),
        ({"PUBLIC_BASE_URL": "https://phones"}, ["calls.E014"]),
        ({"PUBLIC_BASE_URL": "https://phone.internal"}, ["calls.E014"]),
        ({"PUBLIC_BASE_URL": "https://my_phone.example.com"}, ["calls.E014"]),
        ({"PUBLIC_BASE_URL": "https://93.184.215.14"}, []),
        ({"PUBLIC_BASE_URL": "https://phone.example.com:8443"}, ["calls.E015"]),
        ({"ALLOWED_HOSTS": ["*"]}, ["calls.W016"]),
        ({"ENGINES_PROFILE": "echo"}, ["calls.W017"]),
        ({"TWILIO_API_BASE_URL": "http://127.0.0.1:8010"}, ["calls.E018"]),
        ({"TWILIO_API_BASE_URL": "http://twilio.example.com"}, ["calls.E019"]),
        ({"DIAL_COUNTRIES": ("*",)}, ["calls.W032"]),
        ({"DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3"}}}, ["calls.W033"]),
        ({"REDIS_URL": ""}, ["calls.W034"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_each_mistake_in_production_has_its_message(setting, expected):
    assert message_ids({**PRODUCTION, **setting}) == expected


def test_an_account_without_its_token_is_reported_in_development_too():
    real = {"TWILIO_ACCOUNT_SID": "AC" + "a1" * 16, "PUBLIC_BASE_URL": "https://phone.example.com"}
    assert message_ids({**DEVELOPMENT, **real}) == ["calls.E002"]


def test_a_public_address_that_twilio_cannot_reach_is_reported_in_development_if_the_account_is_real():
    real = {"TWILIO_ACCOUNT_SID": "AC" + "a1" * 16, "TWILIO_AUTH_TOKENS": ["secret"]}
    assert message_ids({**DEVELOPMENT, **real}) == ["calls.W037"]
    assert message_ids({**DEVELOPMENT, **real, "PUBLIC_BASE_URL": "https://phone.example.com"}) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "https://phone.example.com",
        "phone.example.com:8000",
        "phone.example.com/",
        "*.example.com",
        "a b",
        "::1",
        "büro.de",
        "my_phone",
        "a.b.",
    ],
)
def test_a_host_that_no_request_can_have_is_reported_by_its_name(wrong):
    [message] = messages({**PRODUCTION, "ALLOWED_HOSTS": ["phone.example.com", wrong]})
    assert (message.id, repr(wrong) in message.msg) == ("calls.E036", True)


@pytest.mark.parametrize("right", ["10.0.0.5", "[::1]", ".example.com", "Phone.Example.com", "phone"])
def test_a_host_that_a_request_can_have_is_accepted(rf, settings, right):
    assert message_ids({**PRODUCTION, "ALLOWED_HOSTS": ["phone.example.com", right]}) == []
    settings.ALLOWED_HOSTS = [right]
    assert rf.get("/", HTTP_HOST=right.lstrip(".")).get_host()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"CALLING_HOURS": {"US": "nine to five"}}, ["calls.E020"]),
        ({"CALLING_HOURS": {"us": "09:00-17:00"}}, ["calls.E020"]),
        ({"CALLING_HOURS": ["09:00-17:00"]}, ["calls.E020"]),
        ({"CALLING_HOURS": {"*": 9}}, ["calls.E020"]),
        ({"DIAL_COUNTRIES": ("US", "UK")}, ["calls.E021"]),
        ({"DIAL_NUMBER_TYPES": ("MOBILE", "PAGING")}, ["calls.E022"]),
        ({"DIAL_COUNTRIES": ("US", "FR"), "CALLING_HOURS": {"US": "09:00-17:00"}}, ["calls.W023"]),
        ({"DIAL_COUNTRIES": ("*",), "CALLING_HOURS": {"US": "09:00-17:00"}}, ["calls.W023"]),
        ({"DIAL_COUNTRIES": ("US",), "CALLING_HOURS": {"*": "09:00-17:00", "US": ""}}, ["calls.W023"]),
        ({"OUTBOUND_MAX_CALLS": 21, "MAX_LIVE_CALLS": 20}, ["calls.E024"]),
        ({"CALLS_PER_SECOND": 0.0}, ["calls.E025"]),
        ({"CALLS_PER_SECOND": -1.0}, ["calls.E025"]),
        ({"CALLS_PER_SECOND": float("nan")}, ["calls.E025"]),
        ({"CALLS_PER_SECOND": float("inf")}, ["calls.E025"]),
        ({"ATTEMPTS_PER_NUMBER_AND_DAY": 0}, ["calls.E026"]),
        ({"API_RATE": "often"}, ["calls.E030"]),
        ({"TURN_MODEL": "/no/such/model.onnx"}, ["calls.E035"]),
        ({"RETENTION_RECORDINGS_DAYS": -1}, ["calls.E031"]),
        ({"RETENTION_TRANSCRIPTS_DAYS": -1}, ["calls.E031"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_settings_that_would_stop_dialling_are_reported_in_development_too(setting, expected):
    assert message_ids({**DEVELOPMENT, "DIAL_COUNTRIES": ("US",), **setting}) == expected


def test_the_turn_model_may_lie_in_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "turn.onnx").write_bytes(b"onnx")
    assert message_ids({**DEVELOPMENT, "TURN_MODEL": "~/turn.onnx"}) == []


def test_the_message_about_calling_hours_shows_the_invalid_entry():
    [message] = messages({**DEVELOPMENT, "CALLING_HOURS": {"FR": "Mon-Fri 10-13", "*": "08:00-21:00"}})
    assert "'FR'" in message.msg
    assert "Mon-Fri 10-13" in message.msg


@pytest.mark.django_db
def test_agents_that_record_without_a_disclosure_are_named(settings):
    settings.DEBUG = False
    Agent.objects.create(name="not-recording", record=False)
    Agent.objects.create(name="with-disclosure", disclosure="This call is recorded.")
    Agent.objects.create(name="retired", active=False)
    [message] = check_agents(databases=["default"])
    assert message.id == "calls.W040"
    assert message.msg.endswith(": front-desk.")
    assert check_agents(databases=None) == []
    Agent.objects.update(disclosure="This call is recorded.")
    assert check_agents(databases=["default"]) == []


def test_agents_are_not_checked_in_development(settings):
    settings.DEBUG = True
    assert check_agents(databases=["default"]) == []


@pytest.mark.django_db
def test_engines_that_hold_up_the_calls_are_reported():
    assert check_dialling(databases=["default"]) == []
    pauses.hold_dialling(process="web:1", why="no credit is left", seconds=600)
    [message] = check_dialling(databases=["default"])
    assert (message.id, message.msg) == (
        "calls.W043", "New calls are refused and none is dialled, because of the engines: no credit is left",
    )  # fmt: skip
    assert check_dialling(databases=None) == []


@pytest.mark.django_db
def test_what_is_not_dialled_is_reported_with_its_reason():
    pauses.slow_down("Twilio cannot be reached.", timezone.now(), at_least=60)
    DialPause.objects.create(
        scope="country", subject="DE", cause="country", reason="Geo Permission …", try_at=timezone.now()
    )
    busy, country = check_dialling(databases=["default"])
    assert (busy.id, country.id) == ("calls.W044", "calls.W044")
    assert busy.msg == "Dialling is paused for everything, because the carrier asks to wait: Twilio cannot be reached."
    assert country.msg.startswith("Dialling is paused for country DE, because the carrier does not let us call this")
    assert country.msg.endswith(": Geo Permission …")
    assert (busy.hint, country.hint) == (None, "Put it right, and resume on the page Dialling of the admin.")


def test_manage_py_check_deploy_passes_with_production_settings(tmp_path):
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ},
        "VAR_DIR": str(tmp_path),
        "DEBUG": "0",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "PUBLIC_BASE_URL": "https://phone.example.com",
        "TWILIO_ACCOUNT_SID": "AC" + secrets.token_hex(16),
        "TWILIO_AUTH_TOKEN": secrets.token_hex(16),
        "TWILIO_PHONE_NUMBER": "+15551234567",
        "DATABASE_URL": "postgres://clientcaller:secret@127.0.0.1/clientcaller",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "DEBUG"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert (done.returncode, "no issues" in done.stdout) == (0, True), done.stderr
