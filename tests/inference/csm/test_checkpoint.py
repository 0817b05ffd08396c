"""A checkpoint is loaded from a folder, and refused if it would speak nonsense."""

import pytest
from safetensors.torch import load_file, save_file

from inference.csm.checkpoint import load_checkpoint
from inference.types import EngineError
from tests.inference.tiny_csm import save_tiny_csm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_csm(tmp_path_factory.mktemp("csm"))


def test_a_folder_is_loaded_without_a_network(folder):
    checkpoint = load_checkpoint(str(folder))
    assert checkpoint.model.config.num_codebooks == 32
    assert checkpoint.tokenizer.convert_tokens_to_ids("<|end_of_text|>") == 317


def test_code_tables_that_are_not_tied_are_refused(tmp_path):
    with pytest.raises(EngineError, match="not tied") as refusal:
        load_checkpoint(str(save_tiny_csm(tmp_path, tied=False)))
    assert refusal.value.permanent


def test_an_incomplete_checkpoint_is_refused(tmp_path):
    save_tiny_csm(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"lacks 1 weights, lm_head\.weight"):
        load_checkpoint(str(tmp_path))


def test_the_error_for_a_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(EngineError, match="option `model`") as refusal:
        load_checkpoint(str(tmp_path / "nowhere"), local_files_only=True)
    assert refusal.value.permanent
