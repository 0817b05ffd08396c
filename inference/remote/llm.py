"""Implements the language model that a worker elsewhere serves: the client's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from msgspec import structs

from inference import usage
from inference.remote import wire
from inference.remote.placement import RemoteEngine, RemoteSession
from inference.remote.streams import IncomingStream
from inference.requests import NO_REQUESTS
from inference.types import NO_TOOLS, EngineError, EngineFull, EngineTimeout, Message, Role, TextDelta, Tools


class RemoteLanguageModel(RemoteEngine):
    """``may_speculate`` is learned from a worker unless the options give it."""

    kind = "llm"

    def __init__(self, *, may_speculate: bool | None = None, **options: Any) -> None:
        facts = None if may_speculate is None else wire.Facts(may_speculate=may_speculate)
        super().__init__(facts=facts, **options)
        self.preferred_worker = ""
        """The channel of the worker that served last. It has the conversations in its cache, and is asked directly."""

    def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        return self._stream(open_message(messages, tools, speculative=speculative))

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        async with aclosing(self._stream(open_message(messages, tools, warm=True))) as deltas:
            async for _ in deltas:
                pass

    async def _stream(self, open_message: wire.OpenReply) -> AsyncGenerator[TextDelta, None]:
        """Ask another worker if the first one is lost or full, but not after the first words: they were passed on."""
        for attempt in (1, 2):
            reply = RemoteReply(self, open_message, directly=attempt == 1)
            begun = False
            try:
                while (delta := await self._next_delta(reply)) is not None:
                    begun = True
                    yield TextDelta(delta.text, delta.requests or NO_REQUESTS, delta.is_cut)
                    reply.stream.count_read(reply.session, 0)
                return
            except (wire.SessionLost, EngineFull):
                if begun or attempt == 2:
                    raise
            finally:
                reply.session.close()

    async def _next_delta(self, reply: RemoteReply) -> wire.Delta | None:
        try:
            async with asyncio.timeout(self.answer_timeout):
                return await reply.stream.next()
        except TimeoutError:
            raise EngineTimeout(f"the language model was silent for {self.answer_timeout:g} s") from None


class RemoteReply:
    """One reply. ``directly`` asks the worker that served last, if it has a free slot."""

    def __init__(self, engine: RemoteLanguageModel, open_message: wire.OpenReply, *, directly: bool) -> None:
        self.stream: IncomingStream[wire.Delta] = IncomingStream()
        self.meter = usage.current()
        self._engine = engine
        self._open_message = open_message
        if directly and engine.workers.has_free_slot(engine.preferred_worker):
            self.session = RemoteSession(engine, self)
            self.session.assign(engine.preferred_worker, offered=False)
        else:
            self.session = engine.place(self)

    def opened(self, session: RemoteSession) -> None:
        self._engine.preferred_worker = session.peer
        session.send(structs.replace(self._open_message, session=session.id))

    def receive(self, session: RemoteSession, message: wire.Message) -> None:
        match message:
            case wire.Delta():
                self.stream.put(message)
            case wire.Done():
                self.stream.end()
                session.close()
            case _:
                raise EngineError(f"unexpected {type(message).__name__} from the worker of a reply")

    def lost(self, session: RemoteSession, error: EngineError) -> None:
        self.stream.end(error)

    def drain(self, session: RemoteSession) -> None:
        """Nothing to do: a reply ends soon by itself."""


def open_message(
    messages: Sequence[Message], tools: Tools, *, speculative: bool = False, warm: bool = False
) -> wire.OpenReply:
    """The message that opens a reply; each attempt puts the id of its session into it."""
    turns: list[tuple[Role, str]] = [(line.role, line.content) for line in messages if line.role != "finished"]
    finished = len(turns) < len(messages)
    return wire.OpenReply(
        1, turns, speculative, warm, list(tools.transfer_targets), tools.opt_out, tools.may_wait, finished
    )
