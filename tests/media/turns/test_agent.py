"""The agent speaks, and its engines are slow, fail or break off."""

from __future__ import annotations

from dataclasses import fields

import pytest

from calls.stages import STAGE_NAMES
from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.options import ConversationOptions
from tests.media.turns.phone import GREETING, SHORT, Engines, Phone, characters_in


def test_a_slow_engine_is_bridged_by_a_filler():
    phone = Phone(engines=Engines(first_token=2.2, replies=[SHORT]))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.transcript[-1] == ("agent", f"{phone.options.fillers[0]} {SHORT}")
    assert phone.turns[-1].fallback
    assert phone.agent_turns[0] - 1.5 < 2.0


def test_the_language_model_is_not_told_of_a_filler():
    """A small one says "One moment, please." by itself once it has read that it did."""
    phone = Phone(engines=Engines(first_token=2.0, replies=[SHORT]))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("And on Sunday?", start=9.0, end=10.0)
    phone.wait_until(12.0)
    said = [line.text for line in phone.sent(cmd.StartReply)[-1].history if line.speaker == "agent"]
    assert said == [SHORT]
    assert phone.options.fillers[0] in phone.turns[1].heard


def test_an_engine_that_fails_is_tried_a_second_time_behind_a_filler():
    phone = Phone(
        engines=Engines(fails=lambda attempt: attempt == 1, replies=[SHORT]),
        options=ConversationOptions(speculate=False),
    )
    phone.caller_says("Hello there, how are you?", start=0.5, end=1.5)
    phone.caller_says("What time do you open?", start=5.0, end=6.0)
    phone.wait_until(12.0)
    assert phone.transcript[-1] == ("agent", f"{phone.options.fillers[0]} {SHORT}")


def test_engines_that_keep_failing_lead_to_an_apology_and_then_a_polite_end():
    phone = Phone(engines=Engines(fails=lambda attempt: True))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.caller_says("What time do you open?", start=8.0, end=9.0)
    phone.wait_until(25.0)
    said = [text for speaker, text in phone.transcript if speaker == "agent"]
    assert phone.options.apology in said[0]
    assert said[-1] == phone.options.trouble_goodbye
    assert phone.hung_up == "engines-failed"


