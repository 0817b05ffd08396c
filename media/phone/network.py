"""
The telephone network: numbers, calls, and an account at a carrier that behaves as Twilio does.

    async with PhoneNetwork(app_url="http://127.0.0.1:8000", public_url="https://voice.example") as network:
        call = await network.call_in(party, from_number="+15005550100", to_number="+15005550006")
        end = await call.wait()

The application's own calls come in over ``rest_url``; ``on_dial`` says who answers them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, TypeVar

from media.phone.answering import Answerer, CarrierTiming, Outcome
from media.phone.call_request import MAX_CALL_SECONDS, Callback, CallRequest, Program
from media.phone.callback_sender import CallbackSender, Delivery, Routes
from media.phone.gateway import Gateway
from media.phone.injections import Injections
from media.phone.leg import PhoneCall
from media.phone.party import Party
from media.phone.rest import RestApi
from media.phone.tape import Tape
from media.phone.twilio_errors import Alert

T = TypeVar("T")

ACCOUNT_SID = "AC00000000000000000000000000000001"
AUTH_TOKEN = "simulated-auth-token"
SHUTDOWN_TIMEOUT = 10.0  # seconds for calls to end and callbacks to be delivered


class DialQueue:
    """A token bucket: how long a call created now waits before it is dialled. Pure."""

    def __init__(self, *, calls_per_second: float, burst: int = 1) -> None:
        self._interval = 1.0 / calls_per_second
        self._slack = (burst - 1) * self._interval
        self._next = float("-inf")

    def reserve(self, now: float) -> float:
        """Take the next place and return the seconds until its turn."""
        start = max(now - self._slack, self._next)
        self._next = start + self._interval
        return max(0.0, start - now)


class PhoneNetwork:
    """
    Everything between the application and the people on the phone.

    ``app_url`` is where the application really listens, ``public_url`` what Twilio was told: it is signed, and URLs of
    that host are sent to ``app_url``. ``gateway_factory(party, tape)`` makes the media gateway of each call.
    ``say`` renders ``<Say>`` as mu-law audio (it runs in a thread); without it, text only takes its time. One folder
    per call is made in ``tape_directory``. The REST API listens on ``rest_host`` and ``rest_port``, 0 for any free one.

    ``deliveries`` and ``alerts`` list all webhooks sent and what Twilio's debugger would show. ``caller_ids`` limits
    ``From`` (21210), ``concurrent_calls`` live calls (10004), ``refusals`` refuses numbers with a code. ``on_call`` is
    told of every call that begins, for whoever wants to watch.
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
        say: Callable[[str], bytes] | None = None,
        rest_host: str = "127.0.0.1",
        rest_port: int = 0,
    ) -> None:
        self.account_sid, self.auth_token, self.strict = account_sid, auth_token, strict
        self.injections = injections or Injections()
        self.timing = timing or CarrierTiming()
        self.random = Random(seed)
        self.routes = Routes(app_url, public_url or app_url)
        self.say = say
        self.rest_url = ""
        self.calls: dict[str, PhoneCall] = {}
        self.alerts: list[Alert] = []
        self.caller_ids: set[str] | None = None
        self.concurrent_calls: int | None = None
        self.refusals: dict[str, int] = {}
        self.on_call: Callable[[PhoneCall], None] | None = None
        self.sender = CallbackSender(
            routes=self.routes, auth_token=auth_token, injections=self.injections, spawn=self.spawn
        )
        self.rest = RestApi(self, host=rest_host, port=rest_port)
        self._queue = DialQueue(calls_per_second=calls_per_second)
        self._answerers: dict[str, Answerer] = {}
        self._tape_directory = tape_directory
        self._gateway_factory = gateway_factory
        self._tasks: set[asyncio.Task[Any]] = set()

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
        """Hang up every call, wait for what is under way, then let go of the rest (late callbacks)."""
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

    @property
    def deliveries(self) -> list[Delivery]:
        return self.sender.deliveries

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
        Let somebody call the application. Returns at once; ``PhoneCall.wait`` follows the call.

        ``parameters`` are further ones of the request (``ForwardedFrom``, ``CallToken``, ``CallerName``).
        """
        request = CallRequest(
            to_number=to_number,
            from_number=from_number,
            program=Program(
                url=self.routes.public(voice_path),
                fallback_url=self.routes.public(fallback_path) if fallback_path else None,
            ),
            callback=Callback(self.routes.public(status_path)),
            time_limit=MAX_CALL_SECONDS,
        )
        attested = {"StirVerstat": "TN-Validation-Passed-A"} if from_number.startswith("+") else {}
        call = PhoneCall(self, request, direction="inbound", party=party, parameters={**attested, **(parameters or {})})
        return self._begin(call)

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
        Say who answers when this number is dialled. Unknown numbers fail with SIP 404.

        ``*01`` stands for every number that ends so, ``*`` for every other; the longest ending wins. It rings for
        ``after`` seconds (before scaling; random by default). ``answered_by`` is what machine detection finds;
        ``machine`` means the usual verdict of its mode. The end of its message is found ``beep_after`` seconds after
        the answer (real ones, as it is heard on the stream; by default as soon as any other verdict).
        """
        self._answerers[number] = Answerer(answer, after, answered_by, beep_after)

    async def replay(self, delivery: Delivery) -> int:
        """Send an earlier webhook again, byte for byte, and return the status of the answer."""
        return (await self.sender.replay(delivery)).status

    async def wait_until_idle(self) -> None:
        """Return once nothing is under way: calls are over, late copies and recording callbacks were delivered."""
        current = asyncio.current_task()
        while tasks := self._tasks - {current}:
            await asyncio.wait(tasks)

    # -- what calls and the REST API need ---------------------------------------------------------

    def place(self, request: CallRequest) -> PhoneCall:
        """Put a call ordered over REST into the dialling queue."""
        wait = self._queue.reserve(time.monotonic())
        return self._begin(PhoneCall(self, request, direction="outbound-api", queue_time=wait))

    def child(self, parent: PhoneCall, request: CallRequest) -> PhoneCall:
        """Start a leg of ``<Dial>``; these do not queue."""
        return self._begin(PhoneCall(self, request, direction="outbound-dial", parent=parent))

    def answerer(self, number: str) -> Answerer:
        if number in self._answerers:
            return self._answerers[number]
        endings = [name for name in self._answerers if name.startswith("*") and number.endswith(name[1:])]
        nobody = Answerer(lambda: Outcome.failed(404))
        return self._answerers[max(endings, key=len)] if endings else nobody

    def gateway(self, party: Party, tape: Tape) -> Gateway:
        if self._gateway_factory is not None:
            return self._gateway_factory(party, tape)
        return Gateway(party, tape=tape, strict=self.strict, sign_trailing_slash=self.injections.trailing_slash)

    def tape(self, call_sid: str) -> Tape:
        return Tape(self._tape_directory / call_sid if self._tape_directory else None)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
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
