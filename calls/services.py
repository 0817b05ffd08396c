"""
Every write to the records of calls, keyword-only, and safe to repeat.

Twilio's requests come late, twice and out of order; the facts of a live call come through a queue that may
replay them. So statuses move by compare-and-set along the table of ``calls.status``, everything reported has
an id under which it is written once, and a write that finds its work done changes nothing. No write relies
on ``select_for_update``, which SQLite silently drops.

Any of these may raise Django's ``OperationalError`` or ``InterfaceError`` while the database is away: try again.
``CallsError`` is about the request itself.
"""

import hashlib
import logging
import secrets
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files import File
from django.db import Error as DatabaseAway
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from calls import recordings
from calls.models import Agent, Call, CallEvent, Lease, StreamToken, Turn
from calls.signatures import valid_stream_signature as valid_stream_signature
from calls.status import MOVES, TERMINAL, Status, may_move

logger = logging.getLogger(__name__)

MAX_STREAMS = 3
"""Streams of one call: the first, and two reconnects. A line that drops a third time will drop a fourth."""
LEASE = 30.0
"""Seconds for which a live call holds its slot without renewal; renew every 10."""
_SETTING_UP = 60.0
"""Seconds beyond its token's life for which a call that is admitted but not connected holds its slot."""

END_REASONS = frozenset(
    ("caller-hung-up", "agent-ended", "silence", "max-duration", "engines-failed", "stream-lost", "refused", "drain")
)
_NOT_CONNECTED = 0
_RESUMABLE = frozenset(("", "stream-lost", "drain"))


class CallsError(Exception):
    """A write that makes no sense. ``permanent``: trying again is useless."""

    def __init__(self, message: str, *, permanent: bool = True) -> None:
        super().__init__(message)
        self.permanent = permanent


# --- Ways in: a call arrives, its stream opens -------------------------------------------------------------


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
    """An agent as it was when the stream opened."""

    name: str
    prompt: str
    greeting: str
    greeting_interruptible: bool
    voice: str
    language: str
    max_duration: float
    record: bool


@dataclass(frozen=True, slots=True)
class StreamClaim:
    """
    A stream that may open, and what its session needs to know.

    ``history`` holds (who, heard) of the turns before a reconnect, in order; ``next_turn`` goes on counting them.
    """

    call_id: UUID
    sid: str
    stream: int
    agent: AgentSettings
    from_number: str
    to_number: str
    history: tuple[tuple[str, str], ...]
    next_turn: int
    is_reconnect: bool
    seconds_used: float
    """Of the agent's ``max_duration``, by earlier streams of the call."""


def receive_call(
    *, sid: str, from_number: str, to_number: str, account_sid: str, params: Mapping[str, str]
) -> Admission:
    """
    A call wants its TwiML: an inbound one that rings, or an outbound one that was answered.

    Idempotent by ``sid``. A repeated request gets a fresh token for the same first stream, because Twilio
    may act on either answer; whichever is used first opens the stream and the other is then worthless.
    """
    outbound = params.get("Direction", "").startswith("outbound")
    agent = _agent_for(_clean(from_number if outbound else to_number))
    if agent is None:
        logger.warning("Call %s to %s refused: no active agent answers that number", sid, to_number)
        return Admission(Verdict.UNATTENDED)
    now = timezone.now()
    with transaction.atomic():
        call, new = Call.objects.get_or_create(
            sid=sid,
            defaults={
                "direction": Call.Direction.OUTBOUND if outbound else Call.Direction.INBOUND,
                "status": Status.RINGING,
                "from_number": _clean(from_number)[:128],
                "to_number": _clean(to_number)[:128],
                "agent": agent,
            },
        )
        if new:
            _write_event(_fact_id("voice", sid), call.pk, "voice-request", now, {**params, "AccountSid": account_sid})
        if call.status in TERMINAL:
            return Admission(Verdict.OVER, call.pk)
        if outbound:
            _move(call, Status.IN_PROGRESS, at=now)
        if not _take_slot(call, now):
            if call.streams == 0:
                Call.objects.filter(pk=call.pk, streams=0).update(end_reason="refused")
            _write_event(_fact_id("refused", sid), call.pk, "refused", now, {"limit": settings.MAX_LIVE_CALLS})
            logger.warning("Call %s refused: all %d slots are taken", sid, settings.MAX_LIVE_CALLS)
            return Admission(Verdict.BUSY, call.pk)
        Call.objects.filter(pk=call.pk, end_reason="refused").update(end_reason="")
        return Admission(Verdict.CONNECT, call.pk, _mint_token(call, stream=1, now=now))


