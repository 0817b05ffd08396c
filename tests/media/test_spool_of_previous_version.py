"""Spool files that the previous version left on disk are recorded, each fact once."""

from __future__ import annotations

import wave
from pathlib import Path
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings

from calls.models import Agent, Call, CallEvent, DoNotCall, Turn
from calls.services import facts
from media.runtime import Runtime
from tests.media.test_runtime import engines

SPOOLED = """\
["stream-started", {"fact_id": "a366f53bd8724547953e606e9e03a871", "call_id": \
"00000000-0000-0000-0000-000000000001", "stream_sid": "MZ0", "at": "2026-11-28T19:21:36.849222+00:00"}]
["turn", {"fact_id": "782659cfdf2b41579daf2332d57e2677", "call_id": "00000000-0000-0000-0000-000000000001", \
"number": 1, "who": "caller", "said": "What time do you open?", "heard": "What time do you open?", \
"interrupted": false, "fallback": false, "started_at": "2026-11-28T19:21:37.349222+00:00", "ended_at": \
"2026-11-28T19:21:38.677222+00:00", "start_position": 4000, "end_position": 14624, "stages": {"wait": 0.25}, \
"speculation_hits": 1, "speculation_waste": 0}]
["turn", {"fact_id": "5aba7ebd67f2499aad0d989f800e54fc", "call_id": "00000000-0000-0000-0000-000000000001", \
"number": 2, "who": "agent", "said": "We do open our shop doors early each week day. We shut at six and you can \
come before then. Is there any way that I can be of use?", "heard": "We do open our shop doors early each week \
day. We shut at six and you can come before then. Is there any way that I can be of use?", "interrupted": false, \
"fallback": false, "started_at": "2026-11-28T19:21:39.019222+00:00", "ended_at": \
"2026-11-28T19:21:44.219222+00:00", "start_position": 17360, "end_position": 58960, "stages": {"endpointing": \
0.092, "transcript": 0.05, "first_token": 0.05, "first_clause": 0.1, "first_speech": 0.05, "release": 0.0, \
"send": 0.0, "response_latency": 0.342, "heard_latency": 0.402}, "speculation_hits": 0, "speculation_waste": 0}]
["event", {"fact_id": "6db8bd39057a4b228295df5c6352a6a7", "call_id": "00000000-0000-0000-0000-000000000001", \
"kind": "tool-call", "at": "2026-11-28T19:21:44.219222+00:00", "data": {"tool": "transfer", "target": "sales", \
"accepted": true}}]
["transfer", {"fact_id": "3d186a5985ae47da80e0df08ae0663f4", "call_id": "00000000-0000-0000-0000-000000000001", \
"target": "sales", "at": "2026-11-28T19:21:44.219222+00:00"}]
["opt-out", {"fact_id": "f39164b6fb344497865b4fbc4977228d", "call_id": "00000000-0000-0000-0000-000000000001", \
"how": "asked", "words": "please take me off your list", "at": "2026-11-28T19:21:39.523515+00:00"}]
["recording", {"fact_id": "9b2d6a0a0d7a5f3bb3a6f1a2d33f0c11", "call_id": "00000000-0000-0000-0000-000000000001", \
"path": "/spool/recordings/00000000-0000-0000-0000-000000000001.0123456789ab.wav"}]
["stream-ended", {"fact_id": "8e1e1c80aac8471e8857a1980062d063", "call_id": \
"00000000-0000-0000-0000-000000000001", "reason": "opted-out", "stream": 1, "at": \
"2026-11-28T19:21:37.401114+00:00"}]
"""
"""One line of each kind, as the previous version wrote them while its database was away."""


async def record_spooled(text: str) -> None:
    """Have the next process find ``text`` in the spool and record what it can."""
    folder = Path(settings.SPOOL_DIR) / "facts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "01795893697408280302-5715aeb8.jsonl").write_text(text)
    with override_settings(ENGINES=engines()):
        runtime = Runtime()
    runtime.facts.start()
    assert await runtime.facts.drain(60)
    assert await runtime.recording_facts.drain(60)
    await runtime.close()
    assert list(folder.iterdir()) == []


def make_call() -> Call:
    agent = Agent.objects.create(name="sales-desk", transfer_targets={"sales": "+12025550177"})
    numbers = {"from_number": "+12025550123", "to_number": "+12025550100"}
    return Call.objects.create(pk=UUID(int=1), agent=agent, direction="inbound", streams=1, **numbers)


@pytest.mark.django_db(transaction=True)
async def test_each_fact_that_the_previous_version_spooled_is_recorded_once():
    await sync_to_async(make_call)()
    sound = Path(settings.SPOOL_DIR) / "recordings" / f"{UUID(int=1)}.0123456789ab.wav"
    sound.parent.mkdir(parents=True)
    with wave.open(str(sound), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    spooled = SPOOLED.replace("/spool/recordings", str(sound.parent))
    for _ in range(2):
        await record_spooled(spooled)

    call = await Call.objects.aget()
    assert (call.end_reason, call.transfer_to, call.answered_at.isoformat()) == (
        "opted-out",
        "+12025550177",
        "2026-11-28T19:21:36.849222+00:00",
    )
    turns = [turn async for turn in Turn.objects.order_by("number")]
    assert [(turn.speaker, turn.heard[:13]) for turn in turns] == [
        ("caller", "What time do "),
        ("agent", "We do open ou"),
    ]
    assert (turns[0].stages, turns[0].speculation_hits) == ({"wait": 0.25}, 1)
    assert turns[1].response_latency == turns[1].stages["response_latency"] == 0.342
    kinds = [event.kind async for event in CallEvent.objects.order_by("kind")]
    assert kinds == [
        "opt-out",
        "recording",
        "stream-ended",
        "stream-started",
        "tool-call",
        "transfer",
    ]
    assert (await DoNotCall.objects.aget()).number == "+12025550123"
    assert call.recording.size > 32_000
    assert not sound.exists()


@pytest.mark.django_db(transaction=True)
async def test_a_fact_that_the_previous_version_had_recorded_is_not_recorded_again():
    await sync_to_async(make_call)()
    first, *others = SPOOLED.splitlines(keepends=True)
    # The previous version overwrote the first character of a line that it had recorded.
    await record_spooled("#" + first[1:] + others[0])
    assert await Turn.objects.acount() == 1
    assert not await CallEvent.objects.aexists()


def test_a_line_of_the_previous_version_becomes_the_same_fact_as_one_of_this_version():
    for line in SPOOLED.splitlines():
        fact = facts.decode(line)
        assert facts.decode(facts.encode(fact)) == fact
