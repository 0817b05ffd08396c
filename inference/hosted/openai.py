"""What the speech engines of OpenAI and of compatible servers share: the account, its models, and their ends."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import msgspec

from inference.hosted.api import Api
from inference.hosted.keys import checked_key
from inference.hosted.refusals import refusal
from inference.types import EngineError

logger = logging.getLogger(__name__)

OPENAI_URL = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"
NOTICE = 60
"""Days before the end of a model from which each start warns of it."""

LANGUAGES = frozenset(
    """
    af ar az be bg bs ca cs cy da de el en es et fa fi fr gl he hi hr hu hy id is it ja kk kn ko lt lv mi mk mr ms ne nl
    no pl pt ro ru sk sl sr sv sw ta th tl tr uk ur vi zh
    """.split()
)
"""The languages that OpenAI's models recognise and speak, by its documentation."""

ENDS: Mapping[str, tuple[date, str]] = {
    **dict.fromkeys(
        ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"),
        (date(2027, 1, 6), "OpenAI has named no successor for this request: plan for another server or engine"),
    ),
    **dict.fromkeys(
        (
            "whisper-1",
            "gpt-4o-transcribe",
            "gpt-4o-mini-transcribe",
            "gpt-4o-mini-transcribe-2025-12-15",
            "gpt-4o-transcribe-diarize",
        ),
        (date(2027, 2, 26), "its successor is gpt-transcribe"),
    ),
}
"""When OpenAI ends models, as announced by November 2026, and what to do. ``GET /models`` tells it as well."""


def is_openai(base_url: str) -> bool:
    """Whether this is OpenAI's own service, in any region."""
    host = (urlsplit(base_url).hostname or "").lower()
    return host == "openai.com" or host.endswith(".openai.com")


def is_own(base_url: str) -> bool:
    """Whether the server is on this machine or in a private network, and so costs nothing for each request."""
    host = (urlsplit(base_url).hostname or "").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan", ".home.arpa", ".localhost"))
    return address.is_private or address.is_loopback or address.is_link_local


def provider_of(base_url: str) -> str:
    """The name of the service in messages."""
    return "OpenAI" if is_openai(base_url) else f"the server at {urlsplit(base_url).netloc.rpartition('@')[2]}"


def usage_name(base_url: str, model: str) -> str:
    """The name under which the use of a model is counted: ``openai/gpt-transcribe``."""
    return f"{'openai' if is_openai(base_url) else urlsplit(base_url).hostname}/{model}"


def key_of(base_url: str, kind: str) -> str:
    """How operators call the key: ``OPENAI_API_KEY``, or elsewhere than at OpenAI's usual address ``STT_API_KEY``."""
    return KEY if base_url.rstrip("/") == OPENAI_URL else f"{kind}_API_KEY"


def check_seconds(options: object, *names: str) -> None:
    """Refuse time-outs and the like that are not more than 0. Raises a permanent ``EngineError``."""
    for name in names:
        if not getattr(options, name) > 0:
            raise EngineError(f"{name} must be more than 0 seconds", permanent=True)


def check_account(base_url: str, api_key: str, kind: str) -> None:
    """
    Raise a permanent ``EngineError`` for an address or a key that cannot be one.

    ``kind`` is how the settings of the engine begin: ``STT`` or ``TTS``.
    """
    try:
        address = urlsplit(base_url)
        is_web = address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:  # such as a bracket that is not closed
        is_web = False
    if not is_web:
        raise EngineError(f"base_url must be an http(s) URL such as {OPENAI_URL}, not {base_url!r}", permanent=True)
    key = checked_key(api_key)
    if is_openai(base_url) and not key:
        setting = key_of(base_url, kind)
        raise EngineError(f"OpenAI needs a key. Set {setting}, or {kind}_BASE_URL for another server.", permanent=True)


