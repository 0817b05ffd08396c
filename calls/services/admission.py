"""Ways in: a call arrives, its stream opens, is lost, is opened again."""

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from calls.models import Agent, Call, StreamToken
from calls.services import attempts, webhooks
from calls.services.records import clean, fact_id_of, find_call, move, write_event
from calls.services.slots import hold_slot_for_stream, occupy_slot, take_slot
from calls.status import TERMINAL, Status
from calls.variables import fill, placeholders

logger = logging.getLogger(__name__)

MAX_STREAMS = 3
"""Streams of one call: the first, and two reconnects. A line that drops a third time will drop a fourth."""
_RESUMABLE = frozenset(("", "stream-lost", "drain", "transfer-failed"))


class Verdict(StrEnum):
    CONNECT = "connect"
    BUSY = "busy"
    """Every slot is taken."""
    UNATTENDED = "unattended"
    """No active agent answers this number."""
    OVER = "over"
    """The call has ended already; the request is late."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What to answer to a new call. ``token`` opens stream number ``stream``; empty unless ``CONNECT``."""

    verdict: Verdict
    call_id: UUID | None = None
    token: str = ""
    stream: int = 1


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """An agent as it was when the stream opened, its lines filled with the call's variables."""

    name: str
    prompt: str
    greeting: str
    greeting_interruptible: bool
    voice: str
    language: str
    max_duration: float
    record: bool
    disclosure: str
    opt_out_key: str
    hears_opt_out: bool
    transfer_targets: tuple[str, ...]
    lasting: tuple[str, ...] = ()
    """Of greeting and disclosure, what is the same on every call: it says nothing of anybody, and may be kept."""


@dataclass(frozen=True, slots=True)
class StreamClaim:
    """
    A stream that may open, and what its session needs to know.

    ``history`` holds (speaker, heard) of the turns before a reconnect, in order; ``next_turn`` goes on counting them.
    """

    call_id: UUID
    sid: str
    stream: int
    direction: str
    agent: AgentSettings
    from_number: str
    to_number: str
    history: tuple[tuple[str, str], ...]
    next_turn: int
    is_reconnect: bool
    seconds_used: float
    """Of the agent's ``max_duration``, by earlier streams of the call."""
    disclosed: bool
    """The disclosure was heard on an earlier stream."""
    transfer_failed: bool
    """The caller comes back from a transfer that nobody answered."""


def receive_call(
    *, sid: str, from_number: str, to_number: str, account_sid: str, params: Mapping[str, str], attempt_id: str = ""
) -> Admission:
    """
    A call wants its TwiML: an inbound one that rings, or an outbound one that was answered.

    Idempotent by ``sid``. A repeated request gets a fresh token for the same first stream, because Twilio
    may act on either answer; whichever is used first opens the stream and the other is then worthless.
    """
    now = timezone.now()
    if attempt_id:
        attempt = attempts.find_attempt(attempt_id=attempt_id)
        if attempt is None or not attempts.adopt_sid(attempt, sid):
            logger.error("Call %s was answered, but we did not dial it (attempt %.64s)", sid, attempt_id)
            return Admission(Verdict.OVER)
        attempts.move_attempt(attempt, attempts.Outcome(Status.IN_PROGRESS, at=now))
        call = Call.objects.get(pk=attempt.call_id)
        if attempt.status in TERMINAL or call.attempts_made != attempt.number or call.canceled_at is not None:
            return Admission(Verdict.OVER, call.pk)
        return _admit(call, now, {**params, "AccountSid": account_sid})
    outbound = params.get("Direction", "").startswith("outbound")
    agent = _agent_for(clean(from_number if outbound else to_number))
    if agent is None:
        logger.warning("Call %s to %s refused: no active agent answers that number", sid, to_number)
        return Admission(Verdict.UNATTENDED)
    with transaction.atomic():
        call, _ = Call.objects.get_or_create(
            sid=sid,
            defaults={
                "direction": Call.Direction.OUTBOUND if outbound else Call.Direction.INBOUND,
                "status": Status.RINGING,
                "from_number": clean(from_number)[:128],
                "to_number": clean(to_number)[:128],
                "agent": agent,
            },
        )
        if outbound:
            move(call, Status.IN_PROGRESS, at=now)
    return _admit(call, now, {**params, "AccountSid": account_sid})


