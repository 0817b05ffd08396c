"""Reads the state of this process's engines, of their workers and of its own slots when Prometheus asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.fallback.members import FallbackEngine
from inference.health import health_of

WORKER_STATES = ("loading", "ready", "draining")
CLAUSE_ENDS = (
    "end", "partial-end", "silence", "babble", "too-long", "immediate-end", "unsaid", "not-finite", "stall", "error",
)  # fmt: skip
"""How a clause of the voice on a GPU may end: all but the first are the work of its guards, or failures."""


class Served(Protocol):
    """The server of one engine in a worker (``inference.remote.server.Server``)."""

    @property
    def alias(self) -> str: ...
    @property
    def engine(self) -> object: ...
    @property
    def slots(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def free(self) -> int: ...


class EngineCollector(Collector):
    """
    The engines and servers that the process has named last.

    It runs in the thread that answers Prometheus, so it reads plain values and copies of dictionaries only.
    """

    def __init__(self) -> None:
        self._engines: dict[str, object] = {}
        self._servers: list[Served] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, engines: Mapping[str, object]) -> None:
        """Report on these engines, by kind. Call it on their loop."""
        self._engines = dict(engines)
        self._loop = asyncio.get_running_loop()

    def watch_servers(self, servers: Iterable[Served]) -> None:
        """Report on these servers and on their engines. Call it on their loop."""
        self._servers = list(servers)
        self.watch({server.alias: server.engine for server in self._servers})

    def forget(self) -> None:
        self._engines, self._servers, self._loop = {}, [], None

    def collect(self) -> Iterator[Metric]:
        yield from self._queues()
        yield from self._fallbacks()
        yield from self._workers()
        yield from self._voices()
        yield from self._own_slots()

    def _each(self) -> list[tuple[str, object]]:
        """Every engine with its kind, those of a fallback one by one."""
        found: list[tuple[str, object]] = []
        for kind, engine in self._engines.items():
            members = [member.engine for member in engine.members] if isinstance(engine, FallbackEngine) else [engine]
            found += [(kind, each) for each in members]
        return found

    def _queues(self) -> Iterator[Metric]:
        queued: dict[str, int] = {}
        for kind, engine in self._each():
            count = getattr(engine, "queued", None)
            if count is not None:
                queued[kind] = queued.get(kind, 0) + count
        gauge = GaugeMetricFamily(
            "clientcaller_engine_queue", "Requests that wait in an engine of this process.", labels=["engine"]
        )
        for kind, total in queued.items():
            gauge.add_metric([kind], total)
        yield gauge

    def _fallbacks(self) -> Iterator[Metric]:
        usable = GaugeMetricFamily(
            "clientcaller_engine_usable",
            "Whether an engine of a fallback is asked (1) or left alone (0).",
            labels=["engine", "name"],
        )
        requests = CounterMetricFamily(
            "clientcaller_engine_requests",
            "Requests to an engine of a fallback, by outcome. All but those that were served went to another one.",
            labels=["engine", "name", "outcome"],
        )
        now = self._loop.time() if self._loop is not None else 0.0
        for kind, engine in self._engines.items():
            for health in health_of(engine, now=now):
                usable.add_metric([kind, health.name], float(health.state == "ready"))
                for outcome in ("served", "failed", "timed_out", "skipped"):
                    requests.add_metric([kind, health.name, outcome], getattr(health, outcome))
        yield usable
        yield requests

    def _workers(self) -> Iterator[Metric]:
        workers = GaugeMetricFamily(
            "clientcaller_known_workers", "Workers that this process hears of, by state.", labels=["engine", "state"]
        )
        slots = GaugeMetricFamily(
            "clientcaller_known_worker_slots",
            "Slots of these workers, as announced.",
            labels=["engine", "state"],
        )
        silent = GaugeMetricFamily(
            "clientcaller_redis_silent", "Whether Redis does not carry the packets to workers.", labels=["engine"]
        )
        for kind, engine in self._each():
            if (known := getattr(engine, "workers", None)) is None:
                continue
            news = known.all_news
            for state in WORKER_STATES:
                workers.add_metric([kind, state], sum(one.state == state for one in news))
            ready = [one for one in news if one.state == "ready"]
            free = sum(one.free for one in ready)
            slots.add_metric([kind, "free"], free)
            slots.add_metric([kind, "used"], sum(one.slots for one in ready) - free)
            silent.add_metric([kind], float(getattr(engine, "layer_is_silent", False)))
        yield workers
        yield slots
        yield silent

    def _voices(self) -> Iterator[Metric]:
        clauses = CounterMetricFamily(
            "clientcaller_voice_clauses",
            "Clauses of the voice on a GPU by how they ended: at their end, by a guard, or by a failure.",
            labels=["ended"],
        )
        for kind, engine in self._each():
            counts = getattr(engine, "counts", None) if kind == "tts" else None
            if isinstance(counts, dict):
                for ended in CLAUSE_ENDS:
                    clauses.add_metric([ended], counts.get(ended, 0))
                break
        yield clauses

    def _own_slots(self) -> Iterator[Metric]:
        slots = GaugeMetricFamily("clientcaller_worker_slots", "Slots of this worker.", labels=["engine", "state"])
        draining = GaugeMetricFamily(
            "clientcaller_worker_draining", "Whether this worker takes no more sessions.", labels=["engine"]
        )
        for server in self._servers:
            free = max(0, server.free)
            slots.add_metric([server.alias, "free"], free if server.state == "ready" else 0)
            slots.add_metric([server.alias, "used"], server.slots - free)
            draining.add_metric([server.alias], float(server.state in ("draining", "gone")))
        yield slots
        yield draining


engine_collector = EngineCollector()
"""That of this process."""
REGISTRY.register(engine_collector)
