"""A digest that a hub publishes is believed; what a plain web server writes in the same place need not be one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from inference.models.digests import Digest, digest_of, hasher, published
from inference.types import EngineError
from tests.inference.models.hub_server import CONFIG, WEIGHTS, HubServer, git_sha1, model, store


def plain_sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def no_digest(digits: int):
    return lambda data: hashlib.shake_256(data[:1]).hexdigest(digits // 2)


def mirror(tag, *, is_hub: bool) -> HubServer:
    return HubServer(store_redirects=False, publishes=False, tag=tag, is_hub=is_hub)


async def fetch(folder: Path, server: HubServer) -> dict[str, str]:
    """The digests in the lock file after a fetch, by file. The files are the right ones."""
    toy = store(folder, server)
    made = await asyncio.to_thread(toy.fetch, model())
    assert ((made / "model.bin").read_bytes(), (made / "config.json").read_bytes()) == (WEIGHTS, CONFIG)
    assert [finding.problem for finding in toy.verify(model())] == ["", ""]
    return {entry["file"]: entry["digest"] for entry in json.loads((folder / "models.lock").read_text())["files"]}


@pytest.mark.parametrize("tag", [plain_sha1, git_sha1, sha256, no_digest(40), no_digest(64), no_digest(32)])
async def test_the_tag_of_a_plain_web_server_never_rejects_a_good_file(tmp_path, tag):
    async with mirror(tag, is_hub=False).running() as server:
        digests = await fetch(tmp_path, server)
        assert digests == {"model.bin": f"sha256 {sha256(WEIGHTS)}", "config.json": f"sha256 {sha256(CONFIG)}"}


@pytest.mark.parametrize(("kind", "tag"), [("sha1", plain_sha1), ("git-sha1", git_sha1), ("sha256", sha256)])
async def test_a_mirror_of_a_hub_may_publish_either_digest(tmp_path, kind, tag):
    async with mirror(tag, is_hub=True).running() as server:
        assert (await fetch(tmp_path, server))["config.json"] == f"{kind} {tag(CONFIG)}"


@pytest.mark.parametrize("tag", [plain_sha1, git_sha1])
async def test_damage_is_found_by_either_digest(tmp_path, tag):
    async with mirror(tag, is_hub=True).running() as server:
        server.faults = ["damaged"]
        with pytest.raises(EngineError, match=r"damaged or another file: .* the hub says git-sha1"):
            await fetch(tmp_path, server)


@pytest.mark.parametrize("second", [plain_sha1, git_sha1, sha256])
@pytest.mark.parametrize("first", [plain_sha1, git_sha1, sha256])
async def test_a_file_may_come_from_another_mirror_later(tmp_path, first, second):
    async with mirror(first, is_hub=True).running() as server:
        before = await fetch(tmp_path, server)
    (tmp_path / "toy" / "config.json").unlink()
    async with mirror(second, is_hub=True).running() as server:
        assert (await fetch(tmp_path, server)) == before


async def test_a_file_that_has_changed_is_refused_by_either_digest(tmp_path):
    async with mirror(plain_sha1, is_hub=True).running() as server:
        await fetch(tmp_path, server)
        server.files["config.json"] = b"{}"
        (tmp_path / "toy" / "config.json").unlink()
        with pytest.raises(EngineError, match=r"models\.lock of .*--renew"):
            await fetch(tmp_path, server)


@pytest.mark.parametrize(
    ("etag", "expected"),
    [
        (f'"{"ab" * 32}"', Digest("sha256", "ab" * 32)),
        (f'W/"{"AB" * 20}"', Digest("git-sha1", "ab" * 20)),
        (f'"{"ab" * 16}"', None),
        (f'"{"xy" * 20}"', None),
        ('"v1"', None),
        ("", None),
        (None, None),
    ],
)
def test_a_digest_is_recognised_by_its_length(etag, expected):
    assert published(etag) == expected


def test_each_kind_is_computed_from_a_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(CONFIG)
    for kind, expected in (("sha256", sha256), ("git-sha1", git_sha1), ("sha1", plain_sha1)):
        assert digest_of(path, kind) == Digest(kind, expected(CONFIG))
    with pytest.raises(ValueError, match="md5"):
        hasher("md5", 1)