def claim_stream(*, token: str, process: str) -> StreamClaim | None:
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
        if not live.update(streams=row.stream, process=process, end_reason="", stream_sid=""):
            logger.warning("Media socket refused: stream %d of call %s was opened before or is over", row.stream, call)
            return None
        Lease.objects.filter(call=call).update(
            stream=row.stream, process=process, expires_at=now + timedelta(seconds=LEASE)
        )
        turns = list(call.turns.values_list("who", "heard", "number"))
    agent = call.agent
    return StreamClaim(
        call_id=call.pk,
        sid=call.sid or "",
        stream=row.stream,
        agent=AgentSettings(
            name=agent.name,
            prompt=agent.prompt,
            greeting=agent.greeting,
            greeting_interruptible=agent.greeting_interruptible,
            voice=agent.voice,
            language=agent.language,
            max_duration=float(agent.max_duration),
            record=agent.record,
        ),
        from_number=call.from_number,
        to_number=call.to_number,
        history=tuple((who, heard) for who, heard, _ in turns if heard),
        next_turn=max((number for *_, number in turns), default=0) + 1,
        is_reconnect=call.streams > 0,
        seconds_used=(now - call.answered_at).total_seconds() if call.answered_at else 0.0,
    )


def confirm_stream(*, call_id: UUID | str, call_sid: str, stream_sid: str, account_sid: str) -> bool:
    """The socket's ``start`` message: whether it speaks for the call that its token was made for, on our account."""
    if account_sid == settings.TWILIO_ACCOUNT_SID and Call.objects.filter(pk=call_id, sid=call_sid).update(
        stream_sid=stream_sid
    ):
        return True
    logger.warning("Media socket of call %s refused: its start names call %s of %s", call_id, call_sid, account_sid)
    return False


def renew_lease(*, call_id: UUID | str, stream: int) -> bool:
    """Keep the slot of a live stream. False if it is lost, to a later stream of the call or in a long stall."""
    until = timezone.now() + timedelta(seconds=LEASE)
    return bool(Lease.objects.filter(call_id=call_id, stream=stream).update(expires_at=until))


def release_lease(*, call_id: UUID | str, stream: int) -> bool:
    """Give the slot back; a no-op if a later stream has taken the call over."""
    return bool(Lease.objects.filter(call_id=call_id, stream=stream).delete()[0])


def find_call(*, sid: str) -> Call | None:
    return Call.objects.filter(sid=sid).first()


def live_calls() -> int:
    return Lease.objects.filter(expires_at__gt=timezone.now()).count()


def _agent_for(number: str) -> Agent | None:
    agents = Agent.objects.filter(active=True)
    return agents.filter(phone_number=number).exclude(phone_number="").first() or (
        agents.filter(phone_number="").order_by("created_at", "pk").first()
    )


def _take_slot(call: Call, now: datetime) -> bool:
    """
    Hold one of ``MAX_LIVE_CALLS`` slots for this call; the slot that it has, if any.

    The unique ``slot`` decides between two who try at once, so that the limit holds without locks.
    """
    Lease.objects.filter(expires_at__lte=now).exclude(call=call).delete()
    if Lease.objects.filter(call=call).exists():
        # A repeated request must not touch the lease of a stream that runs.
        Lease.objects.filter(call=call, stream=_NOT_CONNECTED).update(expires_at=_set_up_by(now))
        return True
    for slot in sorted(set(range(settings.MAX_LIVE_CALLS)) - set(Lease.objects.values_list("slot", flat=True))):
        try:
            with transaction.atomic():
                Lease.objects.create(call=call, slot=slot, stream=_NOT_CONNECTED, expires_at=_set_up_by(now))
        except IntegrityError:
            if Lease.objects.filter(call=call).exists():
                return True
        else:
            return True
    return False


