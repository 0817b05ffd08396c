"""``manage.py schedule calls.csv``: place a list of calls."""

import csv
import hashlib
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from calls.models import Call
from calls.services import CallsError
from calls.services.placing import InvalidCalls, NewCall, place_calls
from calls.status import TERMINAL

LOOK_EVERY = 1.0
"""Seconds between two queries for the statuses of the calls."""
MOST_ERRORS = 20
"""Invalid lines that are shown. Further ones are only counted."""
_YES, _NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class Command(BaseCommand):
    help = (
        "Place a list of calls from a CSV file with a header. The column `to` is required. The columns agent, "
        "scheduled_for (such as 2026-12-01T09:00), timezone, from, max_duration, machine_detection and record are "
        "optional. Every other column is a variable of that name. If any line is invalid, no call is placed. The same "
        "file is placed only once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the CSV file")
        parser.add_argument("--agent", default="front-desk", help="for lines without an agent (default: front-desk)")
        parser.add_argument("--at", default="", help="for lines without scheduled_for, such as 2026-12-01T09:00+01:00")
        parser.add_argument("--again", action="store_true", help="place the file even if it was placed before")
        parser.add_argument("--dry-run", action="store_true", help="check the file and place nothing")
        parser.add_argument("--watch", action="store_true", help="show the progress until all calls have ended")

    def handle(self, file: Path, agent: str, at: str, again: bool, dry_run: bool, watch: bool, **_: Any) -> None:
        console = Console(highlight=False, soft_wrap=True)
        try:
            content = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}") from error
        lines, wanted = self._read(file, content, agent, at)
        key = "" if again else f"file:{hashlib.sha256(repr((content, agent, at)).encode()).hexdigest()}"
        try:
            with console.status(f"Placing {len(wanted)} calls ..."):
                calls, new = place_calls(wanted, idempotency_key=key, dry_run=dry_run)
        except InvalidCalls as error:
            problems = [f"{file}:{lines[place]}: {wrong}" for place, wrong in sorted(error.errors.items())]
            raise CommandError(_format_problems(problems)) from error
        except CallsError as error:
            raise CommandError(str(error)) from error
        if dry_run:
            console.print(f"{len(calls)} calls could be placed; none was.")
            return
        word = "are placed" if new else "were placed before (--again places them again)"
        console.print(f"{len(calls)} calls {word}.")
        if watch:
            self._watch(calls, console)

    def _read(self, file: Path, content: str, agent: str, at: str) -> tuple[list[int], list[NewCall]]:
        """Return the line number of each call of the file, and the calls."""
        reader = csv.DictReader(content.splitlines())
        if "to" not in (reader.fieldnames or ()):
            raise CommandError(f"{file}: The first line must name the columns, and one of them must be `to`.")
        lines: list[int] = []
        wanted: list[NewCall] = []
        problems: list[str] = []
        for row in reader:
            try:
                wanted.append(_new_call(row, agent, at))
                lines.append(reader.line_num)
            except ValueError as error:
                problems.append(f"{file}:{reader.line_num}: {error}")
        if problems:
            raise CommandError(_format_problems(problems))
        if not wanted:
            raise CommandError(f"{file} contains no calls.")
        return lines, wanted

    def _watch(self, calls: list[Call], console: Console) -> None:
        ids = [call.pk for call in calls]
        with Progress(console=console) as progress:
            task = progress.add_task("calls", total=len(ids))
            while True:
                statuses = Counter(status for page in _pages(ids) for status in _statuses(page))
                over = sum(statuses[status] for status in TERMINAL)
                words = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
                progress.update(task, completed=over, description=words)
                if over == len(ids):
                    return
                time.sleep(LOOK_EVERY)


def _statuses(ids: Sequence[UUID]) -> list[str]:
    return list(Call.objects.filter(pk__in=ids).values_list("status", flat=True))


def _pages(ids: Sequence[UUID], size: int = 500) -> Iterator[Sequence[UUID]]:
    """Split the ids into pages, because SQLite limits the parameters of one query."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _new_call(row: dict[str | None, Any], agent: str, at: str) -> NewCall:
    if row.get(None):
        raise ValueError("The line has more fields than there are columns.")
    fields = {str(name).strip(): (value or "").strip() for name, value in row.items()}

    def take(name: str) -> str:
        return fields.pop(name, "")

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
        variables=fields,
    )


def _parse_time(text: str, zone: str) -> datetime | None:
    """Parse ISO 8601. A time without an offset is in the line's time zone, or in UTC if the line has none."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone) if zone else UTC)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise ValueError(f"{text!r} is not a time such as 2026-12-01T09:00.") from None


def _parse_number(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError(f"max_duration {text!r} is not a number of seconds.")
    return int(text)


def _parse_flag(text: str) -> bool | None:
    if text.lower() not in {"", *_YES, *_NO}:
        raise ValueError(f"record {text!r} is neither yes nor no.")
    return text.lower() in _YES if text else None


def _format_problems(problems: list[str]) -> str:
    more = len(problems) - MOST_ERRORS
    shown = "\n".join(problems[:MOST_ERRORS]) + (f"\n... and {more} more" if more > 0 else "")
    return f"{shown}\nNo call was placed."