def test_an_engine_that_stops_answering_never_leaves_two_seconds_of_silence():
    phone = Phone(engines=Engines(first_token=1000.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(12.0)
    gaps = [
        later[0] - earlier[1]
        for earlier, later in zip([(0, 1.5), *phone.agent_stretches], phone.agent_stretches, strict=False)
    ]
    assert max(gaps) < 2.0
    assert phone.transcript[-1] == ("agent", " ".join([*phone.options.fillers, phone.options.apology]))


def test_an_empty_reply_counts_as_a_failure():
    phone = Phone(ConversationOptions(speculate=False), Engines(is_empty=lambda attempt: attempt == 0, replies=[SHORT]))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(7.0)
    assert phone.transcript[-1][1].endswith(SHORT)
    assert phone.turns[-1].fallback


def test_the_agent_admits_that_a_reply_has_broken_off():
    phone = Phone(ConversationOptions(speculate=False), Engines(breaks_off=lambda attempt: attempt == 0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    said, heard = phone.turns[-1].said, phone.turns[-1].heard
    # What the voice did not say is not on record as said.
    assert heard == said == f"We open at nine {phone.options.lost_thread}"


def test_the_call_ends_at_once_when_the_voice_has_failed():
    phone = Phone(ConversationOptions(greeting=GREETING), Engines(mute=True)).wait_until(3.0)
    assert phone.hung_up == "engines-failed"


def test_a_voice_that_fails_once_still_says_a_stored_goodbye():
    phone = Phone(ConversationOptions(greeting=GREETING))
    phone.receive(ev.ReplyFailed(phone.revisions[0], "the voice has failed"))
    phone.wait_until(9.0)
    assert phone.transcript == [("agent", phone.options.trouble_goodbye)]
    assert phone.hung_up == "engines-failed"


def test_a_slow_engine_after_a_long_pause_is_bridged_before_two_seconds():
    phone = Phone(ConversationOptions(speculate=False), Engines(first_token=5.0))
    phone.caller_says("I would like to", start=0.5, end=1.5)
    phone.wait_until(6.0)
    assert phone.agent_turns[0] - 1.5 < 2.0


def test_the_agent_says_no_filler_over_the_caller():
    phone = Phone(engines=Engines(first_token=5.0, recognises=lambda text: ""))
    phone.at(0.5, ev.KeyPressed("#"))  # an answer is due, and slow
    phone.caller_makes_noise(start=1.5, end=2.4)  # the filler would come at 1.7
    phone.wait_until(4.0)
    assert phone.agent_turns[0] > 2.4


def test_a_slow_engine_that_then_fails_gets_no_second_filler_at_once():
    phone = Phone(ConversationOptions(speculate=False), Engines(first_token=1.6, fails=lambda attempt: attempt == 0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(3.8)
    assert [line.text for line in phone.sent(cmd.SayLine)] == [phone.options.fillers[0]]


def test_a_reply_waits_for_the_end_of_a_filler_that_has_begun():
    phone = Phone(ConversationOptions(speculate=False), Engines(first_token=1.3, replies=[SHORT], pace=1.1))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(8.0)
    tape = b"".join(frame for _, frame in phone.heard_frames)
    order = [number for run in range(0, len(tape), 320) for number in characters_in(tape[run : run + 320])]
    assert order == sorted(order, reverse=True)  # the filler was started later
    assert phone.transcript[1] == ("agent", f"{phone.options.fillers[0]} {SHORT}")


def test_audio_that_is_made_slower_than_real_time_is_heard_to_its_end():
    phone = Phone(engines=Engines(replies=[SHORT], pace=0.5))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(15.0)
    assert phone.transcript[1][1] == SHORT
    assert phone.notes("underrun")


def test_the_stages_of_a_response_add_up_to_it():
    phone = Phone()
    phone.caller_says("What time do you open?", start=1.0, end=2.2)
    phone.wait_until(9.0)
    stages = phone.turns[-1].stages
    assert sum(stages[name] for name in STAGE_NAMES) == pytest.approx(stages["response_latency"], abs=0.001)
    assert stages["response_latency"] == pytest.approx(phone.agent_turns[0] - 2.2, abs=0.06)
    assert stages["heard_latency"] == pytest.approx(phone.heard_frames[0][0] - 2.2, abs=0.03)


def test_the_stages_add_up_behind_a_filler_as_well():
    phone = Phone(engines=Engines(first_token=2.2, replies=[SHORT]))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    stages = phone.turns[-1].stages
    assert sum(stages[name] for name in STAGE_NAMES) == pytest.approx(stages["response_latency"], abs=0.001)


# Phrases that are empty or cannot be spoken


class VoiceThatCannotSpeak(Phone):
    """A call whose voice can speak no word of these lines."""

    def __init__(self, *lines: str, options: ConversationOptions, engines: Engines | None = None) -> None:
        self._unspeakable = lines
        super().__init__(options, engines)

    def _carry_out(self, command: cmd.Command) -> None:
        if isinstance(command, cmd.SayLine) and command.text in self._unspeakable:
            self.at(self.now, ev.ReplyEnded(command.revision, unspeakable=True))
        else:
            super()._carry_out(command)


def test_no_empty_line_is_given_to_the_voice():
    names = [field.name for field in fields(ConversationOptions) if field.default and field.type == "str"]
    silent = ConversationOptions(**dict.fromkeys(set(names) - {"language"}, ""), fillers=("", " "))
    phone = Phone(silent, Engines(fails=lambda attempt: True))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(8.0)
    assert phone.hung_up is None
    phone.caller_says("What time do you open?", start=9.0, end=10.0)
    phone.wait_until(20.0)
    assert phone.hung_up == "engines-failed"
    assert phone.sent(cmd.SayLine) == []
    assert phone.sent(cmd.SendAudio) == []


@pytest.mark.parametrize(
    ("event", "reason"), [(ev.EndRequested("operator"), "operator"), (ev.TransferRequested(), "transferred")]
)
def test_an_end_without_last_words_is_an_end(event, reason):
    phone = Phone(ConversationOptions(goodbye="", transferring=" "))
    phone.at(1.0, event)
    phone.wait_until(4.0)
    assert phone.hung_up == reason
    assert phone.sent(cmd.SayLine) == []


def test_a_silent_caller_without_words_for_it_is_hung_up_on_in_the_end():
    options = ConversationOptions(greeting=GREETING, still_there="", silence_goodbye="", still_there_after=3.0)
    phone = Phone(options).wait_until(20.0)
    assert phone.transcript == [("agent", GREETING)]
    assert phone.hung_up == "silence"


def test_a_filler_that_is_empty_lengthens_the_wait():
    phone = Phone(ConversationOptions(fillers=("", "One moment.")), Engines(first_token=3.5, replies=[SHORT]))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.wait_until(9.0)
    assert phone.transcript[-1] == ("agent", f"One moment. {SHORT}")


def test_a_greeting_that_the_voice_cannot_speak_is_left_out():
    phone = VoiceThatCannotSpeak(GREETING, options=ConversationOptions(greeting=GREETING))
    phone.caller_says("What time do you open?", start=1.5, end=2.5)
    phone.wait_until(9.0)
    assert phone.hung_up is None
    assert [speaker for speaker, _ in phone.transcript] == ["caller", "agent"]
    assert [note.data for note in phone.notes("line-unspeakable")] == [{"kind": "line"}]


def test_a_text_of_the_operator_that_the_voice_cannot_speak_is_left_out():
    phone = VoiceThatCannotSpeak("こんにちは", options=ConversationOptions())
    phone.at(1.0, ev.SayRequested("こんにちは"))
    phone.at(1.5, ev.SayRequested("Hello."))
    phone.wait_until(4.0)
    assert phone.transcript == [("agent", "Hello.")]
    assert phone.hung_up is None


def test_a_disclosure_that_the_voice_cannot_speak_ends_the_call():
    options = ConversationOptions(disclosure="こんにちは", greeting=GREETING)
    phone = VoiceThatCannotSpeak("こんにちは", options=options).wait_until(10.0)
    assert phone.hung_up == "engines-failed"
    assert phone.sent(cmd.StartRecording) == []
    assert ("agent", options.trouble_goodbye) in phone.transcript
