"""
Moves dial attempts from status to status, and their calls with them.

An attempt moves along the same table of statuses as a call, and never back. Its call follows it, with one exception:
after an attempt that failed, the call waits for the next one if the agent's retry policy allows another.
"""

import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from calls import metrics, schedule
from calls.call_context import found_call
from calls.carrier import CarrierCall
from calls.carrier_errors import REFUSALS
from calls.errors import PAUSING, FailureKind
from calls.models import Agent, Call, DialAttempt, Lease
from calls.plain_text import storable
from calls.services import webhooks
from calls.services.records import fact_id_of, move, write_event
from calls.status import MOVES, TERMINAL, UNANSWERED, Status, may_move

logger = logging.getLogger(__name__)

NOT_SENT = "not-sent"
"""Error code of an attempt whose request certainly never reached the carrier."""
ACCOUNT_REFUSED = "account"
"""Error code of an attempt that the carrier refused together with the account."""
REFUSED = "refused"
"""Error code of an attempt that the carrier refused for a reason that this program does not know."""
REFUSED_CODES = (
    ACCOUNT_REFUSED, REFUSED, *(str(code) for code, refusal in REFUSALS.items() if refusal.kind in PAUSING),
)  # fmt: skip
"""Error codes of attempts that the carrier refused until somebody changes something. Their calls wait."""
UNCOUNTED = (
    NOT_SENT,
    *(str(code) for code, refusal in REFUSALS.items() if refusal.kind in (FailureKind.LATER, FailureKind.CAPACITY)),
)
"""Error codes of attempts in which no phone can have rung: too many requests, too many live calls."""


