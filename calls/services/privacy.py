"""
Retention: deleting recordings and transcripts by age. Forgetting: removing everything about one person.

Both remove what a person said: words, pressed keys, recordings, variables. The call itself stays, with its times and
latencies, so that past statistics do not change. Its rows are emptied rather than deleted, so that a late report cannot
write them again. ``traces`` reaches what is not in rows of the calls.
"""

import logging
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from calls.carrier import Carrier
from calls.errors import CallsError
from calls.models import Call, CallEvent, CallOrder, DialAttempt, Turn, WebhookDelivery
from calls.number_forms import forms_of
from calls.numbers import ANONYMOUS, caller_number, canonical, read_address
from calls.plain_text import is_storable
from calls.services import traces, webhook_delivery, webhooks
from calls.services.dialable import refused_at
from calls.services.do_not_call import find_entries
from calls.services.records import FORGOTTEN, fact_id_of
from calls.services.stopping import cancel_call
from calls.status import TERMINAL, Status

logger = logging.getLogger(__name__)

PERSONAL_KEYS = ("text", "words", "digit", "digits", "said", "heard", "message")
"""The keys of an event's data that contain what a person said, wrote or pressed."""
IMPERSONAL_KEYS = ("call", "direction", "status", "end_reason", "attempts_made")
"""The keys of a webhook's data that reveal nothing about the person."""
BATCH = 200
"""Calls in one transaction: few enough that others do not wait noticeably for its locks."""
MOST_AT_ONCE = 5000
"""Calls that one run empties, so that it ends. The next run goes on."""
STORAGE_FAILS = 20
"""Consecutive files that could not be deleted, after which this run stops: the storage is most likely unavailable."""


# --- Retention ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Retired:
    """The result of one run: the recordings and transcripts that it has deleted."""

    recordings: int = 0
    transcripts: int = 0
    """Calls whose words were deleted."""


def apply_retention(*, now: datetime | None = None) -> Retired:
    """
    Delete recordings and words that are older than ``RETENTION_RECORDINGS_DAYS`` and ``RETENTION_TRANSCRIPTS_DAYS``.

    The next run tries again to delete a file that could not be deleted. Also removes what was written late about
    forgotten people, and old deliveries and secrets of webhooks.
    """
    now = now or timezone.now()
    retired = Retired()
    if settings.RETENTION_RECORDINGS_DAYS:
        old = _ended_before(now - timedelta(days=settings.RETENTION_RECORDINGS_DAYS)).exclude(recording="")
        deleted = _delete_recordings(old.order_by("created_at").only("recording")[:MOST_AT_ONCE])
        _write_events("retired", deleted, now, what="recording")
        retired.recordings = len(deleted)
    if settings.RETENTION_TRANSCRIPTS_DAYS:
        old = _ended_before(now - timedelta(days=settings.RETENTION_TRANSCRIPTS_DAYS)).filter(_has_words())
        while retired.transcripts < MOST_AT_ONCE and (page := _page(old)):
            with transaction.atomic():
                _empty_words(page)
                _write_events("retired", page, now, what="transcript")
            retired.transcripts += len(page)
    remove_late_writes()
    webhook_delivery.delete_old_deliveries(now=now)
    webhooks.delete_old_secrets(now=now)
    if retired.recordings or retired.transcripts:
        logger.info("Deleted %d recordings and the words of %d calls", retired.recordings, retired.transcripts)
    return retired


def _ended_before(cutoff: datetime) -> QuerySet[Call]:
    """Calls that had ended by then. A call is created before it ends, and ``created_at`` has an index."""
    ended = Call.objects.alias(end=Coalesce("ended_at", "created_at"))
    return ended.filter(status__in=TERMINAL, created_at__lt=cutoff, end__lt=cutoff)


def _has_words() -> Q:
    this = OuterRef("pk")
    return (
        ~Q(variables={})
        | Q(Exists(Turn.objects.filter(call=this).exclude(said="", heard="")))
        | Q(Exists(CallEvent.objects.filter(call=this, data__has_any_keys=PERSONAL_KEYS)))
        | Q(Exists(CallOrder.objects.filter(call=this)))
    )


def _page(calls: QuerySet[Call]) -> list[UUID]:
    return list(calls.order_by("created_at").values_list("pk", flat=True)[:BATCH])


def _empty_words(calls: Collection[UUID]) -> int:
    """Remove the words of these calls. Returns the number of turns that had any."""
    spoken = list(CallEvent.objects.filter(call__in=calls, data__has_any_keys=PERSONAL_KEYS))
    for event in spoken:
        event.data = {name: value for name, value in event.data.items() if name not in PERSONAL_KEYS}
    CallEvent.objects.bulk_update(spoken, ["data"], batch_size=BATCH)
    CallOrder.objects.filter(call__in=calls).delete()
    Call.objects.filter(pk__in=calls).update(variables={})
    return Turn.objects.filter(call__in=calls).exclude(said="", heard="").update(said="", heard="")


