"""The times at which a number may be dialled."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calls.dial_rules import zones_of
from calls.schedule import (
    NEVER,
    CallingHours,
    Pace,
    RetryPolicy,
    backoff,
    day_is_full,
    next_allowed,
    reserve,
    retry_after,
)

NEW_YORK = "America/New_York"
MICROSECOND = timedelta(microseconds=1)


def hours(text):
    return CallingHours.parse({"*": text}).of("US")


def local(text, zone, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def is_open(moment, zone, week):
    wall = moment.astimezone(ZoneInfo(zone))
    return any(
        start <= wall.time() and (stop is None or wall.time() < stop)
        for start, stop in week[wall.weekday()]
    )  # fmt: skip


# Calling hours


def test_a_region_has_its_own_hours_or_the_default():
    table = CallingHours.parse({"*": "08:00-21:00", "FR": "Mon-Fri 10:00-13:00 14:00-20:00", "DE": ""})
    assert table.of("US") == table.of("001") == hours("08:00-21:00")
    assert table.of("FR") == hours("Mon-Fri 10:00-13:00 14:00-20:00")
    assert table.of("DE") == NEVER


def test_a_region_that_no_key_covers_is_never_called():
    assert CallingHours.parse({"US": "08:00-21:00"}).of("GB") == NEVER
    assert CallingHours.parse({}).of("GB") == NEVER


def test_a_later_rule_replaces_the_earlier_ones_on_its_days():
    assert hours("08:00-21:00; Sun 12:00-20:00") == hours("Mon-Sat 08:00-21:00; Sun 12:00-20:00")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Mon-Sun 08:00-21:00", "08:00-21:00"),
        ("Sat-Mon 09:00-12:00", "Sat,Sun,Mon 09:00-12:00"),
        ("Fri,Sat-Sun 09:00-12:00", "Fri-Sun 09:00-12:00"),
        ("14:00-20:00 10:00-13:00", "10:00-13:00   14:00-20:00 ;"),
    ],
)
def test_the_same_hours_can_be_written_in_two_ways(text, same):
    assert hours(text) == hours(same)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("8-21", "needs windows such as 08:00-21:00"),
        ("Mon-Fri", "needs windows"),
        ("Mon-Fri 08:00-21:00 Sat", "needs windows"),
        ("21:00-08:00", "each ending after it begins"),
        ("08:00-08:00", "each ending after it begins"),
        ("08:00-24:01", "by 24:00"),
        ("08:60-21:00", "needs windows"),
        ("08:00-12:00 11:59-20:00", "overlap"),
        ("Weekdays 08:00-21:00", "'Weekdays' is neither days"),
        ("Mon- 08:00-21:00", "neither days"),
        ("Mon-Tue-Wed 08:00-21:00", "neither days"),
        ("Mon, Tue 08:00-21:00", "neither days"),
        ("\x00", "neither days"),
        (["08:00-21:00"], "must be text"),
    ],
)
def test_invalid_hours_are_refused_with_their_key_and_text(text, why):
    with pytest.raises(ValueError, match="Calling hours of 'US'") as error:
        CallingHours.parse({"US": text})
    assert repr(text) in str(error.value)
    assert why in str(error.value)


@pytest.mark.parametrize("key", ["us", "USA", "", "002", "**", 1])
def test_a_key_that_is_not_a_region_is_refused(key):
    with pytest.raises(ValueError, match="the key must be"):
        CallingHours.parse({key: "08:00-21:00"})


def test_a_value_that_is_not_a_table_is_refused():
    with pytest.raises(ValueError, match="must map regions to hours"):
        CallingHours.parse("08:00-21:00")


# The next time that the wall clocks of all zones allow


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("2026-01-14T07:59:59.999999", "2026-01-14T08:00"),
        ("2026-01-14T08:00", "2026-01-14T08:00"),
        ("2026-01-14T20:59:59.999999", "2026-01-14T20:59:59.999999"),
        ("2026-01-14T21:00", "2026-01-15T08:00"),
        ("2026-01-14T00:00", "2026-01-14T08:00"),
    ],
)
def test_a_window_includes_its_beginning_and_excludes_its_end(now, then):
    found = next_allowed(local(now, NEW_YORK), zones=[NEW_YORK], hours=hours("08:00-21:00"))
    assert found == local(then, NEW_YORK)
    assert found.tzinfo is UTC


def test_days_are_those_of_the_called_person():
    weekdays = hours("Mon-Fri 09:00-17:00")
    sunday_evening = local("2026-01-18T18:00", NEW_YORK)  # Monday 08:00 in Tokyo
    assert next_allowed(sunday_evening, zones=["Asia/Tokyo"], hours=weekdays) == utc("2026-01-19T00:00")
    assert next_allowed(sunday_evening, zones=[NEW_YORK], hours=weekdays) == utc("2026-01-19T14:00")


def test_a_weekly_hour_is_found_within_the_horizon():
    now = local("2026-01-14T10:00", NEW_YORK)  # a Wednesday, at the end of its hour
    week, wait = hours("Wed 09:00-10:00"), timedelta(days=7, hours=-1)
    assert next_allowed(now, zones=[NEW_YORK], hours=week) == now + wait
    assert next_allowed(now, zones=[NEW_YORK], hours=week, horizon=wait) == now + wait
    assert next_allowed(now, zones=[NEW_YORK], hours=week, horizon=wait - MICROSECOND) is None


def test_a_window_until_24_00_joins_one_that_begins_the_next_day():
    evening, all_day = hours("20:00-24:00"), hours("00:00-24:00")
    last = local("2026-01-14T23:59:59.999999", NEW_YORK)
    assert next_allowed(last, zones=[NEW_YORK], hours=evening) == last
    assert next_allowed(last + MICROSECOND, zones=[NEW_YORK], hours=evening) == local("2026-01-15T20:00", NEW_YORK)
    assert next_allowed(last + MICROSECOND, zones=[NEW_YORK], hours=all_day) == last + MICROSECOND


def test_there_is_no_time_without_hours_or_without_hours_that_two_zones_share():
    now = utc("2026-01-14T12:00")
    assert next_allowed(now, zones=[NEW_YORK], hours=NEVER) is None
    assert next_allowed(now, zones=["Pacific/Auckland", "Europe/London"], hours=hours("08:00-18:00")) is None


def test_every_zone_must_allow_the_time():
    now = utc("2026-01-14T05:00")
    zones = [NEW_YORK, "America/Los_Angeles"]
    assert next_allowed(now, zones=zones, hours=hours("08:00-21:00")) == utc("2026-01-14T16:00")
    assert next_allowed(now, zones=zones[::-1], hours=hours("08:00-12:00")) == utc("2026-01-14T16:00")


def test_a_toll_free_number_is_dialled_while_calls_are_allowed_from_guam_to_newfoundland():
    zones = zones_of("+18005550123")
    assert len(zones) > 40
    week = hours("08:00-21:00")
    assert next_allowed(utc("2026-07-15T12:00"), zones=zones, hours=week) == utc("2026-07-15T22:00")
    assert next_allowed(utc("2026-07-15T23:29"), zones=zones, hours=week) == utc("2026-07-15T23:29")
    assert next_allowed(utc("2026-07-15T23:30"), zones=zones, hours=week) == utc("2026-07-16T22:00")


def test_an_offset_of_a_quarter_hour_counts_in_kathmandu():
    found = next_allowed(utc("2026-01-14T00:00"), zones=["Asia/Kathmandu"], hours=hours("08:00-21:00"))
    assert found == utc("2026-01-14T02:15")


@pytest.mark.parametrize(
    ("window", "then"),
    [
        ("02:30-05:00", "2026-03-08T03:00"),  # begins in the skipped hour: opens right after it
        ("02:00-02:30", "2026-03-09T02:00"),  # lies in the skipped hour: not on this day
        ("01:30-02:30", "2026-03-08T01:30"),
        ("03:00-05:00", "2026-03-08T03:00"),
        ("08:00-21:00", "2026-03-08T08:00"),
    ],
)
def test_windows_in_the_night_in_which_new_york_skips_an_hour(window, then):
    now = local("2026-03-08T00:10", NEW_YORK)
    assert next_allowed(now, zones=[NEW_YORK], hours=hours(window)) == local(then, NEW_YORK)


def test_a_window_that_reaches_into_the_skipped_hour_ends_where_that_hour_begins():
    almost = local("2026-03-08T01:59:59.5", NEW_YORK)
    week = hours("01:30-02:30")
    assert next_allowed(almost, zones=[NEW_YORK], hours=week) == almost
    assert next_allowed(almost + timedelta(seconds=1), zones=[NEW_YORK], hours=week) == local(
        "2026-03-09T01:30", NEW_YORK
    )


@pytest.mark.parametrize(
    ("window", "now", "fold", "then", "then_fold"),
    [
        ("01:00-01:30", "2026-11-01T00:10", 0, "2026-11-01T01:00", 0),
        ("01:00-01:30", "2026-11-01T01:30", 0, "2026-11-01T01:00", 1),  # the hour is repeated, and so is the window
        ("01:00-01:30", "2026-11-01T01:30", 1, "2026-11-02T01:00", 0),
        ("01:20-03:00", "2026-11-01T01:10", 1, "2026-11-01T01:20", 1),
        ("01:20-03:00", "2026-11-01T01:59", 0, "2026-11-01T01:59", 0),
        ("00:30-01:10", "2026-11-01T01:30", 0, "2026-11-01T01:00", 1),  # the clock falls back into the window
        ("08:00-21:00", "2026-11-01T01:30", 0, "2026-11-01T08:00", 0),
    ],
)
def test_windows_in_the_night_in_which_new_york_repeats_an_hour(window, now, fold, then, then_fold):
    found = next_allowed(local(now, NEW_YORK, fold), zones=[NEW_YORK], hours=hours(window))
    assert found == local(then, NEW_YORK, then_fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("window", "now", "then"),
    [
        ("02:10-05:00", "2026-10-03T14:00", "2026-10-03T15:30"),  # 02:00 becomes 02:30
        ("02:00-02:30", "2026-10-03T14:00", "2026-10-04T15:00"),
        ("01:30-01:45", "2026-04-04T14:45", "2026-04-04T15:00"),  # 02:00 becomes 01:30, again
    ],
)
def test_windows_on_lord_howe_which_changes_its_clocks_by_half_an_hour(window, now, then):
    assert next_allowed(utc(now), zones=["Australia/Lord_Howe"], hours=hours(window)) == utc(then)


def test_windows_of_a_day_that_samoa_skipped():
    thursday_night = local("2011-12-29T22:00", "Pacific/Apia")
    found = next_allowed(thursday_night, zones=["Pacific/Apia"], hours=hours("Fri 08:00-21:00; Sat 09:00-12:00"))
    assert found == local("2011-12-31T09:00", "Pacific/Apia")


@pytest.mark.parametrize("zone", ["Etc/Unknown", "Mars/Olympus", "America", "../etc/passwd", "", "\x00", "🕒"])
def test_an_unknown_zone_is_refused(zone):
    with pytest.raises(ValueError, match="There is no time zone"):
        next_allowed(utc("2026-01-14T12:00"), zones=["UTC", zone], hours=hours("08:00-21:00"))


def test_a_missing_zone_of_the_number_or_of_the_time_is_refused():
    with pytest.raises(ValueError, match="A number without a time zone"):
        next_allowed(utc("2026-01-14T12:00"), zones=[], hours=hours("08:00-21:00"))
    with pytest.raises(ValueError, match="current time"):
        next_allowed(datetime(2026, 1, 14), zones=["UTC"], hours=hours("08:00-21:00"))


def test_there_is_no_next_time_at_the_end_of_the_calendar():
    assert next_allowed(datetime.max.replace(tzinfo=UTC), zones=["UTC"], hours=hours("08:00-21:00")) is None


ZONES = [
    NEW_YORK,
    "America/Los_Angeles",
    "America/St_Johns",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Santiago",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "UTC",
]

minutes = st.integers(0, 24 * 12).map(lambda n: n * 5)


@st.composite
def weeks(draw):
    rules = []
    for _ in range(draw(st.integers(1, 3))):
        days = draw(st.lists(st.sampled_from("Mon Tue Wed Thu Fri Sat Sun".split()), max_size=4, unique=True))
        edges = sorted(draw(st.lists(minutes, min_size=2, max_size=4, unique=True)))
        windows = [
            f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}"
            for a, b in zip(edges[::2], edges[1::2], strict=False)
        ]  # fmt: skip
        rules.append(" ".join([",".join(days), *windows]))
    return hours("; ".join(rules))


CHANGES = [
    utc(day)
    for day in (
        "2011-12-30T10:00",  # Samoa crosses the date line
        "2026-02-15T02:00",  # Ramadan in Morocco
        "2026-03-08T07:00",
        "2026-03-29T01:00",
        "2026-04-04T15:00",
        "2026-10-03T15:30",
        "2026-10-25T01:00",
        "2026-11-01T06:00",
    )
]
moments = st.datetimes(datetime(2008, 1, 1), datetime(2037, 1, 1)).map(
    lambda naive: naive.replace(tzinfo=UTC)
) | st.builds(
    lambda change, seconds: change + timedelta(seconds=seconds),
    st.sampled_from(CHANGES),
    st.integers(-100_000, 100_000),
)


@settings(max_examples=300, deadline=None)
@given(
    now=moments, zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=4), week=weeks(), seed=st.integers(0, 9)
)
@example(utc("2026-11-01T05:30"), [NEW_YORK, "America/Los_Angeles"], hours("00:30-01:10"), 0)
def test_the_next_time_is_the_first_that_every_zone_allows(now, zones, week, seed):
    found = next_allowed(now, zones=zones, hours=week)
    end = now + timedelta(days=8) if found is None else found
    assert now <= end
    if found is not None:
        assert all(is_open(found, zone, week) for zone in zones)
    # Hours and clock changes fall on multiples of five minutes, and so does every time at which a window opens.
    first = now + (utc("1970-01-01T00:00") - now) % timedelta(minutes=5)
    grid = [first + step * timedelta(minutes=5) for step in range((end - first) // timedelta(minutes=5) + 1)]
    for moment in [now, *random.Random(seed).sample(grid, min(len(grid), 300)), *grid[-30:], end - MICROSECOND]:
        if now <= moment < end:
            assert not all(is_open(moment, zone, week) for zone in zones)


# Retries

POLICY = RetryPolicy(max_attempts=3, busy_after=300.0, no_answer_after=7200.0, failed_after=600.0)


@pytest.mark.parametrize(("status", "wait"), [("busy", 300.0), ("no-answer", 7200.0), ("failed", 600.0)])
def test_each_failure_has_its_own_wait(status, wait):
    assert retry_after(POLICY, status=status, attempts=1) == wait
    assert retry_after(POLICY, status=status, attempts=2, sip_code=486) == wait


@pytest.mark.parametrize("status", ["busy", "no-answer", "failed"])
def test_no_attempt_follows_the_last_one(status):
    assert retry_after(POLICY, status=status, attempts=3) is None
    assert retry_after(POLICY, status=status, attempts=4) is None


@pytest.mark.parametrize("status", ["completed", "canceled"])
def test_an_answered_or_canceled_call_is_not_retried(status):
    assert retry_after(POLICY, status=status, attempts=1) is None


@pytest.mark.parametrize("sip_code", [404, 410, 484, 604, 607, 608])
def test_a_number_that_does_not_exist_or_wants_no_calls_is_not_retried(sip_code):
    assert retry_after(POLICY, status="failed", attempts=1, sip_code=sip_code) is None
    assert retry_after(POLICY, status="no-answer", attempts=1, sip_code=sip_code) is None


def test_a_permanent_failure_is_not_retried():
    assert retry_after(POLICY, status="failed", attempts=1, permanent=True) is None


@pytest.mark.parametrize("status", ["ringing", "in-progress", "queued", "answered"])
def test_an_attempt_that_has_not_ended_cannot_be_retried(status):
    with pytest.raises(ValueError, match=status):
        retry_after(POLICY, status=status, attempts=1)


# Pace

NOON = utc("2026-01-14T12:00")


def test_a_burst_may_start_at_once_and_then_the_pace_holds():
    pace = Pace(calls_per_second=2, burst=3)
    granted, next_at = reserve(pace, next_at=NOON, now=NOON, wanted=10)
    assert (granted, next_at) == (3, NOON + timedelta(seconds=1.5))
    assert reserve(pace, next_at=next_at, now=NOON + timedelta(seconds=0.4), wanted=10) == (0, next_at)
    granted, next_at = reserve(pace, next_at=next_at, now=NOON + timedelta(seconds=0.5), wanted=10)
    assert (granted, next_at) == (1, NOON + timedelta(seconds=2))


def test_a_pause_saves_up_starts_but_never_more_than_the_burst():
    pace = Pace(calls_per_second=1, burst=5)
    assert reserve(pace, next_at=NOON - timedelta(days=365), now=NOON, wanted=100)[0] == 5


def test_no_more_starts_are_granted_than_wanted():
    pace = Pace(calls_per_second=1, burst=5)
    assert reserve(pace, next_at=NOON, now=NOON, wanted=2) == (2, NOON + timedelta(seconds=2))
    assert reserve(pace, next_at=NOON, now=NOON, wanted=0) == (0, NOON)
    assert reserve(pace, next_at=NOON, now=NOON, wanted=-1) == (0, NOON)


def test_after_a_small_step_back_of_the_clock_starts_wait_and_after_a_large_one_they_begin_afresh():
    pace = Pace(calls_per_second=1, burst=2)
    after_burst = NOON + timedelta(seconds=2)
    assert reserve(pace, next_at=after_burst, now=NOON - timedelta(seconds=60), wanted=1) == (0, after_burst)
    hour_back = NOON - timedelta(hours=1)
    assert reserve(pace, next_at=after_burst, now=hour_back, wanted=1) == (1, hour_back + timedelta(seconds=1))


@given(
    rate=st.floats(0.001, 1000),
    burst=st.integers(1, 20),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 30)), max_size=40),
)
def test_no_stretch_of_time_exceeds_the_pace(rate, burst, steps):
    pace, now, next_at = Pace(rate, burst), NOON, NOON
    starts = []
    for wait, wanted in steps:
        now += timedelta(seconds=wait)
        granted, next_at = reserve(pace, next_at=next_at, now=now, wanted=wanted)
        assert 0 <= granted <= wanted
        starts += [now] * granted
    for i, first in enumerate(starts):
        for count, last in enumerate(starts[i:], start=1):
            assert count <= burst + rate * (last - first).total_seconds() + 1e-6


def test_a_pace_that_microseconds_cannot_express_is_rounded_down():
    assert Pace(calls_per_second=3, burst=1).interval == timedelta(microseconds=333_334)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0), (1, 10**9)])
def test_an_impossible_pace_is_refused(rate, burst):
    with pytest.raises(ValueError, match="must be"):
        Pace(calls_per_second=rate, burst=burst)


# Backing off


def test_the_wait_doubles_up_to_the_longest():
    assert [backoff(n, jitter=1) for n in (0, 1, 2, 3, 9, 10, 10**9)] == [0, 1, 2, 4, 256, 300, 300]
    assert backoff(3, first=0.5, longest=10, jitter=1) == 2


@given(failures=st.integers(1, 10**6), jitter=st.floats(0, 1))
def test_jitter_spreads_the_wait_over_its_upper_half(failures, jitter):
    whole = backoff(failures, jitter=1)
    assert whole / 2 <= backoff(failures, jitter=jitter) <= whole <= 300


# Attempts per day


def ago(**duration):
    return NOON - timedelta(**duration)


def test_a_day_below_the_limit_allows_an_attempt_at_once():
    assert day_is_full([], now=NOON, per_day=1) is None
    assert day_is_full([ago(hours=1), ago(hours=3), ago(hours=25)], now=NOON, per_day=3) is None


def test_the_next_attempt_is_allowed_24_hours_after_the_one_that_must_expire():
    starts = [ago(hours=3), ago(hours=20), ago(hours=1)]
    assert day_is_full(starts, now=NOON, per_day=3) == NOON + timedelta(hours=4)
    assert day_is_full(starts, now=NOON, per_day=2) == NOON + timedelta(hours=21)


def test_exactly_24_hours_later_the_attempt_is_allowed():
    opens = day_is_full([ago(hours=5)], now=NOON, per_day=1)
    assert day_is_full([ago(hours=5)], now=opens - MICROSECOND, per_day=1) == opens
    assert day_is_full([ago(hours=5)], now=opens, per_day=1) is None


def test_a_clock_that_stepped_back_neither_forgets_an_attempt_nor_blocks_a_number_for_long():
    assert day_is_full([NOON + timedelta(hours=1)], now=NOON, per_day=1) == NOON + timedelta(days=1)
    assert day_is_full([NOON + timedelta(days=365)], now=NOON, per_day=1) is None


def test_a_day_must_allow_at_least_one_attempt():
    with pytest.raises(ValueError, match="attempts per day must be at least 1"):
        day_is_full([], now=NOON, per_day=0)
