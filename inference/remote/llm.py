"""A language model at a worker elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from msgspec import structs

from inference.remote import wire
from inference.remote.placement import RemoteEngine, RemoteSession
from inference.remote.streams import CreditCounter, IncomingStream
from inference.requests import NO_REQUESTS
from inference.types import (
    NO_TOOLS,
    EngineError,
    EngineFull,
    EngineTimeout,
    Message,
    TextDelta,
    Tools,
)


class RemoteLanguageModel(RemoteEngine):
    kind = "llm"

    def __init__(self, *, may_speculate: bool | None = None, **options: Any) -> None:
        facts = None if may_speculate is None else wire.Facts(may_speculate=may_speculate)
        super().__init__(facts=facts, **options)
        self.home = ""
        """The worker that served last: it knows the beginning of the conversations, and is asked without a queue."""

    def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        return self._stream(_request(messages, tools, speculative=speculative))

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        async with aclosing(self._stream(_request(messages, tools, warm=True))) as nothing:
            async for _ in nothing:
                pass

    async def _stream(self, request: wire.OpenReply) -> AsyncGenerator[TextDelta, None]:
        """Until the first word another worker may be asked; after it, the reply has broken off."""
        for attempt in (1, 2):
            reply = RemoteReply(self, request, directly=attempt == 1)
            credit = CreditCounter()
            begun = False
            try:
                while (delta := await self._next(reply)) is not None:
                    begun = True
                    yield TextDelta(delta.text, delta.requests or NO_REQUESTS)
                    credit.piece(reply.session, 0)
                return
            except (wire.Lost, EngineFull):
                if begun or attempt == 2:
                    raise
            finally:
                reply.session.end()

    async def _next(self, reply: RemoteReply) -> wire.Delta | None:
        try:
            async with asyncio.timeout(self.answer_timeout):
                return await reply.stream.next()
        except TimeoutError:
            raise EngineTimeout(f"the language model was silent for {self.answer_timeout:g} s") from None


def _request(
    messages: Sequence[Message], tools: Tools, *, speculative: bool = False, warm: bool = False
) -> wire.OpenReply:
    lines: list[Any] = [(message.role, message.content) for message in messages]
    return wire.OpenReply(1, lines, speculative, warm, list(tools.transfer_targets), tools.opt_out)


class RemoteReply:
    def __init__(self, remote: RemoteLanguageModel, request: wire.OpenReply, *, directly: bool) -> None:
        self.stream: IncomingStream[wire.Delta] = IncomingStream()
        self._remote = remote
        self._request = request
        if directly and remote.ready(remote.home):
            self.session = RemoteSession(remote, self)
            self.session.take(remote.home, heard=False)
        else:
            self.session = remote.place(self)

    def opened(self, session: RemoteSession) -> None:
        self._remote.home = session.peer
        session.tell(structs.replace(self._request, session=session.id))

    def receive(self, session: RemoteSession, message: wire.Message) -> None:
        match message:
            case wire.Delta():
                self.stream.put(message)
            case wire.Done():
                self.stream.end()
                session.end()
            case _:
                raise EngineError(f"a worker answered a reply with {type(message).__name__}")

    def lost(self, session: RemoteSession, error: EngineError) -> None:
        self.stream.end(error)

    def leave(self, session: RemoteSession) -> None:
        """It will be over in time."""
