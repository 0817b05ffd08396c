"""
Any model server that speaks OpenAI's chat completions: Ollama by default, vLLM, llama.cpp, a paid service.

The reply is read from server-sent events by a reader of our own on one pooled connection: the usual client package
costs some 10 ms per request where this costs about one. Closing the stream closes the response at once, which is how
such servers learn that the work is no longer wanted.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from itertools import groupby
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import msgspec

from inference.types import NO_TOOLS, EngineError, Message, TextDelta, Tools

log = logging.getLogger(__name__)

LONGEST_EVENT_BYTES = 1 << 20
TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""Beside every 5xx: the refusals that a later request may not get."""
PICKS_UP = "(The call is connected.)"
"""Stands for the caller's first turn where the agent spoke first: some chat templates insist that a user begins."""
GOODBYE = "When the conversation is over and you have said goodbye, write {marker} at the very end of that reply."
TRANSFER = (
    "You can hand the caller on to: {names}. When the caller wants or needs that, say in one short sentence that you "
    "will connect them, and write {marker} at its very end, with the name as it stands here."
)
TRANSFER_MARKER = "[TRANSFER name]"
OPT_OUT = "When the caller asks not to be called any more, answer with {marker} and nothing else."
OPT_OUT_MARKER = "[DO_NOT_CALL]"
DRAIN_SECONDS = 0.1
"""After the last event the end of the body is awaited this long, so that the connection can be used again."""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    """What is read of one event; reasoning, usage and the rest are left aside."""

    choices: list[_Choice] = []
    error: Any = None
    object: str | None = None
    message: Any = None


