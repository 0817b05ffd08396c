"""What a model server means by refusing a request."""

from __future__ import annotations

import re

from inference.types import ContextTooLarge, EngineError, EngineFull, EngineLoading

TRANSIENT_STATUSES = frozenset({408, 409, 425})
"""Beside every 5xx: the refusals that a later request may not get."""
FULL_STATUSES = frozenset({429, 498, 503, 529})
"""Too many requests, or a full queue: 498 is Groq's, 503 vLLM's (``--max-num-queued-reqs``), 529 Anthropic's."""

_TOO_LARGE = re.compile(
    r"context[ _-]?(?:length|size|window)|max(?:imum)?[ _](?:model|input|seq|prompt|sequence)\w*[ _]len"
    r"|prompt.{0,30}too (?:long|large)|reduce the length|request too large|max_tokens must be at least 1, got -",
    re.I,
)
"""In the words of OpenAI, Groq and vLLM, TensorRT-LLM (max_seq_len), Ollama and llama.cpp."""
_LOADING = re.compile(r"\bloading\b|not (?:yet )?(?:ready|loaded)|starting up", re.I)
_HINTS = (
    (re.compile(r"\bpriority\b", re.I), 'start vLLM with --scheduling-policy priority, or set "priority" to false'),
    (re.compile(r"use '?max_completion_tokens", re.I), 'set "server" to "openai"'),
    (re.compile(r"\btemperature\b", re.I), 'set "temperature" to null'),
)


def refusal(status: int, said: str, *, where: str, model: str) -> EngineError:
    """The error for a response of this status; ``said`` is the beginning of its body."""
    message = f"{where} refuses {model} with {status}{_hint(status, said, model)}: {said}"
    if status in (400, 413, 422, 429, 500) and _TOO_LARGE.search(said):
        return ContextTooLarge(message)
    if status == 503 and _LOADING.search(said):
        return EngineLoading(message)
    # An empty purse, which does not fill itself, is no full house.
    if status in FULL_STATUSES and "insufficient_quota" not in said:
        return EngineFull(message)
    return EngineError(message, permanent=status < 500 and status not in TRANSIENT_STATUSES)


def retry_after(header: str | None) -> float:
    """Seconds to leave the server alone after it was full; HTTP's other form, a date, counts as none given."""
    try:
        return min(60.0, max(0.0, float(header or "")))
    except ValueError:
        return 1.0


def _hint(status: int, said: str, model: str) -> str:
    if status == 404:
        return f" (with Ollama: ollama pull {model})"
    if status in (400, 422):
        return next((f" ({hint})" for pattern, hint in _HINTS if pattern.search(said)), "")
    return ""
