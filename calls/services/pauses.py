"""
Pauses of dialling: what is not dialled for the moment, why, and when it is tried again.

Each cause has its own row of ``DialPause``. Those that only waiting ends (the carrier is busy, engines are full) have
an end. Those that somebody must end (the account, a caller id, a country) last until one call, the trial, was accepted,
or until an operator resumes. No second call is risked while a trial is under way, and trials become rarer.

A due call whose caller id or country is paused is held (``Call.held_by``): it keeps its place in the queue, but
dispatchers no longer come across it. Where a pause and its calls are changed together, the pause is locked first.
"""

import logging
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Count, F, Q
from django.utils import timezone

from calls import schedule
from calls.errors import CarrierError, FailureKind
from calls.models import Call, DialAttempt, DialPause
from calls.plain_text import storable
from calls.services.dialable import region_of
from calls.status import Status
from calls.waking import wake

logger = logging.getLogger(__name__)

Scope = DialPause.Scope
Cause = DialPause.Cause

LONGEST_PAUSE = timedelta(hours=2)
"""
Longer than any time until a pause ends or is tried: the longest are the ``Retry-After`` of an hour that
``calls.carrier`` believes, and ``LONGEST_WAIT``. A time further off was set before the clock stepped back, and is
ignored.
"""
FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds until the first trial; it doubles with each that fails. One that fails costs a request and rings nobody."""
ACCOUNT_WAIT = 300.0
"""Seconds until the first trial of the account. Twilio takes 5 to 10 minutes to reactivate one that has paid."""
TRIAL = 60.0
"""Seconds after which a trial whose outcome is unknown is followed by another. Claiming and dialling take up to 35."""
TRY_ANOTHER = 5.0
"""Seconds until the next trial if the number of the last one was wrong, which says nothing about the pause."""
FORGOTTEN = timedelta(hours=1)
"""Time after its end for which a pause is kept, because its failures decide how long the next one lasts."""

HELD_AT_ONCE = 10_000
"""Calls that one query holds: less than a second of work for PostgreSQL."""

_PLACES: dict[FailureKind, tuple[DialPause.Scope, DialPause.Cause]] = {
    FailureKind.ACCOUNT: (Scope.EVERYTHING, Cause.ACCOUNT),
    FailureKind.SETTINGS: (Scope.EVERYTHING, Cause.SETTINGS),
    FailureKind.CALLER_ID: (Scope.CALLER_ID, Cause.CALLER_ID),
    FailureKind.COUNTRY: (Scope.COUNTRY, Cause.COUNTRY),
    FailureKind.CALL: (Scope.CALLS, Cause.CALL),
}
"""What a refusal pauses, by its kind. The other kinds are no pauses that somebody must end."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses of one moment."""

    rows: list[DialPause]
    now: datetime

    @property
    def everything(self) -> list[DialPause]:
        return [pause for pause in self.rows if pause.scope == Scope.EVERYTHING]

    @property
    def stops_everything(self) -> bool:
        """Whether nothing is dialled now, not even as a trial."""
        return not all(self.may_try(pause) for pause in self.everything)

    @property
    def to_try(self) -> list[DialPause]:
        """The pauses with held calls of which one may be dialled as a trial."""
        return [pause for pause in self.rows if pause.scope != Scope.EVERYTHING and self.may_try(pause)]

    def may_try(self, pause: DialPause) -> bool:
        return pause.try_at is not None and not _is_ahead(pause.try_at, self.now)

    def of(self, *, from_number: str, to_number: str, held_by: int | None = None) -> list[DialPause]:
        """The pauses of this caller id, of the number's country, and that of a call that was refused itself."""
        found = [pause for pause in self.rows if pause.scope == Scope.CALLER_ID and pause.subject == from_number]
        if any(pause.scope == Scope.COUNTRY for pause in self.rows):
            country = _country_of(to_number)
            found += [pause for pause in self.rows if pause.scope == Scope.COUNTRY and pause.subject == country]
        return found + [pause for pause in self.rows if pause.scope == Scope.CALLS and pause.pk == held_by]

    def blocking(self, attempt: DialAttempt) -> DialPause | None:
        """Return a pause because of which this attempt must not be sent. Those whose trial it is do not stop it."""
        concerned = self.everything + self.of(from_number=attempt.from_number, to_number=attempt.to_number)
        return next((pause for pause in concerned if pause.trial != attempt.pk), None)


