"""One run of the benchmark: how much is measured, the time left, and the results."""

from __future__ import annotations

import argparse
import gc
import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

CLAUSES = (
    "Would you like to change your booking, or shall I cancel it for you now?",
    "One moment please, I am looking for the number of your booking.",
    "Thank you for calling, how can I help you today, and what is your name?",
)
TARGETS: dict[str, str] = {
    "frame, 32 rows, graph": "target 12",
    "first sound, 31 others speak, p95": "target 60",
    "64 calls speaking: underruns": "target 0",
    "ours over generate(), 1 rows": "target 20",
    "host, a tick for 32 calls": "target 0.5",
}
"""What the figures should be, in their unit: at most, except for the factor over ``generate()``."""
COLUMNS = ("what", "value", "unit", "note")


@dataclass(frozen=True)
class Sizes:
    """How much each section measures."""

    buckets: tuple[int, ...]
    """Numbers of rows."""
    chunks: tuple[int, ...]
    """Numbers of positions that are prefilled at once."""
    slots: int
    others: int
    """Calls that speak while a new one waits for its first sound."""
    trials: int
    """New calls whose wait is measured."""
    capacities: tuple[int, ...]
    """Numbers of calls that are tried at once."""
    capacity_seconds: float
    repeats: int
    generated: int
    """How many frames ``generate()`` makes."""
    batch: int
    """Rows of ``generate()``, which is also measured with one."""


GPU = Sizes((1, 2, 4, 8, 16, 32, 64), (16, 64, 128, 256), 128, 31, 60, (32, 64, 96, 128), 10.0, 7, 12, 32)
QUICK = Sizes((1, 8, 32, 64), (16, 128), 64, 31, 50, (64,), 8.0, 5, 8, 32)
CPU = Sizes((1, 2, 4), (16, 64), 4, 2, 4, (2,), 2.0, 3, 3, 4)


class Run:
    """The options, what the sections share, and the results."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        self.cuda = self.device.type == "cuda"
        self.sizes = CPU if not self.cuda else QUICK if options.quick else GPU
        self.slots = options.slots or self.sizes.slots
        self.dtype = torch.bfloat16 if self.cuda else torch.float32
        self.console = Console(width=130)
        self.rows: list[dict[str, Any]] = []
        self._until = time.monotonic() + options.budget
        self._json = options.json
        self.source: Any = None
        self.frame_ms: dict[int, float] = {}
        """The time of a frame by the number of rows, as the engine runs it."""

    def report(self, what: str, value: float | str, unit: str = "", note: str = "") -> None:
        shown = value if isinstance(value, str) else f"{value:.4g}"
        target = TARGETS.get(what) if self.cuda or what.startswith("host") else None
        note = "; ".join(filter(None, (target, note)))
        self.rows.append({"what": what, "value": value, "unit": unit, "note": note})
        print(f"{what:<58} {shown:>10} {unit:<6} {note}", flush=True)
        if self._json:
            Path(self._json).write_text(json.dumps(self.rows, indent=1))

    @property
    def left(self) -> float:
        return self._until - time.monotonic()

    @contextmanager
    def section(self, name: str, *, needs: float = 0.0) -> Iterator[bool]:
        """Yields whether there is time for the section. Its failure is reported, and other sections still run."""
        if self.left < needs:
            self.report(f"{name}: left out", f"{self.left:.0f}", "s", f"left; it needs about {needs:.0f}")
            yield False
            return
        began = time.monotonic()
        self.console.rule(f"{name} ({self.left:.0f} s left)", align="left")
        try:
            yield True
        except Exception as error:
            traceback.print_exc()
            self.report(f"{name}: failed", type(error).__name__, "", str(error)[:60].partition("\n")[0])
        finally:
            gc.collect()
            if self.cuda:
                torch.cuda.empty_cache()
            print(f"-- {time.monotonic() - began:.1f} s", flush=True)

    def table(self) -> None:
        table = Table(title="CSM")
        for column in COLUMNS:
            table.add_column(column, justify="right" if column == "value" else "left")
        for row in self.rows:
            value = row["value"] if isinstance(row["value"], str) else f"{row['value']:.4g}"
            table.add_row(row["what"], value, row["unit"], row["note"])
        self.console.print(table)
