"""What was sent, and what of it the caller has heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turns.events import Revision
from media.turns.playout import HIGH_WATER, LOW_WATER, MOST_MARKS, Playout, Segment

TEXT = "one two three four five six seven"


def segment(text: str = TEXT) -> Segment:
    return Segment(Revision(1, 1), text)


def speak(playout: Playout, speech: Segment, seconds: float) -> None:
    """Audio of so many seconds that says the whole text evenly."""
    playout.add(speech, b"\x10" * round(seconds * 8000), len(speech.text))
    speech.complete = True
    playout.end(speech)


def test_the_lead_stays_between_its_bounds():
    playout, speech = Playout(), segment()
    speak(playout, speech, 5.0)
    sent, now = 0.0, 0.0
    while not playout.empty:
        sent += sum(len(sending.audio) for sending in playout.due(now)) / 8000
        assert LOW_WATER - 0.001 <= sent - now <= HIGH_WATER + 0.061 or playout.empty
        assert playout.next_due is None or playout.next_due > now
        now = playout.next_due or now


def test_audio_waits_for_a_whole_message_unless_it_is_the_last():
    playout, speech = Playout(), segment()
    playout.add(speech, b"\x10" * 100, 1)
    assert playout.due(0.0) == []
    playout.end(speech)
    assert [len(sending.audio) for sending in playout.due(0.0)] == [100]


def test_the_words_heard_are_rounded_down_to_whole_words():
    playout, speech = Playout(), segment()
    speak(playout, speech, 3.3)  # 100 ms a character
    playout.due(0.0)
    playout.due(0.2)
    playout.take_heard(0.29)
    assert speech.heard_text == ""
    now = 0.2
    while now < 1.0:
        now = playout.next_due or 1.0
        playout.due(now)
    playout.take_heard(1.0)
    assert speech.heard_text == "one two"


def test_only_the_first_piece_after_a_stop_goes_on_in_mid_sound():
    playout, speech = Playout(), segment()
    speak(playout, speech, 3.0)
    assert not any(sending.goes_on for sending in playout.due(0.0))
    playout.hold(0.1)
    playout.resume()
    assert [sending.goes_on for sending in playout.due(1.0)][:2] == [True, False]
    playout.hold(1.2)
    playout.discard()
    another = segment()
    speak(playout, another, 1.0)
    assert not any(sending.goes_on for sending in playout.due(2.0))


def test_held_sound_goes_on_where_it_stopped():
    playout, speech = Playout(), segment()
    audio = bytes(range(256)) * 32  # 1.024 s
    playout.add(speech, audio, len(TEXT))
    playout.end(speech)
    heard = b""
    playout.due(0.0)
    heard += b"".join(run.audio for run in playout.hold(0.1))
    assert len(heard) == 800
    playout.resume()
    now = 1.0
    while not playout.empty:
        playout.due(now)
        now += 0.1
    heard += b"".join(run.audio for run in playout.take_heard(9.0))
    assert heard == audio


def test_a_mark_returned_by_a_clear_proves_nothing():
    playout, speech = Playout(), segment()
    speak(playout, speech, 2.0)
    marks = [sending.mark for sending in playout.due(1.0) if sending.mark]
    playout.hold(1.05)
    assert marks
    assert not any(playout.mark_reached(mark, 1.1) for mark in marks)


def test_marks_that_never_come_back_are_forgotten():
    playout = Playout()
    marks = [playout.last_mark() for _ in range(MOST_MARKS + 50)]
    assert len(playout._marks) == MOST_MARKS
    assert [playout.mark_reached(mark, 1.0) for mark in marks] == [False] * 50 + [True] * MOST_MARKS


def test_marks_measure_how_late_the_carrier_plays():
    playout, speech = Playout(), segment()
    speak(playout, speech, 2.0)
    now, marks = 1.0, []
    while not playout.empty:
        for sending in playout.due(now):
            if sending.lead_mark:
                assert playout.mark_reached(sending.lead_mark, now + 0.08)  # 80 ms there and back
            if sending.mark:
                marks.append((sending.mark, playout._marks[sending.mark]))
        now = playout.next_due or now
    for mark, expected in marks:
        playout.mark_reached(mark, expected + 0.08 + 0.06)  # and a buffer of 60 ms
    assert playout.round_trip == pytest.approx(0.08)
    assert playout.lag == pytest.approx(0.06)


def test_a_queue_that_runs_dry_within_speech_is_an_underrun():
    playout, speech = Playout(), segment()
    playout.add(speech, b"\x10" * 4800, 5)
    playout.due(0.0)
    playout.due(0.3)
    playout.add(speech, b"\x10" * 4800, 9)
    playout.due(2.0)
    assert playout.underruns == 1


@given(st.lists(st.tuples(st.sampled_from("adthm"), st.floats(0, 0.7), st.integers(1, 4000)), max_size=40))
def test_the_ledger_adds_up_whatever_happens(script):
    """What was heard is a prefix of what was sent, in bytes and in text. It never shrinks and has nothing twice."""
    playout, speech = Playout(), segment()
    given_audio, heard, text_end, now, before = bytearray(), bytearray(), 0, 0.0, 0
    marks: list[str] = []
    for step, later, size in script:
        now += later
        if step == "a":
            text_end = min(text_end + size % 7, len(TEXT))
            piece = bytes(index % 251 for index in range(len(given_audio), len(given_audio) + size))
            given_audio += piece
            playout.add(speech, piece, text_end)
        elif step == "d":
            marks += [sending.mark for sending in playout.due(now) if sending.mark]
        elif step == "t":
            heard += b"".join(run.audio for run in playout.take_heard(now))
        elif step == "h":
            if not playout.held:
                heard += b"".join(run.audio for run in playout.hold(now))
            playout.resume()
        elif marks:
            playout.mark_reached(marks.pop(), now)
        assert speech.heard == len(heard) >= before
        assert given_audio.startswith(heard)
        assert TEXT.startswith(speech.heard_text)
        before = len(heard)


@pytest.mark.parametrize(("again_from", "left"), [(24, 2.4), (8, 0.8), (3, 0.36), (0, 0.36)])
def test_sound_that_a_voice_says_again_is_not_sent_unless_it_was_sent_already(again_from, left):
    playout, speech = Playout(), segment()
    for end in range(10, 31, 10):
        playout.add(speech, b"\x10" * 8000, end)  # 100 ms a character
    playout.due(0.0)  # sends the lead of 0.36 s
    playout.take_back(speech, again_from)
    assert speech.received == round(left * 8000)
    assert speech.text_until(speech.received) == min(again_from, int(left * 10 + 0.6))
    playout.add(speech, b"\x20" * 8000, len(TEXT))
    playout.end(speech)
    sent = b"".join(sending.audio for now in range(1, 40) for sending in playout.due(now / 10))
    assert len(sent) == round(left * 8000) - 2880 + 8000
    assert sent.endswith(b"\x20" * 8000)


def test_of_a_character_counts_as_heard_what_is_said_whole_and_as_sent_what_is_said_half():
    playout, speech = Playout(), segment()
    playout.add(speech, b"\x10" * 1000, 10)
    assert [speech.text_until(count) for count in (0, 440, 460, 1000)] == [0, 4, 4, 10]
    assert [speech.text_begun(count) for count in (0, 440, 460, 1000)] == [0, 4, 5, 10]
