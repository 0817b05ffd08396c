"""``manage.py forget +12025550123``: remove a person."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from calls.services import CallsError
from calls.services.do_not_call import whole_number
from calls.services.privacy import forget


class Command(BaseCommand):
    help = "Remove a person: all that was said in calls with this number, what was known beforehand, and the number."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", help="such as +12025550123")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--and-do-not-call", action="store_true", help="take the number off that list, too: it may be dialled again"
        )

    def handle(self, *, number: str, yes: bool, and_do_not_call: bool, **_: Any) -> None:
        try:
            number = whole_number(number)
            if not yes and not self._confirmed(number):
                raise CommandError("Nothing was removed.")
            gone = forget(number=number, and_do_not_call=and_do_not_call)
        except CallsError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Forgotten: {gone.calls} calls, of which {gone.canceled} were waiting; {gone.recordings} recordings, "
            f"the words of {gone.turns} turns, {gone.events} events, {gone.deliveries} webhook deliveries."
        )
        if gone.do_not_call:
            self.stdout.write(
                "The number stays on the do-not-call list, without a reason: nothing else keeps it from being dialled "
                "again. --and-do-not-call takes it off."
            )
        self.stdout.write("Backups and the carrier have records of their own.")

    def _confirmed(self, number: str) -> bool:
        self.stdout.write(f"This removes all that was said with {number}. It cannot be undone.")
        try:
            return input("Write the number again to go on: ").strip() == number
        except EOFError:
            raise CommandError("There is nobody to ask. Give --yes if you are sure.") from None
