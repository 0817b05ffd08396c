"""What is wrong with the settings, said by ``manage.py check`` before a caller finds out."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    return [*_twilio(), *(() if settings.DEBUG else _production())]


def _twilio() -> Iterator[CheckMessage]:
    sid = settings.TWILIO_ACCOUNT_SID
    if sid and not re.fullmatch(r"AC[0-9a-f]{32}", sid):
        yield Error("TWILIO_ACCOUNT_SID is not an account SID (AC and 32 hex digits).", id="calls.E001")
    if sid != settings.DEVELOPMENT_ACCOUNT_SID and settings.DEVELOPMENT_AUTH_TOKEN in settings.TWILIO_AUTH_TOKENS:
        yield Error("TWILIO_ACCOUNT_SID is set, but TWILIO_AUTH_TOKEN is not.", id="calls.E002")
    number = settings.TWILIO_PHONE_NUMBER
    if number and not re.fullmatch(r"\+[1-9]\d{6,14}", number):
        yield Error("TWILIO_PHONE_NUMBER is not in the form +15551234567.", id="calls.E003")
    if len(settings.TWILIO_AUTH_TOKENS) > 2:
        yield Error("TWILIO_AUTH_TOKEN holds more than the two tokens of a rotation.", id="calls.E004")


def _production() -> Iterator[CheckMessage]:
    if settings.SECRET_KEY == settings.DEVELOPMENT_SECRET_KEY:
        yield Error("SECRET_KEY is the development one, which everybody knows.", id="calls.E010")
    if not settings.TWILIO_ACCOUNT_SID or settings.TWILIO_ACCOUNT_SID == settings.DEVELOPMENT_ACCOUNT_SID:
        yield Error("TWILIO_ACCOUNT_SID must be set to your account.", id="calls.E011")
    if not settings.TWILIO_AUTH_TOKENS or settings.DEVELOPMENT_AUTH_TOKEN in settings.TWILIO_AUTH_TOKENS:
        yield Error("TWILIO_AUTH_TOKEN must be set: every request of Twilio's is refused.", id="calls.E012")
    if not settings.TWILIO_PHONE_NUMBER:
        yield Warning("TWILIO_PHONE_NUMBER is not set: no calls can be placed.", id="calls.W013")
    public = urlsplit(settings.PUBLIC_BASE_URL)
    if public.scheme != "https" or public.hostname in ("localhost", "127.0.0.1", "::1"):
        yield Error("PUBLIC_BASE_URL must be the https address at which Twilio finds this server.", id="calls.E014")
    elif public.port not in (None, 443):
        yield Error("PUBLIC_BASE_URL names a port; Twilio opens media sockets on 443 only.", id="calls.E015")
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning("ALLOWED_HOSTS allows every host.", id="calls.W016")
    if settings.ENGINES_PROFILE in ("scripted", "echo"):
        yield Warning(f"ENGINES_PROFILE {settings.ENGINES_PROFILE} is for tests; callers will wonder.", id="calls.W017")
