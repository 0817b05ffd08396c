"""
Deleting what is old enough, and forgetting a person.

What people said goes: words, keys, sound, what was known of them. What stays is a call without a face, with its times
and latencies, so that the statistics of the past do not change; and rows that are emptied rather than deleted cannot be
written again by a late report. What is still in ``SPOOL_DIR`` belongs to calls that are live or not yet written down,
and is reached once they are.
"""

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from calls.carrier import Carrier
from calls.errors import CallsError
from calls.models import Call, CallEvent, CallOrder, DialAttempt, DoNotCall, Turn, WebhookDelivery
from calls.services import webhook_delivery
from calls.services.do_not_call import whole_number
from calls.services.records import fact_id_of
from calls.services.stopping import cancel_call
from calls.status import TERMINAL, Status

logger = logging.getLogger(__name__)

FORGOTTEN = "forgotten"
"""Stands where a forgotten person's number was."""
WORDS = ("text", "words", "digit", "digits", "said", "heard", "message")
"""Under these names an event's data hold what somebody said, wrote or pressed."""
FACELESS = ("call", "direction", "status", "end_reason", "attempts_made")
"""Of a webhook's data, what tells nothing of the person."""
BATCH = 200
"""Calls in one transaction: nobody waits for it noticeably."""
MOST_AT_ONCE = 5000
"""Calls that one run empties, so that it ends: the next one goes on."""
STORAGE_FAILS = 20
"""Files in a row that cannot be deleted, after which the storage is left alone until the next run."""


# --- What is old enough ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Retired:
    """What one run has deleted: recordings, and the words of so many calls."""

    recordings: int = 0
    transcripts: int = 0


def retire(*, now: datetime | None = None) -> Retired:
    """
    Delete recordings and words past their age: ``RETENTION_RECORDINGS_DAYS``, ``RETENTION_TRANSCRIPTS_DAYS``.

    A file that cannot be deleted is tried again by the next run. Also empties what was written late of forgotten
    people, and shortens the log of webhooks.
    """
    now = now or timezone.now()
    retired = Retired()
    if settings.RETENTION_RECORDINGS_DAYS:
        old = _over_before(now - timedelta(days=settings.RETENTION_RECORDINGS_DAYS)).exclude(recording="")
        gone = _delete_recordings(old.order_by("created_at").only("recording")[:MOST_AT_ONCE])
        _note("recording", gone, now)
        retired.recordings = len(gone)
    if settings.RETENTION_TRANSCRIPTS_DAYS:
        old = _over_before(now - timedelta(days=settings.RETENTION_TRANSCRIPTS_DAYS)).filter(_has_words())
        while retired.transcripts < MOST_AT_ONCE and (page := _page(old)):
            with transaction.atomic():
                _empty_words(page)
                _note("transcript", page, now)
            retired.transcripts += len(page)
    _forget_again()
    webhook_delivery.forget_old(now=now)
    if retired.recordings or retired.transcripts:
        logger.info("Deleted %d recordings and the words of %d calls", retired.recordings, retired.transcripts)
    return retired


def _over_before(cutoff: datetime) -> QuerySet[Call]:
    """Calls that were over by then. No call began after its end, and ``created_at`` has an index."""
    ended = Call.objects.alias(over_at=Coalesce("ended_at", "created_at"))
    return ended.filter(status__in=TERMINAL, created_at__lt=cutoff, over_at__lt=cutoff)


def _has_words() -> Q:
    this = OuterRef("pk")
    return (
        ~Q(variables={})
        | Q(Exists(Turn.objects.filter(call=this).exclude(said="", heard="")))
        | Q(Exists(CallEvent.objects.filter(call=this, data__has_any_keys=WORDS)))
        | Q(Exists(CallOrder.objects.filter(call=this)))
    )


def _page(calls: QuerySet[Call]) -> list[UUID]:
    return list(calls.order_by("created_at").values_list("pk", flat=True)[:BATCH])


def _empty_words(calls: Collection[UUID]) -> int:
    """Returns the number of turns that had any."""
    spoken = list(CallEvent.objects.filter(call__in=calls, data__has_any_keys=WORDS))
    for event in spoken:
        event.data = {name: value for name, value in event.data.items() if name not in WORDS}
    CallEvent.objects.bulk_update(spoken, ["data"], batch_size=BATCH)
    CallOrder.objects.filter(call__in=calls).delete()
    Call.objects.filter(pk__in=calls).update(variables={})
    return Turn.objects.filter(call__in=calls).exclude(said="", heard="").update(said="", heard="")


def _delete_recordings(calls: Iterable[Call]) -> list[UUID]:
    """Returns those whose sound is gone."""
    gone: list[UUID] = []
    failures = 0
    for call in calls:
        try:
            call.recording.storage.delete(call.recording.name)
        except Exception as error:  # every storage has errors of its own, and one file must not keep the others
            logger.warning("The recording %s cannot be deleted: %s", call.recording.name, error)
            failures += 1
            if failures == STORAGE_FAILS:
                break
            continue
        failures = 0
        # After the file: who is stopped in between finds it again here, and deleting it twice does no harm.
        Call.objects.filter(pk=call.pk, recording=call.recording.name).update(recording="")
        gone.append(call.pk)
    return gone


def _note(what: str, calls: Iterable[UUID], at: datetime) -> None:
    CallEvent.objects.bulk_create(
        [
            CallEvent(
                call_id=pk, kind="retired", at=at, data={"what": what}, fact_id=fact_id_of("retired", what, str(pk))
            )
            for pk in calls
        ],
        batch_size=BATCH,
        ignore_conflicts=True,
    )


