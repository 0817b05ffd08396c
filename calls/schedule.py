"""
Computes when a number may be dialled: calling hours, retries, pace and the limit per day.

Pure: no function reads a clock, and ``now`` is an argument. Times are aware datetimes, durations are seconds.
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

Window: TypeAlias = tuple[time, time | None]
"""Local wall-clock times. The end is excluded; None means midnight."""
Week: TypeAlias = tuple[tuple[Window, ...], ...]
"""The windows of each of seven days, Monday first."""

NEVER: Week = ((),) * 7
"""A week without any window."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class CallingHours:
    """The hours in which people may be called, by region."""

    regions: Mapping[str, Week]
    """By ISO country code, "001" or "*"."""

    @classmethod
    def parse(cls, table: Mapping[str, str]) -> Self:
        """
        Read ``{"*": "08:00-21:00", "US": "08:00-21:00; Sun 12:00-20:00", "FR": "Mon-Fri 10:00-13:00 14:00-20:00"}``.

        A key is an ISO country code, "001" (numbers without a country) or "*" (all other regions). A region that no key
        covers is never called. The text consists of rules separated by ``;``. A rule is one or more windows
        ``HH:MM-HH:MM`` in the called person's local time (``24:00`` ends a day). Days such as ``Mon-Fri`` or
        ``Sat,Sun`` may precede them; a rule without days holds for every day. A later rule replaces earlier ones on its
        days. A day without a rule has no window, and neither has an empty text.

        Raises ``ValueError``, which names the key and the text.
        """
        if not isinstance(table, Mapping):
            raise ValueError('Calling hours must map regions to hours, such as {"*": "08:00-21:00"}.')
        return cls({key: _parse_week(key, text) for key, text in table.items()})

    def of(self, region: str) -> Week:
        """Return the hours of a region."""
        return self.regions.get(region, self.regions.get("*", NEVER))


def next_allowed(
    now: datetime, *, zones: Sequence[str], hours: Week, horizon: timedelta = timedelta(days=8)
) -> datetime | None:
    """
    Return the earliest time from ``now`` on, in UTC, at which the wall clocks of all zones are within the ``hours``.

    None if there is no such time within the horizon. Wall clocks decide: a window that begins in the hour that is
    skipped in spring opens right after that hour, and a window inside the hour that is repeated in autumn opens twice.
    Raises ``ValueError`` for an unknown zone, for no zone at all, and for a ``now`` without a zone.
    """
    if now.tzinfo is None:
        raise ValueError("The current time needs a time zone.")
    if not zones:
        raise ValueError("A number without a time zone cannot be dialled.")
    wall_clocks = [_zone(name) for name in zones]
    moment = now.astimezone(UTC)
    try:
        end = moment + horizon
        agreed = 0
        # Each zone can only postpone the moment, so the first moment that no zone postpones is the earliest.
        for zone in itertools.cycle(wall_clocks):
            opening = _opening(moment, zone, hours, end)
            if opening is None:
                return None
            agreed = agreed + 1 if opening == moment else 1
            moment = opening
            if agreed == len(wall_clocks):
                return moment
    except OverflowError:
        pass  # the calendar ends before the horizon
    return None


@dataclass(frozen=True)
class RetryPolicy:
    """The number of attempts for a call, and the seconds between two of them."""

    max_attempts: int
    """The first attempt included."""
    busy_after: float
    no_answer_after: float
    failed_after: float


HOPELESS_SIP_CODES = frozenset({404, 410, 484, 604, 607, 608})
"""
SIP codes after which another attempt is useless.

404, 410, 484 and 604: there is no such number. 607 and 608: the person, or their network, does not want these calls.
"""


