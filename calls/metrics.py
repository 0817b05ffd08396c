"""
Names the metrics of admission, callbacks, dialling, webhooks and Celery's tasks.

Most labels are a dictionary of the values that they may have: to add one, add it there.
"""

from prometheus_client import Counter, Gauge, Histogram

from calls.errors import FailureKind
from calls.status import TERMINAL

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
