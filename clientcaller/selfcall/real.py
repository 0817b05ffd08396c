"""
A real call through Twilio, from one of our numbers to itself.

Twilio speaks the caller's part by ``<Say>``, with pauses for the replies, and records both sides in two channels. So no
second media stream is needed, and what is measured is what a caller hears, with both legs through the telephone
network. The called leg is an ordinary call to this deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from calls import twiml
from calls.carrier_account import CarrierAccount
from calls.errors import CarrierError
from clientcaller.selfcall.conversation import Conversation
from clientcaller.selfcall.records import find_words
from clientcaller.selfcall.two_channels import measure_recording

SECONDS_FOR_A_LINE = 5
"""More than a line of the script takes to say."""
RINGING = 60
LOOK_EVERY = 2.0
RECORDING_PATIENCE = 60.0
"""Seconds after the call in which its recording is ready."""
CLOCKS = timedelta(minutes=2)
"""How much the clocks of the database and of this machine may differ."""


def call_ourselves(
    account: CarrierAccount,
    lines: Sequence[str],
    *,
    to_number: str,
    from_number: str,
    pause: int,
    say: Callable[[str], object],
    wait: Callable[[float], None] = time.sleep,
) -> Conversation:
    """Hold the call, and say how it went. ``pause`` is how many seconds the caller waits for each reply."""
    said, begun = tuple(lines), datetime.now(UTC)
    time_limit = len(said) * (pause + SECONDS_FOR_A_LINE) + pause + 10
    try:
        sid = account.place_scripted_call(
            to_number=to_number,
            from_number=from_number,
            document=twiml.recite(said, pause=pause),
            time_limit=max(60, time_limit),
        )
        say("Twilio has taken the call.")
        status = _wait_for_end(account, sid, RINGING + time_limit, wait)
        if status != "completed":
            why = f"Twilio reports {status!r} for the call" if status else "The call did not end in time"
            return Conversation(said, failure=f"{why}. manage.py doctor looks for the cause.")
        say("The call is over; waiting for its recording.")
        sound = _wait_for_sound(account, sid, wait)
    except CarrierError as error:
        return Conversation(said, failure=f"Twilio did not carry the call: {error}")
    if sound is None:
        return Conversation(said, failure=f"Twilio had no recording of the call after {RECORDING_PATIENCE:.0f} s.")
    figures = measure_recording(sound, lines=len(said))
    if not figures.agent_seconds:
        return Conversation(said, failure="The call was connected, but the agent is not heard on its recording.")
    words = find_words(number=to_number, since=begun - CLOCKS)
    return Conversation(
        said,
        responses=tuple([*figures.responses, *[None] * len(said)][: len(said)]),
        is_recorded=words is not None,
        heard=words.heard if words else (),
        replies=words.replies if words else (),
        measured="on Twilio's recording, both legs through the telephone network",
    )


def _wait_for_end(account: CarrierAccount, sid: str, seconds: float, wait: Callable[[float], None]) -> str:
    """The final status of the call; empty if it has none in time."""
    for _ in range(round(seconds / LOOK_EVERY)):
        wait(LOOK_EVERY)
        status = account.read_call_status(sid)
        if status in ("completed", "busy", "failed", "no-answer", "canceled"):
            return status
    return ""


def _wait_for_sound(account: CarrierAccount, sid: str, wait: Callable[[float], None]) -> bytes | None:
    for _ in range(round(RECORDING_PATIENCE / LOOK_EVERY)):
        if (recording := account.find_finished_recording(sid)) is not None:
            return account.fetch_recording(recording)
        wait(LOOK_EVERY)
    return None