def _set_up_by(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.STREAM_TOKEN_TTL + _SETTING_UP)


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


# --- What Twilio reports -----------------------------------------------------------------------------------


class Next(StrEnum):
    HANG_UP = "hang-up"
    APOLOGISE = "apologise"
    """The engines failed: say so, then hang up."""
    GIVE_UP = "give-up"
    """The line dropped too often, or every slot is taken: say so, then hang up."""
    RECONNECT = "reconnect"


@dataclass(frozen=True, slots=True)
class Continuation:
    """What follows a stream. ``token`` opens stream number ``stream``; empty unless ``RECONNECT``."""

    next: Next
    token: str = ""
    stream: int = 0


def record_status(
    *,
    sid: str,
    status: str,
    sequence: str = "",
    timestamp: str = "",
    duration: str = "",
    params: Mapping[str, str] | None = None,
) -> Call | None:
    """
    A status callback, its fields as Twilio wrote them; ``None`` if the call is not ours.

    Written once per ``SequenceNumber``. Order needs no bookkeeping beyond the table of moves: a callback that
    was overtaken would move the call back, and no such move exists. The end is final.
    """
    call = find_call(sid=sid)
    if call is None:
        logger.warning("Status %r for an unknown call %s", status, sid)
        return None
    at = _twilio_time(timestamp)
    with transaction.atomic():
        _write_event(_fact_id("status", sid, sequence or status), call.pk, f"status-{status}"[:64], at, params or {})
        if status not in MOVES:
            logger.warning("Call %s reports a status that we do not know: %r", sid, status)
            return call
        moved = _move(call, Status(status), at=at)
        if status in TERMINAL and duration.isdecimal():
            # Also where the books were closed before: Twilio's own count is the better one.
            Call.objects.filter(pk=call.pk, status=status).update(duration=float(duration))
    logger.log(logging.INFO if moved else logging.DEBUG, "Call %s: %s%s", sid, status, "" if moved else " (no change)")
    return call


def record_stream_event(
    *,
    sid: str,
    stream_sid: str,
    event: str,
    error: str = "",
    timestamp: str = "",
    params: Mapping[str, str] | None = None,
) -> CallEvent | None:
    """A stream's status callback. It comes before, between or after the stream's own messages, so it only informs."""
    call = find_call(sid=sid)
    if call is None:
        logger.warning("Stream event %r for an unknown call %s", event, sid)
        return None
    if error:
        logger.warning("Call %s: %s: %s", sid, event, error)
    fact_id = _fact_id("stream", stream_sid, event, timestamp)
    return _write_event(fact_id, call.pk, f"twilio-{event}"[:64], _twilio_time(timestamp), params or {})[0]


def after_stream(*, sid: str, stream: int) -> Continuation:
    """
    Stream number ``stream`` of a call has ended and the line is still up: what now?

    A session that ends the stream on purpose must have written ``record_stream_ended`` before it closes the
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
        if call.end_reason not in _RESUMABLE:
            _move(call, Status.COMPLETED, at=now)
            return Continuation(Next.APOLOGISE if call.end_reason == "engines-failed" else Next.HANG_UP)
        if not 1 <= stream < MAX_STREAMS or not _take_slot(call, now):
            Call.objects.filter(pk=call.pk, streams=call.streams).update(end_reason="stream-lost")
            _move(call, Status.COMPLETED, at=now)
            return Continuation(Next.GIVE_UP)
        Lease.objects.filter(call=call).update(stream=_NOT_CONNECTED, expires_at=_set_up_by(now))
        token = _mint_token(call, stream=stream + 1, now=now)
    logger.warning("Call %s: stream %d was lost, reconnecting", sid, stream)
    return Continuation(Next.RECONNECT, token, stream + 1)


def clean_up() -> int:
    """
    Close the books of calls that nobody will close: those of a killed process whose last callback was lost.

    Returns how many there were. For the start of a process and now and then.
    """
    now = timezone.now()
    StreamToken.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()
    Lease.objects.filter(expires_at__lte=now).delete()
    # A callee may ring for ten minutes; what waits for its turn to be dialled is not abandoned.
    abandoned = Call.objects.filter(
        status__in=(Status.RINGING, Status.IN_PROGRESS), lease=None, created_at__lt=now - timedelta(minutes=15)
    )
    closed = 0
    for call in abandoned:
        Call.objects.filter(pk=call.pk, end_reason="").update(end_reason="stream-lost")
        closed += _move(call, Status.COMPLETED, at=now)
    return closed


def _move(call: Call, status: Status, *, at: datetime) -> bool:
    """Move a call's status if the table allows it from whatever the status is by then; False if it does not."""
    while may_move(call.status, status):
        stamps: dict[str, Any] = {}
        if status is Status.IN_PROGRESS:
            stamps["answered_at"] = at
        elif status in TERMINAL:
            stamps["ended_at"] = at
            if call.answered_at:
                stamps["duration"] = max(0.0, (at - call.answered_at).total_seconds())
        if Call.objects.filter(pk=call.pk, status=call.status).update(status=status, **stamps):
            call.status = status
            if status in TERMINAL:
                Lease.objects.filter(call=call).delete()
                StreamToken.objects.filter(call=call, used_at=None).delete()
            return True
        call.refresh_from_db(fields=["status", "answered_at"])
    return False


