"""Orders to a live call, and what follows after a stream that they end: transfers, the return, opting out."""

from datetime import UTC, datetime

import pytest
from django.test import Client

from calls.models import Agent, Call, CallEvent, CallOrder, DoNotCall, Lease
from calls.services import (
    CallsError,
    Order,
    claim_stream,
    facts,
    orders,
    record_fact,
    take_orders,
)
from tests.calls.twilio_double import Twilio, token_in, twiml, verbs

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
SALES = "+12025550177"


@pytest.fixture(autouse=True)
def _targets(settings, db):
    settings.DIAL_COUNTRIES = ("US",)
    settings.TRANSFER_TIME_LIMIT = 900
    Agent.objects.update(transfer_targets={"sales": SALES})


def events(call) -> list[tuple[str, dict]]:
    return list(CallEvent.objects.filter(call=call).values_list("kind", "data"))


def end_transferred(call, stream=1):
    record_fact(facts.StreamEnded(fact_id=f"end-{stream}", call_id=call.pk, reason="transferred", at=AT, stream=stream))


def after_transfer(twilio: Twilio, status: str, stream: int = 1):
    return twiml(twilio.post(f"/twilio/after-transfer/?stream={stream}", DialCallStatus=status))


# --- Orders ------------------------------------------------------------------------------------------------


def test_orders_reach_the_process_that_holds_the_stream_once_and_in_order(connected):
    orders.say(call_id=connected.call_id, text="Your taxi is here.")
    orders.transfer(call_id=connected.call_id, to="sales")
    assert take_orders(process="web-2") == []
    said, transferred = take_orders(process="web-1")
    assert said == Order(said.id, connected.call_id, "say", {"text": "Your taxi is here."})
    assert (transferred.kind, transferred.data) == ("transfer", {"to": SALES})
    assert take_orders(process="web-1") == []


@pytest.mark.parametrize("text", ["", "  ", "\0", "x" * 3000])
def test_a_text_to_say_must_not_be_empty_or_too_long(connected, text):
    with pytest.raises(CallsError) as error:
        orders.say(call_id=connected.call_id, text=text)
    assert error.value.field == "text"


@pytest.mark.parametrize(("to", "code"), [("+1911", "emergency-number"), ("nobody", "invalid-number")])
def test_a_call_is_transferred_only_to_a_target_or_to_a_number_that_may_be_dialled(connected, to, code):
    with pytest.raises(CallsError) as error:
        orders.transfer(call_id=connected.call_id, to=to)
    assert (error.value.code, error.value.field) == (code, "to")
    assert not CallOrder.objects.exists()
    orders.transfer(call_id=connected.call_id, to="+1 202-555-0188")
    assert Call.objects.get().transfer_to == "+12025550188"


def test_a_call_without_a_live_stream_accepts_no_orders(connected, twilio):
    Lease.objects.all().delete()
    with pytest.raises(CallsError) as error:
        orders.say(call_id=connected.call_id, text="Hello?")
    assert error.value.code == "call-not-live"


def test_with_redis_the_process_is_notified_and_an_order_survives_a_failed_notification(
    connected, settings, monkeypatch, django_capture_on_commit_callbacks, caplog
):
    class Layer:
        sent: list = []

        async def send(self, channel, message):
            if self.sent:
                raise ConnectionError("gone")
            self.sent.append((channel, message))

    settings.REDIS_URL = "redis://somewhere"
    monkeypatch.setattr(orders, "get_channel_layer", Layer)
    Call.objects.update(channel="calls.specific!1")
    with django_capture_on_commit_callbacks(execute=True):
        orders.say(call_id=connected.call_id, text="One.")
    with django_capture_on_commit_callbacks(execute=True):
        orders.say(call_id=connected.call_id, text="Two.")
    assert Layer.sent == [("calls.specific!1", {"type": "orders"})]
    assert "polls the database instead" in caplog.text
    assert len(take_orders(process="web-1")) == 2


# --- Transfers ---------------------------------------------------------------------------------------------


