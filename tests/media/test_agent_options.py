"""The brief of a session follows from the agent, the setting and the earlier streams of the call."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured

from calls.services import AgentSettings, StreamClaim
from media.brief import brief_of, conversation_options
from media.turns.commands import Line


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


def test_what_an_agent_may_and_must_do_reaches_its_session():
    brief = brief_of(claim(), speculate=True)
    assert (brief.options.disclosure, brief.options.greeting) == ("I am a computer.", "Hello, Michael.")
    assert brief.options.transfer_targets == ("sales",)
    assert (brief.options.opt_out_key, brief.options.hears_opt_out) == ("9", True)
    assert (brief.resumed, brief.disclosed) == (False, False)


def test_a_stream_that_takes_over_knows_what_was_said_before():
    brief = brief_of(
        claim(stream=2, is_reconnect=True, disclosed=True, seconds_used=400.0, history=(("agent", "Hi."),)),
        speculate=True,
    )
    assert (brief.resumed, brief.disclosed) == (True, True)
    assert brief.options.max_duration == 200.0
    assert brief.history == (Line("agent", "Hi."),)


def test_a_caller_who_comes_back_from_a_failed_transfer_is_told_so():
    brief = brief_of(claim(stream=2, is_reconnect=True, transfer_failed=True), speculate=True)
    assert brief.resumed
    assert brief.options.resumed == brief.options.transfer_failed


def test_the_setting_overrides_the_defaults_and_the_agent_overrides_the_setting(settings):
    settings.CONVERSATION = {"apology": "Pardon?", "greeting": "Hello.", "fillers": ["Hm."]}
    options = conversation_options(greeting="Good morning.")
    assert (options.apology, options.greeting, options.fillers) == ("Pardon?", "Good morning.", ("Hm.",))


def test_an_unknown_option_is_refused_with_the_names_of_the_known_ones(settings):
    settings.CONVERSATION = {"apologie": "Pardon?"}
    with pytest.raises(ImproperlyConfigured, match=r"apologie\. Choose from .*apology"):
        conversation_options()
