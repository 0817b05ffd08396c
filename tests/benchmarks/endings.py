"""
The curve of false cut-offs against the mean wait: how well the end of a turn is judged, on recordings of people.

    python -m tests.benchmarks.endings --speech FOLDER --models FOLDER --model tiny.en
    python -m tests.benchmarks.endings --speech FOLDER --models FOLDER --picture docs/endings.svg

At each pause inside a turn, and behind it, real Whisper gives the words so far, the turn model scores the sound, and
the product's pure rules decide how long to wait. No clock is involved, so a busy machine changes nothing. The
definitions are those of eot-bench (livekit/eot-bench, README.md, "Evaluation Model" and "Metrics"):

- a silence inside a turn is to be waited for ("hold"); the last one is the end of the turn ("eot");
- false cut-offs: the share of the holds of 0.2 to 5 s in which the agent would have begun to speak;
- latency: the mean silence after the ends of turns until the agent would speak. It is the wait that was decided and not
  the time that engines take;
- the policy is swept, here by a factor on all waits, and the curve shows what each policy costs. From it follow the
  cut-offs at a mean wait of 300 and of 600 ms, and the mean wait at 5 and at 10 % of cut-offs.

Unlike there, one factor is swept instead of a threshold, a delay and a timeout, except for the curve of the turn model
alone, which follows eot-bench; and every pause is taken to be noticed.

How the sound changes the wait (``Fusion`` in ``media/turns/acoustic.py``) is chosen anew for each turn, on all others,
so that no turn is judged by what was chosen on it. The product has the values that were chosen most often.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from inference.engines.smart_turn import SmartTurnModel, SmartTurnOptions
from inference.engines.whisper import FasterWhisperSpeechToText
from inference.types import Pcm
from inference.whisper.options import WhisperOptions
from media.turns.acoustic import FUSION, SECOND, Fusion, is_due
from media.turns.endpointing import COUNTED_PAUSE, SHORTEST, UNFINISHED, Endpointing, Judgement
from tests.benchmarks.endings_picture import draw
from tests.benchmarks.pauses import Stop, Turn, stops, turns

HOLD = (0.2, 5.0)
"""Seconds of the pauses inside turns that count, as in eot-bench."""
NOTHING_SAID = 1.0
"""Seconds after which an utterance without words is given up (``media/turns/caller.py``)."""
SCORE_TAKES = 0.09
"""Seconds of one score on a core of its own."""
FACTORS = np.geomspace(0.2, 5.0, 81)
"""On all waits, for the curve; the middle one is 1."""
MODEL_IS_RIGHT = 0.9
"""The share of pauses that the language model's double judges rightly."""
DRAWS = 20
"""Its errors are drawn so many times, and the curves averaged."""
RESAMPLES = 1000
"""For the intervals, drawn by turns, because the pauses of one turn resemble each other."""
CHOICES = [Fusion(*values) for values in product((0.05, 0.1), (1.0, 1.5, 2.0), (0.8, 0.9), (1.0, 0.8, 0.65))]
"""Few, because there are few recordings: more choices would fit them and nothing else."""
COMPARED_AT = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
"""The mean waits in seconds at which the best of them has the fewest cut-offs, taken together."""
BUDGETS_MS = (300, 600)
BUDGETS_PERCENT = (5, 10)

Times = NDArray[np.float64]
"""Seconds of silence after which the agent would speak, shape ``(draws, factors, stops)``."""


@dataclass(frozen=True)
class Case:
    """A silence and what the rules say about the words before it."""

    stop: Stop
    judgement: Judgement
    fusion: Fusion = FUSION
    """What the sound does to the wait."""


def judge(found: Sequence[Stop]) -> list[Case]:
    """Judge the silences of one turn as the product does, which learns from those after which the caller went on."""
    endpointing, cases, has_paused = Endpointing(), [], False
    for stop in found:
        judgement = endpointing.judge(
            stop.text, agent_said=stop.agent_said, stop_counts=stop.stop_counts, has_paused=has_paused
        )
        if not stop.text:
            judgement = Judgement(NOTHING_SAID, complete=False, why="no words", settled=True)
        if stop.ends_turn or HOLD[0] <= stop.seconds <= HOLD[1]:
            cases.append(Case(stop, judgement))
        endpointing.resumed_after(stop.seconds)
        has_paused |= stop.seconds >= COUNTED_PAUSE
    return cases


