"""``manage.py donotcall``: the list of numbers that are never dialled."""

import csv
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from calls.models import DoNotCall
from calls.services import CallsError
from calls.services.do_not_call import add_do_not_call, add_many_do_not_call, remove_do_not_call, whole_number

MOST_ERRORS = 20
"""Invalid lines that are shown. Further ones are only counted."""


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
            "import", help="add the numbers of a file: one per line, optionally followed by a comma and a reason"
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
                case "remove":
                    if not remove_do_not_call(number=options["number"]):
                        raise CommandError(f"{options['number']} is not on the do-not-call list.")
                    self.stdout.write(f"{options['number']} may be dialled again.")
                case "list":
                    rows = csv.writer(self.stdout, lineterminator="\n")
                    fields = DoNotCall.objects.values_list("number", "reason", "source", "created_at")
                    for number, reason, source, created_at in fields.iterator():
                        rows.writerow([number, reason, source, created_at.isoformat(timespec="seconds")])
                case "import":
                    self._import(options["file"])
        except CallsError as error:
            raise CommandError(str(error)) from error

    def _import(self, file: Path) -> None:
        """Add the valid numbers even if other lines are invalid: they must not be dialled in the meantime."""
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}") from error
        reasons: dict[str, str] = {}
        invalid: list[str] = []
        for line_number, line in enumerate(lines, start=1):
            number, reason = [*next(csv.reader([line]), []), "", ""][:2]
            if (
                not number.strip()
                or number.startswith("#")
                or (line_number == 1 and number.strip().lower() == "number")
            ):
                continue
            try:
                reasons.setdefault(whole_number(number.strip()), reason.strip())
            except CallsError as error:
                invalid.append(f"{file}:{line_number}: {number[:40]!r}: {error}")
        new = add_many_do_not_call(reasons=reasons, source=DoNotCall.Source.OPERATOR)
        self.stdout.write(f"{new} numbers are new on the do-not-call list, {len(reasons) - new} were on it already.")
        if invalid:
            more = [f"... and {len(invalid) - MOST_ERRORS} more"] if len(invalid) > MOST_ERRORS else []
            raise CommandError("\n".join([*invalid[:MOST_ERRORS], *more, f"{len(invalid)} lines were left out."]))
