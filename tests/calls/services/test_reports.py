"""Reports of the carrier: of machine detection, and beside what the process itself records."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from calls.models import Agent, CallOrder
from calls.services import claim_stream, facts, record_fact, release_lease, take_orders
from calls.services.admission import after_transfer
from calls.services.reports import record_verdict
from tests.calls.services.dialler import BERT, NOON, answer, dial_due, place, reload, report

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("wanted", "answered_by", "orders"),
    [
        ("hang-up", "machine_start", [("voicemail", {"message": ""})]),
        ("hang-up", "human", []),
        ("hang-up", "unknown", []),
        ("message", "machine_end_beep", [("voicemail", {"message": "Please call back, Anna."})]),
        ("talk", "machine_start", []),
        ("talk", "fax", [("voicemail", {"message": ""})]),
    ],
)
def test_what_follows_an_answering_machine_depends_on_the_agents_setting(
    agent, clock, carrier, wanted, answered_by, orders
):
    Agent.objects.update(machine_detection=wanted, voicemail_message="Please call back, {{ name }}.")
    call = place(variables={"name": "Anna"})
    [attempt] = dial_due(carrier)
    assert carrier.requests[0]["machine_detection"] == ("DetectMessageEnd" if wanted == "message" else "Enable")
    claim_stream(token=answer(attempt).token, process="web-1")
    assert record_verdict(sid=attempt.sid, answered_by=answered_by, attempt_id=str(attempt.pk))
    assert not record_verdict(sid=attempt.sid, answered_by=answered_by, attempt_id=str(attempt.pk))
    assert [(one.kind, one.data) for one in take_orders(process="web-1")] == orders
    assert reload(call).answered_by == answered_by


def test_a_verdict_waits_for_the_stream_and_after_the_calls_end_it_is_only_recorded(agent, clock, carrier):
    Agent.objects.update(machine_detection="hang-up")
    call = place()
    [attempt] = dial_due(carrier)
    record_verdict(sid=attempt.sid, answered_by="machine_start", attempt_id=str(attempt.pk))
    assert take_orders(process="web-1") == []
    claim_stream(token=answer(attempt).token, process="web-1")
    assert len(take_orders(process="web-1")) == 1
    other = place(BERT)
    [attempt] = dial_due(carrier)
    report(attempt, "completed")
    record_verdict(sid=attempt.sid, answered_by="machine_start", attempt_id=str(attempt.pk))
    assert reload(other).answered_by == "machine_start"
    assert not CallOrder.objects.filter(call=other).exists()
    assert reload(call).status == "in-progress"


@pytest.mark.parametrize("when", ["before", "announced", "during", "failed", "after"])
def test_a_verdict_about_a_call_that_is_transferred_hangs_up_on_nobody_who_comes_back(agent, clock, carrier, when):
    """The order of a verdict waits for the next stream, which opens if the transfer is not answered."""
    Agent.objects.update(machine_detection="hang-up", transfer_targets={"sales": BERT})
    call = place()
    [attempt] = dial_due(carrier)
    token = answer(attempt).token
    claim_stream(token=token, process="web-1")

    def step(name: str) -> None:
        if name == when:
            assert record_verdict(sid=attempt.sid, answered_by="machine_start", attempt_id=str(attempt.pk))

    step("before")
    record_fact(facts.TransferRequested(fact_id="t", call_id=call.pk, target="sales", at=NOON))
    step("announced")
    record_fact(facts.StreamEnded(fact_id="e", call_id=call.pk, reason="transferred", at=NOON, stream=1))
    release_lease(call_id=call.pk, stream=1)
    step("during")
    following = after_transfer(sid=attempt.sid, stream=1, dial_status="no-answer")
    step("failed")
    assert claim_stream(token=following.token, process="web-1").transfer_failed
    step("after")
    assert take_orders(process="web-1") == []
    assert reload(call).answered_by == "machine_start"


def test_the_end_of_a_stream_and_the_carriers_report_lock_rows_in_the_same_order(agent, clock, carrier):
    """PostgreSQL ends one of two that wait for each other; both come when a callee hangs up."""
    place()
    [attempt] = dial_due(carrier)
    claim_stream(token=answer(attempt).token, process="web-1")
    with CaptureQueriesContext(connection) as asked:
        record_fact(facts.StreamEnded(call_id=attempt.call_id, reason="caller-hung-up", at=NOON, stream=1))
    queries = [query["sql"] for query in asked]
    attempts = [number for number, sql in enumerate(queries) if 'FROM "calls_dialattempt"' in sql]
    calls = [number for number, sql in enumerate(queries) if sql.startswith('UPDATE "calls_call"')]
    assert attempts[0] < calls[0]
    if connection.vendor == "postgresql":
        assert "FOR NO KEY UPDATE" in queries[attempts[0]]
