"""The figures of a call, worked out from the log on its tape and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import msgspec

from media.phone.frames import FRAME_SECONDS
from media.phone.tape import Tape


@dataclass(frozen=True, slots=True)
class Turn:
    """
    One thing the caller said that asks for an answer.

    ``response`` runs from the last loud sample on the app's socket to the first audible one received there;
    ``heard`` is the same from mouth to ear. Both are None if no answer came, or if the agent was
    already speaking. ``cut_in``: the agent started while the clip still had speech to come.
    """

    clip: str
    ended_at: float
    response: float | None
    heard: float | None
    cut_in: bool


@dataclass(frozen=True, slots=True)
class Overlap:
    """
    The caller spoke while the agent did.

    ``clear_after``: from the first loud sample on the socket to the ``clear`` received. ``silent_after``: from
    mouth to ear, until the agent was last heard; None if it went on. ``resumed_after``: the longest
    silence that the overlap caused, 0.0 if the agent went on, None if it stopped for good.
    """

    clip: str
    started_at: float
    backchannel: bool
    clear_after: float | None
    silent_after: float | None
    resumed_after: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """The play-out queue was empty in mid-speech."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Measurements:
    turns: list[Turn] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    agent_seconds: float = 0.0
    """How long the agent was audible."""
    unresolved_marks: int = 0
    errors: list[int] = field(default_factory=list)

    @property
    def responses(self) -> list[float]:
        return [turn.response for turn in self.turns if turn.response is not None]

    @property
    def heard(self) -> list[float]:
        return [turn.heard for turn in self.turns if turn.heard is not None]

    @property
    def interruptions(self) -> list[Overlap]:
        return [overlap for overlap in self.overlaps if not overlap.backchannel]

    @property
    def backchannels(self) -> list[Overlap]:
        return [overlap for overlap in self.overlaps if overlap.backchannel]

    @property
    def cut_ins(self) -> int:
        return sum(turn.cut_in for turn in self.turns)

    @classmethod
    def combine(cls, parts: Iterable[Measurements]) -> Measurements:
        """The measurements of many calls as one set."""
        parts = list(parts)
        return cls(
            turns=[turn for part in parts for turn in part.turns],
            overlaps=[overlap for part in parts for overlap in part.overlaps],
            gaps=[gap for part in parts for gap in part.gaps],
            agent_seconds=sum(part.agent_seconds for part in parts),
            unresolved_marks=sum(part.unresolved_marks for part in parts),
            errors=[code for part in parts for code in part.errors],
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed (nearest rank); nan of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class _Utterance:
    clip: str
    kind: Literal["say", "talk over", "backchannel"]
    start: float
    start_sent: float
    end: float = float("inf")
    end_sent: float = float("inf")


def measure(tape: Tape | Path) -> Measurements:
    """The figures of a call, from a tape or from the directory that it was written to."""
    events = _read(tape) if isinstance(tape, Path) else list(tape.events)
    utterances: list[_Utterance] = []
    times: dict[str, list[float]] = {}
    speech: list[tuple[float, float]] = []  # when the agent was audible at the caller's ear
    for event in events:
        name = event["event"]
        times.setdefault(name, []).append(event["at"])
        match name:
            case "caller_speech_start":
                utterances.append(_Utterance(event["clip"], event["kind"], event["at"], event["sent_at"]))
            case "caller_speech_end":
                utterances[-1].end, utterances[-1].end_sent = event["at"], event["sent_at"]
            case "agent_speech_start":
                speech.append((event["heard_at"], float("inf")))
            case "agent_speech_end":
                speech[-1] = (speech[-1][0], event["heard_at"])
    tape_end = events[-1]["at"] if events else 0.0
    speech = [(start, min(end, tape_end)) for start, end in speech]
    turns, overlaps = [], []
    for utterance, following in zip_longest(utterances, utterances[1:]):
        next_start = following.start if following else float("inf")
        clear = _first(times.get("clear_received", ()), utterance.start_sent, min(utterance.end_sent + 1.0, next_start))
        talks_over = utterance.kind != "say" or any(start < utterance.start < end for start, end in speech)
        if talks_over:
            overlaps.append(_overlap(utterance, clear, speech, events, next_start))
        if utterance.kind != "backchannel" and utterance.end < float("inf"):
            received = times.get("agent_audio_received", ())
            turns.append(_turn(utterance, clear, talks_over, speech, received, next_start))
    marks = len(times.get("mark_received", ())) - len(times.get("mark_echoed", ()))
    return Measurements(
        turns=turns,
        overlaps=overlaps,
        gaps=_gaps(events, utterances),
        agent_seconds=sum(end - start for start, end in speech),
        unresolved_marks=marks,
        errors=[event["code"] for event in events if event["event"] == "error"],
    )


def _read(directory: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (directory / "events.jsonl").read_bytes().splitlines()]


def _first(instants: Iterable[float], after: float, before: float) -> float | None:
    return next((instant for instant in instants if after <= instant < before), None)


def _turn(
    utterance: _Utterance,
    clear: float | None,
    talks_over: bool,
    speech: Sequence[tuple[float, float]],
    received: Iterable[float],
    next_start: float,
) -> Turn:
    clear = clear if talks_over else None
    # Of an overlap only a new start after the clear can cut in: before it, the agent merely draws breath.
    cut_in_from = utterance.start if not talks_over else clear
    cut_in = cut_in_from is not None and any(cut_in_from < start < utterance.end for start, _ in speech)
    speaking = clear is None and any(start < utterance.end < end for start, end in speech)
    response = heard = None
    if not cut_in and not speaking:
        arrival = _first(received, max(utterance.end_sent, clear or 0.0), next_start)
        onset = _first((start for start, _ in speech), max(utterance.end, clear or 0.0), next_start)
        response = None if arrival is None else round(arrival - utterance.end_sent, 4)
        heard = None if onset is None else round(onset - utterance.end, 4)
    return Turn(utterance.clip, utterance.end, response, heard, cut_in)


def _overlap(
    utterance: _Utterance,
    clear: float | None,
    speech: Sequence[tuple[float, float]],
    events: Sequence[dict[str, Any]],
    next_start: float,
) -> Overlap:
    stops = [event for event in events if event["event"] == "play_end"]
    starts = [event["at"] for event in events if event["event"] == "play_start"]
    silences = []
    for stop in stops:
        # A stop that the overlap can have caused: from its first sound to a second after its last.
        if utterance.start_sent <= stop["at"] < min(utterance.end_sent + 1.0, next_start):
            resumed = _first(starts, stop["at"], float("inf"))
            silences.append(float("inf") if resumed is None else resumed - stop["at"])
    longest = max(silences, default=0.0)
    silent_after = None
    if clear is not None:
        last_heard = max((end for start, end in speech if start < clear), default=utterance.start)
        silent_after = round(max(0.0, last_heard - utterance.start), 4)
    return Overlap(
        clip=utterance.clip,
        started_at=utterance.start,
        backchannel=utterance.kind == "backchannel",
        clear_after=None if clear is None else round(clear - utterance.start_sent, 4),
        silent_after=silent_after,
        resumed_after=None if longest == float("inf") else round(longest, 4),
    )


def _gaps(events: Iterable[dict[str, Any]], utterances: Sequence[_Utterance]) -> list[Gap]:
    gaps = []
    for event in events:
        if event["event"] != "underrun" or event["seconds"] <= FRAME_SECONDS:
            continue
        # Audio that follows the caller's own words is an answer, not the rest of a torn sentence.
        dry_from = event["at"] - event["seconds"]
        if not any(said.start < event["at"] and said.end > dry_from - 0.5 for said in utterances):
            gaps.append(Gap(round(dry_from, 4), event["seconds"]))
    return gaps
