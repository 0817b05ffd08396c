"""``manage.py phone``: call the running server from this machine."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.engines.laptop_voice import LaptopTextToSpeech
from inference.types import EngineError
from media.errors import MediaError
from media.phone.answering import CarrierTiming
from media.phone.caller import HangUp, Say, ScriptedCaller, Step, WaitForAgent, prepare
from media.phone.frames import RATE_HZ
from media.phone.gateway import Gateway
from media.phone.impairments import Impairments
from media.phone.leg import PhoneCall
from media.phone.live import LiveCaller, open_voice, press_typed_keys, read_lines, speak_typed_lines
from media.phone.measurements import Measurements, measure, percentile
from media.phone.network import PhoneNetwork, is_listening
from media.phone.party import Party
from media.phone.script import parse_script
from media.phone.tape import Tape
from media.phone.twilio_errors import CLOSED_BY_APPLICATION

EXAMPLES = """\
examples:
  manage.py phone                            talk, with this machine's microphone and loudspeaker
  manage.py phone --type                     type what you want to say
  manage.py phone --play hello.wav bye.wav   play recordings, one after each reply
  manage.py phone --script call.txt          follow a script
  manage.py phone --type --delay 0.08 --jitter 0.06 --loss 0.02 --noise -45
                                             the same on a bad line

a script has one step per line:
  say Hello, is anyone there?
  play question.wav
  wait 1.5
  wait for agent                             until it has spoken and is quiet again
  talk over 0.8 stop                         once the agent has been speaking for 0.8 s
  murmur 1.0 mm-hm                           the same, without meaning to stop the agent
  press 12#
  hang up

