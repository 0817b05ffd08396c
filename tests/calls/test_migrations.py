"""Migrations of a database that has rows: each keeps them."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from calls.models import Call


@pytest.fixture
def migrate(transactional_db):
    """Takes the database to a migration of ``calls`` and returns the models of that time."""

    def migrate_to(name: str):
        executor = MigrationExecutor(connection)
        executor.migrate([("calls", name)])
        return executor.loader.project_state([("calls", name)]).apps

    yield migrate_to
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_the_speakers_of_turns_survive_the_renaming_of_their_field(migrate):
    before = migrate("0002_outbound")
    agent = before.get_model("calls", "Agent").objects.get_or_create(name="front-desk")[0]
    call = before.get_model("calls", "Call").objects.create(id=uuid4(), agent=agent, direction="inbound")
    said = {"call": call, "started_at": timezone.now()}
    for number, who in enumerate(("caller", "agent", "caller"), 1):
        before.get_model("calls", "Turn").objects.create(
            **said, number=number, who=who, heard=f"Sentence {number}.", fact_id=str(number)
        )
    after = migrate("0003_turn_speaker")
    turns = after.get_model("calls", "Turn").objects.order_by("number")
    assert list(turns.values_list("speaker", "heard")) == [
        ("caller", "Sentence 1."),
        ("agent", "Sentence 2."),
        ("caller", "Sentence 3."),
    ]


def test_a_process_of_an_earlier_version_records_calls_while_a_later_one_is_installed(transactional_db):
    earlier = MigrationExecutor(connection).loader.project_state([("calls", "0005_machine_detection_labels")]).apps
    agent = earlier.get_model("calls", "Agent").objects.get(name="front-desk")
    pk = earlier.get_model("calls", "Call").objects.create(id=uuid4(), agent=agent, direction="inbound").pk
    call = Call.objects.get(pk=pk)
    assert (call.language, call.usage) == ("", {})


def test_numbers_of_an_earlier_version_are_brought_into_one_form(migrate):
    before = migrate("0010_webhook_old_secret")
    agent = before.get_model("calls", "Agent").objects.get_or_create(name="front-desk")[0]
    calls = before.get_model("calls", "Call").objects
    asked = {"idempotency_key": "a", "request_digest": "b"}
    calls.create(id=uuid4(), agent=agent, direction="outbound", to_number="+442079460018", **asked)
    calls.create(id=uuid4(), agent=agent, direction="inbound", from_number="+4402079460018")
    listed = before.get_model("calls", "DoNotCall").objects
    first, second = (listed.create(number=number) for number in ("+4402079460018", "+442079460018"))
    listed.filter(pk=second.pk).update(reason="by letter")
    after = migrate("0011_numbers_in_one_form")
    calls = after.get_model("calls", "Call").objects.order_by("direction")
    assert list(calls.values_list("from_number", "to_number", "request_digest")) == [
        ("+442079460018", "", ""),
        ("", "+442079460018", "b"),
    ]
    entry = after.get_model("calls", "DoNotCall").objects.get()
    assert (entry.number, entry.reason, entry.created_at) == ("+442079460018", "by letter", first.created_at)
    migrate("0010_webhook_old_secret")
    migrate("0011_numbers_in_one_form")
    assert after.get_model("calls", "DoNotCall").objects.count() == 1


@pytest.mark.parametrize(
    ("reason", "cause"), [("too many requests", "carrier"), ("engines: no room on the GPU", "engines"), ("", None)]
)
def test_a_pause_that_an_earlier_version_has_begun_goes_on(migrate, reason, cause):
    before = migrate("0015_redact_numbers")
    now = timezone.now()
    until = now + timedelta(minutes=5 if cause else -5)
    before.get_model("calls", "DialPace").objects.create(pk=1, next_at=now)
    with connection.cursor() as cursor:
        old = "paused_until = %s, reason = %s, failures = 3"
        cursor.execute(f"UPDATE calls_dialpace SET {old}", [until, reason])
    after = migrate("0016_dial_pace_without_pauses")
    with connection.cursor() as cursor:
        columns = {column.name for column in connection.introspection.get_table_description(cursor, "calls_dialpace")}
    assert columns == {"id", "next_at", "limit", "limit_at"}
    found = after.get_model("calls", "DialPause").objects.values_list("scope", "cause", "until", "failures", "reason")
    kept = ("everything", cause, until, 3, reason.removeprefix("engines: "))
    assert list(found) == ([kept] if cause else [])
