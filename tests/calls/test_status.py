"""The moves of a call's status."""

import itertools

import pytest

from calls.status import MOVES, TERMINAL, Status, may_move


def test_a_call_may_move_through_all_statuses_in_order():
    life = [Status.QUEUED, Status.INITIATED, Status.RINGING, Status.IN_PROGRESS, Status.COMPLETED]
    assert all(may_move(old, new) for old, new in itertools.combinations(life, 2))
    assert not any(may_move(new, old) for old, new in itertools.combinations(life, 2))


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_row_and_may_not_move_to_itself(status):
    assert status not in MOVES[status]


def test_no_move_leads_out_of_an_end():
    assert {Status.COMPLETED, Status.BUSY, Status.NO_ANSWER, Status.FAILED, Status.CANCELED} == TERMINAL


@pytest.mark.parametrize("status", [Status.BUSY, Status.NO_ANSWER, Status.CANCELED])
def test_only_an_unanswered_call_can_become_busy_unanswered_or_canceled(status):
    assert may_move(Status.RINGING, status)
    assert not may_move(Status.IN_PROGRESS, status)


def test_an_unknown_status_raises():
    with pytest.raises(ValueError, match="answered"):
        may_move(Status.RINGING, "answered")
