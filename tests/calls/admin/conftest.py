"""Fixtures of the tests of the admin: operators and calls."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from calls.models import Agent, Call
from tests.calls.admin.pages import ANNA, SOUND, make_call


@pytest.fixture(autouse=True)
def _fast_password_hashes(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def recorded(db) -> Call:
    """A call with a recording."""
    return make_call(recording=default_storage.save("recordings/a.wav", ContentFile(SOUND)))


@pytest.fixture
def outbound(settings, db):
    """Make outbound calls to Anna; the settings allow to dial her number."""
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
    """Log in as an operator with these permissions and no others."""

    def log_in(*permissions: str) -> Client:
        user = django_user_model.objects.create_user(f"operator-{uuid4().hex[:6]}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in
