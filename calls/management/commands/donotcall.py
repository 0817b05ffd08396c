"""``manage.py donotcall``: the list of numbers that are never dialled."""

import csv
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from calls.csv_files import Columns, Fault, UnreadableFile, as_cell, describe_faults, from_cell, parse_rows, read_text
from calls.models import DoNotCall
from calls.services import CallsError
from calls.services.do_not_call import (
    LONGEST_REASON,
    NewEntry,
    add_do_not_call,
    add_many_do_not_call,
    read_entry,
    remove_do_not_call,
    warn_of,
)

NOTHING_FOUND = 3
"""The exit status if a number to remove is not on the list. 1 is any other error, 2 a wrong command line."""
_NAMES = ("number", "reason", "source", "created_at")
_PRINTED = ("source", "number", "reason", "created_at")
"""
The columns of ``list``. A word of ours begins the line: where semicolons separate cells, a spreadsheet takes the line
up to the first of them for one cell, and a + in front would make a formula of the number and what stands behind it.
"""
COLUMNS = Columns(["number"], _NAMES[1:], kept=["reason"], without_header=_NAMES)


class Command(BaseCommand):
    help = "Add, remove, list and import numbers that are never dialled."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="add a number, which is then never dialled")
        add.add_argument("number")
        add.add_argument("--reason", default="", help="why the number is on the list")
        remove = actions.add_parser("remove", help="remove a number, which may then be dialled again")
        remove.add_argument("number")
        actions.add_parser("list", help="print all numbers, the newest first, as CSV that can be imported")
        load = actions.add_parser(
            "import",
            help="add the numbers of a CSV file, with the columns that `list` prints or one number per line, which may "
            "be followed by a comma and a reason; if any line is wrong, no number is added",
        )
        load.add_argument("file", type=Path)

    def handle(self, *, action: str, **options: Any) -> None:
        try:
            match action:
                case "add":
                    entry, new = add_do_not_call(
                        number=options["number"], source=DoNotCall.Source.OPERATOR, reason=options["reason"]
                    )
                    self.stdout.write(f"{entry} {'is' if new else 'was already'} on the do-not-call list.")
                    self._warn([entry.number])
                case "remove":
                    number = read_entry(options["number"])
                    if not (removed := remove_do_not_call(number=number)):
                        raise CommandError(
                            f"{number} is not on the do-not-call list. No entry was removed.", returncode=NOTHING_FOUND
                        )
                    what = "entry was" if removed == 1 else "entries were"
                    self.stdout.write(f"{number} may be dialled again: {removed} {what} removed.")
                case "list":
                    self._list()
                case "import":
                    self._import(options["file"])
        except CallsError as error:
            raise CommandError(str(error)) from error

    def _list(self) -> None:
        rows = csv.writer(self.stdout, lineterminator="\n")
        rows.writerow(_PRINTED)
        for source, number, reason, created_at in DoNotCall.objects.values_list(*_PRINTED).iterator():
            rows.writerow([source, number, as_cell(reason), created_at.isoformat()])

    def _import(self, file: Path) -> None:
        try:
            rows, faults = parse_rows(read_text(file), COLUMNS)
        except UnreadableFile as error:
            raise CommandError(f"{file} cannot be read: {error}") from error
        entries: dict[str, NewEntry] = {}
        for row in rows:
            try:
                entry = _entry(row.fields)
            except (ValueError, CallsError) as error:
                faults.append(Fault(row.line, f"{row.fields['number'][:40]!r}: {error}"))
            else:
                entries.setdefault(entry.number, entry)
        if faults:
            raise CommandError(f"{describe_faults(file, faults)}\nNo number was added.")
        # `list` prints the newest entry first, and later ids are newer.
        new = add_many_do_not_call(reversed(entries.values()))
        text = f"{new} numbers are new on the do-not-call list, {len(entries) - new} were on it already."
        self._warn(entries)
        repeated = len(rows) - len(entries)
        self.stdout.write(f"{text} {repeated} lines repeat a number of an earlier line." if repeated else text)

    def _warn(self, numbers: Iterable[str]) -> None:
        for warning in filter(None, map(warn_of, numbers)):
            self.stderr.write(warning)


def _entry(fields: Mapping[str, str]) -> NewEntry:
    """Read a row. Raises ``CallsError`` and ``ValueError``."""
    reason = from_cell(fields.get("reason", ""))
    if len(reason) > LONGEST_REASON:
        raise ValueError(f"The reason has {len(reason)} characters, {LONGEST_REASON} are allowed.")
    source, created_at = fields.get("source", ""), fields.get("created_at", "")
    if source not in ("", *DoNotCall.Source.values):
        raise ValueError(f"The source {source[:40]!r} is none of {', '.join(DoNotCall.Source.values)}.")
    return NewEntry(
        number=read_entry(fields["number"]),
        reason=reason,
        source=source or DoNotCall.Source.OPERATOR,
        created_at=_moment(created_at) if created_at else None,
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not 1900 <= moment.year <= 9000:
        raise ValueError(f"{text[:40]!r} is not a time such as 2026-12-01T09:00:00+00:00.")
    return moment
