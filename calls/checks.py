"""Checks of the settings for ``manage.py check``, which reports mistakes before a call meets them."""

import ipaddress
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import Error as DatabaseError
from django.utils import timezone

from calls import dial_rules, rates, schedule
from calls.languages import judge_language, judge_other_language
from calls.numbers import NumberRefused, read_number

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of this machine, where Twilio reaches nothing."""
_LOCAL_DOMAINS = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test", ".invalid")
"""Domains that exist only within a network (RFC 6761, RFC 6762, RFC 8375, and ``.internal``, which ICANN reserves)."""
_HOST = re.compile(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]", re.IGNORECASE | re.ASCII)
"""A host as Django compares it with a ``Host`` header. With a dot before it, it stands for its subdomains as well."""


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    production = () if settings.DEBUG else _production()
    return [*_twilio(), *_hosts(), *_calling_out(), *_limits(), *_turn_model(), *production]


@register(Tags.database)
def check_agents(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Warn of agents that record without telling the caller. Runs with ``manage.py check --database default`` only."""
    from calls.models import Agent

    if settings.DEBUG or not databases:
        return []
    silent = Agent.objects.filter(active=True, record=True, disclosure="").order_by("name")
    try:
        names = [name for database in databases for name in silent.using(database).values_list("name", flat=True)]
    except DatabaseError:  # not migrated yet, or unavailable: other checks report it
        return []
    text = f"These agents record calls without telling the caller first: {', '.join(names)}."
    hint = "Give each of them a disclosure, unless the law allows to record without one."
    return [Warning(text, hint=hint, id="calls.W040")] if names else []


