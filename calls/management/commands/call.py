"""``manage.py call +12025550123``: place one call and watch it."""

import time
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.markup import escape

from calls.models import Call, MachineDetection
from calls.plain_text import printable
from calls.services import CallsError
from calls.services.pauses import read_pauses, why_waiting
from calls.services.placing import NewCall, place_call
from calls.services.progress import ProgressLine, list_progress
from calls.services.stopping import cancel_call, hang_up
from calls.status import TERMINAL

LOOK_EVERY = 0.3
"""Seconds between two queries for news about the call."""
NO_WORKER = timedelta(seconds=8)
"""If a call is due for this long and still not claimed, dialling is paused, or most likely no worker is running."""
START_ONE = "Is one running? `make run` starts it."


class Command(BaseCommand):
    help = "Place a call and show what happens until it has ended. Ctrl-C cancels it or hangs up."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("to", help="the number to call, such as +12025550123")
        parser.add_argument("--agent", default="front-desk", help="the agent that talks (default: front-desk)")
        parser.add_argument(
            "--from", dest="from_number", default="", help="the number to call from (default: the agent's)"
        )
        parser.add_argument(
            "--var", action="append", default=[], metavar="NAME=VALUE", help="fills {{ NAME }} in the agent's texts"
        )
        parser.add_argument("--max-duration", type=int, metavar="SECONDS", help="default: the agent's limit")
        parser.add_argument(
            "--machine-detection",
            default="",
            choices=MachineDetection.values,
            help="what to do about answering machines (default: the agent's setting)",
        )
        parser.add_argument("--no-wait", action="store_true", help="place the call and return at once")

    def handle(self, to: str, agent: str, from_number: str, var: list[str], no_wait: bool, **options: Any) -> None:
        console = Console(highlight=False, soft_wrap=True)
        wanted = NewCall(
            to=to,
            agent=agent,
            from_number=from_number,
            variables=parse_variables(var),
            max_duration=options["max_duration"],
            machine_detection=options["machine_detection"],
        )
        try:
            call, _ = place_call(wanted)
        except CallsError as error:
            raise CommandError(f"{error} ({error.code})") from error
        console.print(f"Call [bold]{call.pk}[/] to {call.to_number} is waiting to be dialled.")
        if no_wait:
            return
        try:
            self._watch(call, console)
        except KeyboardInterrupt:
            self._stop(call, console)

    def _watch(self, call: Call, console: Console) -> None:
        """Print what happens until the call has ended."""
        seen: set[str] = set()
        warned = False
        while True:
            call.refresh_from_db()
            for line in list_progress(call):
                if line.id not in seen:
                    seen.add(line.id)
                    console.print(_format_line(line))
            if call.status in TERMINAL:
                how = f", {call.duration:.0f} s" if call.duration else ""
                console.print(f"[bold]{call.status}[/]{how} ({call.end_reason or 'no reason given'})")
                return
            if not warned and call.due_at and timezone.now() - call.due_at > NO_WORKER:
                warned = True
                why = why_waiting(call, read_pauses(timezone.now()))
                text = f"Dialling is paused for {why}" if why else f"No worker has taken the call yet. {START_ONE}"
                console.print(f"[yellow]{escape(printable(text))}[/]")
            time.sleep(LOOK_EVERY)

    def _stop(self, call: Call, console: Console) -> None:
        console.print()
        try:
            cancel_call(call_id=call.pk)
            console.print("Canceled.")
        except CallsError:
            hang_up(call_id=call.pk)
            console.print("Hanging up.")


def parse_variables(pairs: list[str]) -> dict[str, str]:
    """Turn ``["name=Anna"]`` into a mapping. Raises ``CommandError``."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandError(f"--var {pair}: write it as NAME=VALUE.")
        found[name.strip()] = value
    return found


def _format_line(line: ProgressLine) -> str:
    text = escape(printable(line.text))
    at = timezone.localtime(line.at).strftime("%H:%M:%S")
    if line.speaker:
        colour = "cyan" if line.speaker == "agent" else "green"
        return f"[dim]{at}[/] [{colour}]{line.speaker:>6}[/] {text}"
    return f"[dim]{at}  {text}[/]"
