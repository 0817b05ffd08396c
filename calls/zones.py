"""Reads the names of time zones, and local times in them. Pure but for the files of the zones."""

import re
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from calls.errors import CallsError

_NO_PLACES = {
    "localtime": "is the zone of whichever machine reads it",
    "Factory": "stands for a clock that nobody has set",
    "posixrules": "stands for rules without a place",
}
_POSIX = re.compile(r"<?[+\-A-Za-z0-9]{3,}>?[+-]?\d[^/]*")
"""A rule of POSIX, such as "EST5EDT,M3.2.0,M11.1.0". Some are among the names, and do not say which place is meant."""
_LONGEST_NAME = 64


def find_zone(name: str) -> ZoneInfo:
    """Return the time zone of a place, such as Europe/Berlin, or UTC. Raises ``CallsError`` that says what is wrong."""
    shown = repr(name[:_LONGEST_NAME])
    if name in _NO_PLACES:
        raise _unknown(f"The time zone {shown} {_NO_PLACES[name]}.")
    if _POSIX.fullmatch(name):
        raise _unknown(f"The time zone {shown} is a rule and no place.")
    if name not in _names():
        close = get_close_matches(name.lower()[:_LONGEST_NAME], _by_lower_case(), n=1, cutoff=0.8)
        hint = f" Did you mean {_by_lower_case()[close[0]]}?" if close else ""
        raise _unknown(f"There is no time zone {shown}.", hint)
    return ZoneInfo(name)


def names_place(name: str) -> bool:
    """Whether the name may be that of a place, or UTC: it is not empty, and is no rule and no zone of a machine."""
    return bool(name) and name not in _NO_PLACES and not _POSIX.fullmatch(name)


def local_time(wall: datetime, zone: ZoneInfo) -> datetime:
    """
    Return the moment at which clocks in the zone show ``wall``, which has no offset.

    Raises ``CallsError`` where they never do, because they are put forward, or do twice, because they are put back: the
    person who wrote the time decides which of two moments is meant.
    """
    moments = sorted({wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)})
    if len(moments) == 1:
        return moments[0]
    exists = any(moment.astimezone(zone).replace(tzinfo=None) == wall for moment in moments)
    what = "comes twice" if exists else "does not exist"
    first, second = (f"{moment:%Y-%m-%dT%H:%M}Z ({moment.astimezone(zone):%H:%M%z} there)" for moment in moments)
    text = f"The time {wall:%Y-%m-%dT%H:%M} {what} in {zone.key}, where clocks change. Write {first} or {second}."
    raise CallsError(text, field="scheduled_for")


def _unknown(what: str, hint: str = "") -> CallsError:
    text = f"{what}{hint or ' Write the name of a place, such as America/New_York.'}"
    return CallsError(text, code="unknown-timezone", field="timezone")


@cache
def _names() -> frozenset[str]:
    """The names of the machine's zones, read once: they are files."""
    return frozenset(filter(names_place, available_timezones()))


@cache
def _by_lower_case() -> dict[str, str]:
    return {name.lower(): name for name in _names()}
