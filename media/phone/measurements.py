"""The figures of a call, worked out from the log on its tape and from nothing that the server says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import msgspec

from media.phone.frames import FRAME_SECONDS
from media.phone.tape import Tape

OVERLAP_EFFECT_SECONDS = 1.0
"""Seconds after an overlap in which the agent's acts count as its effect: a slow barge-in takes half a second."""
REPLY_MARGIN_SECONDS = 0.5
"""Audio after a dry queue is a reply if the caller spoke until this long before the queue ran dry, or later."""


@dataclass(frozen=True, slots=True)
class CallerTurn:
    """
    Something that the caller said and that asks for a reply. Times are in seconds.

    ``response`` and ``heard`` are None if no reply came, or if the agent was speaking already.
    """

    clip: str
    started_at: float
    ended_at: float
    response: float | None
    """From the caller's last loud sample on the application's socket to the first audible one received there."""
    heard: float | None
    """The same from mouth to ear."""
    cut_in: bool
    """Whether the agent started while the caller had more to say."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """The caller spoke while the agent did. Times are in seconds."""

    clip: str
    started_at: float
    ended_at: float
    backchannel: bool
    """Whether the caller did not mean to interrupt."""
    clear_after: float | None
    """From the caller's first loud sample on the socket to the ``clear`` received; None if none came."""
    silent_after: float | None
    """From the caller's mouth until the agent was last heard at the ear; None if the agent went on."""
    resumed_after: float | None
    """The longest silence that the overlap caused; 0.0 if the agent went on, None if it stopped for good."""
    watched_for: float
    """
    From the start of that silence to the end of the tape; 0.0 if the agent went on. If this is short, the agent may
    have stopped for good only because the call ended.
    """


@dataclass(frozen=True, slots=True)
class Gap:
    """The play-out queue was empty in mid-speech for ``seconds``."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Measurements:
    """The figures of one call, or of many."""

    turns: list[CallerTurn] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    agent_speech: list[tuple[float, float]] = field(default_factory=list)
    """When the agent was audible at the caller's ear, pauses below 0.2 s included: from and to, in seconds."""
    agent_seconds: float = 0.0
    """Seconds for which the agent was audible."""
    unresolved_marks: int = 0
    """The number of marks that were received and never echoed."""
    errors: list[int] = field(default_factory=list)
    """The codes of Twilio's errors and warnings."""

    @property
    def responses(self) -> list[float]:
        """Each response latency at the socket, in seconds."""
        return [turn.response for turn in self.turns if turn.response is not None]

    @property
    def heard(self) -> list[float]:
        """Each response latency from mouth to ear, in seconds."""
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


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed (nearest rank); NaN if there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class _CallerSpeech:
    """One clip that the caller said: seconds on the tape at the mouth, and on the application's socket (``sent``)."""

    clip: str
    kind: Literal["say", "talk over", "backchannel"]
    start: float
    start_sent: float
    end: float = float("inf")
    end_sent: float = float("inf")


def measure(tape: Tape | Path) -> Measurements:
    """Work out the figures of a call from its tape, or from the directory that the tape was written to."""
    events = _read(tape) if isinstance(tape, Path) else list(tape.events)
    utterances: list[_CallerSpeech] = []
    times: dict[str, list[float]] = {}
    speech: list[tuple[float, float]] = []  # when the agent was audible at the caller's ear
    for event in events:
        name = event["event"]
        times.setdefault(name, []).append(event["at"])
        match name:
            case "caller_speech_start":
                utterances.append(_CallerSpeech(event["clip"], event["kind"], event["at"], event["sent_at"]))
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
        clear = _first_between(
            times.get("clear_received", ()),
            utterance.start_sent,
            min(utterance.end_sent + OVERLAP_EFFECT_SECONDS, next_start),
        )
        talks_over = utterance.kind != "say" or any(start < utterance.start < end for start, end in speech)
        if talks_over:
            overlaps.append(_overlap(utterance, clear, speech, events, next_start, tape_end))
        if utterance.kind != "backchannel" and utterance.end < float("inf"):
            received = times.get("agent_audio_received", ())
            turns.append(_turn(utterance, clear, talks_over, speech, received, next_start))
    marks = len(times.get("mark_received", ())) - len(times.get("mark_echoed", ()))
    return Measurements(
        turns=turns,
        overlaps=overlaps,
        gaps=_gaps(events, utterances),
        agent_speech=speech,
        agent_seconds=sum(end - start for start, end in speech),
        unresolved_marks=marks,
        errors=[event["code"] for event in events if event["event"] == "error"],
    )


