"""``manage.py engines``: lists the engines of a profile, what they need, and whether they work."""

from __future__ import annotations

import asyncio
import json
import os
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.checking import Report, check, describe
from inference.health import EngineHealth
from inference.management.bench import ROUNDS, as_json, run_bench, table
from inference.management.options import add_profile, engines_of, interruptible, title_of, what_is_not_set
from inference.models.choice import this_machine
from inference.models.needs import models_of

ALIASES = ("stt", "llm", "tts", "turn")
WORDS_LABELS = {"stt": "heard", "llm": "answered", "tts": "said", "turn": "scored"}


class Command(BaseCommand):
    help = "Show the engines and where their weights come from, and try each of them with one utterance."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "engines",
            nargs="*",
            type=_alias,
            metavar="engine",
            help="stt, llm, tts or turn; several may be given (default: all that the profile has)",
        )
        add_profile(parser)
        parser.add_argument(
            "--check", action=BooleanOptionalAction, default=True, help="load each engine and try it with one utterance"
        )
        parser.add_argument(
            "--each", action="store_true", help="try every engine of a fallback by itself, in place of the fallback"
        )
        parser.add_argument(
            "--bench",
            nargs="?",
            type=_rounds,
            const=ROUNDS,
            metavar="rounds",
            help=f"measure what a caller would wait for, over so many rounds ({ROUNDS} if no number is given)",
        )
        parser.add_argument("--json", action="store_true", help="print JSON instead of tables")

    @interruptible
    def handle(
        self,
        *,
        engines: Sequence[str],
        profile: str,
        check: bool,
        each: bool,
        bench: int | None,
        json: bool,
        **_: Any,
    ) -> None:
        setting = engines_of(profile)
        if missing := [alias for alias in engines if not setting.get(alias)]:
            raise CommandError(f"The profile {profile} has no engine {missing[0]}. TURN_MODEL sets a turn model.")
        aliases = [alias for alias in ALIASES if setting.get(alias) and (not engines or alias in engines)]
        if bench is not None:
            return self._bench(profile, setting, aliases, bench, json=json)
        reports = self._check(setting, aliases, each) if check else describe(setting, aliases)
        if json:
            self.stdout.write(_as_json(profile, reports))
        else:
            console = Console(file=cast(IO[str], self.stdout), highlight=False)
            console.print(f"Engines of the profile [bold]{escape(title_of(profile))}[/]")
            if models := models_of(setting, settings.MODELS_FOLDER):
                names = ", ".join(model.name for model in models)
                console.print(f"Models on this machine ({this_machine()}): {names}", soft_wrap=True)
            console.print(_table(reports))
        if broken := [report for report in reports if report.error]:
            which = ", ".join(" ".join(filter(None, (report.alias, report.member))) for report in broken)
            count = f"{len(broken)} of {len(reports)}, profile {profile}"
            raise CommandError(f"Not ready: {which} ({count}). {what_is_not_set(profile)}".rstrip())

    def _bench(self, profile: str, setting: dict[str, Any], aliases: Sequence[str], rounds: int, *, json: bool) -> None:
        measured = run_bench(setting, aliases, rounds)
        if json:
            self.stdout.write(as_json(profile, measured, rounds))
        else:
            console = Console(file=cast(IO[str], self.stdout), highlight=False)
            console.print(
                f"Engines of the profile [bold]{escape(title_of(profile))}[/], "
                f"{rounds} rounds on {os.cpu_count()} cores"
            )
            console.print(table(measured))
        if failed := [each for each in measured if each.error]:
            raise CommandError(f"Not measured to the end: {', '.join(each.alias for each in failed)}.")

    def _check(self, setting: dict[str, Any], aliases: Sequence[str], each: bool) -> list[Report]:
        # The progress goes to stderr, apart from the result, and is shown on a terminal only.
        with Console(stderr=True).status("...") as status:
            return asyncio.run(check(setting, aliases, on_step=lambda step: status.update(escape(step)), each=each))


def _alias(text: str) -> str:
    # argparse checks the empty list of nargs="*" against `choices` as well, and refuses it.
    if text not in ALIASES:
        raise ArgumentTypeError(f"there is no engine {text!r}; choose from {', '.join(ALIASES)}")
    return text


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number of rounds; give 1 or more")
    return int(text)


def _table(reports: Sequence[Report]) -> Table:
    """One block of rows for each engine, because names and answers are too long for columns."""
    table = Table(box=SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for report in reports:
        alias = report.alias
        for name, text in _facts(report):
            table.add_row(alias, name, text)
            alias = ""
        table.add_section()
    return table


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    if report.member:
        yield "name", escape(report.member)
    yield "engine", escape(report.backend)
    if about := report.description:
        yield "weights", escape(about.weights)
        yield "device", escape(about.device)
        yield "memory", _bytes(about.memory_bytes)
        yield "capacity", f"{about.capacity} at once" if about.capacity else "no limit"
        yield "speculation", {True: "yes", False: "no", None: "not known before it has started"}[report.may_speculate]
    if report.loaded is not None:
        yield "loaded in", _seconds(report.loaded)
    if trial := report.trial:
        factor = trial.real_time_factor
        real_time = "" if factor is None else f", real-time factor {factor:.3f}"
        yield "utterance", f"first output after {_seconds(trial.first)}, all after {_seconds(trial.took)}{real_time}"
        yield WORDS_LABELS[report.alias], escape(trial.words)
    for health in report.health:
        yield "health", escape(_health(health))
    if report.error:
        yield "[red]error[/]", f"[red]{escape(report.error)}[/]"


def _health(health: EngineHealth) -> str:
    again = f", asked again in {_seconds(health.retry_in)}" if health.retry_in else ""
    counts = f"{health.served} served, {health.failed} failed, {health.timed_out} timed out, {health.skipped} skipped"
    error = f"; last error: {health.last_error}" if health.last_error else ""
    return f"{health.name}: {health.state}{again} ({counts}){error}"


def _bytes(number: int) -> str:
    if not number:
        return "negligible"
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _as_json(profile: str, reports: Sequence[Report]) -> str:
    return json.dumps({"profile": profile, "engines": [report.as_json() for report in reports]}, indent=2)
