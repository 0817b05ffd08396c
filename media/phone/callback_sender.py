"""
Twilio's webhook sender: how a request to the application is addressed, signed, repeated and given up.

The application's URLs are known to Twilio by their public form. That form is signed; the TCP connection goes to
the machine under test (``Routes``).
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit, urlunsplit

import aiohttp
from twilio.request_validator import RequestValidator
from yarl import URL

from media.phone.injections import CallbackFault, CallbackKind, Injections, Signature

USER_AGENT = "TwilioProxy/1.1"
LONGEST = 15.0  # seconds; no setting makes a call-related request last longer
MOST_REDIRECTS = 10
LARGEST_ANSWER_BYTES = 1 << 20  # past the 64 kB that TwiML may have, so that its excess can still be reported
AWAITED_KINDS = (
    "voice",
    "action",
)  # the kinds whose answer the call waits for; a late one of the others delays nothing
_DEFAULT_PORT = {"https": 443, "wss": 443, "http": 80, "ws": 80}
CookiesPerHost = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Overrides:
    """What the fragment of a webhook's URL asks for, in seconds; out of range means the nearest allowed value."""

    connect_timeout: float = 5.0
    read_timeout: float = 15.0
    total_timeout: float = LONGEST
    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})

    @classmethod
    def parse(cls, url: str) -> Overrides:
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
        return outcome in self.retry_on or (outcome != "ok" and "all" in self.retry_on)


@dataclass(frozen=True)
class Routes:
    """Where a public URL really leads. Two bases, such as ``http://127.0.0.1:8000`` and ``https://voice.example``."""

    app_url: str
    public_url: str

    def public(self, path: str) -> str:
        return urljoin(self.public_url, path)

    def http(self, url: str) -> str:
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
    """Return the URL as Twilio signs it: no fragment, no user, and over HTTPS no port."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    if parts.scheme == "https" and parts.port:
        netloc = netloc.rpartition(":")[0]
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


@dataclass(frozen=True)
class CallbackResponse:
    """What came back, after all retries. ``error`` is the debugger's code if it is unusable, ``status`` 0 if none."""

    url: str
    status: int = 0
    content_type: str = ""
    body: bytes = b""
    error: int | None = None


@dataclass
class Delivery:
    """One request as it went out, ``answer`` once there is one and what came of each attempt."""

    kind: CallbackKind
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    parameters: Mapping[str, str]
    attempts: list[str] = field(default_factory=list)
    answer: CallbackResponse | None = None

    @property
    def token(self) -> str:
        return self.headers["I-Twilio-Idempotency-Token"]


