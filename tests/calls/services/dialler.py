"""Helpers for the tests of the dialler: placing a call, dialling it, and reporting its status."""

from datetime import UTC, datetime

from calls.models import Call, DialAttempt
from calls.services import claiming, dialling
from calls.services.admission import receive_call
from calls.services.placing import NewCall, place_call
from calls.services.reports import record_status
from tests.calls.twilio_double import ACCOUNT_SID

NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)  # noon in New York, a Friday
ANNA, BERT, CARL = "+12025550101", "+12025550102", "+12025550103"


def call_request(to=ANNA, *, agent="front-desk", **fields) -> NewCall:
    return NewCall(to=to, agent=agent, **fields)


def place(to=ANNA, **fields) -> Call:
    return place_call(call_request(to, **fields))[0]


def dial_due(carrier) -> list[DialAttempt]:
    """Do what a dispatcher and its workers do in one go; return the attempts."""
    ids = claiming.claim_due().attempts
    for attempt_id in ids:
        dialling.dial(attempt_id, carrier=carrier)
    return list(DialAttempt.objects.filter(pk__in=ids).order_by("created_at"))


def report(attempt, status, sequence="0", **params):
    """Send Twilio's status callback about an attempt."""
    return record_status(
        sid=attempt.sid, status=status, sequence=sequence, attempt_id=str(attempt.pk), duration="", params=params
    )


def answer(attempt):
    """Ask for the TwiML of an attempt, as Twilio does when the call is answered."""
    return receive_call(
        sid=attempt.sid,
        from_number=attempt.from_number,
        to_number=attempt.to_number,
        account_sid=ACCOUNT_SID,
        params={"Direction": "outbound-api"},
        attempt_id=str(attempt.pk),
    )


def reload(row):
    return type(row).objects.get(pk=row.pk)
