"""Says what so many calls at once need, and what saturates first."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields, replace
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clientcaller.capacity import Flow, Inputs, Part, flows, parts

DEFAULT_CALLS = (10, 100, 1000, 10_000)
NAMES = {each.name: each.type for each in fields(Inputs)}


def read_inputs(settings: list[str]) -> Inputs:
    """The inputs, with those of ``NAME=VALUE`` replaced."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in NAMES:
            raise CommandError(f"There is no input {name!r}. Choose from: {', '.join(sorted(NAMES))}.")
        try:
            value = float(text)
        except ValueError:
            raise CommandError(f"{setting!r} is not a number. Write it like {name}=1.5.") from None
        if not 0 <= value < float("inf"):
            raise CommandError(f"{setting!r} must be 0 or more.")
        values[name] = bool(value) if NAMES[name] == "bool" else value
    inputs = replace(Inputs(), **values)
    for name in ("machine", "call_seconds", "web_call_ms"):
        if not getattr(inputs, name):
            raise CommandError(f"{name} must be more than 0.")
    return inputs


class Command(BaseCommand):
    help = "Say what so many calls at once need, and what saturates first (docs/growing.md)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--calls", type=int, nargs="+", default=DEFAULT_CALLS, help="calls at once")
        parser.add_argument(
            "--engines", choices=("workers", "here"), default="workers", help="where the engines run (default: workers)"
        )
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", dest="replaced", help="replace a measurement"
        )
        parser.add_argument("--inputs", action="store_true", help="show the measurements instead")
        parser.add_argument("--markdown", action="store_true", help="print the tables of docs/growing.md")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        inputs, numbers = read_inputs(options["replaced"]), list(options["calls"])
        if min(numbers) < 1:
            raise CommandError("--calls needs numbers from 1 on.")
        remote = options["engines"] == "workers"
        found = parts(inputs, remote=remote)
        streams = {number: flows(inputs, number, remote=remote) for number in numbers}
        if options["json"]:
            result = {
                "inputs": asdict(inputs),
                "parts": [
                    {**asdict(part), "units": {number: part.units(number) for number in numbers}} for part in found
                ],
                "flows": {number: [asdict(flow) for flow in each] for number, each in streams.items()},
            }
            # A limit that is never reached is null: JSON knows no infinity.
            self.stdout.write(json.dumps(json.loads(json.dumps(result), parse_constant=lambda _: None), indent=2))
            return
        if options["markdown"]:
            for table in (_rows_of_parts(found, numbers), _rows_of_flows(streams)):
                heading, *rows = ["| " + " | ".join(row) + " |" for row in table]
                self.stdout.write("\n".join([heading, "|---" * len(table[0]) + "|", *rows, ""]))
            return
        console = Console(file=cast(IO[str], self.stdout), width=150, soft_wrap=False)
        if options["inputs"]:
            for name, value in asdict(inputs).items():
                console.print(f"{name}={value:g}", markup=False)
            return
        console.print(_table("What is needed, and what saturates first", _rows_of_parts(found, numbers), numbers))
        console.print(_table("What moves and is stored", _rows_of_flows(streams), numbers))


def _table(title: str, rows: list[list[str]], numbers: list[int]) -> Table:
    table = Table(title=title)
    for place, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if 1 <= place <= len(numbers) else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table


def _rows_of_parts(found: list[Part], numbers: list[int]) -> list[list[str]]:
    rows = [["calls at once", *map("{:,}".format, numbers), "one carries", "saturates first", "what shows it", "then"]]
    for part in found:
        first = part.first
        units = [_units(part, number) for number in numbers]
        shown = ", ".join(filter(None, (first.shown_by, first.alert)))
        rows.append([part.name, *units, f"{_rounded(first.calls)} ({first.basis})", first.what, shown, first.then])
    return rows


def _rows_of_flows(streams: dict[int, list[Flow]]) -> list[list[str]]:
    rows = [["calls at once", *map("{:,}".format, streams)]]
    for row in zip(*streams.values(), strict=True):
        unit = f", {row[0].unit}" if row[0].unit else ""
        rows.append([row[0].name + unit, *(_amount(flow.amount) for flow in row)])
    return rows


def _amount(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.2g}"


def _units(part: Part, number: int) -> str:
    units = part.units(number)
    return str(units) if part.grows else "enough" if units == 1 else f"{units} times too small"


def _rounded(calls: float) -> str:
    return "any number" if calls == float("inf") else f"{int(calls):,}"
