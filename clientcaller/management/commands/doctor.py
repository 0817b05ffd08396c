"""``manage.py doctor``: look at a deployment from inside, and say what is wrong and what to do."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Collection
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from calls.errors import CarrierError
from clientcaller.doctor.checks import CHECKS
from clientcaller.doctor.deployment import Deployment, address
from clientcaller.doctor.fixing import fix_webhooks
from clientcaller.doctor.registry import Level, Run, select
from clientcaller.doctor.report import Printer, as_json, worst
from inference.management.options import interruptible


class Command(BaseCommand):
    help = "Check this deployment from inside: one line for each finding, and what to do. Status 1 if any is red."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--only", type=_names, default=(), metavar="NAMES", help="only these, comma separated")
        parser.add_argument("--skip", type=_names, default=(), metavar="NAMES", help="all checks but these")
        parser.add_argument("--list", action="store_true", help="list the checks, and check nothing")
        parser.add_argument("--fix", action="store_true", help="first set the webhooks of our numbers at Twilio")
        parser.add_argument("--yes", "--no-input", action="store_true", help="do not ask before --fix sets something")
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
        parser.add_argument("--ca-file", type=Path, metavar="FILE", help="also trust the certificates in this file")
        parser.add_argument(
            "--connect-to",
            type=address,
            metavar="HOST:PORT",
            help="connect there in place of the public address, from a machine that does not reach its own",
        )

    def run_from_argv(self, argv: list[str]) -> None:
        self.is_process = True
        super().run_from_argv(argv)

    @interruptible
    def handle(self, *args: Any, **options: Any) -> None:
        checks = select(options["only"], options["skip"])
        if options["list"]:
            for one in checks:
                needs = f" (needs {', '.join(one.needs)})" if one.needs else ""
                self.stdout.write(f"{one.name:<14} {one.about}{needs}")
            return
        if (ca_file := options["ca_file"]) and not ca_file.is_file():
            raise CommandError(f"--ca-file {ca_file}: there is no such file.")
        if options["fix"]:
            self._fix(yes=options["yes"], json=options["json"])
        run = Run(Deployment(ca_file=ca_file, connect_to=options["connect_to"]))
        if options["json"]:
            results = run.run(checks)
            self.stdout.write(as_json(results))
        else:
            printer = Printer(self.stdout)
            results = run.run(checks, on_start=printer.start, on_result=printer.print)
            printer.summarise(results)
        status = int(worst(results) is Level.RED)
        if run.abandoned and getattr(self, "is_process", False):
            # What was given up still waits in a thread, for which Python would wait in turn.
            sys.stdout.flush()
            os._exit(status)
        if status:
            sys.exit(status)

    def _fix(self, *, yes: bool, json: bool) -> None:
        # JSON on stdout stays alone there.
        out = self.stderr if json else self.stdout
        try:
            fix_webhooks(lambda text: out.write(text), lambda question: yes or _ask(question))
        except CarrierError as error:
            raise CommandError(f"The webhooks were not set: {error}") from error


def _ask(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to answer
        return False


def _names(text: str) -> Collection[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := sorted(set(names) - set(CHECKS)):
        raise ArgumentTypeError(f"there is no check {unknown[0]}; the checks are {', '.join(CHECKS)}")
    return names
