"""Helpers for the tests of the admin: a call with turns, and the messages that a page shows."""

import html
from uuid import uuid4

from django.contrib.messages import get_messages
from django.utils import timezone
from django.utils.html import strip_tags

from calls.models import Agent, Call, CallEvent, Turn

ANNA = "+12025550101"
"""The number of the person whom the tests call."""
SOUND = bytes(range(256)) * 20
"""The bytes of a recording. The admin never looks into them."""


def make_call(turns: int = 3, **fields) -> Call:
    """Make an inbound call on which the agent was interrupted ``turns`` times."""
    call = Call.objects.create(
        **{"sid": uuid4().hex, "direction": "inbound", "status": "completed", "duration": 62.4, **fields},
        from_number="+15557654321",
        agent=Agent.objects.get(name="front-desk"),
    )
    for number in range(1, turns + 1):
        Turn.objects.create(
            call=call,
            number=number,
            speaker="agent",
            said=f"Sentence {number}. Unheard <end>.",
            heard=f"Sentence {number}.",
            interrupted=True,
            speculation_waste=2,
            started_at=timezone.now(),
            stages={"response_latency": 0.3 + number / 10, "endpointing": 0.213, "odd_stage": 0.007},
            response_latency=0.3 + number / 10,
            fact_id=uuid4().hex,
        )
    CallEvent.objects.create(call=call, kind="dtmf", at=timezone.now(), data={"digit": "5"}, fact_id=uuid4().hex)
    return call


def messages_after(response) -> str:
    """The text of the messages that the next page shows."""
    return html.unescape(strip_tags(" ".join(str(message) for message in get_messages(response.wsgi_request))))
