"""A part of a file is continued only if it is of that file; otherwise the file is begun anew, once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.models import download
from inference.types import EngineError
from tests.inference.models.hub_server import WEIGHTS, HubServer, log_of, model, store

SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
OLD = WEIGHTS[::-1]


@pytest.fixture
async def hub() -> AsyncIterator[HubServer]:
    async with HubServer().running() as server:
        yield server


async def fetched(folder: Path, hub: HubServer, *, sha256: str | None = SHA256, size: int | None = None) -> bytes:
    """The weights as they are after a fetch. Nothing else may be left beside them."""
    made = await asyncio.to_thread(store(folder, hub).fetch, model(sha256=sha256, size=size))
    assert sorted(path.name for path in made.iterdir()) == ["config.json", "model.bin"]
    return (made / "model.bin").read_bytes()


def leave_part(folder: Path, data: bytes, notes: object = None) -> Path:
    part = folder / "toy" / "model.bin.part"
    part.parent.mkdir()
    part.write_bytes(data)
    if notes is not None:
        part.with_name("model.bin.part.json").write_text(json.dumps(notes))
    return part


@pytest.mark.parametrize("faults", [[], ["503"], ["503", "500"], ["truncated", "503"]])
@pytest.mark.parametrize("data", [WEIGHTS + b"more", OLD + b"more"])
async def test_a_part_that_is_too_long_is_dropped_whatever_went_wrong_before(hub, tmp_path, faults, data):
    leave_part(tmp_path, data)
    hub.faults = [*faults]
    assert await fetched(tmp_path, hub) == WEIGHTS


async def test_a_server_that_refuses_each_range_is_asked_for_the_whole_file_each_time(hub, tmp_path):
    hub.faults = ["truncated", "416", "truncated", "416"]
    assert await fetched(tmp_path, hub) == WEIGHTS


async def test_a_server_that_refuses_each_range_and_never_sends_it_all_is_given_up(hub, tmp_path):
    hub.faults = ["truncated", "416"] * 50
    with pytest.raises(EngineError, match=r"(?s)ended after .*--from FOLDER"):
        await fetched(tmp_path, hub)
    assert len(hub.ranges_asked()) <= 4 * (download.ATTEMPTS + 1), "two requests for each attempt and its refusal"


async def test_a_refusal_of_the_whole_file_is_said_with_advice_and_leaves_no_part(hub, tmp_path):
    leave_part(tmp_path, WEIGHTS + b"more")
    hub.faults = ["503", None, "416"]
    with pytest.raises(EngineError, match=r"(?s)was refused \(HTTP 416.*--from FOLDER") as refused:
        await fetched(tmp_path, hub)
    assert refused.value.permanent
    assert list((tmp_path / "toy").iterdir()) == []


@pytest.mark.parametrize(
    "notes",
    [
        None,
        {"url": "https://hub.example.com/older", "etag": '"old"'},
        {"url": "https://hub.example.com/older", "etag": '"old"', "digest": ""},
        [],
        "v1",
        {"etag": None},
    ],
)
@pytest.mark.parametrize("data", [OLD[:1000], OLD, OLD[:-1]])
async def test_a_part_of_an_older_revision_is_not_called_damage(hub, tmp_path, notes, data):
    leave_part(tmp_path, data, notes)
    assert await fetched(tmp_path, hub) == WEIGHTS


async def test_a_part_that_was_to_have_another_digest_is_not_continued_at_all(hub, tmp_path):
    notes = {"url": "https://hub.example.com/older", "etag": "", "digest": f"sha256 {'ab' * 32}"}
    leave_part(tmp_path, OLD[:1000], notes)
    assert await fetched(tmp_path, hub) == WEIGHTS
    assert not any(hub.ranges_asked())


async def test_a_file_that_is_damaged_also_when_it_is_begun_anew_is_given_up(hub, tmp_path):
    leave_part(tmp_path, OLD[:1000])
    hub.faults = [None, "damaged"]
    with pytest.raises(EngineError, match=r"damaged or another file.*deleted") as refused:
        await fetched(tmp_path, hub)
    assert refused.value.permanent
    assert list((tmp_path / "toy").iterdir()) == []


async def test_a_person_is_told_that_a_file_is_begun_anew(hub, tmp_path):
    leave_part(tmp_path, OLD[:1000])
    toy = store(tmp_path, hub)
    await asyncio.to_thread(toy.fetch, model(sha256=SHA256))
    assert log_of(toy).notes == ["What had arrived of model.bin is not of this file. Beginning anew."]
    assert [done for name, done, _ in log_of(toy).begun if name == "model.bin"] == [1000, 0]


@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"'])
@pytest.mark.parametrize("heeds_tags", [True, False])
async def test_a_file_that_has_changed_is_begun_anew_also_if_only_its_tag_can_tell(hub, tmp_path, etag, heeds_tags):
    hub.publishes, hub.heeds_tags, hub.etag = False, heeds_tags, etag
    hub.faults = ["truncated"] + ["500"] * download.ATTEMPTS
    with pytest.raises(EngineError):
        await fetched(tmp_path, hub, sha256=None)
    hub.faults.clear()
    hub.etag, hub.files["model.bin"] = etag.replace("v1", "v2"), OLD
    assert await fetched(tmp_path, hub, sha256=None) == OLD


@pytest.mark.parametrize("sha256", [SHA256, "ab" * 32, None])
async def test_a_server_that_sends_more_than_the_file_has_is_stopped(hub, tmp_path, monkeypatch, sha256):
    written = []
    monkeypatch.setattr(download, "write", lambda file, block: written.append(len(block)))
    hub.publishes, hub.faults, hub.files["model.bin"] = False, ["endless"], WEIGHTS * 5
    with pytest.raises(EngineError, match=rf"sends more than the {len(WEIGHTS)} bytes that the file has"):
        await fetched(tmp_path, hub, sha256=sha256, size=len(WEIGHTS))
    assert sum(written) <= len(WEIGHTS)
    assert list((tmp_path / "toy").iterdir()) == []


async def test_a_file_of_unknown_size_leaves_room_on_the_disk(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LOOK_EVERY_BYTES", len(WEIGHTS) // 2)
    hub.publishes, hub.faults = False, ["endless"]
    with pytest.raises(EngineError, match=r"1 MB free, and model\.bin needs .*MODELS_FOLDER"):
        await asyncio.to_thread(store(tmp_path, hub, free=10**6).fetch, model())
    assert (tmp_path / "toy" / "model.bin.part").stat().st_size < len(WEIGHTS)
