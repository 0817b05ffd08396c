"""
What so many calls at once need: a model whose inputs were measured (docs/growing.md). Pure arithmetic.

``Inputs`` has the measurements, ``parts`` what limits each part of an installation, ``flows`` what moves and is stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MS = 0.001
PLANNED_SHARE = 0.6
"""Of a core or a line: with 60 % of a core for the web process, answers were as fast as with few calls; with 87 % one
in twenty took 0.1 s longer, with all of it they took seconds."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Measurements of one machine, and what an installation has. ``manage.py capacity --set`` replaces them."""

    # What an installation has, or how it is used.
    machine: float = 1.0
    """How much slower a core is than the one that was measured: 1.5 takes 1.5 times the processor time."""
    call_seconds: float = 180.0
    """How long a call lasts in the mean: this decides how many begin in a second."""
    outbound: float = 0.0
    """The share of the calls that the dialler places."""
    webhooks: float = 4.0
    """Webhooks that a call causes."""
    recorded: float = 1.0
    """The share of the calls that are recorded."""
    postgres_cores: float = 4.0
    postgres_connections: float = 100.0
    """``max_connections`` of PostgreSQL; 100 is its default."""
    pooled: bool = False
    """Whether PgBouncer is between, so that connections of PostgreSQL are not one to each thread."""
    stream_shards: float = 1.0
    """Redis servers in ``STREAM_REDIS_URL``."""
    network_mbit: float = 1000.0
    """The line of one machine."""
    disk_gb: float = 100.0
    gpu_calls: float = 32.0
    """Calls that a card serves. An estimate for 80 GB: no card was measured."""
    calls_per_second: float = 1.0
    """The rate at which Twilio places calls of an account (its CPS)."""

    # What was measured.
    web_fixed_ms: float = 62.0
    """Processor time of a web process for each second, whatever its calls."""
    web_call_ms: float = 6.0
    """Processor time of a web process for a call and second, beyond the fixed part."""
    client_call_ms: float = 2.2
    """The same, for engines in workers instead of scripted ones in the process."""
    worker_call_ms: float = 2.6
    """Processor time of a worker for the messages of a call and second, without what its engine computes."""
    redis_call_ms: float = 0.63
    """Processor time of Redis for a call and second."""
    redis_messages: float = 39.0
    """Messages of a call and second through the channel layer."""
    redis_bytes: float = 126_600.0
    """Bytes of a call and second, into Redis and out of it."""
    web_mb: float = 203.0
    """Memory of a web process without calls."""
    web_call_mb: float = 0.44
    web_connections: float = 20.0
    """Database connections of a web process, at most."""
    worker_connections: float = 10.0
    """Database connections of a Celery worker: one for each thread (``WORKER_CONCURRENCY``), and two."""
    postgres_transaction_ms: float = 0.5
    """Processor time of PostgreSQL for a transaction. An estimate."""
    transactions_call: float = 48.0
    transactions_second: float = 1.44
    slot_fixed_ms: float = 2.7
    """How long claiming a call with its slot takes beside few calls."""
    slot_call_ms: float = 0.0029
    """How much longer it takes for each call that holds one: twice as long beside 1,000 calls."""
    webhooks_second: float = 308.0
    """Webhooks that a Celery worker delivers in a second to receivers that answer at once."""
    dialled_second: float = 11.0
    """Calls that a Celery worker dials in a second: 10,000 by two workers in 460 s, with faults."""
    media_bytes: float = 370.0
    """A message with 20 ms of sound, as Twilio sends it."""
    packet_bytes: float = 85.0
    """What WebSocket, TLS, TCP and IP add to each."""
    recording_bytes: float = 32_000.0
    """A second of a recording: 8 kHz, 16 bits, two channels."""


@dataclass(frozen=True)
class Limit:
    """What saturates one unit of a part, and what shows and follows from it."""

    what: str
    calls: float
    """Calls at once that one unit carries until then."""
    shown_by: str
    """A metric of docs/watching.md, or what else tells."""
    alert: str
    """An alert of docs/alerts.md; empty: there is none."""
    then: str
    """What the operator does."""
    basis: str = "measured"
    """``measured``, ``setting``, ``provider`` (documented elsewhere) or ``estimate``."""


@dataclass(frozen=True)
class Part:
    name: str
    limits: tuple[Limit, ...]
    grows: bool = True
    """Whether more units carry more calls. Of the other parts there is one."""
    spare: int = 0
    """Units beyond those that the calls need, so that one may fail."""

    @property
    def first(self) -> Limit:
        """What saturates first."""
        return min(self.limits, key=lambda limit: limit.calls)

    def units(self, calls: int) -> int:
        """Units that so many calls need. More than one where ``grows`` is false: one does not suffice."""
        return max(1, math.ceil(calls / self.first.calls)) + self.spare


