"""
The figures of turn-taking, from the tape of each call and from what the server has recorded of it.

The definitions of published evaluations stand beside this project's own. They are, at the commits that were read:

- τ-voice: sierra-research/tau2-bench a2c0247, ``docs/interaction-metrics.md`` and
  ``src/tau2/metrics/voice_interaction_metrics.py``. An agent yields if it is silent within 2.0 s of an interruption; it
  errs if it is silent within 1.0 s of a backchannel, a vocal tic or speech that is not directed at it, for whatever
  reason. It goes by ticks of 200 ms; here a silence is 200 ms without an audible sample, at any time.
- EVA: ServiceNow/eva 997ae97, ``docs/metrics/turn_taking.md``: the mean of a score for each turn, by the wait, by the
  time that the agent goes on after an interruption, or by how it has interrupted. Waits below 500 ms cost points.
- TurnBench: SesameAILabs/turnbench 0dda64e, ``eval/README.md`` and ``eval/score.py``, task INT: an interruption is
  recalled if the agent gives way from 0.25 s before its onset to 3.0 s after; a backchannel or a sound that is no
  speech is a false stop if it does from 0.25 s before it to its end. At most 10 % may be false
  (``data_analysis/leaderboard.py``). Giving way is taken in two senses: the sound stops, or the caller gets the turn.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from media.phone.measurements import CallerTurn, Measurements, Overlap, percentile

PASSED_OVER_WITHIN = 0.7
"""Seconds of silence that a backchannel, a tic or an aside may cause. This project's own definition."""
TAU_YIELD, TAU_ERROR = 2.0, 1.0
"""Seconds; τ-voice's ``no_yield_window_sec``, and its windows for what the agent should talk through."""
EVA_WAIT = ((-0.5, 0.0), (0.5, 1.0), (2.0, 1.0), (3.5, 0.0))
"""EVA's score of a wait (seconds) in a turn without a tool call, between these points."""
EVA_OVERLAP, EVA_SEGMENTS, EVA_YIELD, EVA_INTERRUPTED = 2.0, 3, 2.0, 0.5
"""Seconds of overlap, segments of the agent and seconds until it yields that score nothing; the most for a cut-in."""
TURNBENCH_BEFORE, TURNBENCH_AFTER, TURNBENCH_BUDGET = 0.25, 3.0, 0.1
"""Seconds before and after an onset in which a detection counts, and the share of false ones that is allowed."""
RECORD_TOLERANCE = 0.5
"""Seconds by which a turn on record may lie beside the words that it is made of: their quiet ends are not voice."""
LAST_SECONDS = 2.5
"""Seconds before the end of a call in which what was said may have no effect yet."""


@dataclass(frozen=True)
class RecordedTurn:
    """A turn on record. Times are seconds on the tape of the call."""

    speaker: str
    started: float
    ended: float
    interrupted: bool
    heard: str
    stages: dict[str, float]


@dataclass
class CallFigures:
    """One call: what the tape shows, and what is on record."""

    tape: Measurements
    seconds: float
    """The length of the tape."""
    record: list[RecordedTurn]

    def is_complete(self, event: CallerTurn | Overlap) -> bool:
        """Whether the tape still shows the effect."""
        return event.ended_at <= self.seconds - LAST_SECONDS

    def recorded(self, speaker: str, start: float, end: float) -> list[RecordedTurn]:
        """The turns on record that overlap this time."""
        return [
            turn
            for turn in self.record
            if turn.speaker == speaker
            and turn.started < end + RECORD_TOLERANCE
            and turn.ended > start - RECORD_TOLERANCE
        ]

    def quiet_after(self, at: float) -> float:
        """Seconds until the agent, which speaks, is next quiet at the ear."""
        return next((end - at for start, end in self.tape.agent_speech if start <= at < end), float("inf"))

    def talked_over(self, overlap: Overlap) -> bool:
        """Whether the agent was speaking when the caller began."""
        return self.quiet_after(overlap.started_at) < float("inf")


@dataclass
class Result:
    """The calls of a scene, or of several."""

    calls: list[CallFigures]

    @property
    def turns(self) -> list[tuple[CallFigures, CallerTurn]]:
        return [(call, turn) for call in self.calls for turn in call.tape.turns if call.is_complete(turn)]

    @property
    def asks(self) -> list[tuple[CallFigures, CallerTurn]]:
        """The complete turns that the agent waits for."""
        return [(call, turn) for call, turn in self.turns if turn.clip == "ask"]

    def overlaps(self, *clips: str) -> list[tuple[CallFigures, Overlap]]:
        """The overlaps of these kinds with the agent's voice."""
        return [
            (call, overlap)
            for call in self.calls
            for overlap in call.tape.overlaps
            if overlap.clip in clips and call.is_complete(overlap) and call.talked_over(overlap)
        ]