class OpenAICompatibleLanguageModel:
    """
    ``may_speculate`` is an option: switch it off where tokens are paid for.

    The model asks for the end of the call by writing ``end_call_marker``, and for a tool by another marker; they are
    taken out of the text. The system prompt says so of those that apply. ``first_token_timeout`` runs from the request
    to the first text, ``inter_token_timeout`` between pieces of text. ``priority`` sends vLLM's request priority
    (others refuse the field); ``extra_body`` is added to every request. With ``warm`` the model is loaded by
    ``start()`` (which waits up to ``load_timeout``) and its prefix cache filled by ``warm()``.
    """

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:11434/v1",
        model: str = "gemma3:1b",
        api_key: str = "",
        temperature: float = 0.7,
        max_tokens: int = 160,
        connect_timeout: float = 1.0,
        first_token_timeout: float = 5.0,
        inter_token_timeout: float = 2.0,
        load_timeout: float = 120.0,
        warm: bool = True,
        priority: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        end_call_marker: str = "[END_CALL]",
        may_speculate: bool = True,
    ) -> None:
        self.may_speculate = may_speculate
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._max_tokens = max_tokens
        self._fixed = {"model": model, "temperature": temperature, "stream": True, **(extra_body or {})}
        self._connect_timeout = connect_timeout
        self._first_token_timeout = first_token_timeout
        self._inter_token_timeout = inter_token_timeout
        self._load_timeout = load_timeout
        self._warms = warm
        self._sends_priority = priority
        self._marker = end_call_marker
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()

    async def start(self) -> None:
        """Have the server load the model. A server that is away may come back: only what is permanent raises."""
        try:
            await self._warm([Message("user", "Hello")])
        except EngineError as error:
            if error.permanent:
                raise
            log.warning("The language model cannot answer yet: %s", error)

    async def close(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        try:
            await self._warm(messages, tools)
        except EngineError as error:
            log.warning("Warming the language model failed: %s", error)

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        body = self._body(messages, self._max_tokens, tools, speculative=speculative)
        marker = MarkerFilter(self._marker)
        blank = True
        async with aclosing(self._texts(body, self._first_token_timeout)) as texts:
            async for text in texts:
                if text := marker.feed(text):
                    blank = blank and not text.strip()
                    yield TextDelta(text)
        if text := marker.rest():
            blank = False
            yield TextDelta(text)
        if marker.seen:
            transfer = marker.transfer
            if transfer == "":
                # No name at all: there may be no doubt.
                transfer = next(iter(tools.transfer_targets), "nobody")
            yield TextDelta(end_call=marker.end_call, transfer=transfer or "", opt_out=marker.opt_out)
        elif blank:
            raise EngineError(f"{self._model} at {self._url} gave an empty reply")

    async def _warm(self, messages: Sequence[Message], tools: Tools = NO_TOOLS) -> None:
        if self._warms:
            body = self._body(messages, 1, tools, speculative=True)
            async with aclosing(self._texts(body, self._load_timeout)) as texts:
                async for _ in texts:
                    pass

    def _body(self, messages: Sequence[Message], max_tokens: int, tools: Tools, *, speculative: bool) -> dict[str, Any]:
        body = {**self._fixed, "messages": self._turns(messages, tools), "max_tokens": max_tokens}
        if self._sends_priority:
            body["priority"] = 5 if speculative else 0  # lower is sooner
        return body

    def _turns(self, messages: Sequence[Message], tools: Tools) -> list[dict[str, str]]:
        """The conversation as strict chat templates want it: one system message, then user and agent by turns."""
        system = [message.content for message in messages if message.role == "system"]
        if self._marker:
            system.append(GOODBYE.format(marker=self._marker))
        if tools.transfer_targets:
            system.append(TRANSFER.format(names=", ".join(tools.transfer_targets), marker=TRANSFER_MARKER))
        if tools.opt_out:
            system.append(OPT_OUT.format(marker=OPT_OUT_MARKER))
        spoken = [message for message in messages if message.role != "system"]
        if not spoken or spoken[0].role == "assistant":
            spoken.insert(0, Message("user", PICKS_UP))
        turns = [(role, " ".join(line.content for line in lines)) for role, lines in groupby(spoken, lambda m: m.role)]
        if system:
            turns.insert(0, ("system", "\n\n".join(system)))
        return [{"role": role, "content": content} for role, content in turns]

    async def _texts(self, body: Mapping[str, Any], first_timeout: float) -> AsyncGenerator[str, None]:
        """The pieces of text of one reply. However it is left, the connection is closed unless it came to its end."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + first_timeout
        with self._engine_errors():
            async with asyncio.timeout_at(deadline):
                response = await self._post(body)
        try:
            events = EventReader()
            ended = False
            while not ended:
                with self._engine_errors():
                    async with asyncio.timeout_at(deadline):
                        data = await response.content.readany()
                if not data:
                    raise EngineError(f"{self._url} broke off in mid-reply")
                for event in events.feed(data):
                    text, ended = self._read(event)
                    if text:
                        yield text
                        deadline = loop.time() + self._inter_token_timeout
                    if ended:
                        break
            with suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    while await response.content.readany():
                        pass
        finally:
            response.close()

    async def _post(self, body: Mapping[str, Any]) -> aiohttp.ClientResponse:
        try:
            response = await self._client().post(self._url, json=body, headers=self._headers)
        except aiohttp.ServerDisconnectedError:
            # The server closed a pooled connection just as it was picked: nothing was answered, so ask once more.
            response = await self._client().post(self._url, json=body, headers=self._headers)
        if response.status == 200 and response.content_type != "application/json":
            return response
        try:
            said = (await response.content.read(2000)).decode(errors="replace").strip()
        finally:
            response.close()
        if response.status == 200:
            raise EngineError(f"{self._url} does not stream: {said}", permanent=True)
        hint = f" (with Ollama: ollama pull {self._model})" if response.status == 404 else ""
        raise EngineError(
            f"{self._url} refuses {self._model} with {response.status}{hint}: {said}",
            permanent=response.status < 500 and response.status not in TRANSIENT_STATUSES,
        )

    def _client(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout)
            client = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
            self._clients[loop] = client
        return client

    def _read(self, event: bytes) -> tuple[str, bool]:
        """The text of one event, and whether the reply ends with it."""
        if event == b"[DONE]":
            return "", True
        try:
            parsed = msgspec.json.decode(event, type=_Event)
        except msgspec.MsgspecError as error:
            raise EngineError(f"{self._url} sent what is no chat completion: {error}: {event[:200]!r}") from error
        if parsed.error is not None or parsed.object == "error":
            raise EngineError(f"{self._url} failed in mid-reply: {parsed.error or parsed.message}")
        if not parsed.choices:
            return "", False
        choice = parsed.choices[0]
        return (choice.delta and choice.delta.content) or "", choice.finish_reason is not None

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise EngineError(f"cannot reach the model server at {self._url}: {error}") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise EngineError(f"base_url must be an http(s) URL; it makes {self._url!r}", permanent=True) from error
        except aiohttp.ClientError as error:
            raise EngineError(f"the connection to {self._url} broke: {error!r}") from error
        except TimeoutError as error:
            raise EngineError(f"{self._model} at {self._url} was too slow with its next words") from error


class EventReader:
    """Server-sent events from bytes that are cut anywhere, even inside a character."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that these bytes complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        events = []
        for line in (line.removesuffix(b"\r") for line in lines):
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        if len(self._rest) + sum(map(len, self._data)) > LONGEST_EVENT_BYTES:
            raise EngineError(f"an event of more than {LONGEST_EVENT_BYTES} bytes from the model server")
        return events


class MarkerFilter:
    """
    Takes the markers out of text that comes in pieces; ``end_call``, ``opt_out`` and ``transfer`` tell which it had.

    Other text in brackets stays. ``transfer`` is the name that was written, ``""`` if there was none in the marker.
    """

    def __init__(self, end_call_marker: str) -> None:
        self._end_call = end_call_marker.lower()
        markers = [rf"(?P<end_call>{re.escape(end_call_marker)})"] if end_call_marker else []
        markers += [rf"(?P<opt_out>{re.escape(OPT_OUT_MARKER)})", rf"\[transfer(?P<transfer>{_NAME})?\]"]
        self._pattern = re.compile("|".join(markers), re.IGNORECASE)
        self._held = ""
        self.end_call = self.opt_out = False
        self.transfer: str | None = None

    @property
    def seen(self) -> bool:
        return self.end_call or self.opt_out or self.transfer is not None

    def feed(self, text: str) -> str:
        """What is certain to be text; the beginning of what may become a marker is held back."""
        text = self._pattern.sub(self._take, self._held + text)
        held = next((start for start in range(len(text)) if self._may_become_marker(text[start:].lower())), len(text))
        self._held = text[held:]
        return text[:held]

    def rest(self) -> str:
        """What was held back and did not become a marker. A transfer that only lacks its bracket is one."""
        text, self._held = self._held, ""
        return "" if _CUT_TRANSFER.fullmatch(text) and not self.feed(f"{text}]") else text

    def _take(self, marker: re.Match[str]) -> str:
        match marker.lastgroup:
            case "end_call":
                self.end_call = True
            case "opt_out":
                self.opt_out = True
            case _:
                self.transfer = (marker["transfer"] or "").strip(" :=\"'<>")
        return ""

    def _may_become_marker(self, text: str) -> bool:
        whole = (self._end_call, OPT_OUT_MARKER.lower(), "[transfer")
        return any(marker.startswith(text) for marker in whole) or _BEGUN_TRANSFER.fullmatch(text) is not None


_NAME = r"[\s:=][^\[\]\n]{0,60}"
_BEGUN_TRANSFER = re.compile(rf"\[transfer{_NAME}")
_CUT_TRANSFER = re.compile(rf"\[transfer(?:{_NAME})?", re.IGNORECASE)
