"""``manage.py network``: the simulated telephone network as a process, for the server to dial out through."""

from __future__ import annotations

import asyncio
import errno
import signal
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from inference.engines.espeak import EspeakTextToSpeech
from inference.types import EngineError
from media.errors import MediaError
from media.phone.answering import CarrierTiming
from media.phone.call_request import CallEnd
from media.phone.leg import PhoneCall
from media.phone.live import open_voice
from media.phone.network import PhoneNetwork, is_listening
from media.phone.people import PEOPLE, VOICE, assign_people, person_at
from media.phone.rest_account import DialingPermission, SimulatedAccount, SimulatedNumber
from media.phone.twilio_errors import CLOSED_BY_APPLICATION

EXAMPLES = """\
Start the network in one terminal. In another, start the server so that it dials through the network:

  TWILIO_API_BASE_URL=http://127.0.0.1:8010 make run

Then let the server call +12025550100, or any number with another ending: --people lists who answers
which. This needs no account and no telephone, and nothing leaves this machine.
"""
QUICK = CarrierTiming(post_dial=(0.3, 0.8), answer=(1.5, 2.5), verdict=(1.0, 2.0), recording=(1.0, 2.0), scale=1.0)
"""Two to three seconds from dialling to the answer: real people take longer, but the reader is waiting."""
RING_SECONDS = 5.0
"""Seconds for which a phone that nobody answers rings, for the same reason."""


