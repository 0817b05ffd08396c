"""Migrations of a database that has rows: each keeps them."""

from uuid import uuid4

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone


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
