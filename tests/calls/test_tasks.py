"""The Celery tasks, and how they are woken."""

import pytest
from celery import current_app
from django.conf import settings as project_settings
from django.db import OperationalError

from calls import tasks, waking
from calls.call_context import current_call
from calls.models import Agent, Call, DialAttempt
from calls.services import attempts, claiming, dialling
from calls.services.placing import NewCall, place_call

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, tuple]]:
    """The name and the arguments of each task that was enqueued."""
    messages: list[tuple[str, tuple]] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **_: messages.append((name, tuple(args))))
    return messages


def test_every_task_that_beat_wakes_exists():
    wanted = {entry["task"] for entry in project_settings.CELERY_BEAT_SCHEDULE.values()}
    assert wanted == {f"calls.tasks.{name}" for name in ("dial_due", "deliver_webhooks", "reconcile", "tidy")}
    assert all(hasattr(tasks, name.rsplit(".")[-1]) for name in wanted)
    assert tasks.dial.name == "calls.tasks.dial"


def test_a_new_call_wakes_the_dialler_once_it_is_committed(sent, settings, django_capture_on_commit_callbacks):
    settings.DIAL_COUNTRIES = ("US",)
    with django_capture_on_commit_callbacks(execute=True):
        place_call(NewCall(to="+12025550101", agent=Agent.objects.get().name))
        assert sent == []
    assert sent == [("calls.tasks.dial_due", ())]


def test_each_claimed_call_is_dialled_by_a_task_of_its_own(sent, settings, django_capture_on_commit_callbacks):
    settings.DIAL_COUNTRIES, settings.CALLING_HOURS, settings.CALLS_PER_SECOND = ("US",), {"*": "00:00-24:00"}, 10.0
    for number in ("+12025550101", "+12025550102"):
        place_call(NewCall(to=number, agent=Agent.objects.get().name))
    with django_capture_on_commit_callbacks(execute=True):
        tasks.dial_due()
    attempts = {str(pk) for pk in Call.objects.values_list("attempts", flat=True)}
    assert {arguments[0] for name, arguments in sent if name == "calls.tasks.dial"} == attempts
    assert len(attempts) == 2


def test_a_broker_that_is_unavailable_causes_only_a_log_line(
    monkeypatch, caplog, settings, django_capture_on_commit_callbacks
):
    def away(*_args, **_options):
        raise ConnectionError("connection refused")

    monkeypatch.setattr(current_app, "send_task", away)
    with django_capture_on_commit_callbacks(execute=True):
        waking.wake("dial_due")
    assert "the next beat retries" in caplog.text


def test_what_a_task_logs_is_about_the_call_that_it_dials_and_the_next_task_is_about_none(monkeypatch):
    call = Call.objects.create(agent=Agent.objects.get(), direction="outbound", to_number="+12025550101")
    attempt = DialAttempt.objects.create(call=call, number=1, to_number="+12025550101", from_number="+15005550006")
    about = []

    def dial(attempt_id: str) -> None:
        attempts.find_attempt(attempt_id=attempt_id)
        about.append(current_call())

    monkeypatch.setattr(dialling, "dial", dial)
    tasks.dial(str(attempt.pk))
    tasks.dial("unknown")
    assert about == [str(call.pk), ""]
    assert current_call() == ""


def test_a_task_only_logs_while_the_database_is_unavailable(monkeypatch, caplog):
    def away(**_):
        raise OperationalError("connection refused")

    monkeypatch.setattr(claiming, "claim_due", away)
    tasks.dial_due()
    assert "Postponed dial_due" in caplog.text
