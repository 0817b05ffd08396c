"""
The telephone network: numbers, calls, and an account at a carrier that behaves as Twilio does.

    async with PhoneNetwork(app_url="http://127.0.0.1:8000", public_url="https://voice.example") as network:
        call = await network.call_in(party, from_number="+15005550100", to_number="+15005550006")
        end = await call.wait()

The application places its own calls over ``rest_url``; ``on_dial`` registers who answers them.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from media.errors import MediaError
from media.phone.answering import Answerer, CarrierTiming, Outcome
from media.phone.call_request import Callback, CallRequest, Program
from media.phone.callback_sender import CallbackSender, Routes
from media.phone.gateway import Gateway
from media.phone.injections import Injections
from media.phone.leg import PhoneCall
from media.phone.party import Party
from media.phone.rest import RestApi
from media.phone.rest_account import SimulatedAccount
from media.phone.tape import Tape
from media.phone.twilio_errors import Alert

T = TypeVar("T")

ACCOUNT_SID = "AC00000000000000000000000000000001"
AUTH_TOKEN = "simulated-auth-token"
SHUTDOWN_TIMEOUT = 10.0
"""Seconds that calls have to end and their callbacks to be delivered before the network is closed all the same."""


class DialQueue:
    """A token bucket: how long a call created now waits before it is dialled. Without I/O."""

    def __init__(self, *, calls_per_second: float, burst: int = 1) -> None:
        self._interval = 1.0 / calls_per_second
        self._slack = (burst - 1) * self._interval
        self._next = float("-inf")  # when the next call may be dialled

    def reserve(self, now: float) -> float:
        """Reserve the next turn and return the seconds until it comes."""
        start = max(now - self._slack, self._next)
        self._next = start + self._interval
        return max(0.0, start - now)


class PhoneNetwork:
    """
    Everything between the application and the people on the phone. Use it as an asynchronous context manager.

    - ``app_url``: where the application really listens.
    - ``public_url``: the address that Twilio knows. It is signed, and requests to its host are sent to ``app_url``.
    - ``tape_directory``: where each call gets a folder for its tape; without one, tapes keep no sound.
    - ``strict``: whether a message that Twilio would only warn of makes the call fail.
    - ``gateway_factory``: makes the media gateway of each call, from its party and its tape.
    - ``render_say``: turns the text of ``<Say>`` into mu-law audio, in a thread; without it, ``<Say>`` only takes time.
    - ``ca_file``: the certificate of an authority that the application's certificate is from, beside the usual ones.
    - ``rest_host``, ``rest_port``: where the REST API listens; port 0 stands for any free one.
    """

    def __init__(
        self,
        *,
        app_url: str,
        public_url: str | None = None,
        account_sid: str = ACCOUNT_SID,
        auth_token: str = AUTH_TOKEN,
        tape_directory: Path | None = None,
        calls_per_second: float = 1.0,
        injections: Injections | None = None,
        seed: int = 0,
        strict: bool = True,
        timing: CarrierTiming | None = None,
        gateway_factory: Callable[[Party, Tape], Gateway] | None = None,
        render_say: Callable[[str], bytes] | None = None,
        ca_file: Path | None = None,
        rest_host: str = "127.0.0.1",
        rest_port: int = 0,
    ) -> None:
        self.account_sid, self.auth_token, self.strict = account_sid, auth_token, strict
        self.account = SimulatedAccount(account_sid, auth_token)
        """What the account has beside its calls: numbers, a balance, permissions."""
        self.injections = injections or Injections()
        self.timing = timing or CarrierTiming()
        self.random = Random(seed)
        self.routes = Routes(app_url, public_url or app_url)
        self.render_say = render_say
        self.tls = _trusting(ca_file) if ca_file else None
        """How the application's certificate is verified; None: by the authorities that the system trusts."""
        self.rest_url = ""
        """The base URL of the REST API; set when the network is entered."""
        self.calls: dict[str, PhoneCall] = {}
        """Every call and every leg of ``<Dial>`` by its SID, the oldest first. None is removed."""
        self.alerts: list[Alert] = []
        """The lines that Twilio's debugger would show."""
        self.caller_ids: set[str] | None = None
        """The numbers that the account may call from (21210 for others); None allows all."""
        self.concurrent_calls: int | None = None
        """The number of live calls that the account may have (10004 beyond); None sets no limit."""
        self.refusals: dict[str, int] = {}
        """Numbers that REST refuses to call, with the error code."""
        self.on_call: Callable[[PhoneCall], None] | None = None
        """Called with each call and leg that begins."""
        self.sender = CallbackSender(
            routes=self.routes, auth_token=auth_token, injections=self.injections, spawn=self.spawn, tls=self.tls
        )
        self.rest = RestApi(self, host=rest_host, port=rest_port)
        self._queue = DialQueue(calls_per_second=calls_per_second)
        self._answerers: dict[str, Answerer] = {}  # by number, or by `*` and how it ends
        self._tape_directory = tape_directory
        self._gateway_factory = gateway_factory
        self._tasks: set[asyncio.Task[object]] = set()  # calls, and callbacks under way

    async def __aenter__(self) -> PhoneNetwork:
        await self.sender.open()
        try:
            self.rest_url = await self.rest.open()
        except OSError:
            await self.sender.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Hang up every call, wait for what is under way, then cancel the rest (late callbacks)."""
        for call in self.calls.values():
            call.hang_up()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SHUTDOWN_TIMEOUT)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.rest.close()
        await self.sender.close()

    async def call_in(
        self,
        party: Party,
        *,
        from_number: str,
        to_number: str,
        voice_path: str = "/twilio/voice/",
        status_path: str = "/twilio/status/",
        fallback_path: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> PhoneCall:
        """
        Call the application. Returns at once; ``PhoneCall.wait`` returns when the call is over.

        ``parameters`` are added to each request (``ForwardedFrom``, ``CallToken``, ``CallerName``).
        """
        request = CallRequest(
            to_number=to_number,
            from_number=from_number,
            program=Program(
                url=self.routes.public(voice_path),
                fallback_url=self.routes.public(fallback_path) if fallback_path else None,
            ),
            callback=Callback(self.routes.public(status_path)),
        )
        attested = {"StirVerstat": "TN-Validation-Passed-A"} if from_number.startswith("+") else {}
        extra = {**attested, **(parameters or {})}
        return self._begin(PhoneCall(self, request, direction="inbound", party=party, extra_parameters=extra))

    def on_dial(
        self,
        number: str,
        answer: Callable[[], Party | Outcome],
        *,
        after: float | None = None,
        answered_by: str = "human",
        beep_after: float | None = None,
    ) -> None:
        """
        Register who answers when this number is dialled. Other numbers fail with SIP 404.

        ``*01`` stands for every number that ends in 01 and ``*`` for every number; the longest ending that fits wins.
        ``answer`` is called for each call. The other arguments are those of ``Answerer``.
        """
        self._answerers[number] = Answerer(answer, after, answered_by, beep_after)

    async def wait_until_idle(self) -> None:
        """Return once all calls are over and everything was delivered, late copies and recording callbacks included."""
        current = asyncio.current_task()
        while tasks := self._tasks - {current}:
            await asyncio.wait(tasks)

    # -- what calls and the REST API need ---------------------------------------------------------

    def place(self, request: CallRequest) -> PhoneCall:
        """Put a call that REST asked for into the dialling queue."""
        wait = self._queue.reserve(time.monotonic())
        return self._begin(PhoneCall(self, request, direction="outbound-api", queue_time=wait))

    def child(self, parent: PhoneCall, request: CallRequest) -> PhoneCall:
        """Start a leg of ``<Dial>``. These do not wait in the queue."""
        return self._begin(PhoneCall(self, request, direction="outbound-dial", parent=parent))

    def answerer(self, number: str) -> Answerer:
        """Return who answers this number."""
        if number in self._answerers:
            return self._answerers[number]
        endings = [name for name in self._answerers if name.startswith("*") and number.endswith(name[1:])]
        unknown = Answerer(lambda: Outcome.failed(404))
        return self._answerers[max(endings, key=len)] if endings else unknown

    def gateway(self, party: Party, tape: Tape) -> Gateway:
        """Make the media gateway of a call."""
        if self._gateway_factory is not None:
            return self._gateway_factory(party, tape)
        return Gateway(party, tape=tape, strict=self.strict, sign_trailing_slash=self.injections.trailing_slash)

    def tape(self, call_sid: str) -> Tape:
        """Make the tape of a call."""
        return Tape(self._tape_directory / call_sid if self._tape_directory else None)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something that may outlive the call that asked for it, and keep a reference to its task."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self, call: PhoneCall) -> PhoneCall:
        self.calls[call.sid] = call
        if self.on_call is not None:
            self.on_call(call)
        self.spawn(call.run())
        return call


def _trusting(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise MediaError(f"{ca_file} cannot be read as the certificate of an authority (PEM): {error}.") from error
    return context


async def is_listening(url: str) -> bool:
    """Return whether the host of this URL accepts TCP connections on its port."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
