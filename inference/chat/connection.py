"""
The way to a model server: pooled connections, one streamed completion per request.

The reader of server-sent events is our own on a well-kept HTTP client: the usual client package costs some 10 ms per
request where this costs about one. A reply that is left before its end closes its connection at once, which is how
such servers learn that the work is no longer wanted.
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

from inference.chat.events import EventReader, read_chunk
from inference.chat.refusals import refusal, retry_after, without_quotations
from inference.types import EngineError, EngineFull, EngineTimeout

DRAIN = 0.1
"""After the last event the end of the body is awaited so long, so that the connection can be used again."""
REFUSAL = 0.5
"""Seconds for the words of a refusal, which may come in pieces and behind its status."""
KEEP_ALIVE = 60.0
"""Seconds for which an unused connection is kept; many servers give it up sooner, some after 5."""
DNS_CACHE = 60
ERROR_BYTES = 2000


class Connection:
    """
    One model at one server; any number of requests at once. All its methods raise ``EngineError``.

    ``ca_file`` replaces the authorities that are trusted; ``client_cert_file`` (with ``client_key_file``, if the key is
    not in it) is shown to servers that ask for one.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        api_key: str = "",
        headers: Mapping[str, str] | None = None,
        ca_file: str = "",
        client_cert_file: str = "",
        client_key_file: str = "",
        connect_timeout: float,
    ) -> None:
        base_url = base_url.rstrip("/")
        self.url = f"{base_url}/chat/completions"
        self.where = re.sub(r"//[^/@]*@", "//", self.url)
        """The URL for people: without a password."""
        self.model = model
        self.full_until = 0.0
        """On the loop's clock: when the server wants to be asked again."""
        self._models_url = f"{base_url}/models"
        key = {"Authorization": f"Bearer {api_key.strip()}"} if api_key else {}
        # Compressed, the events would be gathered before they are sent.
        self._headers = {"Accept-Encoding": "identity", **key, **(headers or {})}
        self._ssl = _ssl_context(ca_file, client_cert_file, client_key_file)
        self._connect_timeout = connect_timeout
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()

    async def close(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def touch(self) -> None:
        """Have a connection ready and the key looked at, at no cost. A missing answer is none of our business."""
        with self._engine_errors("answer"):
            async with asyncio.timeout(2 * self._connect_timeout):
                client = self._client()
                async with client.get(self._models_url, headers=self._headers, allow_redirects=False) as response:
                    if response.status in (401, 403):
                        raise await self._refusal(response, turns=())
                    # Only a response that was read to its end leaves its connection behind.
                    async for _ in response.content.iter_any():
                        pass

    def ask(self, body: Mapping[str, Any], *, inter_token_timeout: float, reply_timeout: float) -> Reply:
        """A request, not sent yet."""
        return Reply(self, body, inter_token_timeout, reply_timeout)

    async def _post(self, body: Mapping[str, Any]) -> aiohttp.ClientResponse:
        headers = {**self._headers, "Content-Type": "application/json"}
        data = msgspec.json.encode(body)
        try:
            response = await self._client().post(self.url, data=data, headers=headers, allow_redirects=False)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # The server closed a pooled connection just as it was picked: nothing was answered, so ask once more.
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
        error = refusal(response.status, text, where=self.where, model=self.model, turns=turns)
        if isinstance(error, EngineFull):
            wait = retry_after(response.headers.get("Retry-After"))
            self.full_until = asyncio.get_running_loop().time() + wait
        return error

    def _client(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            # aiohttp sets TCP_NODELAY on what it opens.
            connector = aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=DNS_CACHE, keepalive_timeout=KEEP_ALIVE, ssl=self._ssl
            )
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout)
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
            raise EngineTimeout(f"{self.model} at {self.where} was too slow with its {awaited}") from error


class Reply:
    """One streamed completion."""

    def __init__(
        self, connection: Connection, body: Mapping[str, Any], inter_token_timeout: float, reply_timeout: float
    ) -> None:
        self.finish_reason = ""
        """Why it ended, in the server's words; ``""`` while it has not."""
        self._connection = connection
        self._body = body
        self._inter_token_timeout = inter_token_timeout
        self._reply_timeout = reply_timeout
        self._events = EventReader()
        self._response: aiohttp.ClientResponse | None = None

    async def texts(self, first: asyncio.Timeout) -> AsyncGenerator[str, None]:
        """
        Its pieces of text; empty ones are none. However it is left, the connection is closed unless it came to its end.

        ``first`` ends the wait for the first text. Only time spent waiting for the server counts.
        """
        loop = asyncio.get_running_loop()
        errors = self._connection._engine_errors
        left = self._reply_timeout
        try:
            with errors("first words"):
                async with first:
                    self._response = await self._connection._post(self._body)
                    texts = await self._next()
            while texts:
                for text in texts:
                    yield text
                began = loop.time()
                with errors("next words"):
                    async with asyncio.timeout(min(self._inter_token_timeout, left)):
                        texts = await self._next()
                left -= loop.time() - began
            await self._drain()
        finally:
            if self._response is not None:
                self._response.close()

    async def _next(self) -> list[str]:
        """The texts that come next, whatever else comes with them; none at the end of the reply."""
        assert self._response is not None
        texts: list[str] = []
        while not texts and not self.finish_reason:
            data = await self._response.content.readany()
            if not data:
                raise EngineError(f"{self._connection.where} broke off in mid-reply")
            try:
                for event in self._events.feed(data):
                    text, self.finish_reason = read_chunk(event)
                    if text:
                        texts.append(text)
                    if self.finish_reason:
                        break
            except EngineError as error:
                raise EngineError(f"{self._connection.where}: {error}") from error
        return texts

    async def _drain(self) -> None:
        assert self._response is not None
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(DRAIN):
                while await self._response.content.readany():
                    pass


def _ssl_context(ca_file: str, client_cert_file: str, client_key_file: str) -> ssl.SSLContext | bool:
    """True: what the HTTP client does anyway, which is to look at the certificate."""
    if not (ca_file or client_cert_file):
        return True
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if client_cert_file:
            # Without a password OpenSSL would ask for one at the terminal, and wait.
            context.load_cert_chain(client_cert_file, client_key_file or None, password="")
    except OSError as error:  # ssl.SSLError is one
        files = " or ".join(filter(None, (ca_file, client_cert_file, client_key_file)))
        raise EngineError(f"cannot read the certificates of {files}: {error}", permanent=True) from error
    return context
