"""``manage.py renumber``: bring stored numbers into the form in which they are read now."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from calls.plain_text import printable
from calls.services.renumbering import renumber


class Command(BaseCommand):
    help = (
        "Bring all stored telephone numbers and addresses into the form in which they are read now. `migrate` does so "
        "once. Run it again after processes of an earlier version have ended, and after an update of phonenumbers."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="report what would change, and change nothing")

    def handle(self, *, dry_run: bool, **_: Any) -> None:
        report = renumber(dry_run=dry_run)
        verb = "would be changed" if dry_run else "were changed"
        for column, count in sorted(report.changed.items()):
            self.stdout.write(f"{column}: {count} numbers {verb}.")
        if not report.changed:
            self.stdout.write("Every number that can be read has its form already.")
        if report.merged:
            verb = "would become" if dry_run else "became"
            self.stdout.write(f"Of these, {report.merged} {verb} one entry with another of the do-not-call list.")
        for taken in report.taken:
            self.stdout.write(f"Not changed: {printable(taken)}. Change or remove one of them.")
        for column, values in sorted(report.unreadable.items()):
            shown = ", ".join(f"{printable(text)} ({count})" for text, count in values.items())
            self.stdout.write(f"{column}: these cannot be read and stay as they are: {shown}")
        if report.impossible:
            shown = ", ".join(f"{number} ({count})" for number, count in report.impossible.items())
            self.stdout.write(f"DoNotCall.number: these do not exist, so they stop no call. Check them: {shown}")