@dataclass(frozen=True)
class Flow:
    """What moves or is stored with so many calls at once."""

    name: str
    amount: float
    unit: str


def calls_per_web_process(inputs: Inputs, *, remote: bool) -> float:
    """Calls at once that a core carries with ``PLANNED_SHARE`` of it."""
    per_call = inputs.web_call_ms + (inputs.client_call_ms if remote else 0.0)
    return max(0.0, PLANNED_SHARE / inputs.machine - inputs.web_fixed_ms * MS) / (per_call * MS)


def web_cpu_ms(inputs: Inputs, calls: float, *, remote: bool) -> float:
    """Processor time of one web process for each call and second, with so many calls, as ``make bench`` shows it."""
    per_call = inputs.web_call_ms + (inputs.client_call_ms if remote else 0.0)
    return inputs.machine * (inputs.web_fixed_ms / calls + per_call)


def slot_ms(inputs: Inputs, calls: float) -> float:
    """How long a call occupies the slots while it takes one, beside so many calls."""
    return inputs.machine * (inputs.slot_fixed_ms + inputs.slot_call_ms * calls)


def calls_until_slots_are_busy(inputs: Inputs) -> float:
    """Calls at once at which taking slots, one after another, takes ``PLANNED_SHARE`` of the time."""
    # calls / call_seconds * (fixed + each * calls) = share, solved for calls.
    fixed, each = slot_ms(inputs, 0) * MS, (slot_ms(inputs, 1) - slot_ms(inputs, 0)) * MS
    share = PLANNED_SHARE * inputs.call_seconds
    if not each:
        return share / fixed if fixed else math.inf
    return (math.sqrt(fixed**2 + 4 * each * share) - fixed) / (2 * each)


def _per_call(total: float, each: float) -> float:
    return total / each if each > 0 else math.inf


def parts(inputs: Inputs, *, remote: bool) -> list[Part]:
    """The parts of an installation. ``remote``: its engines run in workers."""
    per_web = calls_per_web_process(inputs, remote=remote)
    core_ms = PLANNED_SHARE / MS / inputs.machine
    found = [_web(inputs, per_web), _postgres(inputs, per_web, core_ms), _slots(inputs), _celery(inputs)]
    if remote:
        found += [_stream_redis(inputs, core_ms), _transport(inputs, core_ms), _gpu(inputs)]
    if inputs.outbound:
        found.append(_carrier(inputs))
    return [*found, _line(inputs)]


def _web(inputs: Inputs, per_web: float) -> Part:
    core = Limit(
        "its core",
        per_web,
        "clientcaller_event_loop_lag_seconds, process_cpu_seconds_total",
        "EventLoopLate",
        "start another web process behind Caddy, each with a core",
    )
    return Part("web processes, a core each", (core,), spare=1)


def _postgres(inputs: Inputs, per_web: float, core_ms: float) -> Part:
    each = inputs.postgres_transaction_ms * (
        inputs.transactions_second + inputs.transactions_call / inputs.call_seconds
    )
    limits = [
        Limit(
            "its cores",
            _per_call(core_ms * inputs.postgres_cores, each),
            "clientcaller_database_query_seconds",
            "DatabaseSlow",
            "give it more cores and a faster disk; then a second installation for some of the numbers",
            "estimate",
        )
    ]
    if not inputs.pooled:
        webs = math.floor((inputs.postgres_connections - 5 - 2 * inputs.worker_connections) / inputs.web_connections)
        limits.append(
            Limit(
                "its connections",
                max(1, webs - 1) * per_web,
                "`pg_stat_activity`; the `database` check of the doctor",
                "DatabaseFails",
                "raise max_connections to 400; beyond that, PgBouncer and DATABASE_POOLED=1",
                "setting",
            )
        )
    return Part("PostgreSQL", tuple(limits), grows=False)


def _slots(inputs: Inputs) -> Part:
    lock = Limit(
        "reading the slots of all calls for each new one",
        calls_until_slots_are_busy(inputs),
        'clientcaller_callback_seconds{callback="voice"}',
        "CallbacksFail",
        "a second installation, with a database of its own, for some of the numbers",
    )
    return Part("slots of all processes (MAX_LIVE_CALLS)", (lock,), grows=False)


