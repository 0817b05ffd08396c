"""
Names the metrics of engines, of workers elsewhere, and of the event loop.

A label has one of a few values that are known here or come from the settings: a kind of engine, the name of an engine.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from inference.types import (
    ContextTooLarge,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
    NoWorker,
    QuotaExhausted,
)

KINDS = ("stt", "llm", "tts")
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0, 5.0)
"""Upper bounds in seconds for what should take no time and may take long."""
LAGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)

# --- Engines that calls use ------------------------------------------------------------------------------

_ERRORS: dict[type[EngineError], str] = {
    ContextTooLarge: "context-too-large",
    EngineFull: "full",
    EngineLoading: "loading",
    EngineTimeout: "timeout",
    NoWorker: "no-worker",
    QuotaExhausted: "quota",
    EngineError: "failed",
}
ENGINE_ERRORS = Counter(
    "clientcaller_engine_errors_total",
    "Errors of engines that calls have met, by what went wrong.",
    ["engine", "error"],
)
ENGINE_QUEUE_WAIT = Histogram(
    "clientcaller_engine_queue_wait_seconds",
    "How long requests waited in the queue of an engine of this process.",
    ["engine"],
    buckets=WAITS,
)

# --- Workers, as their clients see them ------------------------------------------------------------------

PLACEMENT_WAIT = Histogram(
    "clientcaller_placement_wait_seconds",
    "How long sessions waited until a worker took them.",
    ["engine"],
    buckets=WAITS,
)
PLACEMENTS_FAILED = Counter(
    "clientcaller_placements_failed_total", "Sessions that no worker took, by why.", ["engine", "error"]
)
SESSIONS_LOST = Counter(
    "clientcaller_sessions_lost_total", "Sessions that were lost with their worker or on the way to it.", ["engine"]
)
REDIS_SEND = Histogram(
    "clientcaller_redis_send_seconds", "How long Redis took for a packet between clients and workers.", buckets=WAITS
)
REDIS_FAILED = Counter("clientcaller_redis_failures_total", "Packets between clients and workers that Redis refused.")

# --- A worker, as it sees itself -------------------------------------------------------------------------

SESSIONS_SERVED = Counter("clientcaller_worker_sessions_total", "Sessions that this worker has opened.", ["engine"])
SESSIONS_REFUSED = Counter(
    "clientcaller_worker_sessions_refused_total", "Sessions that this worker has refused, by why.", ["engine", "error"]
)

# --- The process -----------------------------------------------------------------------------------------

LOOP_LAG = Histogram(
    "clientcaller_event_loop_lag_seconds",
    "How late the event loop runs what is due, looked at ten times a second.",
    buckets=LAGS,
)
LOOP_BLOCKED = Gauge(
    "clientcaller_event_loop_blocked_seconds", "How much longer ago than usual the event loop has run last."
)


def error_label(error: EngineError) -> str:
    """The value of the label ``error``."""
    return next(label for kind, label in _ERRORS.items() if isinstance(error, kind))


def count_error(kind: str, error: EngineError) -> None:
    """Count an error that a call has met at an engine of this kind."""
    ENGINE_ERRORS.labels(kind, error_label(error)).inc()


def begin_at_zero(kind: str, *by_error: Counter) -> None:
    """Let the series of a kind of engine exist from now on: Prometheus sees the first increase of one that does."""
    for counter in by_error:
        for label in _ERRORS.values():
            counter.labels(kind, label)


for _kind in KINDS:
    begin_at_zero(_kind, ENGINE_ERRORS)
for _kind in ("stt", "llm"):  # the voices have no queue
    ENGINE_QUEUE_WAIT.labels(_kind)
