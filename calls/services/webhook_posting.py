"""Sending webhooks over HTTP: their signatures, their time limit, and what is stored of what went wrong."""

import asyncio
import base64
import hmac
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress

import aiohttp
from django.utils import timezone
from yarl import URL

from calls.models import WebhookDelivery
from calls.services.webhook_hosts import CheckedResolver, HostNotAllowed
from calls.services.webhooks import secret_bytes, secrets_of

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds that one delivery may take as a whole."""
_BODY = 1.0
"""Seconds for the start of the answer's body, which is read only so that the connection can be used again."""

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""Sends a body with headers to a URL and returns the HTTP status. Raises ``OSError`` or ``aiohttp.ClientError``."""

_FAULTS: list[tuple[tuple[type[Exception], ...], str]] = [
    ((HostNotAllowed, aiohttp.ClientConnectorDNSError), "the host has no address that events may be sent to"),
    ((aiohttp.ClientConnectorCertificateError,), "the TLS certificate of the host is not valid"),
    ((aiohttp.ClientSSLError,), "no TLS connection could be made"),
    ((aiohttp.ClientConnectorError, ConnectionRefusedError), "could not connect"),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError), "the connection ended before an answer"),
    ((aiohttp.ClientResponseError, aiohttp.ClientPayloadError), "the answer is not valid HTTP"),
    ((ValueError,), "the address is not valid"),
    ((OSError, aiohttp.ClientError), "the connection failed"),
]
"""
What is stored for each kind of error; the first kind that fits. The errors' own texts are not stored: they have
addresses of hosts and what those answered, and whoever registers a webhook can read what is stored.
"""


async def send(post: Post, delivery: WebhookDelivery) -> tuple[int | str, float]:
    """
    Send a delivery. Returns the HTTP status or what went wrong, and the milliseconds that it took.

    Any error is a failed attempt of this delivery, also one that nobody has foreseen: others must not suffer from it.
    """
    began = time.monotonic()
    outcome: int | str
    try:
        body, headers = _write(delivery)
        async with asyncio.timeout(TIMEOUT):
            outcome = await post(delivery.endpoint.url, body, headers)
    except TimeoutError:
        outcome = f"no answer within {TIMEOUT:g} s"
    except (OSError, ValueError, aiohttp.ClientError) as error:
        outcome = describe(error)
    except (Exception, asyncio.CancelledError) as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise  # the run ends; a library may have cancelled something of its own
        logger.exception("Delivery %s of a webhook failed by an internal error; it is repeated", delivery.pk)
        outcome = describe(error)
    return outcome, (time.monotonic() - began) * 1000


def _write(delivery: WebhookDelivery) -> tuple[bytes, dict[str, str]]:
    """Write the body and the headers. Half a surrogate pair, which UTF-8 does not have, becomes a question mark."""
    body = json.dumps(delivery.payload, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    headers = {"Content-Type": "application/json", "User-Agent": "client-caller"}
    return body, headers | sign(
        secrets_of(delivery.endpoint, now=timezone.now()), str(delivery.pk), int(time.time()), body
    )


def describe(error: BaseException) -> str:
    return next((text for kinds, text in _FAULTS if isinstance(error, kinds)), "an internal error of the sender")


def sign(secrets: Iterable[str], delivery_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """
    Return the headers that prove to the receiver who sent the event (Standard Webhooks 1.0).

    There is one signature for each secret. A receiver accepts the event if one of them is right.
    """
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(secret_bytes(secret), signed, "sha256") for secret in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


class Client:
    """Sends over HTTP to the hosts that are allowed (``post``)."""

    def __init__(self) -> None:
        """Make it while the event loop runs that it is used in."""
        self._resolver = CheckedResolver()
        # Without limits of its own: a delivery would wait for a free connection within its time limit.
        connector = aiohttp.TCPConnector(resolver=self._resolver, socket_factory=self._resolver.make_socket, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        self._resolver.check_literal(URL(url).raw_host or "")
        # A redirect would send the event to an address that the operator has not approved.
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            with suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(_BODY):
                    await response.content.read(1024)
            return response.status

    async def close(self) -> None:
        await self._session.close()


Sending = Future[tuple[int | str, float]]
"""What ``send`` will return."""


@contextmanager
def open_sender(post: Post | None = None) -> Iterator[Callable[[WebhookDelivery], Sending]]:
    """
    Yields a function that begins to send a delivery. ``post`` replaces the HTTP client.

    The event loop runs in a thread of its own: an answer is read within its time limit, however long a query of the
    database takes meanwhile. What is being sent at the end of the block is given up.
    """
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=asyncio.new_event_loop))
        if post is None:
            client = runner.run(_make_client())
            stack.callback(lambda: runner.run(client.close()))
            post = client.post
        loop, chosen = runner.get_loop(), post
        thread = threading.Thread(target=loop.run_forever, name="webhooks: network")
        thread.start()
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        yield lambda delivery: asyncio.run_coroutine_threadsafe(send(chosen, delivery), loop)


async def _make_client() -> Client:
    return Client()
