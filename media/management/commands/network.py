"""``manage.py network``: the simulated telephone network as a process, for the server to dial out through."""

from __future__ import annotations

import asyncio
import errno
import signal
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from inference.engines.espeak import EspeakTextToSpeech
from inference.types import EngineError
from media.phone.answering import CarrierTiming
from media.phone.caller import Voice
from media.phone.exchange import CallEnd
from media.phone.leg import PhoneCall
from media.phone.live import caller_voice
from media.phone.network import PhoneNetwork
from media.phone.people import PEOPLE, VOICE, assign_people, person_at

EXAMPLES = """\
Start it in one terminal, and in another the server, told to dial through it:

  TWILIO_API_BASE_URL=http://127.0.0.1:8010 make run

Then have the server call +12025550100, or any number with another ending: --people lists who
answers which. No account and no telephone is needed, and nothing leaves this machine.
"""
QUICK = CarrierTiming(post_dial=(0.3, 0.8), answer=(1.5, 2.5), verdict=(1.0, 2.0), recording=(1.0, 2.0), scale=1.0)
"""Nobody wants to wait for a simulated person to get up: two to three seconds from dialling to the answer."""
PATIENCE = 5.0
"""Seconds that a phone rings which nobody answers."""


class Command(BaseCommand):
    help = "Runs a telephone network on this machine: the server dials out through it as through Twilio."
    requires_system_checks: list[str] = []
    suppressed_base_arguments = {
        *("--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color"),
    }

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXAMPLES
        parser.add_argument("--people", action="store_true", help="list who answers which number, and end")
        parser.add_argument("--host", default="127.0.0.1", help="where the REST API listens (%(default)s)")
        parser.add_argument("--port", type=int, default=8010, help="and its port; 0 for any free one (%(default)s)")
        parser.add_argument(
            "--app-url", default="http://127.0.0.1:8000", metavar="URL", help="the running server (%(default)s)"
        )
        pace = parser.add_mutually_exclusive_group()
        pace.add_argument("--realtime", action="store_true", help="phones ring for as long as real ones do")
        pace.add_argument(
            "--scale", type=float, default=1.0, metavar="X", help="all waits but the conversation, times this"
        )
        parser.add_argument(
            "--calls-per-second", type=float, default=1.0, metavar="N", help="dialled at most (%(default)g, as Twilio)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(file=self.stdout, highlight=False, soft_wrap=True)
        if options["people"]:
            _print_people(console)
            return
        if settings.TWILIO_ACCOUNT_SID != settings.DEVELOPMENT_ACCOUNT_SID:
            raise CommandError(
                "TWILIO_ACCOUNT_SID names an account of its own, and this network only plays the made-up one. "
                "Unset TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, here and for the server."
            )
        for option in ("scale", "calls_per_second"):
            if not 0 < options[option] < float("inf"):
                raise CommandError(f"--{option.replace('_', '-')} must be more than 0.")
        try:
            asyncio.run(self.serve(console, options))
        except EngineError as error:
            raise CommandError(f"The people have no voice: {error}") from error

    async def serve(self, console: Console, options: dict[str, Any]) -> None:
        """Be the network until SIGINT or SIGTERM; then hang up politely."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows: Ctrl-C ends it at once
                loop.add_signal_handler(number, stop.set)
        timing = CarrierTiming.real() if options["realtime"] else replace(QUICK, scale=options["scale"])
        network = PhoneNetwork(
            app_url=options["app_url"].rstrip("/"),
            public_url=settings.PUBLIC_BASE_URL,
            account_sid=settings.TWILIO_ACCOUNT_SID,
            auth_token=settings.TWILIO_AUTH_TOKEN,
            tape_directory=settings.VAR_DIR / "phone",
            calls_per_second=options["calls_per_second"],
            strict=False,
            timing=timing,
            rest_host=options["host"],
            rest_port=options["port"],
        )
        async with _voice() as voice:
            await assign_people(network, voice=voice, patience=None if options["realtime"] else PATIENCE)
        network.on_call = Watcher(console, network).begins
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(network)
            except OSError as error:
                raise CommandError(_cannot_listen(error, options)) from error
            await _introduce(console, network, options)
            await stop.wait()
            if any(not call.is_over for call in network.calls.values()):
                console.print("Hanging up ...")
        console.print("The network is down.")


class Watcher:
    """Prints what happens to each call, a line for each thing."""

    def __init__(self, console: Console, network: PhoneNetwork) -> None:
        self._console, self._network = console, network
        self._last: dict[str, str] = {}  # line of each call

    def begins(self, call: PhoneCall) -> None:
        by = "from a call, to put it through" if call.parent else f"by {call.request.from_number}"
        self._print(call, f"is dialled {by} ({person_at(call.request.to_number).name})")
        call.tape.on_event = partial(self._happens, call)
        self._network.spawn(self._follow(call))

    async def _follow(self, call: PhoneCall) -> None:
        try:
            end = await call.wait()
        except Exception as error:  # a fault of the simulation itself: say so, and go on with the other calls
            self._print(call, f"[red]the simulated call failed: {escape(repr(error))}[/]")
        else:
            self._print(call, _ending(end))

    def _happens(self, call: PhoneCall, event: dict[str, Any]) -> None:
        line = _LINES.get(event["event"])
        # Twilio counts the end of every stream by the application as an error; here it is how calls end.
        if line is None or event.get("code") == 31921:
            return
        text = line(event)
        # The agent's voice is told apart by its pauses: one line for all that it says in one go.
        if text and text != self._last[call.sid]:
            self._print(call, text)

    def _print(self, call: PhoneCall, text: str) -> None:
        self._last[call.sid] = text
        now = datetime.now().strftime("%H:%M:%S")
        self._console.print(f"[dim]{now}[/]  [bold]{call.request.to_number}[/]  {text}")


_STATUS = {"ringing": "rings", "in-progress": "answers"}
_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "call_status": lambda event: _STATUS.get(event["status"], ""),
    "detected": lambda event: f"[dim]is taken for: {event['answered_by']}[/]",
    "caller_speech_start": lambda event: f"[cyan]says[/] {escape(event['clip'])}",
    "agent_speech_start": lambda event: "[green]hears the agent[/]",
    "say": lambda event: f"[green]hears[/] {escape(event['text'])}",
    "dtmf": lambda event: f"[cyan]presses[/] {event['digit']}",
    "key": lambda event: f"[cyan]presses[/] {event['digit']}",
    "bridged": lambda event: "is put through",
    "error": lambda event: f"[red]error {event['code']}[/] {escape(event['detail'])}",
    "alert": lambda event: f"[red]error {event['code']}[/] {escape(event['message'])}",
}
_ENDINGS = {
    "caller": "hangs up",
    "app": "is hung up on by the server",
    "twiml": "is hung up on, for the server's TwiML is over",
    "time-limit": "has reached the time limit of the call",
}
_NO_ANSWER = {
    "busy": "is busy",
    "no-answer": "does not answer",
    "canceled": "is called no more: cancelled by the server",
}


def _ending(end: CallEnd) -> str:
    if end.status == "completed":
        return f"{_ENDINGS.get(end.ended_by, 'is cut off')} after {end.duration:.0f} s"
    return f"[yellow]{_NO_ANSWER.get(end.status, f'cannot be reached (SIP {end.sip_code})')}[/]"


def _print_people(console: Console) -> None:
    console.print("Who answers a number that ends in")
    for person in PEOPLE:
        console.print(f"  [bold]{person.ending or 'any other':<9}[/]  {person.name:<27}  {person.does}")


async def _introduce(console: Console, network: PhoneNetwork, options: dict[str, Any]) -> None:
    console.print(f"The telephone network listens at [bold]{network.rest_url}[/] and calls {options['app_url']}.")
    _print_people(console)
    console.print()
    if network.rest_url != settings.TWILIO_API_BASE_URL:
        console.print(f"Start the server with [bold]TWILIO_API_BASE_URL={network.rest_url}[/] to dial through it.")
    if not await _answers(options["app_url"]):
        console.print(f"[yellow]No server answers at {options['app_url']} yet.[/] Start one with: make run")
    console.print("Ctrl-C ends it.\n")


async def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        )
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


def _cannot_listen(error: OSError, options: dict[str, Any]) -> str:
    where = f"{options['host']}:{options['port']}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {options['port']} is taken, perhaps by another network. End that one, or choose another port: "
            f"--port {options['port'] + 1}, and TWILIO_API_BASE_URL for the server likewise."
        )
    return f"The network cannot listen at {where}: {error.strerror or error}"


@asynccontextmanager
async def _voice() -> AsyncIterator[Voice]:
    engine = EspeakTextToSpeech()
    await engine.start()
    try:
        yield caller_voice(engine, voice=VOICE)
    finally:
        await engine.close()
