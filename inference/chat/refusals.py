"""Decides which error a model server's refusal is, and when to retry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from inference.types import ContextTooLarge, EngineError, EngineFull, EngineLoading, QuotaExhausted

TRANSIENT_STATUSES = frozenset({408, 409, 425})
"""Beside every 5xx, the refusals that a later request may not get."""
FULL_STATUSES = frozenset({429, 498, 503, 529})
"""Too many requests, or a full queue. 498 is Groq's, 503 vLLM's (``--max-num-queued-reqs``), 529 Anthropic's."""

_TOO_LARGE = re.compile(
    r"context[ _-]?(?:length|size|window)|max(?:imum)?[ _](?:model|input|seq|prompt|sequence)\w*[ _]len"
    r"|prompt.{0,30}too (?:long|large)|reduce the length|request too large|max_tokens must be at least 1, got -",
    re.I,
)
"""The words with which OpenAI, Groq, vLLM, TensorRT-LLM (max_seq_len), Ollama and llama.cpp refuse a long prompt."""
_NO_TOOLS = re.compile(r"\btools?\b|\btool[_ ]c|\bfunction[_ ]call", re.I)
"""How Ollama ("does not support tools"), vLLM ("requires --enable-auto-tool-choice") and others refuse tool calls."""
_LOADING = re.compile(r"\bloading\b|not (?:yet )?(?:ready|loaded)|starting up", re.I)
_USED_UP = re.compile(
    r"insufficient_quota|exceeded your current quota|billing[_ ](?:hard[_ ])?(?:limit|not[_ ]active)"
    r"|credit balance|out of credits?|insufficient[_ ](?:funds|credits?|balance)|payment required"
    r"|spend(?:ing)?[_ ]limit|blocked_api_access|\bper day\b|\b[TR]PD\b",
    re.I,
)
"""How OpenAI and Groq say that the account or the quota of the day is used up. Groq's rate limits also name its page on
billing, so that word alone says nothing."""
_NO_MODEL = re.compile(
    r"model[_ ](?:\S+ )?(?:is )?not[_ ]found|model_(?:decommissioned|deprecated|not_active)|decommissioned"
    r"|model\b.{0,80}\b(?:does not exist|no longer|retired|shut ?down|removed)|(?:unknown|invalid|no such) model",
    re.I | re.S,
)
"""How servers say that they do not have a model, or no longer."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_ESCAPE = re.compile(r"\\.")
"""An escape in JSON, two characters: its letter is not part of the word behind it."""
_QUOTED = 3
"""So many words in a row are a quotation; fewer are found in any error message. A shorter turn is quoted as a whole."""
_SHOWN = 200
"""Characters of a redirect's address that an error quotes."""
_HINTS = (
    (re.compile(r"\bpriority\b", re.I), 'start vLLM with --scheduling-policy priority, or set "priority" to false'),
    (re.compile(r"use '?max_completion_tokens", re.I), 'set "server" to "openai"'),
    (re.compile(r"\btemperature\b", re.I), 'set "temperature" to null'),
)


class ToolsRefused(EngineError):
    """The server or its model does not know tool calls. The same request without them may succeed."""


def refusal(
    status: int,
    said: str,
    *,
    where: str,
    model: str,
    turns: Sequence[str] = (),
    wait: float = 1.0,
    location: str = "",
) -> EngineError:
    """
    The error for a response of this status; ``said`` is the beginning of its body, ``wait`` its ``Retry-After`` and
    ``location`` where it redirects to.

    The error is logged, so its message quotes nothing of ``turns``, the words of the conversation.
    """
    if is_redirect(status):
        advice = redirect_advice(location, "OPENAI_BASE_URL or the option base_url")
        return EngineError(f"{where} answers with {status}. {advice}", permanent=True)
    hint = _hint(status, said, where, model)
    message = f"{where} refuses {model} with {status}{hint}: {without_quotations(said, turns)}"
    if status in (400, 413, 422, 429, 500) and _TOO_LARGE.search(said):
        return ContextTooLarge(message)
    if status in (400, 422, 500, 501) and _NO_TOOLS.search(said):
        return ToolsRefused(message, permanent=status < 500)
    if status == 503 and _LOADING.search(said):
        return EngineLoading(message)
    # An exhausted quota does not come back by waiting, so it is not the same as a full server.
    if status == 402 or (status in (400, 403, 429) and _USED_UP.search(said)):
        return QuotaExhausted(f"{message}. The account is used up: add credit or raise its limit.")
    if status in FULL_STATUSES:
        return EngineFull(message, retry_after=wait)
    return EngineError(message, permanent=status < 500 and status not in TRANSIENT_STATUSES)


def is_redirect(status: int) -> bool:
    """Whether the server means another address. None is followed: it would be told the key and a caller's words."""
    return 300 <= status < 400


def redirect_advice(location: str, setting: str) -> str:
    """What to do about a redirect; ``setting`` is how operators call the address. The query may be secret."""
    try:
        parts = urlsplit(location)
        target = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        target = ""
    shown = target[:_SHOWN].encode("ascii", "backslashreplace").decode()
    to = f"redirects to {shown}" if shown.isprintable() and shown else "redirects to another address"
    return f"It {to}, which is not followed, because the key would go there. Set {setting} to the address itself."


def without_quotations(text: str, turns: Sequence[str]) -> str:
    """Leave out what ``text`` quotes of these turns: some servers repeat the request that they refuse."""
    quotable: set[tuple[str, ...]] = set()
    for turn in turns:
        quotable.update(_runs([word.lower() for word in _WORD.findall(turn)], _QUOTED))
    matches = [*_WORD.finditer(_ESCAPE.sub("  ", text))]
    words = [match[0].lower() for match in matches]
    quoted: set[int] = set()
    for size in range(1, _QUOTED + 1):
        for at, run in enumerate(_runs(words, size)):
            if run in quotable:
                quoted.update(range(at, at + len(run)))
    for at in sorted(quoted, reverse=True):
        text = text[: matches[at].start()] + "…" + text[matches[at].end() :]
    return text


def _runs(words: list[str], size: int) -> list[tuple[str, ...]]:
    """Each run of ``size`` words; all of them as one run if there are fewer."""
    if len(words) <= size:
        return [tuple(words)] if words else []
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


def retry_after(header: str | None) -> float:
    """Seconds to send no request after the server was full. A date, HTTP's other form, counts as no header."""
    try:
        return min(60.0, max(0.0, float(header or "")))
    except ValueError:
        return 1.0


def _hint(status: int, said: str, where: str, model: str) -> str:
    if status in (404, 410) or (status in (400, 403, 422) and _NO_MODEL.search(said)):
        models = f"{where.removesuffix('/chat/completions')}/models"
        local = "" if where.startswith("https:") else f", with Ollama: ollama pull {model}"
        return f" (set LLM_MODEL to a model that the server has: {models} lists them{local})"
    if status in (400, 422):
        return next((f" ({hint})" for pattern, hint in _HINTS if pattern.search(said)), "")
    return ""
