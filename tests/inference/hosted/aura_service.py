"""Deepgram Aura's ``/v1/speak`` over real sockets, message for message. It says every text as a tone."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.inference.hosted.deepgram_voice import DeepgramVoice, tone_of
from tests.inference.hosted.service import Socket

MODELS = ("aura-2-thalia-en", "aura-2-apollo-en", "aura-2-celeste-es", "aura-asteria-en")


@dataclass
class State:
    """What the service knows of one socket."""

    buffer: list[str] = field(default_factory=list)
    texts: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """Texts that were flushed and are not said yet."""
    responses: int = 0
    """The number of the next response."""
    flushed_at: deque[float] = field(default_factory=deque)
    characters: int = 0


class AuraService(DeepgramVoice):
    path = "/v1/speak"
    parameters = frozenset({"model", "encoding", "sample_rate", "speed", "mip_opt_out", "tag"})
    models = MODELS
    listed = MODELS

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        """Every text that was said to its end."""
        self.states: dict[Socket, State] = {}
        self.clears = True
        """Whether ``Clear`` is answered."""
        self.after_clear: list[Any] = []
        """What is still sent after ``Clear`` and before ``Cleared``."""
        self.flush_limit = 20
        self.warned = 0
        """How often a client was told that it flushes too often."""

    async def opened(self, socket: Socket) -> None:
        state = self.states[socket] = State()
        await socket.send(
            {
                "type": "Metadata",
                "request_id": "550e8400-e29b-41d4-a716-446655440000",
                "model_name": socket.request.query["model"],
                "model_version": "2025-04-07.0",
                "model_uuid": "b3e47c20-9f81-4a2e-bd15-8d7c6e2a1f09",
            }
        )
        socket.tasks.append(asyncio.create_task(self._say(socket, state)))

    async def _say(self, socket: Socket, state: State) -> None:
        while True:
            text = await state.texts.get()
            await self.send_sound(socket, tone_of(text))
            self.said.append(text)
            await self.flushed(socket, state)

    async def flushed(self, socket: Socket, state: State) -> None:
        state.responses += 1
        await socket.send({"type": "Flushed", "sequence_id": state.responses - 1})

    async def handle(self, socket: Socket, message: Any) -> None:
        state = self.states[socket]
        match message:
            case {"type": "Speak", "text": str(text)}:
                state.characters += len(text)
                if len(text) > 2000:
                    await socket.close(1009, "BIG-0001")
                elif state.characters > 2400:  # in a minute; no test takes one
                    await socket.close(1008, "DATA-0001")
                else:
                    state.buffer.append(text)
            case {"type": "Flush"}:
                await self._flush(socket, state)
            case {"type": "Clear"}:
                await self._clear(socket, state)
            case {"type": "Close"}:
                await socket.close()
            case _:
                await socket.close(1008, "DATA-0000")

    async def _flush(self, socket: Socket, state: State) -> None:
        now = asyncio.get_running_loop().time()
        while state.flushed_at and now - state.flushed_at[0] > 60:
            state.flushed_at.popleft()
        if len(state.flushed_at) >= self.flush_limit:
            self.warned += 1
            description = "Too many flushes. No more are processed until the 60 s have passed."
            await socket.send({"type": "Warning", "code": "EXCESSIVE_FLUSH", "description": description})
            return
        state.flushed_at.append(now)
        state.texts.put_nowait("".join(state.buffer))
        state.buffer.clear()

    async def _clear(self, socket: Socket, state: State) -> None:
        (task,) = socket.tasks
        task.cancel()
        await asyncio.wait([task])
        state.buffer.clear()
        while not state.texts.empty():
            state.texts.get_nowait()
        for message in self.after_clear:
            await socket.send(message)
        socket.tasks[:] = [asyncio.create_task(self._say(socket, state))]
        if self.clears:
            state.responses += 1
            await socket.send({"type": "Cleared", "sequence_id": state.responses - 1})
