"""The figures that are measured from the log of a tape."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from media.phone.measurements import Gap, Measurements, measure, percentile
from media.phone.tape import Tape


class Story:
    """A call as events on a tape. The caller's mouth is 50 ms away from the socket."""

    def __init__(self) -> None:
        self.tape = Tape()
        self._events: list[tuple[float, str, dict[str, Any]]] = []

    def caller_says(self, clip: str, start: float, end: float, kind: str = "say") -> None:
        for event, at in (("caller_speech_start", start), ("caller_speech_end", end)):
            self.event(event, at, clip=clip, kind=kind, sent_at=round(at + 0.05, 4))

    def agent_says(self, start: float, end: float, *, cleared: bool = False, received: float | None = None) -> None:
        self.event("agent_audio_received", start - 0.01 if received is None else received)
        self.event("play_start", start)
        self.event("agent_speech_start", start, heard_at=start + 0.05)
        self.event("agent_speech_end", end, heard_at=end + 0.05)
        self.event("play_end", end, reason="clear" if cleared else "dry")
        if cleared:
            self.event("clear_received", end)

    def event(self, event: str, at: float, **fields: Any) -> None:
        self._events.append((at, event, fields))

    def measure(self) -> Measurements:
        for at, event, fields in sorted(self._events, key=lambda event: event[0]):
            self.tape.log(event, at=self.tape.origin + at, **fields)
        return measure(self.tape)


def test_response_latency_at_the_socket_and_from_mouth_to_ear():
    story = Story()
    story.agent_says(0.5, 2.0)
    story.caller_says("What time do you open?", 3.0, 4.0)
    story.agent_says(4.5, 6.0)
    (turn,) = story.measure().turns
    assert turn.response == pytest.approx(4.49 - 4.05)
    assert turn.heard == pytest.approx(4.55 - 4.0)
    assert not turn.cut_in


def test_an_agent_that_replies_during_a_pause_cuts_in():
    story = Story()
    story.caller_says("I would like to ... change my booking", 1.0, 4.0)
    story.agent_says(2.5, 5.0)
    measured = story.measure()
    assert measured.cut_ins == 1
    assert measured.responses == []


def test_a_caller_who_gets_no_reply_has_no_latency():
    story = Story()
    story.caller_says("hello?", 1.0, 1.5)
    story.caller_says("hello?", 5.0, 5.5)
    story.agent_says(6.0, 7.0)
    first, second = story.measure().turns
    assert first.response is first.heard is None
    assert second.response == pytest.approx(0.44)


def test_an_interruption_is_measured_to_the_clear_and_to_silence():
    story = Story()
    story.agent_says(0.5, 3.4, cleared=True)
    story.caller_says("stop", 3.0, 3.3, "talk over")
    story.agent_says(4.0, 5.0)
    measured = story.measure()
    (overlap,) = measured.interruptions
    assert overlap.clear_after == pytest.approx(3.4 - 3.05)
    assert overlap.silent_after == pytest.approx(3.45 - 3.0)
    assert [turn.response for turn in measured.turns] == [pytest.approx(3.99 - 3.35)]
    assert measured.cut_ins == 0


def test_an_agent_that_continues_through_an_interruption():
    story = Story()
    story.agent_says(0.5, 6.0)
    story.caller_says("stop", 3.0, 3.3, "talk over")
    measured = story.measure()
    (overlap,) = measured.interruptions
    assert overlap.clear_after is overlap.silent_after is None
    assert measured.turns[0].response is None
    assert measured.cut_ins == 0


def test_an_agent_that_resumes_while_the_caller_still_speaks_cuts_in():
    story = Story()
    story.agent_says(0.5, 3.4, cleared=True)
    story.caller_says("no, wait, that is wrong", 3.0, 5.0, "talk over")
    story.agent_says(4.0, 6.0)
    assert story.measure().cut_ins == 1


@pytest.mark.parametrize(("resumes_at", "silence"), [(None, None), (3.6, 0.3)])
def test_a_backchannel_can_stop_the_agent_for_a_while_or_for_good(resumes_at, silence):
    story = Story()
    story.agent_says(0.5, 3.3, cleared=True)
    story.caller_says("mm-hm", 3.0, 3.3, "backchannel")
    if resumes_at:
        story.agent_says(resumes_at, 6.0)
    measured = story.measure()
    (overlap,) = measured.backchannels
    assert overlap.resumed_after == (None if silence is None else pytest.approx(silence))
    assert overlap.watched_for == pytest.approx(story.tape.events[-1]["at"] - 3.3)
    assert measured.turns == []


def test_an_agent_that_continues_through_a_backchannel():
    story = Story()
    story.agent_says(0.5, 6.0)
    story.caller_says("mm-hm", 3.0, 3.3, "backchannel")
    (overlap,) = story.measure().backchannels
    assert overlap.resumed_after == overlap.watched_for == 0.0


def test_a_gap_is_a_dry_queue_in_mid_speech_and_not_the_silence_before_a_reply():
    story = Story()
    story.event("underrun", 2.0, seconds=0.02)
    story.event("underrun", 4.0, seconds=0.06)
    story.caller_says("and then?", 5.0, 5.5)
    story.event("underrun", 6.0, seconds=0.8)
    assert story.measure().gaps == [Gap(3.94, 0.06)]


def test_marks_without_an_echo_and_errors_are_counted():
    story = Story()
    story.event("mark_received", 1.0, name="a")
    story.event("mark_received", 1.1, name="b")
    story.event("mark_echoed", 1.2, name="a")
    story.event("error", 2.0, code=31951, detail="bad")
    measured = story.measure()
    assert measured.unresolved_marks == 1
    assert measured.errors == [31951]


def test_a_call_that_ends_in_mid_word_is_measured():
    story = Story()
    story.event("agent_speech_start", 1.0, heard_at=1.05)
    story.event("caller_speech_start", 1.5, clip="but", kind="say", sent_at=1.55)
    measured = story.measure()
    assert measured.turns == []
    assert measured.agent_seconds == pytest.approx(0.45)
    assert measure(Tape()) == Measurements()


def test_figures_can_be_read_from_a_directory(tmp_path):
    with closing(Tape(tmp_path)) as tape:
        at = tape.origin
        tape.log("caller_speech_start", at=at + 1, sent_at=1.0, clip="hi", kind="say")
        tape.log("caller_speech_end", at=at + 2, sent_at=2.0, clip="hi", kind="say")
        tape.log("agent_audio_received", at=at + 2.3)
    measured = measure(tmp_path)
    assert measured == measure(tape)
    assert measured.responses == [pytest.approx(0.3)]


def test_a_percentile_is_one_of_the_values():
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 3.0
    assert percentile(list(map(float, range(100))), 0.95) == 95.0
    assert np.isnan(percentile([], 0.5))
