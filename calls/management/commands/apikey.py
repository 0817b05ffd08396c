"""``manage.py apikey``: create, list and revoke keys to the REST API."""

import re
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from calls.models import ApiKey
from calls.plain_text import printable
from calls.services import CallsError
from calls.services.keys import make_key, revoke_key

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}


class Command(BaseCommand):
    help = "Create, list and revoke keys to the REST API."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="create a key and print it once")
        create.add_argument("name", help="who or what uses the key")
        create.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=ApiKey.Scope.values,
            help="what it allows; may be repeated",
        )
        create.add_argument("--rate", default="", help="the requests allowed, such as 600/minute (default: API_RATE)")
        create.add_argument(
            "--expires", default="", metavar="90d", help="when it expires: after 12h, 90d, 4w, 1y (default: never)"
        )
        actions.add_parser("list", help="list all keys without their secrets")
        revoke = actions.add_parser("revoke", help="refuse a key from now on")
        revoke.add_argument("name")

    def handle(self, *, action: str, **options: Any) -> None:
        try:
            match action:
                case "create":
                    self._create(options["name"], options["scope"], options["rate"], options["expires"])
                case "list":
                    self._list()
                case "revoke":
                    self.stdout.write(f"{printable(str(revoke_key(name=options['name'])))} is refused from now on.")
        except CallsError as error:
            raise CommandError(str(error)) from error

    def _create(self, name: str, scopes: list[str], rate: str, expires: str) -> None:
        key, secret = make_key(name=name, scopes=scopes, rate=rate, expires_at=_expiry(expires))
        self.stderr.write(
            f"Created the key {printable(str(key))} ({', '.join(key.scopes)}). Store it now: it cannot be shown again."
        )
        self.stdout.write(secret)

    def _list(self) -> None:
        now = timezone.now()
        for key in ApiKey.objects.all():
            expired = key.expires_at is not None and key.expires_at <= now
            state = "revoked" if not key.active else "expired" if expired else "active"
            used = f"used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
            self.stdout.write(f"{key.prefix}…  {state:<8} {printable(key.name)}  ({', '.join(key.scopes)}; {used})")


def _expiry(text: str) -> datetime | None:
    if not text:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdwy])", text)
    if match is None:
        raise CommandError(f"--expires {printable(text)}: write it as 12h, 90d, 4w or 1y.")
    return timezone.now() + int(match[1]) * _UNITS[match[2]]