def _admit(call: Call, now: datetime, params: Mapping[str, str]) -> Admission:
    with transaction.atomic():
        write_event(fact_id_of("voice", call.sid or ""), call.pk, "voice-request", now, params)
        if call.status in TERMINAL:
            return Admission(Verdict.OVER, call.pk)
        if not take_slot(call, now):
            if call.streams == 0:
                Call.objects.filter(pk=call.pk, streams=0).update(end_reason="refused")
            data = {"limit": settings.MAX_LIVE_CALLS}
            write_event(fact_id_of("refused", call.sid or ""), call.pk, "refused", now, data)
            logger.warning("Call %s refused: all %d slots are taken", call, settings.MAX_LIVE_CALLS)
            return Admission(Verdict.BUSY, call.pk)
        Call.objects.filter(pk=call.pk, end_reason="refused").update(end_reason="")
        return Admission(Verdict.CONNECT, call.pk, _mint_token(call, stream=1, now=now))


def claim_stream(*, token: str, process: str, channel: str = "") -> StreamClaim | None:
    """
    Spend a token for the stream that it opens; ``None`` if it is unknown, spent, late, or for a stream of the past.

    Two claims of one stream, with one token or with two, cannot both succeed.
    """
    now = timezone.now()
    with transaction.atomic():
        row = StreamToken.objects.select_related("call__agent").filter(digest=_digest(token)).first()
        if row is None or not StreamToken.objects.filter(pk=row.pk, used_at=None, expires_at__gt=now).update(
            used_at=now
        ):
            logger.warning("Media socket refused: token %s", "unknown" if row is None else "spent or expired")
            return None
        call = row.call
        live = Call.objects.filter(pk=call.pk, streams__lt=row.stream).exclude(status__in=TERMINAL)
        if not live.update(streams=row.stream, process=process, channel=channel, end_reason="", stream_sid=""):
            logger.warning("Media socket refused: stream %d of call %s was opened before or is over", row.stream, call)
            return None
        occupy_slot(call, now, stream=row.stream, process=process)
        turns = list(call.turns.values_list("speaker", "heard", "number"))
        disclosed = call.events.filter(kind="disclosed").exists()
    agent = call.agent
    outbound = call.direction == Call.Direction.OUTBOUND
    return StreamClaim(
        call_id=call.pk,
        sid=call.sid or "",
        stream=row.stream,
        direction=call.direction,
        agent=AgentSettings(
            name=agent.name,
            prompt=fill(agent.prompt, call.variables),
            greeting=fill(agent.greeting, call.variables),
            greeting_interruptible=agent.greeting_interruptible,
            voice=agent.voice,
            language=agent.language,
            max_duration=float(call.duration_limit),
            record=call.is_recorded,
            disclosure=fill(agent.disclosure, call.variables),
            opt_out_key=agent.opt_out_key,
            hears_opt_out=outbound or bool(agent.opt_out_key),
            transfer_targets=tuple(agent.transfer_targets),
            lasting=tuple(text for text in (agent.greeting, agent.disclosure) if text and not placeholders(text)),
        ),
        from_number=call.from_number,
        to_number=call.to_number,
        history=tuple((speaker, heard) for speaker, heard, _ in turns if heard),
        next_turn=max((number for *_, number in turns), default=0) + 1,
        is_reconnect=call.streams > 0,
        seconds_used=(now - call.answered_at).total_seconds() if call.answered_at else 0.0,
        disclosed=disclosed,
        transfer_failed=call.end_reason == "transfer-failed",
    )


def confirm_stream(*, call_id: UUID | str, call_sid: str, stream_sid: str, account_sid: str) -> bool:
    """The socket's ``start`` message: whether it speaks for the call that its token was made for, on our account."""
    if account_sid == settings.TWILIO_ACCOUNT_SID and Call.objects.filter(pk=call_id, sid=call_sid).update(
        stream_sid=stream_sid
    ):
        return True
    logger.warning("Media socket of call %s refused: its start names call %s of %s", call_id, call_sid, account_sid)
    return False


def _agent_for(number: str) -> Agent | None:
    agents = Agent.objects.filter(active=True)
    return agents.filter(phone_number=number).exclude(phone_number="").first() or (
        agents.filter(phone_number="").order_by("created_at", "pk").first()
    )


