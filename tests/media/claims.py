"""The claim of a stream, as a session gets it when its stream was let in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from calls.services import AgentSettings, StreamClaim


def stream_claim(*, agent: dict[str, Any] | None = None, **fields: Any) -> StreamClaim:
    """Make the claim of the first stream of a call. ``agent`` and ``fields`` replace what a test is about."""
    settings = {
        "name": "Ada",
        "prompt": "You are kind.",
        "greeting": "Hello, Michael.",
        "greeting_interruptible": False,
        "voice": "",
        "language": "en",
        "max_duration": 600.0,
        "record": True,
        "redact_numbers": False,
        "disclosure": "I am a computer.",
        "opt_out_key": "9",
        "hears_opt_out": True,
        "transfer_targets": ("sales",),
    }
    usual = {
        "call_id": UUID(int=1),
        "sid": "CA1",
        "stream": 1,
        "direction": "outbound",
        "agent": AgentSettings(**{**settings, **(agent or {})}),
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
