"""
Admits calls and their streams: a call arrives, its stream opens, is lost, and is opened again.

A stream is opened with a token, once. What follows when it has ended is decided here as well.
"""

import hashlib
import logging
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from calls import metrics
from calls.call_context import found_call
from calls.keyterms import parse_keyterms
from calls.models import Agent, Call, CallOrder, StreamToken
from calls.numbers import canonical
from calls.plain_text import storable
from calls.services import attempts, webhooks
from calls.services.readiness import find_refusal
from calls.services.records import fact_id_of, find_call, move, write_event
from calls.services.slots import hold_slot_for_stream, is_live, occupy_slot, take_slot
from calls.status import TERMINAL, Status
from calls.variables import Join, fill, placeholders

logger = logging.getLogger(__name__)

MAX_STREAMS = 3
"""Streams of one call: the first, and two reconnects. A line that drops three times will drop a fourth time."""
MOST_HAND_OVERS = 5
"""Further streams of a call that processes have handed over because they were ended."""
_RESUMABLE = frozenset(("", "stream-lost", "drain", "transfer-failed"))
"""End reasons of a stream after which the call gets another one; empty: the stream dropped without giving one."""


class Verdict(StrEnum):
    """Whether a call may open a stream."""

    CONNECT = "connect"
    BUSY = "busy"
    """All slots are taken, or an engine is full."""
    UNAVAILABLE = "unavailable"
    """This process takes no calls until an operator has acted."""
    UNATTENDED = "unattended"
    """No active agent answers this number."""
    OVER = "over"
    """The call has ended already, so the request is late."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a call that asks for its TwiML."""

    verdict: Verdict
    call_id: UUID | None = None
    """None if the request belongs to no known call."""
    token: str = ""
    """Opens stream number ``stream``; empty unless the verdict is ``CONNECT``."""
    stream: int = 1


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """An agent as it was when the stream opened, with the call's variables filled into its texts."""

    name: str
    prompt: str
    greeting: str
    greeting_interruptible: bool
    voice: str
    language: str
    max_duration: float
    """Seconds that the call may last."""
    record: bool
    redact_numbers: bool
    """Whether numbers that must not be stored are taken out of the records of the call."""
    disclosure: str
    opt_out_key: str
    hears_opt_out: bool
    """Whether a spoken request for no more calls is understood as such."""
    transfer_targets: tuple[str, ...]
    """The names of the targets; their numbers stay in the database."""
    other_languages: Mapping[str, str] = field(default_factory=dict)
    """The voice for each language to which the agent changes if the caller does."""
    machine_detection: str = "off"
    """What the call does when a machine answers: a value of ``MachineDetection``."""
    voicemail_message: str = ""
    keyterms: tuple[str, ...] = ()
    """Names and words that recognition should expect, the most important first."""
    lasting: tuple[str, ...] = ()
    """The greeting and disclosure if they have no variables. They mention no person, so their audio may be cached."""

    def voice_for(self, language: str) -> str:
        """Return the voice in which the agent speaks this language. Empty: the usual one of the speech engine."""
        return self.voice if language == self.language else self.other_languages.get(language, "")


@dataclass(frozen=True, slots=True)
class StreamClaim:
    """A stream that may open, and what its session needs to know."""

    call_id: UUID
    sid: str
    """Twilio's CallSid."""
    stream: int
    """Counts the streams of the call, from 1."""
    direction: str
    agent: AgentSettings
    from_number: str
    to_number: str
    history: tuple[tuple[str, str], ...]
    """Speaker and heard text of the turns on earlier streams of the call, in order."""
    next_turn: int
    """The number of the first turn on this stream; turns are counted through the whole call."""
    is_reconnect: bool
    seconds_used: float
    """Seconds of the agent's ``max_duration`` that have passed since the call was answered."""
    disclosed: bool
    """The caller heard the disclosure on an earlier stream."""
    transfer_failed: bool
    """The caller comes back from a transfer that was not answered."""
    language: str = ""
    """The language to which the caller has changed on an earlier stream; empty if they have not."""


