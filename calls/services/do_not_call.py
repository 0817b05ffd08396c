"""The do-not-call list."""

import re
from collections.abc import Mapping

from calls.errors import CallsError
from calls.models import E164, Call, DoNotCall
from calls.services.records import clean


def add_do_not_call(*, number: str, source: str, reason: str = "", call: Call | None = None) -> tuple[DoNotCall, bool]:
    """
    From now on ``number`` is not dialled, nor is what waits for it: the dialler looks here last. Idempotent.

    Returns the entry, and whether it is new; the first reason stays. Raises ``CallsError`` for what is no number.
    """
    number = whole_number(number)
    if source not in DoNotCall.Source.values:
        raise CallsError(f"{source!r} is no source of the do-not-call list.", field="source")
    defaults = {"source": source, "reason": clean(reason)[:255], "call": call}
    return DoNotCall.objects.get_or_create(number=number, defaults=defaults)


def add_many_do_not_call(*, reasons: Mapping[str, str], source: str) -> int:
    """As ``add_do_not_call``, for any number of E.164 numbers and their reasons. Returns how many are new."""
    entries = [DoNotCall(number=number, reason=clean(why)[:255], source=source) for number, why in reasons.items()]
    before = DoNotCall.objects.count()
    DoNotCall.objects.bulk_create(entries, batch_size=1000, ignore_conflicts=True)
    return DoNotCall.objects.count() - before


def remove_do_not_call(*, number: str) -> bool:
    """The number may be dialled again. False if it was not on the list."""
    return bool(DoNotCall.objects.filter(number=whole_number(number)).delete()[0])


def whole_number(text: str) -> str:
    """``text`` in E.164; it may be written with spaces, dots, dashes and brackets. Raises ``CallsError``."""
    number = re.sub(r"[ ().-]", "", text)
    if not (number.isascii() and E164.fullmatch(number)):
        raise CallsError("Write the number in full, as +15551234567.", code="invalid-number", field="number")
    return number
