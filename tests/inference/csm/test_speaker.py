"""What one call says, decided without a thread, a clock or tensors: each decision is recorded, in order."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.csm.context import Context, ContextSegment
from inference.csm.guards import Frame
from inference.csm.replies import Clause, SpokenReply
from inference.csm.speaker import Format, Speaker
from inference.types import AudioChunk, ContextTooLarge, EngineError

CODEBOOKS = 4
FRAME = 1920
POSITIONS = 600
TEXT = "one two three four five six seven eight nine ten"


def tokens(text: str) -> tuple[int, ...]:
    return (300, *(sum(map(ord, word)) % 200 + 1 for word in text.split()), 301)


class Call:
    """One speaker, with a record of what it has done in ``done``: names of controls with their arguments."""

    def __init__(self, prompt: ContextSegment | None = None, positions: int = POSITIONS) -> None:
        context = Context(prompt, codebooks=CODEBOOKS, positions=positions - 1, most_seconds=24.0, keep_seconds=16.0)
        self.counts: Counter[str] = Counter()
        model = Format(positions, CODEBOOKS, FRAME, 24000)
        self.speaker = Speaker(context, self, model, tokenize=tokens, counts=self.counts)
        self.done: list[tuple[object, ...]] = []
        self.delivered: dict[int, list[AudioChunk | EngineError | None]] = {}
        """By the number of the reply."""
        self._numbers = 0
        self._expected = 0

    # What a speaker has done

    def prepare_row(self) -> None:
        self.done.append(("prepare_row",))

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self.speaker.row.length
        self.done.append(("rewind", length))

    def start_clause(self, positions: int) -> None:
        self._expect(positions)
        self.done.append(("start_clause", positions))

    def prefill_later(self, positions: int) -> None:
        self._expect(positions)
        self.done.append(("prefill_later", positions))

    def _expect(self, positions: int) -> None:
        """The scheduler counts what waits to be prefilled; it must agree with the speaker."""
        self._expected += positions
        assert self._expected == len(self.speaker.row.waiting)

    def end_clause(self) -> None:
        self.done.append(("end_clause",))

    def stop(self, *, audio_goes_on: bool = False) -> None:
        self._expected = 0
        self.done.append(("stop", "audio goes on") if audio_goes_on else ("stop",))

    def deliver(self, reply: SpokenReply, item: AudioChunk | EngineError | None) -> None:
        reply.deliver(item)
        match item:
            case None:
                self.done.append(("deliver", reply.number, "end"))
            case AudioChunk():
                self.done.append(("deliver", reply.number, "exact" if item.exact else "sound"))
            case _:
                self.done.append(("deliver", reply.number, "error"))

    # What happens to it

    def enter(self) -> Call:
        self.speaker.enter()
        self.done.clear()
        return self

    def reply(self, *texts: str, more: bool = False) -> SpokenReply:
        """Begin a reply with these clauses. With ``more``, its text has not ended."""
        self._numbers += 1
        items = self.delivered[self._numbers] = []
        reply = SpokenReply(items.append, self._numbers)
        self.speaker.begin_reply(reply)
        self.add(reply, *texts)
        if not more:
            self.speaker.end_text(reply)
        return reply

    def add(self, reply: SpokenReply, *texts: str) -> None:
        start = sum(len(clause.text) for clause in (*reply.spoken, *reply.waiting))
        for text in texts:
            self.speaker.add_clauses(reply, [Clause(text, tokens(text), start)])
            start += len(text)

    def prefill(self) -> None:
        self.speaker.row.record_prefill(self.speaker.row.next_chunk(POSITIONS))
        self._expected = 0

    def frame(self, code: int, *, level_dbfs: float = -20.0, end: bool = False, finite: bool = True) -> None:
        codes = np.full(CODEBOOKS, code, np.int16)
        self.speaker.row.record_frame(codes)
        frame = Frame(code, head_zeros=False, end=end, level_dbfs=level_dbfs, finite=finite)
        self.speaker.judge(frame, codes, np.full(FRAME, code, np.int16))

    def frames(self, count: int) -> None:
        for number in range(count):
            self.frame(1 + number)

    def end(self) -> None:
        self.frame(0, end=True)

    def says(self, frames: int) -> None:
        """Prefill, make the frames of a clause, and end it."""
        self.prefill()
        self.frames(frames)
        self.end()

    def remembers(self) -> list[tuple[tuple[int, ...], list[int]]]:
        return [(said.tokens, said.codes[:, 0].tolist()) for said in self.speaker.context._said]


@pytest.fixture
def call() -> Call:
    return Call().enter()


def segment(text: str, frames: int, code: int = 7) -> ContextSegment:
    return ContextSegment(tokens(text), np.full((frames, CODEBOOKS), code, np.int16))


def test_it_needs_no_torch():
    code = "import sys, inference.csm.speaker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# -- the usual course


def test_a_call_that_enters_has_its_prompt_prefilled_when_there_is_time():
    call = Call(segment("My name is Ann", 20))
    call.speaker.enter()
    assert call.done == [("prefill_later", 6 + 20 + 1)]
    call.prefill()
    assert np.array_equal(call.speaker.row.fed, segment("My name is Ann", 20).positions())


def test_a_clause_is_prefilled_made_delivered_and_remembered(call):
    call.reply(TEXT)
    assert call.done == [("prepare_row",), ("start_clause", 12)]
    call.prefill()
    call.done.clear()
    call.frames(3)
    call.end()
    assert call.done == [
        *[("deliver", 1, "sound")] * 3,
        ("end_clause",),
        ("deliver", 1, "exact"),
        ("deliver", 1, "end"),
        ("stop",),
        ("prefill_later", 1),  # the frame of zeros, which ends the speech and was drawn but not fed
    ]
    assert call.remembers() == [(tokens(TEXT), [1, 2, 3])]
    assert call.counts == {"end": 1}


def test_after_a_reply_the_model_was_fed_exactly_what_is_remembered(call):
    call.reply("Good morning. ", "How are you?")
    call.says(5)
    call.says(6)
    call.prefill()
    assert np.array_equal(call.speaker.row.fed, call.speaker.context.written_out())


def test_the_second_clause_prefills_the_end_of_the_first_and_its_own_text(call):
    call.reply("Good morning. ", "How are you?")
    call.says(5)
    assert call.done[-2:] == [("prepare_row",), ("start_clause", 1 + 5)]


def test_the_end_of_the_text_ends_a_reply_that_has_said_everything(call):
    reply = call.reply("Hello.", more=True)
    call.says(5)
    assert call.delivered[1][-1].exact
    call.speaker.end_text(reply)
    assert call.delivered[1][-1] is None


def test_a_reply_reports_estimates_in_a_clause_and_the_exact_position_at_its_end(call):
    call.reply(TEXT, " Bye.")
    call.says(30)
    positions = [item.text_end for item in call.delivered[1]]
    assert positions == sorted(positions)
    assert positions[-2] < positions[-1] == len(TEXT)
    assert [item.exact for item in call.delivered[1]] == [False] * 30 + [True]


# -- several replies


def test_the_reply_that_spoke_last_continues_before_another_begins(call):
    call.reply("One.", "Two.")
    call.reply("Other.")
    for _ in range(3):
        call.says(5)
    assert call.remembers() == [(tokens(text), [1, 2, 3, 4, 5]) for text in ("One.", "Two.", "Other.")]


def test_a_filler_is_spoken_while_the_reply_before_it_waits_for_text(call):
    reply = call.reply(more=True)
    call.reply("One moment.")
    call.says(5)
    assert call.delivered[2][-1] is None
    call.add(reply, "We open at ten.")
    call.speaker.end_text(reply)
    call.says(5)
    assert call.delivered[1][-1] is None


# -- interruptions


def test_a_cancelled_reply_stops_and_what_was_made_of_it_is_remembered(call):
    reply = call.reply(TEXT)
    call.prefill()
    call.frames(30)
    call.done.clear()
    call.speaker.cancel_reply(reply)
    assert call.done[:3] == [("deliver", 1, "end"), ("end_clause",), ("stop",)]
    ((words, codes),) = call.remembers()
    assert words == tokens("one two three four five")  # ten words take about 57 frames
    assert len(codes) == 30
    call.speaker.cancel_reply(reply)
    assert len(call.delivered[1]) == 30 + 1


def test_what_was_not_heard_is_rewound_and_forgotten(call):
    call.reply(TEXT)
    call.says(20)
    call.prefill()
    call.done.clear()
    call.speaker.heard(10 * FRAME + 5)
    assert call.remembers() == [(tokens("one two three four five"), list(range(1, 11)))]
    # Of what was fed only the begin marker and the first five words are the same.
    assert call.done == [("stop",), ("stop",), ("rewind", 6), ("prefill_later", 1 + 10 + 1)]
    call.prefill()
    assert np.array_equal(call.speaker.row.fed, call.speaker.context.written_out())


def test_an_interruption_ends_the_newest_reply_even_if_it_is_still_speaking(call):
    call.reply("Hello.")
    call.says(5)
    call.reply(TEXT)
    call.prefill()
    call.frames(20)
    call.speaker.heard(0)
    assert call.delivered[2][-1] is None
    assert call.remembers() == [(tokens("Hello."), [1, 2, 3, 4, 5])]


def test_a_report_without_any_reply_has_no_effect(call):
    call.speaker.heard(1000)
    assert call.done == []


def test_trimmed_silence_counts_as_heard_once_the_sound_behind_it_is(call):
    call.reply("Hello there.")
    call.prefill()
    for _ in range(2):
        call.frame(9, level_dbfs=-80.0)
    call.frames(5)
    call.end()
    assert sum(len(item.pcm) for item in call.delivered[1] if item) < 7 * FRAME
    call.speaker.heard(sum(len(item.pcm) for item in call.delivered[1] if item))
    assert call.remembers() == [(tokens("Hello there."), [9, 9, 1, 2, 3, 4, 5])]


# -- what goes wrong


def test_a_clause_that_was_not_said_is_begun_again(call):
    call.reply("Hello there.")
    call.prefill()
    call.done.clear()
    call.frame(1)
    call.end()
    assert call.done == [
        ("deliver", 1, "sound"),
        ("end_clause",),
        ("prepare_row",),
        ("stop", "audio goes on"),
        ("rewind", 3),  # all but the last token, from which the first frame is drawn
        ("start_clause", 1),
    ]
    assert call.counts == {"immediate-end": 1}
    call.says(5)
    assert call.remembers() == [(tokens("Hello there."), [1, 2, 3, 4, 5])]
    positions = [item.text_end for item in call.delivered[1] if item]
    assert positions == sorted(positions)


def test_a_clause_that_is_not_said_the_second_time_either_is_an_error(call):
    call.reply("Hello there.")
    for _ in range(2):
        call.prefill()
        call.end()
    assert "does not say a clause of 12 characters" in str(call.delivered[1][-1])
    assert call.remembers() == []
    assert call.counts == {"immediate-end": 1, "unsaid": 1}


def test_nan_before_any_sound_is_answered_by_a_rebuild_of_the_whole_row():
    call = Call(segment("My name is Ann", 20)).enter()
    call.prefill()
    call.reply("Hello there.")
    call.prefill()
    call.done.clear()
    call.frame(0, finite=False)
    assert call.done == [("rewind", 0), ("end_clause",), ("prepare_row",), ("start_clause", 27 + 4)]
    call.says(5)
    assert call.delivered[1][-1] is None


def test_nan_after_sound_that_was_delivered_is_an_error(call):
    call.reply("Hello there.")
    call.prefill()
    call.frames(3)
    call.frame(0, finite=False)
    assert "NaN" in str(call.delivered[1][-1])
    assert ("rewind", 0) in call.done
    assert call.remembers() == []


def test_babble_fades_out_and_is_not_remembered(call):
    call.reply("Yes.")
    call.prefill()
    for number in range(100):
        if call.speaker.speaking is None:
            break
        call.frame(1 + number)
    assert call.counts == {"babble": 1}
    sound = [item.pcm for item in call.delivered[1] if item and len(item.pcm)]
    assert len(sound[-1]) < FRAME
    assert sound[-1][-1] == 0
    assert call.remembers() == []


def test_a_clause_for_which_there_is_no_room_is_an_error_of_its_reply():
    call = Call(segment("long", 500)).enter()
    call.reply("Hello.", "Bye.")
    assert isinstance(call.delivered[1][-1], ContextTooLarge)
    assert call.speaker.replies == []


def test_a_prompt_larger_than_the_model_is_raised():
    with pytest.raises(ContextTooLarge, match="599"):
        Call(segment("long", 650)).speaker.enter()


def test_a_failure_ends_all_open_replies_and_stops_the_row(call):
    call.reply(TEXT, more=True)
    call.reply("Other.", more=True)
    call.prefill()
    call.frames(3)
    call.done.clear()
    call.speaker.fail(EngineError("broken"))
    assert call.done == [("deliver", 1, "error"), ("deliver", 2, "error"), ("stop",)]
    assert call.speaker.replies == []
    call.reply("Better now.")
    call.says(5)
    assert call.delivered[3][-1] is None


# -- the end of a call


def test_a_call_that_leaves_ends_its_replies_and_clears_its_row(call):
    call.reply(TEXT)
    call.prefill()
    call.frames(3)
    call.done.clear()
    call.speaker.leave()
    assert call.done == [("deliver", 1, "error"), ("stop",), ("rewind", 0)]


def test_nothing_is_done_for_a_call_that_has_left(call):
    reply = call.reply(TEXT)
    call.speaker.leave()
    call.done.clear()
    call.speaker.add_clauses(reply, [Clause("More.", tokens("More."), 0)])
    call.speaker.end_text(reply)
    call.speaker.cancel_reply(reply)
    call.speaker.heard(0)
    call.speaker.remember(segment("Hello?", 5), before=1)
    call.speaker.fail(EngineError("late"))
    assert call.done == []
    call.reply("Too late.")
    assert call.done == [("deliver", 2, "error")]
    assert "over" in str(call.delivered[2][0])


# -- what the caller said


def test_what_the_caller_said_is_remembered_at_once_while_no_reply_is_open(call):
    call.speaker.remember(segment("Hello?", 5), before=1)
    assert call.done == [("stop",), ("prefill_later", 3 + 5 + 1)]


def test_what_the_caller_said_during_the_answer_is_remembered_before_it(call):
    call.reply("First.")
    call.says(5)
    call.reply("The answer.")
    call.prefill()
    call.frames(2)
    call.speaker.remember(segment("The question?", 4), before=2)
    assert len(call.remembers()) == 1
    call.frames(3)
    call.end()
    assert [words for words, _ in call.remembers()] == [
        tokens("First."),
        tokens("The question?"),
        tokens("The answer."),
    ]


# -- anything may happen

happenings = st.lists(
    st.tuples(
        st.sampled_from(["reply", "text", "end of text", "cancel", "heard", "caller", "prefill", *4 * ["frame"]]),
        st.integers(0, 30),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(happenings)
def test_whatever_happens_every_reply_ends_once_and_the_row_holds_the_context(story):
    call = Call(segment("My name is Ann", 10)).enter()
    replies: list[SpokenReply] = []
    for what, number in story:
        match what:
            case "reply":
                replies.append(call.reply(TEXT[: number + 3], more=number % 2 == 0))
            case "text" if replies and not replies[-1].text_ended:
                call.add(replies[-1], TEXT[number:])
            case "end of text" if replies:
                call.speaker.end_text(replies[-1])
            case "cancel" if replies:
                call.speaker.cancel_reply(replies[number % len(replies)])
            case "heard":
                call.speaker.heard(number * FRAME // 2)
            case "caller":
                call.speaker.remember(segment("Hello?", 3, code=number), before=len(replies) + 1)
            case "prefill":
                call.prefill()
            case "frame" if call.speaker.speaking is not None:
                if len(call.speaker.row.waiting):
                    call.prefill()
                call.frame(1 + number, end=number > 27, finite=number != 13)
    for reply in replies:
        call.speaker.cancel_reply(reply)
    call.prefill()
    assert call.speaker.replies == []
    assert np.array_equal(call.speaker.row.fed, call.speaker.context.written_out())
    for items in call.delivered.values():
        assert [isinstance(item, AudioChunk) for item in items] == [True] * (len(items) - 1) + [False]
        positions = [item.text_end for item in items[:-1]]
        assert positions == sorted(positions)
