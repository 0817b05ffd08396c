"""Every engine says which languages it has, and refuses the others when a call opens it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from inference.csm.options import CsmOptions
from inference.engines import flite
from inference.engines.csm import CsmTextToSpeech
from inference.engines.echo import EchoSpeechToText, EchoTextToSpeech
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.fallback import FallbackSpeechToText, FallbackTextToSpeech
from inference.engines.laptop_voice import LaptopTextToSpeech
from inference.engines.remote import RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import ScriptedSpeechToText, ScriptedTextToSpeech
from inference.engines.sphinx import SphinxSpeechToText
from inference.engines.whisper import FasterWhisperSpeechToText
from inference.types import ALL_LANGUAGES, EngineError, Languages, has_language, union_of_languages
from inference.whisper.options import WhisperOptions
from tests.inference.speaking import sound_of
from tests.inference.tiny_piper import make_tiny_piper
from tests.inference.tiny_whisper import make_tiny_whisper

ENGLISH = frozenset(("en",))


@pytest.mark.parametrize(
    ("languages", "language", "there"),
    [
        (ENGLISH, "en", True),
        (ENGLISH, "EN_gb", True),
        (ENGLISH, "de", False),
        (ENGLISH, "eng", False),
        (ALL_LANGUAGES, "tlh", True),
        (None, "en", None),
    ],
)
def test_a_language_is_found_by_the_first_part_of_its_code(languages, language, there):
    assert has_language(languages, language) is there


@pytest.mark.parametrize(
    ("each", "union"),
    [
        ([], None),
        ([ENGLISH, frozenset(("de", "en"))], frozenset(("de", "en"))),
        ([ENGLISH, None], None),
        ([ENGLISH, ALL_LANGUAGES], ALL_LANGUAGES),
    ],
)
def test_several_engines_have_the_languages_of_all(each, union):
    assert union_of_languages(each) == union


@pytest.mark.parametrize(
    ("engine", "languages"),
    [
        pytest.param(SphinxSpeechToText(), ENGLISH, id="sphinx"),
        pytest.param(CsmTextToSpeech(CsmOptions()), ENGLISH, id="csm"),
        pytest.param(FasterWhisperSpeechToText(WhisperOptions(model="tiny.en")), ENGLISH, id="English Whisper"),
        pytest.param(FasterWhisperSpeechToText(WhisperOptions(model="small")), None, id="Whisper that is not loaded"),
        pytest.param(RemoteSpeechToText(), None, id="worker that is not known yet"),
        pytest.param(RemoteTextToSpeech(), None, id="worker that is not known yet (voice)"),
        pytest.param(ScriptedSpeechToText(), ALL_LANGUAGES, id="scripted recogniser"),
        pytest.param(ScriptedTextToSpeech(), ALL_LANGUAGES, id="scripted voice"),
        pytest.param(EchoSpeechToText(), ALL_LANGUAGES, id="echo recogniser"),
        pytest.param(EchoTextToSpeech(), ALL_LANGUAGES, id="echo"),
    ],
)
def test_an_engine_says_before_it_is_started_which_languages_it_has(engine, languages):
    assert engine.languages == languages


def test_espeak_has_a_hundred_languages_before_it_is_started():
    languages = EspeakTextToSpeech().languages
    assert len(languages) > 100
    assert {"en", "de", "fr", "es", "it", "pt", "nl", "zh", "no"} <= languages


@pytest.fixture
async def espeak():
    engine = EspeakTextToSpeech()
    await engine.start()
    yield engine
    await engine.close()


@pytest.mark.parametrize(
    ("language", "voice"),
    [
        ("fr", "fr"),
        ("fr-CH", "fr-ch"),
        ("fr-CA", "fr"),
        ("zh", "cmn"),
        ("no", "nb"),
        ("pt", "pt"),
        ("pt-PT", "pt"),
        ("pt-BR", "pt-br"),
        ("es-MX", "es-419"),
        ("en", "en-us"),
        ("en-GB", "en"),
        ("en-AU", "en-us"),
    ],
)
async def test_espeak_speaks_a_language_in_the_voice_of_its_region(espeak, language, voice):
    assert espeak.voice_of(language) == voice
    assert len(await sound_of(espeak, "1 2 3.", language=language)) > 1000


async def test_espeak_refuses_a_language_that_it_does_not_have(espeak):
    with pytest.raises(EngineError, match="does not speak 'tlh'") as caught:
        espeak.open(language="tlh")
    assert caught.value.permanent


@pytest.mark.parametrize(("voice", "language"), [("en-us", "fr"), ("en-us+f3", "zh"), ("fr", "en"), ("cmn", "de")])
async def test_espeak_does_not_read_a_language_in_a_voice_of_another_that_was_named(espeak, voice, language):
    with pytest.raises(EngineError, match=f"the voice {re.escape(repr(voice))} of eSpeak NG speaks") as caught:
        espeak.open(voice=voice, language=language)
    assert caught.value.permanent


@pytest.fixture
async def laptop():
    laptop = LaptopTextToSpeech(engine="espeak")
    await laptop.start()
    yield laptop
    await laptop.close()


@pytest.mark.parametrize("voice", ["", "slt", "en-us", "no such voice"])
@pytest.mark.parametrize(("language", "own"), [("fr", "fr"), ("zh", "cmn"), ("fr-CH", "fr-ch"), ("de", "de")])
async def test_the_laptop_voice_does_not_speak_a_language_in_the_voice_of_another(laptop, espeak, voice, language, own):
    spoken = await sound_of(laptop, "1 2 3 4 5 6", voice=voice, language=language)
    assert len(spoken) == pytest.approx(
        len(await sound_of(espeak, "1 2 3 4 5 6", voice=own, language=language)), rel=0.02
    )
    assert len(spoken) != pytest.approx(len(await sound_of(espeak, "1 2 3 4 5 6", voice="en-us")), rel=0.02)


async def test_the_laptop_voice_refuses_a_language_that_no_voice_of_it_has(laptop):
    with pytest.raises(EngineError, match="no laptop voice speaks 'tlh'") as caught:
        laptop.open(voice="slt", language="tlh")
    assert caught.value.permanent


async def test_the_laptop_voice_speaks_with_piper_where_it_has_weights_and_else_with_another(tmp_path, espeak):
    piper = make_tiny_piper(tmp_path)
    laptop = LaptopTextToSpeech(piper={"model": str(piper), "noise_scale": 0.0, "noise_w": 0.0})
    only = LaptopTextToSpeech(engine="piper", piper=str(piper))
    await laptop.start()
    await only.start()
    assert laptop.name == only.name == "piper"
    assert laptop.rate_hz == 16_000
    assert {"en", "de"} <= laptop.languages
    assert only.languages == ENGLISH
    german = await sound_of(laptop, "eins zwei drei", language="de")
    assert len(german) / 16_000 == pytest.approx(
        len(await sound_of(espeak, "eins zwei drei", language="de")) / espeak.rate_hz, rel=0.02
    )
    english, replaced = [await sound_of(laptop, "one two three", voice=voice) for voice in ("", "no such voice")]
    assert english.tobytes() == replaced.tobytes()
    robotic = await sound_of(laptop, "one two three", voice="en-us+f3")
    assert robotic.tobytes() != english.tobytes()
    with pytest.raises(EngineError, match="no laptop voice speaks 'de'"):
        only.open(language="de")
    await laptop.close()
    await only.close()


def test_the_laptop_voice_refuses_piper_without_weights():
    with pytest.raises(EngineError, match="needs the option piper"):
        LaptopTextToSpeech(engine="piper")


def test_the_laptop_voice_refuses_an_engine_that_it_does_not_know():
    with pytest.raises(EngineError, match="no laptop voice 'csm'"):
        LaptopTextToSpeech(engine="csm")


@pytest.mark.skipif(not flite.is_installed(), reason="Flite (Debian's libflite1) is not installed")
async def test_flite_speaks_english_only():
    engine = flite.FliteTextToSpeech()
    await engine.start()
    with pytest.raises(EngineError, match="Flite does not speak 'de'; it speaks en"):
        engine.open(language="de")
    await engine.close()


async def test_whisper_has_the_languages_of_its_model_once_it_is_loaded(tmp_path):
    folder = make_tiny_whisper(tmp_path)
    engine = FasterWhisperSpeechToText(WhisperOptions(model=str(folder), device="cpu", cpu_threads=1))
    assert engine.languages is None
    await engine.start()
    assert engine.languages is not None
    assert "en" in engine.languages
    with pytest.raises(EngineError, match="does not know the language 'tlh'"):
        engine.open(language="tlh")
    await engine.close()


def test_a_remote_engine_has_the_languages_of_its_workers(monkeypatch):
    engine = RemoteTextToSpeech()

    def workers(*each: list[str] | None) -> Languages:
        facts = [type("Facts", (), {"languages": languages}) for languages in each]
        monkeypatch.setattr(type(engine.workers), "all_facts", property(lambda _: facts))
        return engine.languages

    assert workers(["en"], ["de", "en"]) == frozenset(("de", "en"))
    assert workers(["en"], None) is None  # a worker of an earlier version


class EnglishSpeech(ScriptedTextToSpeech):
    languages = ENGLISH


class EnglishRecognition(ScriptedSpeechToText):
    languages = ENGLISH

    def open(self, *, language: str = "en", **options: Any) -> Any:
        assert language == "en"
        return super().open(language=language, **options)


def fallback(kind: type, *classes: type) -> Any:
    return kind(engines=[{"BACKEND": f"{each.__module__}.{each.__qualname__}"} for each in classes])


async def test_a_fallback_asks_only_the_engines_that_have_the_language():
    engine = fallback(FallbackSpeechToText, EnglishRecognition, ScriptedSpeechToText)
    await engine.start()
    transcription = engine.open(language="de")
    assert (await transcription.finish()).text
    assert [counts.failed for counts in engine.counts.values()] == [0, 0]
    await engine.close()


async def test_a_fallback_speaks_with_the_first_engine_that_has_the_language():
    engine = fallback(FallbackTextToSpeech, EnglishSpeech, ScriptedTextToSpeech)
    await engine.start()
    english, scripted = engine.members
    assert engine.members_with("de") == [scripted]
    assert engine.members_with("en") == [english, scripted]
    assert len(await sound_of(engine, "Guten Tag.", language="de")) > 0
    assert len(await sound_of(engine.preferred, "Guten Tag.", language="de")) > 0
    assert engine.preferred.members_with("en") == [english]
    assert english.counts.served == 0
    await engine.close()


def test_a_fallback_in_which_no_engine_has_the_language_asks_all_so_that_the_error_says_why():
    engine = fallback(FallbackTextToSpeech, EnglishSpeech)
    assert engine.languages == ENGLISH
    assert engine.members_with("de") == engine.members
