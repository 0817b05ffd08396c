"""
The waits at the end of a turn, with a language model that says whether the caller has finished.

    python -m tests.benchmarks.waits
    python -m tests.benchmarks.waits --calls 100 --right 0.9 0.8

Calls in virtual time (``tests/media/turns/phone.py``) in which the caller says sentences, most of them with a pause
inside. Their beginnings are words as a recogniser gives them, without a full stop that counts. The language model is a
double that knows each sentence, and is right about it as often as asked for. The same calls are held without it.

- cut-ins: pauses inside a sentence in which the agent began to speak, of all of these pauses
- wait: from the caller's last sample to the agent's first, after whole sentences
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.table import Table

from media.phone.measurements import percentile
from media.turns import commands as cmd
from media.turns.options import ConversationOptions
from tests.media.turns.phone import SHORT, Engines, Phone

SENTENCES = (
    ("I want to book a table", "for two people on Friday."),
    ("what time do you open", "on Sundays?"),
    ("we were in the restaurant last night", "and I think I left my umbrella there."),
    ("can I bring my dog", "if he stays under the table?"),
    ("I booked for seven o'clock", "but we will be an hour late."),
    ("my name is Harper", "Harper Miller."),
    ("is there a car park", "near the house?"),
    ("I'd like the small room", "the one with the balcony."),
    ("it's about the invoice", "that you sent me last week."),
    ("we are four people", "and one small child."),
    ("could you tell me the price", "for a whole week?"),
    ("I have to cancel", "my appointment with the doctor."),
    ("the train comes at six", "so I will be there at half past."),
    ("do you have something vegetarian", "or vegan?"),
    ("I called yesterday", "and nobody answered."),
    ("do you deliver", "to the other side of the river?"),
)
"""Sentences in two parts. The first part might be a whole one."""
WHOLE = (
    "what time do you open tomorrow?",
    "I would like to speak to somebody from the kitchen.",
    "do you have a table for tonight?",
    "please send me the menu.",
    "I lost my wallet at your place.",
    "how do I get to you from the station?",
    "we'd like to come at eight.",
    "is breakfast included?",
)
"""Sentences without a pause."""
PAUSES = (0.3, 0.45, 0.6, 0.75, 0.9, 1.1)
"""Seconds of a pause inside a sentence."""
SECONDS_PER_WORD = 0.32
TURN_SECONDS = 8.0
"""From the beginning of a sentence to that of the next one: longer than any reply."""
TURNS = 12
"""Of a call."""

Waits = Callable[[cmd.StartReply], bool]
"""Whether the language model wants to wait."""


@dataclass
class Tally:
    """What the calls have shown."""

    pauses: int = 0
    cut_ins: int = 0
    waits: list[float] = field(default_factory=list)

    def add(self, phone: Phone, spoken: list[tuple[float, float | None, float]]) -> None:
        """``spoken`` has, for each sentence, when its pause begins, if it has one, when that ends, and its end."""
        for pause, goes_on, end in spoken:
            if pause is not None and goes_on is not None:
                self.pauses += 1
                if any(pause <= start < goes_on + 0.05 for start in phone.agent_turns):
                    self.cut_ins += 1
                    continue
            answers = [start for start in phone.agent_turns if end <= start < end + TURN_SECONDS / 2]
            if answers:
                self.waits.append(answers[0] - end)


def hold_call(seed: int, waits: Waits | None, tally: Tally) -> None:
    """One call, whose sentences follow from ``seed``. ``waits`` is the model's judgement; None: it is not asked."""
    choice = random.Random(seed)
    engines = Engines(replies=[SHORT])
    if waits is not None:
        engines.waits = waits
    phone = Phone(ConversationOptions(model_may_wait=waits is not None), engines)
    spoken: list[tuple[float | None, float | None, float]] = []
    at = 0.5
    for _ in range(TURNS):
        pause = goes_on = None
        if choice.random() < 0.6:
            first, rest = choice.choice(SENTENCES)
            pause = at + SECONDS_PER_WORD * len(first.split())
            goes_on = pause + choice.choice(PAUSES)
            phone.caller_says(first, start=at, end=pause)
            end = goes_on + SECONDS_PER_WORD * len(rest.split())
            phone.caller_says(rest, start=goes_on, end=end)
        else:
            whole = choice.choice(WHOLE)
            end = at + SECONDS_PER_WORD * len(whole.split())
            phone.caller_says(whole, start=at, end=end)
        spoken.append((pause, goes_on, end))
        at += TURN_SECONDS
    phone.wait_until(at)
    tally.add(phone, spoken)


def judge(share: float, seed: int) -> Waits:
    """A language model that knows the sentences, and says in this share of the requests whether one is unfinished."""
    beginnings = {first for first, _ in SENTENCES}
    opinions = random.Random(seed + 10_000)

    def waits(command: cmd.StartReply) -> bool:
        unfinished = any(command.history[-1].text.endswith(beginning) for beginning in beginnings)
        return not command.finished and unfinished is (opinions.random() < share)

    return waits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40, help="calls of each kind (default: %(default)d)")
    parser.add_argument("--right", type=float, nargs="+", default=[1.0, 0.9, 0.8, 0.5], metavar="SHARE")
    options = parser.parse_args()
    table = Table(title=f"{options.calls} calls of {TURNS} sentences each, in virtual time")
    for name in ("the model is right", "pauses", "cut-ins", "%", "mean wait ms", "p50", "p95"):
        table.add_column(name, justify="right")
    kinds: dict[str, Callable[[int], Waits | None]] = {"is not asked": lambda seed: None}
    for share in options.right:
        kinds[f"{share:.0%}"] = partial(judge, share)
    kinds["always waits"] = lambda seed: lambda command: not command.finished
    for name, make in kinds.items():
        tally = Tally()
        for seed in range(options.calls):
            hold_call(seed, make(seed), tally)
        waits = [1000 * wait for wait in tally.waits]
        table.add_row(
            name,
            str(tally.pauses),
            str(tally.cut_ins),
            f"{100 * tally.cut_ins / tally.pauses:.0f}",
            *(f"{value:.0f}" for value in (statistics.mean(waits), percentile(waits, 0.5), percentile(waits, 0.95))),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