def _mint_token(call: Call, *, stream: int, now: datetime) -> str:
    token = secrets.token_urlsafe(24)
    StreamToken.objects.create(
        call=call,
        stream=stream,
        digest=_digest(token),
        expires_at=now + timedelta(seconds=settings.STREAM_TOKEN_TTL),
    )
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Next(StrEnum):
    HANG_UP = "hang-up"
    APOLOGISE = "apologise"
    """The engines failed: say so, then hang up."""
    GIVE_UP = "give-up"
    """The line dropped too often, or every slot is taken: say so, then hang up."""
    RECONNECT = "reconnect"
    TRANSFER = "transfer"
    """Dial ``number`` as ``caller_id``, and ask again if nobody answers there."""
    NOBODY_THERE = "nobody-there"
    """The transfer failed: say so, then as ``RECONNECT``."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What follows a stream. ``token`` opens stream number ``stream``; empty unless there is to be one."""

    next: Next
    token: str = ""
    stream: int = 0
    number: str = ""
    caller_id: str = ""


def after_stream(*, sid: str, stream: int) -> Continuation:
    """
    Stream number ``stream`` of a call has ended and the line is still up: what now?

    A session that ends the stream on purpose must have recorded ``StreamEnded`` before it closes the
    socket; what has no reason here was dropped, and is picked up again.
    """
    call = find_call(sid=sid)
    if call is None:
        logger.warning("End of a stream of an unknown call %s", sid)
        return Continuation(Next.HANG_UP)
    now = timezone.now()
    with transaction.atomic():
        if call.status in TERMINAL:
            return Continuation(Next.HANG_UP)
        if call.streams > stream:  # a repeated question: a later stream has taken over
            return Continuation(Next.RECONNECT, _mint_token(call, stream=stream + 1, now=now), stream + 1)
        if call.end_reason == "transferred" and call.transfer_to:
            ours = call.from_number if call.direction == Call.Direction.OUTBOUND else call.to_number
            return Continuation(Next.TRANSFER, stream=stream, number=call.transfer_to, caller_id=ours)
        if call.end_reason not in _RESUMABLE or call.events.filter(kind="opt-out").exists():
            # Nobody who has just asked for no more calls is greeted again.
            move(call, Status.COMPLETED, at=now)
            return Continuation(Next.APOLOGISE if call.end_reason == "engines-failed" else Next.HANG_UP)
        if not 1 <= stream < MAX_STREAMS or not take_slot(call, now):
            Call.objects.filter(pk=call.pk, streams=call.streams).update(end_reason="stream-lost")
            move(call, Status.COMPLETED, at=now)
            return Continuation(Next.GIVE_UP)
        hold_slot_for_stream(call, now)
        token = _mint_token(call, stream=stream + 1, now=now)
    logger.warning("Call %s: stream %d was lost, reconnecting", sid, stream)
    return Continuation(Next.RECONNECT, token, stream + 1)


def after_transfer(*, sid: str, stream: int, dial_status: str) -> Continuation:
    """A transfer is over: the call is, if somebody talked; else the caller comes back to the agent."""
    call = find_call(sid=sid)
    if call is None or call.status in TERMINAL:
        return Continuation(Next.HANG_UP)
    now = timezone.now()
    with transaction.atomic():
        fact_id = fact_id_of("transfer", sid, str(stream))
        if dial_status in ("completed", "answered"):
            if write_event(fact_id, call.pk, "transfer-completed", now, {"to": call.transfer_to})[1]:
                webhooks.announce(call, "call.transferred", at=now, data={"transferred_to": call.transfer_to})
            move(call, Status.COMPLETED, at=now)
            return Continuation(Next.HANG_UP)
        if write_event(fact_id, call.pk, "transfer-failed", now, {"to": call.transfer_to, "why": dial_status})[1]:
            Call.objects.filter(pk=call.pk).update(transfer_to="", end_reason="transfer-failed")
        if not 1 <= stream < MAX_STREAMS or not take_slot(call, now):
            move(call, Status.COMPLETED, at=now)
            return Continuation(Next.GIVE_UP)
        return Continuation(Next.NOBODY_THERE, _mint_token(call, stream=stream + 1, now=now), stream + 1)
