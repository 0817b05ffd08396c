"""``manage.py forget +12025550123``: remove everything about a person."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from calls.plain_text import printable
from calls.services import CallsError
from calls.services.privacy import forget, read_person, remove_late_writes

NOTHING_FOUND = 3
"""The exit status if nothing is known about the number. 1 is any other error, 2 a wrong command line."""


class Command(BaseCommand):
    help = (
        "Remove everything about a person: all that was said in calls with this number, what was known beforehand, and "
        "the number itself. Ends with status 3 if there is nothing about the number."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "number",
            nargs="?",
            help="the person's number, such as +12025550123, or an address, such as sip:anna@example.com",
        )
        parser.add_argument(
            "--late",
            action="store_true",
            help="remove what was written late about people who were forgotten before, also from this machine's spool",
        )
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        parser.add_argument(
            "--and-do-not-call",
            action="store_true",
            help="remove the number from that list as well: it may be dialled again",
        )

    def handle(self, *, number: str | None, late: bool, yes: bool, and_do_not_call: bool, **_: Any) -> None:
        if late:
            self.stdout.write(f"Removed late writes about {remove_late_writes()} calls of forgotten people.")
        if number:
            self._forget(number, yes=yes, and_do_not_call=and_do_not_call)
        elif not late:
            raise CommandError("Write the number or the address of the person.", returncode=2)

    def _forget(self, number: str, *, yes: bool, and_do_not_call: bool) -> None:
        try:
            number = read_person(number)
            if not yes and not self._confirm(number):
                raise CommandError("Nothing was removed.")
            removed = forget(number=number, and_do_not_call=and_do_not_call)
        except CallsError as error:
            raise CommandError(str(error)) from error
        if removed.is_nothing:
            raise CommandError(
                f"There is no call with {printable(number)}, and no entry of the do-not-call list. "
                "Nothing was removed.",
                returncode=NOTHING_FOUND,
            )
        self.stdout.write(
            f"Removed: the data of {removed.calls} calls, of which {removed.canceled} were waiting; "
            f"{removed.recordings} recordings, the words of {removed.turns} turns, {removed.events} events, "
            f"{removed.deliveries} webhook deliveries, {removed.spooled} lines and recordings of the spool."
        )
        if removed.removed_entries:
            self.stdout.write("Removed 1 entry of the do-not-call list: the number may be dialled again.")
        if removed.do_not_call:
            self.stdout.write(
                "The number stays on the do-not-call list, without a reason: only that list keeps it from being "
                "dialled again. --and-do-not-call removes it."
            )
        for remains in removed.remaining:
            self.stdout.write(f"Remains: {printable(remains)}.")
        self.stdout.write("Backups and the carrier have their own records, which this command does not change.")

    def _confirm(self, number: str) -> bool:
        self.stdout.write(
            f"This removes everything that was said in calls with {printable(number)}. It cannot be undone."
        )
        try:
            return read_person(input("Write the number again to confirm: ")) == number
        except EOFError:
            raise CommandError("There is no terminal to ask on. Add --yes to remove without confirmation.") from None
        except CallsError:
            return False
