"""Implements the language model that a worker elsewhere serves: the client's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from msgspec import structs

from inference import usage
from inference.continuing import Continuation
from inference.remote import wire
from inference.remote.placement import RemoteEngine, RemoteSession
from inference.remote.streams import IncomingStream
from inference.requests import NO_REQUESTS
from inference.types import NO_TOOLS, EngineError, EngineFull, EngineTimeout, Message, Role, TextDelta, Tools

MOST_WORKERS = 3
"""Workers that are asked for one reply. After so many there is another fault than that of one worker."""


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
        return self._stream(messages, tools, speculative=speculative)

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        async with aclosing(self._stream(messages, tools, warm=True)) as deltas:
            async for _ in deltas:
                pass

    async def _stream(
        self, messages: Sequence[Message], tools: Tools, *, speculative: bool = False, warm: bool = False
    ) -> AsyncGenerator[TextDelta, None]:
        """
        Reply with the help of another worker if the first one is lost or full.

        If words were passed on, the other worker goes on behind them.
        """
        said, left, continuation = "", "", None
        for attempt in range(MOST_WORKERS):
            asked = messages if continuation is None else continuation.messages(messages)
            opening = open_message(asked, tools, speculative=speculative, warm=warm)
            reply = RemoteReply(self, opening, directly=attempt == 0, instead_of=left)
            try:
                while (delta := await self._next_delta(reply)) is not None:
                    text = TextDelta(delta.text, delta.requests or NO_REQUESTS, delta.is_cut)
                    for passed_on in [text] if continuation is None else continuation.push(text):
                        said += passed_on.text
                        yield passed_on
                    reply.stream.count_read(reply.session, 0)
                for passed_on in [] if continuation is None else continuation.finish():
                    yield passed_on
                return
            except (wire.SessionLost, EngineFull) as error:
                is_lost = isinstance(error, wire.SessionLost)
                if attempt == MOST_WORKERS - 1 or not (is_lost or reply.session.directly):
                    raise
                left = reply.session.peer if is_lost else ""
                continuation = Continuation(said) if said.strip() else None
            finally:
                reply.session.close()

    async def _next_delta(self, reply: RemoteReply) -> wire.Delta | None:
        try:
            async with asyncio.timeout(self.answer_timeout):
                return await reply.stream.next()
        except TimeoutError:
            raise EngineTimeout(f"the language model was silent for {self.answer_timeout:g} s") from None


class RemoteReply:
    """
    One reply. ``directly`` asks the worker that served last, if it has a free slot.

    ``instead_of`` is the channel of a worker that was lost.
    """

    def __init__(
        self, engine: RemoteLanguageModel, open_message: wire.OpenReply, *, directly: bool, instead_of: str = ""
    ) -> None:
        self.stream: IncomingStream[wire.Delta] = IncomingStream()
        self.meter = usage.current()
        self._engine = engine
        self._open_message = open_message
        if directly and engine.workers.has_free_slot(engine.preferred_worker):
            self.session = RemoteSession(engine, self)
            self.session.assign(engine.preferred_worker, offered=False)
        else:
            self.session = engine.place(self, instead_of=instead_of)

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
    ends = {line.role for line in messages} & {"finished", "broken-off"}
    turns: list[tuple[Role, str]] = [(line.role, line.content) for line in messages if line.role not in ends]
    targets = list(tools.transfer_targets)
    return wire.OpenReply(
        1,
        turns,
        speculative,
        warm,
        targets,
        tools.opt_out,
        tools.may_wait,
        finished="finished" in ends,
        broken_off="broken-off" in ends,
        call=usage.current_call(),
    )
