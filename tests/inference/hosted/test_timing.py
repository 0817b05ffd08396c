"""How much of a text is spoken at which sample."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.hosted.timing import Pace, Timing

TEXT = "We open at ten. And shut at six."


def timing_of(text: str = TEXT) -> Timing:
    timing = Timing(Pace())
    timing.add(text)
    return timing


def characters(timing: Timing, *positions: int) -> list[tuple[str, bool]]:
    """The text that is spoken at these samples, and whether exactly."""
    return [(timing.text[:end], exact) for end, exact in (timing.at(each, len(timing.text)) for each in positions)]


def test_a_word_is_spoken_at_its_end_and_takes_its_punctuation_with_it():
    timing = timing_of()
    assert timing.follow(["We", "open", "at", "ten"], [100, 200, 300, 400])
    assert characters(timing, 50, 100, 199, 200, 400) == [
        ("", True),
        ("We", True),
        ("We", True),
        ("We open", True),
        ("We open at ten.", True),
    ]


@pytest.mark.parametrize(
    "tokens", [["WE", "Open"], ["we open"], [" ", "W", "e", " ", "o", "p", "e", "n"], ["«We", "open…"]]
)
def test_case_blanks_and_punctuation_make_no_difference(tokens):
    timing = timing_of()
    assert timing.follow(tokens, [100] * (len(tokens) - 1) + [200])
    assert characters(timing, 200) == [("We open", True)]


@pytest.mark.parametrize(("text", "token"), [("Café", "Cafe\u0301"), ("Straße", "STRASSE"), ("ﬁne", "fine")])
def test_other_ways_to_write_a_letter_make_no_difference(text, token):
    timing = timing_of(text)
    assert timing.follow([token], [100])
    assert characters(timing, 100) == [(text, True)]


def test_other_words_are_not_followed_until_the_text_is_found_again():
    timing = timing_of()
    assert not timing.follow(["You", "close"], [100, 200])
    assert not timing.at(150, len(TEXT))[1]
    assert not timing.follow(["shut", "at", "six."], [5000, 6000, 7000])
    assert characters(timing, 6000) == [("We open at ten. And shut at", True)]
    assert not timing.at(3000, len(TEXT))[1]


def test_a_short_word_further_on_is_not_taken_for_the_place():
    timing = timing_of()
    assert not timing.follow(["at"], [100])
    assert timing.at(100, len(TEXT)) != (len("We open at"), True)


def test_timing_that_begins_again_adds_only_what_is_new():
    timing = timing_of()
    timing.follow(list("We open"), [10 * number for number in range(1, 8)], begin=0, until=80)
    assert not timing.follow(list("We open at"), [10 * number for number in range(1, 11)], begin=80, until=200)
    assert characters(timing, 70, 80)[1][0] == "We open"
    assert timing.at(180, len(TEXT)) == (len("We open at"), False)
    assert timing.follow(list(" ten."), [10 * number for number in range(1, 6)], begin=200, until=260)
    assert characters(timing, 250) == [("We open at ten.", True)]


def test_times_of_a_piece_count_from_its_beginning():
    timing = timing_of()
    timing.follow(list("We "), [100, 200, 300], begin=0, until=300)
    timing.follow(list("open"), [100, 200, 300, 400], begin=300, until=800)
    assert characters(timing, 699, 700, 800) == [("We ope", True), ("We open", True), ("We open", True)]


def test_a_word_without_letters_changes_nothing_that_is_known():
    timing = timing_of()
    timing.follow(["We", "open"], [400, 800])
    timing.follow(["-"], [900])
    assert timing.covered == 800
    assert characters(timing, 400, 800) == [("We", True), ("We open", True)]


def test_times_that_are_wrong_in_each_piece_are_right_in_their_sum():
    timing = timing_of()
    timing.follow(["We", "open"], [400, 800], begin=0, until=500)  # 500 samples of audio, 800 of text
    timing.follow(["at", "ten."], [200, 400], begin=500, until=1200)
    assert characters(timing, 800, 1000, 1200) == [
        ("We open", True),
        ("We open at", True),
        ("We open at ten.", True),
    ]


def test_a_clock_that_begins_anew_is_noticed():
    timing = timing_of()
    timing.follow(["We", "open", "at", "ten."], [1000, 2000, 3000, 4000])
    timing.complete(len("We open at ten. "), 4000)
    timing.follow(["And", "shut"], [1000, 2000])
    assert timing.at(4500, len(TEXT))[0] == len("We open at ten. ")
    assert characters(timing, 5000, 6000) == [("We open at ten. And", True), ("We open at ten. And shut", True)]
    timing.follow(["at", "six."], [3000, 4000])
    assert characters(timing, 7000) == [("We open at ten. And shut at", True)]


def test_an_estimate_stays_below_the_end_of_what_may_be_spoken():
    timing = timing_of()
    assert timing.at(8000, len(TEXT)) == (15, False)
    assert timing.at(80_000, len("We open at ten. ")) == (len("We open at ten. ") - 1, False)
    timing.complete(len("We open at ten. "), 9000)
    assert timing.at(9000, len(TEXT))[0] == len("We open at ten. ")


def test_a_pace_is_learnt_and_what_nobody_speaks_is_not():
    pace = Pace()
    pace.learn(1000, 50 * 8000)
    assert pace.rate == pytest.approx(20, abs=0.5)
    before = pace.rate
    for characters_, samples in ((1000, 8000), (10, 80_000), (0, 0), (3, 2000)):
        pace.learn(characters_, samples)
    assert pace.rate == before


@given(
    st.text(max_size=60),
    st.lists(st.tuples(st.text(max_size=6), st.integers(0, 10**6), st.booleans()), max_size=20),
    st.lists(st.integers(0, 10**6), max_size=20),
)
def test_the_characters_never_fall_and_never_exceed_the_text_whatever_comes(text, tokens, positions):
    timing = timing_of(text)
    for number, (token, end, is_relative) in enumerate(tokens):
        piece = {"begin": number * 100, "until": number * 100 + 100} if is_relative else {}
        timing.follow([token], [end], **piece)
        if number % 7 == 6:
            timing.complete(len(text) * number // 20, number * 500)
    ends = [timing.at(position, len(text))[0] for position in sorted(positions)]
    assert all(0 <= end <= len(text) for end in ends)
    if not any(is_exact for is_exact in (timing.at(position, len(text))[1] for position in positions)):
        assert ends == sorted(ends)


def test_times_behind_the_end_of_the_sound_end_with_it_and_delay_nothing_that_follows():
    timing = timing_of()
    timing.follow(["We open at ten"], [9000], begin=0, until=4000)
    timing.cut(4000)
    assert characters(timing, 3999, 4000) == [("", True), ("We open at ten.", True)]
    timing.follow(["And", "shut"], [1000, 2000], begin=4000, until=7000)
    assert characters(timing, 5000, 6000) == [("We open at ten. And", True), ("We open at ten. And shut", True)]
