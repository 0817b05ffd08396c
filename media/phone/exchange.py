"""What one leg of a call needs of the network that it is part of, and what the parts of a leg need of the leg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Protocol, TypeVar

from media.phone.answering import Answerer, CarrierTiming
from media.phone.call_request import CallRequest, Program
from media.phone.callback_sender import CallbackSender, Routes
from media.phone.gateway import Gateway
from media.phone.injections import Injections
from media.phone.leg_audio import LegAudio
from media.phone.party import Party
from media.phone.tape import Tape
from media.phone.twilio_errors import Alert, TwilioError

Direction = Literal["inbound", "outbound-api", "outbound-dial"]
Status = Literal["queued", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"]
FINAL_STATUSES: frozenset[Status] = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})

T = TypeVar("T")


@dataclass(frozen=True)
class CallEnd:
    """How a call ended, after ``duration`` seconds of connection (0 if it was never answered)."""

    status: Status
    ended_by: str
    """``caller``, ``app`` (over REST), ``twiml``, ``time-limit``, ``phone`` (the simulation failed), or the outcome."""
    duration: float
    sip_code: int


@dataclass(frozen=True)
class CallChange:
    """Something that happens to a call from outside: it gets a new program, or it ends."""

    by: str
    """Who changes the call, in the words of ``CallEnd.ended_by``."""
    program: Program | None = None
    """The TwiML that replaces the present one; None if the call ends."""
    status: Status | None = None
    """The final status, where it is not the usual one (``completed``, or ``no-answer`` before the answer)."""
    sip_code: int | None = None


class Exchange(Protocol):
    """What a leg needs of the network that it is part of."""

    account_sid: str
    auth_token: str
    routes: Routes
    sender: CallbackSender
    timing: CarrierTiming
    injections: Injections
    random: Random
    alerts: list[Alert]
    render_say: Callable[[str], bytes] | None

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]: ...

    def gateway(self, party: Party, tape: Tape) -> Gateway: ...

    def tape(self, call_sid: str) -> Tape: ...

    def answerer(self, number: str) -> Answerer: ...

    def child(self, parent: Leg, request: CallRequest) -> Leg: ...


class Leg(Protocol):
    """
    One leg of a call, as its parts and a leg bridged to it see it.

    ``PhoneCall`` implements it and explains the attributes.
    """

    sid: str
    request: CallRequest
    direction: Direction
    parent: Leg | None
    status: Status
    audio: LegAudio
    gateway: Gateway | None
    ready: asyncio.Future[bool]
    ended: asyncio.Event
    over: asyncio.Future[CallEnd]

    @property
    def seconds(self) -> float: ...

    async def answer(self) -> None: ...

    def hang_up(self) -> None: ...

    def change(self, change: CallChange) -> None: ...

    def fail(self, error: Exception) -> None: ...

    def log(self, event: str, **fields: Any) -> None: ...

    def alert(self, error: TwilioError) -> None: ...
