"""The tables: their migrations, and what they refuse."""

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError

from calls.models import Agent


@pytest.mark.django_db
def test_every_change_of_a_model_has_a_migration():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
def test_a_number_has_one_active_agent():
    Agent.objects.create(name="sales", phone_number="+15551234567")
    Agent.objects.create(name="old-sales", phone_number="+15551234567", active=False)
    with pytest.raises(ValidationError, match="Another active agent"):
        Agent(name="more-sales", phone_number="+15551234567").full_clean()
    with pytest.raises(IntegrityError):
        Agent.objects.create(name="more-sales", phone_number="+15551234567")


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [{"name": "two words"}, {"phone_number": "555-1234"}, {"max_duration": 0}])
def test_an_invalid_agent_is_refused(fields):
    with pytest.raises(ValidationError):
        Agent(**{"name": "sales", **fields}).full_clean()
