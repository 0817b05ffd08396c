"""The catalogue has no two models or files in one place, and nothing that looks like a digest and is none."""

import re

import pytest

from inference.models.catalogue import CATALOGUE, Model


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=lambda model: model.name)
def test_an_entry_is_complete(model: Model):
    assert model.files
    assert model.licence
    assert model.memory_bytes > 0
    assert model.repository.count("/") == 1 or model.for_tests
    assert len({file.name for file in model.files}) == len(model.files)
    for file in model.files:
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size is None or file.size > 0
        assert not file.name.startswith(("/", "."))


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=lambda model: model.name)
def test_a_revision_is_a_commit_so_that_everybody_gets_the_same_bytes(model: Model):
    assert re.fullmatch("[0-9a-f]{40}", model.revision) or not model.repository


def test_no_digest_is_written_down_for_two_different_sizes():
    sizes: dict[str, set[int | None]] = {}
    for model in CATALOGUE.values():
        for file in model.files:
            if file.sha256:
                sizes.setdefault(file.sha256, set()).add(file.size)
    assert all(len(found) == 1 for found in sizes.values())


def test_an_address_names_repository_revision_and_path():
    tiny = CATALOGUE["tiny.en"]
    assert (
        tiny.url(tiny.files[0], hub="https://mirror.example.com/hub/")
        == f"https://mirror.example.com/hub/Systran/faster-whisper-tiny.en/resolve/{tiny.revision}/model.bin"
    )
