"""``STT_ENGINE``, ``LLM_ENGINE`` and ``TTS_ENGINE`` name engines: by a short name, a path, or several in a list."""

import dataclasses
import importlib.util
import inspect
import os
import re
import runpy
from dataclasses import replace
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from clientcaller import named_engines
from clientcaller.named_engines import ENGINES, FALLBACKS, GENERAL, Reader
from inference.backends import make_engine
from inference.models.catalogue import CATALOGUE, ModelFile
from inference.types import EngineError

ROOT = Path(__file__).parent.parent
KEYS = {
    "DEEPGRAM_API_KEY": "dg-secret",
    "OPENAI_API_KEY": "sk-secret",
    "CARTESIA_API_KEY": "car-secret",
    "ELEVENLABS_API_KEY": "el-secret",
}


@pytest.fixture
def load(monkeypatch, tmp_path):
    """The settings for an environment that holds this and nothing else."""

    def load(**environment: str) -> dict[str, Any]:
        monkeypatch.setattr(os, "environ", {"VAR_DIR": str(tmp_path), **environment})
        return runpy.run_path(str(ROOT / "clientcaller" / "settings.py"))

    return load


def path_of(kind: str, name: str) -> str:
    (path,) = (engine.path for engine in ENGINES if (engine.kind, engine.name) == (kind, name))
    return path


# --- One engine ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["laptop", "gpu", "scripted"])
def test_a_name_replaces_one_engine_of_any_profile(load, profile):
    plain = load(ENGINES_PROFILE=profile)["ENGINES"]
    engines = load(ENGINES_PROFILE=profile, TTS_ENGINE="espeak", TTS_VOICE="en-gb")["ENGINES"]
    assert engines["tts"] == {"BACKEND": path_of("tts", "espeak"), "OPTIONS": {"voice": "en-gb"}}
    assert (engines["stt"], engines["llm"]) == (plain["stt"], plain["llm"])


def test_a_name_may_be_written_in_upper_or_lower_case(load):
    assert load(STT_ENGINE="Sphinx")["ENGINES"]["stt"]["BACKEND"] == path_of("stt", "sphinx")


def test_an_engine_gets_its_options_from_the_environment(load):
    engines = load(**KEYS, STT_ENGINE="deepgram", STT_MODEL="nova-3-medical", DEEPGRAM_BASE_URL="wss://eu.example")
    assert engines["ENGINES"]["stt"]["OPTIONS"] == {
        "api_key": "dg-secret",
        "base_url": "wss://eu.example",
        "model": "nova-3-medical",
    }


def test_what_is_not_set_is_left_to_the_defaults_of_the_engine(load):
    assert load(STT_ENGINE="whisper")["ENGINES"]["stt"]["OPTIONS"] == {}


def test_the_variable_of_an_engine_goes_before_the_general_one(load):
    engines = load(STT_ENGINE="whisper", WHISPER_MODEL="small", STT_MODEL="nova-3")["ENGINES"]
    assert engines["stt"]["OPTIONS"] == {"model": "small"}
    assert load(ENGINES_PROFILE="cpu", STT_MODEL="tiny")["ENGINES"]["stt"]["OPTIONS"]["model"] == "tiny"


def test_a_dotted_path_is_an_engine_whose_options_are_in_engines_options(load):
    engines = load(LLM_ENGINE="acme.Parrot", ENGINES_OPTIONS='{"llm": {"loud": true}}')["ENGINES"]
    assert engines["llm"] == {"BACKEND": "acme.Parrot", "OPTIONS": {"loud": True}}


def test_options_may_be_given_under_the_kind_or_the_name_of_an_engine(load):
    by_name = load(STT_ENGINE="whisper", ENGINES_OPTIONS='{"whisper": {"device": "cpu"}}')["ENGINES"]["stt"]
    by_kind = load(STT_ENGINE="whisper", ENGINES_OPTIONS='{"stt": {"device": "cpu"}}')["ENGINES"]["stt"]
    assert by_name == by_kind
    assert by_name["OPTIONS"] == {"device": "cpu"}
    assert load(ENGINES_OPTIONS='{"whisper": {"device": "cpu"}}')["ENGINES"]["stt"]["OPTIONS"] == {}


@pytest.fixture
def package_with_an_engine(monkeypatch):
    points = EntryPoints([EntryPoint("acme-parrot", "acme.engines:Parrot", "clientcaller.engines")])
    monkeypatch.setattr(named_engines, "entry_points", lambda group: points.select(group=group))
    return {}


