"""
The sending of Twilio's callbacks: the address, the signature and the retries of the request, and when it is given up.

Twilio knows the application's URLs in their public form, and signs that form. The TCP connection goes to the machine
under test (``Routes``).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit, urlunsplit

import aiohttp
from twilio.request_validator import RequestValidator
from yarl import URL

from media.phone.injections import CallbackFault, CallbackKind, Injections, Signature

USER_AGENT = "TwilioProxy/1.1"
MAX_REQUEST_SECONDS = 15.0
"""Twilio's limit for a request about a call, retries included. No setting raises it."""
MAX_REDIRECTS = 10
"""Twilio reports 11215 beyond this."""
MAX_RESPONSE_BYTES = 1 << 20
"""More than the 64 kB that TwiML may have, so that a document that is too large can still be reported as such."""
AWAITED_KINDS: frozenset[CallbackKind] = frozenset({"voice", "action"})
"""The kinds whose response the call waits for. A late callback of another kind delays nothing."""
_DEFAULT_PORT = {"https": 443, "wss": 443, "http": 80, "ws": 80}
CookiesPerHost = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Overrides:
    """
    The wishes in the fragment of a callback's URL: time-outs in seconds, and the outcomes to retry.

    A value out of range becomes the nearest allowed one.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 15.0
    total_timeout: float = MAX_REQUEST_SECONDS
    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})
    """Outcomes in Twilio's words: ``ct`` (no connection), ``rt`` (read time-out), ``4xx``, ``5xx``, ``all``."""

    @classmethod
    def parse(cls, url: str) -> Overrides:
        """Read the fragment of a URL."""
        asked = {key: values[-1] for key, values in parse_qs(urlsplit(url).fragment).items()}

        def number(key: str, default: int, low: int, high: int) -> int:
            try:
                return min(max(int(asked[key]), low), high)
            except (KeyError, ValueError):
                return default

        return cls(
            connect_timeout=number("ct", 5000, 100, 10000) / 1000,
            read_timeout=number("rt", 15000, 100, 15000) / 1000,
            total_timeout=number("tt", 15000, 100, 15000) / 1000,
            retries=number("rc", 1, 0, 5),
            retry_on=frozenset(asked.get("rp", "ct").lower().split(",")),
        )

    def retries_after(self, outcome: str) -> bool:
        """Whether an attempt with this outcome is repeated."""
        return outcome in self.retry_on or (outcome != "ok" and "all" in self.retry_on)


@dataclass(frozen=True)
class Routes:
    """
    The addresses to which requests to the application's public URLs are really sent.

    Both attributes are base URLs, such as ``http://127.0.0.1:8000`` and ``https://voice.example``.
    """

    app_url: str
    public_url: str

    def public(self, path: str) -> str:
        """Return the public URL of a path."""
        return urljoin(self.public_url, path)

    def http(self, url: str) -> str:
        """Return where to send a request for this URL."""
        parts, app = urlsplit(url), urlsplit(self.app_url)
        if not self._is_public(url):
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
        return urlunsplit((app.scheme, app.netloc, parts.path, parts.query, ""))

    def socket_base(self, url: str) -> str | None:
        """Return where to dial a stream's URL, such as ``ws://127.0.0.1:8000``; None for the URL itself."""
        app = urlsplit(self.app_url)
        scheme = {"http": "ws", "https": "wss"}[app.scheme]
        return f"{scheme}://{app.netloc}" if self._is_public(url) else None

    def _is_public(self, url: str) -> bool:
        return self._origin(url) == self._origin(self.public_url)

    @staticmethod
    def _origin(url: str) -> tuple[str | None, int | None]:
        parts = urlsplit(url)
        return parts.hostname, parts.port or _DEFAULT_PORT.get(parts.scheme)


def signed_form(url: str) -> str:
    """Return the URL as Twilio signs it: without fragment and user, and without the port if it is HTTPS."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    if parts.scheme == "https" and parts.port:
        netloc = netloc.rpartition(":")[0]
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


@dataclass(frozen=True)
class CallbackResponse:
    """The response of the application, after all retries and redirects."""

    url: str
    """The URL that responded: the last one, after redirects."""
    status: int = 0
    """The HTTP status; 0 if there was no response."""
    content_type: str = ""
    body: bytes = b""
    error: int | None = None
    """The code that Twilio's debugger shows if the response cannot be used, such as 11200."""


