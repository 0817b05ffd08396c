"""The connection of a stream releases its slot."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from media.consumers import StreamConnection


async def test_a_stream_that_is_cancelled_releases_its_slot(monkeypatch):
    """If the server cancels the application, the process must not seem full from then on."""

    async def cut_short(self: Any, *arguments: Any) -> None:
        raise asyncio.CancelledError

    async def admit(self: Any) -> Any:
        return SimpleNamespace(call_id="1", stream=1)

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        pass

    monkeypatch.setattr(StreamConnection, "_admit", admit)
    monkeypatch.setattr(StreamConnection, "_run", cut_short)
    monkeypatch.setattr(StreamConnection, "_finish", cut_short)
    runtime = SimpleNamespace(streams=set())
    stream = StreamConnection({}, receive, send, runtime)
    with pytest.raises(asyncio.CancelledError):
        await stream.serve()
    assert runtime.streams == set()