def test_another_package_names_an_engine_by_an_entry_point(load, package_with_an_engine):
    environment = {"LLM_ENGINE": "acme-parrot", "ENGINES_OPTIONS": '{"acme-parrot": {"loud": true}}'}
    assert load(**environment)["ENGINES"]["llm"] == {"BACKEND": "acme.engines.Parrot", "OPTIONS": {"loud": True}}


def test_a_name_that_is_none_is_refused_with_those_that_are(load, package_with_an_engine):
    with pytest.raises(ImproperlyConfigured) as refused:
        load(TTS_ENGINE="cartesa")
    text = str(refused.value)
    assert text.startswith('TTS_ENGINE is "cartesa". Choose one of: laptop-voice, espeak, flite, piper, ')
    assert text.endswith("echo, acme-parrot, a dotted path, or a comma-separated list.")
    with pytest.raises(ImproperlyConfigured, match=r'TTS_ENGINE has "cartesa" in its list\. Choose one of: '):
        load(TTS_ENGINE="espeak,cartesa")
    with pytest.raises(ImproperlyConfigured, match=r'LLM_ENGINE is "espeak"\. Choose one of: receptionist'):
        load(LLM_ENGINE="espeak")


# --- A list ----------------------------------------------------------------------------------------------------


def test_a_list_is_a_fallback_in_its_order(load):
    engines = load(CARTESIA_API_KEY="car-secret", TTS_ENGINE="csm, cartesia,espeak")["ENGINES"]
    assert engines["tts"] == {
        "BACKEND": "inference.engines.fallback.FallbackTextToSpeech",
        "OPTIONS": {
            "engines": [
                {"NAME": "csm", "BACKEND": path_of("tts", "csm"), "OPTIONS": {}},
                {"NAME": "cartesia", "BACKEND": path_of("tts", "cartesia"), "OPTIONS": {"api_key": "car-secret"}},
                {"NAME": "espeak", "BACKEND": path_of("tts", "espeak"), "OPTIONS": {}},
            ]
        },
    }


def test_a_fallback_of_each_kind_can_be_made(load):
    engines = load(STT_ENGINE="scripted,sphinx", LLM_ENGINE="scripted,receptionist", TTS_ENGINE="scripted,laptop-voice")
    for kind, setting in engines["ENGINES"].items():
        assert setting["BACKEND"] == FALLBACKS[kind]
        names = [member.name for member in make_engine(kind, setting).members]
        assert names[0] == f"{kind} engine 1 (scripted)"


def test_the_general_variables_are_meant_for_the_first_engine_of_a_list(load):
    engines = load(TTS_ENGINE="espeak,flite", TTS_VOICE="en-gb")["ENGINES"]["tts"]["OPTIONS"]["engines"]
    assert [entry["OPTIONS"] for entry in engines] == [{"voice": "en-gb"}, {}]


def test_options_of_a_list_are_those_of_each_engine_by_name_and_those_of_the_fallback_by_kind(load):
    engines = load(
        TTS_ENGINE="flite,espeak",
        ENGINES_OPTIONS='{"tts": {"failures": 5}, '
        '"espeak": {"rate": 150, "DEADLINE": 2, "VOICES": {"slt": "en-us+f3"}}}',
    )["ENGINES"]
    options = engines["tts"]["OPTIONS"]
    assert options["failures"] == 5
    assert options["engines"][1] == {
        "NAME": "espeak",
        "BACKEND": path_of("tts", "espeak"),
        "OPTIONS": {"rate": 150},
        "DEADLINE": 2,
        "VOICES": {"slt": "en-us+f3"},
    }
    assert make_engine("tts", engines["tts"]).members[1].deadline == 2


def test_what_only_a_fallback_needs_to_know_is_ignored_for_an_engine_alone(load):
    engines = load(TTS_ENGINE="espeak", ENGINES_OPTIONS='{"espeak": {"rate": 150, "DEADLINE": 2}}')["ENGINES"]
    assert engines["tts"]["OPTIONS"] == {"rate": 150}


@pytest.mark.parametrize("names", ["espeak", "espeak,flite", "flite,espeak"])
@pytest.mark.parametrize("option", ["RATE", "Rate", "NAME", "BACKEND", "DEADLNE", "deadline"])
def test_an_option_is_refused_alike_for_an_engine_alone_and_in_a_list(load, names, option):
    setting = load(TTS_ENGINE=names, ENGINES_OPTIONS=f'{{"espeak": {{"{option}": 150}}}}')["ENGINES"]["tts"]
    with pytest.raises(EngineError, match=f"does not take its OPTIONS.*{option}") as refused:
        make_engine("tts", setting)
    assert refused.value.permanent