# --- Forgetting a person -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Forgotten:
    """What was known of a person. ``do_not_call``: the number is on that list and has stayed there."""

    calls: int = 0
    canceled: int = 0
    recordings: int = 0
    turns: int = 0
    events: int = 0
    deliveries: int = 0
    do_not_call: bool = False


def forget(*, number: str, and_do_not_call: bool = False, carrier: Carrier | None = None) -> Forgotten:
    """
    Remove a person: what was said in every call with ``number``, what was known beforehand, and the number itself.

    Calls that wait for them are canceled. An entry of the do-not-call list stays, without its words: only a list that
    has the number can keep it from being dialled again. ``and_do_not_call`` removes it as well.

    Raises ``CallsError``, with what could be done done: ``call-live`` while somebody is on the line, ``storage-failed``
    if a recording cannot be deleted. Then run it again.
    """
    number = whole_number(number)
    theirs = Call.objects.filter(
        Q(direction=Call.Direction.OUTBOUND, to_number=number) | Q(direction=Call.Direction.INBOUND, from_number=number)
    )
    forgotten, now = Forgotten(), timezone.now()
    for call_id in theirs.filter(status=Status.QUEUED, due_at__isnull=False).values_list("pk", flat=True):
        cancel_call(call_id=call_id, carrier=carrier)
        forgotten.canceled += 1
    going_on = theirs.filter(~Q(status__in=TERMINAL) | Q(Exists(_open_attempts())))
    if live := list(going_on.values_list("pk", flat=True)[:10]):
        names = ", ".join(map(str, live))
        raise CallsError(
            f"Still on the line: {names}. Hang up first.", permanent=False, code="call-live", field="number"
        )
    over = theirs.filter(~Exists(_open_attempts()), status__in=TERMINAL)
    for page in _pages(over.only("recording")):
        gone = _delete_recordings(call for call in page if call.recording)
        forgotten.recordings += len(gone)
        _forget([call.pk for call in page if not call.recording or call.pk in gone], now, forgotten)
    entry = DoNotCall.objects.filter(number=number)
    if and_do_not_call:
        entry.delete()
        LogEntry.objects.filter(object_repr=number).update(object_repr=FORGOTTEN)
    else:
        forgotten.do_not_call = bool(entry.update(reason="", call=None))
    if left := over.count():
        raise CallsError(
            f"The recordings of {left} calls cannot be deleted; the log says why. The rest is done.",
            permanent=False,
            code="storage-failed",
            field="number",
        )
    logger.info("Forgot what was known of a number: %d calls", forgotten.calls)
    return forgotten


def _pages(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """A person's calls, read at once: emptying them takes them out of the query."""
    known = list(calls)
    return (known[start : start + BATCH] for start in range(0, len(known), BATCH))


def _open_attempts() -> QuerySet[DialAttempt]:
    return DialAttempt.objects.filter(call=OuterRef("pk"), ended_at=None)


def _forget(calls: Collection[UUID], at: datetime, forgotten: Forgotten) -> None:
    """Take words, numbers and everything else that points at somebody out of these calls, all or nothing."""
    if not calls:
        return
    with transaction.atomic():
        forgotten.calls += len(calls)
        forgotten.events += CallEvent.objects.filter(call__in=calls).exclude(data={}).update(data={})
        forgotten.turns += _empty_words(calls)
        forgotten.deliveries += _redact(WebhookDelivery.objects.filter(call__in=calls))
        # The carrier's names lead to its own records of the person.
        DialAttempt.objects.filter(call__in=calls).update(to_number=FORGOTTEN, sid=None, error="")
        these = Call.objects.filter(pk__in=calls)
        these.filter(direction=Call.Direction.OUTBOUND).update(to_number=FORGOTTEN)
        these.filter(direction=Call.Direction.INBOUND).update(from_number=FORGOTTEN)
        these.update(
            sid=None,
            stream_sid="",
            metadata={},
            timezone="",
            transfer_to="",
            idempotency_key=None,
            request_digest="",
        )
        CallEvent.objects.bulk_create(
            [CallEvent(call_id=pk, kind="forgotten", at=at, fact_id=fact_id_of("forgotten", str(pk))) for pk in calls],
            batch_size=BATCH,
            ignore_conflicts=True,
        )


def _redact(deliveries: QuerySet[WebhookDelivery]) -> int:
    """What still waits is delivered, as it tells that the call is over, but no longer whose it was."""
    found = list(deliveries.only("payload"))
    for delivery in found:
        data = delivery.payload.get("data", {})
        delivery.payload["data"] = {name: data[name] for name in FACELESS if name in data}
    WebhookDelivery.objects.bulk_update(found, ["payload"], batch_size=BATCH)
    return len(found)


def _forget_again() -> None:
    """A report or a fact that was on its way while its call was forgotten has come: it goes the same way."""
    this = OuterRef("pk")
    calls = Call.objects.filter(
        Q(direction=Call.Direction.OUTBOUND, to_number=FORGOTTEN)
        | Q(direction=Call.Direction.INBOUND, from_number=FORGOTTEN),
        ~Q(recording="")
        | Q(sid__isnull=False)
        | Q(Exists(Turn.objects.filter(call=this).exclude(said="", heard="")))
        | Q(Exists(CallEvent.objects.filter(call=this).exclude(data={}))),
    )
    for page in _pages(calls.only("recording")[:MOST_AT_ONCE]):
        gone = _delete_recordings(call for call in page if call.recording)
        _forget([call.pk for call in page if not call.recording or call.pk in gone], timezone.now(), Forgotten())