def stored_beside_taped(result: Result, stage: str) -> list[tuple[float, float]]:
    """The figures of this stage that the server stored, in seconds, each beside that of the tape."""
    pairs = []
    for call in result.calls:
        if stage == "barge_in_stop":
            found = [(one.started_at, one.clear_after) for one in call.tape.interruptions if yielded(call, one)]
        else:
            found = [
                (turn.ended_at + turn.response, turn.response if stage == "response_latency" else turn.heard)
                for turn in call.tape.turns
                if turn.response is not None
            ]
        for at, taped in found:
            stored = [
                turn.stages[stage]
                for turn in call.recorded("agent", at, at)
                if stage in turn.stages and (turn.interrupted if stage == "barge_in_stop" else turn.started > at - 0.5)
            ]
            if stored and taped is not None:
                pairs.append((stored[0], taped))
    return pairs


# -- what became of each turn and of each overlap -----------------------------------------------------


def is_lost(call: CallFigures, turn: CallerTurn) -> bool:
    """Whether nothing of the turn is on record."""
    return not call.recorded("caller", turn.started_at, turn.ended_at)


def extra_turns(call: CallFigures) -> list[RecordedTurn]:
    """The caller's turns on record that are nothing that the caller said."""
    said = [(event.started_at, event.ended_at) for event in [*call.tape.turns, *call.tape.overlaps]]
    return [
        turn
        for turn in call.record
        if turn.speaker == "caller"
        and not any(
            turn.started < end + RECORD_TOLERANCE and turn.ended > start - RECORD_TOLERANCE for start, end in said
        )
    ]


def took_turn(call: CallFigures, overlap: Overlap) -> bool:
    """Whether the overlap is a turn on record."""
    return bool(call.recorded("caller", overlap.started_at, overlap.ended_at))


def yielded(call: CallFigures, overlap: Overlap) -> bool:
    """Whether the agent stopped for the interruption, and the caller got the turn."""
    return overlap.clear_after is not None and took_turn(call, overlap) and not finished(call, overlap)


def finished(call: CallFigures, overlap: Overlap) -> bool:
    """Whether the agent said all of what it was saying when the overlap began."""
    return not any(turn.interrupted for turn in call.recorded("agent", overlap.started_at, overlap.started_at))


def passed_over(call: CallFigures, overlap: Overlap) -> bool:
    """Whether no turn was taken, the agent was silent for 0.7 s at most, and it said every word."""
    if overlap.resumed_after is None or overlap.resumed_after > PASSED_OVER_WITHIN or took_turn(call, overlap):
        return False
    return finished(call, overlap)


def stops(call: CallFigures, overlap: Overlap, *, from_: float, to: float) -> bool:
    """Whether the agent's sound was stopped between these seconds after the onset."""
    return overlap.clear_after is not None and from_ <= overlap.clear_after <= to


def eva_score(call: CallFigures, turn: CallerTurn) -> float | None:
    """EVA's score of the turn; None if the agent said nothing to it, which EVA leaves out."""
    start, end = turn.started_at, turn.ended_at
    over = [(max(a, start), min(b, end)) for a, b in call.tape.agent_speech if a < end and b > start]
    scores = []
    if turn.clip == "interruption" and call.quiet_after(start) < float("inf"):
        scores.append(max(0.0, 1 - call.quiet_after(start) / EVA_YIELD))
        over = [(a, b) for a, b in over if a > start]
    if turn.cut_in and over:
        overlap = sum(b - a for a, b in over)
        scores.append(EVA_INTERRUPTED * max(0.0, 1 - overlap / EVA_OVERLAP))
        scores.append(EVA_INTERRUPTED * max(0.0, 1 - (len(over) - 1) / (EVA_SEGMENTS - 1)))
    if turn.cut_in or not scores:
        begins = [a for a, _ in call.tape.agent_speech if a > end]
        following = [other.started_at for other in call.tape.turns if other.started_at > end]
        speaks = any(a <= end < b for a, b in call.tape.agent_speech)
        if begins and begins[0] < min(following, default=float("inf")) and not speaks:
            scores.append(_between(EVA_WAIT, begins[0] - end))
    return min(scores, default=None)


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    """The height of a line through these points at ``x``; flat before the first and after the last."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x < x0:
            return y0
        if x < x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


# -- the table ----------------------------------------------------------------------------------------


def share(flags: Iterable[bool]) -> tuple[int, int]:
    flags = list(flags)
    return sum(flags), len(flags)


def show_share(counts: tuple[int, int]) -> str:
    good, whole = counts
    return f"{100 * good / whole:.0f} % of {whole}" if whole else "-"


def show_ms(values: Sequence[float]) -> str:
    return f"{1000 * percentile(values, 0.5):.0f} / {1000 * percentile(values, 0.95):.0f}" if values else "-"


def show_difference(pairs: Sequence[tuple[float, float]]) -> str:
    """The differences between stored and taped, in milliseconds: their median and the size that 95 % do not exceed."""
    if not pairs:
        return "-"
    differences = [1000 * (stored - taped) for stored, taped in pairs]
    return f"{statistics.median(differences):+.0f} / {percentile([abs(value) for value in differences], 0.95):.0f}"


def waits(result: Result) -> list[float]:
    """Seconds that callers waited for the answer to a complete turn, on the socket."""
    return [turn.response for _, turn in result.asks if turn.response is not None]


def yield_latencies(result: Result) -> list[float]:
    """Seconds from the onset of an interruption to the last audible sample at the caller's ear."""
    return [
        overlap.silent_after
        for call, overlap in result.overlaps("interruption")
        if yielded(call, overlap) and overlap.silent_after is not None
    ]


