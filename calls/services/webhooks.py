"""
Outgoing webhooks: events of calls, written down with what caused them, then delivered until they are taken.

Each delivery is a POST signed by the Standard Webhooks specification. It comes at least once: a process that dies
between the answer and its note of it makes it come again, under the same ``webhook-id``. Order is not promised.
"""

import base64
import binascii
import logging
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator

from calls.errors import CallsError
from calls.models import Call, WebhookDelivery, WebhookEndpoint
from calls.waking import wake

logger = logging.getLogger(__name__)

EVENTS = (
    "call.queued",
    "call.initiated",
    "call.ringing",
    "call.answered",
    "call.completed",
    "call.busy",
    "call.no-answer",
    "call.failed",
    "call.canceled",
    "call.retry-scheduled",
    "call.transferred",
    "call.opted-out",
    "call.recording-ready",
)

SECRET_PREFIX = "whsec_"


# --- What there is to tell ---------------------------------------------------------------------------------


def announce(call: Call, event: str, *, at: datetime, data: Mapping[str, Any] | None = None) -> None:
    """Have ``event`` delivered to whoever wants to hear of it. Part of the caller's transaction."""
    announce_each([call], event, at=at, data=data)


def announce_each(calls: Iterable[Call], event: str, *, at: datetime, data: Mapping[str, Any] | None = None) -> None:
    """As ``announce``, for any number of calls in as many queries as for one."""
    endpoints = [
        endpoint
        for endpoint in WebhookEndpoint.objects.filter(active=True)
        if not endpoint.events or event in endpoint.events
    ]
    deliveries = [
        WebhookDelivery(endpoint=endpoint, call=call, event=event, payload=_payload(call, event, at, data or {}))
        for call in (calls if endpoints else ())
        for endpoint in endpoints
    ]
    if deliveries:
        WebhookDelivery.objects.bulk_create(deliveries, batch_size=500)
        wake("deliver_webhooks")


def _payload(call: Call, event: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": event,
        "timestamp": at.isoformat(),
        "data": {
            "call": str(call.pk),
            "sid": call.sid,
            "direction": call.direction,
            "status": str(call.status),
            "end_reason": call.end_reason,
            "from": call.from_number,
            "to": call.to_number,
            "attempts_made": call.attempts_made,
            "metadata": call.metadata,
            **data,
        },
    }


# --- Whom to tell ------------------------------------------------------------------------------------------


def make_endpoint(*, url: str, events: Iterable[str] = (), secret: str = "") -> WebhookEndpoint:
    """
    A new endpoint; without ``events`` it hears of all. A ``secret`` is made if none is given.

    Raises ``CallsError`` with the field that is wrong.
    """
    secret = check_secret(secret) if secret else make_secret()
    return WebhookEndpoint.objects.create(url=check_url(url), events=check_events(events), secret=secret)


def change_endpoint(endpoint: WebhookEndpoint, **fields: Any) -> None:
    """Another ``url``, other ``events``, or on and off (``active``). Raises ``CallsError`` as above."""
    if "url" in fields:
        fields["url"] = check_url(fields["url"])
    if "events" in fields:
        fields["events"] = check_events(fields["events"])
    for name, value in fields.items():
        setattr(endpoint, name, value)
    if fields:
        endpoint.save(update_fields=list(fields))


def renew_secret(endpoint_id: int) -> str:
    """Sign with a new secret from the next delivery on; returns it."""
    secret = make_secret()
    WebhookEndpoint.objects.filter(pk=endpoint_id).update(secret=secret)
    return secret


def check_url(url: str) -> str:
    """The address, if events may go there: in production they travel over TLS only."""
    try:
        URLValidator(schemes=["http", "https"] if settings.DEBUG else ["https"])(url)
    except ValidationError:
        example = "https://example.com/hooks/calls"
        raise CallsError(f"Give the endpoint's whole address, such as {example}.", field="url") from None
    if len(url) > WebhookEndpoint._meta.get_field("url").max_length:
        raise CallsError("The address is too long.", field="url")
    return url


def check_events(events: Iterable[str]) -> list[str]:
    wanted = set(events)
    if unknown := sorted(wanted - set(EVENTS)):
        raise CallsError(f"There is no event {', '.join(unknown)}; choose of {', '.join(EVENTS)}.", field="events")
    return [event for event in EVENTS if event in wanted]


def make_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_secret(secret: str) -> str:
    """``whsec_`` and 24 to 64 bytes in base64."""
    if 24 <= len(secret_bytes(secret)) <= 64:
        return secret
    raise CallsError(
        "The secret is whsec_ and 24 to 64 random bytes in base64; leave it empty to have one made.", field="secret"
    )


def secret_bytes(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""
