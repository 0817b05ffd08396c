"""``manage.py schedule calls.csv``: place a list of calls."""

import hashlib
import re
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from calls.csv_files import MOST_SHOWN, Columns, Fault, UnreadableFile, describe_faults, parse_rows, read_text
from calls.models import Call
from calls.plain_text import printable
from calls.services import CallsError
from calls.services.pauses import read_pauses
from calls.services.placing import DuplicatePerson, InvalidCalls, NewCall, find_waiting, place_calls
from calls.status import TERMINAL
from calls.variables import VARIABLE_NAME
from calls.zones import find_zone, local_time

LOOK_EVERY = 1.0
"""Seconds between two queries for the statuses of the calls."""
COLUMNS = Columns(
    ["to"],
    ["agent", "scheduled_for", "timezone", "from", "max_duration", "machine_detection", "record"],
    others=re.compile(VARIABLE_NAME),
)
_YES, _NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class Command(BaseCommand):
    help = (
        "Place a list of calls from a CSV file with a header. The column `to` is required. The columns agent, "
        "scheduled_for (such as 2026-12-01T09:00), timezone, from, max_duration, machine_detection and record are "
        "optional. Every other column is a variable of that name. If any line is invalid, or two have the same number, "
        "no call is placed. The same file is placed only once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the CSV file")
        parser.add_argument("--agent", default="front-desk", help="for lines without an agent (default: front-desk)")
        parser.add_argument("--at", default="", help="for lines without scheduled_for, such as 2026-12-01T09:00+01:00")
        parser.add_argument("--again", action="store_true", help="place the file even if it was placed before")
        parser.add_argument(
            "--allow-duplicates", action="store_true", help="call a person as often as the file has their number"
        )
        parser.add_argument("--dry-run", action="store_true", help="check the file and place nothing")
        parser.add_argument("--watch", action="store_true", help="show the progress until all calls have ended")

    def handle(self, file: Path, agent: str, at: str, again: bool, dry_run: bool, watch: bool, **options: bool) -> None:
        console = Console(highlight=False, soft_wrap=True, markup=False)
        try:
            content = read_text(file)
        except UnreadableFile as error:
            raise CommandError(f"{file} cannot be read: {error}") from error
        lines, wanted, faults = _read(content, agent, at)
        key = "" if again or faults else _key(content, agent, at)
        duplicates = options["allow_duplicates"]
        try:
            with console.status(f"Placing {len(wanted)} calls ..."):
                waiting = find_waiting(wanted)
                calls, new = place_calls(
                    wanted, idempotency_key=key, dry_run=dry_run or bool(faults), allow_duplicates=duplicates
                )
        except InvalidCalls as error:
            faults += [Fault(lines[index], _describe(wrong, lines)) for index, wrong in error.errors.items()]
        except CallsError as error:
            raise CommandError(str(error)) from error
        if faults:
            raise CommandError(f"{describe_faults(file, faults)}\nNo call was placed.")
        if not wanted:
            raise CommandError(f"{file} contains no calls.")
        if new and waiting:
            console.print(_describe_waiting([lines[index] for index in waiting]))
        if dry_run:
            console.print(f"{len(calls)} calls could be placed; none was.")
            return
        word = "are placed" if new else "were placed before (--again places them again)"
        console.print(f"{len(calls)} calls {word}.")
        if watch:
            self._watch(calls, console)

    def _watch(self, calls: list[Call], console: Console) -> None:
        ids = [call.pk for call in calls]
        told: set[str] = set()
        with Progress(console=console) as progress:
            task = progress.add_task("calls", total=len(ids))
            while True:
                statuses = Counter(status for page in _pages(ids) for status in _statuses(page))
                over = sum(statuses[status] for status in TERMINAL)
                words = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
                progress.update(task, completed=over, description=words)
                if over == len(ids):
                    return
                for text in _paused() - told:
                    told.add(text)
                    console.print(f"[yellow]{escape(printable(text))}[/]")
                time.sleep(LOOK_EVERY)


def _paused() -> set[str]:
    rows = read_pauses(timezone.now()).rows
    return {f"Dialling is paused for {pause}: {pause.reason}" for pause in rows}


def _statuses(ids: Sequence[UUID]) -> list[str]:
    return list(Call.objects.filter(pk__in=ids).values_list("status", flat=True))


def _pages(ids: Sequence[UUID], size: int = 500) -> Iterator[Sequence[UUID]]:
    """Split the ids into pages, because SQLite limits the parameters of one query."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _read(content: str, agent: str, at: str) -> tuple[list[int], list[NewCall], list[Fault]]:
    """Return the line of each call of the file, the calls, and what is wrong."""
    rows, faults = parse_rows(content, COLUMNS)
    lines: list[int] = []
    wanted: list[NewCall] = []
    for row in rows:
        try:
            wanted.append(_new_call(row.fields, agent, at))
            lines.append(row.line)
        except (ValueError, CallsError) as error:
            faults.append(Fault(row.line, str(error)))
    return lines, wanted, faults


def _key(content: str, agent: str, at: str) -> str:
    """The idempotency key of this file. How its lines end makes no other list of it."""
    same = (content.replace("\r\n", "\n").replace("\r", "\n"), agent, at)
    return f"file:{hashlib.sha256(repr(same).encode(errors='surrogatepass')).hexdigest()}"


def _describe(error: CallsError, lines: Sequence[int]) -> str:
    if isinstance(error, DuplicatePerson):
        return f"This is the same person as on line {lines[error.first]}. --allow-duplicates calls them for each line."
    return str(error)


def _describe_waiting(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:MOST_SHOWN]))
    more = f" and {len(lines) - MOST_SHOWN} more" if len(lines) > MOST_SHOWN else ""
    return f"Another call to the same person waits already for {len(lines)} of the lines: {shown}{more}."


def _new_call(fields: Mapping[str, str], agent: str, at: str) -> NewCall:
    rest = dict(fields)

    def take(name: str) -> str:
        return rest.pop(name, "")

    zone = take("timezone")
    return NewCall(
        to=take("to"),
        agent=take("agent") or agent,
        from_number=take("from"),
        scheduled_for=_parse_time(take("scheduled_for") or at, zone),
        timezone=zone,
        max_duration=_parse_number(take("max_duration")),
        machine_detection=take("machine_detection"),
        record=_parse_flag(take("record")),
        variables=rest,
    )


def _parse_time(text: str, zone: str) -> datetime | None:
    """Parse ISO 8601. A time without an offset is in the line's time zone, or in UTC if the line has none."""
    place = find_zone(zone) if zone else None
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return local_time(moment, place) if place else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a time such as 2026-12-01T09:00.") from None


def _parse_number(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError(f"max_duration {text[:40]!r} is not a number of seconds.")
    return int(text)


def _parse_flag(text: str) -> bool | None:
    if text.lower() not in {"", *_YES, *_NO}:
        raise ValueError(f"record {text[:40]!r} is neither yes nor no.")
    return text.lower() in _YES if text else None