def _delete_recordings(calls: Iterable[Call]) -> list[UUID]:
    """Delete the recordings of these calls. Returns the ids of those whose recording was deleted."""
    deleted: list[UUID] = []
    failures = 0
    for call in calls:
        try:
            call.recording.storage.delete(call.recording.name or "")
        except Exception as error:  # every storage has its own errors, and one file must not stop the others
            logger.warning("Could not delete recording %s; the next run repeats: %s", call.recording.name, error)
            failures += 1
            if failures == STORAGE_FAILS:
                break
            continue
        failures = 0
        # After the file: if this process is stopped in between, the next run finds it here. Deleting twice is harmless.
        Call.objects.filter(pk=call.pk, recording=call.recording.name).update(recording="")
        deleted.append(call.pk)
    return deleted


def _delete_files(names: Iterable[str]) -> bool:
    """Delete files of the storage that no row names. False if one cannot be deleted."""
    for name in names:
        try:
            default_storage.delete(name)
        except Exception as error:  # as above
            logger.warning("Could not delete recording %s: %s", name, error)
            return False
    return True


def _write_events(kind: str, calls: Iterable[UUID], at: datetime, **data: str) -> None:
    """Write one event for each of these calls, once."""
    events = [
        CallEvent(call_id=pk, kind=kind, at=at, data=data, fact_id=fact_id_of(kind, *data.values(), str(pk)))
        for pk in calls
    ]
    CallEvent.objects.bulk_create(events, batch_size=BATCH, ignore_conflicts=True)


# --- Forgetting a person -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Forgotten:
    """The result of ``forget``: the counts of what was removed."""

    calls: int = 0
    """Calls whose data were removed."""
    canceled: int = 0
    """Calls that were waiting and were canceled."""
    recordings: int = 0
    turns: int = 0
    """Turns whose words were removed."""
    events: int = 0
    deliveries: int = 0
    """Webhook deliveries that no longer name the person."""
    do_not_call: bool = False
    """The number is on the do-not-call list and stays there."""
    removed_entries: int = 0
    """Entries of the do-not-call list that were removed."""
    spooled: int = 0
    """Lines and recordings of the spool of this machine that were removed."""
    remaining: list[str] = field(default_factory=list)
    """What still names the person, each with the reason."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is known about the number: no call, and no entry of the do-not-call list."""
        return not (self.calls or self.canceled or self.do_not_call or self.removed_entries)


def forget(*, number: str, and_do_not_call: bool = False, carrier: Carrier | None = None) -> Forgotten:
    """
    Remove a person: what was said in every call with ``number``, what was known beforehand, and the number itself.

    ``number`` is a number in any spelling, or the address of a caller without one, such as ``sip:anna@example.com``.

    Waiting calls to the number are canceled. Its entry on the do-not-call list stays, but without its reason, because
    only the number on that list keeps it from being dialled again. ``and_do_not_call`` removes the entry as well.

    Raises ``CallsError`` after doing what is possible: ``call-live`` while the person is on the line, and
    ``storage-failed`` if a recording cannot be deleted. Run it again then.
    """
    number = read_person(number)
    theirs = _calls_with(number)
    forgotten, now = Forgotten(), timezone.now()
    for call_id in theirs.filter(status=Status.QUEUED, due_at__isnull=False).values_list("pk", flat=True):
        cancel_call(call_id=call_id, carrier=carrier)
        forgotten.canceled += 1
    going_on = theirs.filter(~Q(status__in=TERMINAL) | Q(Exists(_open_attempts())))
    if live := list(going_on.values_list("pk", flat=True)[:10]):
        names = ", ".join(map(str, live))
        raise CallsError(
            f"These calls are still live: {names}. Hang up first.", permanent=False, code="call-live", field="number"
        )
    over = theirs.filter(~Exists(_open_attempts()), status__in=TERMINAL)
    ids = list(over.values_list("pk", flat=True))
    hosts = {name.partition(":")[0] for name in over.exclude(process="").values_list("process", flat=True)}
    traces.record_spooled(ids)
    _remove_person(over, now, forgotten)
    forgotten.spooled = traces.remove_from_spool(set(ids) - {*over.values_list("pk", flat=True)})
    entry, forms = find_entries(number), forms_of(number)
    if and_do_not_call:
        forgotten.removed_entries = entry.delete()[0]
    else:
        forgotten.do_not_call = bool(entry.update(reason="", call=None))
    for form in forms:
        traces.clean_texts(form)
    if left := over.count():
        raise CallsError(
            f"The recordings of {left} calls cannot be deleted; the log says why. Everything else was removed.",
            permanent=False,
            code="storage-failed",
            field="number",
        )
    forgotten.remaining = [*(text for form in forms for text in traces.remaining_texts(form)), *_out_of_reach(hosts)]
    logger.info("Forgot a person: removed the data of %d calls", forgotten.calls)
    return forgotten


def _out_of_reach(hosts: Collection[str]) -> Iterator[str]:
    """What this process cannot reach, and when it goes."""
    if others := sorted({*hosts} - {socket.gethostname()[:40]}):
        yield (
            f"files in SPOOL_DIR of {', '.join(others)}: they are on another machine; they are removed when a web "
            "process starts there or `manage.py forget --late` runs there"
        )
    if journal := traces.empty_journal():
        yield journal


