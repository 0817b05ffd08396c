"""The tables: migrations up to date, a first agent, and what the database itself refuses."""

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError

from calls.models import Agent
from calls.services.bootstrap import make_first_agent


@pytest.mark.django_db
def test_every_change_of_a_model_has_its_migration():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
def test_a_new_installation_has_one_agent_that_greets():
    agent = Agent.objects.get()
    assert agent.greeting == "Hello, this is the front desk of Harper Hall. How can I help you?"
    agent.full_clean()


@pytest.mark.django_db
def test_an_agent_that_the_operator_renamed_or_replaced_does_not_come_back():
    Agent.objects.update(name="reception")
    make_first_agent()
    assert Agent.objects.get().name == "reception"


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
def test_an_agent_that_could_not_work_is_refused(fields):
    with pytest.raises(ValidationError):
        Agent(**{"name": "sales", **fields}).full_clean()