NOTHING_PAUSED = Pauses([], datetime.min.replace(tzinfo=UTC))


def read_pauses(now: datetime) -> Pauses:
    """Read the pauses that have not ended. There are few: one for each caller id, country, process and cause."""
    rows = [pause for pause in DialPause.objects.all() if pause.until is None or _is_ahead(pause.until, now)]
    return Pauses(rows, now)


def _is_ahead(time: datetime, now: datetime) -> bool:
    return now < time <= now + LONGEST_PAUSE


def _country_of(number: str) -> str:
    try:
        return region_of(number)
    except ValueError:  # a number that this machine's tables no longer contain
        return ""


# --- Pauses that end by themselves -------------------------------------------------------------------------


def slow_down(reason: str, now: datetime, *, at_least: float = 0.0) -> datetime:
    """
    The carrier asks to wait, or cannot be reached: dial nothing for a while. Returns when it ends.

    It lasts for at least ``at_least`` seconds, and longer with each consecutive failure. Requests that were sent
    together fail together. That counts as one failure: during the pause, another failure only prolongs it to its own
    ``at_least``.
    """
    until, text = now + timedelta(seconds=at_least), storable(reason)[:255]
    first = {"since": now, "until": now, "failures": 0}
    pause, _ = DialPause.objects.get_or_create(scope=Scope.EVERYTHING, subject="", cause=Cause.CARRIER, defaults=first)
    if pause.until is not None and _is_ahead(pause.until, now):
        DialPause.objects.filter(pk=pause.pk, until__lt=until).update(until=until, reason=text)
        return max(until, pause.until)
    until = max(until, now + timedelta(seconds=schedule.backoff(pause.failures + 1, jitter=random.random())))
    as_seen = DialPause.objects.filter(pk=pause.pk, failures=pause.failures, until=pause.until)
    if as_seen.update(since=now, until=until, reason=text, failures=F("failures") + 1):
        return until
    return slow_down(reason, now, at_least=at_least)


def hold_dialling(*, process: str, why: str, seconds: float) -> None:
    """Dial nothing for so many seconds, because the engines of ``process`` could not serve the calls."""
    now = timezone.now()
    until = now + timedelta(seconds=min(seconds, LONGEST_PAUSE.total_seconds()))
    place = {"scope": Scope.EVERYTHING, "cause": Cause.ENGINES, "subject": process[:128]}
    said = {"until": until, "reason": storable(why)[:255]}
    DialPause.objects.update_or_create(**place, defaults=said, create_defaults={**said, "since": now})


def release_dialling(*, process: str) -> None:
    """The engines of ``process`` serve calls again: end their pause, and no other."""
    DialPause.objects.filter(scope=Scope.EVERYTHING, cause=Cause.ENGINES, subject=process[:128]).delete()


def delete_ended(now: datetime) -> None:
    DialPause.objects.filter(until__lt=now - FORGOTTEN).delete()


# --- Pauses that somebody must end -------------------------------------------------------------------------


