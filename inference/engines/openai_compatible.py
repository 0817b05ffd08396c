"""
Any model server that implements OpenAI's chat completions: Ollama (the default), vLLM, TensorRT-LLM, llama.cpp, ...

``inference/chat/servers.py`` says how servers differ; the parts of the work are in the modules beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, ClassVar

from inference import usage
from inference.chat.connection import Connection, Reply
from inference.chat.context import Context
from inference.chat.events import Chunk, TokenCounts
from inference.chat.options import ModelServerOptions
from inference.chat.prompt import functions, prompt, tokens
from inference.chat.refusals import ToolsRefused
from inference.chat.servers import Rank, name_of, server_of
from inference.chat.slots import Slots, expire
from inference.chat.spoken import BlankReply, SpokenReply
from inference.types import (
    NO_TOOLS,
    ContextTooLarge,
    Description,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
    Message,
    TextDelta,
    Tools,
)

log = logging.getLogger(__name__)

LOADING_PAUSE = 0.5
"""Seconds between two requests to a server that is loading its model."""
IDLE = 20.0
"""After so many seconds without a request the server may have closed the connection. It is then opened again, unless
warming does that."""
CHARACTERS_PER_TOKEN = 4
"""OpenAI's own rule of thumb for English text, by which a reply is counted that was left before its end."""


