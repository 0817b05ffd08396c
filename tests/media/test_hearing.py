"""The ear keeps the caller's last seconds and gives recognition the sound of one utterance at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from inference.types import EngineError, Pcm, Transcript
from media.background import BackgroundTasks
from media.hearing import Ear
from media.turns import commands as cmd
from media.turns import events as ev
from tests.media.claims import stream_claim

FRAME = 160


class RecordedTranscription:
    """Keeps the sound that it is given; ``answer`` is the answer to every snapshot."""

    def __init__(self, on_partial: Callable[[Transcript], None], words: str) -> None:
        self.on_partial = on_partial
        self.words = words
        self.answer = Transcript(words)
        self.pieces: list[Pcm] = []
        self.cancelled = False

    @property
    def sound(self) -> list[int]:
        return [int(sample) for piece in self.pieces for sample in piece]

    def push(self, pcm: Pcm) -> None:
        self.pieces.append(pcm)

    async def snapshot(self) -> Transcript:
        if not self.words:
            raise EngineError("recognition is gone")
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True


class RecordedSpeechToText:
    """Recognition at the rate of the line, so that the sound arrives as it was sent."""

    rate_hz = 8000

    def __init__(self) -> None:
        self.opened: list[RecordedTranscription] = []
        self.keyterms: list[Sequence[str]] = []
        self.words = "hello"
        self.fails = False

    def open(
        self,
        *,
        language: str,
        hint: str,
        on_partial: Callable[[Transcript], None],
        others: Sequence[str],
        keyterms: Sequence[str],
    ) -> RecordedTranscription:
        if self.fails:
            raise EngineError("recognition is full")
        self.opened.append(RecordedTranscription(on_partial, self.words))
        self.keyterms.append(keyterms)
        return self.opened[-1]


class Caller:
    """A caller whose samples count up from 0, so that a sample says its own position (below 30,000)."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self.position = 0

    def speaks(self, seconds: float) -> None:
        for _ in range(round(seconds * 50)):
            self.position += FRAME
            self._ear.push(self.position, np.arange(self.position - FRAME, self.position).astype(np.int16))


@pytest.fixture
def stt() -> RecordedSpeechToText:
    return RecordedSpeechToText()


@pytest.fixture
def events() -> list[ev.Event]:
    return []


@pytest.fixture
async def ear(stt: RecordedSpeechToText, events: list[ev.Event]) -> Ear:
    tasks = BackgroundTasks("Call 1")
    return Ear(stream_claim(), stt, keep=1.0, tasks=tasks, emit=events.append)


@pytest.fixture
def caller(ear: Ear) -> Caller:
    return Caller(ear)


async def test_recognition_gets_the_sound_from_a_little_before_the_voice_without_a_gap(ear, stt, caller):
    caller.speaks(1.0)
    ear.open(cmd.OpenUtterance(1, 6400))
    caller.speaks(0.5)
    assert stt.opened[0].sound == list(range(4000, 12_000))


async def test_recognition_is_told_which_words_the_agent_expects(stt, events):
    claim = stream_claim(agent={"keyterms": ("Okafor",)})
    ear = Ear(claim, stt, keep=1.0, tasks=BackgroundTasks("Call 1"), emit=events.append)
    ear.open(cmd.OpenUtterance(1, 0))
    assert stt.keyterms == [("Okafor",)]


async def test_recognition_gets_its_sound_in_pieces_of_a_tenth_of_a_second(ear, stt, caller):
    ear.open(cmd.OpenUtterance(1, 0))
    caller.speaks(0.08)
    assert stt.opened[0].sound == []
    caller.speaks(0.02)
    assert stt.opened[0].sound == list(range(800))


async def test_the_end_of_one_utterance_is_not_the_beginning_of_the_next(ear, stt, caller):
    caller.speaks(1.0)
    ear.voice_ended = 7000
    ear.open(cmd.OpenUtterance(2, 8000))
    assert stt.opened[0].sound == list(range(7000, 8000))


async def test_what_is_older_than_the_kept_seconds_is_not_recognised(ear, stt, caller):
    caller.speaks(3.0)
    ear.open(cmd.OpenUtterance(1, 8000))
    assert stt.opened[0].sound == list(range(16_000, 24_000))


async def test_a_snapshot_is_about_everything_that_was_said_before_it(ear, stt, caller, events):
    ear.open(cmd.OpenUtterance(1, 0))
    caller.speaks(0.06)
    ear.take_snapshot(cmd.TakeSnapshot(1, 4))
    assert stt.opened[0].sound == list(range(480))
    await asyncio.sleep(0)
    assert events == [ev.TranscriptReady(1, 4, "hello")]


