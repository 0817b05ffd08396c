"""
What becomes of a dial attempt, and through it of its call.

An attempt moves along the same table as a call, and never back. Its call follows it, but for one thing: after an
attempt in vain it waits for the next, if the agent's policy has one left.
"""

import logging
import random
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from calls import schedule
from calls.carrier import CarrierCall
from calls.models import Agent, Call, DialAttempt, Lease
from calls.services import webhooks
from calls.services.records import clean, fact_id_of, move, write_event
from calls.status import MOVES, TERMINAL, UNANSWERED, Status, may_move

logger = logging.getLogger(__name__)

NOT_SENT = "not-sent"
"""Error code of attempts of which the carrier surely never heard."""
UNCOUNTED = (NOT_SENT, "20429", "10004", "account")
"""Error codes of attempts in which nobody's telephone can have rung."""


def find_attempt(*, attempt_id: str = "", sid: str = "") -> DialAttempt | None:
    """By the id in the callback's address, which is known before the carrier's own name of the call; else by that."""
    attempts = DialAttempt.objects.select_related("call__agent")
    try:
        return attempts.get(pk=UUID(attempt_id))
    except (ValueError, DialAttempt.DoesNotExist):
        return attempts.filter(sid=sid).first() if sid else None


def adopt(attempt: DialAttempt, sid: str, *, guessed: bool = False) -> bool:
    """
    Learn the carrier's name of an attempt. False if it has another: a call that nobody should have made.

    ``guessed``: it was found at the carrier by its numbers. Only the carrier's own word brings an attempt back that was
    given up as one that never arrived.
    """
    if attempt.sid is None:
        nameless = DialAttempt.objects.filter(pk=attempt.pk, sid=None)
        if guessed:
            nameless = nameless.filter(ended_at=None)
        try:
            with transaction.atomic():
                if nameless.update(sid=sid):
                    attempt.refresh_from_db()
                    if attempt.ended_at is None or _revive(attempt):
                        Call.objects.filter(pk=attempt.call_id, attempts_made=attempt.number).update(sid=sid)
        except IntegrityError:
            logger.error("Call %s is already known, and not as %s", sid, attempt)
            return False
        attempt.refresh_from_db(fields=["sid", "status", "ended_at", "error_code"])
    if attempt.sid != sid:
        logger.error("%s is call %s, and yet the carrier says %s", attempt, attempt.sid, sid)
        return False
    return True


def _revive(attempt: DialAttempt) -> bool:
    """An attempt that was given up is alive after all: take the next one back, unless it has begun."""
    waits = Call.objects.filter(
        pk=attempt.call_id, status=Status.QUEUED, due_at__isnull=False, attempts_made=attempt.number
    )
    if attempt.error_code != NOT_SENT or not waits.update(due_at=None):
        return False
    logger.warning("%s of call %s arrived after all", attempt, attempt.call_id)
    alive = {"status": Status.QUEUED, "ended_at": None, "error_code": "", "error": ""}
    return bool(DialAttempt.objects.filter(pk=attempt.pk).update(**alive))


