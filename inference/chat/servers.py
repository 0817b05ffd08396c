"""Lists the kinds of model servers that implement OpenAI's chat completions, and how they differ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
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


SERVERS = {
    "": Server(),
    "ollama": Server(),
    "vllm": Server(priorities=(0, 5, 10), context_tokens=8192),
    # trtllm-serve has a priority as well, but the other way round, and earlier releases refuse the field.
    "tensorrt-llm": Server(context_tokens=8192),
    # OpenAI's newer models refuse max_tokens; Groq calls it deprecated. The others know only max_tokens, or both.
    "openai": Server("api.openai.com", "max_completion_tokens", paid=True, tool_calls=True, context_tokens=128_000),
    "groq": Server("api.groq.com", "max_completion_tokens", paid=True, tool_calls=True, context_tokens=128_000),
}


def server_of(name: str, base_url: str) -> Server:
    """Return the server of this name, or without a name the one of the URL. Raises a permanent ``EngineError``."""
    if name:
        try:
            return SERVERS[name]
        except KeyError:
            known = ", ".join(filter(None, SERVERS))
            raise EngineError(
                f"there is no model server {name!r}: leave the option out or use one of {known}", permanent=True
            ) from None
    try:
        host = urlsplit(base_url).hostname
    except ValueError:
        host = None
    return next((server for server in SERVERS.values() if server.host and server.host == host), SERVERS[""])


def name_of(server: Server) -> str:
    """Return the name of a server in ``SERVERS``."""
    return next(name for name, known in SERVERS.items() if known is server)
