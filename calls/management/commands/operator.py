"""``manage.py operator``: give an operator a login to the admin."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from calls.services.bootstrap import make_login


class Command(BaseCommand):
    help = "Create a superuser for the admin, or give an existing one a new random password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", nargs="?", default="operator", help="default: operator")

    def handle(self, *, username: str, **_: Any) -> None:
        username, password = make_login(username=username)
        self.stdout.write(f"user:     {username}\npassword: {password}")
