"""``manage.py phone``: ring the running server from this machine."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.engines.laptop_voice import LaptopTextToSpeech
from inference.types import EngineError
from media.errors import MediaError
from media.phone.answering import CarrierTiming
from media.phone.caller import HangUp, Say, ScriptedCaller, Step, Voice, WaitForAgent, prepare
from media.phone.gateway import Gateway
from media.phone.impairments import Impairments
from media.phone.leg import PhoneCall
from media.phone.live import LiveCaller, caller_voice, read_lines, speak_typed_lines
from media.phone.measurements import Measurements, measure, percentile
from media.phone.network import PhoneNetwork
from media.phone.party import Party
from media.phone.script import parse_script
from media.phone.tape import Tape

EXAMPLES = """\
examples:
  manage.py phone                            talk, with this machine's microphone and loudspeaker
  manage.py phone --type                     type what you want to say
  manage.py phone --play hello.wav bye.wav   play recordings, one after each reply
  manage.py phone --script call.txt          follow a script
  manage.py phone --type --delay 0.08 --jitter 0.06 --loss 0.02 --noise -45
                                             the same from a moving train

a script has one step on a line:
  say Hello, is anyone there?
  play question.wav
  wait 1.5
  wait for agent                             until it has spoken and is quiet again
  talk over 0.8 stop                         once it has been speaking for 0.8 s
  murmur 1.0 mm-hm                           the same, not meant to stop it
  press 12#
  hang up

The call is recorded: left is you, right is what you heard. At the end come the figures, taken
from that tape and not from what the server says about itself.
"""


@dataclass(frozen=True)
class Director:
    """A party, and what to do beside the call for as long as it lasts."""

    party: Party
    hint: str
    work: Callable[[], Coroutine[Any, Any, None]] | None = None


class Command(BaseCommand):
    help = "Rings the running server from this machine, as Twilio would: no account, no telephone."
    requires_system_checks: list[str] = []
    # They work, but nobody who wants to make a call should have to read past them.
    suppressed_base_arguments = {
        *("--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color"),
    }

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXAMPLES
        callers = parser.add_argument_group("who calls")
        who = callers.add_mutually_exclusive_group()
        who.add_argument("--type", action="store_true", help="type lines, which are spoken for you")
        who.add_argument("--script", type=Path, metavar="FILE", help="follow a script (see below)")
        who.add_argument("--play", type=Path, nargs="+", metavar="WAV", help="play recordings (mono WAV)")
        callers.add_argument("--voice", default="", help="the voice that speaks typed lines and scripts")
        where = parser.add_argument_group("where to")
        where.add_argument("--url", default="http://127.0.0.1:8000", help="the running server (%(default)s)")
        where.add_argument("--from", dest="from_number", default="+15005550100", metavar="NUMBER", help="%(default)s")
        where.add_argument("--to", dest="to_number", metavar="NUMBER", help="TWILIO_PHONE_NUMBER")
        line = parser.add_argument_group("the line")
        decibels, seconds, share = _between(-96, 0), _between(0, 10), _between(0, 1)
        line.add_argument("--noise", type=decibels, metavar="DB", help="noise on the line in dBFS, such as -45")
        line.add_argument("--delay", type=seconds, default=0.0, metavar="S", help="of the network each way, in seconds")
        line.add_argument("--jitter", type=seconds, default=0.0, metavar="S", help="up to this much more, unevenly")
        line.add_argument("--loss", type=share, default=0.0, metavar="SHARE", help="of your audio lost, 0 to 1")
        line.add_argument("--tape", type=Path, metavar="DIR", help="where recordings go (var/phone)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asyncio.run(self.call(options))
        except (MediaError, EngineError) as error:
            raise CommandError(str(error)) from error

    async def call(self, options: dict[str, Any]) -> Measurements:
        """Make the call, show it as it goes, and its figures at the end."""
        console = Console(file=self.stdout, highlight=False)
        url = options["url"].rstrip("/")
        await _must_answer(url)
        impairments = Impairments(
            network_delay=options["delay"],
            jitter=options["jitter"],
            loss=options["loss"],
            noise_db=options["noise"],
        )

        def gateway(party: Party, tape: Tape) -> Gateway:
            return Gateway(party, tape=tape, impairments=impairments, strict=False)

        async with AsyncExitStack() as stack:
            director = await stack.enter_async_context(self._direct(options))
            network = await stack.enter_async_context(
                PhoneNetwork(
                    app_url=url,
                    public_url=settings.PUBLIC_BASE_URL,
                    account_sid=settings.TWILIO_ACCOUNT_SID,
                    auth_token=settings.TWILIO_AUTH_TOKEN,
                    tape_directory=options["tape"] or settings.VAR_DIR / "phone",
                    timing=CarrierTiming.real(),
                    gateway_factory=gateway,
                )
            )
            to_number = options["to_number"] or settings.TWILIO_PHONE_NUMBER
            console.print(f"Ringing {to_number} at {url} ... {director.hint}")
            call = await network.call_in(director.party, from_number=options["from_number"], to_number=to_number)
            call.tape.on_event = lambda event: _show(console, event)
            loop = asyncio.get_running_loop()
            with suppress(NotImplementedError):  # Windows: Ctrl-C ends the program, not only the call
                loop.add_signal_handler(signal.SIGINT, call.hang_up)
                stack.callback(loop.remove_signal_handler, signal.SIGINT)
            work = asyncio.ensure_future(director.work() if director.work else _nothing())
            work.add_done_callback(partial(_hang_up_on_failure, call))
            stack.callback(work.cancel)
            end = await call.wait()
            if work.done():
                work.result()  # raises what went wrong beside the call
        console.print(f"The call is over: {end.status}, {end.duration:.0f} s, ended by {end.ended_by}.")
        measured = measure(call.tape)
        for table in _tables(measured):
            console.print(table)
        console.print(f"Recording and log: {call.tape.directory}", soft_wrap=True)
        return measured

    @asynccontextmanager
    async def _direct(self, options: dict[str, Any]) -> AsyncIterator[Director]:
        """Whoever the options say is calling."""
        hint = "Ctrl-C hangs up."
        if options["play"]:
            steps: list[Step] = [step for path in options["play"] for step in (WaitForAgent(), Say(path))]
            yield Director(ScriptedCaller(await prepare(_with_an_end(steps))), hint)
        elif options["script"]:
            steps = _with_an_end(_read_script(options["script"]))
            async with _voice(options["voice"]) as voice:
                yield Director(ScriptedCaller(await prepare(steps, voice)), hint)
        elif options["type"]:
            caller = ScriptedCaller([])
            async with _voice(options["voice"]) as voice:
                yield Director(
                    caller,
                    "Type, and Enter speaks. /press 12# is the keypad; /bye or Ctrl-D hangs up.",
                    lambda: speak_typed_lines(caller, voice, read_lines()),
                )
        else:
            live = LiveCaller()
            live.open()
            with closing(live):
                yield Director(
                    live,
                    "Wear headphones, or the agent hears itself. Digits and Enter: the keypad; Enter alone hangs up.",
                    lambda: _keypad(live, read_lines()),
                )


async def _nothing() -> None: ...


def _hang_up_on_failure(call: PhoneCall, work: asyncio.Future[None]) -> None:
    if not work.cancelled() and work.exception() is not None:
        call.hang_up()


def _between(least: float, most: float) -> Callable[[str], float]:
    """A number in this range, for ``argparse``."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise ArgumentTypeError(f"a number from {least:g} to {most:g} is needed, not {text!r}")
        return value

    return number


