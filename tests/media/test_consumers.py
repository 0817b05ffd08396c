"""The socket's place in its process."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from calls.services import AgentSettings, StreamClaim
from media import consumers
from media.consumers import _brief, _Stream
from media.turns.commands import Line


async def test_a_stream_that_is_cut_short_gives_its_place_back(monkeypatch):
    """A server that stops an application in the middle must not leave the process looking full for ever."""

    async def cut_short(self: Any, *arguments: Any) -> None:
        raise asyncio.CancelledError

    async def admit(self: Any) -> Any:
        return SimpleNamespace(call_id="1", stream=1)

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        pass

    monkeypatch.setattr(_Stream, "_admit", admit)
    monkeypatch.setattr(_Stream, "_run", cut_short)
    monkeypatch.setattr(_Stream, "_finish", cut_short)
    service = SimpleNamespace(streams=set())
    stream = _Stream({}, receive, send, service)
    with pytest.raises(asyncio.CancelledError):
        await stream.serve()
    assert service.streams == set()


def claim(**fields: Any) -> StreamClaim:
    agent = AgentSettings(
        name="Ada",
        prompt="You call Michael.",
        greeting="Hello, Michael.",
        greeting_interruptible=False,
        voice="",
        language="en",
        max_duration=600.0,
        record=True,
        disclosure="I am a computer.",
        opt_out_key="9",
        hears_opt_out=True,
        transfer_targets=("sales",),
    )
    usual = {
        "call_id": UUID(int=1),
        "sid": "CA1",
        "stream": 1,
        "direction": "outbound",
        "agent": agent,
        "from_number": "+12025550100",
        "to_number": "+12025550123",
        "history": (),
        "next_turn": 1,
        "is_reconnect": False,
        "seconds_used": 0.0,
        "disclosed": False,
        "transfer_failed": False,
    }
    return StreamClaim(**{**usual, **fields})


@pytest.fixture
def _no_service(monkeypatch):
    monkeypatch.setattr(consumers, "get_service", lambda: SimpleNamespace(speculate=True))


@pytest.mark.usefixtures("_no_service")
def test_what_an_agent_may_and_must_do_reaches_its_session():
    brief = _brief(claim())
    assert (brief.options.disclosure, brief.options.greeting) == ("I am a computer.", "Hello, Michael.")
    assert brief.options.transfer_targets == ("sales",)
    assert (brief.options.opt_out_key, brief.options.hears_opt_out) == ("9", True)
    assert (brief.resumed, brief.disclosed) == (False, False)


@pytest.mark.usefixtures("_no_service")
def test_a_stream_that_takes_over_knows_what_was_said_before():
    brief = _brief(claim(stream=2, is_reconnect=True, disclosed=True, seconds_used=400.0, history=(("agent", "Hi."),)))
    assert (brief.resumed, brief.disclosed) == (True, True)
    assert brief.options.max_duration == 200.0
    assert brief.history == (Line("agent", "Hi."),)


@pytest.mark.usefixtures("_no_service")
def test_a_caller_who_comes_back_from_a_failed_transfer_is_told_so():
    brief = _brief(claim(stream=2, is_reconnect=True, transfer_failed=True))
    assert brief.resumed
    assert brief.options.resumed == brief.options.transfer_failed