def _celery(inputs: Inputs) -> Part:
    limits = [
        Limit(
            "delivering webhooks",
            _per_call(inputs.webhooks_second / inputs.machine * PLANNED_SHARE * inputs.call_seconds, inputs.webhooks),
            "clientcaller_webhook_late_seconds",
            "WebhooksLate",
            "start another Celery worker",
        ),
        Limit(
            "dialling",
            _per_call(inputs.dialled_second / inputs.machine * PLANNED_SHARE * inputs.call_seconds, inputs.outbound),
            "clientcaller_dial_late_seconds",
            "DiallingLate",
            "start another Celery worker",
        ),
    ]
    return Part("Celery workers", tuple(limits), spare=1)


def _stream_redis(inputs: Inputs, core_ms: float) -> Part:
    limits = (
        Limit(
            "its core",
            core_ms * inputs.stream_shards / inputs.redis_call_ms,
            "clientcaller_redis_send_seconds",
            "RedisFails",
            "a Redis of its own for streams: STREAM_REDIS_URL; then several, comma separated",
        ),
        Limit(
            "its line",
            inputs.network_mbit * 1e6 / 8 * PLANNED_SHARE * inputs.stream_shards / (inputs.redis_bytes / 2),
            "clientcaller_redis_send_seconds",
            "RedisFails",
            "a Redis of its own for streams: STREAM_REDIS_URL; then several, comma separated",
        ),
    )
    return Part("Redis of the streams", limits, grows=False)


def _transport(inputs: Inputs, core_ms: float) -> Part:
    core = Limit(
        "the core that carries its messages",
        core_ms / inputs.worker_call_ms,
        "clientcaller_event_loop_lag_seconds of the worker",
        "EventLoopLate",
        "start another worker process",
    )
    return Part("processes of engine workers", (core,), spare=1)


def _gpu(inputs: Inputs) -> Part:
    card = Limit(
        "the voice",
        inputs.gpu_calls,
        'clientcaller_known_worker_slots{state="free"}, clientcaller_placement_wait_seconds',
        "WorkersFull",
        "start another GPU worker",
        "estimate",
    )
    return Part("GPU cards", (card,), spare=1)


def _carrier(inputs: Inputs) -> Part:
    rate = Limit(
        "the calls that Twilio places in a second",
        inputs.calls_per_second * inputs.call_seconds / inputs.outbound,
        "clientcaller_dial_late_seconds",
        "DiallingLate",
        "ask Twilio for a higher rate (5 in the console, more by agreement), then set CALLS_PER_SECOND",
        "provider",
    )
    return Part("Twilio's rate of dialling", (rate,), grows=False)


def _line(inputs: Inputs) -> Part:
    line = Limit(
        "the line of its machine",
        inputs.network_mbit * 1e6 / 8 * PLANNED_SHARE / media_bytes_per_second(inputs),
        "the network of the machine (node_exporter)",
        "",
        "put web processes on several machines behind one Caddy each, or a load balancer",
        "provider",
    )
    return Part("machines for the web, by bandwidth", (line,))


def media_bytes_per_second(inputs: Inputs) -> float:
    """Of one call, in one direction."""
    return 50 * (inputs.media_bytes + inputs.packet_bytes)


def flows(inputs: Inputs, calls: int, *, remote: bool) -> list[Flow]:
    """What moves and is stored with so many calls at once."""
    begun = calls / inputs.call_seconds
    webs = parts(inputs, remote=remote)[0].units(calls)
    stored = calls * inputs.recorded * inputs.recording_bytes
    found = [
        Flow("calls that begin", begun, "a second"),
        Flow("Twilio's streams, each direction", calls * media_bytes_per_second(inputs) * 8 / 1e6, "Mbit/s"),
        Flow("memory of the web processes", (webs * inputs.web_mb + calls * inputs.web_call_mb) / 1000, "GB"),
        Flow("database connections of web processes", webs * inputs.web_connections, ""),
        Flow(
            "transactions of PostgreSQL",
            begun * inputs.transactions_call + calls * inputs.transactions_second,
            "a second",
        ),
        Flow("webhooks", begun * inputs.webhooks, "a second"),
        Flow("recordings", stored * 3600 / 1e9, "GB an hour"),
        Flow(
            f"a disk of {inputs.disk_gb:g} GB is full",
            inputs.disk_gb * 1e9 / stored / 3600 if stored else math.inf,
            "hours later",
        ),
        Flow("taking a slot", slot_ms(inputs, calls), "ms"),
    ]
    if remote:
        found += [
            Flow("messages through Redis", calls * inputs.redis_messages, "a second"),
            Flow("bytes through Redis, in and out", calls * inputs.redis_bytes * 8 / 1e6, "Mbit/s"),
        ]
    return found
