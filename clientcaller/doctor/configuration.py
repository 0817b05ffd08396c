"""Checks of the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.conf import settings
from django.core.checks import ERROR, WARNING, CheckMessage, run_checks

from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.registry import Finding, check, green, red, yellow

SHORTEST_KEY = 50
"""Characters that Django wants a secret key to have at least."""
FEWEST_CHARACTERS = 5
"""Different characters that it wants in it."""
CHANGE_KEY = 'Set SECRET_KEY to what "openssl rand -base64 48" prints, for all processes, and restart them.'


@check("settings", about="the settings, as manage.py check --deploy sees them")
def check_settings(deployment: Deployment) -> Iterator[Finding]:
    if settings.DEBUG:
        text = "DEBUG=1: this is a server for development"
        yield yellow(text, "Set DEBUG=0 and the settings that it wants for a server that others reach.")
    # Without DEBUG=0 they say of each part of it that it is off.
    messages = [one for one in run_checks(include_deployment_checks=not settings.DEBUG) if not one.is_silenced()]
    yield from findings_of(messages)
    if not any(message.level >= WARNING for message in messages) and not settings.DEBUG:
        yield green("nothing is missing or contradictory")


def findings_of(messages: Sequence[CheckMessage]) -> Iterator[Finding]:
    """What Django's checks say, each in one line."""
    for message in messages:
        text = " ".join(f"{message.msg}".split()).rstrip(".")
        remedy = " ".join(f"{message.hint or ''}".split())
        if message.level >= ERROR:
            yield red(f"{text} ({message.id})", remedy or "Change the setting, and restart all processes.")
        elif message.level >= WARNING:
            yield yellow(f"{text} ({message.id})", remedy)


@check("secret-key", about="the key that signs logins and links")
def check_secret_key(deployment: Deployment) -> Iterator[Finding]:
    key: str = settings.SECRET_KEY
    if key == settings.DEVELOPMENT_SECRET_KEY:
        text = "SECRET_KEY is the development key, which is public"
        yield yellow(text, CHANGE_KEY) if deployment.is_simulated and settings.DEBUG else red(text, CHANGE_KEY)
    elif key.startswith("django-insecure-") or len(set(key)) < FEWEST_CHARACTERS:
        yield red("SECRET_KEY can be guessed, so that logins and links can be forged", CHANGE_KEY)
    elif len(key) < SHORTEST_KEY:
        yield yellow(f"SECRET_KEY has {len(key)} characters, fewer than {SHORTEST_KEY}", CHANGE_KEY)
    else:
        yield green("SECRET_KEY is set")
