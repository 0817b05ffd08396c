"""One utterance: what is recognised only once, its partials, and what becomes of a long one."""

import asyncio

import numpy as np
import pytest

from inference.whisper.hallucinations import Hypothesis
from inference.whisper.mel import RATE_HZ
from inference.whisper.sound import LONGEST, MAX_HELD
from tests.inference.gated_whisper import LINE, LOW, SILENCE, Gate, at_once, hold, running, turns
from tests.inference.tiny_whisper import LOW_SENTENCE, make_tiny_whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_whisper(tmp_path_factory.mktemp("model"))


@pytest.fixture
async def engine(folder):
    async with running(folder, max_batch=16) as (engine, _):
        yield engine


@pytest.fixture
def gate(engine) -> Gate:
    return engine._model


# -- what is recognised only once


async def test_the_snapshot_at_the_pause_is_the_final_if_nothing_more_was_said(engine, gate):
    utterance = engine.open()
    utterance.push(LOW)
    snapshot = await utterance.snapshot()
    assert at_once(utterance.snapshot()) is snapshot
    for silence in (SILENCE[:1600], LINE[:8000]):
        utterance.push(silence)
        assert at_once(utterance.snapshot()).text == LOW_SENTENCE
    final = at_once(utterance.finish())
    assert final.text == LOW_SENTENCE
    assert final.samples == len(LOW) + 9600
    assert gate.rows == [1]
    assert engine.counts["answered_at_once"] == 4


