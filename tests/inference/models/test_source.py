"""Whatever is wrong with the folder of ``--from`` is said of that folder, and the models' own is not blamed."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.models.catalogue import Model, ModelFile
from inference.models.source import check_folder
from inference.types import EngineError
from tests.inference.models.hub_server import CONFIG, WEIGHTS, HubServer, model, store

Deny = Callable[..., None]


@pytest.fixture
def source(tmp_path) -> Path:
    """A folder with both files of the toy model in its folder."""
    folder = tmp_path / "usb"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / "model.bin").write_bytes(WEIGHTS)
    (folder / "toy" / "config.json").write_bytes(CONFIG)
    return folder


@pytest.fixture
def deny(monkeypatch) -> Deny:
    """Makes the operating system refuse a call for a path and what is below it, as it does for anybody but root."""

    def deny(call: str, path: Path, number: int = errno.EACCES) -> None:
        module = io if call == "open" else os
        really = getattr(module, call)

        def refuse(asked: Any, *args: Any, **options: Any) -> Any:
            if Path(asked) == path or path in Path(asked).parents:
                raise OSError(number, os.strerror(number), str(asked))
            return really(asked, *args, **options)

        monkeypatch.setattr(module, call, refuse)

    return deny


def fetch(source: Path, wanted: Model | None = None) -> Path:
    return store(source.parent / "models", HubServer()).fetch(wanted or model(), source=source)


def refusal_of(source: Path) -> str:
    with pytest.raises(EngineError) as refused:
        fetch(source)
    assert refused.value.permanent
    assert "MODELS_FOLDER" not in str(refused.value), "the folder of the models is not at fault"
    assert not (source.parent / "models" / "toy" / "model.bin").exists()
    return str(refused.value)


# --- The folder itself -----------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path):
    assert refusal_of(tmp_path / "usb") == f"Nothing can be copied from {tmp_path}/usb: there is no such folder."


def test_a_file_is_no_folder(source):
    weights = source / "toy" / "model.bin"
    assert refusal_of(weights) == f"Nothing can be copied from {weights}: it is a file."
    assert refusal_of(weights / "deeper").endswith(": Not a directory.")


def test_a_link_to_nowhere_is_shown_with_its_end(tmp_path):
    (tmp_path / "usb").symlink_to("/media/gone")
    expected = f"{tmp_path}/usb is a link to /media/gone, which is not there."
    assert refusal_of(tmp_path / "usb").endswith(expected)
    assert refusal_of(tmp_path / "usb" / "weights").endswith(expected)


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "usb").symlink_to(tmp_path / "usb")
    assert "Too many levels of symbolic links" in refusal_of(tmp_path / "usb")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENAMETOOLONG])
def test_a_folder_that_cannot_be_looked_at_is_named_with_the_reason(source, deny, number):
    deny("stat", source, number)
    assert refusal_of(source) == f"Nothing can be copied from {source}: {os.strerror(number)}."


def test_a_link_to_a_folder_is_one(source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    check_folder(tmp_path / "link")
    assert (fetch(tmp_path / "link") / "model.bin").read_bytes() == WEIGHTS


# --- What is in it ---------------------------------------------------------------------------------------------


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "model.bin").write_bytes(WEIGHTS)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (make_folder, "is a folder"),
        (os.mkfifo, "is no ordinary file"),
        (lambda path: path.symlink_to("../blobs/0ef57d"), "is a link to ../blobs/0ef57d, which is not there"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    ],
    ids=["folder", "pipe", "dangling", "circle"],
)
def test_what_is_in_the_place_of_a_file_is_said(source, make, expected):
    place = source / "toy" / "model.bin"
    place.unlink()
    make(place)
    message = refusal_of(source)
    assert message.startswith(f"toy needs model.bin, and {place} ")
    assert expected in message
    (source / "model.bin").write_bytes(WEIGHTS)
    assert (fetch(source) / "model.bin").read_bytes() == WEIGHTS, "the file may lie in another place"


@pytest.mark.parametrize("call", ["stat", "open"])
@pytest.mark.parametrize("below", ["toy", "toy/model.bin"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(source, deny, call, below, number):
    deny(call, source / below, number)
    message = refusal_of(source)
    assert str(source / "toy" / "model.bin") in message
    assert os.strerror(number) in message


def test_a_folder_of_the_model_that_is_a_file_or_a_link_to_nowhere_does_not_matter_if_the_files_are_beside_it(source):
    for file in ("model.bin", "config.json"):
        (source / "toy" / file).rename(source / file)
    (source / "toy").rmdir()
    for make in (Path.touch, lambda path: path.symlink_to("/media/gone")):
        make(source / "toy")
        assert (fetch(source) / "model.bin").read_bytes() == WEIGHTS
        (source / "toy").unlink()


def test_a_file_of_another_size_is_refused_if_no_digest_is_known(source):
    with pytest.raises(EngineError, match=r"model\.bin is damaged.*it has 2048000 bytes.* says 2048001"):
        fetch(source, model(size=len(WEIGHTS) + 1))
    assert not (source.parent / "models" / "toy" / "model.bin").exists()


@pytest.mark.parametrize("call", ["stat", "open"])
def test_a_document_that_cannot_be_read_does_not_stop_a_model(source, deny, caplog, call):
    with_card = replace(model(), files=(*model().files, ModelFile("CARD", "CARD", document=True)))
    (source / "toy" / "CARD").write_text("a voice")
    deny(call, source / "toy" / "CARD")
    assert (fetch(source, with_card) / "model.bin").read_bytes() == WEIGHTS
    assert "CARD of toy was not fetched" in caplog.text
    assert "Permission denied" in caplog.text


# --- The folder of the models ----------------------------------------------------------------------------------


def test_verify_says_what_it_cannot_read(source, deny):
    folder = fetch(source)
    toy = store(folder.parent, HubServer())
    deny("stat", folder / "model.bin")
    assert [finding.problem for finding in toy.verify(model())] == ["cannot be read: Permission denied", ""]
    deny("open", folder.parent / "models.lock")
    with pytest.raises(EngineError, match=r"models\.lock cannot be read: Permission denied"):
        toy.verify(model())


def test_verify_does_not_take_a_folder_for_a_file(source):
    folder = fetch(source)
    (folder / "model.bin").unlink()
    (folder / "model.bin").mkdir()
    assert store(folder.parent, HubServer()).verify(model())[0].problem == "is no ordinary file"