def pause_for(attempt: DialAttempt, error: CarrierError, now: datetime) -> DialPause:
    """
    Pause what the carrier's refusal of this attempt concerns, until a trial succeeds or an operator resumes.

    Requests that were sent together are refused together. Only a trial that is refused makes the wait longer.
    """
    scope, cause = _PLACES[error.kind]
    subject = {
        Scope.CALLER_ID: attempt.from_number,
        Scope.COUNTRY: _country_of(attempt.to_number),
        Scope.CALLS: str(error.twilio_code or error.status or ""),
    }.get(scope, "")
    said = {"code": str(error.twilio_code or ""), "reason": _reason(attempt, error)}
    first = ACCOUNT_WAIT if cause is Cause.ACCOUNT else FIRST_WAIT
    pause, is_new = DialPause.objects.get_or_create(
        scope=scope,
        subject=subject,
        cause=cause,
        defaults={"since": now, "try_at": now + timedelta(seconds=first), **said},
    )
    if is_new:
        logger.critical(
            "Dialling is paused for %s, and its calls wait, because %s: %s One call is tried after %.0f s",
            pause,
            cause.label,
            said["reason"],
            first,
        )
    elif pause.trial == attempt.pk:
        wait = wait_after(pause.failures + 1, first=first)
        tried = DialPause.objects.filter(pk=pause.pk, trial=attempt.pk)
        tried.update(trial=None, try_at=now + timedelta(seconds=wait), failures=F("failures") + 1, **said)
        logger.error("Dialling stays paused for %s: %s One call is tried after %.0f s", pause, said["reason"], wait)
    return pause


def wait_after(failures: int, *, first: float = FIRST_WAIT) -> float:
    """Return the seconds until the next trial, or until a call is dialled again that was refused so often."""
    return schedule.backoff(failures, first=first, longest=LONGEST_WAIT, jitter=1.0)


def _reason(attempt: DialAttempt, error: CarrierError) -> str:
    """The carrier's words without the number that was called: a pause outlives its call, and is shown to others."""
    text = str(error)
    for number in (attempt.to_number, attempt.to_number.removeprefix("+")):
        text = text.replace(number, "this number") if number else text
    return storable(text)[:255]


def hold_calls(pause: DialPause, calls: Collection[UUID]) -> int:
    """Keep these calls from being dialled while the pause lasts. Returns how many. None if it has just ended."""
    waiting = Call.objects.filter(pk__in=calls, status=Status.QUEUED, due_at__isnull=False)
    with transaction.atomic():
        return waiting.update(held_by=pause.pk) if _lock(pause) else 0


def hold_more(pause: DialPause, now: datetime) -> int:
    """
    Hold more calls that are due and from the same caller id, without loading them. Returns how many.

    A list of many thousand calls from one caller id is held so in a few queries, and keeps the calls behind it from
    being dialled for seconds instead of a minute. Calls to one country cannot be found so.
    """
    if pause.scope != Scope.CALLER_ID:
        return 0
    due = Call.objects.filter(status=Status.QUEUED, due_at__lte=now, held_by=None, from_number=pause.subject)
    some = due.order_by("due_at", "created_at").values("pk")[:HELD_AT_ONCE]
    with transaction.atomic():
        # The conditions stand here again, because another dispatcher may change a call after it was found.
        return due.filter(pk__in=some).update(held_by=pause.pk) if _lock(pause) else 0


def _lock(pause: DialPause) -> bool:
    """Keep the pause from ending until the end of the transaction. False if it has ended."""
    return bool(DialPause.objects.select_for_update().filter(pk=pause.pk).values_list("pk").first())


# --- Trials ------------------------------------------------------------------------------------------------


def begin_trial(attempt_id: UUID, pauses: Iterable[DialPause], now: datetime) -> bool:
    """Make an attempt the trial of these pauses. If one has another trial, False: then the caller must roll back."""
    for pause in sorted(pauses, key=lambda pause: pause.pk):
        as_seen = DialPause.objects.filter(pk=pause.pk, try_at=pause.try_at, trial=pause.trial)
        if not as_seen.update(trial=attempt_id, try_at=now + timedelta(seconds=TRIAL)):
            return False
    return True


