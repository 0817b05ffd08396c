"""Channel layers in memory that fail as Redis does, and the processes on them that die or freeze."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from channels.layers import InMemoryChannelLayer

from inference.remote import wire


class Network:
    """What is broken. All layers of a test share it."""

    def __init__(self) -> None:
        self.refuses = False
        """Redis is not there: what is sent raises, and is lost."""
        self._answers = asyncio.Event()
        """Set unless Redis is frozen: what is sent then arrives later."""
        self._answers.set()
        self._frozen: set[str] = set()
        """The channels of processes that are frozen, or dead if they never continue."""
        self._held: list[Callable[[], Awaitable[None]]] = []
        """What was sent to and from them."""
        self._tasks: set[asyncio.Task[None]] = set()

    def freeze_redis(self) -> None:
        self._answers.clear()

    def continue_redis(self) -> None:
        self._answers.set()

    def freeze(self, *channels: str) -> None:
        self._frozen.update(channels)

    def continue_all(self) -> None:
        self._frozen.clear()
        held, self._held = self._held, []

        async def deliver() -> None:
            for each in held:
                await each()

        self._tasks.add(asyncio.ensure_future(deliver()))

    async def pass_on(self, channel: str, message: wire.LayerMessage, send: Callable[[], Awaitable[None]]) -> None:
        await self._answers.wait()
        if self.refuses:
            raise ConnectionRefusedError("there is no Redis")
        if self._frozen & {channel, wire.unpack(message).sender}:
            self._held.append(send)
        else:
            await send()


class StreamLayer:
    """The layer of open sessions."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._layer = InMemoryChannelLayer(capacity=1000)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    async def send(self, channel: str, message: wire.LayerMessage) -> None:
        await self._network.pass_on(channel, message, lambda: self._layer.send(channel, message))

    async def group_send(self, group: str, message: wire.LayerMessage) -> None:
        await self._network.pass_on(group, message, lambda: self._layer.group_send(group, message))


class PlacementLayer:
    """The layer of placements, each of which one worker takes: perhaps one that is frozen."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._queues: defaultdict[str, asyncio.Queue[wire.LayerMessage]] = defaultdict(asyncio.Queue)

    async def send(self, channel: str, message: wire.LayerMessage) -> None:
        await self._network.pass_on(channel, message, lambda: self._queues[channel].put(message))

    async def receive(self, channel: str) -> wire.LayerMessage:
        return await self._queues[channel].get()
