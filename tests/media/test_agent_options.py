"""The behaviour on a stream follows from the agent, the setting and the earlier streams of the call."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from media.agent_options import conversation_options, missing_phrases, options_of
from media.turns.stock_phrases import PHRASE_OPTIONS
from tests.media.claims import stream_claim


def test_the_options_of_an_agent_apply_to_its_stream():
    options = options_of(stream_claim(), speculate=True)
    assert (options.disclosure, options.greeting) == ("I am a computer.", "Hello, Michael.")
    assert options.transfer_targets == ("sales",)
    assert (options.opt_out_key, options.hears_opt_out) == ("9", True)
    assert options.max_duration == 600.0
    assert options.speculate


@pytest.mark.parametrize(("setting", "engines"), [(True, True), (True, False), (False, True)])
def test_replies_are_started_early_if_neither_the_setting_nor_the_engines_forbid_it(settings, setting, engines):
    settings.CONVERSATION = {"speculate": setting}
    options = options_of(stream_claim(agent={"other_languages": {"de": ""}}), speculate=engines)
    assert {each.speculate for each in (options, *options.others)} == {setting and engines}


@pytest.mark.parametrize(("direction", "outbound"), [("outbound", True), ("inbound", False)])
def test_the_callee_speaks_first_on_outbound_calls_only(direction, outbound):
    options = options_of(stream_claim(direction=direction), speculate=True)
    assert options.outbound is outbound
    assert options.callee_first > 0


@pytest.mark.parametrize(
    ("detection", "talks", "message"),
    [("off", False, ""), ("hang-up", False, ""), ("talk", True, ""), ("message", False, "Please call back.")],
)
def test_machine_detection_says_what_a_recognised_voicemail_hears(detection, talks, message):
    agent = {"machine_detection": detection, "voicemail_message": "Please call back."}
    options = options_of(stream_claim(agent=agent), speculate=True)
    assert (options.talks_to_machines, options.voicemail_message) == (talks, message)


def test_the_time_limit_of_a_later_stream_is_what_earlier_ones_left_of_it():
    assert options_of(stream_claim(stream=2, seconds_used=400.0), speculate=True).max_duration == 200.0


def test_a_caller_who_comes_back_from_a_failed_transfer_is_told_so():
    options = options_of(stream_claim(stream=2, is_reconnect=True, transfer_failed=True), speculate=True)
    assert options.resumed == options.transfer_failed


def test_an_agent_has_options_for_each_language_to_which_it_may_change():
    claim = stream_claim(agent={"other_languages": {"de": "", "pt-BR": "", "es": ""}})
    options = options_of(claim, speculate=True, can_change_to=lambda language: language != "es")
    assert (options.language, options.changed) == ("en", False)
    assert [other.language for other in options.others] == ["de", "pt-BR"]
    assert options.others[0].still_there == "Sind Sie noch da?"
    assert options.others[0].max_duration == options.max_duration


@pytest.mark.parametrize(("language", "begins_in"), [("de", "de"), ("en", "en"), ("fr", "en"), ("", "en")])
def test_a_later_stream_begins_in_the_language_to_which_the_call_has_changed(language, begins_in):
    options = options_of(stream_claim(agent={"other_languages": {"de": ""}}, language=language), speculate=True)
    assert options.language == begins_in
    assert {options.language, *(other.language for other in options.others)} == {"en", "de"}
    assert options.changed is (begins_in != "en")


def test_nobody_sets_what_each_call_sets(settings):
    settings.CONVERSATION = {"changed": True}
    with pytest.raises(ImproperlyConfigured, match="unknown options: changed"):
        conversation_options()


def test_the_setting_overrides_the_defaults_and_the_agent_overrides_the_setting(settings):
    settings.CONVERSATION = {"apology": "Pardon?", "greeting": "Hello.", "fillers": ["Hm."]}
    options = conversation_options(greeting="Good morning.")
    assert (options.apology, options.greeting, options.fillers) == ("Pardon?", "Good morning.", ("Hm.",))


def test_an_unknown_option_is_refused_with_the_names_of_the_known_ones(settings):
    settings.CONVERSATION = {"apologie": "Pardon?"}
    with pytest.raises(ImproperlyConfigured, match=r"apologie\. Choose from .*apology"):
        conversation_options()


def test_the_default_phrases_are_those_of_the_language(settings):
    settings.CONVERSATION = {}
    assert conversation_options(language="de-AT").still_there == "Sind Sie noch da?"
    assert conversation_options(language="nl").fillers[0] == "Een ogenblik, alstublieft."
    assert conversation_options(language="en-GB").still_there == "Are you still there?"
    assert conversation_options(language="pt").still_there != conversation_options(language="pt-BR").still_there


def test_the_setting_for_a_language_overrides_the_setting_for_all(settings):
    settings.CONVERSATION = {
        "still_there": "Hello?",
        "filler_after": 1.5,
        "de": {"still_there": "Hallo?", "fillers": ["Moment."]},
        "de-AT": {"still_there": "Servus?"},
    }
    assert conversation_options(language="en").still_there == "Hello?"
    assert conversation_options(language="de").still_there == "Hallo?"
    austrian = conversation_options(language="de-AT", greeting="Grüß Gott.")
    assert (austrian.still_there, austrian.fillers, austrian.filler_after) == ("Servus?", ("Moment.",), 1.5)
    assert austrian.greeting == "Grüß Gott."


def test_an_unknown_option_of_a_language_is_refused(settings):
    settings.CONVERSATION = {"de": {"apologie": "Wie bitte?"}}
    with pytest.raises(ImproperlyConfigured, match=r'CONVERSATION\["de"\] has unknown options: apologie\.'):
        conversation_options(language="fr")


def test_the_phrases_that_a_language_lacks_are_those_that_nobody_has_given(settings):
    settings.CONVERSATION = {"pl": {"still_there": "Halo?"}, "goodbye": "…"}
    assert missing_phrases("en-GB") == missing_phrases("de") == []
    assert set(missing_phrases("pl")) == PHRASE_OPTIONS - {"still_there", "goodbye"}
