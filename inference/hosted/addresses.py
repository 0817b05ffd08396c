"""Makes the addresses of a service from what an operator wrote: a URL of HTTP or of a WebSocket, or only a host."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, urlencode


def http_url(base_url: str) -> str:
    """The address for HTTP requests, without a slash at its end."""
    return _with_scheme(base_url, "http")


def websocket_url(base_url: str, path: str = "", query: Iterable[tuple[str, object]] = ()) -> str:
    """
    The address of a WebSocket. ``query`` may repeat a name.

    Operators write its values as JSON: true and false become these words, a list repeats its name, and null is left
    out.
    """
    parameters = urlencode(
        [
            (name, _as_text(each))
            for name, value in query
            for each in (value if isinstance(value, list) else [value])
            if each is not None
        ],
        quote_via=quote,
    )
    return _with_scheme(base_url, "ws") + path + (f"?{parameters}" if parameters else "")


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _with_scheme(base_url: str, scheme: str) -> str:
    """``https`` and ``wss`` stand for each other, and so do ``http`` and ``ws``. A host alone is reached by TLS."""
    if match := re.match(r"(?:https?|wss?)(?=://)", base_url.strip(), re.I):
        secure = "s" if match[0].lower() in ("https", "wss") else ""
        return (scheme + secure + base_url.strip()[match.end() :]).rstrip("/")
    return f"{scheme}s://{base_url.strip()}".rstrip("/")