class Command(BaseCommand):
    help = "Run a simulated telephone network on this machine. The server dials out through it as through Twilio."
    requires_system_checks: list[str] = []
    suppressed_base_arguments = {
        *("--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color"),
    }

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXAMPLES
        parser.add_argument("--people", action="store_true", help="list who answers which number, and exit")
        parser.add_argument("--host", default="127.0.0.1", help="address of the REST API (default: %(default)s)")
        parser.add_argument(
            "--port", type=int, default=8010, help="port of the REST API; 0 picks a free one (default: %(default)s)"
        )
        parser.add_argument(
            "--app-url",
            default="http://127.0.0.1:8000",
            metavar="URL",
            help="the running server (default: %(default)s)",
        )
        parser.add_argument(
            "--ca-file",
            type=Path,
            metavar="FILE",
            help="the private authority behind an https server (PEM)",
        )
        pace = parser.add_mutually_exclusive_group()
        pace.add_argument("--realtime", action="store_true", help="let phones ring for as long as real ones do")
        pace.add_argument(
            "--scale", type=float, default=1.0, metavar="X", help="multiply all waits outside the conversation by X"
        )
        parser.add_argument(
            "--calls-per-second",
            type=float,
            default=1.0,
            metavar="N",
            help="dial at most N calls per second (default: %(default)g, as Twilio does)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(file=cast(IO[str], self.stdout), highlight=False, soft_wrap=True)
        if options["people"]:
            _print_people(console)
            return
        if settings.TWILIO_ACCOUNT_SID != settings.DEVELOPMENT_ACCOUNT_SID:
            raise CommandError(
                "TWILIO_ACCOUNT_SID names a real account, and this network only simulates the made-up one. "
                "Unset TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, here and for the server."
            )
        for option in ("scale", "calls_per_second"):
            if not 0 < options[option] < float("inf"):
                raise CommandError(f"--{option.replace('_', '-')} must be more than 0.")
        try:
            asyncio.run(self.serve(console, options))
        except MediaError as error:
            raise CommandError(str(error)) from error
        except EngineError as error:
            raise CommandError(f"There is no voice for the people on the phone: {error}") from error

    async def serve(self, console: Console, options: dict[str, Any]) -> None:
        """Run the network until SIGINT or SIGTERM, then hang up every call."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # on Windows, Ctrl-C ends the process at once
                loop.add_signal_handler(number, stop.set)
        timing = CarrierTiming(scale=1.0) if options["realtime"] else replace(QUICK, scale=options["scale"])
        network = PhoneNetwork(
            app_url=options["app_url"].rstrip("/"),
            public_url=settings.PUBLIC_BASE_URL,
            account_sid=settings.TWILIO_ACCOUNT_SID,
            auth_token=settings.TWILIO_AUTH_TOKEN,
            tape_directory=settings.VAR_DIR / "phone",
            calls_per_second=options["calls_per_second"],
            strict=False,
            timing=timing,
            ca_file=options["ca_file"],
            rest_host=options["host"],
            rest_port=options["port"],
        )
        _fill_account(network.account)
        async with open_voice(EspeakTextToSpeech(), voice=VOICE) as voice:
            await assign_people(network, voice=voice, patience=None if options["realtime"] else RING_SECONDS)
        network.on_call = CallPrinter(console, network).follow
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(network)
            except OSError as error:
                raise CommandError(_explain_listen_error(error, options)) from error
            await _print_introduction(console, network, options)
            await stop.wait()
            if any(not call.is_over for call in network.calls.values()):
                console.print("Hanging up ...")
        console.print("The network has stopped.")


def _fill_account(account: SimulatedAccount) -> None:
    """Give the account what the settings expect of it: the number with its webhooks, and the countries."""
    base = settings.PUBLIC_BASE_URL
    if number := settings.TWILIO_PHONE_NUMBER:
        voice, status = f"{base}/twilio/voice/", f"{base}/twilio/status/"
        account.numbers.append(SimulatedNumber(number, voice_url=voice, status_callback=status))
    for country in settings.DIAL_COUNTRIES:
        account.permissions[country] = DialingPermission()


class CallPrinter:
    """Prints what happens to each call, one line for each event."""

    def __init__(self, console: Console, network: PhoneNetwork) -> None:
        self._console, self._network = console, network
        self._last: dict[str, str] = {}  # the last line of each call, by SID

    def follow(self, call: PhoneCall) -> None:
        """Print everything that happens to this call from now on."""
        source = "by a transfer" if call.parent else f"by {call.request.from_number}"
        self._print(call, f"is dialled {source} ({person_at(call.request.to_number).name})")
        call.tape.on_event = partial(self._print_event, call)
        self._network.spawn(self._print_end(call))

    async def _print_end(self, call: PhoneCall) -> None:
        try:
            end = await call.wait()
        except Exception as error:  # a fault of the simulation must not stop the other calls
            self._print(call, f"[red]the simulated call failed: {escape(repr(error))}[/]")
        else:
            self._print(call, _describe_end(end))

    def _print_event(self, call: PhoneCall, event: dict[str, Any]) -> None:
        describe = _EVENT_LINES.get(event["event"])
        if describe is None or event.get("code") == CLOSED_BY_APPLICATION:
            return
        text = describe(event)
        # The tape has one event for each stretch of the agent's voice; a whole reply is one line here.
        if text and text != self._last[call.sid]:
            self._print(call, text)

    def _print(self, call: PhoneCall, text: str) -> None:
        self._last[call.sid] = text
        now = datetime.now().strftime("%H:%M:%S")
        self._console.print(f"[dim]{now}[/]  [bold]{call.request.to_number}[/]  {text}")


_STATUS_LINES = {"ringing": "rings", "in-progress": "answers"}
_EVENT_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "call_status": lambda event: _STATUS_LINES.get(event["status"], ""),
    "detected": lambda event: f"[dim]machine detection finds: {event['answered_by']}[/]",
    "caller_speech_start": lambda event: f"[cyan]says[/] {escape(event['clip'])}",
    "agent_speech_start": lambda event: "[green]hears the agent[/]",
    "say": lambda event: f"[green]hears[/] {escape(event['text'])}",
    "dtmf": lambda event: f"[cyan]presses[/] {event['digit']}",
    "key": lambda event: f"[cyan]presses[/] {event['digit']}",
    "bridged": lambda event: "is connected with the other phone",
    "error": lambda event: f"[red]error {event['code']}[/] {escape(event['detail'])}",
    "alert": lambda event: f"[red]error {event['code']}[/] {escape(event['message'])}",
}
"""The act or the perception of the person at a number, for each event of the tape that is printed."""
_END_LINES = {
    "caller": "hangs up",
    "app": "is hung up on by the server",
    "twiml": "is hung up on at the end of the server's TwiML",
    "time-limit": "reaches the time limit of the call",
}
_NOT_ANSWERED_LINES = {
    "busy": "is busy",
    "no-answer": "does not answer",
    "canceled": "is no longer called: the server cancelled the call",
}


def _describe_end(end: CallEnd) -> str:
    if end.status == "completed":
        return f"{_END_LINES.get(end.ended_by, 'is cut off')} after {end.duration:.0f} s"
    return f"[yellow]{_NOT_ANSWERED_LINES.get(end.status, f'cannot be reached (SIP {end.sip_code})')}[/]"


def _print_people(console: Console) -> None:
    console.print("The last two digits of a number say who answers it:")
    for person in PEOPLE:
        console.print(f"  [bold]{person.ending or 'any other':<9}[/]  {person.name:<27}  {person.behaviour}")


async def _print_introduction(console: Console, network: PhoneNetwork, options: dict[str, Any]) -> None:
    console.print(
        f"The simulated telephone network listens at [bold]{network.rest_url}[/] and calls {options['app_url']}."
    )
    _print_people(console)
    console.print()
    if network.rest_url != settings.TWILIO_API_BASE_URL:
        console.print(f"Start the server with [bold]TWILIO_API_BASE_URL={network.rest_url}[/] to dial through it.")
    if not await is_listening(options["app_url"]):
        console.print(f"[yellow]No server answers at {options['app_url']} yet.[/] Start one with: make run")
    console.print("Press Ctrl-C to stop.\n")


def _explain_listen_error(error: OSError, options: dict[str, Any]) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {options['port']} is taken, perhaps by another network. Stop that one, or choose another port here "
            f"(--port {options['port'] + 1}) and in TWILIO_API_BASE_URL of the server."
        )
    return f"The network cannot listen at {options['host']}:{options['port']}: {error.strerror or error}."
