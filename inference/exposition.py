"""
Serves the metrics of this process to Prometheus, at a port of its own and in a thread of its own.

Not at the port of the web server: that one is public, and its rooms may be full. Workers and Celery have no other port.
"""

from __future__ import annotations

import logging
import os
import threading
import time

import prometheus_client
from prometheus_client import Gauge
from prometheus_client.exposition import start_wsgi_server

logger = logging.getLogger(__name__)

BUSY_PORT_RETRY = 10.0
"""Seconds between two attempts to listen at a port that is taken: perhaps by a process that is about to end."""

_BUILD = Gauge(
    "clientcaller_build_info", "What runs here. The value is always 1.", ["role", "version", "revision", "profile"]
)


def serve_metrics(*, role: str, host: str, port: int, version: str, revision: str, profile: str) -> None:
    """
    Answer Prometheus at this address from now on; not at all if ``port`` is 0.

    Calls do not depend on it: if the port is taken, a warning is logged, and it is tried again.
    """
    if not port:
        return
    # The time at which each series was made doubles the number of series, and nothing here asks for it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    _BUILD.labels(role, version, revision or "unknown", profile).set(1)
    try:
        _listen(host, port)
    except OSError as error:
        logger.error("No metrics yet: cannot listen at METRICS_HOST and METRICS_PORT, %s:%d: %s", host, port, error)
        threading.Thread(target=_listen_later, args=(host, port), name="metrics-port", daemon=True).start()


def _listen(host: str, port: int) -> None:
    server, _ = start_wsgi_server(port, host)
    # Celery's beat is forked from its worker, and would keep the port when the worker has died.
    os.register_at_fork(after_in_child=server.socket.close)
    logger.info("Metrics for Prometheus are at http://%s:%d/metrics", host, port)


def _listen_later(host: str, port: int) -> None:
    while True:
        time.sleep(BUSY_PORT_RETRY)
        try:
            _listen(host, port)
        except OSError:
            continue
        return
