"""Decides which error of ours the refusal of a hosted service is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from inference.chat.refusals import TRANSIENT_STATUSES, is_redirect, redirect_advice, retry_after
from inference.types import EngineError, EngineFull, EngineTimeout, QuotaExhausted

QUOTED = 300
"""Characters of an answer that an error quotes."""

_QUOTA = re.compile(
    r"quota|insufficient[_ ](?:funds|credits?|balance)|out of credits?|credit (?:balance|limit)|payment required"
    r"|billing[_ ](?:hard[_ ])?(?:limit|not[_ ]active)|no credits?|credits? (?:exhausted|remaining)|usage limit",
    re.I,
)
"""Words with which services say that the account is empty. Waiting does not help, other than with a rate limit. A rate
limit also names the page on billing or quotas, so neither "billing" alone nor an address says anything."""
_ADDRESS = re.compile(r"https?://\S+")

FULL_CODES = frozenset({1013})
"""The close code of a WebSocket whose server is too busy (IANA's registry: "Try Again Later")."""


BASE_URL = "the option base_url"
"""How operators call the address of a service for which the environment has no variable."""


def refusal(
    provider: str,
    status: int,
    said: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    key: str = "",
    doing: str = "",
    advice: str = "",
    setting: str = BASE_URL,
) -> EngineError:
    """
    The error for an HTTP answer, also for that of a WebSocket's handshake.

    ``said`` is the beginning of its body; it must not hold a caller's words. ``key`` is how operators call the key of
    this service (``DEEPGRAM_API_KEY``) and ``setting`` how they call its address; ``doing`` is what was asked for,
    ``advice`` what to do about such a refusal.
    """
    about = f": {said.strip()[:QUOTED]}" if said.strip() else ""
    refused = f"{provider} refused {doing} with {status}"
    if is_redirect(status):
        return EngineError(
            f"{refused}. {redirect_advice((headers or {}).get('Location', ''), setting)}", permanent=True
        )
    is_used_up = status == 402 or _says_used_up(said)
    if status in (402, 429) or (status in (400, 401, 403) and is_used_up):
        if is_used_up:
            return QuotaExhausted(f"{refused}{about}. The account's quota is used up: add credit or raise its limit.")
        return EngineFull(f"{refused}{about}", retry_after=retry_after((headers or {}).get("Retry-After")))
    if status == 401:
        return EngineError(f"{refused}{about}. Check the key{f' in {key}' if key else ''}.", permanent=True)
    if status == 403:
        reason = f"Check the key{f' in {key}' if key else ''}, what it may be used for, and the name of the model."
        return EngineError(f"{refused}{about}. {reason}", permanent=True)
    permanent = 400 <= status < 500 and status not in TRANSIENT_STATUSES
    return EngineError(f"{refused}{about}{f'. {advice}' if advice else ''}", permanent=permanent)


def _says_used_up(said: str) -> bool:
    return bool(_QUOTA.search(_ADDRESS.sub("", said)))


def closed(provider: str, code: int | None, reason: str = "") -> EngineError:
    """The error for a WebSocket that the server has closed."""
    about = f" ({reason.strip()[:QUOTED]})" if reason.strip() else ""
    message = f"{provider} closed the connection with code {code or 'none'}{about}"
    if _says_used_up(reason):
        return QuotaExhausted(f"{message}. The account's quota is used up: add credit or raise its limit.")
    if code in FULL_CODES or re.search(r"rate.?limit|too many|max_active", reason, re.I):
        return EngineFull(message)
    return EngineError(message)


def silent(provider: str, seconds: float) -> EngineTimeout:
    """The error for a service that owes an answer and sends nothing."""
    return EngineTimeout(f"{provider} sent nothing for {seconds:.1f} s, although it owes an answer")
