"""Piper: what it says and when, languages, loudness, errors. ``test_contract.py`` holds it to the contract."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import numpy as np
import pytest
import pytest_asyncio

from inference.engines.piper import PiperOptions, PiperTextToSpeech
from inference.types import EngineError
from inference.voices.loudness import active_level
from tests.inference.speaking import clauses, loud_samples, sound_of, speak
from tests.inference.tiny_piper import make_tiny_piper

TEXT = ("Hello there, this is the front desk. ", "What can I do for you?")
EVEN = {"noise_scale": 0.0, "noise_w": 0.0}
"""Without chance, so that a text always sounds the same."""


async def started(**options) -> PiperTextToSpeech:
    engine = PiperTextToSpeech(PiperOptions(**options))
    await engine.start()
    return engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_piper(tmp_path_factory.mktemp("voice"))


@pytest_asyncio.fixture
async def engine(folder):
    engine = await started(model=str(folder), **EVEN)
    yield engine
    await engine.close()


async def test_each_chunk_says_which_words_were_spoken_by_its_end(engine):
    chunks, text = await speak(engine, *TEXT), "".join(TEXT)
    assert all(chunk.exact for chunk in chunks)
    assert max(len(chunk.pcm) for chunk in chunks) <= 0.061 * engine.rate_hz
    ends = [0, *(chunk.text_end for chunk in chunks)]
    said = [text[begin:end].strip() for begin, end in pairwise(ends) if text[begin:end].strip()]
    assert said == text.split()


async def test_a_model_that_cannot_be_cut_estimates_the_words(tmp_path):
    folder = make_tiny_piper(tmp_path, cuttable=False)
    engine = await started(model=str(folder), **EVEN)
    chunks, text = await speak(engine, TEXT[0]), TEXT[0]
    assert [chunk.exact for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    half = next(index for index, chunk in enumerate(chunks) if chunk.text_end >= len(text) / 2)
    assert 0.35 < half / len(chunks) < 0.75
    await engine.close()


async def test_silence_before_and_after_a_sentence_is_that_of_all_voices(engine):
    sound = await sound_of(engine, TEXT[0])
    loud = loud_samples(sound)
    assert loud[0] / engine.rate_hz <= 0.031
    assert (len(sound) - loud[-1]) / engine.rate_hz == pytest.approx(0.18, abs=0.01)


@pytest.mark.parametrize("loudness", [0.05, 0.3, 0.9])
async def test_a_voice_is_as_loud_as_all_others_however_it_was_trained(tmp_path, loudness):
    engine = await started(model=str(make_tiny_piper(tmp_path, loudness=loudness)), **EVEN)
    sound = await sound_of(engine, *TEXT)
    assert active_level(sound, engine.rate_hz) == pytest.approx(-20, abs=1)
    assert np.abs(sound.astype(int)).max() < 0.95 * 32768
    await engine.close()


async def test_the_voices_of_an_engine_have_one_rate_and_one_level(folder, tmp_path):
    other = make_tiny_piper(tmp_path, language="de_DE", espeak_voice="de", rate_hz=22_050, loudness=0.8)
    engine = await started(model=str(folder), voices={"anna": str(other)}, **EVEN)
    assert engine.rate_hz == 16_000
    assert engine.languages == {"en", "de"}
    english = await sound_of(engine, "one two three four five six seven")
    german = await sound_of(engine, "eins zwei drei vier sechs sieben", language="de")
    assert active_level(german, 16_000) == pytest.approx(active_level(english, 16_000), abs=1)
    named = await sound_of(engine, "eins zwei drei vier sechs sieben", voice="anna", language="de")
    assert np.array_equal(german, named)
    await engine.close()


async def test_a_voice_of_the_same_region_is_preferred(folder, tmp_path):
    british = make_tiny_piper(tmp_path, language="en_GB", espeak_voice="en", loudness=0.8)
    engine = await started(model=str(folder), voices={"amy": str(british)}, **EVEN)
    texts = {
        language: (await sound_of(engine, "Hot water.", language=language)).tobytes()
        for language in ("en", "en-GB", "en-AU")
    }
    assert texts["en"] == texts["en-AU"] != texts["en-GB"]
    await engine.close()


@pytest.mark.parametrize(("voice", "language"), [("", "de"), ("xx_XX-tiny", "fr-FR"), ("", "tlh")])
async def test_another_language_is_refused_permanently(engine, voice, language):
    with pytest.raises(EngineError, match=language) as refusal:
        engine.open(voice=voice, language=language)
    assert refusal.value.permanent


async def test_a_voice_that_was_named_does_not_read_another_language(folder, tmp_path):
    other = make_tiny_piper(tmp_path, language="de_DE", espeak_voice="de")
    engine = await started(model=str(folder), voices={"anna": str(other)})
    with pytest.raises(EngineError, match="the voice 'anna' of Piper speaks 'de', not 'en'") as refusal:
        engine.open(voice="anna", language="en")
    assert refusal.value.permanent
    await engine.close()


async def test_a_model_of_several_speakers_has_a_voice_of_each(tmp_path):
    folder = make_tiny_piper(tmp_path, speakers=("ann", "bob"))
    engine = await started(model=str(folder), voice="bob", voices={"guest": str(folder)}, **EVEN)
    said = {
        voice: await sound_of(engine, *TEXT, voice=voice)
        for voice in ("", "bob", "ann", "xx_XX-tiny/ann", "guest", "guest/bob")
    }
    assert all(active_level(sound, 16_000) == pytest.approx(-20, abs=1) for sound in said.values())
    for equal in (("", "bob", "guest/bob"), ("ann", "xx_XX-tiny/ann", "guest")):
        assert len({said[voice].tobytes() for voice in equal}) == 1
    with pytest.raises(EngineError, match="no voice 'carl'; it has guest, xx_XX-tiny, ann, bob"):
        engine.open(voice="carl")
    await engine.close()


async def test_a_voice_whose_level_could_not_be_measured_is_measured_again(engine, monkeypatch):
    voice = engine._named("")
    measured, voice.gain = voice.gain, None

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(voice.model, "encode", fail)
        with pytest.raises(EngineError, match="speech synthesis failed: MemoryError"):
            await sound_of(engine, "Good morning.")
    await sound_of(engine, "Good morning.")
    assert voice.gain == pytest.approx(measured, rel=0.2)


async def test_speed_shortens_the_speech(folder, engine):
    fast = await started(model=str(folder), speed=1.5, **EVEN)
    normal, short = [len(await sound_of(each, TEXT[0])) for each in (engine, fast)]
    assert short == pytest.approx(normal / 1.5, rel=0.1)
    await fast.close()


async def test_text_of_any_kind_is_spoken(engine):
    text = "Naïve café – 12 €\0 😀 <b>[[bold]]</b> 你好"
    assert (await speak(engine, text))[-1].text_end == len(text)
    assert await speak(engine, " ", "?!") == []
    assert (await speak(engine, "Hello. ", "... ", "Bye."))[-1].text_end == len("Hello. ... Bye.")


async def test_closing_the_iterator_stops_the_voice_between_two_pieces(engine):
    chunks = engine.open().speak(clauses("one two three four five six seven eight nine ten " * 5))
    await anext(chunks)
    await chunks.aclose()
    # One thread serves all calls: if it were not stopped, hundreds of chunks would come before this word.
    assert len(await speak(engine, "Okay.")) < 30


async def test_closing_the_engine_ends_the_clauses_that_wait_with_an_error(engine):
    speaking = [asyncio.ensure_future(speak(engine, "one two three four five six seven " * 20)) for _ in range(3)]
    await asyncio.sleep(0)
    await engine.close()
    outcomes = await asyncio.gather(*speaking, return_exceptions=True)
    assert all(isinstance(outcome, EngineError) for outcome in outcomes)
    with pytest.raises(EngineError, match="not started"):
        engine.open()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 0.0}, "speed of Piper is 0"),
        ({"threads": 0}, "threads of Piper is 0"),
        ({"noise_w": -0.1}, "must not be negative"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(EngineError, match=message) as refusal:
        PiperOptions(model="voice", **options)
    assert refusal.value.permanent


def _without_files(folder):
    return folder / "nothing"


def _with_two_models(folder):
    (folder / "second.onnx").write_bytes(b"")
    return folder


def _without_description(folder):
    next(folder.glob("*.json")).unlink()
    return folder


def _with_other_phonemes(folder):
    description = next(folder.glob("*.json"))
    description.write_text(json.dumps(json.loads(description.read_text()) | {"phoneme_type": "pinyin"}))
    return folder


def _with_half_a_description(folder):
    next(folder.glob("*.json")).write_text("{}")
    return folder


def _without_phonemes(folder):
    description = next(folder.glob("*.json"))
    description.write_text(json.dumps(json.loads(description.read_text()) | {"phoneme_id_map": {"_": [0]}}))
    return folder


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_files, "does not exist"),
        (_with_two_models, "has several files"),
        (_without_description, "cannot be read"),
        (_with_other_phonemes, "phonemes of the kind 'pinyin'"),
        (_with_half_a_description, "describes no Piper voice"),
        (_without_phonemes, "none of eSpeak NG's phonemes"),
    ],
)
async def test_files_that_are_no_voice_are_refused_permanently(tmp_path, spoil, message):
    engine = PiperTextToSpeech(PiperOptions(model=str(spoil(make_tiny_piper(tmp_path)))))
    assert engine.rate_hz > 0
    assert engine.describe().weights
    with pytest.raises(EngineError, match=message) as refusal:
        await engine.start()
    assert refusal.value.permanent


async def test_weights_that_were_not_fetched_are_named_with_the_command_that_fetches_them(tmp_path):
    engine = PiperTextToSpeech(PiperOptions(model=str(tmp_path / "piper-joe")))
    with pytest.raises(EngineError, match=r"manage\.py models fetch piper-joe"):
        await engine.start()


@pytest.mark.weights
class TestRealVoice:
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def joe(cls, models_dir):
        if not (models_dir / "piper-joe").is_dir():
            pytest.skip("the folder of models has no piper-joe")
        engine = await started(model=str(models_dir / "piper-joe"))
        yield engine
        await engine.close()

    @pytest.mark.asyncio(loop_scope="class")
    async def test_it_streams_with_exact_words_at_the_level_of_all_voices(self, joe):
        chunks = await speak(joe, *TEXT)
        assert all(chunk.exact for chunk in chunks)
        sound = np.concatenate([chunk.pcm for chunk in chunks])
        assert active_level(sound, joe.rate_hz) == pytest.approx(-20, abs=2)
        assert 2 < len(sound) / joe.rate_hz < 5

    @pytest.mark.asyncio(loop_scope="class")
    async def test_silence_before_and_after_a_sentence_is_that_of_all_voices(self, joe):
        sound = await sound_of(joe, TEXT[0])
        loud = loud_samples(sound)
        assert loud[0] / joe.rate_hz <= 0.031
        assert (len(sound) - loud[-1]) / joe.rate_hz == pytest.approx(0.18, abs=0.01)