async def test_partials_are_not_urgent_while_the_caller_has_the_floor(stt, events, monkeypatch):
    callers_turn = True
    ear = Ear(
        stream_claim(),
        stt,
        keep=1.0,
        tasks=BackgroundTasks("Call 1"),
        emit=events.append,
        in_callers_turn=lambda: callers_turn,
    )
    ear.open(cmd.OpenUtterance(1, 0))
    Caller(ear).speaks(0.2)
    assert not hasattr(stt.opened[0], "hurried")  # most engines do not ask
    monkeypatch.setattr(RecordedTranscription, "hurried", True, raising=False)
    ear.open(cmd.OpenUtterance(2, 0))
    for callers_turn in (True, False):
        Caller(ear).speaks(0.2)
        ear.take_snapshot(cmd.TakeSnapshot(2, 1))
        assert stt.opened[1].hurried is not callers_turn


async def test_a_snapshot_that_fails_is_answered(ear, stt, caller, events):
    stt.words = ""
    ear.open(cmd.OpenUtterance(1, 0))
    ear.take_snapshot(cmd.TakeSnapshot(1, 1))
    await asyncio.sleep(0)
    assert events == [ev.TranscriptFailed(1, 1)]


async def test_the_conversation_learns_that_words_are_delayed(ear, stt, events, monkeypatch):
    monkeypatch.setattr("media.hearing.TELL_OF_DELAY_EVERY", 0.0)
    monkeypatch.setattr(RecordedTranscription, "delayed", True, raising=False)
    reached = asyncio.Event()

    async def answer_later(self: RecordedTranscription) -> Transcript:
        await reached.wait()
        return self.answer

    monkeypatch.setattr(RecordedTranscription, "snapshot", answer_later)
    told = asyncio.Event()
    ear._emit = lambda event: (events.append(event), told.set())
    ear.open(cmd.OpenUtterance(1, 0))
    ear.take_snapshot(cmd.TakeSnapshot(1, 1))
    await told.wait()
    assert events[0] == ev.TranscriptDelayed(1, 1)
    monkeypatch.setattr(RecordedTranscription, "delayed", False)
    told.clear()
    reached.set()
    await told.wait()
    assert events[-1] == ev.TranscriptReady(1, 1, "hello")


async def test_a_snapshot_of_an_utterance_that_is_not_open_fails_at_once(ear, stt, events):
    stt.fails = True
    ear.open(cmd.OpenUtterance(1, 0))
    ear.take_snapshot(cmd.TakeSnapshot(1, 1))
    stt.fails = False
    ear.open(cmd.OpenUtterance(2, 0))
    ear.take_snapshot(cmd.TakeSnapshot(1, 2))
    assert events == [ev.TranscriptFailed(1, 1), ev.TranscriptFailed(1, 2)]


async def test_whether_words_are_settled_is_passed_on(ear, stt, events):
    ear.open(cmd.OpenUtterance(1, 0))
    stt.opened[0].on_partial(Transcript("I went.", settled=True))
    assert events == [ev.TranscriptPartial(1, "I went.", settled=True)]


async def test_whether_a_full_stop_counts_is_passed_on(ear, stt, events):
    ear.open(cmd.OpenUtterance(1, 0))
    stt.opened[0].on_partial(Transcript("I went.", stop_counts=False))
    stt.opened[0].answer = Transcript("I went to.", stop_counts=False)
    ear.take_snapshot(cmd.TakeSnapshot(1, 1))
    await asyncio.sleep(0)
    assert events == [
        ev.TranscriptPartial(1, "I went.", stop_counts=False),
        ev.TranscriptReady(1, 1, "I went to.", stop_counts=False),
    ]


async def test_partial_words_are_of_the_utterance_that_they_belong_to(ear, stt, events):
    ear.open(cmd.OpenUtterance(3, 0))
    stt.opened[0].on_partial(Transcript("good mor"))
    assert events == [ev.TranscriptPartial(3, "good mor")]


async def test_a_closed_utterance_gets_no_more_sound(ear, stt, caller):
    ear.open(cmd.OpenUtterance(1, 0))
    ear.close_utterance(cmd.CloseUtterance(7))
    assert not stt.opened[0].cancelled
    ear.close_utterance(cmd.CloseUtterance(1))
    caller.speaks(1.0)
    assert stt.opened[0].cancelled
    assert stt.opened[0].sound == []


async def test_the_sound_of_a_turn_is_cut_at_its_first_and_last_sample(ear, caller):
    caller.speaks(2.0)
    assert [*ear.sound_between(9000, 9500)] == list(range(9000, 9500))
    assert [*ear.sound_between(0, 8200)] == list(range(8000, 8200))
    assert [*ear.sound_between(0, 100)] == []
