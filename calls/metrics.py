"""
Names the metrics of admission, callbacks, dialling, webhooks and Celery's tasks.

Most labels are a dictionary of the values that they may have: to add one, add it there.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from calls.errors import FailureKind
from calls.status import TERMINAL

PAUSE_CAUSES = ("carrier", "account", "settings", "caller-id", "country", "call", "engines")
"""Those of ``DialPause.Cause``: this module imports no model."""
WAITS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
"""Upper bounds in seconds. Twilio waits 15 s for an answer."""

# --- Admission and callbacks -----------------------------------------------------------------------------

_admitted = Counter("clientcaller_calls_admitted_total", "Calls that were connected to an agent.", ["direction"])
CALLS_ADMITTED = {direction: _admitted.labels(direction) for direction in ("inbound", "outbound")}
_refused = Counter("clientcaller_calls_refused_total", "Calls that were not connected to an agent, by why.", ["reason"])
CALLS_REFUSED = {reason: _refused.labels(reason) for reason in ("slots", "engine-full", "unavailable", "no-agent")}
CALLS_RECONNECTED = Counter("clientcaller_calls_reconnected_total", "Calls that got another stream after a lost one.")
DRAINING = Gauge("clientcaller_draining", "Whether this process ends and takes no new calls.")
CALLBACK_SECONDS = Histogram("clientcaller_callback_seconds", "How long a callback took.", ["callback"], buckets=WAITS)
"""By the name of the view; so is the next one."""
CALLBACKS_FAILED = Counter(
    "clientcaller_callbacks_failed_total", "Callbacks that were answered without the database, or failed.", ["callback"]
)
CALLBACKS_FORGED = Counter(
    "clientcaller_callbacks_forged_total", "Requests to a callback without a valid signature of our account."
)

# --- Dialling --------------------------------------------------------------------------------------------

_attempts = Counter("clientcaller_dial_attempts_total", "Dial attempts that ended, by their outcome.", ["outcome"])
DIAL_ATTEMPTS = {status: _attempts.labels(status.value) for status in sorted(TERMINAL)}
_requests = Counter(
    "clientcaller_dial_requests_total", "Requests to the carrier to place a call, by its answer.", ["answer"]
)
DIAL_REQUESTS = {answer: _requests.labels(answer) for answer in ("created", *(kind.value for kind in FailureKind))}

# --- Webhooks and tasks ----------------------------------------------------------------------------------

_webhooks = Counter("clientcaller_webhook_attempts_total", "Attempts to deliver a webhook, by outcome.", ["outcome"])
WEBHOOKS = {outcome: _webhooks.labels(outcome) for outcome in ("delivered", "retried", "failed")}
WEBHOOK_SECONDS = Histogram(
    "clientcaller_webhook_attempt_seconds", "How long a receiver took to answer a webhook.", buckets=WAITS
)
ENQUEUE_SECONDS = Histogram(
    "clientcaller_enqueue_seconds", "How long the broker took for a message to a worker.", buckets=WAITS
)
ENQUEUE_FAILED = Counter("clientcaller_enqueue_failures_total", "Messages to a worker that the broker did not take.")
TASK_SECONDS = Histogram(
    "clientcaller_task_seconds", "How long a worker took for a task.", ["task"], buckets=(*WAITS, 60.0)
)
"""By the name of the task; so are the next two."""
TASK_WAIT = Histogram("clientcaller_task_wait_seconds", "How long a task waited for a worker.", ["task"], buckets=WAITS)
TASKS_POSTPONED = Counter(
    "clientcaller_tasks_postponed_total", "Tasks that ended because the database was away.", ["task"]
)

# --- What all processes share (calls/services/fleet.py) --------------------------------------------------

FLEET = CollectorRegistry()
"""Exposed only where somebody looks: elsewhere these would be wrong zeros."""

_slots = Gauge("clientcaller_slots", "Slots of all processes together (MAX_LIVE_CALLS).", ["state"], registry=FLEET)
SLOTS = {state: _slots.labels(state) for state in ("used", "free")}
_dial_queue = Gauge(
    "clientcaller_dial_queue", "Calls that are to be dialled, by what they wait for.", ["state"], registry=FLEET
)
DIAL_QUEUE = {state: _dial_queue.labels(state) for state in ("due", "held", "later")}
DIAL_LATE = Gauge(
    "clientcaller_dial_late_seconds", "How late the call is that is due longest and not held.", registry=FLEET
)
DIAL_OUT = Gauge("clientcaller_dial_attempts_open", "Dial attempts that have not ended.", registry=FLEET)
_paused = Gauge("clientcaller_dialling_paused", "Pauses of dialling, by cause.", ["cause"], registry=FLEET)
DIALLING_PAUSED = {cause: _paused.labels(cause) for cause in PAUSE_CAUSES}
_webhook_queue = Gauge("clientcaller_webhook_queue", "Webhooks that wait for an attempt.", ["state"], registry=FLEET)
WEBHOOK_QUEUE = {state: _webhook_queue.labels(state) for state in ("new", "repeated")}
WEBHOOK_LATE = Gauge(
    "clientcaller_webhook_late_seconds", "How late the webhook is that is due longest.", registry=FLEET
)
_heartbeats = Gauge(
    "clientcaller_heartbeat_timestamp_seconds",
    "When the beat and a worker were last at work; 0: never.",
    ["role"],
    registry=FLEET,
)
HEARTBEATS = {role: _heartbeats.labels(role) for role in ("beat", "worker")}
OF_THE_FLEET = (
    *SLOTS.values(), *DIAL_QUEUE.values(), DIAL_LATE, DIAL_OUT, *DIALLING_PAUSED.values(), *WEBHOOK_QUEUE.values(),
    WEBHOOK_LATE, *HEARTBEATS.values(),
)  # fmt: skip
