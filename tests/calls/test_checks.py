"""What ``manage.py check`` says about the settings."""

import pytest
from django.conf import settings as current
from django.test import override_settings

from calls.checks import check_settings

PRODUCTION = {
    "DEBUG": False,
    "SECRET_KEY": "x" * 60,
    "PUBLIC_BASE_URL": "https://phone.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "a1" * 16,
    "TWILIO_AUTH_TOKENS": ["secret"],
    "TWILIO_PHONE_NUMBER": "+15551234567",
    "ALLOWED_HOSTS": ["phone.example.com"],
    "ENGINES_PROFILE": "cpu",
}
DEVELOPMENT = {
    **PRODUCTION,
    "DEBUG": True,
    "SECRET_KEY": current.DEVELOPMENT_SECRET_KEY,
    "PUBLIC_BASE_URL": "http://127.0.0.1:8000",
    "TWILIO_ACCOUNT_SID": current.DEVELOPMENT_ACCOUNT_SID,
    "TWILIO_AUTH_TOKENS": [current.DEVELOPMENT_AUTH_TOKEN],
}


def complaints(settings: dict) -> list[str]:
    with override_settings(**settings):
        return [message.id for message in check_settings()]


@pytest.mark.parametrize("good", [PRODUCTION, DEVELOPMENT], ids=["production", "development"])
def test_good_settings_pass(good):
    assert complaints(good) == []


@pytest.mark.parametrize(
    ("setting", "complaint"),
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
        ({"PUBLIC_BASE_URL": "https://phone.example.com:8443"}, ["calls.E015"]),
        ({"ALLOWED_HOSTS": ["*"]}, ["calls.W016"]),
        ({"ENGINES_PROFILE": "echo"}, ["calls.W017"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_each_fault_of_production_has_its_complaint(setting, complaint):
    assert complaints({**PRODUCTION, **setting}) == complaint


def test_an_account_without_its_token_is_noticed_in_development_too():
    assert complaints({**DEVELOPMENT, "TWILIO_ACCOUNT_SID": "AC" + "a1" * 16}) == ["calls.E002"]
