"""Weights are fetched whole, checked and resumed, whatever hub and network do."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import pytest

from inference.models import download
from inference.models.catalogue import Model, ModelFile
from inference.models.hub import Hub, Interrupted
from inference.models.store import Store
from inference.types import EngineError
from tests.inference.models.hub_server import COMMIT, CONFIG, WEIGHTS, HubServer, git_sha1, log_of, model, store

SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
async def hub() -> AsyncIterator[HubServer]:
    async with HubServer().running() as server:
        yield server


async def fetch(store: Store, model: Model, **options: object) -> Path:
    return await asyncio.to_thread(store.fetch, model, **options)  # type: ignore[arg-type]


def locked(folder: Path) -> dict[str, dict[str, object]]:
    return {entry["file"]: entry for entry in json.loads((folder / "models.lock").read_text())["files"]}


async def test_a_model_is_fetched_through_redirects_and_nothing_else_is_left(hub, tmp_path):
    folder = await fetch(store(tmp_path, hub), model(sha256=SHA256, size=len(WEIGHTS)))
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert (folder / "config.json").read_bytes() == CONFIG
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.bin"]


async def test_an_unknown_digest_is_taken_from_the_hub_and_written_down(hub, tmp_path):
    await fetch(store(tmp_path, hub), model())
    entries = locked(tmp_path)
    assert entries["model.bin"]["digest"] == f"sha256 {SHA256}"
    assert entries["config.json"]["digest"] == f"git-sha1 {git_sha1(CONFIG)}"
    assert entries["model.bin"]["commit"] == COMMIT
    assert entries["model.bin"]["size"] == len(WEIGHTS)
    assert entries["model.bin"]["url"] == f"{hub.hub}/owner/name/resolve/main/model.bin"


async def test_all_files_and_later_fetches_come_from_the_commit_of_the_first_file(hub, tmp_path):
    await fetch(store(tmp_path, hub), model())
    (tmp_path / "toy" / "model.bin").unlink()
    await fetch(store(tmp_path, hub), model())
    paths = [path for where, path, _ in hub.requests if where == "hub"]
    assert paths[0].endswith("/resolve/main/model.bin")
    assert {path.split("/resolve/")[1].split("/")[0] for path in paths[1:]} == {COMMIT}


async def test_a_digest_is_computed_where_nobody_publishes_one(hub, tmp_path):
    hub.publishes = False
    await fetch(store(tmp_path, hub), model())
    assert locked(tmp_path)["model.bin"]["digest"] == f"sha256 {SHA256}"


async def test_what_is_there_is_not_fetched_again(hub, tmp_path):
    await fetch(store(tmp_path, hub), model())
    before = len(hub.requests)
    await fetch(store(tmp_path, hub), model())
    assert len(hub.requests) == before


async def test_the_token_is_sent_to_the_hub_and_to_no_other_host(hub, tmp_path):
    await fetch(store(tmp_path, hub, token="secret"), model())
    assert {headers.get("Authorization") for where, _, headers in hub.requests if where == "hub"} == {"Bearer secret"}
    assert all("Authorization" not in headers for where, _, headers in hub.requests if where == "cdn")


async def test_a_mirror_may_have_a_path(tmp_path):
    async with HubServer(prefix="/mirrors/hub").running() as hub:
        await fetch(store(tmp_path, hub), model(sha256=SHA256))
        assert hub.requests[0][1] == "/mirrors/hub/owner/name/resolve/main/model.bin"


async def test_a_hub_without_redirects_is_as_good(tmp_path):
    async with HubServer(store_redirects=False).running() as hub:
        folder = await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert (folder / "model.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("sha256", [SHA256, None])
async def test_a_connection_that_breaks_is_continued_where_it_broke(hub, tmp_path, sha256):
    hub.faults = ["truncated", "truncated"]
    toy = store(tmp_path, hub)
    folder = await fetch(toy, model(sha256=sha256))
    half, quarter = len(WEIGHTS) // 2, len(WEIGHTS) // 4
    assert hub.ranges_asked()[::2] == ["", f"bytes={half}-", f"bytes={half + quarter}-"]
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert log_of(toy).waits == [1.0, 1.0], "each attempt brought something, so the waits do not grow"
    assert "ended after" in log_of(toy).notes[0]


async def test_a_later_process_continues_what_an_earlier_one_began(hub, tmp_path):
    hub.faults = ["truncated"] + ["500"] * download.ATTEMPTS
    with pytest.raises(EngineError):
        await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert (tmp_path / "toy" / "model.bin.part").stat().st_size == len(WEIGHTS) // 2
    hub.faults.clear()
    toy = store(tmp_path, hub)
    await fetch(toy, model(sha256=SHA256))
    assert log_of(toy).begun[0] == ("model.bin", len(WEIGHTS) // 2, len(WEIGHTS))
    assert (tmp_path / "toy" / "model.bin").read_bytes() == WEIGHTS


async def test_another_mirror_continues_what_the_digest_will_tell_to_be_the_same(hub, tmp_path):
    hub.faults = ["truncated"] + ["500"] * download.ATTEMPTS
    with pytest.raises(EngineError):
        await fetch(store(tmp_path, hub), model(sha256=SHA256))
    async with HubServer(etag='"of another server"').running() as mirror:
        folder = await fetch(store(tmp_path, mirror), model(sha256=SHA256))
        assert mirror.ranges_asked()[0] == f"bytes={len(WEIGHTS) // 2}-"
    assert (folder / "model.bin").read_bytes() == WEIGHTS


async def test_a_server_that_knows_no_ranges_sends_it_all_again(hub, tmp_path):
    hub.ranges = False
    hub.faults = ["truncated"]
    folder = await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert (folder / "model.bin").read_bytes() == WEIGHTS


async def test_a_file_that_has_changed_meanwhile_is_begun_anew(hub, tmp_path):
    hub.publishes = False
    hub.faults = ["truncated"] + ["500"] * download.ATTEMPTS
    with pytest.raises(EngineError):
        await fetch(store(tmp_path, hub), model())
    hub.faults.clear()
    hub.etag, hub.files["model.bin"] = '"v2"', WEIGHTS[::-1]
    folder = await fetch(store(tmp_path, hub), model())
    assert (folder / "model.bin").read_bytes() == WEIGHTS[::-1]


async def test_a_part_that_is_whole_already_is_only_checked(hub, tmp_path):
    part = tmp_path / "toy" / "model.bin.part"
    part.parent.mkdir()
    part.write_bytes(WEIGHTS)
    notes = {"url": f"{hub.hub}/owner/name/resolve/main/model.bin", "etag": hub.etag}
    part.with_name("model.bin.part.json").write_text(json.dumps(notes))
    folder = await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert (folder / "model.bin").read_bytes() == WEIGHTS


async def test_a_part_that_is_too_long_is_thrown_away(hub, tmp_path):
    part = tmp_path / "toy" / "model.bin.part"
    part.parent.mkdir()
    part.write_bytes(WEIGHTS + b"more")
    notes = {"url": f"{hub.hub}/owner/name/resolve/main/model.bin", "etag": hub.etag}
    part.with_name("model.bin.part.json").write_text(json.dumps(notes))
    folder = await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert (folder / "model.bin").read_bytes() == WEIGHTS


async def test_damaged_bytes_are_deleted_and_said_to_be_damaged(hub, tmp_path):
    hub.faults = ["damaged"]
    with pytest.raises(EngineError, match=r"damaged or another file.*deleted") as refused:
        await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert refused.value.permanent
    assert not [path for path in (tmp_path / "toy").iterdir() if path.name.startswith("model.bin")]


async def test_damage_is_found_by_what_the_hub_publishes(hub, tmp_path):
    hub.faults = ["damaged"]
    with pytest.raises(EngineError, match="the hub says sha256"):
        await fetch(store(tmp_path, hub), model())
    hub.faults = [None, "damaged"]
    with pytest.raises(EngineError, match="the hub says git-sha1"):
        await fetch(store(tmp_path, hub), model())


async def test_a_file_that_is_not_that_of_the_catalogue_is_not_even_downloaded(hub, tmp_path):
    with pytest.raises(EngineError, match=r"has changed: the hub has .*, the catalogue says .*not downloaded"):
        await fetch(store(tmp_path, hub), model(sha256="ab" * 32))
    assert not (tmp_path / "toy" / "model.bin.part").exists()


async def test_a_file_that_is_not_that_of_the_lock_is_refused_until_a_change_is_accepted(hub, tmp_path):
    await fetch(store(tmp_path, hub), model())
    hub.files["model.bin"] = WEIGHTS[::-1]
    (tmp_path / "toy" / "model.bin").unlink()
    with pytest.raises(EngineError, match=r"has changed.*models\.lock of \d{4}-.*--renew"):
        await fetch(store(tmp_path, hub), model())
    folder = await fetch(store(tmp_path, hub), model(), renew=True)
    assert (folder / "model.bin").read_bytes() == WEIGHTS[::-1]
    assert locked(tmp_path)["model.bin"]["digest"] == f"sha256 {hashlib.sha256(WEIGHTS[::-1]).hexdigest()}"


async def test_a_server_that_begins_anew_and_breaks_each_time_is_given_up(hub, tmp_path, monkeypatch):
    lengths, attempts = itertools.cycle([500, 600]), []

    def attempt(self: download.Download) -> None:
        attempts.append(next(lengths))
        self._part.write_bytes(bytes(attempts[-1]))
        raise Interrupted("The connection broke.")

    monkeypatch.setattr(download.Download, "_attempt", attempt)
    with pytest.raises(EngineError, match="The connection broke"):
        await fetch(store(tmp_path, hub), model())
    assert len(attempts) <= download.ATTEMPTS + 2


async def test_a_renewal_that_fails_forgets_nothing(hub, tmp_path):
    await fetch(store(tmp_path, hub), model())
    before = locked(tmp_path)
    hub.files.pop("model.bin")
    with pytest.raises(EngineError, match="404"):
        await fetch(store(tmp_path, hub), model(), renew=True)
    assert locked(tmp_path) == before


@pytest.mark.parametrize("status", [401, 403])
async def test_a_gated_model_says_how_to_get_a_token(hub, tmp_path, status):
    hub.hub_faults = [str(status)]
    with pytest.raises(EngineError, match=rf"HTTP {status}.*set MODELS_TOKEN") as refused:
        await fetch(store(tmp_path, hub), model())
    assert refused.value.permanent
    hub.hub_faults = [str(status)]
    with pytest.raises(EngineError, match="The token in MODELS_TOKEN is not accepted"):
        await fetch(store(tmp_path, hub, token="old"), model())


async def test_a_file_that_does_not_exist_is_not_asked_for_twice(hub, tmp_path):
    del hub.files["model.bin"]
    with pytest.raises(EngineError, match=r"does not exist \(HTTP 404\)"):
        await fetch(store(tmp_path, hub), model())
    assert len(hub.requests) == 1


async def test_a_document_that_cannot_be_fetched_does_not_stop_a_model(hub, tmp_path, caplog):
    with_card = model()
    with_card = replace(with_card, files=(*with_card.files, ModelFile("MODEL_CARD", "MODEL_CARD", document=True)))
    made = store(tmp_path, hub)
    folder = await fetch(made, with_card)
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert made.missing(with_card) == []
    assert "MODEL_CARD" in caplog.text


@pytest.mark.parametrize("token", ["“hf_abc”", "hf_a\nbc", "hf abc"])
def test_a_token_that_cannot_be_one_is_refused_without_showing_it(token):
    with pytest.raises(EngineError, match="MODELS_TOKEN has a character") as refusal:
        Hub("http://hub.example.com", token)
    assert refusal.value.permanent
    assert "abc" not in str(refusal.value)


async def test_a_busy_hub_is_left_alone_for_as_long_as_it_asks(hub, tmp_path):
    hub.hub_faults = ["429 7", "500", "503 3600"]
    toy = store(tmp_path, hub)
    await fetch(toy, model())
    assert log_of(toy).waits == [7.0, 2.0, 60.0]


async def test_a_hub_that_stays_broken_is_given_up(hub, tmp_path):
    hub.hub_faults = ["500"] * 100
    toy = store(tmp_path, hub)
    with pytest.raises(EngineError, match="HTTP 500") as refused:
        await fetch(toy, model())
    assert not refused.value.permanent
    assert log_of(toy).waits == [1.0, 2.0, 4.0, 8.0]


async def test_a_connection_that_stalls_is_given_up_and_continued(hub, tmp_path):
    hub.faults = ["stalled"]
    toy = store(tmp_path, hub, stall=0.2)
    folder = await fetch(toy, model(sha256=SHA256))
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert "has sent nothing for a while" in log_of(toy).notes[0]


async def test_without_a_network_the_error_says_which_files_to_put_where(tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(EngineError) as refused:
            await fetch(store(tmp_path, HubServer(hub=address)), model())
    message = str(refused.value)
    assert "The connection to 127.0.0.1" in message
    for name in ("model.bin", "config.json"):
        assert f"{address}/owner/name/resolve/main/{name}\n    as {tmp_path / 'toy' / name}" in message
    assert "--from FOLDER" in message


async def test_a_redirect_to_another_scheme_is_not_followed(hub, tmp_path):
    hub.cdn = "ftp://example.com"
    with pytest.raises(EngineError, match="not encrypted"):
        await fetch(store(tmp_path, hub), model())


@pytest.mark.parametrize("path", ["/mod\u00e8l bin/\u00fc.bin?a=b%20c", "/a b?x=y z", "//twice"])
async def test_a_redirect_may_have_an_address_that_is_not_quoted(hub, tmp_path, monkeypatch, path):
    monkeypatch.setitem(hub.redirects, "model.bin", hub.cdn + path)
    hub.files |= {unquote(path[1:].partition("?")[0]): WEIGHTS}
    folder = await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert (folder / "model.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "location", ["http://[::1/x", "http://127.0.0.1:9999999/x", "http://d\u00e4nemark/x", "http://a b/"]
)
async def test_a_redirect_to_no_address_is_said_to_be_one_and_not_tried_again(hub, tmp_path, monkeypatch, location):
    monkeypatch.setitem(hub.redirects, "model.bin", location)
    toy = store(tmp_path, hub)
    with pytest.raises(EngineError, match=r"which is no address\. It was not followed") as refused:
        await fetch(toy, model())
    assert refused.value.permanent
    assert log_of(toy).waits == []


@pytest.mark.parametrize("address", ["http://[::1", "http://a b", f"http://{'a' * 70}.example.com", "hub"])
async def test_an_address_of_the_hub_that_is_none_is_said_to_be_none(tmp_path, address):
    with pytest.raises(EngineError) as refused:
        await fetch(store(tmp_path, HubServer(hub=address)), model())
    assert refused.value.permanent


async def test_a_file_that_is_sent_compressed_is_refused(hub, tmp_path):
    hub.faults = ["compressed"]
    with pytest.raises(EngineError, match=r"is sent compressed \(gzip\).*not downloaded") as refused:
        await fetch(store(tmp_path, hub), model())
    assert refused.value.permanent
    assert not (tmp_path / "toy" / "model.bin.part").exists()


async def test_redirects_in_a_circle_end(hub, tmp_path):
    hub.cdn = f"{hub.hub}/owner/name/resolve/main"
    with pytest.raises(EngineError, match="redirects more than 10 times"):
        await fetch(store(tmp_path, hub), model())


async def test_two_fetches_at_once_do_no_harm(hub, tmp_path):
    first, second = store(tmp_path, hub), store(tmp_path, hub)
    await asyncio.gather(fetch(first, model()), fetch(second, model()))
    assert (tmp_path / "toy" / "model.bin").read_bytes() == WEIGHTS
    assert len([path for where, path, _ in hub.requests if where == "hub" and path.endswith("model.bin")]) == 1
    assert any("Another process is fetching toy" in note for note in log_of(first).notes + log_of(second).notes)


async def test_too_little_room_is_noticed_before_the_download(hub, tmp_path):
    with pytest.raises(EngineError, match=r"1 MB free, and model\.bin needs 2 MB.*MODELS_FOLDER"):
        await fetch(store(tmp_path, hub, free=10**6), model())
    assert not (tmp_path / "toy" / "model.bin.part").exists()


async def test_a_disk_that_fills_up_is_said_to_be_full_and_the_part_stays(hub, tmp_path, monkeypatch):
    def write_to_a_full_disk(file: IO[bytes], block: bytes) -> None:
        if file.tell() > len(WEIGHTS) // 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(block)

    monkeypatch.setattr(download, "write", write_to_a_full_disk)
    with pytest.raises(EngineError, match="the disk is full") as refused:
        await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert refused.value.permanent
    assert "resolve/main" not in str(refused.value), "advice about the network is of no use here"
    monkeypatch.undo()
    folder = await fetch(store(tmp_path, hub), model(sha256=SHA256))
    assert (folder / "model.bin").read_bytes() == WEIGHTS


async def test_a_folder_in_which_nobody_may_write_is_named(hub, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(EngineError, match=r"Cannot write .*file/toy"):
        await fetch(store(file, hub), model())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
async def test_a_forbidden_folder_says_how_to_choose_another(hub, tmp_path, monkeypatch, number):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(EngineError, match=r"may not write there\. Set MODELS_FOLDER"):
        await fetch(store(tmp_path, hub), model())


async def test_ctrl_c_leaves_a_part_that_is_continued(hub, tmp_path, monkeypatch):
    def press_ctrl_c(done: int) -> None:
        raise KeyboardInterrupt

    stopped = store(tmp_path, hub)
    monkeypatch.setattr(log_of(stopped), "advance", press_ctrl_c)
    with pytest.raises(_Stopped):
        await asyncio.to_thread(_swallowing, stopped)
    part = tmp_path / "toy" / "model.bin.part"
    assert 0 < part.stat().st_size < len(WEIGHTS)
    toy = store(tmp_path, hub)
    await fetch(toy, model(sha256=SHA256))
    assert log_of(toy).begun[0][1] > 0


def _swallowing(stopped: Store) -> None:
    """asyncio passes a KeyboardInterrupt of a thread on to the event loop itself, so it leaves as another error."""
    try:
        stopped.fetch(model(sha256=SHA256))
    except KeyboardInterrupt:
        raise _Stopped from None


class _Stopped(Exception):
    pass


# --- From a local folder -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flat", [False, True])
async def test_a_folder_takes_the_place_of_the_hub(tmp_path, flat):
    source = tmp_path / "usb" if flat else tmp_path / "usb" / "toy"
    source.mkdir(parents=True)
    (source / "model.bin").write_bytes(WEIGHTS)
    (source / "config.json").write_bytes(CONFIG)
    toy = store(tmp_path / "models", HubServer(hub="http://127.0.0.1:1"))
    folder = await fetch(toy, model(sha256=SHA256), source=tmp_path / "usb")
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert locked(tmp_path / "models")["config.json"]["digest"] == f"sha256 {hashlib.sha256(CONFIG).hexdigest()}"


async def test_a_folder_with_other_weights_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"something else")
    toy = store(tmp_path / "models", HubServer())
    with pytest.raises(EngineError, match=r"damaged or another file.*It was not copied"):
        await fetch(toy, model(sha256=SHA256), source=tmp_path)
    assert list((tmp_path / "models" / "toy").iterdir()) == []


async def test_a_file_that_cannot_be_read_is_not_said_to_be_one_that_cannot_be_written(tmp_path, monkeypatch):
    source = tmp_path / "model.bin"
    source.write_bytes(WEIGHTS)
    really_open = Path.open

    def refuse(path: Path, mode: str = "r", **options: Any) -> Any:
        if path == source:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return really_open(path, mode, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(EngineError, match=r"^Cannot read .*/model\.bin: Permission denied\.$"):
        await fetch(store(tmp_path / "models", HubServer()), model(), source=tmp_path)
    assert list((tmp_path / "models" / "toy").iterdir()) == []


async def test_a_folder_that_lacks_a_file_is_told_which(tmp_path):
    toy = store(tmp_path / "models", HubServer())
    with pytest.raises(EngineError, match=r"has neither toy/model\.bin nor model\.bin, which toy needs"):
        await fetch(toy, model(), source=tmp_path)


async def test_a_model_of_no_hub_says_that_a_folder_is_needed(tmp_path):
    with pytest.raises(EngineError, match=r"is at no hub.*--from"):
        await fetch(store(tmp_path, HubServer()), replace(model(), repository=""))


# --- Checking ----------------------------------------------------------------------------------------------


async def test_verify_finds_what_was_changed_cut_or_lost(hub, tmp_path):
    toy = store(tmp_path, hub)
    await fetch(toy, model())
    assert [finding.problem for finding in toy.verify(model())] == ["", ""]
    (tmp_path / "toy" / "model.bin").write_bytes(WEIGHTS[::-1])
    (tmp_path / "toy" / "config.json").unlink()
    changed, lost = toy.verify(model())
    assert "models.lock of" in changed.problem
    assert lost.problem == "is missing"
    (cut, _) = toy.verify(model(size=len(WEIGHTS) + 1))
    assert cut.problem == f"has {len(WEIGHTS)} bytes instead of {len(WEIGHTS) + 1}"


async def test_a_file_of_which_nobody_knows_the_digest_is_not_called_wrong(tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "model.bin").write_bytes(WEIGHTS)
    first, _ = store(tmp_path, HubServer()).verify(model())
    assert first.problem == ""
    assert first.digest is None


async def test_a_damaged_lock_file_is_named(hub, tmp_path):
    (tmp_path / "models.lock").write_text("[")
    with pytest.raises(EngineError, match=r"models\.lock is damaged.*Delete it"):
        await fetch(store(tmp_path, hub), model())


def test_an_interruption_is_not_permanent():
    assert not Interrupted("x").permanent
