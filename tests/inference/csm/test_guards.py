"""What ends a clause beside its own end: each guard alone, and ordinary speech, which no guard may end."""

from __future__ import annotations

import random
from math import nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.csm.guards import MOST_FRAMES, SILENT_FRAMES, ClauseGuard, Frame, Verdict, count_words, expected_frames

TEXT = "Your appointment is on Friday at half past ten."
LONG = "word " * 60


def sound(code0=0, *, level=-20.0, **facts):
    return Frame(code0=code0, head_zeros=facts.pop("head_zeros", False), end=False, level_dbfs=level, **facts)


SILENCE = sound(7, level=-70.0)
PARTIAL = sound(0, level=-60.0, head_zeros=True)
END = Frame(code0=0, head_zeros=False, end=True, level_dbfs=-90.0)


def speech(frames, *, seed=1):
    """Frames with varied codes at the levels of speech."""
    chance = random.Random(seed)
    return [sound(chance.randrange(2048), level=chance.gauss(-22.0, 6.0)) for _ in range(frames)]


def judged(guard, frames):
    """The verdicts up to the first one that ends the clause."""
    verdicts = []
    for frame in frames:
        verdicts.append(guard.judge(frame))
        if verdicts[-1] is not Verdict.CONTINUE:
            break
    return verdicts


def last(guard, frames):
    return judged(guard, frames)[-1]


def test_a_clause_continues_until_its_end_which_is_not_spoken():
    guard = ClauseGuard(TEXT)
    verdicts = judged(guard, [*speech(40), END])
    assert verdicts == [Verdict.CONTINUE] * 40 + [Verdict.END]
    assert (guard.frames, guard.reason, guard.drop) == (40, "end", 0)


def test_after_the_end_nothing_more_is_spoken():
    guard = ClauseGuard(TEXT)
    judged(guard, [*speech(40), END])
    assert guard.judge(sound()) is Verdict.END
    assert (guard.frames, guard.reason) == (40, "end")


# -- a missing end


def test_the_first_codes_of_an_end_in_two_consecutive_frames_are_an_end():
    guard = ClauseGuard(TEXT)
    verdicts = judged(guard, [*speech(40), PARTIAL, PARTIAL])
    assert verdicts == [Verdict.CONTINUE] * 41 + [Verdict.END]
    assert (guard.frames, guard.reason, guard.drop) == (41, "partial-end", 1)


def test_the_first_codes_of_an_end_in_a_single_frame_are_ignored():
    frames = speech(40)
    frames[10] = frames[20] = PARTIAL
    assert last(ClauseGuard(TEXT), frames) is Verdict.CONTINUE


def test_a_clause_that_does_not_end_is_cut_at_the_longest_time():
    guard = ClauseGuard("Yes I can do that for you on Friday")  # nine words: 0.55 s each, and 1.5 s
    verdicts = judged(guard, speech(200))
    assert len(verdicts) == guard.frames == 81
    assert verdicts[-1] is Verdict.CUT
    assert guard.reason == "too-long"


def test_no_clause_takes_more_than_20_seconds():
    guard = ClauseGuard(LONG)
    assert last(guard, speech(400)) is Verdict.CUT
    assert (guard.frames, guard.reason) == (MOST_FRAMES, "too-long")


# -- silence


def test_silence_after_most_of_the_clause_ends_it_and_a_pause_of_it_is_kept():
    guard = ClauseGuard(TEXT)
    verdicts = judged(guard, [*speech(40), *[SILENCE] * 30])
    assert len(verdicts) == 40 + SILENT_FRAMES
    assert verdicts[-1] is Verdict.END
    assert (guard.frames, guard.reason, guard.drop) == (47, "silence", 5)


def test_the_same_silence_early_in_the_clause_is_a_pause():
    guard = ClauseGuard(TEXT)
    assert last(guard, [*speech(10), *[SILENCE] * 15, *speech(30, seed=2), END]) is Verdict.END
    assert guard.reason == "end"


def test_two_seconds_of_silence_end_a_clause_anywhere():
    guard = ClauseGuard(LONG)
    assert len(judged(guard, [*speech(10), *[SILENCE] * 40])) == 10 + 25
    assert (guard.reason, guard.drop) == ("silence", 22)


def test_silence_is_counted_without_a_break():
    guard = ClauseGuard(TEXT)
    assert last(guard, [*speech(40), *[SILENCE] * 7, sound(5), *[SILENCE] * 7]) is Verdict.CONTINUE


# -- babble


@pytest.mark.parametrize("period", [1, 2, 5, 6, 9])
def test_sound_that_repeats_itself_is_cut(period):
    guard = ClauseGuard(LONG)
    loop = speech(period)
    assert last(guard, [*speech(20, seed=2), *loop * 40]) is Verdict.CUT
    assert guard.reason == "babble"
    assert guard.frames <= 20 + 3 * (6 + period)


def test_the_same_sounds_twice_are_not_babble():
    word = speech(6)
    guard = ClauseGuard(LONG)
    assert last(guard, [*word, *speech(9, seed=2), *word, *speech(9, seed=3)]) is Verdict.CONTINUE