def by_words(case: Case, factor: float, unfinished: bool) -> float:
    """``unfinished``: the language model wants to wait, which counts unless the words are whole by their form."""
    waits = unfinished and not case.judgement.by_form
    return max(SHORTEST, factor * (UNFINISHED if waits else case.judgement.wait))


def by_words_and_sound(case: Case, factor: float, unfinished: bool) -> float:
    """As in a call: a first score before the words are judged, and a second one in a long pause."""
    if unfinished and not case.judgement.by_form:
        return by_words(case, factor, unfinished)
    first, second = case.stop.scores
    wait = factor * case.fusion.wait(case.judgement, first)
    if not is_due(SECOND, case.judgement, first, asked=1) or wait <= SECOND + SCORE_TAKES:
        return max(SHORTEST, wait)
    return max(SECOND + SCORE_TAKES, factor * case.fusion.wait(case.judgement, second))


def by_silence(case: Case, factor: float, unfinished: bool) -> float:
    """The same wait for everything; which one does not matter, because it is swept."""
    return factor * 0.5


Policy = Callable[[Case, float, bool], float]


def sweep(cases: Sequence[Case], policy: Policy, *, with_model: bool = False) -> Times:
    """The times of a policy for each factor; ``with_model``: the language model's double says which turns go on."""
    right = np.random.default_rng(0).random((DRAWS if with_model else 1, len(cases))) < MODEL_IS_RIGHT
    goes_on = np.array([not case.stop.ends_turn for case in cases])
    unfinished = np.where(right, goes_on, ~goes_on) & with_model
    times = np.array([[[policy(case, factor, says) for case in cases] for factor in FACTORS] for says in (False, True)])
    return np.where(unfinished[:, None, :], times[1], times[0])


def with_held_out_fusion(cases: Sequence[Case]) -> list[Case]:
    """Give the cases of each turn the ``Fusion`` that is best for all other turns."""
    swept = [sweep([replace(case, fusion=choice) for case in cases], by_words_and_sound) for choice in CHOICES]
    names = np.array([case.stop.turn for case in cases])

    def cost(number: int, others: NDArray[np.int_]) -> float:
        curve = Curve.of(swept[number], cases, others)
        return float(np.interp(COMPARED_AT, curve.wait, curve.cut).mean())

    best = {}
    for name in np.unique(names):
        others = np.flatnonzero(names != name)
        best[name] = CHOICES[min(range(len(CHOICES)), key=lambda number: cost(number, others))]
    return [replace(case, fusion=best[case.stop.turn]) for case in cases]


def sweep_sound_alone(cases: Sequence[Case]) -> Times:
    """The turn model alone, as eot-bench scores it: the best of thresholds, delays and timeouts at each mean wait."""
    scores = np.array([case.stop.scores[0] for case in cases])
    policies = [
        np.where(scores >= threshold, delay, timeout)
        for threshold in np.linspace(0.02, 0.98, 25)
        for delay in (0.2, 0.3, 0.4, 0.5, 0.6)
        for timeout in np.arange(delay, 2.5, 0.1)
    ]
    curve = Curve.of(np.array(policies)[None], cases)
    order = np.argsort(curve.wait, kind="stable")
    best, kept = np.inf, []
    for index in order:
        if curve.cut[index] < best:
            best = curve.cut[index]
            kept.append(index)
    return np.array(policies)[None, kept]


@dataclass(frozen=True)
class Curve:
    """Mean waits in seconds and shares of false cut-offs, for each factor."""

    wait: NDArray[np.float64]
    cut: NDArray[np.float64]

    @classmethod
    def of(cls, times: Times, cases: Sequence[Case], chosen: NDArray[np.int_] | None = None) -> Curve:
        """``chosen`` are the cases that count, perhaps several times; all if None."""
        index = np.arange(len(cases)) if chosen is None else chosen
        ends = np.array([case.stop.ends_turn for case in cases])[index]
        seconds = np.array([case.stop.seconds for case in cases])[index]
        counted = times[:, :, index]
        return cls(counted[:, :, ends].mean(axis=(0, 2)), (counted[:, :, ~ends] < seconds[~ends]).mean(axis=(0, 2)))

    def cut_at(self, wait: float) -> float:
        """The share of cut-offs at this mean wait; NaN if no factor has it."""
        inside = self.wait.min() <= wait <= self.wait.max()
        return float(np.interp(wait, self.wait, self.cut)) if inside else np.nan

    def wait_at(self, cut: float) -> float:
        """The shortest mean wait with no more than this share of cut-offs; NaN if no factor has it."""
        good = self.wait[self.cut <= cut]
        return float(good.min()) if len(good) else np.nan


