"""Requests over HTTP to a hosted service, with its refusals as errors of engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import msgspec

from inference.hosted.refusals import refusal
from inference.types import EngineError, EngineTimeout

ERROR_BYTES = 2000
"""Bytes that are read of a refusal: enough for its reason."""
REFUSAL = 0.5
"""Seconds to wait for the body of a refusal."""
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
    ) -> None:
        """``key`` is how operators call the key, for messages. ``headers`` go with each request."""
        self.provider = provider
        self.base_url = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._key = key
        self._connect_timeout = connect_timeout
        self._session: aiohttp.ClientSession | None = None
        """Between the first request and ``close``."""

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get_json(self, path: str, *, patience: float = 5.0, **params: str) -> Any:
        """Return the decoded JSON of a GET request. Raises ``EngineTimeout`` after ``patience`` seconds."""
        try:
            async with asyncio.timeout(patience), self.request("GET", path, params=params) as response:
                return msgspec.json.decode(await response.read())
        except TimeoutError as error:
            raise EngineTimeout(f"{self.provider} did not answer GET {path} within {patience:.1f} s") from error
        except msgspec.DecodeError as error:
            raise EngineError(f"{self.provider} answered GET {path} with something that is not JSON") from error

    @asynccontextmanager
    async def request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Send a request, and hold its response while the block runs; leaving the block before its end closes it.

        ``options`` are those of aiohttp (``json``, ``data``, ``params``). A response that is no success raises the
        error that it means, and so does a connection that breaks inside the block. The caller limits the time.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=KEEP_ALIVE)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._session.request(method, self.base_url + path, allow_redirects=False, **options)
            if response.status >= 300:
                said = await _beginning(response)
                raise refusal(
                    self.provider,
                    response.status,
                    said,
                    headers=response.headers,
                    key=self._key,
                    doing=f"{method} {path}",
                )
            yield response
        except aiohttp.ConnectionTimeoutError as error:
            raise EngineTimeout(f"cannot reach {self.provider} at {self.base_url}: {error}") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise EngineError(f"{self.provider}: {self.base_url!r} is no http(s) URL", permanent=True) from error
        except aiohttp.ClientConnectorError as error:
            raise EngineError(f"cannot reach {self.provider} at {self.base_url}: {error}") from error
        except aiohttp.ClientError as error:
            raise EngineError(f"the connection to {self.provider} broke: {error!r}") from error
        finally:
            if response is not None:
                # Only a response that was read to its end gives its connection back.
                response.release() if response.content.at_eof() else response.close()


async def _beginning(response: aiohttp.ClientResponse) -> str:
    said = b""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(REFUSAL):
            while len(said) < ERROR_BYTES and (data := await response.content.readany()):
                said += data
    return said[:ERROR_BYTES].decode(errors="replace")
