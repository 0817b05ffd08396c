"""Server-sent events, and the chat completion chunks in them."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Any

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


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    """The fields of one event that are read. Reasoning, usage and others are ignored."""

    choices: list[_Choice] | None = None
    error: Any = None
    object: str | None = None
    message: Any = None


def read_chunk(event: bytes) -> tuple[str, str]:
    """Return the text of one event and why the reply ends with it (``""`` if it does not). Raises ``EngineError``."""
    if event == b"[DONE]":
        return "", "done"
    try:
        chunk = msgspec.json.decode(event, type=_Chunk)
    except msgspec.MsgspecError as error:
        raise EngineError(f"this is no chat completion: {error}") from error
    if chunk.error is not None or chunk.object == "error":
        raise EngineError(f"it failed in mid-reply: {chunk.error or chunk.message}")
    if not chunk.choices:
        return "", ""
    choice = chunk.choices[0]
    return (choice.delta and choice.delta.content) or "", choice.finish_reason or ""
