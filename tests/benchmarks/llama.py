"""
Measures the language model in this process with real weights: what a caller waits for, and what calls cost each other.

    python -m tests.benchmarks.llama models/gemma3-270m
    python -m tests.benchmarks.llama models/gemma3-270m --threads 2 --turns 8

Run it on a machine that does nothing else, and look at the load that it prints. Tokens are counted by the model, times
are those of the engine's own iterator.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from inference.engines.llama_cpp import LlamaCppLanguageModel
from inference.llama.options import LlamaCppOptions, spare_cores
from inference.types import Message

SYSTEM = Message(
    "system",
    "You are Ann, the receptionist of the Harbour Hotel, and answer the telephone in one or two short sentences. "
    + "The hotel has forty rooms with a view of the harbour, a restaurant that opens at six in the evening, a garage "
    "for guests, and a garden where dogs may run. " * 19,
)
"""About 850 tokens."""
GREETING = Message("assistant", "Harbour Hotel, good morning. How can I help you?")
QUESTIONS = (
    "Do you have a room for tonight?",
    "And how much is it with breakfast?",
    "Can I bring my dog?",
    "Thank you.",
)
TOKENS = 30
"""The length of the replies that are timed."""


PATIENCE = 120.0
"""Seconds: a slow machine is measured, too."""


@dataclass
class Timing:
    """One reply."""

    first: float
    """Seconds to the first piece of text."""
    text: str
    read: int
    """Tokens of the prompt that were not in the slot."""


class Observed:
    """Passes the events of a server on, and remembers how much of the last prompt it read."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.total = self.read = 0
        self.per_token: list[float] = []
        """Seconds from one token to the next, the mean of each request, also for tokens that are not spoken."""

    async def events(self, body: dict[str, Any]) -> Any:
        # A model that ends its reply early gives no time per token.
        times: list[float] = []
        try:
            async with aclosing(self._server.events({**body, "ignore_eos": True})) as events:
                async for event in events:
                    if b'"content":"' in event:
                        times.append(time.perf_counter())
                    if b'"prompt_progress"' in event:
                        progress = msgspec.json.decode(event)["prompt_progress"]
                        self.total, self.read = progress["total"], progress["total"] - progress["cache"]
                    yield event
        finally:
            if len(times) > 1:
                self.per_token.append((times[-1] - times[0]) / (len(times) - 1))

    def close(self) -> None:
        self._server.close()


async def open_engine(options: argparse.Namespace, **given: Any) -> tuple[LlamaCppLanguageModel, Observed]:
    engine = LlamaCppLanguageModel(
        LlamaCppOptions(
            model=options.model,
            threads=options.threads,
            max_tokens=TOKENS,
            end_call_marker="",
            first_token_timeout=PATIENCE,
            inter_token_timeout=PATIENCE,
            **given,
        )
    )
    await engine.start()
    observed = Observed(engine._server)
    engine._server = observed  # type: ignore[assignment]
    return engine, observed


async def time_reply(engine: LlamaCppLanguageModel, observed: Observed, messages: Sequence[Message]) -> Timing:
    began, first, text = time.perf_counter(), 0.0, ""
    async with aclosing(engine.stream(messages)) as deltas:
        async for delta in deltas:
            first = first or time.perf_counter() - began
            text += delta.text
    return Timing(first, text, observed.read)


async def one_call(options: argparse.Namespace, table: Table) -> None:
    began = time.perf_counter()
    engine, observed = await open_engine(options, slots=1)
    table.add_row("start", f"{time.perf_counter() - began:.1f} s")
    cold = await time_reply(engine, observed, [SYSTEM, GREETING, Message("user", QUESTIONS[0])])
    table.add_row(f"first token, cold prompt of {observed.total} tokens", f"{cold.first:.2f} s")
    warm = []
    for number in range(options.turns):
        timing = await time_reply(engine, observed, [SYSTEM, GREETING, Message("user", f"{QUESTIONS[0]} {number}")])
        warm.append(timing.first)
    table.add_row(
        "first token, warm prompt, median and worst", f"{statistics.median(warm) * 1e3:.0f}, {max(warm) * 1e3:.0f} ms"
    )
    typical = statistics.median(observed.per_token)
    table.add_row("then, per token", f"{milliseconds(typical)}, {1 / typical:.0f} a second")
    after = []
    for number in range(options.turns):
        async with aclosing(engine.stream([SYSTEM, GREETING, Message("user", QUESTIONS[1])])) as deltas:
            await anext(deltas)
        timing = await time_reply(engine, observed, [SYSTEM, GREETING, Message("user", f"{QUESTIONS[0]} {number}")])
        after.append(timing.first)
    extra = statistics.median(after) - statistics.median(warm)
    table.add_row("a reply after a cancelled one waits longer by", milliseconds(max(0.0, extra)))
    reading = asyncio.create_task(time_reply(engine, observed, [Message("system", SYSTEM.content[::-1])]))
    await asyncio.sleep(0.3)
    reading.cancel()
    timing = await time_reply(engine, observed, [SYSTEM, GREETING, Message("user", QUESTIONS[3])])
    table.add_row("after one cancelled in its prompt, with its slot to be read again", f"{timing.first:.2f} s")
    table.add_row("memory of the process", f"{memory_mib()} MiB")
    await engine.close()


async def two_calls(options: argparse.Namespace, table: Table) -> None:
    engine, observed = await open_engine(options, slots=2)
    calls: list[list[Message]] = [[SYSTEM, GREETING], [SYSTEM, GREETING]]
    for call in calls:
        await engine.warm(call)
    timings = []
    for question in QUESTIONS:
        for number, call in enumerate(calls):
            call.append(Message("user", f"{question} This is caller {number}."))
            timings.append(await time_reply(engine, observed, call))
            call.append(Message("assistant", timings[-1].text))
    table.add_row(
        f"two calls by turns: tokens read per turn, of {observed.total}",
        ", ".join(str(timing.read) for timing in timings),
    )
    table.add_row(
        "and the first token, median", f"{statistics.median(timing.first for timing in timings) * 1e3:.0f} ms"
    )
    await engine.close()


async def parallel(options: argparse.Namespace, table: Table) -> None:
    for number in (1, 2, 4):
        engine, observed = await open_engine(options, slots=number, context_tokens=2048)
        calls = [
            [SYSTEM, GREETING, Message("user", f"This is caller {each}. {QUESTIONS[0]}")] for each in range(number)
        ]
        for call in calls:
            await engine.warm(call[:2])
        observed.per_token.clear()
        timings = await asyncio.gather(*(time_reply(engine, observed, call) for call in calls))
        firsts = sorted(timing.first for timing in timings)
        table.add_row(
            f"{number} at once: first token, first and last; per token",
            f"{milliseconds(firsts[0])}, {milliseconds(firsts[-1])}; "
            f"{milliseconds(statistics.median(observed.per_token))}",
        )
        table.add_row(f"memory of the process, {number} slots of 2048 tokens", f"{memory_mib()} MiB")
        await engine.close()


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def memory_mib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file, or a folder with one")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads that compute (0: one less than there are cores)"
    )
    parser.add_argument("--turns", type=int, default=6, help="replies of each measurement")
    options = parser.parse_args()
    threads = options.threads or spare_cores()
    before = os.getloadavg()[0]
    table = Table(title=f"{Path(options.model).name}, {threads} of {os.cpu_count()} cores", show_header=False)
    for measure in (one_call, two_calls, parallel):
        asyncio.run(measure(options, table))
    table.add_row("load of the machine before and after (1 min)", f"{before:.1f}, {os.getloadavg()[0]:.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
