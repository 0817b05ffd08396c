"""The Whisper engine: what is recognised when, its limits and its failures, on models that fit in a test."""

import asyncio
import random
from contextlib import suppress
from dataclasses import asdict

import numpy as np
import pytest

from inference.backends import make_engine
from inference.engines.whisper import FasterWhisperSpeechToText
from inference.types import EngineError, EngineFull, EngineLoading
from inference.whisper.hallucinations import Hypothesis
from inference.whisper.loading import load
from inference.whisper.mel import RATE_HZ
from inference.whisper.options import WhisperOptions
from tests.inference.contract import leaving_no_task
from tests.inference.gated_whisper import HIGH, LINE, LOW, SILENCE, Gate, at_once, hold, recognised, running, turns
from tests.inference.tiny_whisper import HIGH_SENTENCE, LOW_SENTENCE, make_tiny_whisper


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


# -- what is recognised


async def test_speech_is_recognised(engine):
    for sound, sentence in ((LOW, LOW_SENTENCE), (HIGH, HIGH_SENTENCE)):
        utterance = engine.open()
        utterance.push(sound)
        final = await utterance.finish()
        assert final.text == sentence
        assert final.samples == len(sound)
        assert 0.5 < final.confidence <= 1


@pytest.mark.parametrize("sound", [SILENCE, LINE, LOW[: int(0.08 * RATE_HZ)], LOW // 200])
async def test_silence_and_sound_too_short_for_speech_have_no_words_and_need_no_pass(engine, gate, sound):
    utterance = engine.open()
    utterance.push(sound)
    final = at_once(utterance.finish())
    assert (final.text, final.samples) == ("", len(sound))
    assert gate.passes == []


async def test_calls_in_several_languages_that_end_at_different_times_do_not_mix(tmp_path):
    languages = ("en", "de", "ja")
    async with running(make_tiny_whisper(tmp_path, mels=128, languages=languages), max_batch=16) as (engine, gate):
        calls = []
        for row in range(6):
            utterance = engine.open(language=languages[row % 3], on_partial=lambda partial: None)
            sound = np.concatenate([SILENCE[: 500 * row], np.tile((LOW, HIGH)[row % 2], 1 + row)])
            calls.append((utterance, sound, (LOW_SENTENCE, HIGH_SENTENCE)[row % 2]))
        finals = {}
        for step in range(0, 8 * RATE_HZ, 1600):
            for utterance, sound, _ in calls:
                utterance.push(sound[step : step + 1600])
                if step <= len(sound) < step + 1600:
                    finals[utterance] = asyncio.ensure_future(utterance.finish())
            await turns()
        for utterance, _, sentence in calls:
            assert (await finals[utterance]).text == sentence
        assert max(gate.rows) > 1


async def test_an_unknown_language_is_a_permanent_error(engine):
    with pytest.raises(EngineError, match="'de'") as refusal:
        engine.open(language="de")
    assert refusal.value.permanent
    engine.open(language="en-GB").cancel()


async def test_a_multilingual_model_finds_the_language_and_names_it(tmp_path):
    languages = ("en", "de", "ja")
    async with running(make_tiny_whisper(tmp_path, languages=languages), max_batch=16) as (engine, gate):
        assert "auto" in engine.languages
        partials = []
        utterances = [engine.open(language=tag, on_partial=partials.append) for tag in ("auto", "de", "auto")]
        for utterance in utterances:
            for _ in range(3):
                utterance.push(LOW)
                await gate.finished.get()
        finals = [await utterance.finish() for utterance in utterances]
        assert {final.text for final in finals} == {LOW_SENTENCE}
        assert finals[0].language in languages
        assert [final.language for final in finals] == [finals[0].language, "", finals[0].language]
        assert partials[-1].language == finals[0].language
        assert not any(piece.prefix for pieces in gate.passes for piece in pieces if piece.language == "auto")


async def test_another_language_is_looked_for_only_if_there_may_be_one(tmp_path):
    languages = ("en", "de", "no")
    async with running(make_tiny_whisper(tmp_path, languages=languages)) as (engine, gate):
        for others, looked_for in (((), set()), (("en-GB", "pl"), set()), (("de-AT", "nb", "pl"), {"de", "no"})):
            gate.passes.clear()
            utterance = engine.open(others=others)
            utterance.push(LOW)
            final = await utterance.finish()
            [[piece]] = gate.passes
            assert set(piece.others) == looked_for
            assert final.language in (("en", "de", "nb") if looked_for else ("",))
            assert (final.language_probability > 0) is bool(looked_for)


async def test_a_partial_with_a_prefix_looks_for_no_language(tmp_path):
    async with running(make_tiny_whisper(tmp_path, languages=("en", "de"))) as (engine, gate):
        utterance = engine.open(others=["de"], on_partial=lambda partial: None)
        for _ in range(4):
            utterance.push(LOW)
            await gate.finished.get()
        assert [bool(piece.prefix) for [piece] in gate.passes] == [not piece.others for [piece] in gate.passes]
        assert gate.passes[-1][0].prefix
        utterance.cancel()


async def test_a_short_answer_tells_no_language(tmp_path):
    async with running(make_tiny_whisper(tmp_path, languages=("en", "de"))) as (engine, _):
        utterance = engine.open(others=["de"])
        utterance.push(LOW[: RATE_HZ // 2])
        final = await utterance.finish()
        assert (final.text, final.language, final.language_probability) == (LOW_SENTENCE, "", 0.0)


async def test_an_utterance_goes_on_in_the_language_that_was_surely_found(tmp_path):
    async with running(make_tiny_whisper(tmp_path, languages=("en", "de"))) as (engine, gate):

        def says(piece) -> Hypothesis:
            assert len(piece.others) == 1
            return Hypothesis("guten tag", 1.2, -0.1, language="de", found="de", found_probability=0.9)

        gate.says = says
        utterance = engine.open(others=["de"], on_partial=lambda partial: None)
        for sound in (LOW, HIGH):
            utterance.push(sound)
            await gate.finished.get()
            snapshot = await utterance.snapshot()
            assert (snapshot.text, snapshot.language, snapshot.language_probability) == ("guten tag", "de", 0.9)
        assert [(piece.language, *piece.others) for [piece] in gate.passes] == [("en", "de"), ("de", "en")]
        utterance.cancel()


async def test_an_english_model_finds_no_language(engine):
    assert "auto" not in engine.languages
    with pytest.raises(EngineError, match="does not know the language 'auto'"):
        engine.open(language="auto")


# -- what is recognised when


async def test_sentences_that_end_at_the_same_moment_share_a_pass(folder):
    async with running(folder, max_batch=5, gather=60.0) as (engine, gate):
        utterances = [engine.open() for _ in range(5)]
        for row, utterance in enumerate(utterances):
            utterance.push((LOW, HIGH)[row % 2])
        finals = await asyncio.gather(*(utterance.finish() for utterance in utterances))
        assert [final.text for final in finals] == [LOW_SENTENCE, HIGH_SENTENCE] * 2 + [LOW_SENTENCE]
        assert gate.rows == [5]
        assert (engine.counts["batches"], engine.counts["rows"]) == (1, 5)


async def test_a_longer_window_needs_a_pass_of_its_own(engine, gate):
    holding, utterances = await hold(engine, gate), [engine.open() for _ in range(3)]
    for utterance, sound in zip(utterances, (LOW, np.tile(LOW, 8), HIGH), strict=True):
        utterance.push(sound)
    finals = [asyncio.ensure_future(utterance.finish()) for utterance in utterances]
    await turns()
    gate.open()
    await asyncio.gather(holding, *finals)
    assert gate.rows == [2, 1]


async def test_lengths_at_the_edge_of_a_window_are_distinguished(engine, gate):
    holding, utterances = await hold(engine, gate), [engine.open() for _ in range(6)]
    for utterance, samples in zip(utterances, (127400, 127800, 127801, 127960, 127961, 128001), strict=True):
        utterance.push(np.resize(LOW, samples))
    finals = [asyncio.ensure_future(utterance.finish()) for utterance in utterances]
    await turns()
    gate.open()
    await asyncio.gather(holding, *finals)
    assert gate.rows == [2, 4]


async def test_an_answer_goes_before_partials_that_have_waited_longer(engine, gate):
    holding, speaking, asking = await hold(engine, gate), engine.open(on_partial=lambda partial: None), engine.open()
    speaking.push(np.tile(LOW, 2))
    await turns()
    asking.push(np.tile(HIGH, 3))
    answer = asyncio.ensure_future(asking.finish())
    await turns()
    gate.open()
    assert (await answer).text == HIGH_SENTENCE
    await speaking.snapshot()
    await holding
    assert gate.samples == pytest.approx([3 * len(HIGH), 2 * len(LOW)], abs=320)


async def test_only_a_few_partials_share_a_pass(engine, gate):
    holding = await hold(engine, gate)
    utterances = [engine.open(on_partial=lambda partial: None) for _ in range(11)]
    for utterance in utterances:
        utterance.push(LOW)
    gate.open()
    await holding
    assert [await gate.finished.get() for _ in range(3)] == [1, 8, 3]
    assert gate.rows == [8, 3]


async def test_requests_that_are_no_longer_wanted_are_not_recognised(engine, gate):
    holding = await hold(engine, gate)
    utterances = [engine.open(on_partial=lambda partial: None) for _ in range(4)]
    for utterance in utterances:
        utterance.push(LOW)
    given_up, cancelled, closed, kept = utterances
    asked = [asyncio.ensure_future(utterance.snapshot()) for utterance in utterances]
    await turns()
    asked[0].cancel()
    cancelled.cancel()
    finishing = asyncio.ensure_future(closed.finish())
    await turns()
    finishing.cancel()
    asked[2].cancel()
    given_up.cancel()
    await turns()
    assert len(engine._batches) == 1
    gate.open()
    assert (await asked[3]).text == LOW_SENTENCE
    assert (await asked[1]).text == ""
    await holding
    assert gate.rows == [1]
    for task in (asked[0], asked[2], finishing):
        with suppress(asyncio.CancelledError):
            await task
    kept.cancel()


async def test_an_abandoned_snapshot_becomes_a_partial_again(engine, gate):
    holding, utterance, other = await hold(engine, gate), engine.open(on_partial=lambda partial: None), engine.open()
    utterance.push(LOW)
    asked = asyncio.ensure_future(utterance.snapshot())
    await turns()
    asked.cancel()
    other.push(np.tile(HIGH, 2))
    answer = asyncio.ensure_future(other.snapshot())
    await turns()
    gate.open()
    await asyncio.gather(holding, answer)
    await utterance.finish()
    assert gate.samples == pytest.approx([2 * len(HIGH), len(LOW)], abs=320)


async def test_too_many_utterances_are_refused_until_one_ends(folder):
    async with running(folder, max_utterances=2) as (engine, _):
        first, _second = engine.open(), engine.open()
        with pytest.raises(EngineFull, match="2 utterances open") as refusal:
            engine.open()
        assert not refusal.value.permanent
        first.cancel()
        engine.open().cancel()
        await engine.open().finish()
        third = engine.open()
        del third  # its owner dropped it without a call
        engine.open().cancel()


async def test_too_many_waiting_answers_are_refused_at_once(folder):
    async with running(folder, max_waiting=1) as (engine, gate):
        holding, waiting, refused = await hold(engine, gate), engine.open(), engine.open()
        for utterance in (waiting, refused):
            utterance.push(LOW)
        answer = asyncio.ensure_future(waiting.snapshot())
        await turns()
        with pytest.raises(EngineFull, match="behind"):
            await refused.snapshot()
        gate.open()
        await asyncio.gather(holding, answer)
        assert (await refused.finish()).text == LOW_SENTENCE


async def test_many_calls_with_random_actions_get_their_words(folder):
    async def call(engine, chance: random.Random) -> None:
        for _ in range(2):
            utterance, sound, asked = engine.open(on_partial=lambda partial: None), [], []
            loud, sentence = chance.choice([(LOW, LOW_SENTENCE), (HIGH, HIGH_SENTENCE)])
            for _ in range(chance.randint(1, 6)):
                sound.append(chance.choice([LINE, np.tile(loud, chance.randint(1, 6))]))
                for start in range(0, len(sound[-1]), 1600):
                    utterance.push(sound[-1][start : start + 1600])
                    if chance.random() < 0.1:
                        asked.append(asyncio.ensure_future(utterance.snapshot()))
                        chance.choice(asked).cancel()
                    await turns(chance.randint(0, 2))
            if chance.random() < 0.2:
                utterance.cancel()
            else:
                final = await utterance.finish()
                assert final.samples == sum(map(len, sound))
                assert set(final.text.split()) == (
                    set(sentence.split()) if any(part is not LINE for part in sound) else set()
                )
            await asyncio.gather(*asked, return_exceptions=True)

    async with leaving_no_task(), running(folder, max_batch=8) as (engine, _):
        await asyncio.gather(*(call(engine, random.Random(seed)) for seed in range(12)))
        assert len(engine._batches) == 0


# -- hallucinations


@pytest.mark.parametrize(
    ("says", "reason", "attempts"),
    [
        (Hypothesis("...", 1.2), "no_words", 1),
        (Hypothesis("Yes.", 1.2, float("nan")), "not_finite", 1),
        (Hypothesis("", 1.2, runaway=True), "runaway", 2),
        (Hypothesis("ah " * 40, 9.0), "repetition", 2),
        (Hypothesis("a b c d e f g h i j k l", 1.2, -1.1), "too_fast", 1),
        (Hypothesis("I came.", 1.2, -1.7, 0.9), "no_speech", 2),
        (Hypothesis("Thank you.", 0.4, -0.5, 0.8), "stock_phrase", 2),
    ],
)
async def test_each_objection_drops_the_text_and_is_counted(engine, gate, says, reason, attempts):
    gate.says = lambda piece: says
    assert await recognised(engine) == ""
    assert engine.counts[reason] == attempts
    assert engine.counts["retried"] == attempts - 1
    assert gate.rows == [1] * attempts
    gate.says = None
    assert await recognised(engine) == LOW_SENTENCE


@pytest.mark.parametrize("loop", [Hypothesis(runaway=True, speech=1.2), Hypothesis("uh, " * 40, 9.0)])
async def test_a_loop_is_recognised_once_more_without_repetitions(engine, gate, loop):
    gate.says = lambda piece: gate.model.transcribe([piece])[0] if piece.plain else loop
    assert await recognised(engine) == LOW_SENTENCE
    assert [pieces[0].plain for pieces in gate.passes] == [False, True]


async def test_too_little_speech_is_also_counted(engine):
    assert await recognised(engine, LOW[:1500]) == ""
    assert engine.counts["too_short"] == 1


async def test_hotwords_are_left_out_in_a_second_attempt_if_they_spoil_the_text(tmp_path):
    words = "moment time"
    count = 1 + 2
    async with running(make_tiny_whisper(tmp_path, before_prompt=count), hotwords=words) as (engine, gate):
        assert await recognised(engine) == LOW_SENTENCE
        gate.says = lambda piece: Hypothesis("Yes.", 1.2) if piece.plain else Hypothesis("moment time " * 30, 9.0)
        engine.counts.clear()
        assert await recognised(engine) == "Yes."
        assert (engine.counts["repetition"], engine.counts["retried"]) == (1, 1)
        gate.says = lambda piece: Hypothesis("moment time " * 30, 9.0)
        assert await recognised(engine) == ""
        assert (engine.counts["repetition"], engine.counts["retried"]) == (3, 2)


@pytest.mark.parametrize(
    ("with_hotwords", "without", "heard"),
    [
        # Noise in which the model finds the words that it was told to expect.
        (Hypothesis("Okafor", 1.2, -0.67, 0.8), Hypothesis("you", 1.2, -1.3, 0.9), ""),
        (Hypothesis("Oka", 1.2, -0.7, 0.1), Hypothesis("", 1.2, -0.5, 0.9), ""),
        (Hypothesis("Okafor", 1.2, -1.1, 0.1), Hypothesis("I'm sorry.", 1.2, -1.3, 0.2), ""),
        # A caller who says only the name.
        (Hypothesis("Okafor.", 1.2, -0.7, 0.1), Hypothesis("Oh, cough four.", 1.2, -0.9, 0.1), "Okafor."),
        (Hypothesis("Okafor.", 1.2, -0.1, 0.1), None, "Okafor."),
    ],
)
async def test_a_doubtful_text_with_hotwords_counts_only_if_there_are_words_without_them(
    tmp_path, with_hotwords, without, heard
):
    async with running(make_tiny_whisper(tmp_path), hotwords="Okafor") as (engine, gate):
        gate.says = lambda piece: without if piece.plain else with_hotwords
        assert await recognised(engine) == heard
        assert gate.rows == [1] * (1 if without is None else 2)


async def test_keyterms_are_expected_in_their_utterance_and_judged_like_hotwords(engine, gate):
    made_up, plain = Hypothesis("Okafor", 1.2, -0.67, 0.8), Hypothesis("you", 1.2, -1.3, 0.9)
    gate.says = lambda piece: plain if piece.plain else made_up
    assert await recognised(engine) == "Okafor"
    utterance = engine.open(keyterms=["please"])
    utterance.push(LOW)
    assert (await utterance.finish()).text == ""
    assert [bool(pieces[0].keyterms) for pieces in gate.passes] == [False, True, True]


@pytest.mark.parametrize(
    ("first", "second", "heard"),
    [
        (Hypothesis("Kevin.", 1.2, -0.99), Hypothesis("Seven.", 1.2, -0.6), "Seven."),
        (Hypothesis("Seven.", 1.2, -0.99), Hypothesis("Kevin.", 1.2, -1.2), "Seven."),
        (Hypothesis("Seven.", 1.2, -0.99), Hypothesis("", 1.2, -0.1, 0.9), "Seven."),
        (Hypothesis("Seven.", 1.2, -0.99), Hypothesis(runaway=True, speech=1.2), "Seven."),
        (Hypothesis("Seven.", 1.2, -0.6), None, "Seven."),
        # The first is dropped, and the caller is heard nevertheless.
        (Hypothesis("Bye.", 1.2, -1.2), Hypothesis("Nine.", 1.2, -0.9), "Nine."),
        (Hypothesis("I'm", 1.2, -1.9, 0.8), Hypothesis("Eight.", 1.2, -0.6), "Eight."),
        # A number is no noise, though the model is unsure of it twice.
        (Hypothesis("Oh.", 1.2, -1.28, 0.5), Hypothesis("4.", 1.2, -1.32, 0.55), "4."),
        (Hypothesis("Oh.", 1.2, -1.28, 0.5), Hypothesis("4.", 1.2, -1.9, 0.55), ""),
        # Noise, of which the model is twice unsure.
        (Hypothesis("I'm", 1.2, -1.9, 0.8), Hypothesis("I'm sorry.", 1.2, -1.3, 0.2), ""),
    ],
)
async def test_the_surer_of_two_attempts_counts_where_the_first_is_doubtful(engine, gate, first, second, heard):
    gate.says = lambda piece: second if piece.plain else first
    assert await recognised(engine) == heard
    assert gate.rows == [1] * (1 if second is None else 2)


async def test_a_doubtful_partial_has_no_second_attempt(engine, gate):
    gate.says = lambda piece: Hypothesis("Kevin.", 1.2, -0.99)
    utterance = engine.open(on_partial=lambda partial: None)
    utterance.push(LOW)
    await gate.finished.get()
    assert gate.rows == [1]
    utterance.cancel()


async def test_a_partial_that_its_prefix_spoiled_is_recognised_once_more_without(engine, gate):
    partials = []
    utterance = engine.open(on_partial=partials.append)
    for piece in (LOW, LOW):
        utterance.push(piece)
        await gate.finished.get()
    gate.says = lambda piece: (
        Hypothesis(runaway=True, speech=1.2) if piece.prefix else gate.model.transcribe([piece])[0]
    )
    utterance.push(LOW)
    for _ in range(2):
        await gate.finished.get()
    assert [bool(pieces[0].prefix) for pieces in gate.passes] == [False, False, True, False]
    assert engine.counts["retried"] == 1
    # It was recognised without a prefix, so it can be the answer.
    assert at_once(utterance.finish()).text == LOW_SENTENCE


# -- what goes wrong


def fail(piece):
    raise RuntimeError("CUDA out of memory")


async def test_an_error_of_the_model_is_an_engine_error_and_the_next_request_is_served(engine, gate):
    gate.says = fail
    utterance = engine.open()
    utterance.push(LOW)
    with pytest.raises(EngineError, match="recognition failed: CUDA out of memory"):
        await utterance.snapshot()
    gate.says = None
    assert (await utterance.finish()).text == LOW_SENTENCE
    assert engine.counts["failed"] == 1


async def test_a_model_that_fails_three_times_in_a_row_is_broken_until_a_pass_succeeds(engine, gate):
    async def fails() -> bool:
        try:
            utterance = engine.open()
            utterance.push(LOW)
            await utterance.finish()
        except EngineError:
            return True
        return False

    for says, broken in ((fail, ""), (fail, ""), (None, ""), (fail, ""), (fail, ""), (fail, "3 times"), (None, "")):
        gate.says = says
        assert await fails() == (says is fail)
        assert broken in engine.broken
        assert bool(engine.broken) == bool(broken)


async def test_a_failed_partial_is_logged_and_the_utterance_goes_on(engine, gate, caplog):
    gate.says = fail
    utterance = engine.open(on_partial=lambda partial: None)
    utterance.push(LOW)
    await gate.finished.get()
    gate.says = None
    assert (await utterance.snapshot()).text == LOW_SENTENCE
    assert "A partial transcript failed; the utterance goes on: recognition failed: CUDA out of memory" in caplog.text


async def test_a_part_of_a_long_utterance_that_fails_is_lost_and_the_rest_is_recognised(engine, gate, caplog):
    gate.says = fail
    utterance = engine.open()
    utterance.push(np.tile(LOW, 25))
    await gate.finished.get()
    gate.says = None
    assert (await utterance.finish()).text == LOW_SENTENCE
    assert "Lost the first part of a long utterance" in caplog.text


async def test_closing_ends_waiting_answers_with_an_error(folder):
    async with leaving_no_task(), running(folder) as (engine, gate):
        holding, waiting = await hold(engine, gate), engine.open(on_partial=lambda partial: None)
        waiting.push(LOW)
        answer = asyncio.ensure_future(waiting.finish())
        await turns()
        closing = asyncio.ensure_future(engine.close())
        for task in (holding, answer):
            with pytest.raises(EngineError, match="closed"):
                await task
        gate.open()
        await closing
        with pytest.raises(EngineError, match="not been started"):
            engine.open()
        waiting.push(LOW)
        with pytest.raises(EngineError, match="closed"):
            await waiting.snapshot()


async def test_the_options_of_a_setting_are_those_that_operators_have_written():
    options = {
        **{"model": "m", "device": "cpu", "device_index": 1, "compute_type": "int8", "cpu_threads": 2},
        **{"download_root": "d", "local_files_only": True, "partials": False, "partial_seconds": 1.0},
        "unhurried_partial_seconds": 4.0,
        **{"hotwords": "Ann", "max_batch": 4, "gather": 0.01, "max_utterances": 9, "max_waiting": 3},
    }
    setting = {"BACKEND": "inference.engines.whisper.FasterWhisperSpeechToText", "OPTIONS": options}
    assert asdict(make_engine("stt", setting)._options) == options
    with pytest.raises(EngineError, match=r"has no option 'beam'\. Its options are: compute_type, cpu_threads"):
        make_engine("stt", {**setting, "OPTIONS": {"beam": 5}})


async def test_it_can_be_started_again(folder):
    async with running(folder) as (engine, _):
        await engine.close()
        await engine.start()
        assert await recognised(engine) == LOW_SENTENCE


@pytest.mark.parametrize(
    ("cores", "asked", "threads"), [(1, 0, 1), (2, 0, 2), (64, 0, 4), (2, 3, 3)], ids=["1", "2", "64", "asked for"]
)
def test_a_model_has_no_more_threads_than_cores(folder, monkeypatch, cores, asked, threads):
    given = []

    def load_weights(name, **options):
        given.append(options["cpu_threads"])
        raise RuntimeError("enough")

    monkeypatch.setattr("faster_whisper.WhisperModel", load_weights)
    monkeypatch.setattr("inference.whisper.loading.usable_cores", lambda: cores)
    with pytest.raises(EngineError, match="enough"):
        load(WhisperOptions(model=str(folder), device="cpu", cpu_threads=asked))
    assert given == [threads]


async def test_a_call_while_the_model_loads_is_told_so(folder):
    engine = FasterWhisperSpeechToText(WhisperOptions(model=str(folder), device="cpu", cpu_threads=1))
    with pytest.raises(EngineError, match="not been started"):
        engine.open()
    starting = asyncio.ensure_future(engine.start())
    await turns(1)
    with pytest.raises(EngineLoading):
        engine.open()
    await starting
    engine.open().cancel()
    await engine.close()


async def test_the_error_for_a_model_that_cannot_be_loaded_says_what_to_do(tmp_path):
    engine = FasterWhisperSpeechToText(WhisperOptions(model=str(tmp_path), device="cpu"))
    with pytest.raises(EngineError, match="option `model`") as refusal:
        await engine.start()
    assert refusal.value.permanent
    await engine.close()


async def test_it_describes_itself_before_and_after_it_was_started(folder):
    engine = FasterWhisperSpeechToText(WhisperOptions(model=str(folder), cpu_threads=1, max_utterances=30))
    before = engine.describe()
    assert str(folder) in before.weights
    assert (before.device, before.capacity) == ("auto", 30)
    assert before.memory_bytes > (folder / "model.bin").stat().st_size
    await engine.start()
    assert engine.describe().device == "cpu"
    await engine.close()
    named = FasterWhisperSpeechToText(WhisperOptions(model="large-v3-turbo", device="cuda", download_root=str(folder)))
    assert named.describe().weights == "large-v3-turbo, from the model hub"
    assert 3 < named.describe().memory_bytes / 2**30 < 4
