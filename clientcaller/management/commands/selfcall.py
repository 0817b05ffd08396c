"""``manage.py selfcall``: call ourselves through the public address, converse, and say how it went."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from calls.errors import CarrierError
from calls.plain_text import printable
from clientcaller.doctor.account import open_account
from clientcaller.doctor.deployment import Deployment, address, masked
from clientcaller.selfcall import real, simulated
from clientcaller.selfcall.conversation import LINES, Conversation, problems_of, recognised
from inference.engines.laptop_voice import LaptopTextToSpeech
from inference.management.options import interruptible
from inference.types import EngineError
from media.errors import MediaError

LIMIT, REAL_LIMIT = 2.0, 3.5
"""Seconds that a reply may take: on the simulated line, and with two legs through the telephone network."""
PAUSE = 8
"""Seconds that a real call waits for each reply: the agent must have finished by then."""


class Command(BaseCommand):
    help = (
        "Call one of our numbers from itself through the public address, converse by a script, and report latency, "
        "gaps and words. Status 1 if it was not answered, was too slow, or was not understood."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--simulated",
            action="store_true",
            help="play Twilio's part as well: no real call, no cost (default while no account is set)",
        )
        parser.add_argument("--say", action="append", metavar="LINE", help="what the caller says; may be repeated")
        parser.add_argument(
            "--limit", type=float, metavar="S", help="seconds that a reply may take (2, or 3.5 if real)"
        )
        parser.add_argument(
            "--words", type=float, default=0.5, metavar="SHARE", help="share of words to be recognised (%(default)s)"
        )
        parser.add_argument(
            "--to", dest="to_number", metavar="NUMBER", help="our number (default: TWILIO_PHONE_NUMBER)"
        )
        parser.add_argument("--from", dest="from_number", metavar="NUMBER", help="another number to call from, if real")
        parser.add_argument("--pause", type=int, default=PAUSE, metavar="S", help="wait for each reply, if real (8)")
        parser.add_argument("--voice", default="", help="the voice of the simulated caller, such as de or en-us+adam")
        parser.add_argument("--ca-file", type=Path, metavar="FILE", help="also trust the certificates in this file")
        parser.add_argument("--connect-to", type=address, metavar="HOST:PORT", help="as for manage.py doctor")
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")

    @interruptible
    def handle(self, *args: Any, **options: Any) -> None:
        number = options["to_number"] or settings.TWILIO_PHONE_NUMBER
        if not number:
            raise CommandError("TWILIO_PHONE_NUMBER is not set, so there is no number to call.")
        is_simulated = options["simulated"] or settings.SIMULATED
        lines = tuple(options["say"] or LINES)
        out = self.stderr if options["json"] else self.stdout
        kind = "a simulated" if is_simulated else "a real"
        out.write(f"Placing {kind} call from {masked(number)} to itself ...")
        hold = self._simulated if is_simulated else self._real
        conversation = hold(number, lines, options, out)
        limit = options["limit"] or (LIMIT if is_simulated else REAL_LIMIT)
        problems = list(problems_of(conversation, limit=limit, least_words=options["words"]))
        if options["json"]:
            self.stdout.write(as_json(conversation, problems))
        else:
            self._show(conversation, problems)
        if problems:
            sys.exit(1)

    def _simulated(self, number: str, lines: tuple[str, ...], options: dict[str, Any], out: Any) -> Conversation:
        deployment = Deployment(ca_file=options["ca_file"], connect_to=options["connect_to"])
        try:
            return asyncio.run(
                simulated.call_ourselves(
                    deployment,
                    lines,
                    number=number,
                    engine=LaptopTextToSpeech(),
                    voice=options["voice"],
                    folder=Path(settings.VAR_DIR) / "selfcall",
                )
            )
        except (EngineError, MediaError, OSError) as error:
            raise CommandError(f"The call could not be played: {error}") from error

    def _real(self, number: str, lines: tuple[str, ...], options: dict[str, Any], out: Any) -> Conversation:
        try:
            account = open_account()
        except CarrierError as error:
            raise CommandError(str(error)) from error
        return real.call_ourselves(
            account,
            lines,
            to_number=number,
            from_number=options["from_number"] or number,
            pause=options["pause"],
            say=out.write,
        )

    def _show(self, conversation: Conversation, problems: list[str]) -> None:
        console = Console(file=cast(IO[str], self.stdout), highlight=False, soft_wrap=True)
        if not conversation.failure:
            table = Table(box=SIMPLE, title=f"Replies, {conversation.measured}", title_justify="left")
            for name in ("the caller said", "reply after", "words recognised"):
                table.add_column(name, justify="left" if name == "the caller said" else "right")
            for line, response in zip(conversation.lines, conversation.responses, strict=True):
                after = "-" if response is None else f"{1000 * response:.0f} ms"
                table.add_row(escape(line), after, f"{100 * recognised(line, conversation.heard):.0f} %")
            console.print(table)
            for reply in conversation.replies:
                console.print(f"  [green]agent[/]  {escape(printable(reply))}")
            console.print(f"  gaps in the agent's voice: {_gaps(conversation)}")
        for problem in problems:
            console.print(f"[bold red]RED[/]     {escape(printable(problem))}")
        if not problems:
            console.print("[green]green[/]   The call was answered, in time, and understood.")


def _gaps(conversation: Conversation) -> str:
    if not conversation.gaps:
        return "none" if "simulated" in conversation.measured else "not measured on a recording"
    return f"{len(conversation.gaps)}, the longest {1000 * max(conversation.gaps):.0f} ms"


def as_json(conversation: Conversation, problems: list[str]) -> str:
    return json.dumps(
        {
            "ok": not problems,
            "problems": problems,
            "lines": conversation.lines,
            "responses": conversation.responses,
            "slowest": conversation.slowest,
            "gaps": conversation.gaps,
            "heard": conversation.heard,
            "replies": conversation.replies,
        },
        indent=2,
    )
