"""
Webhooks: the endpoints of other systems, and the events of calls that are sent to them.

An event is written in the transaction that caused it. ``webhook_delivery`` sends it.
"""

import base64
import binascii
import logging
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import transaction
from django.utils import timezone
from yarl import URL

from calls.errors import CallsError
from calls.models import Call, WebhookDelivery, WebhookEndpoint, fits
from calls.services import webhook_hosts
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
"""Every event that an endpoint can receive."""

SECRET_PREFIX = "whsec_"
"""Marks a secret of the Standard Webhooks specification."""
OVERLAP = timedelta(days=1)
"""The time for which a replaced secret signs too: a working day to enter the new one at the receiver."""
MOST_OLD_SECRETS = 3
"""Replaced secrets that sign at a time. So a renewal that is repeated, because its answer was lost, cuts nobody off."""


# --- Announcing events --------------------------------------------------------------------------------------


def announce(call: Call, event: str, *, at: datetime, data: Mapping[str, object] | None = None) -> None:
    """Have ``event`` delivered to every endpoint that receives it. Part of the transaction in which it is called."""
    announce_each([call], event, at=at, data=data)


def announce_each(calls: Iterable[Call], event: str, *, at: datetime, data: Mapping[str, object] | None = None) -> None:
    """Do as ``announce`` for any number of calls, in as many queries as for one."""
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


def _payload(call: Call, event: str, at: datetime, data: Mapping[str, object]) -> dict[str, object]:
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


# --- Endpoints ----------------------------------------------------------------------------------------------


def make_endpoint(*, url: str, events: Iterable[str] = ()) -> WebhookEndpoint:
    """
    Create an endpoint with a random secret. Without ``events`` it receives all of them.

    Raises ``CallsError`` with the field that is wrong.
    """
    return WebhookEndpoint.objects.create(url=check_url(url), events=check_events(events), secret=make_secret())


def change_endpoint(endpoint: WebhookEndpoint, **fields: Any) -> None:
    """Change ``url``, ``events`` or ``active``. Raises ``CallsError`` with the field that is wrong."""
    if "url" in fields:
        fields["url"] = check_url(fields["url"])
    if "events" in fields:
        fields["events"] = check_events(fields["events"])
    for name, value in fields.items():
        setattr(endpoint, name, value)
    if fields:
        endpoint.save(update_fields=list(fields))


def renew_secret(endpoint_id: int) -> str:
    """
    Sign with a new secret from the next delivery on, and with the old one beside it for ``OVERLAP``.

    Returns the new secret. At another renewal within that time both old ones sign for ``OVERLAP`` from then on.
    """
    secret, now = make_secret(), timezone.now()
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update().get(pk=endpoint_id)
        endpoint.old_secret = " ".join(secrets_of(endpoint, now=now)[:MOST_OLD_SECRETS])
        endpoint.old_secret_until = now + OVERLAP
        endpoint.secret = secret
        endpoint.save(update_fields=["secret", "old_secret", "old_secret_until"])
    return secret


def secrets_of(endpoint: WebhookEndpoint, *, now: datetime) -> list[str]:
    """The secrets that sign the deliveries to an endpoint, the newest first."""
    until = endpoint.old_secret_until
    return [endpoint.secret, *(endpoint.old_secret.split() if until is not None and now < until else [])]


def delete_old_secrets(*, now: datetime) -> int:
    """Delete the secrets that sign no more. Returns how many there were."""
    expired = WebhookEndpoint.objects.filter(old_secret_until__lte=now)
    return expired.update(old_secret="", old_secret_until=None)


def check_url(url: str) -> str:
    """
    Return ``url`` if events may be sent there. In production they are sent over TLS only.

    Looks up the host, which takes as long as its name server does, and ``webhook_hosts.LOOKUP`` at most.
    """
    parts = _parse_url(url)
    if parts is None and url.strip().lower().startswith("http://") and not settings.DEBUG:
        raise CallsError("Events are sent over TLS only. Write an address that begins with https://.", field="url")
    if parts is None:
        example = "https://example.com/hooks/calls"
        raise CallsError(f"Write the endpoint's whole address, such as {example}.", field="url")
    if parts.user is not None or parts.password is not None:
        text = "Leave the user name and the password out of the address. The signature proves who sends the events."
        raise CallsError(text, field="url")
    if not fits(url, WebhookEndpoint, "url"):
        raise CallsError("The address is too long.", field="url")
    host = parts.raw_host or ""
    if not webhook_hosts.is_reachable(host, parts.port or 0):
        # One sentence for all reasons. Otherwise it would tell which names and addresses the own network has.
        raise CallsError(
            f"The host {parts.host} has no address on the internet, or it could not be looked up now. Events are sent "
            "to another host only if the setting WEBHOOK_ALLOWED_HOSTS names it.",
            field="url",
        )
    return url


def _parse_url(url: str) -> URL | None:
    """The parts of an address as they are used for sending; None if it is not one."""
    try:
        parts = URL(url)
        # Django's validator knows no names without a dot, which hosts of the own network may have.
        named = webhook_hosts.is_allowed_by_name(parts.raw_host or "") and " " not in url and url.isprintable()
        validate = URLValidator(schemes=["http", "https"] if settings.DEBUG else ["https"])
        validate(str(parts.with_host("example.com")) if named else url)
    except (ValidationError, ValueError):
        return None
    return parts if parts.port else None


def check_events(events: Iterable[str]) -> list[str]:
    """Return the events in their usual order, each once. Raises ``CallsError`` for an unknown one."""
    wanted = set(events)
    if unknown := sorted(wanted - set(EVENTS)):
        raise CallsError(f"There is no event {', '.join(unknown)}. Choose from: {', '.join(EVENTS)}.", field="events")
    return [event for event in EVENTS if event in wanted]


def make_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_bytes(secret: str) -> bytes:
    """Decode a secret; empty if it is not base64."""
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""