class CallbackSender:
    """
    Sends what Twilio sends. ``deliveries`` keeps every request, in the order in which they left.

    ``spawn`` starts a background task that outlives the call which asked for it (late and extra copies).
    """

    def __init__(
        self, *, routes: Routes, auth_token: str, injections: Injections, spawn: Callable[..., object]
    ) -> None:
        self.deliveries: list[Delivery] = []
        self._routes = routes
        self._validator = RequestValidator(auth_token)
        self._injections = injections
        self._spawn = spawn
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Accept": "*/*"},
            auto_decompress=True,
            trust_env=False,
        )

    async def close(self) -> None:
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
        Deliver one webhook and return its last answer. Never raises for what the application does.

        ``cookies`` is the call's jar and is kept up to date.
        """
        cookies = {} if cookies is None else cookies
        token = str(uuid.uuid4())
        fault = self._injections.for_callback(kind, parameters)
        genuine = self._prepare(kind, method, url, parameters, token, None if fault and fault.extra else fault)
        if fault and fault.extra:
            answer = await self._deliver(genuine, cookies)
            copy = self._prepare(kind, method, url, parameters, token, fault)
            self._spawn(self._deliver(copy, cookies, delay=fault.delay))
            return answer
        delay = fault.delay if fault else 0.0
        if delay and kind not in AWAITED_KINDS:
            self._spawn(self._deliver(genuine, cookies, delay=delay))
            return CallbackResponse(url)
        return await self._deliver(genuine, cookies, delay=delay)

    async def replay(self, delivery: Delivery) -> CallbackResponse:
        """Send an earlier request again, byte for byte."""
        return await self._deliver(
            Delivery(
                delivery.kind, delivery.method, delivery.url, delivery.headers, delivery.body, delivery.parameters
            ),
            {},
        )

    def sign(self, url: str, parameters: Mapping[str, str], signature: Signature = "good") -> str | None:
        """Return the value of ``X-Twilio-Signature``, None where it shall be missing."""
        url = signed_form(url)
        if signature == "missing":
            return None
        if signature == "wrong":
            return RequestValidator("not-the-token").compute_signature(url, parameters)
        if signature == "other-url":
            url = urljoin(url, "/some/other/path/")
        if (signature == "trailing-slash" or self._injections.trailing_slash) and not url.endswith("/"):
            url += "/"
        return self._validator.compute_signature(url, parameters)

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
            # What the proxy that ends TLS in front of the application adds.
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
        answer = CallbackResponse(delivery.url, error=11200)
        try:
            async with asyncio.timeout(overrides.total_timeout):
                for _ in range(1 + overrides.retries):
                    outcome, answer = await self._attempt(delivery, overrides, cookies)
                    delivery.attempts.append(outcome)
                    if not overrides.retries_after(outcome):
                        break
        except TimeoutError:
            delivery.attempts.append("tt")
        delivery.answer = answer
        return answer

    async def _attempt(
        self, delivery: Delivery, overrides: Overrides, cookies: CookiesPerHost
    ) -> tuple[str, CallbackResponse]:
        try:
            answer = await self._exchange(delivery, overrides, cookies)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return "ct", CallbackResponse(delivery.url, error=11205)
        except (aiohttp.SocketTimeoutError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return "rt", CallbackResponse(delivery.url, error=11200)
        except (aiohttp.ClientError, ValueError):
            return "http", CallbackResponse(delivery.url, error=11206)
        outcome = {4: "4xx", 5: "5xx"}.get(answer.status // 100, "ok")
        return outcome, answer

    async def _exchange(self, delivery: Delivery, overrides: Overrides, cookies: CookiesPerHost) -> CallbackResponse:
        """Make one attempt, with the redirects and the login that it takes."""
        assert self._session is not None, "open() was not called"
        method, url, body, headers = delivery.method, delivery.url, delivery.body, dict(delivery.headers)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=overrides.connect_timeout, sock_read=overrides.read_timeout
        )
        for _ in range(MOST_REDIRECTS):
            host = urlsplit(url).hostname or ""
            async with self._session.request(
                method,
                URL(self._routes.http(url), encoded=True),
                data=body,
                headers=headers,
                cookies=cookies.get(host),
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                content = await _read(response)
                _keep(response.cookies, cookies.setdefault(host, {}))
                answer = CallbackResponse(
                    url,
                    response.status,
                    response.content_type,
                    content,
                    error=None if response.ok and response.status < 300 else 11200,
                )
                user = urlsplit(url)
                if response.status == 401 and user.username and "Authorization" not in headers:
                    headers["Authorization"] = aiohttp.encode_basic_auth(user.username, user.password or "")
                    continue
                if response.status not in (301, 302, 303, 307, 308) or "Location" not in response.headers:
                    return answer
                url = urljoin(url, response.headers["Location"])
                if response.status < 307:
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
        if len(content) > LARGEST_ANSWER_BYTES:
            break
    return bytes(content)


def _keep(received: SimpleCookie, jar: dict[str, str]) -> None:
    for name, morsel in received.items():
        if morsel["max-age"] == "0" or not morsel.value:
            jar.pop(name, None)
        else:
            jar[name] = morsel.value