@dataclass(frozen=True)
class Line:
    """One curve, and where on it the product is."""

    name: str
    times: Times
    now: Times | None
    """The times of the product as it is, shape ``(draws, 1, stops)``; None for a policy that it does not have."""


def lines_of(cases: Sequence[Case]) -> list[Line]:
    def line(name: str, policy: Policy, *, with_model: bool) -> Line:
        times = sweep(cases, policy, with_model=with_model)
        one = len(FACTORS) // 2
        return Line(name, times, times[:, one : one + 1])

    return [
        Line("silence alone", sweep(cases, by_silence), None),
        Line("turn model alone", sweep_sound_alone(cases), None),
        line("words", by_words, with_model=False),
        line("words, turn model", by_words_and_sound, with_model=False),
        line("words, model's judgement", by_words, with_model=True),
        line("all", by_words_and_sound, with_model=True),
    ]


def resampled(cases: Sequence[Case]) -> list[NDArray[np.int_]]:
    """The indices of the cases of as many turns, drawn with replacement."""
    by_turn = defaultdict(list)
    for index, case in enumerate(cases):
        by_turn[case.stop.turn].append(index)
    names, random = sorted(by_turn), np.random.default_rng(1)
    return [
        np.concatenate([by_turn[names[number]] for number in random.integers(len(names), size=len(names))])
        for _ in range(RESAMPLES)
    ]


# -- the figures --------------------------------------------------------------------------------------


def table_of(lines: Sequence[Line], cases: Sequence[Case]) -> Table:
    ends = np.array([case.stop.ends_turn for case in cases])
    turn_count = len({case.stop.turn for case in cases})
    table = Table(title=f"{ends.sum()} ends of turns, {(~ends).sum()} pauses inside turns (95 % by turns in brackets)")
    names = ["", "cut-offs %", "mean wait ms", "median wait ms", "cut-offs per turn"]
    names += [f"cut-offs % at {ms} ms" for ms in BUDGETS_MS] + [f"ms at {percent} %" for percent in BUDGETS_PERCENT]
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    draws = resampled(cases)
    for line in lines:
        row = [line.name, "-", "-", "-", "-"]
        if line.now is not None:
            now = [Curve.of(line.now, cases, chosen) for chosen in [None, *draws]]
            cut, wait = [one.cut[0] for one in now], [one.wait[0] for one in now]
            median = float(np.median(line.now[0, 0, ends]))
            row[1:] = [_percent(cut), _ms(wait), f"{1000 * median:.0f}", f"{cut[0] * (~ends).sum() / turn_count:.2f}"]
        curve = Curve.of(line.times, cases)
        row += [_or_dash(100 * curve.cut_at(ms / 1000)) for ms in BUDGETS_MS]
        row += [_or_dash(1000 * curve.wait_at(percent / 100)) for percent in BUDGETS_PERCENT]
        table.add_row(*row)
    return table


def difference(line: Line, other: Line, cases: Sequence[Case]) -> str:
    """How many fewer cut-offs a line has than another at the same mean waits, on average over ``COMPARED_AT``."""

    def fewer(chosen: NDArray[np.int_] | None) -> float:
        curves = [Curve.of(one.times, cases, chosen) for one in (other, line)]
        cuts = [np.interp(COMPARED_AT, curve.wait, curve.cut).mean() for curve in curves]
        return 100 * float(cuts[0] - cuts[1])

    low, high = np.percentile([fewer(chosen) for chosen in resampled(cases)], (2.5, 97.5))
    return (
        f"{line.name}: {fewer(None):.1f} points fewer cut-offs ({low:.1f} to {high:.1f}) than {other.name} at mean "
        f"waits of {1000 * COMPARED_AT[0]:.0f} to {1000 * COMPARED_AT[-1]:.0f} ms"
    )


def reasons(cases: Sequence[Case], times: NDArray[np.float64]) -> Table:
    """What each verdict costs: cut-offs inside turns, and waiting behind them."""
    table = Table(title="By verdict: what the rules found in the words")
    for name in ("verdict", "wait s", "pauses", "cut off", "ends", "waited s, in all"):
        table.add_column(name, justify="left" if name == "verdict" else "right")
    rows = defaultdict(list)
    for case, seconds in zip(cases, times, strict=True):
        rows[case.judgement.why].append((case, seconds))

    def cost(entries: list[tuple[Case, float]]) -> tuple[int, float]:
        cut = sum(seconds < case.stop.seconds for case, seconds in entries if not case.stop.ends_turn)
        return cut, sum(seconds for case, seconds in entries if case.stop.ends_turn)

    for why, entries in sorted(rows.items(), key=lambda item: cost(item[1]), reverse=True):
        cut, waited = cost(entries)
        holds = sum(not case.stop.ends_turn for case, _ in entries)
        mean = float(np.mean([seconds for _, seconds in entries]))
        table.add_row(why, f"{mean:.2f}", str(holds), str(cut), str(len(entries) - holds), f"{waited:.2f}")
    return table


