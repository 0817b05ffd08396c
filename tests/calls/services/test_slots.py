"""The slots: a limit that holds, and leases that are renewed."""

from datetime import timedelta

import pytest
from django.utils import timezone

from calls import services
from calls.models import Call, Lease
from calls.services.admission import Verdict, after_stream
from calls.services.slots import LEASE, live_calls
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
