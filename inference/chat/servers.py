"""How the model servers differ that all speak OpenAI's chat completions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

from inference.types import EngineError


class Rank(IntEnum):
    """Who goes first; an index into ``Server.priorities``."""

    REAL = 0
    """A turn that somebody waits for."""
    SPECULATIVE = 1
    WARM = 2
    """Only prepares for a later request."""


@dataclass(frozen=True, slots=True)
class Server:
    """What holds for a kind of server where the options say nothing else."""

    host: str = ""
    """The service that a base_url with this host means."""
    length_field: str = "max_tokens"
    """What the limit of the reply is called."""
    priorities: tuple[float, float, float] | None = None
    """The field ``priority`` by ``Rank``. Servers that do not know the field refuse it."""
    paid: bool = False
    """Every token costs, so none is wasted: no speculation, no warming."""
    context_tokens: int = 4096


SERVERS = {
    "": Server(),
    "ollama": Server(),
    "vllm": Server(priorities=(0, 5, 10), context_tokens=8192),
    # trtllm-serve has a priority too, the other way round; releases before it refuse the field.
    "tensorrt-llm": Server(context_tokens=8192),
    # OpenAI's newer models refuse max_tokens; Groq calls it deprecated. The others know only max_tokens, or both.
    "openai": Server("api.openai.com", "max_completion_tokens", paid=True, context_tokens=128_000),
    "groq": Server("api.groq.com", "max_completion_tokens", paid=True, context_tokens=128_000),
}


def server_of(name: str, base_url: str) -> Server:
    """The server of this name, or without one what the URL tells. An unknown name is a permanent ``EngineError``."""
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
