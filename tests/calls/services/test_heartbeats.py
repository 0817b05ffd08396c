"""The records that the beat and the workers are at work."""

from datetime import timedelta

import pytest

from calls import tasks
from calls.models import Heartbeat
from calls.services import heartbeats, upkeep
from clientcaller import beat
from tests.calls.services.dialler import NOON

pytestmark = pytest.mark.django_db
BEAT, WORKER = heartbeats.Kind.BEAT, heartbeats.Kind.WORKER


def test_a_process_has_one_row_that_says_since_when_and_when_it_was_at_work(clock):
    heartbeats.note_heartbeat(BEAT)
    clock.shift(10)
    heartbeats.note_heartbeat(BEAT)
    (row,) = Heartbeat.objects.all()
    assert (row.kind, row.process) == (BEAT, heartbeats.process_name())
    assert (row.started_at, row.at) == (NOON, NOON + timedelta(seconds=10))


def test_the_last_of_several_processes_is_found(clock):
    for process in ("one:1", "two:2"):
        heartbeats.note_heartbeat(WORKER, process=process)
        clock.shift(60)
    assert heartbeats.last_heartbeat(WORKER).process == "two:2"
    assert heartbeats.last_heartbeat(BEAT) is None
    assert heartbeats.beating(WORKER, since=NOON + timedelta(seconds=1)) == 1


def test_a_worker_records_itself_with_the_task_that_reconciles():
    tasks.reconcile()
    assert heartbeats.last_heartbeat(WORKER).process == heartbeats.process_name()


def test_a_process_that_ended_days_ago_is_forgotten(clock):
    heartbeats.note_heartbeat(BEAT, process="old:1")
    clock.shift(3 * 24 * 3600)
    heartbeats.note_heartbeat(BEAT, process="new:2")
    upkeep.clean_up()
    assert [row.process for row in Heartbeat.objects.all()] == ["new:2"]


@pytest.mark.django_db(transaction=True)
def test_the_beat_records_itself():
    beat.note_beat()
    assert heartbeats.last_heartbeat(BEAT).process == heartbeats.process_name()


def test_a_database_that_is_away_does_not_disturb_the_beat(monkeypatch, caplog):
    def away(*_args, **_options):
        raise beat.DatabaseError("no connection")

    monkeypatch.setattr(heartbeats, "note_heartbeat", away)
    monkeypatch.setattr(beat.connection, "close", lambda: None)
    beat.note_beat()
    assert caplog.text == ""