@pytest.mark.parametrize("names", ["espeak", "espeak,flite"])
def test_what_a_fallback_must_know_of_an_engine_does_not_stand_under_the_kind(load, names):
    setting = load(TTS_ENGINE=names, ENGINES_OPTIONS='{"tts": {"DEADLINE": 2}}')["ENGINES"]["tts"]
    with pytest.raises(EngineError, match="DEADLINE"):
        make_engine("tts", setting)


def test_engines_with_weights_anywhere_in_a_list_have_those_that_fit_this_machine(load, tmp_path):
    environment = {"MODELS_FOLDER": str(tmp_path), "TTS_ENGINE": "espeak,piper,kokoro", "LLM_ENGINE": "llama-cpp"}
    engines = load(**environment, TTS_VOICE="en-gb")["ENGINES"]
    _, piper, kokoro = engines["tts"]["OPTIONS"]["engines"]
    assert (piper["OPTIONS"], kokoro["OPTIONS"]) == (
        {"model": str(tmp_path / "piper-joe")}, {"model": str(tmp_path / "kokoro")},
    )  # fmt: skip
    assert Path(engines["llm"]["OPTIONS"]["model"]).parent == tmp_path
    options = '{"piper": {"model": "piper-kristin"}, "kokoro": {"model": "/models/mine"}}'
    engines = load(**environment, ENGINES_OPTIONS=options)["ENGINES"]
    _, piper, kokoro = engines["tts"]["OPTIONS"]["engines"]
    assert (piper["OPTIONS"]["model"], kokoro["OPTIONS"]["model"]) == (str(tmp_path / "piper-kristin"), "/models/mine")


WHISPER = "inference.engines.whisper.FasterWhisperSpeechToText"


@pytest.fixture
def tiny_whisper(monkeypatch, tmp_path):
    """The folder of models has a fetched ``tiny.en`` and no ``base.en``."""
    monkeypatch.setitem(CATALOGUE, "tiny.en", replace(CATALOGUE["tiny.en"], files=(ModelFile("a", "a", 1),)))
    (tmp_path / "tiny.en").mkdir()
    (tmp_path / "tiny.en" / "a").write_bytes(b"1")
    return str(tmp_path / "tiny.en")


@pytest.mark.parametrize(
    "environment",
    [
        {"STT_ENGINE": "whisper", "WHISPER_MODEL": "{}"},
        {"STT_ENGINE": "whisper", "ENGINES_OPTIONS": '{{"whisper": {{"model": "{}"}}}}'},
        {"STT_ENGINE": "whisper", "ENGINES_OPTIONS": '{{"stt": {{"model": "{}"}}}}'},
        {"ENGINES_PROFILE": "cpu", "ENGINES_OPTIONS": '{{"whisper": {{"model": "{}"}}}}'},
        {"STT_ENGINE": WHISPER, "ENGINES_OPTIONS": '{{"stt": {{"model": "{}"}}}}'},
    ],
)
@pytest.mark.parametrize("name", ["tiny.en", "base.en", "large-v3-turbo"])
def test_whisper_takes_weights_that_were_fetched_wherever_their_name_is_written(
    load, tmp_path, tiny_whisper, environment, name
):
    written = {variable: text.format(name) for variable, text in environment.items()}
    model = load(**written, MODELS_FOLDER=str(tmp_path))["ENGINES"]["stt"]["OPTIONS"]["model"]
    assert model == (tiny_whisper if name == "tiny.en" else name)


def test_whisper_takes_fetched_weights_also_in_a_list(load, tmp_path, tiny_whisper):
    options = '{"whisper": {"model": "tiny.en"}}'
    engines = load(STT_ENGINE="sphinx,whisper", MODELS_FOLDER=str(tmp_path), ENGINES_OPTIONS=options)["ENGINES"]
    assert engines["stt"]["OPTIONS"]["engines"][1]["OPTIONS"] == {"model": tiny_whisper}


