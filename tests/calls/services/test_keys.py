"""Keys to the REST API."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import serializers

from calls.models import ApiKey
from calls.services import CallsError
from calls.services.keys import find_key, make_key, revoke_key

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock():
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def test_a_key_is_found_by_its_secret():
    key, secret = make_key(name="crm", scopes=["dial", "read", "read"], rate="600/minute")
    assert find_key(secret) == key
    assert (key.scopes, key.rate, key.active) == (["read", "dial"], "600/minute", True)


def test_the_secret_is_long_and_not_stored():
    key, secret = make_key(name="crm", scopes=["read"])
    assert secret.startswith("cc_")
    assert len(secret) == len("cc_") + 43
    assert key.prefix == secret[:8]
    assert secret not in serializers.serialize("json", ApiKey.objects.all())
    assert secret[8:] not in serializers.serialize("json", ApiKey.objects.all())


@pytest.mark.parametrize("garbage", ["", "cc_", "cc_" + "A" * 43, "x" * 100_000, "\0", "\ud800", "ключ", "' OR 1=1 --"])
def test_garbage_finds_no_key(garbage):
    make_key(name="crm", scopes=["read"])
    assert find_key(garbage) is None


def test_the_digest_of_a_secret_is_not_accepted_as_a_secret():
    key, _ = make_key(name="crm", scopes=["read"])
    assert find_key(key.digest) is None


def test_a_revoked_key_stays_refused():
    key, secret = make_key(name="crm", scopes=["read"])
    assert revoke_key(name="crm") == revoke_key(name="crm") == key
    assert find_key(secret) is None


def test_a_key_is_refused_after_its_expiry(clock):
    _, secret = make_key(name="crm", scopes=["read"], expires_at=NOON + timedelta(days=90))
    clock.shift(timedelta(days=90, seconds=-1))
    assert find_key(secret) is not None
    clock.shift(timedelta(seconds=1))
    assert find_key(secret) is None


def test_the_use_of_a_key_is_noted_once_a_minute(clock, django_assert_num_queries):
    _, secret = make_key(name="crm", scopes=["read"])
    with django_assert_num_queries(2):
        assert find_key(secret).last_used_at == NOON
    clock.shift(59)
    with django_assert_num_queries(1):
        assert find_key(secret).last_used_at == NOON
    clock.shift(2)
    with django_assert_num_queries(2):
        assert find_key(secret).last_used_at == NOON + timedelta(seconds=61)
    assert ApiKey.objects.get().last_used_at == NOON + timedelta(seconds=61)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "taken"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["read", "admin"]}, "scopes"),
        ({"rate": "fast"}, "rate"),
        ({"rate": "0/minute"}, "rate"),
        ({"rate": "5/fortnight"}, "rate"),
        ({"expires_at": NOON - timedelta(seconds=1)}, "expires_at"),
    ],
)
def test_an_invalid_key_is_refused_with_its_field(clock, wrong, field):
    make_key(name="taken", scopes=["read"])
    with pytest.raises(CallsError) as raised:
        make_key(**{"name": "crm", "scopes": ["read"], **wrong})
    assert raised.value.field == field
    assert ApiKey.objects.count() == 1


def test_an_unknown_key_cannot_be_revoked():
    with pytest.raises(CallsError, match="no key 'crm'"):
        revoke_key(name="crm")