# --- Facts of a live call, written behind it ---------------------------------------------------------------


def record_stream_started(*, fact_id: str, call_id: UUID | str, stream_sid: str, at: datetime | str) -> None:
    """The stream runs, so the call was answered."""
    when = _fact_time(at)
    with transaction.atomic():
        call = _call(call_id)
        if _write_event(fact_id, call.pk, "stream-started", when, {"stream_sid": stream_sid})[1]:
            _move(call, Status.IN_PROGRESS, at=when)


def record_turn(
    *,
    fact_id: str,
    call_id: UUID | str,
    number: int,
    who: str,
    said: str,
    heard: str,
    interrupted: bool,
    fallback: bool,
    started_at: datetime | str,
    ended_at: datetime | str | None,
    stages: Mapping[str, float | None],
    start_position: int | None = None,
    end_position: int | None = None,
    speculation_hits: int = 0,
    speculation_waste: int = 0,
) -> None:
    """One turn; ``stages`` are seconds by name, of which ``response_latency`` is kept searchable as well."""
    if who not in Turn.Who:
        raise CallsError(f"A turn is the caller's or the agent's, not {who!r}'s")
    with transaction.atomic():
        Turn.objects.get_or_create(
            fact_id=fact_id,
            defaults={
                "call": _call(call_id),
                "number": number,
                "who": who,
                "said": _clean(said),
                "heard": _clean(heard),
                "interrupted": interrupted,
                "fallback": fallback,
                "started_at": _fact_time(started_at),
                "ended_at": None if ended_at is None else _fact_time(ended_at),
                "start_position": start_position,
                "end_position": end_position,
                "stages": dict(stages),
                "response_latency": stages.get("response_latency"),
                "speculation_hits": speculation_hits,
                "speculation_waste": speculation_waste,
            },
        )


def record_event(
    *, fact_id: str, call_id: UUID | str, kind: str, at: datetime | str, data: Mapping[str, Any] | None = None
) -> None:
    """Anything else worth knowing of a call: a key, a fallback, an error."""
    with transaction.atomic():
        _write_event(fact_id, _call(call_id).pk, kind[:64], _fact_time(at), data or {})


def record_stream_ended(
    *, fact_id: str, call_id: UUID | str, reason: str, at: datetime | str, stream: int | None = None
) -> None:
    """
    A stream has ended, for one of ``END_REASONS``.

    ``stream`` is the claim's: the reason of a stream that was lost does not touch the one that took over.
    """
    if reason not in END_REASONS:
        raise CallsError(f"{reason!r} is not a reason for the end of a stream")
    when = _fact_time(at)
    with transaction.atomic():
        call = _call(call_id)
        if not _write_event(fact_id, call.pk, "stream-ended", when, {"reason": reason, "stream": stream})[1]:
            return
        current = Call.objects.filter(pk=call.pk, end_reason="")
        if stream is not None:
            current = current.filter(streams=stream)
        if current.update(end_reason=reason) and reason == "caller-hung-up":
            # The number may have no status callback: this is then the last that we hear of the call.
            _move(call, Status.COMPLETED, at=when)