@pytest.mark.parametrize(
    ("voice", "model", "expected"),
    [
        ("piper-kristin", "", {"model": "{folder}/piper-kristin"}),
        ("", "piper-kristin", {"model": "{folder}/piper-kristin"}),
        ("piper-kristin", "piper-kristin", {"model": "{folder}/piper-kristin"}),
        ("piper-kristin", "{folder}/piper-kristin", {"model": "{folder}/piper-kristin"}),
        ("piper-kristin", "piper-joe", {"voice": "piper-kristin", "model": "{folder}/piper-joe"}),
        ("piper-kristin", "/own/voice", {"voice": "piper-kristin", "model": "/own/voice"}),
        ("p225", "/own/voice", {"voice": "p225", "model": "/own/voice"}),
    ],
)
@pytest.mark.parametrize("engine", ["piper", "kokoro"])
def test_a_voice_and_a_model_that_contradict_it_are_both_left_to_the_engine(
    load, tmp_path, engine, voice, model, expected
):
    folder = str(tmp_path)
    environment = {"TTS_ENGINE": engine, "MODELS_FOLDER": folder, "TTS_VOICE": voice}
    options = load(**environment, TTS_MODEL=model.format(folder=folder))["ENGINES"]["tts"]["OPTIONS"]
    assert options == {name: value.format(folder=folder) for name, value in expected.items()}


# --- Keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "variable"),
    [
        ({"STT_ENGINE": "deepgram"}, "DEEPGRAM_API_KEY"),
        ({"STT_ENGINE": "openai-realtime"}, "OPENAI_API_KEY"),
        ({"LLM_ENGINE": "openai"}, "OPENAI_API_KEY"),
        ({"TTS_ENGINE": "elevenlabs"}, "ELEVENLABS_API_KEY"),
        ({"TTS_ENGINE": "espeak,cartesia"}, "CARTESIA_API_KEY"),
        ({"ENGINES_PROFILE": "hosted"}, "deepgram needs DEEPGRAM_API_KEY, openai needs OPENAI_API_KEY, cartesia needs"),
    ],
)
def test_a_key_that_is_missing_is_named(load, chosen, variable):
    with pytest.raises(ImproperlyConfigured, match=variable):
        load(**chosen)


def test_a_key_may_be_given_among_the_options(load):
    engines = load(STT_ENGINE="deepgram", ENGINES_OPTIONS='{"deepgram": {"api_key": "mine"}}')["ENGINES"]
    assert engines["stt"]["OPTIONS"] == {"api_key": "mine"}


def test_the_keys_of_engines_that_are_not_chosen_are_not_needed(load):
    assert load(ENGINES_PROFILE="hosted", **KEYS)["ENGINES_PROFILE"] == "hosted"
    others = {"STT_ENGINE": "sphinx", "LLM_ENGINE": "receptionist", "TTS_ENGINE": "espeak"}
    assert load(ENGINES_PROFILE="hosted", **others)["ENGINES"]["stt"]["BACKEND"] == path_of("stt", "sphinx")


def test_a_server_of_ones_own_needs_no_key_and_does_not_get_the_one_for_openai(load):
    options = load(TTS_ENGINE="openai-speech", TTS_BASE_URL="http://127.0.0.1:8880/v1", OPENAI_API_KEY="sk-secret")
    assert options["ENGINES"]["tts"]["OPTIONS"] == {"base_url": "http://127.0.0.1:8880/v1"}
    options = load(STT_ENGINE="openai-transcribe", STT_BASE_URL="http://127.0.0.1:8880/v1", STT_API_KEY="own")
    assert options["ENGINES"]["stt"]["OPTIONS"] == {"base_url": "http://127.0.0.1:8880/v1", "api_key": "own"}


def test_another_server_than_openais_is_asked_for_its_own_model(load):
    with pytest.raises(ImproperlyConfigured, match="openai needs LLM_MODEL"):
        load(LLM_ENGINE="openai", OPENAI_BASE_URL="https://llm.example.com/v1")
    options = load(LLM_ENGINE="openai", OPENAI_BASE_URL="https://llm.example.com/v1", LLM_MODEL="m")["ENGINES"]["llm"]
    assert options["OPTIONS"] == {"base_url": "https://llm.example.com/v1", "model": "m"}


# --- The profile of hosted engines -----------------------------------------------------------------------------


def test_the_hosted_profile_needs_only_keys(load):
    engines = load(ENGINES_PROFILE="hosted", **KEYS)["ENGINES"]
    assert engines["stt"] == {"BACKEND": path_of("stt", "deepgram"), "OPTIONS": {"api_key": "dg-secret"}}
    assert engines["llm"]["OPTIONS"] == {
        "base_url": "https://api.openai.com/v1",
        "api_key": "sk-secret",
        "model": "gpt-6-luna",
        "extra_body": {"reasoning_effort": "none"},
    }
    assert engines["tts"] == {"BACKEND": path_of("tts", "cartesia"), "OPTIONS": {"api_key": "car-secret"}}


