"""
Names the metrics of live calls, and counts what the journal of a call records.

``media/turns`` reports facts and counts nothing. To count another event of a conversation, add its kind to ``EVENTS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from calls.stages import END_REASONS, STAGE_NAMES
from media.turns.commands import Noted

if TYPE_CHECKING:  # the services need Django's models, and what counts here need not
    from calls.services.facts import TurnEnded

LATENCIES = (
    0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds. People notice differences from 200 ms to 1500 ms; 0.5 s is a goal and so a bound."""
WAITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
OTHER = "other"
"""The label of what has none of the known values."""

# --- The process -----------------------------------------------------------------------------------------

READY = Gauge("clientcaller_ready", "Whether this process can take calls: its engines are loaded.")
STREAMS = Gauge("clientcaller_streams", "Calls that have their stream in this process.")
STREAMS_MAX = Gauge("clientcaller_streams_max", "Calls that this process takes at most (MAX_LIVE_CALLS).")
REPLIES_IN_MAKING = Gauge("clientcaller_replies_in_making", "Replies that are being made for the calls here.")
_refusing = Gauge(
    "clientcaller_refusing_calls",
    "Whether this process refuses new calls because of an engine or an account.",
    ["reason"],
)
REFUSING = {reason: _refusing.labels(reason) for reason in ("engine-full", "account")}

# --- Streams ---------------------------------------------------------------------------------------------

_streams_refused = Counter("clientcaller_streams_refused_total", "Media sockets that were refused, by why.", ["reason"])
STREAMS_REFUSED = {
    reason: _streams_refused.labels(reason)
    for reason in ("signature", "token", "full", "ending", "database", "start", "messages")
}
_streams_ended = Counter("clientcaller_streams_ended_total", "Streams that ended, by the reason on record.", ["reason"])
STREAMS_ENDED = {reason: _streams_ended.labels(reason) for reason in (*sorted(END_REASONS), OTHER)}
DATABASE_WAIT = Histogram(
    "clientcaller_stream_database_seconds",
    "How long the streams of this process waited for the database, with the wait for a thread.",
    buckets=WAITS,
)

# --- Turns -----------------------------------------------------------------------------------------------

RESPONSE_LATENCY = Histogram(
    "clientcaller_response_latency_seconds",
    "From the caller's last voiced sample to the first audible sample of the agent that was sent.",
    buckets=LATENCIES,
)
HEARD_LATENCY = Histogram(
    "clientcaller_heard_latency_seconds",
    "The same until the carrier has played that sample.",
    buckets=LATENCIES,
)
_stage = Histogram(
    "clientcaller_stage_seconds", "How long each stage of a response took.", ["stage"], buckets=LATENCIES
)
STAGES = {name: _stage.labels(name) for name in STAGE_NAMES}
BARGE_IN_STOP = Histogram(
    "clientcaller_barge_in_stop_seconds",
    "From the beginning of the caller's voice over the agent until the agent's sound was stopped.",
    buckets=LATENCIES,
)
_measured = {
    **STAGES,
    "response_latency": RESPONSE_LATENCY,
    "heard_latency": HEARD_LATENCY,
    "barge_in_stop": BARGE_IN_STOP,
}
"""The histograms by the key of their value in the stages of a turn."""
_turns = Counter("clientcaller_turns_total", "Turns that ended, by who had the floor.", ["speaker"])
TURNS = {speaker: _turns.labels(speaker) for speaker in ("agent", "caller")}
TURNS_INTERRUPTED = Counter(
    "clientcaller_turns_interrupted_total", "Turns of the agent that nobody heard to their end."
)
TURNS_HELPED = Counter("clientcaller_turns_helped_total", "Turns of the agent with a filler or another engine's help.")
_speculations = Counter(
    "clientcaller_speculations_total",
    "Replies begun before the turn of the caller was over, by their use.",
    ["use"],
)
SPECULATIONS = {use: _speculations.labels(use) for use in ("hit", "waste")}
_events = Counter("clientcaller_conversation_events_total", "What happened in conversations, by kind.", ["event"])
EVENTS = {
    event: _events.labels(event)
    for event in (
        "underrun", "cut-in", "interruption", "overlap", "filler", "engine-failed", "transcript-failed",
        "nothing-understood", "cut-short", "caller-went-on", "line-unspeakable", "opt-out-question", "opt-out-answer",
        "answered", "disclosed", "tool-call", "key", "language-noticed",
    )
}  # fmt: skip
"""By the kind of a note. Others are on the page of their call only."""
_guards = Counter("clientcaller_reply_guards_total", "Replies that a guard has ended, by why.", ["guard"])
REPLY_GUARDS = {guard: _guards.labels(guard) for guard in ("too-long", "repeats-itself")}

# --- The spool of facts ----------------------------------------------------------------------------------

SPOOL_FACTS = Gauge("clientcaller_spool_facts", "Facts of calls that wait in memory to be recorded.")
SPOOL_BYTES = Gauge("clientcaller_spool_bytes", "Facts of calls that wait on disk to be recorded, in bytes.")
SPOOL_STALLED = Gauge(
    "clientcaller_spool_stalled_seconds", "How long facts have waited without one being recorded; 0 if none waits."
)
_facts = Counter("clientcaller_facts_total", "Facts of calls that left the spool, by what became of them.", ["outcome"])
FACTS = {outcome: _facts.labels(outcome) for outcome in ("recorded", "rejected", "lost")}
FACT_SECONDS = Histogram(
    "clientcaller_fact_record_seconds", "How long the database took to record a fact.", buckets=WAITS
)


def count_turn(turn: TurnEnded) -> None:
    """Count a turn as it goes on record."""
    for name, seconds in turn.stages.items():
        if seconds is not None and (histogram := _measured.get(name)) is not None:
            histogram.observe(seconds)
    TURNS[turn.speaker].inc()
    if turn.speaker == "agent":
        TURNS_INTERRUPTED.inc(turn.interrupted)
        TURNS_HELPED.inc(turn.fallback)
    SPECULATIONS["hit"].inc(turn.speculation_hits)
    SPECULATIONS["waste"].inc(turn.speculation_waste)


def count_event(note: Noted) -> None:
    """Count what the conversation notes, if it is one of ``EVENTS``."""
    if (counter := EVENTS.get(note.kind)) is not None:
        counter.inc()


def count_stream_end(reason: str) -> None:
    STREAMS_ENDED.get(reason, STREAMS_ENDED[OTHER]).inc()
