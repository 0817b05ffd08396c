"""Clients of the remote engines, real and fake, and what the tests do with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
from channels.layers import channel_layers

from inference.remote import wire
from inference.remote.links import Layer, Links
from inference.types import Message

SECOND = np.full(8000, 1000, np.int16)
"""One second of sound at the rate of the scripted recogniser."""
MESSAGES = [Message("user", "hello")]
QUICK: dict[str, Any] = {"first_delay": 0.0, "chunk_delay": 0.0}
"""Options of a scripted voice that makes its sound at once."""
SENTENCE = "A sentence that takes a while to be spoken."
SAMPLES_PER_CHARACTER = 320
"""The length of the scripted voice's speech."""
HELLO_SAMPLES = len("Hello.") * SAMPLES_PER_CHARACTER


@asynccontextmanager
async def started(engine: Any) -> AsyncIterator[Any]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def text_of(*clauses: str) -> AsyncIterator[str]:
    for clause in clauses:
        yield clause


async def spoken_samples(speech: Any, *clauses: str) -> int:
    """Speak the text and count the samples."""
    async with aclosing(speech.speak(text_of(*clauses))) as chunks:
        return sum([len(chunk.pcm) async for chunk in chunks])


class FakeClient:
    """A client of text to speech that sends only what a test makes it send."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[wire.Message] = asyncio.Queue()
        self.announcements: list[wire.Announcement] = []
        self.worker = ""
        """The channel of the worker that sent the last message."""
        self.links = Links(
            channel_layers["stream"],
            "fake-client",
            group="inference.tts",
            on_unknown_session=self._on_message,
            on_envelope=self.announcements.append,
        )

    async def __aenter__(self) -> FakeClient:
        await self.links.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.links.close()

    def _on_message(self, peer: str, message: wire.Message) -> None:
        self.worker = peer
        self.received.put_nowait(message)

    def send(self, *messages: wire.Message) -> None:
        for message in messages:
            self.links.send(self.worker, message)

    async def place(self, session: int, *, until: dict[str, float] | None = None) -> None:
        placement = wire.Placement(self.links.channel, session, until or {})
        await channel_layers["default"].send("inference.tts", wire.pack(placement))

    async def receive(self) -> wire.Message:
        return await asyncio.wait_for(self.received.get(), 60)

    async def receive_error(self) -> Exception:
        message = await self.receive()
        assert isinstance(message, wire.Failed)
        return message.error

    async def open_voice(self, session: int) -> None:
        """Place a session, wait for the offer, and open a voice."""
        await self.place(session)
        assert await self.receive() == wire.Offer(session)
        self.send(wire.OpenSpeech(session, 8000, "", "en"))


class LossyLayer:
    """A channel layer that loses the packets for which ``loses`` returns true."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self.loses: Callable[[Any], bool] = self.loses_none

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    @staticmethod
    def loses_none(packet: Any) -> bool:
        return False

    async def send(self, channel: str, message: wire.LayerMessage) -> None:
        if not self.loses(wire.unpack(message)):
            await self._layer.send(channel, message)


def contains(packet: Any, kind: type[wire.Message]) -> bool:
    return any(isinstance(message, kind) for message in packet.messages)


def lose_one(kind: type[wire.Message], *, number: int) -> Callable[[Any], bool]:
    """Loses one packet with a message of this kind: the first, the second ..."""
    seen = 0

    def loses(packet: Any) -> bool:
        nonlocal seen
        seen += contains(packet, kind)
        return seen == number and contains(packet, kind)

    return loses