The call is recorded: the left channel is you, the right one is what you heard. The figures that are
printed at the end are measured on your side of the line, not reported by the server.
"""


@dataclass(frozen=True)
class LocalCaller:
    """The person at this machine, and how they control the call."""

    party: Party
    hint: str
    """The advice for the person before the call."""
    read_input: Callable[[], Coroutine[Any, Any, None]] | None = None
    """Reads the keyboard for as long as the call lasts; None if the call needs no input."""


class Command(BaseCommand):
    help = "Call the running server from this machine, as Twilio would. Needs no account and no telephone."
    requires_system_checks: list[str] = []
    # They work, but would hide the options of the call in --help.
    suppressed_base_arguments = {
        *("--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color"),
    }

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXAMPLES
        callers = parser.add_argument_group("the caller (default: your microphone and loudspeaker)")
        caller = callers.add_mutually_exclusive_group()
        caller.add_argument("--type", action="store_true", help="type lines, which are spoken for you")
        caller.add_argument("--script", type=Path, metavar="FILE", help="follow a script (see below)")
        caller.add_argument("--play", type=Path, nargs="+", metavar="WAV", help="play recordings (mono WAV)")
        callers.add_argument("--voice", default="", help="the voice that speaks typed lines and scripts")
        call = parser.add_argument_group("the call")
        call.add_argument("--url", default="http://127.0.0.1:8000", help="the running server (default: %(default)s)")
        call.add_argument(
            "--from",
            dest="from_number",
            default="+15005550100",
            metavar="NUMBER",
            help="your number (default: %(default)s)",
        )
        call.add_argument(
            "--to", dest="to_number", metavar="NUMBER", help="the number to call (default: TWILIO_PHONE_NUMBER)"
        )
        call.add_argument(
            "--ca-file",
            type=Path,
            metavar="FILE",
            help="the private authority behind an https server (PEM)",
        )
        call.add_argument("--tape", type=Path, metavar="DIR", help="where recordings are kept (default: var/phone)")
        line = parser.add_argument_group("the line")
        decibels, seconds, share = _number_between(-96, 0), _number_between(0, 10), _number_between(0, 1)
        line.add_argument("--noise", type=decibels, metavar="DB", help="noise on the line in dBFS, such as -45")
        line.add_argument("--delay", type=seconds, default=0.0, metavar="S", help="delay each way, in seconds")
        line.add_argument("--jitter", type=seconds, default=0.0, metavar="S", help="further random delay, up to S")
        line.add_argument("--loss", type=share, default=0.0, metavar="SHARE", help="share of your audio lost, 0 to 1")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asyncio.run(self.call(options))
        except (MediaError, EngineError) as error:
            raise CommandError(str(error)) from error

    async def call(self, options: dict[str, Any]) -> Measurements:
        """Make the call, print it as it goes, and print and return its figures."""
        console = Console(file=cast(IO[str], self.stdout), highlight=False)
        url = options["url"].rstrip("/")
        if not await is_listening(url):
            raise CommandError(f"No server answers at {url}. Start one with: make run")
        impairments = Impairments(
            network_delay=options["delay"],
            jitter=options["jitter"],
            loss=options["loss"],
            noise_db=options["noise"],
        )

        def gateway(party: Party, tape: Tape) -> Gateway:
            return Gateway(party, tape=tape, impairments=impairments, strict=False)

        async with AsyncExitStack() as stack:
            caller = await stack.enter_async_context(self._open_caller(options))
            network = await stack.enter_async_context(
                PhoneNetwork(
                    app_url=url,
                    public_url=settings.PUBLIC_BASE_URL,
                    account_sid=settings.TWILIO_ACCOUNT_SID,
                    auth_token=settings.TWILIO_AUTH_TOKEN,
                    tape_directory=options["tape"] or settings.VAR_DIR / "phone",
                    timing=CarrierTiming(scale=1.0),
                    gateway_factory=gateway,
                    ca_file=options["ca_file"],
                )
            )
            to_number = options["to_number"] or settings.TWILIO_PHONE_NUMBER
            console.print(f"Calling {to_number} at {url} ... {caller.hint}")
            call = await network.call_in(caller.party, from_number=options["from_number"], to_number=to_number)
            call.tape.on_event = partial(_print_event, console)
            loop = asyncio.get_running_loop()
            with suppress(NotImplementedError):  # on Windows, Ctrl-C ends the program, not only the call
                loop.add_signal_handler(signal.SIGINT, call.hang_up)
                stack.callback(loop.remove_signal_handler, signal.SIGINT)
            reading = asyncio.ensure_future(caller.read_input() if caller.read_input else _do_nothing())
            reading.add_done_callback(partial(_hang_up_on_failure, call))
            stack.callback(reading.cancel)
            end = await call.wait()
            if reading.done():
                reading.result()  # raises what went wrong with the input or the voice
        console.print(f"The call is over: {end.status}, {end.duration:.0f} s, ended by {end.ended_by}.")
        measured = measure(call.tape)
        for table in _make_tables(measured):
            console.print(table)
        console.print(f"Recording and log: {call.tape.directory}", soft_wrap=True)
        return measured

    @asynccontextmanager
    async def _open_caller(self, options: dict[str, Any]) -> AsyncIterator[LocalCaller]:
        """Open the caller that the options name."""
        hint = "Press Ctrl-C to hang up."
        if options["play"]:
            steps: list[Step] = [step for path in options["play"] for step in (WaitForAgent(), Say(path))]
            yield LocalCaller(ScriptedCaller(await prepare(_with_hang_up(steps))), hint)
        elif options["script"]:
            steps = _with_hang_up(_read_script(options["script"]))
            async with open_voice(LaptopTextToSpeech(), voice=options["voice"]) as voice:
                yield LocalCaller(ScriptedCaller(await prepare(steps, voice)), hint)
        elif options["type"]:
            caller = ScriptedCaller([])
            async with open_voice(LaptopTextToSpeech(), voice=options["voice"]) as voice:
                yield LocalCaller(
                    caller,
                    "Type a line and press Enter to say it. /press 12# presses keys; /bye or Ctrl-D hangs up.",
                    lambda: speak_typed_lines(caller, voice, read_lines()),
                )
        else:
            live = LiveCaller()
            live.open()
            with closing(live):
                yield LocalCaller(
                    live,
                    "Wear headphones, or the agent hears itself. Type digits and Enter to press keys; "
                    "Enter alone hangs up.",
                    lambda: press_typed_keys(live, read_lines()),
                )


async def _do_nothing() -> None: ...


def _hang_up_on_failure(call: PhoneCall, reading: asyncio.Future[None]) -> None:
    if not reading.cancelled() and reading.exception() is not None:
        call.hang_up()


def _number_between(least: float, most: float) -> Callable[[str], float]:
    """Make a type for ``argparse``: a number in this range."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise ArgumentTypeError(f"must be a number from {least:g} to {most:g}, not {text!r}")
        return value

    return number