def receive_call(
    *, sid: str, from_number: str, to_number: str, account_sid: str, params: Mapping[str, str], attempt_id: str = ""
) -> Admission:
    """
    Admit or refuse a call that asks for its TwiML: an inbound call that rings, or an outbound one that was answered.

    Idempotent by ``sid``. A repeated request gets a new token for the same first stream, because Twilio may act on
    either answer. The token that is used first opens the stream; the other one is then worthless.
    """
    now = timezone.now()
    if attempt_id:
        attempt = attempts.find_attempt(attempt_id=attempt_id)
        if attempt is None or not attempts.adopt_sid(attempt, sid):
            logger.error(
                "Call %s was answered, but this system did not dial it (attempt %.64s); ending it", sid, attempt_id
            )
            return Admission(Verdict.OVER)
        attempts.move_attempt(attempt, attempts.Outcome(Status.IN_PROGRESS, at=now))
        call = Call.objects.get(pk=attempt.call_id)
        if attempt.status in TERMINAL or call.attempts_made != attempt.number or call.canceled_at is not None:
            return Admission(Verdict.OVER, call.pk)
        return _admit(call, now, {**params, "AccountSid": account_sid})
    outbound = params.get("Direction", "").startswith("outbound")
    from_number, to_number = (canonical(storable(one))[:128] for one in (from_number, to_number))
    agent = _agent_for(from_number if outbound else to_number)
    if agent is None:
        metrics.CALLS_REFUSED["no-agent"].inc()
        logger.warning("Refused call %s to %s: no active agent answers that number", sid, to_number)
        return Admission(Verdict.UNATTENDED)
    with transaction.atomic():
        call, _ = Call.objects.get_or_create(
            sid=sid,
            defaults={
                "direction": Call.Direction.OUTBOUND if outbound else Call.Direction.INBOUND,
                "status": Status.RINGING,
                "from_number": from_number,
                "to_number": to_number,
                "agent": agent,
            },
        )
        if outbound:
            move(call, Status.IN_PROGRESS, at=now)
    return _admit(call, now, {**params, "AccountSid": account_sid})


def _admit(call: Call, now: datetime, params: Mapping[str, str]) -> Admission:
    """Give the call a slot and a token for its first stream, or say why not."""
    found_call(call.pk)
    with transaction.atomic():
        write_event(fact_id_of("voice", call.sid or ""), call.pk, "voice-request", now, params)
        if call.status in TERMINAL:
            return Admission(Verdict.OVER, call.pk)
        # A repeated request of a call that is live must not end it.
        if (refusal := find_refusal()) is not None and not is_live(call):
            _note_refused(call, now, {"why": refusal.why})
            metrics.CALLS_REFUSED["engine-full" if refusal.is_busy else "unavailable"].inc()
            logger.warning("Refused call %s: no new calls are taken", call)
            return Admission(Verdict.BUSY if refusal.is_busy else Verdict.UNAVAILABLE, call.pk)
        if not take_slot(call, now):
            _note_refused(call, now, {"limit": settings.MAX_LIVE_CALLS})
            metrics.CALLS_REFUSED["slots"].inc()
            logger.warning("Refused call %s: all %d slots are taken", call, settings.MAX_LIVE_CALLS)
            return Admission(Verdict.BUSY, call.pk)
        Call.objects.filter(pk=call.pk, end_reason="refused").update(end_reason="")
        metrics.CALLS_ADMITTED[call.direction].inc()
        return Admission(Verdict.CONNECT, call.pk, _make_token(call, stream=1, now=now))


def _note_refused(call: Call, now: datetime, data: Mapping[str, object]) -> None:
    Call.objects.filter(pk=call.pk, streams=0).update(end_reason="refused")
    write_event(fact_id_of("refused", call.sid or ""), call.pk, "refused", now, data)