@register(Tags.database)
def check_languages(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Warn of agents that lack something for their language. Runs with ``manage.py check --database default`` only."""
    from calls.models import Agent

    try:
        agents = [
            agent
            for database in databases or ()
            for agent in Agent.objects.filter(active=True).order_by("name").using(database)
        ]
    except DatabaseError:  # not migrated yet, or unavailable: other checks report it
        return []
    found: list[CheckMessage] = []
    for agent in agents:
        others = [(language, judge_other_language(language)) for language in agent.other_languages]
        for language, report in [(agent.language, judge_language(agent.language)), *others]:
            about = f"Agent {agent.name}, language {language}: "
            found += [Warning(about + problem, id="calls.W041") for problem in report.problems]
            found += [Info(about + unknown, id="calls.I042") for unknown in report.unknown]
    return found


@register(Tags.database)
def check_dialling(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Warn of what is not dialled, and why. Runs with ``manage.py check --database default`` only."""
    from calls.services.pauses import Cause, list_pauses

    if not databases:
        return []
    try:
        paused = list_pauses(timezone.now())
    except DatabaseError:  # not migrated yet, or unavailable: other checks report it
        return []
    found: list[CheckMessage] = []
    for state in paused:
        pause = state.pause
        if pause.cause == Cause.ENGINES:
            text = f"New calls are refused and none is dialled, because of the engines: {pause.reason}"
            hint = "Add credit to the account, or choose another engine as a fallback."
            found.append(Warning(text, hint=hint, id="calls.W043"))
        else:
            text = f"Dialling is paused for {pause}, because {pause.get_cause_display()}: {pause.reason}"
            remedy = None if pause.until else "Put it right, and resume on the page Dialling of the admin."
            found.append(Warning(text, hint=remedy, id="calls.W044"))
    return found


def _twilio() -> Iterator[CheckMessage]:
    sid = settings.TWILIO_ACCOUNT_SID
    if sid and not re.fullmatch(r"AC[0-9a-f]{32}", sid):
        yield Error("TWILIO_ACCOUNT_SID is not an account SID. Write AC and 32 hexadecimal digits.", id="calls.E001")
    if sid != settings.DEVELOPMENT_ACCOUNT_SID and settings.DEVELOPMENT_AUTH_TOKEN in settings.TWILIO_AUTH_TOKENS:
        yield Error("TWILIO_ACCOUNT_SID is set, but TWILIO_AUTH_TOKEN is not. Set both.", id="calls.E002")
    number = settings.TWILIO_PHONE_NUMBER
    try:
        read_number(number or "+15551234567")
    except NumberRefused as error:
        yield Error(f"TWILIO_PHONE_NUMBER is not a full telephone number. {error}", id="calls.E003")
    if len(settings.TWILIO_AUTH_TOKENS) > 2:
        yield Error(
            "TWILIO_AUTH_TOKEN has more than two tokens. Only a rotation needs two, the old one and the new one.",
            id="calls.E004",
        )


def _hosts() -> Iterator[CheckMessage]:
    for host in settings.ALLOWED_HOSTS:
        if host != "*" and not _HOST.fullmatch(host):
            text = f"ALLOWED_HOSTS names {host!r}, which no request can have."
            hint = "Write names without scheme, port and path: phone.example.com, or .example.com for all below it."
            yield Error(text, hint=hint, id="calls.E036")
    if settings.DEBUG and settings.TWILIO_ACCOUNT_SID not in ("", settings.DEVELOPMENT_ACCOUNT_SID):
        host = urlsplit(settings.PUBLIC_BASE_URL).hostname or ""
        if reason := _unreachable_because(host):
            text = f"PUBLIC_BASE_URL names {host}, {reason}, but TWILIO_ACCOUNT_SID is a real account."
            hint = "Calls are connected only if Twilio reaches this server. Set the https address of a tunnel to it."
            yield Warning(text, hint=hint, id="calls.W037")


def _unreachable_because(host: str) -> str:
    """Return why Twilio cannot reach this host, or an empty string."""
    try:
        return (
            "" if ipaddress.ip_address(host).is_global else "an address that only this machine or its network reaches"
        )
    except ValueError:
        pass
    if "." not in host.rstrip(".") or host.rstrip(".").endswith(_LOCAL_DOMAINS):
        return "a name that only this machine or its network knows"
    # Twilio refuses the address of a callback whose host has one (error 21205).
    return "a name with an underscore, which Twilio refuses" if "_" in host else ""


def _calling_out() -> Iterator[CheckMessage]:
    hours = None
    try:
        hours = schedule.CallingHours.parse(settings.CALLING_HOURS)
    except (ValueError, TypeError, AttributeError) as error:
        yield Error(f"CALLING_HOURS is invalid: {error}", id="calls.E020")
    countries = set(settings.DIAL_COUNTRIES)
    if unknown := sorted(countries - dial_rules.REGIONS - {"*"}):
        yield Error(
            f"DIAL_COUNTRIES has unknown countries: {', '.join(unknown)}. Use ISO codes such as US.", id="calls.E021"
        )
    if unknown := sorted(set(settings.DIAL_NUMBER_TYPES) - dial_rules.TYPES):
        choices = ", ".join(sorted(dial_rules.TYPES))
        yield Error(
            f"DIAL_NUMBER_TYPES has unknown types: {', '.join(unknown)}. Choose from: {choices}.", id="calls.E022"
        )
    if hours and (never := sorted(one for one in countries if hours.of(one) == schedule.NEVER)):
        yield Warning(
            f"CALLING_HOURS has no hours for {', '.join(never)}, so no call to these countries is ever dialled.",
            id="calls.W023",
        )
    if settings.OUTBOUND_MAX_CALLS > settings.MAX_LIVE_CALLS:
        yield Error(
            "OUTBOUND_MAX_CALLS is greater than MAX_LIVE_CALLS, which counts all calls, outbound ones included.",
            id="calls.E024",
        )
    try:
        schedule.Pace(calls_per_second=settings.CALLS_PER_SECOND, burst=max(1, round(settings.CALLS_PER_SECOND)))
    except (ValueError, OverflowError) as error:
        yield Error(f"CALLS_PER_SECOND is invalid: {error}", id="calls.E025")
    if settings.ATTEMPTS_PER_NUMBER_AND_DAY < 1:
        yield Error("ATTEMPTS_PER_NUMBER_AND_DAY must be at least 1, or no call is ever dialled.", id="calls.E026")


def _limits() -> Iterator[CheckMessage]:
    if not rates.is_rate(settings.API_RATE):
        yield Error(f"API_RATE is {settings.API_RATE!r}. Write it like 600/minute.", id="calls.E030")
    for name in ("RETENTION_RECORDINGS_DAYS", "RETENTION_TRANSCRIPTS_DAYS"):
        if getattr(settings, name) < 0:
            yield Error(f"{name} must be a number of days, or 0 to keep everything.", id="calls.E031")


def _turn_model() -> Iterator[CheckMessage]:
    path = settings.TURN_MODEL
    if path and not os.path.isfile(os.path.expanduser(path)):
        yield Error(
            f"TURN_MODEL is {path}, where there is no file. Name the ONNX file of the model, or leave it empty.",
            id="calls.E035",
        )


def _production() -> Iterator[CheckMessage]:
    if settings.SECRET_KEY == settings.DEVELOPMENT_SECRET_KEY:
        yield Error(
            "SECRET_KEY is the development key, which is public. Set it to a long random text.", id="calls.E010"
        )
    if not settings.TWILIO_ACCOUNT_SID or settings.TWILIO_ACCOUNT_SID == settings.DEVELOPMENT_ACCOUNT_SID:
        yield Error("TWILIO_ACCOUNT_SID is not set. Set it to the SID of your Twilio account.", id="calls.E011")
    if not settings.TWILIO_AUTH_TOKENS or settings.DEVELOPMENT_AUTH_TOKEN in settings.TWILIO_AUTH_TOKENS:
        yield Error("TWILIO_AUTH_TOKEN is not set. Without it, every request from Twilio is refused.", id="calls.E012")
    if not settings.TWILIO_PHONE_NUMBER:
        yield Warning(
            "TWILIO_PHONE_NUMBER is not set. Only agents with a number of their own can place calls.", id="calls.W013"
        )
    public = urlsplit(settings.PUBLIC_BASE_URL)
    unreachable = _unreachable_because(public.hostname or "")
    if public.scheme != "https" or unreachable:
        which = f" It names {public.hostname}, {unreachable}." if unreachable else ""
        text = f"PUBLIC_BASE_URL must be the https address at which Twilio reaches this server.{which}"
        yield Error(text, id="calls.E014")
    elif public.port not in (None, 443):
        yield Error("PUBLIC_BASE_URL names a port. Twilio opens media sockets on port 443 only.", id="calls.E015")
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning("ALLOWED_HOSTS allows every host. Name the host of PUBLIC_BASE_URL instead.", id="calls.W016")
    if settings.ENGINES_PROFILE in ("scripted", "echo"):
        yield Warning(
            f"ENGINES_PROFILE is {settings.ENGINES_PROFILE}, which is for tests: callers cannot talk to it.",
            hint="Set ENGINES_PROFILE to another profile, such as hosted.",
            id="calls.W017",
        )
    carrier = urlsplit(settings.TWILIO_API_BASE_URL)
    if settings.TWILIO_ACCOUNT_SID != settings.DEVELOPMENT_ACCOUNT_SID:
        if carrier.hostname in _LOOPBACK:
            yield Error(
                "TWILIO_API_BASE_URL is on this machine, but TWILIO_ACCOUNT_SID is a real account.", id="calls.E018"
            )
        elif carrier.scheme != "https":
            yield Error(
                "TWILIO_API_BASE_URL must be an https address, because the account's token is sent there.",
                id="calls.E019",
            )
    if "*" in settings.DIAL_COUNTRIES:
        yield Warning(
            "DIAL_COUNTRIES allows every country, which makes toll fraud easy. Name the countries that you call.",
            id="calls.W032",
        )
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        yield Warning(
            "DATABASE_URL is not set, so SQLite is used. It suits one machine with few calls.",
            hint="Set DATABASE_URL to a PostgreSQL database before there are more.",
            id="calls.W033",
        )
    if not settings.REDIS_URL:
        text = (
            "REDIS_URL is not set, so all processes must run on one machine, and each counts API requests on its own."
        )
        yield Warning(text, hint="Set REDIS_URL to a Redis before there are more machines.", id="calls.W034")