def end_trial(attempt: DialAttempt, now: datetime, *, wait: float) -> None:
    """This attempt says nothing about the pauses whose trial it was: try another call after ``wait`` seconds."""
    DialPause.objects.filter(trial=attempt.pk).update(trial=None, try_at=now + timedelta(seconds=wait))


def note_success(attempt: DialAttempt, now: datetime) -> None:
    """
    The carrier took this attempt: end the pauses whose trial it was, or that began before its request.

    A pause that is younger than the request stays. So does that of refused calls unless this was its trial, because
    another call says nothing about them.
    """
    requested_at = attempt.requested_at or attempt.created_at
    pauses = Pauses(list(DialPause.objects.all()), now)
    concerned = pauses.everything + pauses.of(from_number=attempt.from_number, to_number=attempt.to_number)
    for pause in pauses.rows:
        proven = pause in concerned and pause.since < requested_at
        if pause.try_at is not None and (pause.trial == attempt.pk or proven):
            _end(pause, "the carrier took a call")
        elif pause.cause == Cause.CARRIER and pause.until is not None and pause.until <= now:
            DialPause.objects.filter(pk=pause.pk, until=pause.until).delete()  # past failures are forgotten


def resume(pause_id: int | None = None, *, by: str) -> int:
    """
    Dial again what this pause has stopped, or all pauses, at once. Returns how many were ended that had not before.

    ``by`` is who wants it, for the log.
    """
    now = timezone.now()
    chosen = DialPause.objects.filter(Q() if pause_id is None else Q(pk=pause_id))
    chosen.filter(until__lte=now).delete()  # with them, past failures are forgotten
    return sum(_end(pause, f"{by} has resumed dialling", due=now) for pause in chosen)


def _end(pause: DialPause, why: str, *, due: datetime | None = None) -> bool:
    """End a pause and let go of its calls. ``due``: those that were to wait beyond it are due then."""
    with transaction.atomic():
        if not _lock(pause):
            return False
        held = Call.objects.filter(held_by=pause.pk)
        if due is not None:
            held.filter(due_at__gt=due).update(due_at=due)
        count = held.update(held_by=None)
        DialPause.objects.filter(pk=pause.pk).delete()
    logger.warning("Dialling goes on for %s, because %s; %d calls had been held", pause, why, count)
    wake("dial_due")
    return True


# --- What is shown -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PauseState:
    """A pause that has not ended, and the number of calls that it holds."""

    pause: DialPause
    held: int

    @property
    def ends_at(self) -> datetime | None:
        """When it ends by itself, or is tried."""
        return self.pause.until or self.pause.try_at


def why_waiting(call: Call, paused: Pauses) -> str:
    """Return what is paused of this call, and why. Empty if nothing is, or if the call is not due anyway."""
    if call.due_at is None or (call.held_by_id is None and call.due_at > paused.now):
        return ""
    concerned = paused.everything + paused.of(from_number=call.from_number, to_number=call.to_number)
    ids = {call.held_by_id, *(pause.pk for pause in concerned)}
    return "; ".join(f"{pause}: {pause.reason}" for pause in paused.rows if pause.pk in ids)


def describe_in_short() -> list[dict[str, str]]:
    """What is paused, for ``/readyz``, which anybody may read: without numbers and without the carrier's words."""
    try:
        paused = read_pauses(timezone.now()).rows
    except DatabaseError:
        return []
    return [
        {"scope": pause.scope, "cause": pause.cause, "code": pause.code, "since": pause.since.isoformat()}
        for pause in paused
    ]


def list_pauses(now: datetime) -> list[PauseState]:
    paused = read_pauses(now).rows
    calls = Call.objects.filter(held_by__in=[pause.pk for pause in paused], due_at__isnull=False).order_by()
    held = dict(calls.values_list("held_by").annotate(count=Count("pk"))) if paused else {}
    return [PauseState(pause, held.get(pause.pk, 0)) for pause in paused]