def test_silence_repeats_its_codes_but_is_not_babble():
    guard = ClauseGuard(LONG)
    frames = [frame for part in range(6) for frame in (*speech(9, seed=part), *[SILENCE] * 7)]
    assert last(guard, frames) is Verdict.CONTINUE


def test_a_word_that_lasts_too_long_is_cut_before_the_longest_time_of_a_clause():
    guard = ClauseGuard("Yes.")
    verdicts = judged(guard, speech(100))
    assert verdicts[-1] is Verdict.CUT
    assert (guard.frames, guard.reason) == (20, "babble")


# -- a clause that was not said


@pytest.mark.parametrize("frames", [[], speech(2), [SILENCE] * 10, [*[SILENCE] * 10, *speech(2)]])
def test_a_clause_that_ends_before_anything_was_said_is_tried_once_more(frames):
    guard = ClauseGuard(TEXT)
    assert last(guard, [*frames, END]) is Verdict.RETRY
    assert guard.reason == "immediate-end"
    again = ClauseGuard(TEXT, tries=1)
    assert last(again, [*frames, END]) is Verdict.END
    assert again.reason == "immediate-end"


def test_a_clause_of_silence_is_tried_once_more():
    assert last(ClauseGuard(TEXT), [SILENCE] * 30) is Verdict.RETRY
    assert last(ClauseGuard(TEXT, tries=1), [SILENCE] * 30) is Verdict.END


def test_three_frames_are_enough_for_the_shortest_word():
    assert last(ClauseGuard("No."), [*speech(3), END]) is Verdict.END


def test_a_clause_without_words_may_end_at_once():
    guard = ClauseGuard("...")
    assert last(guard, [END]) is Verdict.END
    assert guard.reason == "end"


# -- NaN and infinity


@pytest.mark.parametrize("after", [0, 20])
def test_a_frame_that_is_not_finite_fails_even_if_it_is_an_end(after):
    guard = ClauseGuard(TEXT)
    broken = Frame(code0=0, head_zeros=True, end=True, level_dbfs=nan, finite=False)
    assert last(guard, [*speech(after), broken]) is Verdict.FAIL
    assert (guard.frames, guard.reason) == (after, "not-finite")


# -- speech


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.floats(0.28, 0.5))
def test_speech_with_pauses_triggers_no_guard(seed, words, pace):
    """Fast and slow speakers, quiet onsets, a breath now and then, levels that rise and fall."""
    chance = random.Random(seed)
    frames = [SILENCE] * chance.randrange(3)
    for word in range(words):
        frames += speech(max(2, round(pace * 12.5)), seed=seed + word)
        if word % 5 == 4 and word < words - 1:
            frames += [sound(chance.randrange(40), level=chance.uniform(-75.0, -45.0)) for _ in range(4)]
    frames += [SILENCE] * 2
    guard = ClauseGuard("hello " * words)
    assert judged(guard, [*frames, END]) == [Verdict.CONTINUE] * len(frames) + [Verdict.END]
    assert guard.reason == "end"


# -- the length of texts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("... – !", 0),
        ("How can I help you?", 5),
        ("I'm sure it's John’s.", 4),
        ("A well-known name", 4),
        ("07911 123456", 11),
        ("Room 12B", 4),
        ("The NHS", 4),
        ("S-M-I-T-H", 5),
        ("3.5 %", 4),
        ("ann@example.com", 5),
        ("Unfortunately", 13 / 8),
        ("Donaudampfschifffahrtsgesellschaft", 34 / 8),
        ("नमस्ते दुनिया", 2),
        ("cafe\u0301", 1),
        ("你好，今天好吗？", 3),
        ("我叫 Anna", 2),
        ("ありがとう", 1.5),
        ("안녕하세요", 2),
        ("สวัสดี", 1.2),
    ],
)
def test_digits_letters_and_characters_are_counted_as_they_are_read(text, words):
    assert count_words(text) == pytest.approx(words)


def test_the_expected_length_fits_ordinary_speech():
    """Ten ordinary words take about 4 to 5 seconds."""
    assert 50 <= expected_frames("I have found your booking for two people on Sunday.") <= 62
    assert ClauseGuard(TEXT).expected == expected_frames(TEXT)
    assert expected_frames("12 34 56") > expected_frames("twelve")
    assert 0 < expected_frames("") < expected_frames("Yes")


@given(st.text(max_size=80), st.text(max_size=20))
def test_any_text_has_a_length_and_more_text_is_never_shorter(text, more):
    assert expected_frames(text) >= 1
    assert expected_frames(f"{text} {more}") >= expected_frames(text)


@given(
    st.text(max_size=20),
    st.lists(st.builds(Frame, st.integers(0, 3), st.booleans(), st.just(False), st.floats(-90, 0), st.just(True))),
)
def test_every_clause_ends_within_its_limits_after_any_frames(text, frames):
    guard = ClauseGuard(text)
    verdicts = judged(guard, [*frames, *speech(MOST_FRAMES)])
    assert verdicts[-1] is not Verdict.CONTINUE
    assert guard.reason
    assert guard.frames <= MOST_FRAMES
    assert 0 <= guard.drop <= guard.frames
