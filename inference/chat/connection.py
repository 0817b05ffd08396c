"""
Connects to a model server: pooled connections, one streamed completion for each request.

The server-sent events are parsed here, on top of a well-kept HTTP client: the usual client package adds about 10 ms to
a request, this about 1 ms. A reply that is left before its end closes its connection at once, which tells the server
that the work is no longer needed.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import msgspec

from inference.chat.events import Chunk, EventReader, TokenCounts, read_chunk, read_usage
from inference.chat.options import ModelServerOptions
from inference.chat.refusals import refusal, retry_after, without_quotations
from inference.types import EngineError, EngineFull, EngineTimeout

DRAIN = 0.1
"""Seconds to wait after the last event for the end of the body, so that the connection can be used again."""
REFUSAL = 0.5
"""Seconds to wait for the body of a refusal, which may come in pieces and later than its status."""
KEEP_ALIVE = 60.0
"""Seconds for which an unused connection is kept. Many servers close it sooner, some after 5 s."""
DNS_CACHE = 60
"""Seconds for which an address is used without resolving the name again."""
ERROR_BYTES = 2000
"""Bytes that are read of a refusal: enough for its reason."""


class Connection:
    """One model at one server, for any number of requests at once. All methods raise ``EngineError``."""

    def __init__(self, options: ModelServerOptions) -> None:
        self.options = options
        self._base_url = options.base_url.rstrip("/")
        self.url = f"{self._base_url}/chat/completions"
        self.where = re.sub(r"//[^/@]*@", "//", self.url)
        """The URL for messages: without a password."""
        self.full_until = 0.0
        """The time on the loop's clock until which the server, being full, wants no requests."""
        key = {"Authorization": f"Bearer {options.api_key.strip()}"} if options.api_key else {}
        # With compression the server would collect events before it sends them.
        self._headers = {"Accept-Encoding": "identity", **key, **options.headers}
        self._ssl = _ssl_context(options)
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()

    async def close(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def touch(self) -> None:
        """Open a connection and have the key checked, without the cost of a completion. A missing answer is ignored."""
        await self.get("/models")

    async def get(self, path: str) -> tuple[int, Any]:
        """
        Ask for something beside completions: return the status, and the value if it is JSON, else None.

        ``path`` is relative to the ``base_url``. Raises an error if the key is refused.
        """
        with self._engine_errors("answer"):
            async with asyncio.timeout(2 * self.options.connect_timeout):
                client = self._client()
                async with client.get(self._base_url + path, headers=self._headers, allow_redirects=False) as response:
                    if response.status in (401, 403):
                        raise await self._refusal(response, turns=())
                    # Only a response that was read to its end returns its connection to the pool.
                    said = b"".join([data async for data in response.content.iter_any()])
        try:
            return response.status, msgspec.json.decode(said)
        except msgspec.MsgspecError:
            return response.status, None

    async def _post(self, body: Mapping[str, Any]) -> aiohttp.ClientResponse:
        headers = {**self._headers, "Content-Type": "application/json"}
        data = msgspec.json.encode(body)
        try:
            response = await self._client().post(self.url, data=data, headers=headers, allow_redirects=False)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # The server closed a pooled connection just as it was used. Nothing was answered, so send it once more.
            response = await self._client().post(self.url, data=data, headers=headers, allow_redirects=False)
        if response.status == 200 and response.content_type != "application/json":
            return response
        turns = [turn["content"] for turn in body["messages"] if turn["role"] != "system"]
        try:
            raise await self._refusal(response, turns)
        finally:
            response.close()

    async def _refusal(self, response: aiohttp.ClientResponse, turns: Sequence[str]) -> EngineError:
        """The error for what the server answers instead of a stream."""
        said = b""
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(REFUSAL):
                while len(said) < ERROR_BYTES and (data := await response.content.readany()):
                    said += data
        text = said[:ERROR_BYTES].decode(errors="replace").strip()
        if response.status == 200:
            # Without choices it is an error that the operator has to read; with them it is what the agent would say.
            answer = "a whole reply" if '"choices"' in text else without_quotations(text, turns)
            return EngineError(f"{self.where} does not stream, it answers with {answer}", permanent=True)
        wait = retry_after(response.headers.get("Retry-After"))
        error = refusal(
            response.status,
            text,
            where=self.where,
            model=self.options.model,
            turns=turns,
            wait=wait,
            location=response.headers.get("Location", ""),
        )
        if isinstance(error, EngineFull):
            self.full_until = asyncio.get_running_loop().time() + wait
        return error

    def _client(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            # aiohttp sets TCP_NODELAY on its sockets.
            connector = aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=DNS_CACHE, keepalive_timeout=KEEP_ALIVE, ssl=self._ssl
            )
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.options.connect_timeout)
            client = aiohttp.ClientSession(timeout=timeout, connector=connector)
            self._clients[loop] = client
        return client

    @contextmanager
    def _engine_errors(self, awaited: str) -> Iterator[None]:
        try:
            yield
        except aiohttp.ConnectionTimeoutError as error:
            raise EngineTimeout(f"cannot reach the model server at {self.where}: {error}") from error
        except aiohttp.ClientConnectorError as error:
            raise EngineError(f"cannot reach the model server at {self.where}: {error}") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise EngineError(f"base_url must be an http(s) URL; it makes {self.where!r}", permanent=True) from error
        except aiohttp.ClientError as error:
            raise EngineError(f"the connection to {self.where} broke: {error!r}") from error
        except TimeoutError as error:
            raise EngineTimeout(f"{self.options.model} at {self.where} was too slow with its {awaited}") from error


