"""What a profile lacks on this machine is said in words, before it is started."""

from dataclasses import replace

import pytest

from inference.models.catalogue import CATALOGUE, ModelFile
from inference.models.needs import lacks, models_of, name_of

WHISPER = "inference.engines.whisper.FasterWhisperSpeechToText"
LLAMA = "inference.engines.llama_cpp.LlamaCppLanguageModel"


def engine(backend: str, model: str = "") -> dict[str, object]:
    return {"BACKEND": backend, "OPTIONS": {"model": model} if model else {}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with all of a small ``tiny.en``."""
    monkeypatch.setitem(CATALOGUE, "tiny.en", replace(CATALOGUE["tiny.en"], files=(ModelFile("a", "a", 1),)))
    (tmp_path / "tiny.en").mkdir()
    (tmp_path / "tiny.en" / "a").write_bytes(b"1")
    return tmp_path


def test_nothing_is_lacking_where_package_and_weights_are_there(folder):
    assert lacks({"stt": engine(WHISPER, str(folder / "tiny.en"))}, folder) == []
    assert lacks({"stt": engine(WHISPER, "tiny.en")}, folder) == []
    assert lacks({"llm": engine("inference.engines.receptionist.ReceptionistLanguageModel")}, folder) == []


def test_the_engines_of_a_fallback_count_one_by_one(folder):
    fallback = {"BACKEND": "x.Fallback", "OPTIONS": {"engines": [engine(WHISPER, "tiny.en"), engine("a.B")]}}
    assert models_of({"stt": fallback}, folder) == [CATALOGUE["tiny.en"]]


def test_an_engine_may_have_no_options_and_a_kind_no_engine(folder):
    assert lacks({"stt": {"BACKEND": "a.B"}, "turn": {}}, folder) == []


def test_a_name_that_the_engine_knows_itself_is_no_file(folder):
    assert (
        lacks({"llm": engine("inference.engines.openai_compatible.OpenAICompatibleLanguageModel", "gpt")}, folder) == []
    )


def test_missing_weights_are_named(folder):
    assert lacks({"stt": engine(WHISPER, str(folder / "base.en"))}, folder) == ["the model base.en"]
    assert lacks({"stt": engine(WHISPER, "/nowhere/own.gguf")}, folder) == ["the file /nowhere/own.gguf"]


def test_missing_packages_are_named_once(folder, monkeypatch):
    monkeypatch.setattr("inference.models.needs.find_spec", lambda name: None)
    engines = {"stt": engine(WHISPER, "tiny.en"), "more": engine(WHISPER, "tiny.en")}
    assert lacks(engines, folder) == ["the package faster_whisper"]


def test_a_folder_of_the_same_name_elsewhere_is_not_ours(folder):
    assert models_of({"stt": engine(WHISPER, "/elsewhere/tiny.en")}, folder) == []
    assert models_of({"stt": engine(WHISPER, str(folder / "tiny.en"))}, folder) == [CATALOGUE["tiny.en"]]


@pytest.mark.parametrize(
    "model", ["medium.en", "large-v3-turbo", "Systran/faster-distil-whisper-small.en", "~/own", "~/own/", ""]
)
def test_a_name_or_a_folder_of_which_whisper_knows_more_is_not_called_missing(folder, monkeypatch, model):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "own").mkdir()
    assert lacks({"stt": engine(WHISPER, model)}, folder) == []


@pytest.mark.parametrize("model", ["./medium.en", "~/own", "medium.en/", "/models/medium.en", "a/b/medium.en"])
def test_what_can_only_be_a_folder_must_be_there_for_whisper(folder, monkeypatch, model):
    monkeypatch.setenv("HOME", str(folder))
    assert lacks({"stt": engine(WHISPER, model)}, folder) == [f"the file {model}"]


@pytest.mark.parametrize("model", ["~/own.gguf", "own.gguf", "linked/own.gguf"])
def test_a_file_of_ones_own_is_found_as_the_engine_finds_it(folder, monkeypatch, model):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    (folder / "linked").symlink_to(folder)
    assert lacks({"llm": engine(LLAMA, model)}, folder) == [f"the file {model}"]
    (folder / "own.gguf").write_bytes(b"GGUF")
    assert lacks({"llm": engine(LLAMA, model)}, folder) == []


@pytest.mark.parametrize("model", ["~/base.en", "./base.en", "linked/base.en/"])
def test_a_model_is_ours_however_its_path_is_written(folder, monkeypatch, model):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    (folder / "linked").symlink_to(folder)
    assert models_of({"stt": engine(WHISPER, model)}, folder) == [CATALOGUE["base.en"]]


def test_a_folder_that_is_written_as_a_path_is_not_taken_for_a_name(folder, monkeypatch):
    monkeypatch.chdir(folder / "tiny.en")
    assert models_of({"stt": engine(WHISPER, "./tiny.en")}, folder) == []


def test_a_hosted_model_may_be_called_like_one_of_ours(folder):
    hosted = engine("inference.engines.openai_speech.OpenAISpeechTextToSpeech", "kokoro")
    assert models_of({"tts": hosted}, folder) == []
    assert lacks({"tts": hosted}, folder) == []


def test_a_missing_file_is_named_also_if_another_engine_has_a_model_of_that_name(folder):
    engines = {"stt": engine(WHISPER, "tiny.en"), "more": engine(WHISPER, "/elsewhere/tiny.en")}
    assert lacks(engines, folder) == ["the file /elsewhere/tiny.en"]


def test_an_engine_is_named_by_its_class_and_model():
    assert name_of(engine(WHISPER, "/models/tiny.en")) == "FasterWhisperSpeechToText tiny.en"
    assert name_of(engine("a.B")) == "B"