def authorisation(api_key: str) -> dict[str, str]:
    """The header with the key, if there is one."""
    return {"Authorization": f"Bearer {api_key.strip()}"} if api_key.strip() else {}


async def check_model(api: Api, model: str, *, setting: str, today: date | None = None) -> None:
    """
    Have the server check the key, and look for the model.

    ``setting`` is how operators set the model. Raises only permanent errors: a key that is refused, and at OpenAI a
    model that it does not have. Another server may have no list of models, or list them by other names. Warns of the
    end of a model.
    """
    ours = is_openai(api.base_url)
    try:
        models = _models(await api.get_json("/models", optional=not ours))
    except EngineError as error:
        # A key may be restricted to the requests of calls.
        if error.permanent and "issing scope" not in str(error):
            raise
        logger.warning("%s gives no list of its models; calls try it nevertheless: %s", _capital(api.provider), error)
        models = {}
    if models and model not in models:
        if ours:
            raise EngineError(f"OpenAI has no model {model!r} for this key. Set {setting} to another.", permanent=True)
        some = ", ".join(sorted(models)[:8])
        logger.warning("%s does not list the model %r, but %s. Set %s.", _capital(api.provider), model, some, setting)
    announced = models.get(model)
    if announced or ours:
        _warn_of_the_end(model, announced, setting, today or date.today())


def is_text(content_type: str) -> bool:
    """Whether this is the content type of an error rather than of sound."""
    return content_type.startswith("text/") or "json" in content_type or "xml" in content_type


def refusal_in(said: str, provider: str, *, key: str, doing: str) -> EngineError:
    """The error that a text means which came with status 200 in place of an answer."""
    code = ""
    try:
        content = msgspec.json.decode(said)
    except (ValueError, RecursionError):
        content = None
    error = content.get("error", content) if isinstance(content, dict) else None
    if isinstance(error, dict):
        code = " ".join(str(error.get(name)) for name in ("code", "type", "status", "status_code"))
    status = next((status for pattern, status in _CODES if re.search(pattern, code)), 500)
    return refusal(provider, status, said, key=key, doing=doing)


_CODES = (
    (r"rate_limit|too_many|\b429\b|insufficient_quota", 429),
    (r"invalid_api_key|authentication|\b401\b", 401),
    (r"model_not_found|not_found|\b404\b", 404),
    (r"\b403\b", 403),
    (r"invalid_request|invalid_value|\b400\b|\b422\b", 400),
)
"""The codes of errors, and the status that each stands for."""


def names_in(listing: Any) -> list[str]:
    """The names in a list of voices, in whichever form a server has it."""
    if isinstance(listing, dict):
        listing = next((listing[name] for name in ("voices", "data") if listing.get(name)), [])
    if isinstance(listing, dict):
        return list(listing)
    names = [
        next((entry[name] for name in ("id", "voice_id", "name") if entry.get(name)), "")
        if isinstance(entry, dict)
        else entry
        for entry in (listing if isinstance(listing, list) else [])
    ]
    return [name for name in names if isinstance(name, str) and name]


def _models(listing: Any) -> dict[str, date | None]:
    """The models of a listing, each with the date of its end if that is announced."""
    entries = listing.get("data") if isinstance(listing, dict) else listing
    found: dict[str, date | None] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(name := entry.get("id"), str):
            try:
                found[name] = date.fromisoformat(str(entry.get("shutdown_date") or "")[:10])
            except ValueError:
                found[name] = None
    return found


def _warn_of_the_end(model: str, announced: date | None, setting: str, today: date) -> None:
    known, advice = ENDS.get(model, (None, "see the provider's list of deprecations"))
    end = announced or known
    if end is None:
        return
    days = (end - today).days
    if days <= 0:
        logger.warning("The model %s has ended on %s; %s (%s).", model, end, advice, setting)
    elif days <= NOTICE:
        logger.warning("The model %s ends on %s, in %d days; %s (%s).", model, end, days, advice, setting)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
