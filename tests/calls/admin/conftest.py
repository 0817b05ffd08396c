"""Fixtures of the tests on the admin: operators, and calls to look at."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from calls.models import (
    Agent,
    Call,
)
from tests.calls.admin.pages import ANNA, SOUND, a_call


@pytest.fixture(autouse=True)
def _quick_logins(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def recorded(db) -> Call:
    return a_call(recording=default_storage.save("recordings/a.wav", ContentFile(SOUND)))


@pytest.fixture
def outbound(settings, db):
    """A call to Anna may be placed."""
    settings.DIAL_COUNTRIES = ("US",)
    settings.TWILIO_PHONE_NUMBER = "+15005550006"

    def place(status="queued", **fields) -> Call:
        return Call.objects.create(
            **{"sid": f"CA{uuid4().hex}", "direction": "outbound", "to_number": ANNA, "status": status, **fields},
            from_number="+15005550006",
            agent=Agent.objects.get(name="front-desk"),
        )

    return place


@pytest.fixture
def staff(client: Client, django_user_model):
    """Somebody with these permissions and no others."""

    def log_in(*permissions: str) -> Client:
        user = django_user_model.objects.create_user(f"clerk-{uuid4().hex[:6]}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in