@dataclass
class Delivery:
    """One callback as it was sent."""

    kind: CallbackKind
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    parameters: Mapping[str, str]
    attempts: list[str] = field(default_factory=list)
    """The outcome of each attempt: ``ok``, ``4xx``, ``5xx``, ``ct``, ``rt``, ``http`` or ``tt`` (the time was up)."""
    response: CallbackResponse | None = None
    """Set once the last attempt is over."""


class CallbackSender:
    """
    Sends callbacks as Twilio does, with the faults of ``injections``.

    ``spawn`` starts a background task that may outlive the call, for late requests and extra copies. ``tls`` says how
    certificates are verified; without it, by the authorities that the system trusts.
    """

    def __init__(
        self,
        *,
        routes: Routes,
        auth_token: str,
        injections: Injections,
        spawn: Callable[[Coroutine[Any, Any, CallbackResponse]], object],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.deliveries: list[Delivery] = []
        """Every request that was sent, in order."""
        self._routes = routes
        self._auth_token = auth_token
        self._injections = injections
        self._spawn = spawn
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None  # between `open` and `close`

    async def open(self) -> None:
        """Get ready to send."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Accept": "*/*"},
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        url: str,
        parameters: Mapping[str, str],
        *,
        kind: CallbackKind,
        method: str = "POST",
        cookies: CookiesPerHost | None = None,
    ) -> CallbackResponse:
        """
        Send one callback and return the last response. Never raises because of what the application does.

        ``cookies`` are those of the call; they are updated from the responses.
        """
        cookies = {} if cookies is None else cookies
        token = str(uuid.uuid4())
        fault = self._injections.for_callback(kind, parameters)
        genuine = self._prepare(kind, method, url, parameters, token, None if fault and fault.extra else fault)
        if fault and fault.extra:
            response = await self._deliver(genuine, cookies)
            copy = self._prepare(kind, method, url, parameters, token, fault)
            self._spawn(self._deliver(copy, cookies, delay=fault.delay))
            return response
        delay = fault.delay if fault else 0.0
        if delay and kind not in AWAITED_KINDS:
            self._spawn(self._deliver(genuine, cookies, delay=delay))
            return CallbackResponse(url)
        return await self._deliver(genuine, cookies, delay=delay)

    async def replay(self, delivery: Delivery) -> CallbackResponse:
        """Send an earlier callback again, byte for byte."""
        return await self._deliver(replace(delivery, attempts=[], response=None), {})

    def sign(self, url: str, parameters: Mapping[str, str], signature: Signature = "good") -> str | None:
        """Return the value of ``X-Twilio-Signature``, or None if the request shall have none."""
        url = signed_form(url)
        if signature == "missing":
            return None
        if signature == "other-url":
            url = urljoin(url, "/some/other/path/")
        if (signature == "trailing-slash" or self._injections.trailing_slash) and not url.endswith("/"):
            url += "/"
        token = "not-the-token" if signature == "wrong" else self._auth_token
        value: str = RequestValidator(token).compute_signature(url, parameters)
        return value

    def _prepare(
        self,
        kind: CallbackKind,
        method: str,
        url: str,
        parameters: Mapping[str, str],
        token: str,
        fault: CallbackFault | None,
    ) -> Delivery:
        fault = fault or CallbackFault()
        if fault.call_sid:
            parameters = {**parameters, "CallSid": fault.call_sid}
        body = None
        parts = urlsplit(url)
        if method == "GET":
            query = "&".join(filter(None, (parts.query, urlencode(parameters))))
            url = urlunsplit(parts._replace(query=query))
        elif fault.as_json:
            body = json.dumps(dict(parameters)).encode()
        else:
            body = urlencode(parameters).encode()
        public = urlsplit(self._routes.public_url)
        headers = {
            "Host": fault.host or parts.netloc.rpartition("@")[2],
            "I-Twilio-Idempotency-Token": str(uuid.uuid4()) if fault.new_token else token,
            # The proxy that ends TLS in front of the application adds this one.
            "X-Forwarded-Proto": parts.scheme or public.scheme,
        }
        if body is not None:
            headers["Content-Type"] = (
                "application/json" if fault.as_json else "application/x-www-form-urlencoded; charset=utf-8"
            )
        signature = self.sign(url, {} if body is None or fault.as_json else parameters, fault.signature)
        if signature is not None:
            headers["X-Twilio-Signature"] = signature
        return Delivery(kind, method, url, headers, body, parameters)

    async def _deliver(self, delivery: Delivery, cookies: CookiesPerHost, *, delay: float = 0.0) -> CallbackResponse:
        if delay:
            await asyncio.sleep(delay)
        self.deliveries.append(delivery)
        overrides = Overrides.parse(delivery.url)
        response = CallbackResponse(delivery.url, error=11200)
        try:
            async with asyncio.timeout(overrides.total_timeout):
                for _ in range(1 + overrides.retries):
                    outcome, response = await self._attempt(delivery, overrides, cookies)
                    delivery.attempts.append(outcome)
                    if not overrides.retries_after(outcome):
                        break
        except TimeoutError:
            delivery.attempts.append("tt")
        delivery.response = response
        return response

    async def _attempt(
        self, delivery: Delivery, overrides: Overrides, cookies: CookiesPerHost
    ) -> tuple[str, CallbackResponse]:
        """Send once. Return the outcome in Twilio's words, and the response."""
        try:
            response = await self._request(delivery, overrides, cookies)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return "ct", CallbackResponse(delivery.url, error=11205)
        except (aiohttp.SocketTimeoutError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return "rt", CallbackResponse(delivery.url, error=11200)
        except (aiohttp.ClientError, ValueError):
            return "http", CallbackResponse(delivery.url, error=11206)
        outcome = {4: "4xx", 5: "5xx"}.get(response.status // 100, "ok")
        return outcome, response

    async def _request(self, delivery: Delivery, overrides: Overrides, cookies: CookiesPerHost) -> CallbackResponse:
        """Send once; follow redirects, and log in if the application asks for it and the URL has a user."""
        assert self._session is not None, "open() was not called"
        method, url, body, headers = delivery.method, delivery.url, delivery.body, dict(delivery.headers)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=overrides.connect_timeout, sock_read=overrides.read_timeout
        )
        for _ in range(MAX_REDIRECTS):
            host = urlsplit(url).hostname or ""
            target = self._routes.http(url)
            async with self._session.request(
                method,
                URL(target, encoded=True),
                data=body,
                headers=headers,
                cookies=cookies.get(host),
                allow_redirects=False,
                timeout=timeout,
                # The certificate is that of the public host, wherever the connection goes.
                server_hostname=host if target.startswith("https:") else None,
            ) as http:
                content = await _read(http)
                _update_cookies(cookies.setdefault(host, {}), http.cookies)
                error = None if http.ok and http.status < 300 else 11200
                response = CallbackResponse(url, http.status, http.content_type, content, error)
                user = urlsplit(url)
                if http.status == 401 and user.username and "Authorization" not in headers:
                    headers["Authorization"] = aiohttp.encode_basic_auth(user.username, user.password or "")
                    continue
                if http.status not in (301, 302, 303, 307, 308) or "Location" not in http.headers:
                    return response
                url = urljoin(url, http.headers["Location"])
                if http.status < 307:
                    method, body = "GET", None
                    headers.pop("Content-Type", None)
                headers["Host"] = urlsplit(url).netloc
                if "X-Twilio-Signature" in headers:
                    headers["X-Twilio-Signature"] = self.sign(url, delivery.parameters if body else {}) or ""
        return CallbackResponse(url, error=11215)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_RESPONSE_BYTES:
            break
    return bytes(content)


def _update_cookies(jar: dict[str, str], received: SimpleCookie) -> None:
    for name, morsel in received.items():
        if morsel["max-age"] == "0" or not morsel.value:
            jar.pop(name, None)
        else:
            jar[name] = morsel.value
