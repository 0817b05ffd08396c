"""Defines the ``OPTIONS`` of ``OpenAICompatibleLanguageModel``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference.options import PATH


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServerOptions:
    server: str = ""
    """The kind of server: ``vllm``, ``ollama``, ``llama.cpp``, ``tensorrt-llm``, ``openai`` or ``groq``. It sets the
    defaults that ``inference.chat.servers`` lists. OpenAI and Groq are recognised by their ``base_url``."""

    base_url: str = "http://127.0.0.1:11434/v1"
    """The address of the API, without ``/chat/completions``. The default is Ollama on this machine."""

    model: str = "gemma3:1b"
    """The name of the model at the server."""

    api_key: str = field(default="", repr=False)
    """Sent as a bearer token, if there is one."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of every request."""

    ca_file: str = field(default="", metadata=PATH)
    """A PEM file with the certificate authorities to trust, instead of the usual ones."""

    client_cert_file: str = field(default="", metadata=PATH)
    """A PEM file with the certificate that is presented to a server that asks for one."""

    client_key_file: str = field(default="", metadata=PATH)
    """A PEM file with the key of that certificate, if the key is not in the same file."""

    temperature: float | None = 0.7
    """The freedom with which words are chosen. None sends no temperature: reasoning models refuse the field."""

    max_tokens: int = 160
    """The longest reply, in tokens: about 40 s of speech, more than a caller listens to in one go."""

    reasoning_tokens: int = 0
    """Room for what the model thinks before it speaks, in tokens, beside ``max_tokens``: servers count both together,
    and a model that may think for only 160 tokens often says nothing. It becomes larger by itself when a reply ends at
    the limit without a word. Better is a model that does not think (``extra_body``): the caller waits for thoughts."""

    context_tokens: int | None = None
    """The size of the context, in tokens. Older turns are left out of a request that would exceed it. None: what the
    kind of server offers by default."""

    connect_timeout: float = 1.0
    """Seconds to open a connection."""

    first_token_timeout: float | None = None
    """Seconds from the request to the first text. None: 5, or 15 where the model may run on a processor (Ollama,
    llama.cpp and unknown servers). The caller has heard a filler long before."""

    inter_token_timeout: float | None = None
    """Seconds between two pieces of text. None: 2, or 10 where the model may run on a processor."""

    reply_timeout: float = 30.0
    """Seconds of waiting for the server in one reply, after its first text."""

    load_timeout: float = 120.0
    """Seconds that the start of the engine waits for a server that is loading its model."""

    warm: bool | None = None
    """Whether the server's prefix cache is filled while the caller talks, and the model loaded at the start. None: yes,
    except where tokens are paid for."""

    priority: bool | None = None
    """Whether requests carry the field ``priority``. None: for vLLM only; other servers refuse it."""

    max_concurrent: int = 0
    """The most requests that run at once; 0 sets no limit. A real request takes the slot of a speculative one that has
    no words yet, and that one is sent again."""

    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request. A value of None takes a field out of it."""

    end_call_marker: str = "[END_CALL]"
    """The text that the model writes to request the end of the call. Empty: the model cannot request it."""

    tool_calls: bool | None = None
    """Whether the model requests the end of the call, a transfer and the like by tool calls. None: yes for OpenAI and
    Groq. vLLM must be started with ``--enable-auto-tool-choice`` and ``--tool-call-parser``; Ollama knows it for some
    models. Without it, and where the server refuses it, the model writes markers."""

    may_speculate: bool | None = None
    """Whether a reply may be requested before the caller has certainly finished. None: yes, except where tokens are
    paid for."""
