"""Voices far quieter than the caller's open no turn, and a caller who has moved away is found again."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from calls.services import facts
from inference.mulaw import decode_mulaw, encode_mulaw
from inference.types import Pcm
from media.level import CallerLevel
from media.speech import WINDOW, VoiceWindow
from media.turns.options import ConversationOptions
from tests.media.scripted_call import CallResult, run_call, voice

RATE_HZ = 8000
FRAME = 160


class Line:
    """A line on which voices of known levels (dB relative to full scale) are heard, and what passes of them."""

    def __init__(self) -> None:
        self.level = CallerLevel()
        self.agent_silent = True
        self.asked = False
        self.heard: list[tuple[float, float]] = []
        """From when to when a voice passed, by the edges; 0 for the end while it goes on."""
        self._position = 0
        self._window = 0
        self._voiced = False
        self._edge = 0
        self._random = np.random.default_rng(0)

    @property
    def now(self) -> float:
        return self._position / RATE_HZ

    def sounds(self, decibels: float, *, seconds: float = 1.0, voiced: bool = True) -> Line:
        """A sound that the detector takes for a voice, or not."""
        changes = voiced != self._voiced
        for _ in range(round(seconds * 50)):
            noise = self._random.normal(scale=32768 * 10 ** (decibels / 20), size=FRAME)
            self._position += FRAME
            self.level.push(self._position, noise.clip(-32768, 32767).astype(np.int16))
            while self._window + WINDOW <= self._position:
                self._window += WINDOW
                if changes:
                    self._voiced, self._edge = voiced, self._window - WINDOW
                self._judge(VoiceWindow(self._window, voiced, changes, self._edge))
                changes = False
        return self

    def pauses(self, seconds: float = 1.0) -> Line:
        return self.sounds(-70, seconds=seconds, voiced=False)

    def _judge(self, window: VoiceWindow) -> None:
        passed = self.level.judge(window, agent_silent=self.agent_silent, asked=self.asked)
        assert passed.position == window.position
        if passed.changed:
            edge = passed.edge / RATE_HZ
            self.heard = [*self.heard, (edge, 0.0)] if passed.voiced else [*self.heard[:-1], (self.heard[-1][0], edge)]

    def caller_says(self, decibels: float, *, seconds: float = 1.0) -> Line:
        """Words of the caller, which recognition understands if they pass."""
        start, known = self._position, len(self.heard)
        self.sounds(decibels, seconds=seconds).pauses()
        if len(self.heard) > known:
            self.level.learn(start, self._position)
        return self

    @property
    def passed(self) -> int:
        return len(self.heard)


def caller_at(decibels: float) -> Line:
    line = Line().caller_says(decibels)
    line.heard.clear()
    return line


def test_every_voice_passes_until_the_caller_has_said_something():
    line = Line().sounds(-60).pauses().sounds(-20).pauses()
    assert line.passed == 2
    assert line.level.decibels is None


@pytest.mark.parametrize("level", [-12, -24, -36])
def test_a_voice_far_below_the_caller_does_not_pass(level):
    for below, passes in ((0, 1), (12, 1), (20, 0), (26, 0)):
        assert caller_at(level).sounds(level - below).pauses().passed == passes


@pytest.mark.parametrize(("level", "passes"), [(-24, True), (-36, True), (-40, False), (-56, False)])
def test_before_the_callers_first_words_a_very_soft_voice_over_the_agents_does_not_pass(level, passes):
    line = Line()
    line.agent_silent = False
    assert line.sounds(level, seconds=0.5).passed == passes


def test_a_soft_voice_is_heard_in_the_agents_silence_if_it_has_not_talked_on_under_the_agents():
    assert Line().sounds(-56, seconds=0.1).passed == 1
    line = Line()
    line.agent_silent = False
    line.sounds(-56, seconds=1.0)
    line.agent_silent = True
    assert line.sounds(-56, seconds=1.9).passed == 0
    assert line.sounds(-56, seconds=0.3).passed == 1


@pytest.mark.parametrize(("agent_silent", "passed"), [(True, 1), (False, 0)])
def test_a_voice_over_the_agents_needs_more_than_one_loud_syllable(agent_silent, passed):
    line = caller_at(-24)
    line.agent_silent = agent_silent
    assert line.sounds(-45, seconds=0.3).sounds(-34, seconds=0.12).sounds(-45, seconds=0.3).passed == passed


@pytest.mark.parametrize(("below", "over_agent", "in_silence"), [(0, 1, 1), (8, 1, 1), (13, 0, 1), (20, 0, 0)])
def test_a_voice_over_the_agents_has_to_be_louder_than_one_in_its_silence(below, over_agent, in_silence):
    for agent_silent, passes in ((False, over_agent), (True, in_silence)):
        line = caller_at(-24)
        line.agent_silent = agent_silent
        assert line.sounds(-24 - below, seconds=0.5).pauses().passed == passes


def test_nothing_is_learnt_from_what_is_heard_over_the_agents_voice():
    line = Line()
    line.agent_silent = False
    assert line.caller_says(-35).passed == 1
    assert line.level.decibels is None
    line.agent_silent = True
    assert line.caller_says(-24).level.decibels == pytest.approx(-24, abs=1)
    line.agent_silent = False
    assert line.caller_says(-32).level.decibels == pytest.approx(-24, abs=1)


def test_a_caller_who_interrupts_and_talks_on_is_learnt_from():
    line = Line()
    line.agent_silent = False
    start = 0
    line.sounds(-30, seconds=0.5)
    line.agent_silent = True
    line.sounds(-30, seconds=0.5).pauses()
    line.level.learn(start, int(line.now * RATE_HZ))
    assert line.level.decibels == pytest.approx(-30, abs=1)


def test_a_voice_over_the_agents_that_a_lost_frame_cuts_in_two_is_one():
    line = caller_at(-24)
    line.agent_silent = False
    began = line.now
    line.sounds(-24, seconds=0.12).pauses(0.06).sounds(-24, seconds=0.12)
    assert line.heard == [(pytest.approx(began, abs=0.04), 0.0)]


def test_the_level_is_learnt_from_words_and_from_no_noise():
    line = Line().sounds(-10, seconds=3).pauses()
    line.caller_says(-30)
    assert line.level.decibels == pytest.approx(-30, abs=1)


def test_a_word_shorter_than_a_fifth_of_a_second_is_no_measure():
    assert Line().caller_says(-30, seconds=0.16).level.decibels is None


def test_a_click_opens_nothing():
    line = caller_at(-24)
    line.sounds(-55, seconds=0.2).sounds(-24, seconds=0.02).sounds(-55, seconds=0.2).pauses()
    line.sounds(-55).pauses()
    assert line.passed <= 1
    assert not line.sounds(-55).pauses().heard[1:]


def test_a_television_holds_no_turn_open_and_begins_none():
    line = caller_at(-24)
    line.sounds(-50, seconds=0.9)
    begins = line.now
    line.sounds(-24)
    ends = line.now
    line.sounds(-50, seconds=1.0).pauses()
    assert line.heard == [(pytest.approx(begins, abs=0.11), pytest.approx(ends, abs=0.03))]


def test_a_pause_is_noticed_late_behind_a_television_and_dated_right():
    line = caller_at(-24).sounds(-24)
    ends = line.now
    line.sounds(-50, seconds=0.28)
    assert line.heard[-1][1] == 0.0
    line.sounds(-50, seconds=0.08)
    assert line.heard[-1][1] == pytest.approx(ends, abs=0.03)


def test_the_soft_beginning_of_a_word_belongs_to_it():
    line = caller_at(-24)
    begins = line.now
    line.sounds(-46, seconds=0.3).sounds(-24).pauses()
    assert line.heard[0][0] == pytest.approx(begins, abs=0.04)


@pytest.mark.parametrize("change", [-12, -8, 8, 18])
def test_a_caller_whose_voice_changes_is_heard_throughout(change):
    line = caller_at(-30)
    for _ in range(6):
        line.caller_says(-30 + change)
    assert line.passed == 6
    assert line.level.decibels == pytest.approx(-30 + change, abs=1)


def test_a_caller_who_becomes_quieter_step_by_step_is_heard_throughout():
    line = caller_at(-15)
    for decibels in range(-18, -54, -3):
        line.caller_says(decibels)
    assert line.passed == 12


def test_one_shout_makes_nobody_deaf():
    line = caller_at(-30).caller_says(-30).caller_says(-10)
    line.heard.clear()
    assert line.caller_says(-42).passed == 1


def test_a_second_person_who_takes_the_telephone_is_the_caller():
    line = caller_at(-24)
    for decibels in (-24, -27, -21, -30):
        line.caller_says(decibels)
    assert line.passed == 4


def test_a_caller_who_has_moved_away_is_heard_after_three_seconds_of_trying():
    line = caller_at(-24)
    for _ in range(2):
        line.caller_says(-50, seconds=1.2)
    assert line.passed == 0
    for _ in range(4):
        line.caller_says(-50, seconds=1.2)
    assert line.passed == 4
    assert line.level.decibels == pytest.approx(-50, abs=1)


def test_the_answer_to_whether_the_caller_is_there_may_be_quiet():
    line = caller_at(-24)
    line.asked = True
    line.caller_says(-50, seconds=1.4)
    assert line.passed == 1


def test_a_voice_under_the_agents_does_not_count_as_trying():
    line = caller_at(-24)
    line.agent_silent = False
    line.sounds(-50, seconds=19).pauses()
    assert line.passed == 0


def test_a_voice_that_was_heard_under_the_agents_has_to_try_for_longer():
    line = caller_at(-24)
    line.agent_silent = False
    line.sounds(-50, seconds=2).pauses()
    line.agent_silent = line.asked = True
    assert line.sounds(-50, seconds=4).pauses().passed == 0
    assert line.sounds(-50, seconds=2).pauses().passed == 1


def test_somebody_who_was_heard_before_the_caller_spoke_again_has_to_try_for_longer():
    line = caller_at(-24).sounds(-50, seconds=2.5).pauses().caller_says(-24)
    line.heard.clear()
    line.asked = True
    line.sounds(-50, seconds=19).pauses()
    assert line.passed == 0
    line.sounds(-50, seconds=2).pauses()
    assert line.passed == 1


def test_a_television_that_was_heard_first_is_not_the_caller_for_long():
    line = Line().caller_says(-50).caller_says(-50)
    line.caller_says(-24).caller_says(-24)
    line.heard.clear()
    line.sounds(-50).pauses()
    assert line.passed == 0


def test_words_that_passed_by_one_loud_syllable_move_the_level_only_if_nobody_else_was_heard():
    alone = caller_at(-24).caller_says(-39)
    assert alone.level.decibels == pytest.approx(-39, abs=1)
    beside_a_television = caller_at(-24).sounds(-50, seconds=2.5).pauses().caller_says(-24).caller_says(-39)
    assert beside_a_television.level.decibels == pytest.approx(-24, abs=1)


# -- whole calls ----------------------------------------------------------------------------------------------

CALLER_DB = -24
QUESTIONS = [
    (0.5, "What time do you open?"),
    (8.0, "And what do you charge for a double room?"),
    (15.0, "Do you have one for Friday?"),
    (22.0, "Please book it."),
]
TELEVISION = (
    "The president has said that the talks will go on until the end of the month.",
    "And now the weather. It will be cold and wet in the north, with some snow on the hills.",
    "Nobody knows why she left the house that night, and nobody has dared to ask.",
)
REPLY = "We open at nine in the morning, and on Sundays we open at ten."


def at_level(pcm: np.ndarray, decibels: float) -> np.ndarray:
    """Scale a voice so that the louder half of its sound, which has some silence in it, has this level."""
    power = np.sort((pcm[: len(pcm) // FRAME * FRAME].astype(float).reshape(-1, FRAME) ** 2).mean(1))
    power = power[power > power[-1] / 1000]
    return pcm * (32768 * 10 ** (decibels / 20) / np.sqrt(power[len(power) // 2 :].mean()))


@cache
def caller_voice(text: str) -> bytes:
    return encode_mulaw(at_level(decode_mulaw(voice(text)), CALLER_DB).clip(-32768, 32767).astype(np.int16))


def television(decibels: float, *, start: float = 4.0, seconds: float = 24.0) -> Pcm:
    """A voice that speaks for so long, from this second on."""
    spoken = np.concatenate([at_level(decode_mulaw(voice(text)), decibels) for text in TELEVISION])
    silence = np.zeros(int(start * RATE_HZ))
    return np.concatenate([silence, np.resize(spoken, int(seconds * RATE_HZ))]).astype(np.int16)


def answered_call(behind: Pcm | None, *, seconds: float = 30.0, says: list | None = None) -> CallResult:
    return run_call(
        QUESTIONS if says is None else says,
        seconds=seconds,
        said_by=caller_voice,
        behind=behind,
        llm={"replies": [REPLY]},
        stt={"transcripts": [text for _, text in QUESTIONS]},
    )


REPORTS = [
    ("utsavk1993/wren#50", 26, "a television"),
    ("openai/openai-realtime-agents#101", 32, "people in the room who talk to each other"),
    ("openai/openai-realtime-console#559", 26, "chatter"),
    ("dograh-hq/dograh#236", 29, "background noise while the agent speaks"),
    ("alphacep/vosk-server#210", 32, "a loudspeaker"),
    ("getpaseo/paseo#112", 26, "ambient noise on a mobile telephone, for which the level must be relative"),
    ("snakers4/silero-vad#366", 38, "noise above a fixed threshold"),
]
"""The report, by how many dB the voice is quieter than the caller's, and what it is."""


