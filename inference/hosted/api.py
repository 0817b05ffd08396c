"""Requests over HTTP to a hosted service, with its refusals as errors of engines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import msgspec

from inference.chat.refusals import without_quotations
from inference.hosted.refusals import BASE_URL, refusal
from inference.types import EngineError, EngineTimeout

ERROR_BYTES = 2000
"""Bytes that are read of a refusal: enough for its reason."""
REFUSAL = 0.5
"""Seconds to wait for the body of a refusal."""
ABSENT = (404, 405, 501)
"""Statuses with which a service says that it does not have this address at all."""
KEEP_ALIVE = 60.0
"""Seconds for which an unused connection is kept."""


class Api:
    """One address of a service. Its methods raise ``EngineError``."""

    def __init__(
        self,
        provider: str,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        key: str = "",
        connect_timeout: float = 2.0,
        advice: Mapping[int, str] | None = None,
        setting: str = BASE_URL,
    ) -> None:
        """
        ``key`` is how operators call the key and ``setting`` how they call the address, for messages. ``headers`` go
        with each request. ``advice`` says what to do about refusals with a status: ``{404: "Set STT_MODEL to a model
        that the server has."}``.
        """
        self.provider = provider
        self.base_url = base_url.rstrip("/")
        self.where = re.sub(r"//[^/@]*@", "//", self.base_url)
        """The same for messages: without a password."""
        self._advice = dict(advice or {})
        self._headers = dict(headers or {})
        self._key, self._setting = key, setting
        self._connect_timeout = connect_timeout
        self._session: aiohttp.ClientSession | None = None
        """Between the first request and ``close``."""

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get_json(self, path: str, *, patience: float = 5.0, optional: bool = False, **params: str) -> Any:
        """
        Return the decoded JSON of a GET request. Raises ``EngineTimeout`` after ``patience`` seconds.

        ``optional``: return None where the service has no such address.
        """
        accepted = ABSENT if optional else ()
        try:
            async with (
                asyncio.timeout(patience),
                self.request("GET", path, accepted=accepted, params=params) as response,
            ):
                return None if response.status in accepted else msgspec.json.decode(await response.read())
        except TimeoutError as error:
            raise EngineTimeout(f"{self.provider} did not answer GET {path} within {patience:.1f} s") from error
        except (ValueError, RecursionError) as error:  # msgspec's errors, and those of text that is not UTF-8
            raise EngineError(f"{self.provider} answered GET {path} with something that is not JSON") from error

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        private: Sequence[str] = (),
        accepted: Collection[int] = (),
        **options: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Send a request, and hold its response while the block runs; leaving the block before its end closes it.

        ``options`` are those of aiohttp (``json``, ``data``, ``params``); ``data`` must be bytes, because a request is
        sent once more if the service has closed its connection in the same moment. A response that is no success
        raises the error that it means, and so does a connection that breaks inside the block. Errors quote nothing of
        the texts in ``private``, which some services repeat. Statuses in ``accepted`` are no refusals. The caller
        limits the time.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=KEEP_ALIVE)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._send(self._session, method, path, options)
            if response.status >= 300 and response.status not in accepted:
                said = without_quotations(await beginning(response), private)
                raise refusal(
                    self.provider,
                    response.status,
                    said,
                    headers=response.headers,
                    key=self._key,
                    doing=f"{method} {path}",
                    advice=self._advice.get(response.status, ""),
                    setting=self._setting,
                )
            yield response
        except aiohttp.ConnectionTimeoutError as error:
            raise EngineTimeout(f"cannot reach {self.provider} at {self.where}: {error}") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise EngineError(f"{self.provider}: {self.where!r} is no http(s) URL", permanent=True) from error
        except aiohttp.ClientConnectorError as error:
            raise EngineError(f"cannot reach {self.provider} at {self.where}: {error}") from error
        except aiohttp.ClientError as error:
            raise EngineError(f"the connection to {self.provider} broke: {error!r}") from error
        finally:
            if response is not None:
                # Only a response that was read to its end gives its connection back.
                response.release() if response.content.at_eof() else response.close()

    async def _send(
        self, session: aiohttp.ClientSession, method: str, path: str, options: Mapping[str, Any]
    ) -> aiohttp.ClientResponse:
        url = self.base_url + path
        try:
            return await session.request(method, url, allow_redirects=False, **options)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # The service closed a pooled connection just as it was used. Nothing was answered, so send it once more.
            if session.closed:
                raise
            return await session.request(method, url, allow_redirects=False, **options)


async def beginning(response: aiohttp.ClientResponse) -> str:
    """Return the beginning of a body that says why there is no answer."""
    said = b""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(REFUSAL):
            while len(said) < ERROR_BYTES and (data := await response.content.readany()):
                said += data
    return said[:ERROR_BYTES].decode(errors="replace")
