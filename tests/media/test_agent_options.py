"""The behaviour on a stream follows from the agent, the setting and the earlier streams of the call."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from media.agent_options import conversation_options, options_of
from tests.media.claims import stream_claim


def test_the_options_of_an_agent_apply_to_its_stream():
    options = options_of(stream_claim(), speculate=True)
    assert (options.disclosure, options.greeting) == ("I am a computer.", "Hello, Michael.")
    assert options.transfer_targets == ("sales",)
    assert (options.opt_out_key, options.hears_opt_out) == ("9", True)
    assert options.max_duration == 600.0
    assert options.speculate


def test_the_time_limit_of_a_later_stream_is_what_earlier_ones_left_of_it():
    assert options_of(stream_claim(stream=2, seconds_used=400.0), speculate=True).max_duration == 200.0


def test_a_caller_who_comes_back_from_a_failed_transfer_is_told_so():
    options = options_of(stream_claim(stream=2, is_reconnect=True, transfer_failed=True), speculate=True)
    assert options.resumed == options.transfer_failed


def test_the_setting_overrides_the_defaults_and_the_agent_overrides_the_setting(settings):
    settings.CONVERSATION = {"apology": "Pardon?", "greeting": "Hello.", "fillers": ["Hm."]}
    options = conversation_options(greeting="Good morning.")
    assert (options.apology, options.greeting, options.fillers) == ("Pardon?", "Good morning.", ("Hm.",))


def test_an_unknown_option_is_refused_with_the_names_of_the_known_ones(settings):
    settings.CONVERSATION = {"apologie": "Pardon?"}
    with pytest.raises(ImproperlyConfigured, match=r"apologie\. Choose from .*apology"):
        conversation_options()
