"""Names of time zones and local times are taken as they are or refused by name (duckle#318)."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest

from calls.errors import CallsError
from calls.zones import find_zone, local_time


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/Argentina/Buenos_Aires", "UTC", "Etc/GMT+5", "GMT"])
def test_a_place_is_found(name):
    assert find_zone(name) == ZoneInfo(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("localtime", "whichever machine"),
        ("Factory", "nobody has set"),
        ("posixrules", "without a place"),
        ("EST5EDT", "a rule"),
        ("EST5EDT,M3.2.0,M11.1.0", "a rule"),
        ("<+03>-3", "a rule"),
        ("GMT+5", "a rule"),
        ("UTC+1", "a rule"),
        ("Mars/Olympus", "no time zone"),
        ("America", "no time zone"),
        ("../../etc/localtime", "no time zone"),
        ("/etc/localtime", "no time zone"),
        ("posix/Europe/Berlin", "no time zone"),
        ("europe/berlin", "Did you mean Europe/Berlin"),
        ("America/New York", "Did you mean America/New_York"),
        (" Europe/Berlin", "Did you mean Europe/Berlin"),
        ("", "no time zone"),
        ("\x1b[31mred\0", r"\\x1b\[31mred\\x00"),
        ("x" * 5000, "no time zone"),
    ],
)
def test_what_is_no_place_is_refused_by_its_name(name, message):
    with pytest.raises(CallsError, match=message) as raised:
        find_zone(name)
    assert (raised.value.code, raised.value.field) == ("unknown-timezone", "timezone")
    assert len(str(raised.value)) < 250


def test_every_place_of_this_machine_is_found():
    for name in available_timezones():
        if "/" in name:
            assert find_zone(name).key == name


def test_a_local_time_is_the_moment_when_clocks_show_it():
    winter = local_time(datetime(2027, 1, 14, 9, 30), ZoneInfo("America/New_York"))
    assert winter == datetime(2027, 1, 14, 14, 30, tzinfo=UTC)
    assert local_time(datetime(2027, 1, 14, 9, 30), ZoneInfo("UTC")) == datetime(2027, 1, 14, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "wall", "message"),
    [
        (
            "America/New_York",
            datetime(2027, 3, 14, 2, 30),
            r"2027-03-14T02:30 does not exist in America/New_York.*06:30Z \(01:30-0500 .*07:30Z \(03:30-0400 there",
        ),
        (
            "America/New_York",
            datetime(2027, 11, 7, 1, 30),
            r"comes twice.*2027-11-07T05:30Z \(01:30-0400 .*2027-11-07T06:30Z \(01:30-0500 there",
        ),
        ("Europe/Berlin", datetime(2027, 3, 28, 2, 0), "does not exist"),
        ("Australia/Lord_Howe", datetime(2027, 10, 3, 2, 15), "does not exist"),  # half an hour
        ("Pacific/Apia", datetime(2011, 12, 30, 12, 0), "does not exist"),  # a whole day
    ],
)
def test_a_local_time_that_never_comes_or_comes_twice_is_refused_with_both_moments(zone, wall, message):
    with pytest.raises(CallsError, match=message):
        local_time(wall, ZoneInfo(zone))


@pytest.mark.parametrize("wall", [datetime(2027, 3, 14, 1, 59), datetime(2027, 3, 14, 3), datetime(2027, 11, 7, 2)])
def test_the_times_beside_a_change_are_taken(wall):
    assert local_time(wall, ZoneInfo("America/New_York")).astimezone(ZoneInfo("America/New_York")).hour == wall.hour
