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
from inference.chat.model_check import check_model
from inference.chat.options import ModelServerOptions
from inference.chat.places import Place, Places, turns_of
from inference.chat.prompt import functions, prompt, tokens
from inference.chat.refusals import ToolsRefused
from inference.chat.servers import SERVERS, Rank, kind_of
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
LEAST_REASONING, MOST_REASONING = 1024, 4096
"""Tokens that a model gets to think, after it has used up the length of a reply without a word. Small reasoning models
think for 100 to 1000 tokens before they greet somebody; more than the most is a loop."""
PROPERTIES = "/../props"
"""Where llama.cpp's server tells its properties, relative to the ``base_url``, which ends with ``/v1``."""


class OpenAICompatibleLanguageModel:
    """
    Asks a model server and streams its reply.

    What the model requests (``inference.requests``) it requests by tool calls where the server takes them. Elsewhere it
    writes markers, which are removed from the text. Either are described as far as they apply to the call.
    """

    options_class: ClassVar[type[ModelServerOptions]] = ModelServerOptions

    def __init__(self, options: ModelServerOptions = ModelServerOptions()) -> None:  # noqa: B008 (it is frozen)
        kind_name = kind_of(options.server, options.base_url)
        kind = SERVERS[kind_name]
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
        self._has_slots = kind.has_slots
        self._first_patience = kind.first_token_timeout if (t := options.first_token_timeout) is None else t
        self._next_patience = kind.inter_token_timeout if (t := options.inter_token_timeout) is None else t
        self._reasoning_tokens = options.reasoning_tokens
        """The room for what the model thinks before it speaks. It grows when a reply ends there without a word."""
        self._billed_as = f"{kind_name}/{options.model}" if kind.paid else ""
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
        self._places: Places | None = None
        """The slots of a server that has them, once it has told how many."""
        self._used_at = -IDLE
        """The time at which a request was last sent, on the loop's clock."""
        self._connection = Connection(options)

    @property
    def queued(self) -> int:
        """Requests that wait for a slot."""
        return self._slots.waiting

    def describe(self) -> Description:
        weights = f"served by {self._connection.where.removesuffix('/chat/completions')} as {self._options.model}"
        return Description(weights, device="server", capacity=self._options.max_concurrent)

    async def start(self) -> None:
        """
        Have the server load the model, or where that costs money, look whether it has it.

        Raises only permanent errors: a server that is away may come back.
        """
        if not self._warms:
            self._used_at = asyncio.get_running_loop().time()
            return await check_model(self._connection)
        give_up_at = asyncio.get_running_loop().time() + self._options.load_timeout
        while True:
            try:
                await self._prepare([Message("user", "Hello")], NO_TOOLS, self._options.load_timeout)
                return self._places.forget() if self._places is not None else None
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
            await self._prepare(messages, tools, self._first_patience)
        except EngineFull as error:
            log.debug("The language model was not warmed: %s", error)
        except EngineError as error:
            log.warning("Warming the language model failed; the next reply may start later: %s", error)

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        rank = Rank.SPECULATIVE if speculative else Rank.REAL
        while True:
            reply = SpokenReply(self._options.end_call_marker, tools, thinks_first=self._thinks_first)
            room = self._reasoning_tokens
            chunks = self._chunks(messages, tools, rank, self._options.max_tokens, self._first_patience)
            try:
                async with aclosing(chunks), aclosing(reply.deltas(chunks)) as deltas:
                    async for delta in deltas:
                        self._thinks_first = reply.thought_first
                        yield delta
                return
            except BlankReply:
                if not (reply.is_cut and self._make_room_for_reasoning(room)):
                    raise self._empty("length" if reply.is_cut else "blank") from None
            finally:
                self._thinks_first = reply.thought_first

    async def _prepare(self, messages: Sequence[Message], tools: Tools, patience: float) -> None:
        if self._warms:
            if self._has_slots and self._places is None:
                await self._find_slots()
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
        if rank is not Rank.REAL and (wait := self._connection.full_until - loop.time()) > 0:
            raise EngineFull(
                f"{self._connection.where} is full and wants no request for another {wait:.1f} s", retry_after=wait
            )
        while True:
            context_tokens = self._context.tokens
            body = self._body(messages, tools, rank, max_tokens)
            begun = False
            # Together: the server's slots may become known meanwhile, and there is a place for each slot only.
            slots, places = self._slots, self._places
            # Warming does not wait for a slot: at a full server it would only delay requests.
            async with slots.take(rank, patience=0 if rank is Rank.WARM else deadline - loop.time()) as slot:
                self._used_at = loop.time()
                first = asyncio.timeout_at(deadline)
                if rank is not Rank.REAL:
                    slot.give_way = partial(expire, first)
                try:
                    async with aclosing(self._completion(body, rank, first, places)) as chunks:
                        async for chunk in chunks:
                            begun, slot.give_way = True, None
                            yield chunk
                    return
                except EngineTimeout:
                    if begun or not slot.lost:
                        raise
                except ToolsRefused as error:
                    if not self._tool_calls:
                        raise
                    self._tool_calls = False
                    log.warning("The server takes no tool calls, the model writes markers instead: %s", error)
                except ContextTooLarge:
                    if not self._context.shrink(body["messages"], context_tokens):
                        raise
            if slot.lost and rank is Rank.WARM:
                return

    async def _completion(
        self, body: dict[str, Any], rank: Rank, first: asyncio.Timeout, places: Places | None
    ) -> AsyncGenerator[Chunk, None]:
        """Send one request, in one of the ``places`` at a server that has slots, and yield the chunks of its reply."""
        meter = usage.current() if self._billed_as else None
        said, begun, turns = "", False, turns_of(body["messages"])
        place: Place | None = None
        if places is not None:
            place = places.take(turns, now=asyncio.get_running_loop().time(), warm=rank is Rank.WARM)
            body |= {"id_slot": place.number, "cache_prompt": True}
        reply = Reply(self._connection, body, patience=self._next_patience)
        try:
            async with aclosing(reply.chunks(first)) as chunks:
                async for chunk in chunks:
                    begun, said = True, said + chunk.text
                    yield chunk
            if reply.finish_reason == "length":
                yield Chunk(finish_reason=reply.finish_reason)
            elif not begun and rank is not Rank.WARM:
                raise self._empty(reply.finish_reason)
        finally:
            if place is not None:
                place.release(turns, "" if rank is Rank.WARM else said)
            if meter is not None and reply.is_taken:
                counted = reply.usage or _estimated(body["messages"], len(said))
                meter.add("llm", self._billed_as, **counted._asdict())

    def _body(self, messages: Sequence[Message], tools: Tools, rank: Rank, max_tokens: int) -> dict[str, Any]:
        """The fields of a request."""
        thinking = 0 if rank is Rank.WARM else self._reasoning_tokens
        turns = self._turns(messages, tools, rank)
        body = {**self._fixed, "messages": turns, self._length_field: max_tokens + thinking}
        if described := self._functions(tools):
            body["tools"] = described
        if self._priorities is not None:
            body["priority"] = self._priorities[rank]
        return {name: value for name, value in body.items() if value is not None}

    def _turns(self, messages: Sequence[Message], tools: Tools, rank: Rank) -> list[dict[str, str]]:
        room = self._context.room - self._reasoning_tokens
        marker = self._options.end_call_marker
        if described := self._functions(tools):
            # What functions do is described beside the prompt.
            room -= tokens(str(described))
            tools, marker = Tools(may_wait=tools.may_wait), ""
        return prompt(messages, tools, end_call_marker=marker, room=room, ends_with_user=rank is Rank.WARM)

    def _make_room_for_reasoning(self, before: int) -> bool:
        """
        A reply ended at the limit of its length without a word: give the next ones more room to think.

        ``before`` is the room that the reply had. False if it had the most already.
        """
        if before >= MOST_REASONING:
            return False
        if self._reasoning_tokens == before:
            self._reasoning_tokens = max(LEAST_REASONING, min(MOST_REASONING, 4 * before))
            log.warning(
                "%s thought until the end of its reply and said nothing: from now on it gets %d tokens to think. "
                'A caller waits for that: use a model that does not think, or turn it off, as with "extra_body": '
                '{"reasoning_effort": "none"}',
                self._options.model,
                self._reasoning_tokens,
            )
        return True

    async def _find_slots(self) -> None:
        """Ask llama.cpp's server how many slots it has, and how much fits into each."""
        try:
            _, properties = await self._connection.get(PROPERTIES)
        except EngineError as error:
            return log.debug("The server does not tell its slots: %s", error)
        if self._places is not None:  # another call has asked at the same time
            return
        properties = properties if isinstance(properties, dict) else {}
        slots, settings = properties.get("total_slots"), properties.get("default_generation_settings")
        if isinstance(slots, int) and slots > 0:
            # One request for each slot at most: there is always an idle one to choose.
            self._slots = Slots(min(slots, self._options.max_concurrent or slots))
            self._places = Places(slots)
        size = settings.get("n_ctx") if isinstance(settings, dict) else None
        if isinstance(size, int) and size > self._options.max_tokens and self._options.context_tokens is None:
            self._context.tokens = size

    def _functions(self, tools: Tools) -> list[dict[str, Any]]:
        """Return what the model may call; nothing if it writes markers instead."""
        return functions(tools, may_end_call=bool(self._options.end_call_marker)) if self._tool_calls else []

    def _empty(self, why: str) -> EngineError:
        return EngineError(f"{self._options.model} at {self._connection.where} sent an empty reply ({why})")


def _estimated(turns: Sequence[Mapping[str, str]], written: int) -> TokenCounts:
    """The tokens of a reply that was left before the server had counted them."""
    read = sum(len(turn["content"]) for turn in turns)
    return TokenCounts(-(-read // CHARACTERS_PER_TOKEN), 0, -(-written // CHARACTERS_PER_TOKEN))