def test_the_hosted_profile_speaks_by_elevenlabs_if_that_is_the_only_key(load):
    keys = {name: key for name, key in KEYS.items() if name != "CARTESIA_API_KEY"}
    engines = load(ENGINES_PROFILE="hosted", **keys)["ENGINES"]
    assert engines["tts"] == {"BACKEND": path_of("tts", "elevenlabs"), "OPTIONS": {"api_key": "el-secret"}}


# --- Workers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["remote", "remote,sphinx"])
def test_a_worker_elsewhere_is_found_through_redis_only(load, names):
    with pytest.raises(ImproperlyConfigured, match=r"The engine of stt is .*REDIS_URL is not set"):
        load(STT_ENGINE=names)
    assert load(STT_ENGINE=names, REDIS_URL="redis://redis.example.com")["ENGINES"]
    local = {"STT_ENGINE": "sphinx", "LLM_ENGINE": "receptionist", "TTS_ENGINE": "espeak"}
    assert load(ENGINES_PROFILE="remote", **local)["ENGINES"]


# --- The table -------------------------------------------------------------------------------------------------


THERE = [engine for engine in ENGINES if importlib.util.find_spec(engine.path.rpartition(".")[0]) is not None]
"""The engines whose modules exist."""


@pytest.mark.parametrize("engine", THERE, ids=lambda engine: f"{engine.kind}-{engine.name}")
def test_a_named_engine_exists_and_has_the_options_that_it_is_given(engine, monkeypatch):
    """Every variable is set, to a text that would be noticed if it were shown."""
    module, _, name = engine.path.rpartition(".")
    engine_class = getattr(import_module(module), name)
    monkeypatch.setattr(os, "environ", {})
    read = Reader()
    engine.options(read)
    texts = {**dict.fromkeys([*GENERAL, *read.missing.values(), "OPENAI_API_KEY"], "s3cret")}
    monkeypatch.setattr(os, "environ", {name: text for name, text in texts.items() if not name.endswith("_URL")})
    given = {name for name, value in engine.options(Reader()).items() if value}
    if options_class := getattr(engine_class, "options_class", None):
        assert given <= {field.name for field in dataclasses.fields(options_class)}
        if "api_key" in given:
            (field,) = (field for field in dataclasses.fields(options_class) if field.name == "api_key")
            assert not field.repr, "a key must not be shown with the options"
    else:
        assert given <= set(inspect.signature(engine_class).parameters)


@pytest.mark.parametrize("engine", THERE, ids=lambda engine: f"{engine.kind}-{engine.name}")
def test_an_error_about_the_options_of_an_engine_does_not_show_a_key(engine, monkeypatch):
    options = {"api_key": "s3cret", "no_such_option": "s3cret"}
    with pytest.raises(EngineError) as refused:
        make_engine(engine.kind, {"BACKEND": engine.path, "OPTIONS": options})
    assert "s3cret" not in str(refused.value)
    entry = {"BACKEND": engine.path, "OPTIONS": options}
    for entries in ([entry], [{**entry, "no_such_key": 1}]):
        with pytest.raises(EngineError) as refused:
            make_engine(engine.kind, {"BACKEND": FALLBACKS[engine.kind], "OPTIONS": {"engines": entries}})
        assert "s3cret" not in str(refused.value)


PATHS = {
    "whisper": {"model", "download_root"},
    "openai": {"ca_file", "client_cert_file", "client_key_file"},
    "openai-compatible": {"ca_file", "client_cert_file", "client_key_file"},
    "llama-cpp": {"model"},
    "piper": {"model", "voices"},
    "kokoro": {"model", "voices"},
    "pocket-tts": {"config", "voice", "voices"},
    "csm": {"model", "voices"},
}


@pytest.mark.parametrize("engine", THERE, ids=lambda engine: f"{engine.kind}-{engine.name}")
def test_the_options_that_may_be_paths_are_marked_as_such(engine):
    """Of all others, none may be one: in a path, "~" is replaced."""
    module, _, name = engine.path.rpartition(".")
    options_class = getattr(getattr(import_module(module), name), "options_class", None)
    fields = dataclasses.fields(options_class) if options_class else ()
    marked = {field.name for field in fields if "is_path" in field.metadata}
    assert marked == PATHS.get(engine.name, set())
    assert {field.name for field in fields if field.name.endswith(("_file", "_folder", "_root"))} <= marked


def test_every_name_is_in_the_documentation():
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    listed = {(kind, name) for name, kind in re.findall(r"^\| `([\w-]+)` \| (stt|llm|tts) \|", page, re.MULTILINE)}
    assert listed == {(engine.kind, engine.name) for engine in ENGINES}
