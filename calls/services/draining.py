"""
Draining: a web process that shall end takes no new calls, and waits until those that it has have ended.

The state is the process's own. A web server begins it (``begin``), the parts that have calls add their counts, and
callbacks, event streams and ``/readyz`` heed it.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError

from calls import metrics
from calls.services.admission import unused_tokens
from calls.services.readiness import (
    Refusal,
    add_function,
    add_readiness_check,
    add_readiness_details,
    add_refusal_check,
)

_counts: list[Callable[[], int]] = []
"""How many calls each part of the process has."""
_tokens: dict[str, float] = {}
"""The tokens that this process has given out for streams, and until when each may be used (``time.monotonic``)."""
_ends_at: float | None = None
"""When draining ends at the latest; None while the process does not drain."""
_is_over = False
_remove: list[Callable[[], None]] = []
"""Removes what ``/readyz`` says of draining."""


def begin() -> None:
    """Drain from now on, for ``DRAIN_LIMIT`` seconds at the most. Has no effect while the process drains."""
    global _ends_at
    if _ends_at is None:
        _ends_at = time.monotonic() + settings.DRAIN_LIMIT
        _remove.append(add_readiness_check(lambda: "draining"))
        _remove.append(add_readiness_details(_details))
        _remove.append(add_refusal_check(lambda: Refusal("this process is ending", is_busy=False)))


def finish() -> None:
    """Take no stream any more, not even of a call that has begun."""
    global _is_over
    begin()
    _is_over = True


def reset() -> None:
    """Forget that the process drains, and what it has given out."""
    global _ends_at, _is_over
    _ends_at, _is_over = None, False
    _tokens.clear()
    while _remove:
        _remove.pop()()


def is_draining() -> bool:
    """Whether new calls go elsewhere. Any thread may ask."""
    return _ends_at is not None


def is_over() -> bool:
    return _is_over


def seconds_left() -> float:
    """Seconds until this process ends in any case; 0 if it does not drain."""
    return max(0.0, _ends_at - time.monotonic()) if _ends_at is not None else 0.0


def add_count(count: Callable[[], int]) -> Callable[[], None]:
    """Have draining wait while ``count`` gives more than 0. Returns the function that removes it again."""
    return add_function(_counts, count)


def live_here() -> int:
    """Return the number of calls that have their stream in this process."""
    return sum(count() for count in list(_counts))


def note_token(token: str) -> None:
    """This process has told Twilio to open a stream with this token: the call counts until the token is used."""
    now = time.monotonic()
    for old in [old for old, expires_at in list(_tokens.items()) if expires_at <= now]:
        _tokens.pop(old, None)
    _tokens[token] = now + settings.STREAM_TOKEN_TTL


def calls_to_wait_for() -> int:
    """Return the number of calls that need this process: those that have their stream here, or may open it here."""
    return live_here() + len(_open_tokens())


def forget_used_tokens() -> None:
    """Ask the database which calls have opened their streams, perhaps elsewhere. While it is away, nothing changes."""
    tokens = _open_tokens()
    with suppress(DatabaseError, InterfaceError):
        unused = unused_tokens(tokens)
        for token in tokens:
            if token not in unused:
                _tokens.pop(token, None)


def _open_tokens() -> list[str]:
    now = time.monotonic()
    return [token for token, expires_at in list(_tokens.items()) if expires_at > now]


def _details() -> dict[str, object]:
    return {"draining": {"calls": calls_to_wait_for(), "seconds_left": round(seconds_left())}}


metrics.DRAINING.set_function(is_draining)
