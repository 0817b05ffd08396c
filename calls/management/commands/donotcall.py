"""``manage.py donotcall``: numbers that are never dialled."""

import csv
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from calls.models import DoNotCall
from calls.services import CallsError
from calls.services.do_not_call import add_do_not_call, add_many_do_not_call, remove_do_not_call, whole_number

MOST_ERRORS = 20
"""Wrong lines that are told; more are counted."""


class Command(BaseCommand):
    help = "Add, remove, list and import numbers that are never dialled."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="never dial a number again")
        add.add_argument("number")
        add.add_argument("--reason", default="")
        remove = actions.add_parser("remove", help="a number may be dialled again")
        remove.add_argument("number")
        actions.add_parser("list", help="every number, newest first, as CSV that can be imported")
        load = actions.add_parser(
            "import", help="add the numbers of a file: one on a line, perhaps a comma and a reason"
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
                        raise CommandError(f"{options['number']} is not on the list.")
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
        """What is a number is added, whatever stands on the other lines: it must not be dialled in the meantime."""
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}") from error
        reasons: dict[str, str] = {}
        wrong: list[str] = []
        for at, line in enumerate(lines, start=1):
            number, reason = [*next(csv.reader([line]), []), "", ""][:2]
            if not number.strip() or number.startswith("#") or (at == 1 and number.strip().lower() == "number"):
                continue
            try:
                reasons.setdefault(whole_number(number.strip()), reason.strip())
            except CallsError as error:
                wrong.append(f"{file}:{at}: {number[:40]!r}: {error}")
        new = add_many_do_not_call(reasons=reasons, source=DoNotCall.Source.OPERATOR)
        self.stdout.write(f"{new} numbers are new on the do-not-call list, {len(reasons) - new} were on it.")
        if wrong:
            more = [f"... and {len(wrong) - MOST_ERRORS} more"] if len(wrong) > MOST_ERRORS else []
            raise CommandError("\n".join([*wrong[:MOST_ERRORS], *more, f"{len(wrong)} lines were left out."]))
