"""Whisper on the processor: its guards, its order of work and its bounds, on a model that fits in a test."""

import asyncio
import threading
from contextlib import suppress

import numpy as np
import pytest

from inference.engines import whisper
from inference.engines.whisper import (
    RATE_HZ,
    FasterWhisperSpeechToText,
    Heard,
    agreed_words,
    quietest_moment,
    speech_seconds,
)
from inference.types import EngineError
from tests.inference.contract import band_noise
from tests.inference.tiny_whisper import HIGH_SENTENCE, LOW_SENTENCE, make_tiny_whisper

LOW, HIGH = band_noise(100, 1500, 1.2, RATE_HZ), band_noise(2200, 3900, 1.2, RATE_HZ)
SILENCE = np.zeros(RATE_HZ, np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_whisper(tmp_path_factory.mktemp("model"))


@pytest.fixture
async def engine(folder):
    engine = FasterWhisperSpeechToText(model=str(folder), cpu_threads=1)
    await engine.start()
    yield engine
    await engine.close()


class Gate:
    """Holds the working thread inside a recognition until it is opened, and writes down what was recognised."""

    def __init__(self, engine: FasterWhisperSpeechToText) -> None:
        self.entered = asyncio.Event()
        self.lengths: list[int] = []
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()
        self._hear = engine._hear
        engine._hear = self._held

    def open(self) -> None:
        self._open.set()

    def _held(self, pcm, language):
        self.lengths.append(len(pcm))
        self._loop.call_soon_threadsafe(self.entered.set)
        assert self._open.wait(10)
        return self._hear(pcm, language)


async def test_it_hears_what_was_said(engine):
    for sound, sentence in ((LOW, LOW_SENTENCE), (HIGH, HIGH_SENTENCE)):
        utterance = engine.open()
        utterance.push(sound)
        final = await utterance.finish()
        assert final.text == sentence
        assert final.samples == len(sound)
        assert 0.5 < final.confidence <= 1


async def test_silence_and_sound_too_short_for_speech_have_no_words(engine):
    for sound in (SILENCE, LOW[: int(0.2 * RATE_HZ)], LOW // 200):
        utterance = engine.open()
        utterance.push(sound)
        final = await utterance.finish()
        assert (final.text, final.samples) == ("", len(sound))


async def test_snapshots_that_wait_together_are_one_piece_of_work(engine):
    gate, other, utterance = Gate(engine), engine.open(), engine.open()
    other.push(LOW)
    busy = asyncio.ensure_future(other.snapshot())
    await gate.entered.wait()
    utterance.push(LOW)
    asked = []
    for _ in range(5):
        asked.append(asyncio.ensure_future(utterance.snapshot()))
        await asyncio.sleep(0)
        utterance.push(SILENCE)
    gate.open()
    answers = await asyncio.gather(*asked, utterance.finish())
    await busy
    assert {answer.text for answer in answers} == {LOW_SENTENCE}
    assert len(gate.lengths) == 2
    assert answers[-1].samples == len(LOW) + 5 * RATE_HZ


async def test_without_new_sound_nothing_is_recognised_again(engine):
    utterance = engine.open()
    utterance.push(LOW)
    snapshot = await utterance.snapshot()
    gate = Gate(engine)
    assert await utterance.snapshot() is snapshot
    assert await utterance.finish() is snapshot
    assert gate.lengths == []


async def test_an_answer_goes_before_partials_that_have_waited_longer(engine):
    gate, partials = Gate(engine), []
    busy = engine.open()
    busy.push(LOW)
    holding = asyncio.ensure_future(busy.snapshot())
    await gate.entered.wait()
    speaking, asking = engine.open(on_partial=partials.append), engine.open()
    speaking.push(np.tile(LOW, 2))
    await asyncio.sleep(0)
    asking.push(np.tile(HIGH, 3))
    answer = asyncio.ensure_future(asking.finish())
    await asyncio.sleep(0)
    gate.open()
    assert (await answer).text == HIGH_SENTENCE
    await speaking.snapshot()
    await holding
    assert gate.lengths[:3] == [len(LOW), 3 * len(HIGH), 2 * len(LOW)]


async def test_a_partial_is_what_two_hypotheses_in_a_row_agree_on(engine):
    partials, told = [], asyncio.Event()

    def on_partial(partial):
        partials.append(partial)
        told.set()

    utterance = engine.open(on_partial=on_partial)
    for piece in np.array_split(np.tile(LOW, 4), 8):
        utterance.push(piece)
        await utterance.snapshot()
        if partials:
            break
    await asyncio.wait_for(told.wait(), 5)
    assert partials[0].text == LOW_SENTENCE
    utterance.cancel()


async def test_no_partial_comes_after_the_end_even_if_it_was_in_the_making(engine):
    gate, partials = Gate(engine), []
    utterance = engine.open(on_partial=partials.append)
    utterance.push(LOW)
    await gate.entered.wait()
    finishing = asyncio.ensure_future(utterance.finish())
    await asyncio.sleep(0)
    gate.open()
    assert (await finishing).text == LOW_SENTENCE
    assert partials == []


async def test_who_stops_waiting_gives_the_turn_to_the_next(engine):
    gate = Gate(engine)
    first, second, third = (engine.open() for _ in range(3))
    for utterance in (first, second, third):
        utterance.push(LOW)
    asked = [asyncio.ensure_future(utterance.snapshot()) for utterance in (first, second, third)]
    await gate.entered.wait()
    asked[1].cancel()
    gate.open()
    assert (await asked[2]).text == LOW_SENTENCE
    with suppress(asyncio.CancelledError):
        await asked[1]
    assert len(gate.lengths) == 2


@pytest.mark.parametrize("pieces", [1, 50])
async def test_of_a_long_utterance_every_sample_is_heard_once(engine, pieces):
    gate, utterance = Gate(engine), engine.open()
    gate.open()
    sound = np.tile(LOW, 48)  # 57.6 s
    for piece in np.array_split(sound, pieces):
        utterance.push(piece)
        await asyncio.sleep(0)
    final = await utterance.finish()
    assert final.samples == sum(gate.lengths) == len(sound)
    assert max(gate.lengths) <= whisper.LONGEST_SAMPLES
    assert final.text == " ".join([LOW_SENTENCE] * len(gate.lengths))


async def test_what_is_held_of_an_endless_utterance_is_bounded(engine):
    gate, utterance = Gate(engine), engine.open()
    for _ in range(200):
        utterance.push(LOW)
        await asyncio.sleep(0)
    assert sum(map(len, utterance._chunks)) <= 2 * whisper.LONGEST_SAMPLES
    gate.open()
    assert (await utterance.finish()).text.startswith(LOW_SENTENCE)
    assert max(gate.lengths) <= whisper.LONGEST_SAMPLES


async def test_a_language_that_the_model_does_not_know_is_refused_for_good(engine):
    with pytest.raises(EngineError, match="'de'") as refusal:
        engine.open(language="de")
    assert refusal.value.permanent
    engine.open(language="en-GB").cancel()


async def test_an_error_of_the_model_is_an_engine_error_and_the_next_request_is_served(engine):
    hear = engine._hear

    def fail(pcm, language):
        raise RuntimeError("out of memory")

    engine._hear = fail
    utterance = engine.open()
    utterance.push(LOW)
    with pytest.raises(EngineError, match="out of memory"):
        await utterance.snapshot()
    engine._hear = hear
    assert (await utterance.finish()).text == LOW_SENTENCE


async def test_a_failed_partial_is_logged_and_the_call_goes_on(engine, caplog):
    hear, failed, loop = engine._hear, asyncio.Event(), asyncio.get_running_loop()

    def fail(pcm, language):
        loop.call_soon_threadsafe(failed.set)
        raise RuntimeError("out of memory")

    engine._hear = fail
    utterance = engine.open(on_partial=lambda partial: None)
    utterance.push(LOW)
    await failed.wait()
    engine._hear = hear
    assert (await utterance.snapshot()).text == LOW_SENTENCE
    assert "A partial transcript failed: recognition failed: out of memory" in caplog.text


async def test_a_model_that_is_not_there_says_what_to_do(tmp_path):
    for model in ("small.en", "no-such-size", str(tmp_path)):
        engine = FasterWhisperSpeechToText(model=model, local_files_only=True, download_root=str(tmp_path))
        with pytest.raises(EngineError, match="option `model`") as error:
            await engine.start()
        assert error.value.permanent
        assert model in str(error.value)
        with pytest.raises(EngineError, match="started"):
            engine.open()
        await engine.close()


def heard(text, *, seconds=2.0, speech=1.5, logprob=-0.3, no_speech=0.1):
    return Heard(text, seconds, speech, logprob, no_speech)


@pytest.mark.parametrize(
    "invention",
    [
        heard(""),
        heard(" ... "),
        heard("Thank you.", speech=0.5),
        heard("Thanks for watching!", logprob=-1.2),
        heard("I would like to come.", no_speech=0.8, logprob=-1.1),
        heard("one two three four five six seven eight nine", seconds=1.0),
        heard("no no no no no no no no no no no no no no no no no no no no no no no no", seconds=6.0),
    ],
)
def test_what_whisper_says_of_noise_is_not_believed(invention):
    assert not invention.believable


@pytest.mark.parametrize(
    "words",
    [
        heard("Yes.", seconds=0.4, speech=0.3),
        heard("Thank you.", speech=0.9),
        heard("What time do you open?", no_speech=0.9),
        heard("My number is five five five, oh one oh one.", seconds=3.0),
    ],
)
def test_what_a_caller_says_is_believed(words):
    assert words.believable


@pytest.mark.parametrize(
    ("before", "after", "agreed"),
    [
        ("", "I would", []),
        ("I would", "I would like", ["I", "would"]),
        ("I would, like", "I would like to", ["I", "would", "like"]),
        ("i wood like", "I would like", ["I"]),
        ("I'd like", "I'd like two", ["I'd", "like"]),
    ],
)
def test_hypotheses_agree_on_their_common_beginning(before, after, agreed):
    assert agreed_words(before, after) == agreed


def test_only_loud_sound_counts_as_speech():
    assert speech_seconds(SILENCE) == 0
    assert speech_seconds(np.concatenate([SILENCE, LOW, LOW // 20])) == pytest.approx(1.2, abs=0.05)
    assert speech_seconds(SILENCE[:7]) == 0


def test_a_long_utterance_is_cut_where_it_is_quietest():
    sound = np.tile(LOW, 25)[: 30 * RATE_HZ].copy()
    sound[5 * RATE_HZ : 6 * RATE_HZ] = 0  # a pause, but too early
    sound[24 * RATE_HZ : 24 * RATE_HZ + 8000] //= 10
    assert 24 * RATE_HZ <= quietest_moment(sound) <= 24 * RATE_HZ + 8000
