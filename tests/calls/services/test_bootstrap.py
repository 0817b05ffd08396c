"""The first agent and the logins of a new installation."""

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.test import RequestFactory

from calls import services
from calls.models import Agent
from calls.services.bootstrap import make_first_agent


@pytest.mark.django_db
def test_a_new_installation_has_one_agent_with_a_greeting():
    agent = Agent.objects.get()
    assert agent.greeting == "Hello, this is the front desk of Harper Hall. How can I help you?"
    agent.full_clean()


@pytest.mark.django_db
def test_the_first_agent_is_not_created_again_after_it_was_renamed():
    Agent.objects.update(name="reception")
    make_first_agent()
    assert Agent.objects.get().name == "reception"


@pytest.mark.django_db
def test_the_demo_login_gets_a_new_password_each_time():
    first, second = services.ensure_demo_login(), services.ensure_demo_login()
    assert first[0] == second[0] == "demo"
    assert authenticate(RequestFactory().post("/admin/login/"), username=first[0], password=first[1]) is None
    user = authenticate(RequestFactory().post("/admin/login/"), username=second[0], password=second[1])
    assert user.is_superuser
    assert user.is_staff


@pytest.mark.django_db
def test_the_operator_command_prints_a_working_login(capsys):
    call_command("operator", "alice")
    printed = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert authenticate(
        RequestFactory().post("/admin/login/"), username=printed["user"].strip(), password=printed["password"]
    ).is_superuser