def claim_stream(*, token: str, process: str, channel: str = "", join: Join = "".join) -> StreamClaim | None:
    """
    Use a token to open its stream. None if it is unknown, used, expired, or for a stream that was opened already.

    Of two claims for one stream, with one token or with two, only one succeeds. ``join`` puts the values of variables
    into the agent's texts so that they are harmless for the engines, which read them there.
    """
    now = timezone.now()
    with transaction.atomic():
        row = StreamToken.objects.select_related("call__agent").filter(digest=_digest(token)).first()
        if row is not None:
            found_call(row.call_id)
        if row is None or not StreamToken.objects.filter(pk=row.pk, used_at=None, expires_at__gt=now).update(
            used_at=now
        ):
            logger.warning("Refused a media socket: its token is %s", "unknown" if row is None else "used or expired")
            return None
        call = row.call
        live = Call.objects.filter(pk=call.pk, streams__lt=row.stream).exclude(status__in=TERMINAL)
        if not live.update(streams=row.stream, process=process, channel=channel, end_reason="", stream_sid=""):
            logger.warning(
                "Refused a media socket: stream %d of call %s was opened before, or is over", row.stream, call
            )
            return None
        occupy_slot(call, now, stream=row.stream, process=process)
        if call.end_reason == "transfer-failed":
            # A person comes back, whatever machine detection said right before the transfer.
            call.orders.filter(kind=CallOrder.Kind.VOICEMAIL, taken_at=None).update(taken_at=now)
        turns = list(call.turns.values_list("speaker", "heard", "number"))
        disclosed = call.events.filter(kind="disclosed").exists()
    return StreamClaim(
        call_id=call.pk,
        sid=call.sid or "",
        stream=row.stream,
        direction=call.direction,
        agent=_agent_settings(call, join),
        from_number=call.from_number,
        to_number=call.to_number,
        history=tuple((speaker, heard) for speaker, heard, _ in turns if heard),
        next_turn=max((number for *_, number in turns), default=0) + 1,
        is_reconnect=call.streams > 0,
        seconds_used=(now - call.answered_at).total_seconds() if call.answered_at else 0.0,
        disclosed=disclosed,
        transfer_failed=call.end_reason == "transfer-failed",
        language=call.language,
    )


def _agent_settings(call: Call, join: Join) -> AgentSettings:
    agent = call.agent
    outbound = call.direction == Call.Direction.OUTBOUND
    return AgentSettings(
        name=agent.name,
        prompt=fill(agent.prompt, call.variables, join=join),
        greeting=fill(agent.greeting, call.variables, join=join),
        greeting_interruptible=agent.greeting_interruptible,
        voice=agent.voice,
        language=agent.language,
        max_duration=float(call.duration_limit),
        record=call.is_recorded,
        redact_numbers=settings.REDACT_NUMBERS if agent.redact_numbers is None else agent.redact_numbers,
        disclosure=fill(agent.disclosure, call.variables, join=join),
        opt_out_key=agent.opt_out_key,
        hears_opt_out=outbound or bool(agent.opt_out_key),
        transfer_targets=tuple(agent.transfer_targets),
        other_languages=dict(agent.other_languages),
        machine_detection=call.detection.value,
        voicemail_message=fill(agent.voicemail_message, call.variables, join=join),
        keyterms=parse_keyterms(fill(agent.keyterms, call.variables, join=join)),
        lasting=tuple(text for text in (agent.greeting, agent.disclosure) if text and not placeholders(text)),
    )


def confirm_stream(*, call_id: UUID | str, call_sid: str, stream_sid: str, account_sid: str) -> bool:
    """Check the socket's ``start`` message: it must name our account, and the call for which its token was made."""
    if account_sid == settings.TWILIO_ACCOUNT_SID and Call.objects.filter(pk=call_id, sid=call_sid).update(
        stream_sid=stream_sid
    ):
        return True
    logger.warning(
        "Refused the media socket of call %s: its start names call %s of account %s", call_id, call_sid, account_sid
    )
    return False


def _agent_for(number: str) -> Agent | None:
    """Return the active agent with this number, else the oldest active one without a number."""
    agents = Agent.objects.filter(active=True)
    return agents.filter(phone_number=number).exclude(phone_number="").first() or (
        agents.filter(phone_number="").order_by("created_at", "pk").first()
    )


