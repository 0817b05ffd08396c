"""Keys to the REST API. A key is shown once, when it is made; only its digest is stored."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from calls.errors import CallsError
from calls.models import ApiKey, fits
from calls.plain_text import storable
from calls.rates import is_rate

_USE_NOTED_EVERY = timedelta(minutes=1)
"""The precision of ``last_used_at``: a higher one would cost a write for every request."""


def make_key(
    *, name: str, scopes: Iterable[str], rate: str = "", expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """
    Create a key. Returns it and its secret, which cannot be read again.

    ``rate`` is written as ``600/minute``. Raises ``CallsError`` with the field that is wrong.
    """
    name = storable(name).strip()
    if not name or not fits(name, ApiKey, "name"):
        raise CallsError("Give the key a name of 1 to 100 characters that says who uses it.", field="name")
    scopes = check_scopes(scopes)
    if rate and not (is_rate(rate) and fits(rate, ApiKey, "rate")):
        raise CallsError(f"{rate!r} is not a rate. Write it as 600/minute.", field="rate")
    if expires_at is not None and expires_at <= timezone.now():
        raise CallsError("This time has passed, so the key would have expired already.", field="expires_at")
    secret = f"cc_{secrets.token_urlsafe(32)}"
    try:
        with transaction.atomic():
            key = ApiKey.objects.create(
                name=name, prefix=secret[:8], digest=_digest(secret), scopes=scopes, rate=rate, expires_at=expires_at
            )
    except IntegrityError:
        raise CallsError(f"There is already a key {name!r}.", code="name-taken", field="name") from None
    return key, secret


def check_scopes(scopes: Iterable[str]) -> list[str]:
    """Return the scopes in their usual order. Raises ``CallsError`` for an unknown scope, and for none at all."""
    wanted = set(scopes)
    if unknown := sorted(wanted - set(ApiKey.Scope.values)):
        choices = ", ".join(ApiKey.Scope.values)
        raise CallsError(f"There is no scope {', '.join(unknown)}. Choose from: {choices}.", field="scopes")
    if not wanted:
        raise CallsError("A key without a scope could do nothing. Give it at least one.", field="scopes")
    return [scope for scope in ApiKey.Scope.values if scope in wanted]


def find_key(secret: str) -> ApiKey | None:
    """Return the key with this secret and note its use. None if it does not exist, is revoked or has expired."""
    # The database compares digests, and the timing of that comparison reveals nothing about the secret.
    key = ApiKey.objects.filter(digest=_digest(secret), active=True).first()
    now = timezone.now()
    if key is None or (key.expires_at is not None and key.expires_at <= now):
        return None
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - _USE_NOTED_EVERY)
    if (key.last_used_at is None or now - key.last_used_at > _USE_NOTED_EVERY) and ApiKey.objects.filter(
        stale, pk=key.pk
    ).update(last_used_at=now):
        key.last_used_at = now
    return key


def revoke_key(*, name: str) -> ApiKey:
    """Refuse the key from the next request on. Idempotent. Its calls remain."""
    key = ApiKey.objects.filter(name=name).first()
    if key is None:
        raise CallsError(f"There is no key {name!r}.", code="unknown-key", field="name")
    ApiKey.objects.filter(pk=key.pk).update(active=False)
    key.active = False
    return key


def _digest(secret: str) -> str:
    # A secret with 256 random bits needs no slow hash. Lone surrogates, which UTF-8 lacks, must not raise an error.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
