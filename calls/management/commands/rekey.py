"""``manage.py rekey``: encrypt the recordings that are stored already with the first of ``RECORDING_KEYS``."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from calls.plain_text import printable
from calls.services import CallsError
from calls.services.rekeying import Rekeyed, count_recordings, rekey

INTERVAL = 5.0
"""Seconds between two lines of progress."""
MOST_NAMED = 20
"""Recordings that could not be read and are named."""


class Command(BaseCommand):
    help = (
        "Encrypt the recordings that are stored already with the first of RECORDING_KEYS: those from before there were "
        "keys, and those of an older key, which may be removed afterwards. Calls may go on meanwhile. Ends with status "
        "1 if a recording cannot be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count what would be encrypted, and change nothing")

    def handle(self, *, dry_run: bool, **_: Any) -> None:
        total, counts, shown_at = count_recordings(), Rekeyed(), time.monotonic()
        try:
            for counts in rekey(dry_run=dry_run):
                if time.monotonic() - shown_at >= INTERVAL:
                    shown_at = time.monotonic()
                    self.stdout.write(f"{counts.done} of {total} recordings …")
        except CallsError as error:
            raise CommandError(str(error)) from error
        verb = "would be encrypted" if dry_run else "were encrypted"
        self.stdout.write(
            f"Of {counts.done} recordings {counts.changed} {verb} with the first key: {counts.plain} that were not "
            f"encrypted, {counts.older} of another key. {counts.current} had the first key already."
        )
        if not counts.unreadable:
            if not dry_run:
                self.stdout.write(
                    "No stored recording needs another key than the first one. Keep the others until all web processes "
                    "have been restarted with the new one and no recording waits in SPOOL_DIR."
                )
            return
        for text in counts.unreadable[:MOST_NAMED]:
            self.stderr.write(f"Not read: {printable(text)}")
        raise CommandError(f"{len(counts.unreadable)} recordings could not be read and stay as they are.")
