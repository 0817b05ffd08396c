"""Kokoro: phonemes, pieces, voices, errors. ``test_contract.py`` holds it to the contract."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from inference.engines.kokoro import KokoroOptions, KokoroTextToSpeech, kokoro_phonemes
from inference.types import EngineError
from inference.voices.espeak_library import shared_library
from inference.voices.loudness import active_level
from tests.inference.speaking import loud_samples, sound_of, speak
from tests.inference.tiny_kokoro import make_tiny_kokoro

TEXT = ("Hello there, this is the front desk. ", "What can I do for you?")


async def started(**options) -> KokoroTextToSpeech:
    engine = KokoroTextToSpeech(KokoroOptions(**options))
    await engine.start()
    return engine


@pytest_asyncio.fixture
async def engine(tmp_path):
    engine = await started(model=str(make_tiny_kokoro(tmp_path)))
    yield engine
    await engine.close()


@pytest.mark.parametrize(
    ("text", "kind", "phonemes"),
    [
        ("Hello there", "a", "həlˈO ðˈɛɹ"),
        ("My house", "a", "mI hˈWs"),
        ("The boy", "a", "ðə bˈY"),
        ("Day", "a", "dˈA"),
        ("Chair judge", "a", "ʧˈɛɹ ʤˈʌʤ"),
        ("Water", "a", "wˈɔTəɹ"),
        ("Bird", "a", "bˈɜɹd"),
        ("Go home", "b", "ɡˌQ hˈQm"),
    ],
)
def test_phonemes_are_those_of_kokoros_alphabet(text, kind, phonemes):
    ipa = shared_library().phonemes(text, "en" if kind == "b" else "en-us", tie="^")
    assert kokoro_phonemes(ipa, kind=kind) == phonemes


@pytest.mark.parametrize("durations", [False, True])
async def test_words_are_timed_exactly_if_the_model_tells_lengths(tmp_path, durations):
    engine = await started(model=str(make_tiny_kokoro(tmp_path, durations=durations)))
    chunks, text = await speak(engine, *TEXT), "".join(TEXT)
    assert {chunk.exact for chunk in chunks[:-1]} >= {durations}
    ends = [0, *(chunk.text_end for chunk in chunks)]
    said = [text[begin:end].strip() for begin, end in pairwise(ends) if text[begin:end].strip()]
    assert len(said) >= 8
    assert " ".join(said) == text
    await engine.close()


async def test_silence_and_loudness_are_those_of_all_voices(engine):
    for voice in ("", "am_adam"):
        sound = await sound_of(engine, "Hello there we are open now.", voice=voice)
        loud = loud_samples(sound)
        assert loud[0] / engine.rate_hz <= 0.031
        assert (len(sound) - loud[-1]) / engine.rate_hz == pytest.approx(0.18, abs=0.01)
        assert active_level(sound, engine.rate_hz) == pytest.approx(-20, abs=1.5)


async def test_a_long_clause_is_made_in_pieces_and_said_whole(engine):
    text = "one two three four five six seven eight nine ten " * 30
    chunks = await speak(engine, text)
    assert chunks[-1].text_end == len(text)
    assert sum(len(chunk.pcm) for chunk in chunks) / engine.rate_hz > 300 * 2 * 0.05


async def test_speed_shortens_the_speech(tmp_path):
    folder = make_tiny_kokoro(tmp_path)
    lengths = []
    for speed in (1.0, 2.0):
        engine = await started(model=str(folder), speed=speed)
        lengths.append(len(loud_samples(await sound_of(engine, "we are open now"))))
        await engine.close()
    assert lengths[1] == pytest.approx(lengths[0] / 2, rel=0.1)


async def test_each_voice_speaks_its_language_and_no_other(tmp_path):
    folder = make_tiny_kokoro(tmp_path, voices=("bf_emma", "ff_siwis", "jf_alpha"), raw_voices=True)
    engine = KokoroTextToSpeech(KokoroOptions(model=str(folder)))
    assert engine.languages == {"en", "fr"}
    await engine.start()
    assert len(await sound_of(engine, "bonjour madame", language="fr")) > 1000
    assert len(await sound_of(engine, "good morning", voice="jf_alpha")) > 1000
    for voice, language in (("", "de"), ("ff_siwis", "en"), ("bf_emma", "fr"), ("nobody", "en")):
        with pytest.raises(EngineError) as refusal:
            engine.open(voice=voice, language=language)
        assert refusal.value.permanent
    await engine.close()


async def test_a_call_reads_no_files(tmp_path, monkeypatch):
    engine = await started(model=str(make_tiny_kokoro(tmp_path)))
    monkeypatch.setattr(Path, "glob", lambda *_: pytest.fail("the disk was asked"))
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("the disk was asked"))
    assert engine.languages == {"en"}
    engine.open(language="en")
    monkeypatch.undo()
    await engine.close()


async def test_an_export_with_the_older_name_of_the_input_is_spoken(tmp_path):
    engine = await started(model=str(make_tiny_kokoro(tmp_path, tokens="tokens") / "model.onnx"))
    assert len(await sound_of(engine, "good morning")) > 1000
    await engine.close()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.onnx", None, r"has no \*\.onnx"),
        ("model.onnx", b"no model", "is no ONNX model"),
        ("tokenizer.json", None, "has no alphabet"),
        ("tokenizer.json", b"{", "cannot be read"),
        ("voices.npz", None, "has no voices of Kokoro"),
        ("voices.npz", b"PK broken", "cannot be read"),
        ("voices.npz", b"odd", "cannot be read"),
    ],
)
async def test_files_that_are_no_kokoro_are_refused_permanently(tmp_path, file, content, message):
    path = make_tiny_kokoro(tmp_path) / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    engine = KokoroTextToSpeech(KokoroOptions(model=str(tmp_path)))
    assert engine.describe().weights
    with pytest.raises(EngineError, match=message) as refusal:
        await engine.start()
    assert refusal.value.permanent


async def test_weights_that_were_not_fetched_are_named_with_the_command_that_fetches_them(tmp_path):
    engine = KokoroTextToSpeech(KokoroOptions(model=str(tmp_path / "kokoro")))
    with pytest.raises(EngineError, match=r"manage\.py models fetch kokoro"):
        await engine.start()


async def test_a_model_of_another_kind_is_refused(tmp_path):
    from tests.inference.tiny_piper import make_tiny_piper

    folder = make_tiny_kokoro(tmp_path / "kokoro")
    (folder / "model.onnx").write_bytes(next(make_tiny_piper(tmp_path / "piper").glob("*.onnx")).read_bytes())
    with pytest.raises(EngineError, match="is no model of Kokoro: its inputs are input, input_lengths, scales"):
        await started(model=str(folder))


@pytest.mark.parametrize(("options", "message"), [({"speed": 3.0}, "speed"), ({"cores": 0}, "cores")])
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(EngineError, match=message):
        KokoroOptions(model="kokoro", **options)


def test_the_vocabulary_may_also_be_in_the_models_configuration(tmp_path):
    from inference.engines.kokoro import _read_alphabet

    (tmp_path / "config.json").write_text(json.dumps({"vocab": {"a": 43}}))
    assert _read_alphabet(tmp_path) == {"a": 43}


@pytest.mark.weights
async def test_the_real_model_speaks_english_in_a_japanese_voice(models_dir):
    if not (models_dir / "kokoro").is_dir():
        pytest.skip("the folder of models has no kokoro")
    engine = await started(model=str(models_dir / "kokoro"), cores=2)
    chunks = await speak(engine, "We open at ten, and we close at six.")
    sound = np.concatenate([chunk.pcm for chunk in chunks])
    assert 1.5 < len(sound) / engine.rate_hz < 6
    assert active_level(sound, engine.rate_hz) == pytest.approx(-20, abs=3)
    await engine.close()
