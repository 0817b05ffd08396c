"""The check of this machine's clock, against those of the database, of the public address and of Twilio."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

import requests
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.http import TIMEOUT, request
from clientcaller.doctor.registry import Finding, check, green, red, unchecked, yellow

WRONG, OFF = 60.0, 3.0
"""
Seconds: beyond the first, calls that the carrier placed are not found again and tokens expire too soon; beyond the
second, times in the records do not fit together. A ``Date`` header is exact to a second.
"""
REMEDY = "Let NTP set the clock: timedatectl set-ntp true, or chrony."


@check("clock", about="this machine's clock agrees with the others")
def check_clock(deployment: Deployment) -> Iterator[Finding]:
    clocks: list[tuple[str, Callable[[], float | None]]] = [
        ("the public address", lambda: _date_of_public_address(deployment)),
        ("Twilio" if not deployment.is_simulated else "the simulated network", _date_of_twilio),
    ]
    if connection.vendor == "postgresql":
        clocks.insert(0, ("the database", _time_of_database))
    compared = []
    for name, read in clocks:
        try:
            begun = time.time()
            theirs = read()
            ours = (begun + time.time()) / 2
        except (OSError, http.client.HTTPException, DatabaseError):
            continue  # a check of its own says so
        if theirs is None:
            continue
        off = ours - theirs
        compared.append(name)
        if abs(off) > OFF:
            text = f"this clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} that of {name}"
            yield red(text, REMEDY) if abs(off) > WRONG else yellow(text, REMEDY)
        else:
            yield green(f"as that of {name}")
    if not compared:
        yield unchecked("not checked, because no other clock can be read")


def _time_of_database() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        return float(cursor.fetchone()[0])


def _date_of_public_address(deployment: Deployment) -> float | None:
    return _read_date(request(deployment, "GET", "/healthz").headers.get("Date"))


def _date_of_twilio() -> float | None:
    # Any answer has the date, also one that refuses.
    return _read_date(requests.head(settings.TWILIO_API_BASE_URL, timeout=TIMEOUT).headers.get("Date"))


def _read_date(text: str | None) -> float | None:
    try:
        # It is cut to the second, so that half a second more is the best guess.
        return parsedate_to_datetime(text).timestamp() + 0.5 if text else None
    except ValueError:
        return None
