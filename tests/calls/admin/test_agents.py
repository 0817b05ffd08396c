"""The admin's pages of agents."""

import pytest

from calls import languages
from calls.models import Agent

AGENT = {
    "name": "sales",
    "greeting": "Hi!",
    "language": "en",
    "max_duration": 120,
    "active": "on",
    "transfer_targets": '{"boss": "+12025550109"}',
    "ring_timeout": 25,
    "machine_detection": "off",
    "max_attempts": 2,
    "retry_busy_after": 600,
    "retry_no_answer_after": 7200,
    "retry_failed_after": 1800,
}


def test_an_operator_adds_an_agent(admin_client):
    assert admin_client.post("/admin/calls/agent/add/", AGENT).status_code == 302
    agent = Agent.objects.get(name="sales")
    assert (agent.max_duration, agent.max_attempts) == (120, 2)
    assert agent.transfer_targets == {"boss": "+12025550109"}
    assert "sales" in admin_client.get("/admin/calls/agent/").content.decode()


def test_an_operator_empties_the_transfer_targets_of_an_agent(admin_client):
    admin_client.post("/admin/calls/agent/add/", AGENT)
    agent = Agent.objects.get(name="sales")
    page = admin_client.post(f"/admin/calls/agent/{agent.pk}/change/", {**AGENT, "transfer_targets": ""})
    agent.refresh_from_db()
    assert (page.status_code, agent.transfer_targets) == (302, {})


def test_an_operator_lets_an_agent_change_its_language_or_not(admin_client, monkeypatch):
    monkeypatch.setattr(languages, "_judges", [])
    monkeypatch.setattr(languages, "_change_judges", [])
    admin_client.post("/admin/calls/agent/add/", {**AGENT, "other_languages": '{"de": "anna", "pt-BR": ""}'})
    agent = Agent.objects.get(name="sales")
    assert agent.other_languages == {"de": "anna", "pt-BR": ""}
    admin_client.post(f"/admin/calls/agent/{agent.pk}/change/", {**AGENT, "other_languages": ""})
    agent.refresh_from_db()
    assert agent.other_languages == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"machine_detection": "message"}, "so write the message"),
        ({"opt_out_key": "x"}, "One key"),
        ({"transfer_targets": '["+12025550109"]'}, "Write names in lower case"),
        ({"transfer_targets": "{"}, "Enter a valid JSON"),
        ({"greeting": "Hello {name}!"}, "{name} is no variable. Write variables as {{ name }}"),
        ({"prompt": "You speak to {{Name}}."}, "{{Name}} is no variable."),
        ({"ring_timeout": 1}, "greater than or equal to 5"),
        ({"other_languages": '["de"]'}, "Write language codes, each with a voice"),
        ({"other_languages": '{"german": ""}'}, "Write language codes, each with a voice"),
        ({"other_languages": '{"de": 5}'}, "Write language codes, each with a voice"),
        ({"other_languages": '{"en-GB": ""}'}, "Write each language once, and not the agent&#x27;s own"),
        ({"other_languages": '{"pt": "", "pt-BR": ""}'}, "Write each language once"),
    ],
)
def test_an_invalid_agent_is_refused_with_the_reason(admin_client, wrong, message):
    page = admin_client.post("/admin/calls/agent/add/", {**AGENT, **wrong})
    assert message in page.content.decode()
    assert not Agent.objects.filter(name="sales").exists()