@pytest.mark.parametrize("more", [LOW, LOW // 10, LOW[:800] // 4])
async def test_sound_that_may_be_more_words_is_recognised(engine, gate, more):
    utterance = engine.open()
    utterance.push(LOW)
    await utterance.snapshot()
    utterance.push(SILENCE)
    utterance.push(more)
    assert (await utterance.finish()).samples == len(LOW) + len(SILENCE) + len(more)
    assert gate.rows == [1, 1]


async def test_a_full_stop_does_not_count_because_whisper_ends_half_sentences_with_one(engine, gate):
    utterance = engine.open()
    utterance.push(LOW)
    assert not (await utterance.snapshot()).stop_counts


async def test_snapshots_that_wait_together_share_one_pass(engine, gate):
    holding, utterance = await hold(engine, gate), engine.open()
    utterance.push(LOW)
    asked = []
    for _ in range(5):
        asked.append(asyncio.ensure_future(utterance.snapshot()))
        await turns()
        utterance.push(LOW)
    gate.open()
    answers = await asyncio.gather(*asked, utterance.finish())
    await holding
    assert {answer.text for answer in answers} == {LOW_SENTENCE}
    assert gate.rows == [1]
    assert answers[-1].samples == 6 * len(LOW)


async def test_a_request_for_what_is_being_recognised_waits_for_that_pass(engine, gate):
    gate.shut()
    utterance = engine.open()
    utterance.push(LOW)
    first = asyncio.ensure_future(utterance.snapshot())
    await gate.entered.wait()
    utterance.push(SILENCE)
    second = asyncio.ensure_future(utterance.finish())
    await turns()
    gate.open()
    assert (await first).samples == len(LOW)
    assert (await second).samples == len(LOW) + len(SILENCE)
    assert gate.rows == [1]


async def test_a_request_after_more_words_does_not_get_the_pass_before_them(engine, gate):
    gate.shut()
    utterance = engine.open()
    utterance.push(LOW)
    first = asyncio.ensure_future(utterance.snapshot())
    await gate.entered.wait()
    utterance.push(LOW)
    second = asyncio.ensure_future(utterance.finish())
    await turns()
    gate.open()
    await first
    assert (await second).samples == 2 * len(LOW)
    assert gate.samples == pytest.approx([len(LOW), 2 * len(LOW)], abs=320)


# -- partials


async def test_a_partial_has_the_words_on_which_two_consecutive_hypotheses_agree(engine, gate):
    partials = []
    utterance = engine.open(on_partial=partials.append)
    for number, piece in enumerate(np.array_split(np.tile(LOW, 2), 4), start=1):
        utterance.push(piece)
        await gate.finished.get()
        assert len(partials) == (number > 1)
    assert partials[0].text == LOW_SENTENCE
    assert partials[0].samples == len(LOW) // 2
    assert partials[0].settled
    utterance.cancel()


async def test_partials_have_the_agreed_words_as_a_prefix_but_answers_do_not(engine, gate):
    utterance = engine.open(on_partial=lambda partial: None)
    for piece in np.array_split(np.tile(LOW, 2), 4):
        utterance.push(piece)
        await gate.finished.get()
    first, second, third, fourth = (pieces[0].prefix for pieces in gate.passes)
    assert first == second == ()
    assert len(third) == len(fourth) == 5  # of six tokens, each of them a word
    assert gate.model._tokens.decode(list(third)) == " " + LOW_SENTENCE.rpartition(" ")[0]
    assert (await utterance.finish()).text == LOW_SENTENCE
    assert gate.passes[-1][0].prefix == ()


@pytest.mark.parametrize(
    ("hurried", "unhurried_seconds", "passes"), [(True, 3.0, 15), (False, 3.0, 2), (False, 0.6, 15), (False, 0.9, 4)]
)
async def test_partials_are_rare_while_they_are_not_wanted_soon(engine, gate, hurried, unhurried_seconds, passes):
    engine.unhurried_partial_samples = int(unhurried_seconds * RATE_HZ)
    utterance = engine.open(on_partial=lambda partial: None)
    for _ in range(90):  # 9 s
        utterance.hurried = hurried
        utterance.push(np.resize(LOW, 1600))
        while any(engine._running.values()):
            await gate.finished.get()
    # Each is requested when 0.6 s more have come, in pieces of 0.1 s; or after 3, 6 s; or after 0.9, 1.8, 3.6, 7.2 s.
    assert gate.rows == [1] * passes
    utterance.cancel()


async def test_silence_makes_no_partial(engine, gate):
    utterance = engine.open(on_partial=lambda partial: None)
    utterance.push(LOW)
    await utterance.snapshot()
    for _ in range(5):
        utterance.push(SILENCE)
        await turns()
    await utterance.finish()
    assert gate.rows == [1]


async def test_a_partial_that_was_in_progress_at_the_end_is_not_reported(engine, gate):
    gate.shut()
    partials = []
    utterance = engine.open(on_partial=partials.append)
    utterance.push(LOW)
    await gate.entered.wait()
    finishing = asyncio.ensure_future(utterance.finish())
    await turns()
    gate.open()
    assert (await finishing).text == LOW_SENTENCE
    assert partials == []
    assert gate.rows == [1]


async def test_an_error_of_on_partial_does_not_disturb_the_call(engine, gate, caplog):
    utterance = engine.open(on_partial=lambda partial: 1 / 0)
    for piece in (LOW, LOW):
        utterance.push(piece)
        await gate.finished.get()
    assert (await utterance.finish()).text == LOW_SENTENCE
    assert "Reporting a partial transcript failed" in caplog.text


async def test_an_answer_does_not_wait_for_a_partial_that_has_begun(engine, gate):
    partials = []
    utterance = engine.open(on_partial=partials.append)
    gate.shut()
    utterance.push(LOW)
    await gate.entered.wait()
    gate.entered.clear()
    utterance.push(LOW)
    asked = asyncio.ensure_future(utterance.snapshot())
    await gate.entered.wait()
    assert gate.rows == [1, 1]
    assert gate.samples == pytest.approx([len(LOW), 2 * len(LOW)], abs=320)
    gate.open()
    answer = await asked
    assert (answer.text, answer.samples) == (LOW_SENTENCE, 2 * len(LOW))
    while any(engine._running.values()):
        await gate.finished.get()
    assert at_once(utterance.finish()).samples == 2 * len(LOW)


async def test_no_partial_begins_beside_an_answer(engine, gate):
    holding, speaking = await hold(engine, gate), engine.open(on_partial=lambda partial: None)
    speaking.push(LOW)
    await turns()
    assert gate.rows == []
    gate.open()
    await holding
    await gate.finished.get()
    speaking.cancel()


async def test_digits_are_one_number_in_partials_and_answers(engine, gate):
    said = Hypothesis("My number is 5, 5, 5, 0 1 4 2.", 1.2, -0.1, tokens=(1, 2))
    gate.says = lambda piece: said
    partials = []
    utterance = engine.open(on_partial=partials.append)
    for _ in range(2):
        utterance.push(LOW)
        await gate.finished.get()
    assert partials[-1].text == (await utterance.finish()).text == "My number is 5550142."


# -- long utterances


@pytest.mark.parametrize("pieces", [1, 50])
async def test_every_sample_of_a_long_utterance_is_recognised_once(engine, gate, pieces):
    utterance, sound = engine.open(), np.tile(LOW, 48)  # 57.6 s
    for piece in np.array_split(sound, pieces):
        utterance.push(piece)
        await turns()
    final = await utterance.finish()
    assert final.samples == len(sound)
    assert sum(gate.samples) == pytest.approx(len(sound), abs=320)
    assert max(gate.samples) <= LONGEST
    assert final.text == " ".join([LOW_SENTENCE] * len(gate.passes))


async def test_partials_of_a_long_utterance_grow_with_it(engine, gate):
    partials = []
    utterance = engine.open(on_partial=partials.append)
    for piece in [LOW] * 30:
        utterance.push(piece)
        await gate.finished.get()
    final = await utterance.finish()
    assert final.text == partials[-1].text == f"{LOW_SENTENCE} {LOW_SENTENCE}"
    lengths = [len(partial.text) for partial in partials]
    assert lengths == sorted(lengths)


async def test_the_sound_held_of_an_endless_utterance_is_bounded(engine, gate):
    gate.shut()
    utterance = engine.open()
    for _ in range(100):
        utterance.push(LOW)
        await turns(1)
    assert utterance.sound.held == MAX_HELD
    assert engine.counts["samples_dropped"] == 100 * len(LOW) - MAX_HELD
    gate.open()
    assert (await utterance.finish()).text.startswith(LOW_SENTENCE)
    assert max(gate.samples) <= LONGEST


async def test_endless_silence_after_the_words_needs_no_pass(engine, gate):
    utterance = engine.open(on_partial=lambda partial: None)
    utterance.push(LOW)
    await utterance.snapshot()
    for _ in range(100):
        utterance.push(LINE)
        await turns(1)
        assert utterance.sound.held <= LONGEST
    final = at_once(utterance.finish())
    assert (final.text, final.samples) == (LOW_SENTENCE, len(LOW) + 100 * RATE_HZ)
    assert gate.rows == [1]
    assert engine.counts["samples_dropped"] == 0