def silences(result: Result) -> list[float]:
    """Seconds of silence that each backchannel caused."""
    return [
        float("inf") if overlap.resumed_after is None else overlap.resumed_after
        for _, overlap in result.overlaps("backchannel")
    ]


def passed_share(clip: str) -> Callable[[Result], tuple[int, int]]:
    return lambda result: share(passed_over(*one) for one in result.overlaps(clip))


def talked_through(clip: str) -> Callable[[Result], tuple[int, int]]:
    """τ-voice's selectivity."""
    return lambda result: share(
        call.quiet_after(overlap.started_at) >= TAU_ERROR for call, overlap in result.overlaps(clip)
    )


def yield_share(result: Result) -> tuple[int, int]:
    return share(yielded(*one) for one in result.overlaps("interruption"))


def cut_in_share(result: Result) -> tuple[int, int]:
    return share(turn.cut_in for _, turn in result.turns)


def lost_turns(result: Result) -> int:
    return sum(is_lost(*one) for one in result.turns)


def unasked_turns(result: Result) -> int:
    return sum(len(extra_turns(call)) for call in result.calls)


def tau_yields(result: Result) -> str:
    quiet = [call.quiet_after(overlap.started_at) for call, overlap in result.overlaps("interruption")]
    within = [seconds for seconds in quiet if seconds < TAU_YIELD]
    return f"{show_share((len(within), len(quiet)))}, {1000 * statistics.mean(within):.0f} ms" if within else "-"


def turnbench(result: Result, *, by_turn: bool) -> str:
    """Interruption recall and false stops."""
    counted = []
    for clips, after in ((("interruption",), TURNBENCH_AFTER), (("backchannel", "tic"), None)):
        counted.append(
            share(
                took_turn(call, one)
                if by_turn
                else stops(
                    call, one, from_=-TURNBENCH_BEFORE, to=one.ended_at - one.started_at if after is None else after
                )
                for call, one in result.overlaps(*clips)
            )
        )
    if not all(whole for _, whole in counted):
        return "-"
    recall, false = (good / whole for good, whole in counted)
    return f"{100 * recall:.0f} % at {100 * false:.0f} %{'' if false <= TURNBENCH_BUDGET else ' (over 10 %)'}"


def show_eva(result: Result) -> str:
    scores = [score for one in result.turns if (score := eva_score(*one)) is not None]
    return f"{statistics.mean(scores):.2f}" if scores else "-"


def show_median_silence(result: Result) -> str:
    caused = silences(result)
    return f"{1000 * statistics.median(caused):.0f}" if caused else "-"


FIGURES: dict[str, Callable[[Result], str]] = {
    "turns": lambda result: str(len(result.turns)),
    "wait after complete turns, p50 / p95 ms": lambda result: show_ms(waits(result)),
    "turns lost; extra": lambda result: f"{lost_turns(result)}; {unasked_turns(result)}",
    "agent interrupts": lambda result: show_share(cut_in_share(result)),
    "yields": lambda result: show_share(yield_share(result)),
    "yield latency p50 / p95 ms": lambda result: show_ms(yield_latencies(result)),
    "backchannels passed over": lambda result: show_share(passed_share("backchannel")(result)),
    "silence that they cause, median ms": show_median_silence,
    "tics passed over": lambda result: show_share(passed_share("tic")(result)),
    "asides passed over": lambda result: show_share(passed_share("aside")(result)),
    "τ-voice: yields, mean latency": tau_yields,
    "τ-voice: backchannels": lambda result: show_share(talked_through("backchannel")(result)),
    "τ-voice: tics": lambda result: show_share(talked_through("tic")(result)),
    "τ-voice: asides": lambda result: show_share(talked_through("aside")(result)),
    "EVA": show_eva,
    "TurnBench, by the sound": lambda result: turnbench(result, by_turn=False),
    "TurnBench, by the turn": lambda result: turnbench(result, by_turn=True),
    "response_latency": lambda result: show_difference(stored_beside_taped(result, "response_latency")),
    "heard_latency": lambda result: show_difference(stored_beside_taped(result, "heard_latency")),
    "barge_in_stop": lambda result: show_difference(stored_beside_taped(result, "barge_in_stop")),
}
"""The last three: stored less taped, median and the size at p95, in milliseconds."""