def _read(directory: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (directory / "events.jsonl").read_bytes().splitlines()]


def _first_between(instants: Iterable[float], after: float, before: float) -> float | None:
    return next((instant for instant in instants if after <= instant < before), None)


def _turn(
    utterance: _CallerSpeech,
    clear: float | None,
    talks_over: bool,
    speech: Sequence[tuple[float, float]],
    received: Iterable[float],
    next_start: float,
) -> CallerTurn:
    clear = clear if talks_over else None
    # After an overlap only a new start after the clear is a cut-in: an earlier one is a pause within the agent's turn.
    cut_in_from = utterance.start if not talks_over else clear
    cut_in = cut_in_from is not None and any(cut_in_from < start < utterance.end for start, _ in speech)
    speaking = clear is None and any(start < utterance.end < end for start, end in speech)
    response = heard = None
    if not cut_in and not speaking:
        arrival = _first_between(received, max(utterance.end_sent, clear or 0.0), next_start)
        onset = _first_between((start for start, _ in speech), max(utterance.end, clear or 0.0), next_start)
        response = None if arrival is None else round(arrival - utterance.end_sent, 4)
        heard = None if onset is None else round(onset - utterance.end, 4)
    return CallerTurn(utterance.clip, utterance.start, utterance.end, response, heard, cut_in)


def _overlap(
    utterance: _CallerSpeech,
    clear: float | None,
    speech: Sequence[tuple[float, float]],
    events: Sequence[dict[str, Any]],
    next_start: float,
    tape_end: float,
) -> Overlap:
    stops = [event for event in events if event["event"] == "play_end"]
    starts = [event["at"] for event in events if event["event"] == "play_start"]
    silences = [(0.0, tape_end)]
    for stop in stops:
        # The overlap can have caused this stop: it lies between its first sound and a second after its last.
        if utterance.start_sent <= stop["at"] < min(utterance.end_sent + OVERLAP_EFFECT_SECONDS, next_start):
            resumed = _first_between(starts, stop["at"], float("inf"))
            silences.append((float("inf") if resumed is None else resumed - stop["at"], stop["at"]))
    longest, began = max(silences)
    silent_after = None
    if clear is not None:
        last_heard = max((end for start, end in speech if start < clear), default=utterance.start)
        silent_after = round(max(0.0, last_heard - utterance.start), 4)
    return Overlap(
        clip=utterance.clip,
        started_at=utterance.start,
        ended_at=min(utterance.end, tape_end),
        backchannel=utterance.kind == "backchannel",
        clear_after=None if clear is None else round(clear - utterance.start_sent, 4),
        silent_after=silent_after,
        resumed_after=None if longest == float("inf") else round(longest, 4),
        watched_for=round(tape_end - began, 4),
    )


def _gaps(events: Iterable[dict[str, Any]], utterances: Sequence[_CallerSpeech]) -> list[Gap]:
    gaps = []
    for event in events:
        if event["event"] != "underrun" or event["seconds"] <= FRAME_SECONDS:
            continue
        # Audio that follows the caller's own words is a reply, not the rest of an interrupted sentence.
        dry_from = event["at"] - event["seconds"]
        if not any(said.start < event["at"] and said.end > dry_from - REPLY_MARGIN_SECONDS for said in utterances):
            gaps.append(Gap(round(dry_from, 4), event["seconds"]))
    return gaps
