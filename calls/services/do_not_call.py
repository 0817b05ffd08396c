"""The do-not-call list: the numbers that are never dialled."""

import re
from collections.abc import Mapping

from calls.errors import CallsError
from calls.models import E164, Call, DoNotCall
from calls.services.records import clean


def add_do_not_call(*, number: str, source: str, reason: str = "", call: Call | None = None) -> tuple[DoNotCall, bool]:
    """
    Never dial ``number`` again, not even for calls that wait already: the dialler asks this list last. Idempotent.

    Returns the entry, and whether it is new. An existing entry keeps its reason. Raises ``CallsError`` if ``number`` is
    not a telephone number.
    """
    number = whole_number(number)
    if source not in DoNotCall.Source.values:
        choices = ", ".join(DoNotCall.Source.values)
        raise CallsError(f"There is no source {source!r}. Choose one of: {choices}.", field="source")
    defaults = {"source": source, "reason": clean(reason)[:255], "call": call}
    return DoNotCall.objects.get_or_create(number=number, defaults=defaults)


def add_many_do_not_call(*, reasons: Mapping[str, str], source: str) -> int:
    """Add any number of E.164 numbers, given with their reasons. Returns how many are new."""
    entries = [DoNotCall(number=number, reason=clean(why)[:255], source=source) for number, why in reasons.items()]
    before = DoNotCall.objects.count()
    DoNotCall.objects.bulk_create(entries, batch_size=1000, ignore_conflicts=True)
    return DoNotCall.objects.count() - before


def remove_do_not_call(*, number: str) -> bool:
    """Allow the number to be dialled again. False if it was not on the list."""
    return bool(DoNotCall.objects.filter(number=whole_number(number)).delete()[0])


def whole_number(text: str) -> str:
    """Return ``text`` in E.164. It may contain spaces, dots, dashes and brackets. Raises ``CallsError``."""
    number = re.sub(r"[ ().-]", "", text)
    if not (number.isascii() and E164.fullmatch(number)):
        raise CallsError("Write the number in full, as +15551234567.", code="invalid-number", field="number")
    return number