def scores_in(found: Sequence[Sequence[Stop]]) -> int:
    """How often the turn model is asked, if every silence is noticed and no turn is cut off."""
    cases = {(case.stop.turn, case.stop.at): case for of_turn in found for case in judge(of_turn)}
    again = sum(
        is_due(SECOND, case.judgement, case.stop.scores[0], asked=1) and case.stop.seconds >= SECOND
        for case in cases.values()
    )
    return again + sum(len(of_turn) for of_turn in found)


def _percent(drawn: Sequence[float]) -> str:
    low, high = np.percentile(drawn[1:], (2.5, 97.5))
    return f"{100 * drawn[0]:.0f} ({100 * low:.0f}-{100 * high:.0f})"


def _ms(drawn: Sequence[float]) -> str:
    low, high = np.percentile(drawn[1:], (2.5, 97.5))
    return f"{1000 * drawn[0]:.0f} ({1000 * low:.0f}-{1000 * high:.0f})"


def _or_dash(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.0f}"


# -- the run ------------------------------------------------------------------------------------------


class Measured(SmartTurnModel):
    """Notes the processor time of each score."""

    costs: list[float]

    async def score(self, pcm: Pcm) -> float:
        begun = time.process_time()
        score = await super().score(pcm)
        self.costs.append(time.process_time() - begun)
        return score


async def listen(chosen: Sequence[Turn], models: Path, whisper: str, costs: list[float]) -> list[list[Stop]]:
    """The stops of each turn. ``costs`` gets the seconds of processor time of each score."""
    stt = FasterWhisperSpeechToText(
        WhisperOptions(model=str(models / whisper), device="cpu", cpu_threads=1, partials=False)
    )
    model = Measured(SmartTurnOptions(model=str(smart_turn_in(models))))
    model.costs = costs
    try:
        await asyncio.gather(stt.start(), model.start())
        return [await stops(turn, stt, model) for turn in chosen]
    finally:
        await asyncio.gather(stt.close(), model.close())


def smart_turn_in(models: Path) -> Path:
    found = sorted((models / "smart-turn").glob("smart-turn-v3*.onnx"))
    if not found:
        raise SystemExit(
            f"There is no smart-turn/smart-turn-v3*.onnx in {models}. The wheel of pipecat-ai has it, in "
            "pipecat/audio/turn/smart_turn/data."
        )
    return found[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="the folder with the recordings of people")
    parser.add_argument("--models", type=Path, required=True, help="the folder with the models")
    parser.add_argument("--model", default="tiny.en", help="the Whisper model in it (default: %(default)s)")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the curves")
    options = parser.parse_args()
    costs: list[float] = []
    found = asyncio.run(listen(turns(options.speech), options.models, options.model, costs))
    cases = with_held_out_fusion([case for of_turn in found for case in judge(of_turn)])
    lines = lines_of(cases)
    console = Console(width=170)
    console.print(table_of(lines, cases))
    words, with_sound, with_model, with_all = lines[2:]
    for line, other in ((with_sound, words), (with_model, words), (with_all, with_model)):
        console.print(difference(line, other, cases))
    assert words.now is not None
    console.print(reasons(cases, words.now[0, 0]))
    for choice, count in Counter({case.stop.turn: case.fusion for case in cases}.values()).most_common():
        console.print(f"Chosen for {count} turns: {choice}")
    console.print(f"Scores per turn: {scores_in(found) / len(found):.1f}")
    if costs:
        console.print(f"Processor time of a score: {1000 * np.median(costs):.0f} ms (median of {len(costs)})")
    if options.picture:
        curves = {line.name: Curve.of(line.times, cases) for line in lines}
        now = {line.name: Curve.of(line.now, cases) for line in lines if line.now is not None}
        options.picture.write_text(
            draw(
                {name: (1000 * curve.wait, 100 * curve.cut) for name, curve in curves.items()},
                {name: (1000 * curve.wait[0], 100 * curve.cut[0]) for name, curve in now.items()},
            )
        )


if __name__ == "__main__":
    main()
