"""The do-not-call list: the numbers that are never dialled."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from calls.dial_rules import may_exist
from calls.errors import CallsError
from calls.models import Call, DoNotCall
from calls.number_forms import forms_of
from calls.numbers import number_in, read_address
from calls.plain_text import storable
from calls.services.dialable import refused_at

LONGEST_REASON = 255
"""Characters of a reason that are stored."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to add, with its number in E.164."""

    number: str
    reason: str = ""
    source: str = DoNotCall.Source.OPERATOR
    created_at: datetime | None = None
    """Since when the number is on a list; None: from now on."""


def add_do_not_call(*, number: str, source: str, reason: str = "", call: Call | None = None) -> tuple[DoNotCall, bool]:
    """
    Never dial ``number`` again, not even for calls that wait already: the dialler asks this list last. Idempotent.

    Returns the entry, and whether it is new. An existing entry keeps its reason. Raises ``CallsError`` if ``number`` is
    not a telephone number.
    """
    number = read_entry(number)
    if source not in DoNotCall.Source.values:
        choices = ", ".join(DoNotCall.Source.values)
        raise CallsError(f"There is no source {source!r}. Choose one of: {choices}.", field="source")
    defaults = {"source": source, "reason": storable(reason)[:LONGEST_REASON], "call": call}
    return DoNotCall.objects.get_or_create(number=number, defaults=defaults)


def add_many_do_not_call(entries: Iterable[NewEntry]) -> int:
    """Add any number of entries. Those whose number is on the list already change nothing. Returns how many are new."""
    now = timezone.now()
    rows = [
        DoNotCall(
            number=entry.number,
            reason=storable(entry.reason)[:LONGEST_REASON],
            source=entry.source,
            created_at=entry.created_at or now,
        )
        for entry in entries
    ]
    before = DoNotCall.objects.count()
    DoNotCall.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)
    return DoNotCall.objects.count() - before


def remove_do_not_call(*, number: str) -> int:
    """
    Allow the number to be dialled again, in all its forms.

    Returns the number of entries removed: 0 if it was not on the list.
    """
    return find_entries(read_entry(number)).delete()[0]


def find_entries(number: str) -> QuerySet[DoNotCall]:
    """Return the entries of a number in E.164, in any of its forms: each keeps it from being dialled."""
    return DoNotCall.objects.filter(number__in=forms_of(number))


def warn_of(number: str) -> str:
    """Return what is wrong with an entry that stops no call, because its number cannot exist; else an empty text."""
    return "" if may_exist(number) else f"{number} does not exist, so this entry stops no call. Check its digits."


def read_entry(text: str) -> str:
    """Return the number of an entry in E.164, however it is written. Raises ``CallsError`` (``invalid-number``)."""
    with refused_at("number"):
        address = read_address(text)
    if not (number := number_in(address)):
        raise CallsError(
            f"{address} is no telephone number. Only numbers are dialled, so only they can be on the do-not-call list.",
            code="invalid-number",
            field="number",
        )
    return number
