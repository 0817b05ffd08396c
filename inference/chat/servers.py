"""Lists the kinds of model servers that implement OpenAI's chat completions, and how they differ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit

from inference.types import EngineError


class Rank(IntEnum):
    """The order in which requests go; an index into ``Server.priorities``."""

    REAL = 0
    """A turn whose answer the caller waits for."""
    SPECULATIVE = 1
    """A turn that may still go on."""
    WARM = 2
    """Only prepares for a later request."""


@dataclass(frozen=True, slots=True)
class Server:
    """The defaults for a kind of server; the engine's options replace them."""

    host: str = ""
    """A base_url with this host means this kind of server."""
    length_field: str = "max_tokens"
    """The field that limits the length of a reply."""
    priorities: tuple[float, float, float] | None = None
    """The value of the field ``priority`` for each ``Rank``. Servers that do not know the field refuse the request."""
    paid: bool = False
    """Every token costs money, so requests are neither speculative nor for warming."""
    tool_calls: bool = False
    """Every model of the server can call functions. Others refuse the field ``tools``, or were not started for it."""
    context_tokens: int = 4096
    """The size of the context that the server offers by default."""
    first_token_timeout: float = 15.0
    """Seconds from the request to the first text. On a processor a new prompt takes 3 to 5 s, beside another one twice
    that; the caller has heard a filler long before."""
    inter_token_timeout: float = 10.0
    """Seconds between two pieces of text. On a processor a reply may stand still while the prompt of another call is
    read. With 2 s all of two parallel replies of llama.cpp on a busy machine were given up."""
    has_slots: bool = False
    """It has slots that keep their prompt, tells how many at ``/props``, and takes ``id_slot``."""


_PAID: dict[str, Any] = {
    "length_field": "max_completion_tokens",
    "paid": True,
    "tool_calls": True,
    "context_tokens": 128_000,
}


def _on_gpus(**facts: Any) -> Server:
    """A server that answers within a second or not at all."""
    return Server(first_token_timeout=5.0, inter_token_timeout=2.0, **facts)


SERVERS = {
    "": Server(),
    "ollama": Server(),
    "llama.cpp": Server(has_slots=True),
    "vllm": _on_gpus(priorities=(0, 5, 10), context_tokens=8192),
    # trtllm-serve has a priority as well, but the other way round, and earlier releases refuse the field.
    "tensorrt-llm": _on_gpus(context_tokens=8192),
    # OpenAI's newer models refuse max_tokens; Groq calls it deprecated. The others know only max_tokens, or both.
    "openai": _on_gpus(host="api.openai.com", **_PAID),
    "groq": _on_gpus(host="api.groq.com", **_PAID),
}


def kind_of(name: str, base_url: str) -> str:
    """Return the kind of server that has this name, or without a name that of the URL. Raises a permanent error."""
    if name:
        if name not in SERVERS:
            known = ", ".join(filter(None, SERVERS))
            raise EngineError(
                f"there is no model server {name!r}: leave the option out or use one of {known}", permanent=True
            )
        return name
    try:
        host = urlsplit(base_url).hostname
    except ValueError:
        host = None
    return next((kind for kind, server in SERVERS.items() if server.host and server.host == host), "")