@pytest.mark.parametrize(("report", "below", "what"), REPORTS)
def test_a_voice_behind_the_caller_costs_and_adds_no_turn(report, below, what):
    result = answered_call(television(CALLER_DB - below))
    assert [text for speaker, text in result.turns if speaker == "caller"] == [text for _, text in QUESTIONS]
    assert [text for speaker, text in result.turns if speaker == "agent"] == [REPLY] * 4
    assert not result.times("clear")


def test_a_voice_behind_the_caller_does_not_delay_the_answer():
    def latencies(result: CallResult) -> list[float]:
        turns = result.facts.of(facts.TurnEnded)
        return [turn.stages["response_latency"] for turn in turns if turn.speaker == "agent"]

    alone, behind = latencies(answered_call(None)), latencies(answered_call(television(CALLER_DB - 26)))
    assert behind == pytest.approx(alone, abs=0.2)


def test_a_television_does_not_keep_an_empty_line_open():
    says = [QUESTIONS[0], QUESTIONS[1]]
    result = answered_call(television(CALLER_DB - 26, seconds=80), seconds=80, says=says)
    assert result.hung_up == "silence"
    assert [text for speaker, text in result.turns if speaker == "caller"] == [text for _, text in says]


def test_a_caller_who_has_moved_away_is_answered():
    options = ConversationOptions()

    def quieter(text: str) -> bytes:
        spoken = decode_mulaw(caller_voice(text))
        return encode_mulaw(spoken if text == QUESTIONS[0][1] else (spoken * 10 ** (-24 / 20)).astype(np.int16))

    result = run_call(
        [QUESTIONS[0], *((8.0 + 5 * n, f"{QUESTIONS[1][1]} {n}") for n in range(5))],
        seconds=38.0,
        said_by=quieter,
        llm={"replies": [REPLY]},
    )
    assert not result.hung_up
    asked = [text for _, text in result.turns].index(options.still_there)
    assert [speaker for speaker, _ in result.turns[asked:]].count("caller") >= 2