def _read_script(path: Path) -> list[Step]:
    try:
        return parse_script(path.read_text(encoding="utf-8"), folder=path.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {path}: {error}") from error


def _with_an_end(steps: list[Step]) -> list[Step]:
    """A script that forgets to hang up lets the agent finish and then does."""
    return steps if any(isinstance(step, HangUp) for step in steps) else [*steps, WaitForAgent(), HangUp()]


@asynccontextmanager
async def _voice(name: str) -> AsyncIterator[Voice]:
    engine = LaptopTextToSpeech()
    await engine.start()
    try:
        yield caller_voice(engine, voice=name)
    finally:
        await engine.close()


async def _keypad(caller: LiveCaller, lines: AsyncIterator[str]) -> None:
    async for line in lines:
        keys = [key for key in line.upper() if key in "0123456789*#ABCD"]
        if not keys:
            break
        caller.press("".join(keys))
    caller.hang_up()


async def _must_answer(url: str) -> None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, port)
    except OSError as error:
        raise CommandError(f"No server answers at {url}. Start one with: make run") from error
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "call_status": lambda event: f"[bold]{event['status']}[/]",
    "caller_speech_start": lambda event: f"[cyan]you[/]    {escape(event['clip'])}",
    "agent_speech_start": lambda event: "[green]agent[/]  speaks",
    "clear": lambda event: f"[yellow]agent[/]  stops itself, {event['dropped_bytes'] / 8000:.1f} s unsaid",
    "dtmf": lambda event: f"[cyan]you[/]    press {event['digit']}",
    "error": lambda event: f"[red]error {event['code']}[/] {escape(event['detail'])}",
    "alert": lambda event: f"[red]error {event['code']}[/] {escape(event['message'])}",
}


def _show(console: Console, event: dict[str, Any]) -> None:
    line = _LINES.get(event["event"])
    # Twilio counts the end of every stream by the app as an error; here it is how calls end.
    if line is not None and event.get("code") != 31921:
        console.print(f"[dim]{event['at']:7.2f}[/]  {line(event)}")


def _tables(measured: Measurements) -> list[Table]:
    tables = []
    if measured.turns:
        table = Table(title="How long you waited (ms)", title_justify="left")
        for name in ("you said", "at the server's socket", "mouth to ear", ""):
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
        for name in ("you said", "it decided to stop after", "it was silent after", "its silence lasted"):
            table.add_column(name, justify="left" if name == "you said" else "right")
        for overlap in measured.overlaps:
            resumed = "it gave up" if overlap.resumed_after is None else _ms(overlap.resumed_after)
            table.add_row(escape(overlap.clip), _ms(overlap.clear_after), _ms(overlap.silent_after), resumed)
        tables.append(table)
    table = Table(title="The sound", title_justify="left", show_header=False)
    longest = max((gap.seconds for gap in measured.gaps), default=0.0)
    gaps = f"{len(measured.gaps)}, the longest {_ms(longest)} ms"
    table.add_row("agent spoke", f"{measured.agent_seconds:.1f} s")
    table.add_row("gaps in its speech", gaps if measured.gaps else "none")
    table.add_row("marks never returned", str(measured.unresolved_marks))
    tables.append(table)
    return tables


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None or seconds != seconds else f"{1000 * seconds:.0f}"
