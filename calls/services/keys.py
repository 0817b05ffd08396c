"""Keys to the REST API: made once, shown once, kept as a digest."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from calls.errors import CallsError
from calls.models import ApiKey
from calls.rates import is_rate
from calls.services.records import clean

_USE_NOTED_EVERY = timedelta(minutes=1)


def make_key(
    *, name: str, scopes: Iterable[str], rate: str = "", expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """
    A new key and its secret, which nobody can read again.

    ``rate`` is as ``600/minute``. Raises ``CallsError`` with the field that is wrong.
    """
    name = clean(name).strip()
    if not 1 <= len(name) <= ApiKey._meta.get_field("name").max_length:
        raise CallsError("Give the key a name of 1 to 100 characters: who uses it.", field="name")
    scopes = check_scopes(scopes)
    if rate and not (is_rate(rate) and len(rate) <= ApiKey._meta.get_field("rate").max_length):
        raise CallsError(f"{rate!r} is not a rate. Write it as 600/minute.", field="rate")
    if expires_at is not None and expires_at <= timezone.now():
        raise CallsError("The key would have expired already.", field="expires_at")
    secret = f"cc_{secrets.token_urlsafe(32)}"
    try:
        with transaction.atomic():
            key = ApiKey.objects.create(
                name=name, prefix=secret[:8], digest=_digest(secret), scopes=scopes, rate=rate, expires_at=expires_at
            )
    except IntegrityError:
        raise CallsError(f"There is a key {name!r} already.", code="name-taken", field="name") from None
    return key, secret


def check_scopes(scopes: Iterable[str]) -> list[str]:
    """The scopes in their usual order. Raises ``CallsError`` for none at all, and for unknown ones."""
    wanted = set(scopes)
    if unknown := sorted(wanted - set(ApiKey.Scope.values)):
        choices = ", ".join(ApiKey.Scope.values)
        raise CallsError(f"There is no scope {', '.join(unknown)}; choose of {choices}.", field="scopes")
    if not wanted:
        raise CallsError("A key without a scope may do nothing. Give it at least one.", field="scopes")
    return [scope for scope in ApiKey.Scope.values if scope in wanted]


def find_key(secret: str) -> ApiKey | None:
    """The key with this secret; ``None`` if there is none, or it is revoked or expired. Notes its use."""
    # The database compares digests: what its timing tells of one says nothing of the secret.
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
    """From the next request on the key is refused. Idempotent. Its calls stay."""
    key = ApiKey.objects.filter(name=name).first()
    if key is None:
        raise CallsError(f"There is no key {name!r}.", code="unknown-key", field="name")
    ApiKey.objects.filter(pk=key.pk).update(active=False)
    key.active = False
    return key


def _digest(secret: str) -> str:
    # A secret with 256 random bits needs no slow hash. What is no text at all must not raise either.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
