"""What the caller is saying, and what happens when recognition finds no words or fails."""

from __future__ import annotations

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.caller import MISSED, NOTHING_SAID, Caller, CallerMove, Unheard
from media.turns.clock import StreamClock, samples
from media.turns.conversation import Floor
from media.turns.endpointing import COMPLETE, COUNTED_PAUSE, SPECULATE
from media.turns.options import ConversationOptions
from media.turns.timing import Timing
from media.turns.utterance import LONGEST_DELAY
from tests.media.turns.phone import REPLY, Engines, Phone


def test_noise_without_words_is_not_a_turn():
    phone = Phone()
    phone.caller_makes_noise(start=1.0, end=1.3)
    phone.wait_until(4.0)
    assert phone.turns == []
    assert phone.conversation.floor is Floor.IDLE


def test_the_agent_asks_a_caller_who_mumbled_to_repeat():
    phone = Phone()
    phone.caller_makes_noise(start=1.0, end=2.2)
    phone.wait_until(6.0)
    assert phone.transcript == [("agent", phone.options.not_caught)]


def test_the_last_partial_is_used_when_recognition_stalls():
    phone = Phone(engines=Engines(snapshot=1000.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.5)
    phone.at(1.4, ev.TranscriptPartial(1, "what time do you open"))
    phone.wait_until(8.0)
    assert phone.transcript[0] == ("caller", "what time do you open")
    assert phone.agent_turns[0] - 1.5 < 2.0


def test_the_call_ends_politely_when_recognition_keeps_failing():
    phone = Phone(engines=Engines(snapshot=1000.0))
    for start in (0.5, 6.0, 12.0):
        phone.caller_says("What time do you open?", start=start, end=start + 1.0)
    phone.wait_until(25.0)
    caught = phone.options.not_caught
    assert [text for _, text in phone.transcript] == [caught, caught, phone.options.trouble_goodbye]
    assert phone.hung_up == "engines-failed"


def test_words_are_not_lost_when_recognition_is_slow():
    phone = Phone(ConversationOptions(greeting=REPLY), Engines(snapshot=1.4))
    phone.caller_says("no not that", start=1.5, end=2.1)
    phone.wait_until(12.0)
    assert ("caller", "no not that") in phone.transcript


def delayed(phone: Phone, *, until: float) -> None:
    """Recognition is out of reach from 1 s on."""
    for tenth in range(15, round(until * 10), 5):
        phone.at(tenth / 10, ev.TranscriptDelayed(1, 1))


def test_words_are_awaited_while_recognition_is_out_of_reach_and_a_filler_bridges_the_wait():
    phone = Phone(engines=Engines(snapshot=3.5))
    phone.caller_says("What time do you open?", start=0.5, end=1.3)
    delayed(phone, until=5.0)
    phone.wait_until(12.0)
    filler = phone.options.fillers[0]
    assert phone.transcript == [("agent", filler), ("caller", "What time do you open?"), ("agent", REPLY)]
    assert phone.agent_turns[0] == pytest.approx(1.3 + phone.options.longest_silence, abs=0.1)
    assert phone.agent_turns[1] < 1.3 + 3.5 + 1.0
    assert phone.sent(cmd.StartReply)[-1].history == (cmd.Line("caller", "What time do you open?"),)


def test_a_slow_reply_behind_that_wait_gets_the_next_filler():
    phone = Phone(engines=Engines(snapshot=3.5, first_token=1.5))
    phone.caller_says("What time do you open?", start=0.5, end=1.3)
    delayed(phone, until=5.0)
    phone.wait_until(14.0)
    first, second = phone.options.fillers
    assert phone.transcript[:2] == [("agent", first), ("caller", "What time do you open?")]
    assert phone.transcript[2] == ("agent", f"{second} {REPLY}")


def test_words_that_come_while_the_filler_sounds_are_answered_behind_it():
    phone = Phone(engines=Engines(snapshot=2.1))
    phone.caller_says("What time do you open?", start=0.5, end=1.3)
    delayed(phone, until=3.5)
    phone.wait_until(8.0)
    assert [text for _, text in phone.transcript] == [phone.options.fillers[0], "What time do you open?", REPLY]
    assert len(phone.agent_stretches) == 1  # the reply was made meanwhile


def test_a_caller_who_goes_on_stops_the_filler_and_is_heard_out():
    phone = Phone(engines=Engines(snapshot=2.5))
    phone.caller_says("I would like to know", start=0.5, end=1.3)
    delayed(phone, until=3.5)
    phone.caller_says("what time you open.", start=3.4, end=4.4)
    phone.wait_until(3.3)
    assert phone.conversation.floor is Floor.BRIDGED
    phone.engines.snapshot = 0.05
    phone.wait_until(3.6)
    assert phone.conversation.floor is Floor.CALLER
    phone.wait_until(12.0)
    assert ("caller", "I would like to know what time you open.") in phone.transcript
    assert phone.agent_stretches[0][1] < 3.8


def test_words_are_not_awaited_for_ever():
    phone = Phone(engines=Engines(snapshot=1000.0))
    phone.caller_says("What time do you open?", start=0.5, end=1.3)
    delayed(phone, until=30.0)
    phone.wait_until(12.0)
    assert phone.transcript == [("agent", text) for text in (*phone.options.fillers, phone.options.not_caught)]
    assert phone.agent_turns[2] == pytest.approx(1.3 + LONGEST_DELAY, abs=0.3)


def a_caller() -> Caller:
    return Caller(
        ConversationOptions(),
        clock=StreamClock(),
        agent_said=lambda: "",
        keys_due=lambda: None,
        emit=lambda command: None,
    )


def pause(caller: Caller, *, said: str, since: float = 1.0) -> None:
    """The caller has spoken from 0 s on, and recognition has found these words in the pause."""
    caller.open(0, answering=None)
    caller.stop(samples(since))
    caller.reach(samples(since + SPECULATE))
    caller.ask(since + SPECULATE)
    caller.take_snapshot(ev.TranscriptReady(caller.opened, caller.snapshots, said), since + SPECULATE)


def test_a_turn_is_asked_about_speculated_on_and_over_as_the_silence_lasts():
    caller = a_caller()
    caller.open(0, answering=None)
    assert caller.judge_turn() is CallerMove.WAIT
    caller.stop(samples(1.0))
    assert caller.judge_turn() is CallerMove.WAIT
    caller.reach(samples(1.0 + SPECULATE))
    assert caller.judge_turn() is CallerMove.ASK
    caller.ask(1.1)
    assert caller.judge_turn() is CallerMove.WAIT
    caller.take_snapshot(ev.TranscriptReady(1, 1, "What time do you open?"), 1.15)
    assert caller.judge_turn() is CallerMove.SPECULATE
    caller.words_considered()
    assert caller.judge_turn() is CallerMove.WAIT
    caller.reach(samples(1.0 + COMPLETE))
    assert caller.judge_turn() is CallerMove.END_OF_TURN


def test_a_full_stop_that_does_not_count_ends_no_turn():
    for stop_counts, move in ((True, CallerMove.END_OF_TURN), (False, CallerMove.WAIT)):
        caller = a_caller()
        caller.open(0, answering=None)
        caller.stop(samples(1.0))
        caller.ask(1.1)
        caller.take_snapshot(ev.TranscriptReady(1, 1, "He might have been made.", stop_counts), 1.15)
        caller.words_considered()
        caller.reach(samples(1.0 + COMPLETE))
        assert caller.judge_turn() is move


def test_a_caller_who_goes_on_makes_the_words_of_the_pause_void():
    caller = a_caller()
    pause(caller, said="I would like to know")
    assert caller.resume(samples(1.5), overlapping=False)
    assert caller.judge_turn() is CallerMove.WAIT
    assert not caller.take_snapshot(ev.TranscriptReady(1, 1, "something else"), 1.6)


def test_the_wait_is_longer_once_the_caller_has_paused_in_this_turn():
    for length, counts in ((COUNTED_PAUSE - 0.05, False), (COUNTED_PAUSE + 0.05, True)):
        caller = a_caller()
        pause(caller, said="the blue one")
        first = caller.wait
        caller.resume(samples(1.0 + length), overlapping=False)
        caller.stop(samples(2.0))
        caller.reach(samples(2.0 + SPECULATE))
        caller.ask(2.1)
        caller.take_snapshot(ev.TranscriptReady(1, caller.snapshots, "the blue one on the left"), 2.15)
        assert first is not None
        assert caller.wait is not None
        assert (caller.wait > first) == counts


def test_an_utterance_without_words_is_given_up():
    caller = a_caller()
    pause(caller, said="")
    caller.reach(samples(1.0 + NOTHING_SAID))
    assert caller.judge_turn() is CallerMove.GIVE_UP


def test_asking_to_repeat_stops_after_some_utterances_without_words():
    caller = a_caller()
    found = []
    for _ in range(MISSED):
        pause(caller, said="")
        found.append(caller.give_up(2.0, keys_pending=False))
    assert found == [Unheard.MUMBLE] * (MISSED - 1) + [Unheard.NOISE]


def test_recognition_that_fails_again_and_again_is_told_apart_from_noise():
    caller = a_caller()
    for _ in range(MISSED):
        caller.open(0, answering=None)
        caller.stop(samples(1.0))
        caller.ask(1.1)
        assert caller.deadline is not None
        assert not caller.give_up_recognition(caller.deadline - 0.01)
        assert caller.give_up_recognition(caller.deadline)
        unheard = caller.give_up(3.0, keys_pending=False)
    assert unheard is Unheard.RECOGNITION_FAILED


def test_short_noises_and_the_tones_of_keys_are_noise():
    caller = a_caller()
    pause(caller, said="", since=0.3)
    assert caller.give_up(2.0, keys_pending=False) is Unheard.NOISE
    pause(caller, said="")
    assert caller.give_up(2.0, keys_pending=True) is Unheard.NOISE


def test_the_agent_has_cut_in_on_a_caller_who_goes_on_just_after_its_first_sound():
    for sent, cut_in, gap in ((None, False, 2.0), (9.5, True, 2.0), (8.5, False, None)):
        caller = a_caller()
        caller.open(samples(10.0), answering=Timing(caller_stopped=8.0, sent=sent))
        assert caller.utterance is not None
        assert (caller.utterance.cut_in, caller.utterance.gap) == (cut_in, gap)