def read_person(text: str) -> str:
    """
    Return the number of a person, or the address of one who has none. Raises ``CallsError`` (``invalid-number``).

    The number in an address counts: whoever wrote from WhatsApp has also called. It may be any text from which somebody
    has called: networks also report short codes, and numbers without their country code.
    """
    try:
        with refused_at("number"):
            address = read_address(text)
    except CallsError:
        address = canonical(text)
        if address in ("", FORGOTTEN) or not is_storable(address) or not _called_from(address).exists():
            raise
    if address == ANONYMOUS:
        raise CallsError(
            "Many people withhold their number, so this is no person's.", code="invalid-number", field="number"
        )
    return caller_number(address) or address


def _called_from(address: str) -> QuerySet[Call]:
    return Call.objects.filter(direction=Call.Direction.INBOUND, from_number=address)


def _calls_with(number: str) -> QuerySet[Call]:
    """Return the calls of which this is the number of the person on the line."""
    known, trunks = {number}, Q()
    if number.startswith("+"):
        # On WhatsApp, a person is known by the same number; through a SIP trunk, by an address that begins with it.
        for form in forms_of(number):
            known |= {form, f"whatsapp:{form}"}
            for scheme, sign in product(("sip", "sips"), "@;:"):
                trunks |= Q(from_number__startswith=f"{scheme}:{form}{sign}")
    outbound = Q(direction=Call.Direction.OUTBOUND, to_number__in=known)
    return Call.objects.filter(outbound | Q(direction=Call.Direction.INBOUND) & (Q(from_number__in=known) | trunks))


def _open_attempts() -> QuerySet[DialAttempt]:
    return DialAttempt.objects.filter(call=OuterRef("pk"), ended_at=None)


def _remove_person(calls: QuerySet[Call], at: datetime, forgotten: Forgotten) -> None:
    """Remove everything that identifies the person from these calls, unless a recording cannot be deleted."""
    # All are read first, because emptying a call takes it out of the query.
    found = list(calls.only("recording", "created_at"))
    stray = traces.stray_recordings(found)
    for start in range(0, len(found), BATCH):
        page = found[start : start + BATCH]
        deleted = _delete_recordings(call for call in page if call.recording)
        forgotten.recordings += len(deleted)
        stuck = {call.pk for call in page if not _delete_files(stray.get(call.pk, []))}
        if emptied := [call.pk for call in page if (not call.recording or call.pk in deleted) and call.pk not in stuck]:
            _empty_calls(emptied, at, forgotten)


def _empty_calls(calls: Collection[UUID], at: datetime, forgotten: Forgotten) -> None:
    """Remove words, numbers and everything else that identifies the person from these calls, in one transaction."""
    with transaction.atomic():
        forgotten.calls += len(calls)
        forgotten.events += CallEvent.objects.filter(call__in=calls).exclude(data={}).update(data={})
        forgotten.turns += _empty_words(calls)
        forgotten.deliveries += _redact(WebhookDelivery.objects.filter(call__in=calls))
        # The sid leads to the carrier's own records about the person.
        DialAttempt.objects.filter(call__in=calls).update(to_number=FORGOTTEN, sid=None, error="")
        these = Call.objects.filter(pk__in=calls)
        these.filter(direction=Call.Direction.OUTBOUND).update(to_number=FORGOTTEN)
        these.filter(direction=Call.Direction.INBOUND).update(from_number=FORGOTTEN)
        these.update(
            sid=None, stream_sid="", metadata={}, timezone="", transfer_to="", idempotency_key=None, request_digest=""
        )
        LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(Call), object_id__in=[str(pk) for pk in calls]
        ).update(object_repr=FORGOTTEN)
        _write_events("forgotten", calls, at)


def _redact(deliveries: QuerySet[WebhookDelivery]) -> int:
    """Remove the person from these deliveries. Waiting ones are still sent: they report the end of a call."""
    found = list(deliveries.only("payload"))
    for delivery in found:
        data = delivery.payload.get("data", {})
        delivery.payload["data"] = {name: data[name] for name in IMPERSONAL_KEYS if name in data}
    WebhookDelivery.objects.bulk_update(found, ["payload"], batch_size=BATCH)
    return len(found)


def remove_late_writes() -> int:
    """
    Remove what was written about calls after their person was forgotten, also in the spool of this machine.

    Returns the number of calls about which something was found.
    """
    this = OuterRef("pk")
    calls = _calls_with(FORGOTTEN).filter(
        ~Q(recording="")
        | ~Q(variables={})
        | ~Q(metadata={})
        | Q(sid__isnull=False)
        | Q(Exists(Turn.objects.filter(call=this).exclude(said="", heard="")))
        | Q(Exists(CallEvent.objects.filter(call=this).exclude(data={})))
        | Q(Exists(CallOrder.objects.filter(call=this)))
    )
    forgotten = Forgotten()
    _remove_person(calls[:MOST_AT_ONCE], timezone.now(), forgotten)
    traces.remove_from_spool()
    return forgotten.calls
