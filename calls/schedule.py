"""
When a number may be dialled: calling hours, retries, pace and the limit per day.

Pure: no clock is read, ``now`` is handed in. Moments are aware datetimes, durations seconds.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Self, TypeAlias
from zoneinfo import ZoneInfo

from calls.status import Status

Window: TypeAlias = tuple[time, time | None]  # local wall clock, the end excluded; None: midnight
Week: TypeAlias = tuple[tuple[Window, ...], ...]  # seven days, Monday first

NEVER: Week = ((),) * 7

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class CallingHours:
    """The hours in which people may be called, by region."""

    regions: Mapping[str, Week]

    @classmethod
    def parse(cls, table: Mapping[str, str]) -> Self:
        """
        Read ``{"*": "08:00-21:00", "US": "08:00-21:00; Sun 12:00-20:00", "FR": "Mon-Fri 10:00-13:00 14:00-20:00"}``.

        A key is an ISO country code, "001" (numbers of no country) or "*" (all the others); a region that no key covers
        is never called. The text is rules between ``;``. A rule is windows ``HH:MM-HH:MM`` in the called person's local
        time (``24:00`` ends a day), after days such as ``Mon-Fri`` or ``Sat,Sun`` or, without them, for every
        day. A later rule replaces the earlier ones on its days. Days without a rule, and an empty text: never.

        Raises ``ValueError`` naming the key and the text.
        """
        if not isinstance(table, Mapping):
            raise ValueError('Calling hours must map regions to hours, as {"*": "08:00-21:00"} does.')
        return cls({key: _parse_week(key, text) for key, text in table.items()})

    def of(self, region: str) -> Week:
        return self.regions.get(region, self.regions.get("*", NEVER))


def next_allowed(
    now: datetime, *, zones: Sequence[str], hours: Week, horizon: timedelta = timedelta(days=8)
) -> datetime | None:
    """
    The earliest moment from ``now`` on, in UTC, at which every zone's wall clock shows one of the ``hours``.

    ``None`` if there is none within the horizon. Wall clocks decide: a window that begins in an hour which spring
    skips opens right after that hour, and one inside the hour which autumn repeats opens twice. Raises ``ValueError``
    for an unknown zone, for no zone at all, and for a ``now`` without a zone.
    """
    if now.tzinfo is None:
        raise ValueError("The present moment needs a time zone.")
    if not zones:
        raise ValueError("A number without a time zone cannot be dialled.")
    places = [_zone(name) for name in zones]
    moment = now.astimezone(UTC)
    try:
        end = moment + horizon
        agreed = 0
        # Each zone can only put the moment off, so the first one that none of them puts off is the earliest.
        for place in itertools.cycle(places):
            opening = _opening(moment, place, hours, end)
            if opening is None:
                return None
            agreed = agreed + 1 if opening == moment else 1
            moment = opening
            if agreed == len(places):
                return moment
    except OverflowError:
        pass  # the calendar ends before the horizon
    return None


@dataclass(frozen=True)
class RetryPolicy:
    """How often one call is tried, the first time included, and how many seconds pass before it is tried again."""

    max_attempts: int
    busy_after: float
    no_answer_after: float
    failed_after: float


# 404, 410, 484, 604: no such number. 607, 608: the person, or the network for them, does not want these calls.
HOPELESS_SIP_CODES = frozenset({404, 410, 484, 604, 607, 608})


def retry_after(
    policy: RetryPolicy, *, status: str, attempts: int, sip_code: int | None = None, permanent: bool = False
) -> float | None:
    """
    Seconds from the end of an attempt to the next one; ``None`` if there must be none.

    ``attempts`` counts those made; ``permanent`` is the carrier's word that another will fare no better. A completed
    call was answered, even if by a machine, and a canceled one is not wanted; a number that does not exist, or whose
    owner does not want the call, is not dialled again. Raises ``ValueError`` for a status that is not an end.
    """
    match Status(status):
        case Status.COMPLETED | Status.CANCELED:
            return None
        case Status.BUSY:
            wait = policy.busy_after
        case Status.NO_ANSWER:
            wait = policy.no_answer_after
        case Status.FAILED:
            wait = policy.failed_after
        case going_on:
            raise ValueError(f"An attempt that is {going_on} has not ended.")
    if permanent or sip_code in HOPELESS_SIP_CODES or attempts >= policy.max_attempts:
        return None
    return wait


@dataclass(frozen=True)
class Pace:
    """How fast calls may be started: so many a second on average, and at most ``burst`` at once after a pause."""

    calls_per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not 0.001 <= self.calls_per_second <= 1000:
            raise ValueError(f"The pace must be 0.001 to 1000 calls per second, not {self.calls_per_second}.")
        if not 1 <= self.burst <= 10_000:
            raise ValueError(f"The burst must be 1 to 10000 calls, not {self.burst}.")

    @property
    def interval(self) -> timedelta:
        # Rounded up, so that the pace is never exceeded.
        return timedelta(microseconds=math.ceil(1e6 / self.calls_per_second))


_CLOCK_STEP = timedelta(seconds=60)


def reserve(pace: Pace, *, next_at: datetime, now: datetime, wanted: int) -> tuple[int, datetime]:
    """
    How many of ``wanted`` calls may start now, and the new ``next_at`` to store by compare-and-set.

    ``next_at`` is when the calls granted so far would all have started at an even pace (GCRA); none are granted while
    it is more than a burst ahead. It gets further ahead than that only where the clock stepped back: by up to a
    minute dialling waits for the clock to catch up, by more it begins afresh.
    """
    allowance = pace.interval * pace.burst
    if not now < next_at <= now + allowance + _CLOCK_STEP:
        next_at = now
    granted = max(0, min(wanted, (now + allowance - next_at) // pace.interval))
    return granted, next_at + granted * pace.interval


def backoff(failures: int, *, first: float = 1.0, longest: float = 300.0, jitter: float) -> float:
    """
    Seconds to wait after so many failures in a row: ``first``, doubled each time, up to ``longest``.

    ``jitter``, from 0 to 1 and at random, picks the place between half of that and all of it, so that those who failed
    together do not come back together.
    """
    if failures < 1:
        return 0.0
    return min(longest, math.ldexp(first, min(failures - 1, 60))) * (0.5 + 0.5 * jitter)


def day_is_full(starts: Sequence[datetime], *, now: datetime, per_day: int) -> datetime | None:
    """
    When the next attempt is allowed, if the 24 hours before ``now`` have had ``per_day`` of them; ``None``: at once.

    After a clock stepped back, starts up to a day in the future count as just now; later ones are not believed.
    """
    if per_day < 1:
        raise ValueError(f"There must be at least one attempt a day, not {per_day}.")
    recent = sorted(min(start, now) for start in starts if abs(now - start) < _DAY)
    return None if len(recent) < per_day else recent[-per_day] + _DAY


def _opening(moment: datetime, place: ZoneInfo, hours: Week, end: datetime) -> datetime | None:
    """The first moment from ``moment`` to ``end`` at which the wall clock of ``place`` shows one of the ``hours``."""
    while moment <= end:
        local = moment.astimezone(place)
        wall = local.replace(tzinfo=None)
        clock = wall.time()
        starts = []
        for start, stop in hours[wall.weekday()]:
            if start <= clock and (stop is None or clock < stop):
                return moment
            if start > clock:
                starts.append(datetime.combine(wall, start))
        # The next window, or midnight, if the wall clock runs evenly until then; else look again where it jumps.
        target = min(starts, default=datetime.combine(wall, time.min) + _DAY)
        guess = moment + (target - wall)
        offset = local.utcoffset()
        moment = guess if guess.astimezone(place).utcoffset() == offset else _jump(moment, guess, place)
    return None


def _jump(before: datetime, after: datetime, place: ZoneInfo) -> datetime:
    """The first moment with another UTC offset than ``before``; clocks change on a whole second."""
    offset = before.astimezone(place).utcoffset()
    low = before.replace(microsecond=0)
    steps = math.ceil((after - low) / _SECOND)
    fewest = 0
    while steps - fewest > 1:
        middle = (fewest + steps) // 2
        if (low + middle * _SECOND).astimezone(place).utcoffset() == offset:
            fewest = middle
        else:
            steps = middle
    return low + steps * _SECOND


@lru_cache(maxsize=1024)  # ZoneInfo itself keeps only the last eight: it read 42 zones from disk at every call
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones, such as "America"
        raise ValueError(f"There is no time zone {name!r}.") from error


def _parse_week(key: str, text: str) -> Week:
    def wrong(why: str) -> ValueError:
        return ValueError(f"Calling hours of {key!r}: {text!r}: {why}")

    if not isinstance(key, str) or not re.fullmatch(r"\*|001|[A-Z]{2}", key):
        raise wrong('the key must be "*", a country code such as "US", or "001".')
    if not isinstance(text, str):
        raise wrong('the hours must be text such as "Mon-Fri 08:00-21:00".')
    week = list(NEVER)
    for rule in filter(None, map(str.strip, text.split(";"))):
        first, *rest = rule.split()
        named = not first[0].isdigit()
        days = _parse_days(first) if named else range(7)
        if not days:
            raise wrong(f"{first!r} is neither days, such as Mon-Fri or Sat,Sun, nor a window.")
        windows = sorted(map(_parse_minutes, rest if named else [first, *rest]))
        if not windows or windows[0][0] < 0:
            raise wrong(f"{rule!r} needs windows such as 08:00-21:00, each ending after it begins, by 24:00.")
        if any(later[0] < earlier[1] for earlier, later in itertools.pairwise(windows)):
            raise wrong(f"the windows of {rule!r} overlap.")
        for day in days:
            week[day] = tuple((_clock(start), None if stop == 24 * 60 else _clock(stop)) for start, stop in windows)
    return tuple(week)


def _parse_days(text: str) -> list[int]:
    """Weekdays from 0, empty if ``text`` is not in the grammar. ``Sat-Mon`` goes around the end of the week."""
    days: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS or part.endswith("-"):
            return []
        begin, length = _DAYS.index(first), (_DAYS.index(last or first) - _DAYS.index(first)) % 7
        days.extend((begin + step) % 7 for step in range(length + 1))
    return days


def _parse_minutes(text: str) -> tuple[int, int]:
    """Minutes of the day at which a window begins and ends; (-1, -1) if ``text`` is no window."""
    match = re.fullmatch(r"([0-9]{2}):([0-5][0-9])-([0-9]{2}):([0-5][0-9])", text)
    if match is None:
        return -1, -1
    begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    return (begin, end) if begin < end <= 24 * 60 else (-1, -1)


def _clock(minutes: int) -> time:
    return time(*divmod(minutes, 60))