def move_attempt(
    attempt: DialAttempt,
    status: Status,
    *,
    at: datetime,
    sip_code: int | None = None,
    error_code: str = "",
    error: str = "",
    permanent: bool = False,
    reason: str = "",
    retry_at: datetime | None = None,
    if_unheard: bool = False,
) -> bool:
    """
    Move an attempt, and its call with it; False if the table does not allow it.

    ``permanent``: another attempt is useless. ``retry_at``: there is one in any case, then. ``reason`` is that of the
    call's end, if it ends. ``if_unheard``: only while nothing has been heard of it from the carrier.
    """
    if attempt.status == Status.IN_PROGRESS and status in TERMINAL:
        # Somebody answered: whatever the carrier calls the end, it is one of a conversation.
        status = status if may_move(attempt.status, status) else Status.COMPLETED
    while may_move(attempt.status, status):
        news: dict[str, object] = {"status": status}
        if status is Status.IN_PROGRESS:
            news["answered_at"] = at
        if status in TERMINAL:
            news |= {"ended_at": at, "sip_code": sip_code, "error_code": clean(error_code)[:32], "error": clean(error)}
        with transaction.atomic():
            mine = DialAttempt.objects.filter(pk=attempt.pk, status=attempt.status)
            if if_unheard:
                mine = mine.filter(sid=None)
            if mine.update(**news):
                for name, value in news.items():
                    setattr(attempt, name, value)
                call = Call.objects.select_related("agent").get(pk=attempt.call_id)
                # A call follows its latest attempt only: what is heard of an earlier one comes too late.
                if call.attempts_made == attempt.number:
                    if status in TERMINAL:
                        _settle(call, attempt, at, permanent=permanent, reason=reason, retry_at=retry_at)
                    else:
                        move(call, status, at=at)
                return True
        if if_unheard:
            return False
        attempt.refresh_from_db(fields=["status"])
    return False


def apply_news(attempt: DialAttempt, seen: CarrierCall) -> bool:
    """What the carrier says of an attempt when asked."""
    if seen.status not in MOVES:
        logger.warning("The carrier says that %s is %r, which we do not know", attempt, seen.status)
        return False
    moved = move_attempt(attempt, Status(seen.status), at=seen.ended_at or timezone.now())
    if moved and seen.status in TERMINAL and seen.duration is not None:
        Call.objects.filter(pk=attempt.call_id, status=seen.status).update(duration=seen.duration)
    return moved


def _retry_policy(agent: Agent) -> schedule.RetryPolicy:
    return schedule.RetryPolicy(
        max_attempts=agent.max_attempts,
        busy_after=float(agent.retry_busy_after),
        no_answer_after=float(agent.retry_no_answer_after),
        failed_after=float(agent.retry_failed_after),
    )


def _counted(call: Call) -> int:
    """The attempts that count against the policy."""
    return call.attempts.exclude(error_code__in=UNCOUNTED).count()


def _settle(
    call: Call, attempt: DialAttempt, at: datetime, *, permanent: bool, reason: str, retry_at: datetime | None
) -> None:
    """The latest attempt is over: the call waits for the next one, or is over too."""
    status = Status(attempt.status)
    if retry_at is None and not permanent:
        wait = schedule.retry_after(
            _retry_policy(call.agent), status=status, attempts=_counted(call), sip_code=attempt.sip_code
        )
        # Spread over a tenth, so that what failed together does not come back together.
        retry_at = None if wait is None else at + timedelta(seconds=wait * random.uniform(1.0, 1.1))
    if retry_at is None or call.canceled_at is not None:
        _end(call, status, at, reason)
        return
    Lease.objects.filter(call=call).delete()
    again = Call.objects.filter(pk=call.pk, status__in=UNANSWERED, attempts_made=attempt.number, canceled_at=None)
    if again.update(status=Status.QUEUED, due_at=retry_at, sid=None):
        call.refresh_from_db()
        data = {"attempt": attempt.number, "was": str(status), "at": retry_at.isoformat(), "error": attempt.error_code}
        write_event(fact_id_of("retry", str(attempt.pk)), call.pk, "retry-scheduled", timezone.now(), data)
        webhooks.announce(call, "call.retry-scheduled", at=at, data=data)
    else:
        call.refresh_from_db()
        _end(call, status, at, reason)


def _end(call: Call, status: Status, at: datetime, reason: str) -> None:
    """The call is over: as its last attempt, or canceled, if nobody had answered by then."""
    if call.canceled_at is not None and call.status in UNANSWERED and status is not Status.COMPLETED:
        status = Status.CANCELED
    move(call, status, at=at, reason=reason or _REASONS.get(status, ""))


_REASONS = {
    Status.BUSY: "busy",
    Status.NO_ANSWER: "no-answer",
    Status.FAILED: "failed",
    Status.CANCELED: "canceled",
}
