"""A language that this installation lacks is reported when an agent is saved and by ``manage.py check``."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from calls import languages
from calls.checks import check_languages
from calls.languages import LanguageReport
from calls.models import Agent
from calls.services.agents import active_agents, language_problems

PROBLEM = "The voice has only en. Choose another voice."
UNKNOWN = "Whether the recogniser has the language is known only when it runs."


@pytest.fixture(autouse=True)
def judges(monkeypatch):
    """Judge as an installation that has English, and does not know about French."""
    reports = {"de": LanguageReport(problems=(PROBLEM,)), "fr": LanguageReport(unknown=(UNKNOWN,))}
    monkeypatch.setattr(languages, "_judges", [lambda language: reports.get(language, LanguageReport())])
    monkeypatch.setattr(languages, "_change_judges", [])


@pytest.mark.parametrize("language", ["en", "en-GB", "pt_BR", "fr"])
def test_an_agent_may_have_a_language_in_which_nothing_is_known_to_be_missing(language):
    Agent(name="sales", language=language).clean()


def test_an_agent_with_a_language_that_the_voice_lacks_is_refused():
    with pytest.raises(ValidationError) as caught:
        Agent(name="empfang", language="de").clean()
    assert caught.value.message_dict == {"language": [PROBLEM]}
    Agent(name="empfang", language="de", active=False).clean()


def test_an_agent_that_may_change_to_a_language_that_the_voice_lacks_is_refused():
    with pytest.raises(ValidationError) as caught:
        Agent(name="sales", other_languages={"de": "", "es": "", "fr": ""}).clean()
    assert caught.value.message_dict == {"other_languages": [f"de: {PROBLEM}"]}
    Agent(name="sales", other_languages={"de": ""}, active=False).clean()


def test_an_agent_may_change_its_language_only_if_the_recogniser_tells_languages_apart(monkeypatch):
    deaf = "The recogniser cannot tell languages apart."
    monkeypatch.setattr(languages, "_change_judges", [lambda: LanguageReport(problems=(deaf,))])
    Agent(name="sales").clean()
    with pytest.raises(ValidationError) as caught:
        Agent(name="sales", other_languages={"es": ""}).clean()
    assert caught.value.message_dict == {"other_languages": [f"es: {deaf}"]}


@pytest.mark.parametrize("language", ["auto", "", "German", "de-", "../en"])
def test_a_text_that_is_no_language_code_is_refused(language):
    with pytest.raises(ValidationError, match=r"Write a language code such as en, de or pt-BR\."):
        Agent(name="empfang", language=language).clean()


@pytest.mark.django_db
@pytest.mark.parametrize("others", [{"auto": ""}, {"": ""}, {"de": "", "../de": ""}])
def test_of_a_text_that_is_no_language_code_only_that_is_said(others):
    with pytest.raises(ValidationError) as caught:
        Agent(name="sales", prompt="Sell.", other_languages=others).full_clean()
    (message,) = caught.value.message_dict["other_languages"]
    assert message.startswith("Write language codes, each with a voice")


@pytest.mark.django_db
def test_the_form_of_an_agent_says_what_is_missing(admin_client):
    page = admin_client.post("/admin/calls/agent/add/", {"name": "empfang", "language": "de", "active": "on"})
    assert PROBLEM in page.content.decode()
    assert not Agent.objects.filter(name="empfang").exists()


@pytest.mark.django_db
def test_the_check_names_the_agents_and_what_is_not_known():
    Agent.objects.create(name="empfang", language="de")
    Agent.objects.create(name="accueil", language="fr")
    Agent.objects.create(name="retired", language="de", active=False)
    assert [(message.id, message.msg) for message in check_languages(databases=["default"])] == [
        ("calls.I042", f"Agent accueil, language fr: {UNKNOWN}"),
        ("calls.W041", f"Agent empfang, language de: {PROBLEM}"),
    ]
    assert check_languages(databases=None) == []
    assert language_problems() == [f"Agent empfang, language de: {PROBLEM}"]
    assert [agent.name for agent in active_agents()] == ["accueil", "empfang", "front-desk"]


@pytest.mark.django_db
def test_the_check_and_the_start_look_at_the_other_languages_too():
    Agent.objects.create(name="desk", other_languages={"de": "", "fr": ""})
    assert [(message.id, message.msg) for message in check_languages(databases=["default"])] == [
        ("calls.W041", f"Agent desk, language de: {PROBLEM}"),
        ("calls.I042", f"Agent desk, language fr: {UNKNOWN}"),
    ]
    assert language_problems() == [f"Agent desk, language de: {PROBLEM}"]
