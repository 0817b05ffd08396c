"""Shows what the checks have found: in colour on a terminal, one plain line for each finding, or JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import IO, cast

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from calls.plain_text import printable
from clientcaller.doctor.registry import Check, Finding, Level, Result

COLOURS = {Level.GREEN: "green", Level.YELLOW: "yellow", Level.RED: "bold red", Level.UNCHECKED: "dim"}
SIGNS = {Level.GREEN: "green", Level.YELLOW: "yellow", Level.RED: "RED", Level.UNCHECKED: "-"}


class Printer:
    """Prints each result as soon as it is there."""

    def __init__(self, out: OutputWrapper) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._console = Console(file=cast(IO[str], out), highlight=False, soft_wrap=True)
        self._status: Status | None = None

    def start(self, one: Check) -> None:
        """Show what is being looked at, on a terminal."""
        if self._is_terminal:
            self._status = self._console.status(f"{one.name}: {one.about} ...")
            self._status.start()

    def print(self, result: Result) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        for finding in result.findings:
            self._print(result.name, finding)

    def _print(self, name: str, finding: Finding) -> None:
        text = printable(line_of(finding))
        if not self._is_terminal:
            self._out.write(f"{SIGNS[finding.level]:<7} {name:<14} {text}")
            return
        colour = COLOURS[finding.level]
        body = escape(printable(finding.text))
        remedy = f" [bold]{escape(printable(finding.remedy))}[/]" if finding.remedy else ""
        self._console.print(f"[{colour}]{SIGNS[finding.level]:<7}[/] {name:<14} {body}{remedy and '.'}{remedy}")

    def summarise(self, results: Sequence[Result]) -> None:
        counts = count(results)
        parts = [f"{counts[level]} {level}" for level in Level if counts[level]]
        self._out.write("")
        self._out.write(f"{', '.join(parts) or 'nothing was checked'}.")


def line_of(finding: Finding) -> str:
    """The finding and what to do, in one line."""
    return f"{finding.text}. {finding.remedy}" if finding.remedy else finding.text


def count(results: Sequence[Result]) -> Counter[Level]:
    """How many findings there are of each level."""
    return Counter(finding.level for result in results for finding in result.findings)


def worst(results: Sequence[Result]) -> Level:
    counts = count(results)
    return next((level for level in (Level.RED, Level.YELLOW) if counts[level]), Level.GREEN)


def as_json(results: Sequence[Result]) -> str:
    checks = [
        {
            "name": result.name,
            "level": result.level,
            "seconds": round(result.seconds, 3),
            "findings": [
                {"level": one.level, "text": printable(one.text), "remedy": printable(one.remedy) or None}
                for one in result.findings
            ],
        }
        for result in results
    ]
    counts = count(results)
    return json.dumps(
        {"level": worst(results), "counts": {level: counts[level] for level in Level}, "checks": checks}, indent=2
    )
