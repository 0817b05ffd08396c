"""
A language model in this process: llama.cpp, and a GGUF file.

It needs no other program, account or port. ``inference/llama`` has the parts; the prompt, the markers with which the
model requests things and the filter of its text are those of ``openai_compatible`` (``inference/chat``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import ClassVar

from inference.chat.context import Context
from inference.chat.events import Chunk, read_chunk
from inference.chat.places import Places, turns_of
from inference.chat.prompt import prompt
from inference.chat.refusals import refusal
from inference.chat.servers import Rank
from inference.chat.slots import Slots, expire
from inference.chat.spoken import BlankReply, SpokenReply
from inference.llama.gguf import ModelFile, available_memory, read_header
from inference.llama.options import LlamaCppOptions
from inference.llama.server import PLAIN_TEMPLATE, LlamaServer
from inference.models.files import require
from inference.types import (
    NO_TOOLS,
    ContextTooLarge,
    Description,
    EngineError,
    EngineFull,
    EngineTimeout,
    Message,
    TextDelta,
    Tools,
)

log = logging.getLogger(__name__)

WHERE = "llama.cpp"
FIRST_REQUEST = 120.0
"""Seconds for the first request, which reads the weights into memory."""
MIB = 1 << 20


class LlamaCppLanguageModel:
    """Makes replies with a model that it loads from a file."""

    options_class: ClassVar[type[LlamaCppOptions]] = LlamaCppOptions

    def __init__(self, options: LlamaCppOptions) -> None:
        self._options = options
        self.may_speculate = options.may_speculate
        self._context = Context(options.model, options.context_tokens, options.max_tokens)
        self._slots = Slots(options.slots)
        self._places = Places(options.slots)
        self._thinks_first = False
        self._server: LlamaServer | None = None
        self._starting = asyncio.Lock()

    @property
    def queued(self) -> int:
        """Requests that wait for a slot."""
        return self._slots.waiting

    def describe(self) -> Description:
        options = self._options
        try:
            header = read_header(_file(options.model), whole=False)
        except EngineError as error:
            return Description(f"a GGUF file that cannot be read: {error}", capacity=options.slots)
        weights = f"the {header.architecture} model in {header.path}, {header.size_bytes / MIB:.0f} MiB"
        return Description(weights, self._memory_bytes(header), capacity=options.slots)

    async def start(self) -> None:
        async with self._starting:
            if self._server is not None:
                return
            header = await asyncio.to_thread(self._read_header)
            template = self._options.chat_template or ("" if header.chat_template else PLAIN_TEMPLATE)
            if template == PLAIN_TEMPLATE:
                log.warning(
                    "%s has no chat template, so it is most likely a base model: it was not taught to follow "
                    "instructions, and continues a dialogue of User and Assistant instead",
                    header.path,
                )
            server = await asyncio.to_thread(LlamaServer.load, header, self._options, chat_template=template)
            self._server = server
        try:
            await self._prepare([Message("user", "Hello")], NO_TOOLS, FIRST_REQUEST)
        except EngineError:
            await self.close()
            raise
        self._places.forget()

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.close)

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
                    yield delta
        except BlankReply:
            raise EngineError(f"{self._options.model} made an empty reply") from None
        finally:
            self._thinks_first = reply.thought_first

    async def _prepare(self, messages: Sequence[Message], tools: Tools, patience: float) -> None:
        async with aclosing(self._chunks(messages, tools, Rank.WARM, 1, patience)) as chunks:
            async for _ in chunks:
                pass

    async def _chunks(
        self, messages: Sequence[Message], tools: Tools, rank: Rank, max_tokens: int, patience: float
    ) -> AsyncGenerator[Chunk, None]:
        """
        Yield the chunks of one reply. ``patience`` is the time until the first one, waiting for a slot included.

        If the reply was cut, the last chunk has nothing but the finish reason ``length``.
        """
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            tokens_used = self._context.tokens
            room = self._context.room
            marker = self._options.end_call_marker
            turns = prompt(messages, tools, end_call_marker=marker, room=room, ends_with_user=rank is Rank.WARM)
            # Warming does not wait for a slot: with all of them taken it would only delay requests.
            left = 0 if rank is Rank.WARM else deadline - asyncio.get_running_loop().time()
            async with self._slots.take(rank, patience=left) as slot:
                first = asyncio.timeout_at(deadline)
                if rank is not Rank.REAL:
                    slot.give_way = partial(expire, first)
                begun = False
                try:
                    async with aclosing(self._completion(turns, rank, max_tokens, first)) as chunks:
                        async for chunk in chunks:
                            begun, slot.give_way = True, None
                            yield chunk
                    return
                except EngineTimeout:
                    if begun or not slot.lost:
                        raise
                except ContextTooLarge:
                    if not self._context.shrink(turns, tokens_used):
                        raise
            if slot.lost and rank is Rank.WARM:
                return

    async def _completion(
        self, turns: list[dict[str, str]], rank: Rank, max_tokens: int, first: asyncio.Timeout
    ) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks of one request. ``first`` limits the wait for the first one."""
        if self._server is None:
            raise EngineError("the language model is not loaded: it has not been started, or has been closed")
        options, said = self._options, ""
        now = asyncio.get_running_loop().time()
        place = self._places.take(turns_of(turns), now=now, warm=rank is Rank.WARM)
        body = {
            "messages": turns,
            "stream": True,
            "max_tokens": max_tokens,
            "temperature": options.temperature,
            "id_slot": place.number,
            "cache_prompt": True,
            # An event for each part of the prompt that was read: a request can be cancelled there.
            "return_progress": True,
        }
        try:
            async with aclosing(self._server.events(body)) as events:
                chunks = _timed(events, first, options.inter_token_timeout, options.reply_timeout)
                async with aclosing(chunks):
                    async for event in chunks:
                        chunk = self._read(event, turns)
                        if chunk.text or chunk.finish_reason:
                            said += chunk.text
                            yield chunk
        finally:
            place.release(turns_of(turns), "" if rank is Rank.WARM else said)

    def _read(self, event: bytes, turns: Sequence[dict[str, str]]) -> Chunk:
        if event.startswith(b'{"error"'):
            spoken = [turn["content"] for turn in turns if turn["role"] != "system"]
            raise refusal(400, event.decode(errors="replace"), where=WHERE, model=self._options.model, turns=spoken)
        return read_chunk(event)

    def _read_header(self) -> ModelFile:
        """Look at the file before llama.cpp does, and refuse what cannot work. Raises a permanent ``EngineError``."""
        header = read_header(_file(self._options.model))
        trained = header.context_tokens
        if trained and trained < self._options.context_tokens:
            raise EngineError(
                f"{header.path} was trained for a context of {trained} tokens: set context_tokens to at most that",
                permanent=True,
            )
        needed, free = self._memory_bytes(header), available_memory()
        if needed > free:
            raise EngineError(
                f"{header.path} with {self._options.slots} slots of {self._options.context_tokens} tokens needs about "
                f"{needed / MIB:.0f} MiB of memory, and {free / MIB:.0f} MiB are free: use a smaller model, fewer "
                "slots or a smaller context",
                permanent=True,
            )
        return header

    def _memory_bytes(self, header: ModelFile) -> int:
        options = self._options
        return header.memory_bytes(options.slots * options.context_tokens, options.batch_tokens)


def _file(model: str) -> Path:
    """Return the model file, of a split model the first one. Raises a permanent ``EngineError``."""
    return require(model, "*-00001-of-*.gguf", "*.gguf")


async def _timed(
    events: AsyncGenerator[bytes, None], first: asyncio.Timeout, between: float, in_all: float
) -> AsyncGenerator[bytes, None]:
    """Pass events on. Raise ``EngineTimeout`` if the model is too slow; only time spent waiting for it counts."""
    loop = asyncio.get_running_loop()
    left = in_all
    try:
        async with first:
            event = await anext(events, None)
            while event is not None and is_progress(event):
                event = await anext(events, None)
    except TimeoutError as error:
        raise EngineTimeout(f"{WHERE} was too slow with its first words") from error
    while event is not None:
        yield event
        began = loop.time()
        try:
            async with asyncio.timeout(min(between, left)):
                event = await anext(events, None)
        except TimeoutError as error:
            raise EngineTimeout(f"{WHERE} was too slow with its next words") from error
        left -= loop.time() - began


def is_progress(event: bytes) -> bool:
    """Whether an event says only how much of the prompt has been read, or that the reply begins."""
    return b'"prompt_progress"' in event or b'"content":null' in event
