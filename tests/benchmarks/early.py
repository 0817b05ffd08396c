"""
Response latency with replies that are begun while the caller speaks, and without, in virtual time.

    python -m tests.benchmarks.early
    python -m tests.benchmarks.early --calls 20 --lead 0.1

Calls over a real session with real voice activity and scripted engines (``tests/media/scripted_call.py``), so that only
what the parts have to wait for takes time. Recognition gives partial transcripts. In two of three turns the caller goes
on after words that might be all. There, the last words are settled ``lead`` seconds before the end of the voice, and
elsewhere one word earlier. The engines need 180 ms from the words to the first sound.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

from tests.benchmarks.load import VOICE_PEAK  # sets Django up

from rich.console import Console  # isort: skip
from rich.table import Table

from calls.services import facts
from calls.stages import STAGE_NAMES
from inference.mulaw import decode_mulaw
from media.phone.frames import FRAME_BYTES
from media.phone.measurements import percentile
from media.turns.options import ConversationOptions
from tests.media.scripted_call import CallResult, run_call, voice

SENTENCES = (
    "Will you let me know when you are all available again on Monday morning?",
    "Where will you be all morning on Sunday?",
)
"""What the caller's voice says, without a pause. Recognition hears something else, in as much time."""
TRANSCRIPTS = (
    "what time do you open?  and is there any parking?",
    "I would like to know, do you open on Sunday?",
    "can I bring my dog?  and my cat too please?",
)
"""Ten words each; two of them have a step without a word behind the first question."""
STEPS = 12
"""Until the words of these two are settled: ten words, and two steps without one."""
TURNS = 6
TURN_SECONDS = 12.0


def step_of(sentence: str, lead: float) -> float:
    """The seconds for each word at which the last ones are settled ``lead`` seconds before the end of this sentence."""
    blocks = decode_mulaw(voice(sentence))
    blocks = blocks[: len(blocks) // FRAME_BYTES * FRAME_BYTES].reshape(-1, FRAME_BYTES)
    voiced = float(np.count_nonzero(blocks.max(axis=1) > VOICE_PEAK) * 0.02)
    return (voiced - lead) / STEPS


def hold_call(number: int, lead: float, begin_early: bool) -> CallResult:
    """One call of ``TURNS`` turns, all with one sentence of the caller's voice."""
    sentence = SENTENCES[number % len(SENTENCES)]
    transcripts = list(islice(cycle(TRANSCRIPTS), number, number + TURNS))
    return run_call(
        # Each number of spaces in front makes a key of its own for when that voice ended.
        [(0.5 + 0.037 * number + TURN_SECONDS * turn, " " * turn + sentence) for turn in range(TURNS)],
        seconds=TURN_SECONDS * TURNS,
        options=ConversationOptions(begin_early=begin_early),
        stt={"transcripts": transcripts, "partials": True, "seconds_per_word": step_of(sentence, lead)},
        llm={"replies": ("We are open from nine in the morning on every week day.",)},
        said_by=lambda text: voice(text.strip()),
    )


def responses_of(result: CallResult) -> list[float]:
    """Seconds from the end of each voice to the first sound after it; of cut-ins, those from its end are left out."""
    sent = result.times("media")
    return [min(when for when in sent if when > stopped) - stopped for stopped in result.caller_stopped.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=12, help="calls of each kind (default: %(default)d)")
    parser.add_argument(
        "--lead",
        type=float,
        nargs="+",
        default=[0.3, 0.2, 0.1],
        help="seconds from settled words to the end of the voice",
    )
    options = parser.parse_args()
    logging.disable(logging.INFO)
    table = Table(title=f"{options.calls} calls of {TURNS} turns each, in virtual time; milliseconds")
    for name in ("", "p50", "p95", "shortest", *STAGE_NAMES, "cut-ins", "begun", "wasted %", "CPU"):
        table.add_column(name, justify="right")
    for lead in options.lead:
        for early in (False, True):
            began = time.process_time()
            results = [hold_call(number, lead, early) for number in range(options.calls)]
            table.add_row(
                f"{lead:g} s, {'early' if early else 'late'}", *row(results), f"{time.process_time() - began:.1f} s"
            )
    Console(width=170).print(table)


def row(results: Sequence[CallResult]) -> list[str]:
    responses = [1000 * response for result in results for response in responses_of(result)]
    turns = [turn for result in results for turn in result.facts.of(facts.TurnEnded)]
    stages = [turn.stages for turn in turns if "response_latency" in turn.stages]
    hits, waste = (sum(getattr(turn, name) for turn in turns) for name in ("speculation_hits", "speculation_waste"))
    cut_ins = sum(event.kind == "cut-in" for result in results for event in result.facts.of(facts.EventNoted))
    callers = sum(turn.speaker == "caller" for turn in turns)
    return [
        *(f"{value:.0f}" for value in (percentile(responses, 0.5), percentile(responses, 0.95), min(responses))),
        *(f"{1000 * statistics.mean(stage.get(name) or 0 for stage in stages):.0f}" for name in STAGE_NAMES),
        str(cut_ins),
        f"{(hits + waste) / callers:.1f}",
        f"{100 * waste / (hits + waste):.0f}",
    ]


if __name__ == "__main__":
    main()