class OpenAICompatibleLanguageModel:
    """
    Asks a model server and streams its reply.

    What the model requests (``inference.requests``) it requests by tool calls where the server takes them. Elsewhere it
    writes markers, which are removed from the text. Either are described as far as they apply to the call.
    """

    options_class: ClassVar[type[ModelServerOptions]] = ModelServerOptions

    def __init__(self, options: ModelServerOptions = ModelServerOptions()) -> None:  # noqa: B008 (it is frozen)
        kind = server_of(options.server, options.base_url)
        self._options = options
        self.may_speculate = not kind.paid if options.may_speculate is None else options.may_speculate
        self._warms = not kind.paid if options.warm is None else options.warm
        sends_priority = kind.priorities is not None if options.priority is None else options.priority
        self._priorities = (kind.priorities or (0, 5, 10)) if sends_priority else None
        self._context = Context(options.model, options.context_tokens or kind.context_tokens, options.max_tokens)
        self._tool_calls = kind.tool_calls if options.tool_calls is None else options.tool_calls
        """Whether the model requests by tool calls; false once the server has refused them."""
        self._thinks_first = False
        """The last reply began with reasoning, of which only the end was written. Chat templates that write the
        beginning make a model do so in every reply."""
        self._length_field = kind.length_field
        self._billed_as = f"{name_of(kind)}/{options.model}" if kind.paid else ""
        """The name of the model in what a call used; empty if nothing is billed."""
        counting = {"stream_options": {"include_usage": True}} if kind.paid else {}
        self._fixed = {
            "model": options.model,
            "temperature": options.temperature,
            "stream": True,
            **counting,
            **options.extra_body,
        }
        """The fields that are the same in every request."""
        self._slots = Slots(options.max_concurrent)
        self._used_at = -IDLE
        """The time at which a request was last sent, on the loop's clock."""
        self._connection = Connection(options)

    def describe(self) -> Description:
        weights = f"served by {self._connection.where.removesuffix('/chat/completions')} as {self._options.model}"
        return Description(weights, device="server", capacity=self._options.max_concurrent)

    async def start(self) -> None:
        """Have the server load the model. Raise only permanent errors: a server that is away may come back."""
        give_up_at = asyncio.get_running_loop().time() + self._options.load_timeout
        while True:
            try:
                return await self._prepare([Message("user", "Hello")], NO_TOOLS, self._options.load_timeout)
            except EngineError as error:
                if error.permanent:
                    raise
                if not isinstance(error, EngineLoading) or asyncio.get_running_loop().time() >= give_up_at:
                    return log.warning("The language model does not answer yet; calls try it again: %s", error)
            await asyncio.sleep(LOADING_PAUSE)

    async def close(self) -> None:
        await self._connection.close()

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        try:
            await self._prepare(messages, tools, self._options.first_token_timeout)
        except EngineFull as error:
            log.debug("The language model was not warmed: %s", error)
        except EngineError as error:
            log.warning("Warming the language model failed; the next reply may start later: %s", error)

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        rank = Rank.SPECULATIVE if speculative else Rank.REAL
        reply = SpokenReply(self._options.end_call_marker, tools, thinks_first=self._thinks_first)
        chunks = self._chunks(messages, tools, rank, self._options.max_tokens, self._options.first_token_timeout)
        try:
            async with aclosing(chunks), aclosing(reply.deltas(chunks)) as deltas:
                async for delta in deltas:
                    self._thinks_first = reply.thought_first
                    yield delta
        except BlankReply:
            raise self._empty("blank") from None
        finally:
            self._thinks_first = reply.thought_first

    async def _prepare(self, messages: Sequence[Message], tools: Tools, patience: float) -> None:
        if self._warms:
            async with aclosing(self._chunks(messages, tools, Rank.WARM, 1, patience)) as chunks:
                async for _ in chunks:
                    pass
        elif asyncio.get_running_loop().time() - self._used_at > IDLE:
            self._used_at = asyncio.get_running_loop().time()
            await self._connection.touch()

    async def _chunks(
        self, messages: Sequence[Message], tools: Tools, rank: Rank, max_tokens: int, patience: float
    ) -> AsyncGenerator[Chunk, None]:
        """
        Yield the chunks of one reply. ``patience`` is the time until the first one, waiting for a slot included.

        If the reply was cut, the last chunk has nothing but the finish reason ``length``.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        meter = usage.current() if self._billed_as else None
        if rank is not Rank.REAL and (wait := self._connection.full_until - loop.time()) > 0:
            raise EngineFull(f"{self._connection.where} is full and wants no request for another {wait:.1f} s")
        while True:
            context_tokens = self._context.tokens
            turns = self._turns(messages, tools, rank)
            body = {**self._fixed, "messages": turns, self._length_field: max_tokens}
            if described := self._functions(tools):
                body["tools"] = described
            if self._priorities is not None:
                body["priority"] = self._priorities[rank]
            body = {name: value for name, value in body.items() if value is not None}
            begun = False
            # Warming does not wait for a slot: at a full server it would only delay requests.
            async with self._slots.take(rank, patience=0 if rank is Rank.WARM else deadline - loop.time()) as slot:
                self._used_at = loop.time()
                first = asyncio.timeout_at(deadline)
                if rank is not Rank.REAL:
                    slot.give_way = partial(expire, first)
                reply, written = Reply(self._connection, body), 0
                try:
                    async with aclosing(reply.chunks(first)) as chunks:
                        async for chunk in chunks:
                            begun, slot.give_way = True, None
                            written += len(chunk.text)
                            yield chunk
                    if reply.finish_reason == "length" and begun:
                        yield Chunk(finish_reason=reply.finish_reason)
                except EngineTimeout:
                    if begun or not slot.lost:
                        raise
                except ToolsRefused as error:
                    if not self._tool_calls:
                        raise
                    self._tool_calls = False
                    log.warning("The server takes no tool calls, the model writes markers instead: %s", error)
                except ContextTooLarge:
                    if not self._context.shrink(turns, context_tokens):
                        raise
                else:
                    if not begun and rank is not Rank.WARM:
                        raise self._empty(reply.finish_reason)
                    return
                finally:
                    if meter is not None and reply.is_taken:
                        counted = reply.usage or _estimated(turns, written)
                        meter.add("llm", self._billed_as, **counted._asdict())
            if slot.lost and rank is Rank.WARM:
                return

    def _turns(self, messages: Sequence[Message], tools: Tools, rank: Rank) -> list[dict[str, str]]:
        room = self._context.room
        marker = self._options.end_call_marker
        if described := self._functions(tools):
            # What functions do is described beside the prompt.
            room -= tokens(str(described))
            tools, marker = Tools(may_wait=tools.may_wait), ""
        return prompt(messages, tools, end_call_marker=marker, room=room, ends_with_user=rank is Rank.WARM)

    def _functions(self, tools: Tools) -> list[dict[str, Any]]:
        """Return what the model may call; nothing if it writes markers instead."""
        return functions(tools, may_end_call=bool(self._options.end_call_marker)) if self._tool_calls else []

    def _empty(self, why: str) -> EngineError:
        return EngineError(f"{self._options.model} at {self._connection.where} sent an empty reply ({why})")


def _estimated(turns: Sequence[Mapping[str, str]], written: int) -> TokenCounts:
    """The tokens of a reply that was left before the server had counted them."""
    read = sum(len(turn["content"]) for turn in turns)
    return TokenCounts(-(-read // CHARACTERS_PER_TOKEN), 0, -(-written // CHARACTERS_PER_TOKEN))