def test_a_transfer_is_dialled_after_its_stream_has_ended(connected, twilio):
    record_fact(facts.TransferRequested(fact_id="t", call_id=connected.call_id, target="sales", at=AT))
    end_transferred(twilio.call)
    for _ in range(2):  # Twilio may repeat its request
        [dial] = twilio.loses_stream()
        assert dial.tag == "Dial"
        assert dial.get("action") == "https://phone.example.com/twilio/after-transfer/?stream=1#rc=3&rp=ct,rt,5xx"
        assert (dial.get("timeLimit"), dial.get("callerId")) == ("900", "+15551234567")
        assert dial.find("Number").text == SALES


def test_a_transfer_target_that_the_agent_does_not_have_is_refused(connected, twilio):
    record_fact(facts.TransferRequested(fact_id="t", call_id=connected.call_id, target="+19005551234", at=AT))
    assert twilio.call.transfer_to == ""
    assert ("transfer-refused", {"target": "+19005551234", "to": ""}) in events(twilio.call)
    end_transferred(twilio.call)
    assert verbs(twilio.loses_stream()) == ["Hangup"]


def test_a_call_ends_after_an_answered_transfer(connected, twilio):
    record_fact(facts.TransferRequested(fact_id="t", call_id=connected.call_id, target="sales", at=AT))
    end_transferred(twilio.call)
    twilio.loses_stream()
    for _ in range(2):
        assert verbs(after_transfer(twilio, "completed")) == ["Hangup"]
    assert twilio.call.status == "completed"
    assert [kind for kind, _ in events(twilio.call)].count("transfer-completed") == 1


def test_the_caller_returns_to_the_agent_from_a_transfer_that_is_not_answered(connected, twilio):
    record_fact(facts.TransferRequested(fact_id="t", call_id=connected.call_id, target="sales", at=AT))
    end_transferred(twilio.call)
    twilio.loses_stream()
    claim = claim_stream(token=token_in(after_transfer(twilio, "no-answer")), process="web-1")
    assert (claim.stream, claim.is_reconnect, claim.transfer_failed) == (2, True, True)
    # The end of that stream ends the call as usual.
    record_fact(facts.StreamEnded(fact_id="end-2", call_id=claim.call_id, reason="agent-ended", at=AT, stream=2))
    assert verbs(twilio.loses_stream(stream=2)) == ["Hangup"]


# --- Opting out --------------------------------------------------------------------------------------------


def test_a_caller_who_opts_out_is_put_on_the_do_not_call_list(connected, twilio):
    for _ in range(2):
        record_fact(
            facts.OptedOut(fact_id="o", call_id=connected.call_id, how="asked", words="take me off your list", at=AT)
        )
    entry = DoNotCall.objects.get()
    assert (entry.number, entry.source, entry.call) == ("+15557654321", "caller", twilio.call)
    assert ("opt-out", {"how": "asked", "words": "take me off your list"}) in events(twilio.call)


def test_a_caller_who_opted_out_gets_no_new_stream_if_the_stream_is_lost(connected, twilio):
    record_fact(facts.OptedOut(fact_id="o", call_id=connected.call_id, how="key", at=AT))
    assert verbs(twilio.loses_stream()) == ["Hangup"]


def test_a_withheld_number_is_not_put_on_the_do_not_call_list(client: Client, caplog):
    twilio = Twilio(client)
    twilio.rings(From="anonymous")
    record_fact(facts.OptedOut(fact_id="o", call_id=twilio.call.pk, how="key", at=AT))
    assert not DoNotCall.objects.exists()
    assert "has no number" in caplog.text


# --- The disclosure ----------------------------------------------------------------------------------------


def test_a_disclosure_that_was_heard_is_not_repeated_after_a_reconnect(connected, twilio):
    assert not connected.disclosed
    CallEvent.objects.create(call=twilio.call, kind="disclosed", at=AT, fact_id="d")
    claim = claim_stream(token=token_in(twilio.loses_stream()), process="web-1")
    assert claim.disclosed
