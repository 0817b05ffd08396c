"""
Any model server that speaks OpenAI's chat completions: Ollama by default, vLLM, TensorRT-LLM, llama.cpp, paid ones.

What servers differ in is in ``inference/chat/servers.py``; the rest of the work is beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from inference.chat.connection import Connection
from inference.chat.prompt import prompt, tokens
from inference.chat.reply_filter import ReplyFilter
from inference.chat.servers import Rank, server_of
from inference.chat.slots import Places, expire
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
"""Seconds between two questions to a server that is loading its model."""
IDLE = 20.0
"""A connection unused for so long may be gone: where prompts are not warmed, it is."""
SHRINK = 0.9
"""Of what the server found too large; the count of tokens is an estimate."""


class OpenAICompatibleLanguageModel:
    """
    ``server`` ("vllm", "ollama", "tensorrt-llm", "openai", "groq") sets what follows from the kind of server; it need
    not be given for OpenAI and Groq, whose ``base_url`` tells. What it sets can be set singly: ``may_speculate`` and
    ``warm`` (off where tokens are paid for), ``priority`` (on for vLLM; others refuse the field) and
    ``context_tokens``, beyond which the oldest turns are left out. ``extra_body`` is added to every request; null takes
    a field out of it, as does a ``temperature`` of null.

    ``first_token_timeout`` runs from the request to the first text, ``inter_token_timeout`` between pieces of text,
    ``reply_timeout`` over all waiting after the first. With ``max_concurrent`` so many requests run at once, and a real
    one takes the place of a speculative one that has no words yet, which is asked again. With ``warm`` the model is
    loaded by ``start()`` (which waits up to ``load_timeout``) and its prefix cache filled by ``warm()``.

    The model asks for the end of the call by writing ``end_call_marker``, and for a tool by another marker; they are
    taken out of the text. The system prompt says so of those that apply.
    """

    def __init__(
        self,
        *,
        server: str = "",
        base_url: str = "http://127.0.0.1:11434/v1",
        model: str = "gemma3:1b",
        api_key: str = "",
        headers: Mapping[str, str] | None = None,
        ca_file: str = "",
        client_cert_file: str = "",
        client_key_file: str = "",
        temperature: float | None = 0.7,
        max_tokens: int = 160,
        context_tokens: int | None = None,
        connect_timeout: float = 1.0,
        first_token_timeout: float = 5.0,
        inter_token_timeout: float = 2.0,
        reply_timeout: float = 30.0,
        load_timeout: float = 120.0,
        warm: bool | None = None,
        priority: bool | None = None,
        max_concurrent: int = 0,
        extra_body: Mapping[str, Any] | None = None,
        end_call_marker: str = "[END_CALL]",
        may_speculate: bool | None = None,
    ) -> None:
        kind = server_of(server, base_url)
        self.may_speculate = not kind.paid if may_speculate is None else may_speculate
        self._warms = not kind.paid if warm is None else warm
        sends_priority = kind.priorities is not None if priority is None else priority
        self._priorities = (kind.priorities or (0, 5, 10)) if sends_priority else None
        self._context_tokens = context_tokens or kind.context_tokens
        self._length_field = kind.length_field
        self._max_tokens = max_tokens
        self._fixed = {"model": model, "temperature": temperature, "stream": True, **(extra_body or {})}
        self._marker = end_call_marker
        self._first_token_timeout = first_token_timeout
        self._inter_token_timeout = inter_token_timeout
        self._reply_timeout = reply_timeout
        self._load_timeout = load_timeout
        self._max_concurrent = max_concurrent
        self._places = Places(max_concurrent)
        self._used_at = -IDLE
        self._connection = Connection(
            base_url,
            model=model,
            api_key=api_key,
            headers=headers,
            ca_file=ca_file,
            client_cert_file=client_cert_file,
            client_key_file=client_key_file,
            connect_timeout=connect_timeout,
        )

    def describe(self) -> Description:
        connection = self._connection
        weights = f"served by {connection.where.removesuffix('/chat/completions')} as {connection.model}"
        return Description(weights, device="server", capacity=self._max_concurrent)

    async def start(self) -> None:
        """Have the server load the model. A server that is away may come back: only what is permanent raises."""
        give_up_at = asyncio.get_running_loop().time() + self._load_timeout
        while True:
            try:
                return await self._prepare([Message("user", "Hello")], NO_TOOLS, self._load_timeout)
            except EngineError as error:
                if error.permanent:
                    raise
                if not isinstance(error, EngineLoading) or asyncio.get_running_loop().time() >= give_up_at:
                    return log.warning("The language model cannot answer yet: %s", error)
            await asyncio.sleep(LOADING_PAUSE)

    async def close(self) -> None:
        await self._connection.close()

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        try:
            await self._prepare(messages, tools, self._first_token_timeout)
        except EngineFull as error:
            log.debug("Not warmed: %s", error)
        except EngineError as error:
            log.warning("Warming the language model failed: %s", error)

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        rank = Rank.SPECULATIVE if speculative else Rank.REAL
        said = ReplyFilter(self._marker, tools)
        blank = True
        async with aclosing(self._texts(messages, tools, rank, self._max_tokens, self._first_token_timeout)) as texts:
            async for text in texts:
                if text := said.feed(text):
                    blank = blank and not text.strip()
                    yield TextDelta(text)
                if said.ended:
                    break
        if text := said.rest():
            blank = blank and not text.strip()
            yield TextDelta(text)
        if said.requests:
            yield TextDelta(requests=said.requests)
        elif blank:
            raise self._empty("blank")

    async def _prepare(self, messages: Sequence[Message], tools: Tools, patience: float) -> None:
        if self._warms:
            async with aclosing(self._texts(messages, tools, Rank.WARM, 1, patience)) as texts:
                async for _ in texts:
                    pass
        elif asyncio.get_running_loop().time() - self._used_at > IDLE:
            self._used_at = asyncio.get_running_loop().time()
            await self._connection.touch()

    async def _texts(
        self, messages: Sequence[Message], tools: Tools, rank: Rank, max_tokens: int, patience: float
    ) -> AsyncGenerator[str, None]:
        """The pieces of text of one reply, once it is its turn; ``patience`` ends with the first of them."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        if rank is not Rank.REAL and (wait := self._connection.full_until - loop.time()) > 0:
            raise EngineFull(f"{self._connection.where} wants no request for another {wait:.1f} s")
        while True:
            context_tokens = self._context_tokens
            turns = self._turns(messages, tools, rank)
            body = {**self._fixed, "messages": turns, self._length_field: max_tokens}
            if self._priorities is not None:
                body["priority"] = self._priorities[rank]
            body = {name: value for name, value in body.items() if value is not None}
            begun = False
            # Where there is no room to warm anything, nothing needs to be warm.
            async with self._places.take(rank, patience=0 if rank is Rank.WARM else deadline - loop.time()) as place:
                self._used_at = loop.time()
                first = asyncio.timeout_at(deadline)
                if rank is not Rank.REAL:
                    place.give_way = partial(expire, first)
                reply = self._connection.ask(
                    body, inter_token_timeout=self._inter_token_timeout, reply_timeout=self._reply_timeout
                )
                try:
                    async with aclosing(reply.texts(first)) as texts:
                        async for text in texts:
                            begun, place.give_way = True, None
                            yield text
                except EngineTimeout:
                    if begun or not place.lost:
                        raise
                except ContextTooLarge:
                    if not self._shrink(turns, context_tokens):
                        raise
                else:
                    if not begun and rank is not Rank.WARM:
                        raise self._empty(reply.finish_reason)
                    return
            if place.lost and rank is Rank.WARM:
                return

    def _turns(self, messages: Sequence[Message], tools: Tools, rank: Rank) -> list[dict[str, str]]:
        room = self._context_tokens - self._max_tokens
        return prompt(messages, tools, end_call_marker=self._marker, room=room, ends_with_user=rank is Rank.WARM)

    def _shrink(self, turns: Sequence[Mapping[str, str]], context_tokens: int) -> bool:
        """
        These, for so many tokens, were too many for the server: send fewer from now on. False if there is none to leave
        out. Requests that were refused at the same time tell the same.
        """
        if sum(turn["role"] != "system" for turn in turns) < 2:
            return False
        size = sum(tokens(turn["content"]) for turn in turns) + self._max_tokens
        self._context_tokens = min(self._context_tokens, int(SHRINK * min(size, context_tokens)))
        log.warning(
            "The context of %s is smaller than its option context_tokens says: now %d are used",
            self._connection.model,
            self._context_tokens,
        )
        return True

    def _empty(self, why: str) -> EngineError:
        connection = self._connection
        return EngineError(f"{connection.model} at {connection.where} gave an empty reply ({why})")
