"""Server-sent events, and the chat completion chunks in them."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Any, NamedTuple

import msgspec

from inference.types import EngineError

LONGEST_EVENT_BYTES = 1 << 20
"""A chunk of a reply is a few hundred bytes; a stream without line ends must not fill the memory."""


class EventReader:
    """Parses server-sent events from bytes that are cut anywhere, even inside a character."""

    def __init__(self) -> None:
        self._rest = b""
        """An unfinished line."""
        self._data: list[bytes] = []
        """The data lines of an unfinished event."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads of the events that these bytes complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        events = []
        for line in (line.removesuffix(b"\r").removeprefix(BOM_UTF8) for line in lines):
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        if len(self._rest) + sum(map(len, self._data)) > LONGEST_EVENT_BYTES:
            raise EngineError(f"the model server sent an event of more than {LONGEST_EVENT_BYTES} bytes")
        return events


class CallPiece(NamedTuple):
    """A piece of tool call ``number`` of the reply. The first one has the name; the arguments come in pieces."""

    number: int
    name: str
    arguments: str


class Chunk(NamedTuple):
    """What one event adds to a reply."""

    text: str = ""
    finish_reason: str = ""
    """Why the reply ends with it; ``""`` if it does not."""
    calls: tuple[CallPiece, ...] = ()


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    """A tool call of servers of the time before there could be several."""


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None


class _UsageChunk(msgspec.Struct):
    usage: _Usage | None = None


class TokenCounts(NamedTuple):
    """The tokens of one reply, as the server bills them."""

    input_tokens: int
    """Those that did not come from the server's cache."""
    cached_input_tokens: int
    output_tokens: int


def read_usage(event: bytes) -> TokenCounts | None:
    """Return the tokens that the server counted, if this event has them. Some servers send a null in every chunk."""
    try:
        usage = msgspec.json.decode(event, type=_UsageChunk).usage
    except msgspec.MsgspecError:
        return None
    if usage is None:
        return None
    cached = (usage.prompt_tokens_details or _PromptDetails()).cached_tokens or 0
    return TokenCounts(max(0, usage.prompt_tokens - cached), cached, max(0, usage.completion_tokens))


class _Chunk(msgspec.Struct):
    """The fields of one event that are read. Reasoning and others are ignored; ``read_usage`` reads the usage."""

    choices: list[_Choice] | None = None
    error: Any = None
    object: str | None = None
    message: Any = None


def read_chunk(event: bytes) -> Chunk:
    """Return what one event adds to the reply. Raises ``EngineError``."""
    if event == b"[DONE]":
        return Chunk(finish_reason="done")
    try:
        chunk = msgspec.json.decode(event, type=_Chunk)
    except msgspec.MsgspecError as error:
        raise EngineError(f"this is no chat completion: {error}") from error
    if chunk.error is not None or chunk.object == "error":
        raise EngineError(f"it failed in mid-reply: {chunk.error or chunk.message}")
    if not chunk.choices:
        return Chunk()
    choice = chunk.choices[0]
    delta = choice.delta or _Delta()
    calls = [*(delta.tool_calls or ()), *([_Call(0, delta.function_call)] if delta.function_call else ())]
    pieces = tuple(_piece(number, call) for number, call in enumerate(calls))
    return Chunk(delta.content or "", choice.finish_reason or "", pieces)


def _piece(number: int, call: _Call) -> CallPiece:
    function = call.function or _Function()
    arguments = function.arguments
    if arguments is not None and not isinstance(arguments, str):
        # Some servers send an object instead of its text.
        arguments = msgspec.json.encode(arguments).decode()
    return CallPiece(number if call.index is None else call.index, function.name or "", arguments or "")
