"""An engine gets the one file that it needs, or an error that says how to get it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from inference.models.catalogue import CATALOGUE
from inference.models.files import missing_files, require
from inference.types import EngineError


@pytest.fixture
def voice(tmp_path):
    folder = tmp_path / "piper-joe"
    folder.mkdir()
    (folder / "en_US-joe-medium.onnx").write_bytes(b"weights")
    (folder / "en_US-joe-medium.onnx.json").write_text("{}")
    return folder


def test_a_folder_gives_the_file_that_matches(voice):
    assert require(str(voice), "*.onnx") == voice / "en_US-joe-medium.onnx"


def test_a_file_is_taken_as_it_is(voice):
    assert require(str(voice / "en_US-joe-medium.onnx"), "*.onnx") == voice / "en_US-joe-medium.onnx"


def test_the_first_pattern_that_matches_counts(voice):
    assert require(str(voice), "*.gguf", "*.json") == voice / "en_US-joe-medium.onnx.json"


def test_without_a_pattern_the_folder_is_wanted(voice):
    assert require(str(voice)) == voice


@pytest.mark.parametrize(
    ("model", "patterns", "message"),
    [
        ("", ("*.onnx",), "The option `model` is empty"),
        ("piper-joe", (), r"is the name of a model.*models fetch piper-joe.*models where piper-joe"),
        ("{tmp}/piper-joe", (), r"does not exist\. Fetch it with `manage\.py models fetch piper-joe`.*MODEL_CARD"),
        ("{tmp}/tiny.en/model.bin", (), r"does not exist\. Fetch it with `manage\.py models fetch tiny\.en`"),
        ("{tmp}/smart-turn-v3.2-cpu.onnx", (), r"models fetch smart-turn`"),
        ("{tmp}/gemma3-270m", (), r"models fetch gemma3-270m --from FOLDER`"),
        ("{tmp}/elsewhere", (), r"does not exist\.$"),
        (
            "gemma3-1b",
            (),
            r"does not exist\. If it is meant to be a name of `manage\.py models list`, it is misspelt\.$",
        ),
    ],
)
def test_what_does_not_exist_is_named_with_the_command_that_fetches_it(tmp_path, model, patterns, message):
    with pytest.raises(EngineError, match=message) as refused:
        require(model.format(tmp=tmp_path), *patterns)
    assert refused.value.permanent


def test_a_folder_without_the_file_says_what_it_lacks(tmp_path):
    (tmp_path / "piper-joe").mkdir()
    with pytest.raises(EngineError, match=r"has no \*\.onnx\. Fetch it with `manage\.py models fetch piper-joe`"):
        require(str(tmp_path / "piper-joe"), "*.onnx")


def test_several_files_must_be_told_apart(voice):
    (voice / "other.onnx").write_bytes(b"")
    with pytest.raises(EngineError, match=r"several files \*\.onnx: en_US-joe-medium\.onnx, other\.onnx\. Name one"):
        require(str(voice), "*.onnx")


def test_an_unfinished_download_is_no_file(tmp_path):
    (tmp_path / "voice.onnx.part").write_bytes(b"half")
    with pytest.raises(EngineError, match=r"has no \*\.onnx"):
        require(str(tmp_path), "*.onnx")


@pytest.fixture
def forbidden(monkeypatch, tmp_path):
    """No file of the test can be looked at."""
    really = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if tmp_path in path.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return really(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)


def test_a_folder_that_this_user_may_not_open_has_no_models(forbidden, tmp_path):
    model = CATALOGUE["tiny.en"]
    assert missing_files(tmp_path / "tiny.en", model) == list(model.files)


def test_an_engine_says_that_it_may_not_open_its_weights(forbidden, tmp_path):
    with pytest.raises(
        EngineError, match=r"tiny\.en of the option `model` cannot be opened: Permission denied"
    ) as refused:
        require(str(tmp_path / "tiny.en"))
    assert refused.value.permanent
