"""Reads the metrics of this process, as Prometheus would see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from prometheus_client import REGISTRY
from prometheus_client.core import Metric

import clientcaller.metrics  # noqa: F401
import media.runtime  # noqa: F401 (with these two, every metric is there)
from calls.metrics import FLEET

OURS = "clientcaller_"


def value(name: str, **labels: str) -> float:
    """The value of a sample; 0 if there is none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def counting(name: str, **labels: str) -> Callable[[], float]:
    """A function that returns by how much a sample has grown since now."""
    before = value(name, **labels)
    return lambda: value(name, **labels) - before


def our_metrics() -> Iterator[Metric]:
    """Those of every kind of process."""
    return (metric for metric in chain(REGISTRY.collect(), FLEET.collect()) if metric.name.startswith(OURS))
