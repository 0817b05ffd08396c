"""Shows what ``manage.py engines --bench`` measured, as a table or as JSON."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.measuring import Figure, Measured, entries_of, measure

ROUNDS = 10
"""Rounds by default: half a minute for each engine that hears in real time."""
LABELS = {"stt": "hears", "llm": "thinks", "tts": "speaks", "turn": "judges turns"}


def run_bench(setting: Mapping[str, Mapping[str, Any]], aliases: Collection[str], rounds: int) -> list[Measured]:
    """Measure these engines. Progress is shown on a terminal only, apart from the result."""
    with Console(stderr=True).status("...") as status:
        entries = entries_of(setting, aliases)
        return asyncio.run(measure(entries, rounds=rounds, on_step=lambda step: status.update(escape(step))))


def as_json(profile: str, measured: Sequence[Measured], rounds: int) -> str:
    """The figures in seconds; one that an engine does not have is missing."""
    engines = [each.as_json() for each in measured]
    return json.dumps({"profile": profile, "rounds": rounds, "cores": os.cpu_count(), "engines": engines}, indent=2)


def table(measured: Sequence[Measured]) -> Table:
    """One row for each figure: the median and the 95th percentile over the rounds."""
    shown = Table(box=SIMPLE)
    for heading in ("", "engine", "figure"):
        shown.add_column(heading, overflow="fold")
    for heading in ("median", "p95"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for each in measured:
        label, name = LABELS[each.alias], escape(each.backend.rpartition(".")[2])
        for figure in each.figures.values():
            shown.add_row(label, name, figure.name, _value(figure, figure.median), _value(figure, figure.p95))
            label = name = ""
        if each.error:
            shown.add_row(label, name, f"[red]{escape(each.error)}[/]", "", "")
        shown.add_section()
    return shown


def _value(figure: Figure, value: float) -> str:
    match figure.unit:
        case "s":
            return f"{value:.1f} s" if value >= 10 else f"{1000 * value:.0f} ms"
        case "/s":
            return f"{value:.0f}"
        case _:
            return f"{value:.3f}"