def _make_token(call: Call, *, stream: int, now: datetime) -> str:
    token = secrets.token_urlsafe(24)
    StreamToken.objects.create(
        call=call, stream=stream, digest=_digest(token), expires_at=now + timedelta(seconds=settings.STREAM_TOKEN_TTL)
    )
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def has_stream(*, sid: str) -> bool:
    """Whether a stream of the call with this CallSid is open."""
    call = find_call(sid=sid)
    return call is not None and is_live(call)


def unused_tokens(tokens: Collection[str]) -> set[str]:
    """Return those of ``tokens`` that still open a stream."""
    by_digest = {_digest(token): token for token in tokens}
    unused = StreamToken.objects.filter(digest__in=by_digest, used_at=None, expires_at__gt=timezone.now())
    return {by_digest[digest] for digest in unused.values_list("digest", flat=True)}


class Next(StrEnum):
    """The next step of a call after a stream, which the TwiML tells Twilio."""

    HANG_UP = "hang-up"
    APOLOGISE = "apologise"
    """The engines failed: tell the caller, then hang up."""
    GIVE_UP = "give-up"
    """The stream was lost too often, or all slots are taken: tell the caller, then hang up."""
    RECONNECT = "reconnect"
    """Open the next stream of the call."""
    TRANSFER = "transfer"
    """Dial ``number`` as ``caller_id``, and request TwiML again afterwards."""
    TRANSFER_FAILED = "transfer-failed"
    """The transfer was not answered: tell the caller, then do as for ``RECONNECT``."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """The next step after a stream, with what the TwiML needs for it."""

    next: Next
    token: str = ""
    """Opens stream number ``stream``; empty if no stream follows."""
    stream: int = 0
    number: str = ""
    """The number to which the call is transferred."""
    caller_id: str = ""
    """Our number, from which the transfer is dialled."""


def after_stream(*, sid: str, stream: int) -> Continuation:
    """
    Decide what follows when stream number ``stream`` has ended and the call is still connected.

    A session that ends its stream on purpose records the reason (``StreamEnded``) before it closes the socket. A stream
    without a reason was dropped, and the call gets another one.
    """
    call = find_call(sid=sid)
    if call is None:
        logger.warning("Call %s is unknown, but reports the end of a stream; hanging up", sid)
        return Continuation(Next.HANG_UP)
    now = timezone.now()
    with transaction.atomic():
        if call.status in TERMINAL:
            return Continuation(Next.HANG_UP)
        if call.streams > stream:  # a repeated request: a later stream has opened
            return Continuation(Next.RECONNECT, _make_token(call, stream=stream + 1, now=now), stream + 1)
        if call.end_reason == "transferred" and call.transfer_to:
            ours = call.from_number if call.direction == Call.Direction.OUTBOUND else call.to_number
            return Continuation(Next.TRANSFER, stream=stream, number=call.transfer_to, caller_id=ours)
        if call.end_reason not in _RESUMABLE or call.events.filter(kind="opt-out").exists():
            # A caller who has just asked for no more calls must not be greeted again.
            move(call, Status.COMPLETED, at=now)
            return Continuation(Next.APOLOGISE if call.end_reason == "engines-failed" else Next.HANG_UP)
        # A line that a process of ours has handed over has not dropped.
        most = MAX_STREAMS + MOST_HAND_OVERS if call.end_reason == "drain" else MAX_STREAMS
        if not 1 <= stream < most or not take_slot(call, now):
            Call.objects.filter(pk=call.pk, streams=call.streams).update(end_reason="stream-lost")
            move(call, Status.COMPLETED, at=now)
            return Continuation(Next.GIVE_UP)
        hold_slot_for_stream(call, now)
        token = _make_token(call, stream=stream + 1, now=now)
    metrics.CALLS_RECONNECTED.inc()
    logger.warning("Call %s lost its stream %d; opening the next one", sid, stream)
    return Continuation(Next.RECONNECT, token, stream + 1)


def after_transfer(*, sid: str, stream: int, dial_status: str) -> Continuation:
    """Decide what follows a transfer: the call's end if it was answered, otherwise another stream with the agent."""
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
        return Continuation(Next.TRANSFER_FAILED, _make_token(call, stream=stream + 1, now=now), stream + 1)