def may_have_rung(error_code: str, sid: str | None) -> bool:
    """
    Whether a phone may have rung in an attempt. One in which none did counts neither against the agent's retry policy
    nor against the attempts per number and day.
    """
    # A carrier that reports such a code about a call that it has taken may have called.
    return error_code not in UNCOUNTED and not (error_code in REFUSED_CODES and sid is None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A new status of an attempt, and what follows for its call."""

    status: Status
    at: datetime
    sip_code: int | None = None
    error_code: str = ""
    """The carrier's error code, or a word of ours such as ``NOT_SENT``."""
    error: str = ""
    """Why the attempt failed, for a person."""
    permanent: bool = False
    """Another attempt would fail as well, so the call ends."""
    reason: str = ""
    """The call's end reason if the call ends; empty: the reason that goes with ``status``."""
    retry_at: datetime | None = None
    """The time of the next attempt, whatever the agent's retry policy says; None: the policy decides."""


def find_attempt(*, attempt_id: str = "", sid: str = "") -> DialAttempt | None:
    """
    Find an attempt by its id, else by the carrier's sid.

    The id is part of the callbacks' addresses, and a callback may come before the sid is known here.
    """
    attempts = DialAttempt.objects.select_related("call__agent")
    attempt: DialAttempt | None
    try:
        attempt = attempts.get(pk=UUID(attempt_id))
    except (ValueError, DialAttempt.DoesNotExist):
        attempt = attempts.filter(sid=sid).first() if sid else None
    if attempt is not None:
        found_call(attempt.call_id)
    return attempt


def adopt_sid(attempt: DialAttempt, sid: str, *, guessed: bool = False) -> bool:
    """
    Store the carrier's sid of an attempt. False if the attempt has another one: then the carrier made two calls.

    ``guessed``: the sid was found by searching for the attempt's numbers. A guess does not revive an attempt that was
    given up as never received; only a callback or the carrier's answer does.
    """
    if attempt.sid is None:
        without_sid = DialAttempt.objects.filter(pk=attempt.pk, sid=None)
        if guessed:
            without_sid = without_sid.filter(ended_at=None)
        try:
            with transaction.atomic():
                if without_sid.update(sid=sid):
                    attempt.refresh_from_db()
                    if attempt.ended_at is None or _revive(attempt):
                        Call.objects.filter(pk=attempt.call_id, attempts_made=attempt.number).update(sid=sid)
        except IntegrityError:
            logger.error("Ignored sid %s for %s: another attempt or call has it", sid, attempt)
            return False
        attempt.refresh_from_db(fields=["sid", "status", "ended_at", "error_code"])
    if attempt.sid != sid:
        logger.error("Ignored sid %s for %s: it has sid %s already", sid, attempt, attempt.sid)
        return False
    return True


def _revive(attempt: DialAttempt) -> bool:
    """Reopen an attempt that was given up and exists after all, unless the call's next attempt has begun."""
    waits_for_next = Call.objects.filter(
        pk=attempt.call_id, status=Status.QUEUED, due_at__isnull=False, attempts_made=attempt.number
    )
    if attempt.error_code != NOT_SENT or not waits_for_next.update(due_at=None):
        return False
    logger.warning("Reopened %s: the carrier received its request after all", attempt)
    reopened = {"status": Status.QUEUED, "ended_at": None, "error_code": "", "error": ""}
    return bool(DialAttempt.objects.filter(pk=attempt.pk).update(**reopened))


def move_attempt(attempt: DialAttempt, outcome: Outcome, *, only_without_sid: bool = False) -> bool:
    """
    Move an attempt to the outcome's status, and its call with it. False if the table of statuses does not allow it.

    ``only_without_sid``: move it only while the carrier has reported nothing about it.
    """
    status = outcome.status
    if attempt.status == Status.IN_PROGRESS and status in TERMINAL:
        # The call was answered, so it ends as a conversation, whatever the carrier calls its end.
        status = status if may_move(attempt.status, status) else Status.COMPLETED
    while may_move(attempt.status, status):
        with transaction.atomic():
            as_seen = DialAttempt.objects.filter(pk=attempt.pk, status=attempt.status)
            if only_without_sid:
                as_seen = as_seen.filter(sid=None)
            changes = _changes(status, outcome)
            if as_seen.update(**changes):
                for name, value in changes.items():
                    setattr(attempt, name, value)
                _move_call(attempt, outcome)
                if status in TERMINAL:
                    metrics.DIAL_ATTEMPTS[status].inc()
                return True
        if only_without_sid:
            return False
        attempt.refresh_from_db(fields=["status"])
    return False


def _changes(status: Status, outcome: Outcome) -> dict[str, object]:
    """The fields of an attempt that change with its status."""
    changes: dict[str, object] = {"status": status}
    if status is Status.IN_PROGRESS:
        changes["answered_at"] = outcome.at
    if status in TERMINAL:
        changes |= {
            "ended_at": outcome.at,
            "sip_code": outcome.sip_code,
            "error_code": storable(outcome.error_code)[:32],
            "error": storable(outcome.error),
        }
    return changes


def _move_call(attempt: DialAttempt, outcome: Outcome) -> None:
    """Have the call follow its latest attempt. What is reported about an earlier attempt comes too late."""
    call = Call.objects.select_related("agent").get(pk=attempt.call_id)
    if call.attempts_made != attempt.number:
        return
    status = Status(attempt.status)
    if status not in TERMINAL:
        move(call, status, at=outcome.at)
        return
    retry_at = _retry_at(call, attempt, outcome)
    if retry_at is None or not _schedule_retry(call, attempt, outcome, retry_at):
        _end_call(call, status, outcome)


def apply_carrier_state(attempt: DialAttempt, seen: CarrierCall) -> bool:
    """Move an attempt to the state in which the carrier reports it. Returns whether it moved."""
    if seen.status not in MOVES:
        logger.warning("Ignored the carrier's status %r of %s: unknown status", seen.status, attempt)
        return False
    moved = move_attempt(attempt, Outcome(Status(seen.status), at=seen.ended_at or timezone.now()))
    if moved and seen.status in TERMINAL and seen.duration is not None:
        Call.objects.filter(pk=attempt.call_id, status=seen.status).update(duration=seen.duration)
    return moved


def _retry_at(call: Call, attempt: DialAttempt, outcome: Outcome) -> datetime | None:
    """Return the time at which the next attempt is due; None if there is none."""
    if call.canceled_at is not None:
        return None
    if outcome.retry_at is not None or outcome.permanent:
        return outcome.retry_at
    made = call.attempts.values_list("error_code", "sid")
    wait = schedule.retry_after(
        _retry_policy(call.agent),
        status=Status(attempt.status),
        attempts=sum(may_have_rung(code, sid) for code, sid in made),
        sip_code=attempt.sip_code,
    )
    # Spread over a tenth, so that calls that failed together are not all dialled again together.
    return None if wait is None else outcome.at + timedelta(seconds=wait * random.uniform(1.0, 1.1))


def _retry_policy(agent: Agent) -> schedule.RetryPolicy:
    return schedule.RetryPolicy(
        max_attempts=agent.max_attempts,
        busy_after=float(agent.retry_busy_after),
        no_answer_after=float(agent.retry_no_answer_after),
        failed_after=float(agent.retry_failed_after),
    )


def _schedule_retry(call: Call, attempt: DialAttempt, outcome: Outcome, retry_at: datetime) -> bool:
    """Put the call back into the queue. False if it was canceled or answered meanwhile."""
    Lease.objects.filter(call=call).delete()
    unanswered = Call.objects.filter(pk=call.pk, status__in=UNANSWERED, attempts_made=attempt.number, canceled_at=None)
    scheduled = unanswered.update(status=Status.QUEUED, due_at=retry_at, sid=None)
    call.refresh_from_db()
    if not scheduled:
        return False
    data = {
        "attempt": attempt.number,
        "was": str(attempt.status),
        "at": retry_at.isoformat(),
        "error": attempt.error_code,
    }
    write_event(fact_id_of("retry", str(attempt.pk)), call.pk, "retry-scheduled", timezone.now(), data)
    webhooks.announce(call, "call.retry-scheduled", at=outcome.at, data=data)
    return True


def _end_call(call: Call, status: Status, outcome: Outcome) -> None:
    """End the call as its last attempt ended; as canceled if it was canceled before it was answered."""
    if call.canceled_at is not None and call.status in UNANSWERED and status is not Status.COMPLETED:
        status = Status.CANCELED
    move(call, status, at=outcome.at, reason=outcome.reason or _REASONS.get(status, ""))


_REASONS = {Status.BUSY: "busy", Status.NO_ANSWER: "no-answer", Status.FAILED: "failed", Status.CANCELED: "canceled"}
"""The end reason of a call by its final status, where nothing more precise is known."""
