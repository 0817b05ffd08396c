"""Names the metrics of the web server's rooms and of the database, and describes this process to Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.backends.signals import connection_created
from prometheus_client import Counter, Gauge, Histogram

from inference.exposition import serve_metrics

WAITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds in seconds."""

ROOM_WAIT = Histogram(
    "clientcaller_http_wait_seconds", "How long requests waited for a thread of their room.", ["room"], buckets=WAITS
)
ROOM_WAITING = Gauge("clientcaller_http_waiting", "Requests that wait for a thread of their room.", ["room"])
ROOM_REFUSED = Counter("clientcaller_http_refused_total", "Requests that found no place in their room.", ["room"])
QUERY_SECONDS = Histogram(
    "clientcaller_database_query_seconds", "How long the database took for a query of this process.", buckets=WAITS
)
QUERIES_FAILED = Counter(
    "clientcaller_database_failures_total",
    "Queries that failed: the database went away, was locked or too slow.",
)


def expose(role: Literal["web", "celery"]) -> None:
    """Time the queries of this process, and serve its metrics if METRICS_PORT is set."""
    connection_created.connect(_time_queries)
    serve_metrics(role=role, **settings.METRICS)


def _time_queries(connection: Any, **_: Any) -> None:
    if _timed not in connection.execute_wrappers:
        connection.execute_wrappers.append(_timed)


def _timed(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    begun = perf_counter()
    try:
        return execute(sql, params, many, context)
    except (OperationalError, InterfaceError):
        QUERIES_FAILED.inc()
        raise
    finally:
        QUERY_SECONDS.observe(perf_counter() - begun)
