"""The slots: a limit that holds, and leases that are renewed."""

from datetime import timedelta

import pytest
from django.utils import timezone

from calls import services
from calls.models import Call, Lease
from calls.services.admission import Verdict, after_stream
from calls.services.slots import LEASE, live_calls, take_slot
from tests.calls.services.arrivals import expire_in, receive, run_at_once


@pytest.mark.django_db(transaction=True)
def test_calls_that_arrive_at_once_do_not_exceed_the_limit():
    verdicts = [admission.verdict for admission in run_at_once(lambda _: receive(), 8)]
    assert sorted(verdicts) == [Verdict.BUSY] * 5 + [Verdict.CONNECT] * 3
    assert live_calls() == 3


@pytest.mark.django_db(transaction=True)
def test_repeated_requests_of_one_call_at_once_are_one_call_in_one_slot():
    admissions = run_at_once(lambda _: receive(sid="CA1"), 6)
    assert {admission.verdict for admission in admissions} == {Verdict.CONNECT}
    assert Call.objects.count() == live_calls() == 1


@pytest.mark.django_db
def test_inbound_calls_leave_the_slots_of_outbound_calls_until_the_last(settings):
    settings.MAX_LIVE_CALLS, settings.OUTBOUND_MAX_CALLS = 12, 8
    for _ in range(4):
        assert receive().verdict is Verdict.CONNECT
    assert {*Lease.objects.values_list("slot", flat=True)} == {8, 9, 10, 11}
    for _ in range(8):
        assert receive().verdict is Verdict.CONNECT
    assert receive().verdict is Verdict.BUSY


@pytest.mark.django_db
@pytest.mark.parametrize("below", [None, 80], ids=["inbound", "outbound"])
def test_calls_that_come_at_once_seldom_begin_with_the_same_slot(settings, below):
    """One that begins with the slot of another waits for it."""
    settings.MAX_LIVE_CALLS, settings.OUTBOUND_MAX_CALLS = 100, 80
    call, first = Call.objects.get(pk=receive().call_id), set()
    for _ in range(30):
        Lease.objects.all().delete()
        assert take_slot(call, timezone.now(), below=below)
        first.add(Lease.objects.get().slot)
    assert len(first) > 8
    assert all((slot < 80) is (below is not None) for slot in first)


@pytest.mark.django_db
class TestLease:
    def test_it_can_be_renewed(self):
        claim = services.claim_stream(token=receive().token, process="web-1")
        expire_in(Lease, seconds=1)
        assert services.renew_lease(call_id=claim.call_id, stream=1)
        assert Lease.objects.get().expires_at > timezone.now() + timedelta(seconds=LEASE - 5)

    def test_a_repeated_request_does_not_extend_it(self):
        services.claim_stream(token=receive(sid="CA1").token, process="web-1")
        before = Lease.objects.get().expires_at
        receive(sid="CA1")
        assert Lease.objects.get().expires_at == before

    def test_its_slot_is_free_once_it_has_run_out(self):
        calls = [receive() for _ in range(3)]
        assert receive().verdict is Verdict.BUSY
        expire_in(Lease, seconds=-1)
        assert live_calls() == 0
        assert receive().verdict is Verdict.CONNECT
        assert not services.renew_lease(call_id=calls[0].call_id, stream=0)

    def test_it_can_be_released(self):
        claim = services.claim_stream(token=receive().token, process="web-1")
        assert services.release_lease(call_id=claim.call_id, stream=1)
        assert not services.release_lease(call_id=claim.call_id, stream=1)
        assert live_calls() == 0

    def test_an_earlier_stream_can_neither_renew_nor_release_the_lease_of_a_later_one(self):
        old = services.claim_stream(token=receive(sid="CA1").token, process="web-1")
        continuation = after_stream(sid="CA1", stream=1)
        new = services.claim_stream(token=continuation.token, process="web-1")
        assert not services.renew_lease(call_id=old.call_id, stream=old.stream)
        assert not services.release_lease(call_id=old.call_id, stream=old.stream)
        assert services.renew_lease(call_id=new.call_id, stream=new.stream)