class Reply:
    """
    One streamed completion. The request is sent when its texts are read.

    ``patience`` is how many seconds may pass between two of them.
    """

    def __init__(self, connection: Connection, body: Mapping[str, Any], *, patience: float) -> None:
        self.finish_reason = ""
        """The reason why the reply ended, in the server's words; ``""`` until then."""
        self.is_taken = False
        """Whether the server has taken the request, and so will bill it."""
        self.usage: TokenCounts | None = None
        """The tokens that the server has counted; None until the end of the reply, or if it does not say."""
        self._patience = patience
        self._connection = connection
        self._body = body
        self._events = EventReader()
        self._response: aiohttp.ClientResponse | None = None

    async def chunks(self, first: asyncio.Timeout) -> AsyncGenerator[Chunk, None]:
        """
        Send the request and yield its chunks, each with text or a piece of a tool call.

        ``first`` limits the wait for the first one; only time spent waiting for the server counts. If the iteration is
        left before the end of the reply, the connection is closed.
        """
        loop = asyncio.get_running_loop()
        errors = self._connection._engine_errors
        options = self._connection.options
        left = options.reply_timeout
        try:
            with errors("first words"):
                async with first:
                    self._response = await self._connection._post(self._body)
                    self.is_taken = True
                    chunks = await self._next()
            while chunks:
                for chunk in chunks:
                    yield chunk
                began = loop.time()
                with errors("next words"):
                    async with asyncio.timeout(min(self._patience, left)):
                        chunks = await self._next()
                left -= loop.time() - began
            await self._drain()
        finally:
            if self._response is not None:
                self._response.close()

    async def _next(self) -> list[Chunk]:
        """Return the next chunks; none at the end of the reply."""
        assert self._response is not None
        chunks: list[Chunk] = []
        while not chunks and not self.finish_reason:
            data = await self._response.content.readany()
            if not data:
                raise EngineError(f"{self._connection.where} broke off in the middle of the reply")
            try:
                for event in self._read_events(data):
                    if self.finish_reason:
                        continue  # only the usage may come behind it
                    chunk = read_chunk(event)
                    self.finish_reason = chunk.finish_reason
                    if chunk.text or chunk.calls:
                        chunks.append(chunk)
            except EngineError as error:
                raise EngineError(f"{self._connection.where}: {error}") from error
        return chunks

    def _read_events(self, data: bytes) -> list[bytes]:
        events = self._events.feed(data)
        for event in events:
            if b'"usage"' in event and (usage := read_usage(event)) is not None:
                self.usage = usage
        return events

    async def _drain(self) -> None:
        assert self._response is not None
        with suppress(TimeoutError, aiohttp.ClientError, EngineError):
            async with asyncio.timeout(DRAIN):
                while data := await self._response.content.readany():
                    self._read_events(data)


def _ssl_context(options: ModelServerOptions) -> ssl.SSLContext | bool:
    """Return the context, or True for the default of the HTTP client, which checks the server's certificate."""
    ca_file, certificate, key = options.ca_file, options.client_cert_file, options.client_key_file
    if not (ca_file or certificate):
        return True
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if certificate:
            # Without a password here, OpenSSL would wait for one at the terminal.
            context.load_cert_chain(certificate, key or None, password="")
    except OSError as error:  # ssl.SSLError is one
        files = " or ".join(filter(None, (ca_file, certificate, key)))
        raise EngineError(f"cannot read the certificates in {files}: {error}", permanent=True) from error
    return context