def _read_script(path: Path) -> list[Step]:
    try:
        return parse_script(path.read_text(encoding="utf-8"), folder=path.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {path}: {error}.") from error


def _with_hang_up(steps: list[Step]) -> list[Step]:
    """Let a script that does not hang up wait for the agent to finish, and then hang up."""
    return steps if any(isinstance(step, HangUp) for step in steps) else [*steps, WaitForAgent(), HangUp()]


_EVENT_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "call_status": lambda event: f"[bold]{event['status']}[/]",
    "caller_speech_start": lambda event: f"[cyan]you[/]    {escape(event['clip'])}",
    "agent_speech_start": lambda event: "[green]agent[/]  speaks",
    "clear": lambda event: f"[yellow]agent[/]  stops, {event['dropped_bytes'] / RATE_HZ:.1f} s of audio are dropped",
    "dtmf": lambda event: f"[cyan]you[/]    press {event['digit']}",
    "error": lambda event: f"[red]error {event['code']}[/] {escape(event['detail'])}",
    "alert": lambda event: f"[red]error {event['code']}[/] {escape(event['message'])}",
}


def _print_event(console: Console, event: dict[str, Any]) -> None:
    describe = _EVENT_LINES.get(event["event"])
    if describe is not None and event.get("code") != CLOSED_BY_APPLICATION:
        console.print(f"[dim]{event['at']:7.2f}[/]  {describe(event)}")


def _make_tables(measured: Measurements) -> list[Table]:
    tables = []
    if measured.turns:
        table = Table(title="How long you waited for each reply (ms)", title_justify="left")
        for name in ("you said", "at the server's socket", "from mouth to ear", ""):
            table.add_column(name, justify="left" if name in ("you said", "") else "right")
        for turn in measured.turns:
            note = "[red]the agent cut in[/]" if turn.cut_in else ""
            table.add_row(escape(turn.clip), _ms(turn.response), _ms(turn.heard), note)
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            if measured.responses:
                figures = percentile(measured.responses, share), percentile(measured.heard, share)
                table.add_row(f"[bold]{name}[/]", *(f"[bold]{_ms(figure)}[/]" for figure in figures), "")
        tables.append(table)
    if measured.overlaps:
        table = Table(title="When you spoke over the agent (ms)", title_justify="left")
        for name in ("you said", "the agent decided to stop after", "it was silent after", "its silence lasted"):
            table.add_column(name, justify="left" if name == "you said" else "right")
        for overlap in measured.overlaps:
            resumed = "until the end" if overlap.resumed_after is None else _ms(overlap.resumed_after)
            table.add_row(escape(overlap.clip), _ms(overlap.clear_after), _ms(overlap.silent_after), resumed)
        tables.append(table)
    table = Table(title="The agent's voice", title_justify="left", show_header=False)
    longest = max((gap.seconds for gap in measured.gaps), default=0.0)
    gaps = f"{len(measured.gaps)}, the longest {_ms(longest)} ms"
    table.add_row("time spoken", f"{measured.agent_seconds:.1f} s")
    table.add_row("gaps in its speech", gaps if measured.gaps else "none")
    table.add_row("marks not echoed", str(measured.unresolved_marks))
    tables.append(table)
    return tables


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None or seconds != seconds else f"{1000 * seconds:.0f}"