def retry_after(
    policy: RetryPolicy, *, status: str, attempts: int, sip_code: int | None = None, permanent: bool = False
) -> float | None:
    """
    Return the seconds from the end of an attempt to the next one; None if there must be no next one.

    ``attempts`` counts those made so far. ``permanent`` means that the carrier expects another attempt to fail as well.
    A completed call was answered, even if by a machine, and a canceled one is not wanted any more. A number that does
    not exist, or whose owner does not want the call, is not dialled again. Raises ``ValueError`` for a status in which
    an attempt has not ended.
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
        case unfinished:
            raise ValueError(f"An attempt that is {unfinished} has not ended.")
    if permanent or sip_code in HOPELESS_SIP_CODES or attempts >= policy.max_attempts:
        return None
    return wait


@dataclass(frozen=True)
class Pace:
    """The rate of starts: the average per second, and the calls that may start at once after a pause (``burst``)."""

    calls_per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not 0.001 <= self.calls_per_second <= 1000:
            raise ValueError(f"The pace must be 0.001 to 1000 calls per second. It is {self.calls_per_second}.")
        if not 1 <= self.burst <= 10_000:
            raise ValueError(f"The burst must be 1 to 10000 calls. It is {self.burst}.")

    @property
    def interval(self) -> timedelta:
        """The time between two starts at an even pace, rounded up so that the pace is never exceeded."""
        return timedelta(microseconds=math.ceil(1e6 / self.calls_per_second))


_CLOCK_STEP = timedelta(seconds=60)
"""The largest step back of the clock that ``reserve`` waits for. After a larger one it starts afresh."""


def reserve(pace: Pace, *, next_at: datetime, now: datetime, wanted: int) -> tuple[int, datetime]:
    """
    Return how many of ``wanted`` calls may start now, and the new ``next_at``, which is stored by compare-and-set.

    ``next_at`` is when all calls granted so far would have started at an even pace (GCRA). No calls are granted while
    it is more than a burst ahead. It is further ahead than that only if the clock stepped back. After a step of up to a
    minute, dialling waits for the clock to catch up; after a larger one it starts afresh.
    """
    allowance = pace.interval * pace.burst
    if not now < next_at <= now + allowance + _CLOCK_STEP:
        next_at = now
    granted = max(0, min(wanted, (now + allowance - next_at) // pace.interval))
    return granted, next_at + granted * pace.interval


def backoff(failures: int, *, first: float = 1.0, longest: float = 300.0, jitter: float) -> float:
    """
    Return the seconds to wait after consecutive failures: ``first``, doubled with each failure, up to ``longest``.

    ``jitter`` is a random number from 0 to 1 that picks a value between half of that and all of it, so that processes
    that failed together do not retry together.
    """
    if failures < 1:
        return 0.0
    return min(longest, math.ldexp(first, min(failures - 1, 60))) * (0.5 + 0.5 * jitter)


def day_is_full(starts: Sequence[datetime], *, now: datetime, per_day: int) -> datetime | None:
    """
    Return when the next attempt is allowed, if there were ``per_day`` in the last 24 hours. None: at once.

    If the clock stepped back, starts up to a day in the future count as now. Later ones are ignored.
    """
    if per_day < 1:
        raise ValueError(f"The attempts per day must be at least 1. They are {per_day}.")
    recent = sorted(min(start, now) for start in starts if abs(now - start) < _DAY)
    return None if len(recent) < per_day else recent[-per_day] + _DAY


def _opening(moment: datetime, zone: ZoneInfo, hours: Week, end: datetime) -> datetime | None:
    """Return the first time from ``moment`` to ``end`` at which the wall clock of ``zone`` is within the ``hours``."""
    while moment <= end:
        local = moment.astimezone(zone)
        wall = local.replace(tzinfo=None)
        clock = wall.time()
        starts = []
        for start, stop in hours[wall.weekday()]:
            if start <= clock and (stop is None or clock < stop):
                return moment
            if start > clock:
                starts.append(datetime.combine(wall, start))
        # Go to the next window or to midnight, or only to the change of the clocks if one comes before.
        target = min(starts, default=datetime.combine(wall, time.min) + _DAY)
        guess = moment + (target - wall)
        offset = local.utcoffset()
        moment = guess if guess.astimezone(zone).utcoffset() == offset else _clock_change(moment, guess, zone)
    return None


def _clock_change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the first time with another UTC offset than ``before``. Clocks change at a whole second."""
    offset = before.astimezone(zone).utcoffset()
    low = before.replace(microsecond=0)
    steps = math.ceil((after - low) / _SECOND)
    fewest = 0
    while steps - fewest > 1:
        middle = (fewest + steps) // 2
        if (low + middle * _SECOND).astimezone(zone).utcoffset() == offset:
            fewest = middle
        else:
            steps = middle
    return low + steps * _SECOND


@lru_cache(maxsize=1024)  # ZoneInfo itself caches eight: without this, 42 zones were read from disk for each call
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
    """Return weekdays from 0; none if ``text`` does not follow the grammar. ``Sat-Mon`` wraps around the week."""
    days: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS or part.endswith("-"):
            return []
        begin, length = _DAYS.index(first), (_DAYS.index(last or first) - _DAYS.index(first)) % 7
        days.extend((begin + step) % 7 for step in range(length + 1))
    return days


def _parse_minutes(text: str) -> tuple[int, int]:
    """Return the minutes of the day at which a window begins and ends; (-1, -1) if ``text`` is not a window."""
    match = re.fullmatch(r"([0-9]{2}):([0-5][0-9])-([0-9]{2}):([0-5][0-9])", text)
    if match is None:
        return -1, -1
    begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    return (begin, end) if begin < end <= 24 * 60 else (-1, -1)


def _clock(minutes: int) -> time:
    return time(*divmod(minutes, 60))