def attach_recording(*, fact_id: str, call_id: UUID | str, path: Path | str) -> None:
    """
    Move a finished WAV from the spool into Django's storage, after any that earlier streams of the call left.

    Replay-safe at every step: the name in storage follows from ``fact_id``, and the spool file goes last.
    """
    spooled = Path(path)
    call = _call(call_id)
    if not CallEvent.objects.filter(fact_id=fact_id).exists():
        if not spooled.is_file():
            raise CallsError(f"The recording {spooled} of call {call_id} is gone")
        field = Call._meta.get_field("recording")
        name = f"recordings/{call.created_at:%Y/%m/%d}/{call.pk}-{fact_id}.wav"
        previous = call.recording.name
        field.storage.delete(name)
        with _whole_recording(call, spooled) as sound:
            name = field.storage.save(name, sound)
        with transaction.atomic():
            _write_event(fact_id, call.pk, "recording", timezone.now(), {"file": name})
            Call.objects.filter(pk=call.pk).update(recording=name)
        if previous and previous != name:
            field.storage.delete(previous)
    spooled.unlink(missing_ok=True)


FACTS: Mapping[str, Callable[..., None]] = {
    "stream-started": record_stream_started,
    "turn": record_turn,
    "event": record_event,
    "stream-ended": record_stream_ended,
    "recording": attach_recording,
}
"""The facts of a live call by name. Their arguments may come back from JSON."""


def _whole_recording(call: Call, spooled: Path) -> File:
    """This stream's sound behind that of the call's earlier streams, if there is any that can still be read."""
    if call.recording:
        try:
            with call.recording.open("rb") as earlier:
                return File(recordings.join(earlier, spooled))
        except (FileNotFoundError, EOFError, wave.Error) as error:
            logger.warning("Call %s: the recording before the reconnect is lost: %s", call, error)
    return File(spooled.open("rb"))


def _call(call_id: UUID | str) -> Call:
    call = Call.objects.filter(pk=call_id).first()
    if call is None:
        raise CallsError(f"There is no call {call_id}")
    return call


def _write_event(
    fact_id: str, call_id: UUID, kind: str, at: datetime, data: Mapping[str, Any]
) -> tuple[CallEvent, bool]:
    defaults = {"call_id": call_id, "kind": kind, "at": at, "data": _clean_values(data)}
    return CallEvent.objects.get_or_create(fact_id=fact_id, defaults=defaults)


def _fact_id(*parts: str) -> str:
    """The same id for the same report, however often it comes."""
    return uuid5(NAMESPACE_URL, "\n".join(parts)).hex


def _fact_time(at: datetime | str) -> datetime:
    try:
        moment = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    except ValueError as error:
        raise CallsError(f"{at!r} is not a time: {error}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _twilio_time(text: str) -> datetime:
    """Twilio's clock as it writes it: RFC 2822 for calls, ISO 8601 for streams. Now, where it is neither."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return _fact_time(parse(text))
        except ValueError:
            continue
    return timezone.now()


def _clean(text: str) -> str:
    """PostgreSQL stores no NUL."""
    return text.replace("\0", "")


def _clean_values(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _clean(value) if isinstance(value, str) else value for key, value in data.items()}


# --- The operator ------------------------------------------------------------------------------------------


readiness_checks: list[Callable[[], str]] = []
"""Asked by ``/readyz``: each returns what is not ready yet, or an empty string."""


def readiness_problems() -> list[str]:
    """What keeps this process from taking a call."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM calls_agent LIMIT 1")
        problems = []
    except DatabaseAway as error:
        logger.warning("The database is not ready: %s", error)
        problems = ["database"]
    return problems + [problem for check in readiness_checks if (problem := check())]


def make_login(*, username: str) -> tuple[str, str]:
    """Let an operator in: the superuser ``username``, made if missing, with a new random password; returns both."""
    password = secrets.token_urlsafe(12)
    user, _ = get_user_model().objects.get_or_create(username=username)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(password)
    user.save()
    return username, password


def ensure_demo_login() -> tuple[str, str]:
    """The login that the demonstration prints; each run gives it a new password."""
    return make_login(username="demo")
