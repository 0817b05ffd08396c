"""Phrases that name no person survive their process in files, and a file that is not complete is not used."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path

import pytest

from inference.engines.scripted import ScriptedTextToSpeech
from inference.types import Description
from media import phrase_files, phrases
from media.phrases import Phrases
from tests.media.test_phrases import voice_with_a_fallback

TEXTS = ["One moment, please.", "I'm sorry."]


class Described(ScriptedTextToSpeech):
    """A voice whose weights have a name."""

    def __init__(self, weights: str = "first", **options) -> None:
        super().__init__(**options)
        self.weights = weights

    def describe(self) -> Description:
        return Description(self.weights)


AWAY = {"failures": [{"rate": 1.0}]}
QUICK = {"first_delay": 0.0, "chunk_delay": 0.0}


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "phrases"


async def prepared(folder: Path, texts=TEXTS, *, voice: str = "", version: str = "", **options) -> list[bytes]:
    """The phrases that a new process has, made or read; b"" for each one that it has not."""
    options = {**QUICK, "voices": ("tone", "ada"), **options}
    ready = Phrases(Described(**options), folder=folder, version=version)
    await ready.prepare(texts, voice=voice, language="en", lasting=True)
    await ready.close()
    return [ready.get(text, voice=voice, language="en") for text in texts]


async def test_the_next_process_has_the_phrases_although_its_voice_is_away(folder):
    made = await prepared(folder)
    assert all(made)
    assert await prepared(folder, **AWAY) == made


async def test_the_next_process_has_the_phrases_of_the_preferred_voice_although_only_the_fallback_works(folder):
    made = []
    for trouble in ({}, AWAY):
        ready = Phrases(await voice_with_a_fallback(**QUICK, **trouble), folder=folder)
        await ready.prepare(TEXTS, voice="", language="en", lasting=True)
        made.append([ready.get(text, voice="", language="en") for text in TEXTS])
    assert all(made[0])
    assert made[1] == made[0]


@pytest.mark.parametrize("other", [{"version": "2"}, {"voice": "ada"}])
async def test_a_phrase_of_another_voice_or_version_is_another_phrase(folder, other):
    assert all(await prepared(folder))
    assert not any(await prepared(folder, **AWAY, **other))


async def test_with_new_weights_a_phrase_is_made_again_and_the_old_one_is_used_until_then(folder):
    old = await prepared(folder)
    assert await prepared(folder, weights="second", **AWAY) == old
    new = await prepared(folder, weights="second", tone_peak=4000)
    assert all(now != then for now, then in zip(new, old, strict=True))
    assert await prepared(folder, weights="second", **AWAY) == new


async def test_a_voice_that_is_away_is_not_asked_for_every_outdated_phrase(folder):
    texts = [f"Phrase {number}." for number in range(5)]
    old = await prepared(folder, texts)
    tts = Described("second", **AWAY)
    ready = Phrases(tts, folder=folder)
    await ready.prepare(texts, voice="", language="en", lasting=True)
    assert [ready.get(text, voice="", language="en") for text in texts] == old
    assert tts.troubles.draw_for_next_request().name == f"scripted speech {phrases.MAX_FAILURES + 1}"


async def test_a_phrase_that_may_name_a_person_is_not_written(folder):
    ready = Phrases(ScriptedTextToSpeech(**QUICK), folder=folder)
    await ready.prepare(["One moment."], voice="", language="en", lasting=True)
    await ready.prepare(["Hello Ann.", "One moment."], voice="tone", language="en")
    assert ready.get("Hello Ann.", voice="tone", language="en")
    assert len(list(folder.iterdir())) == 2  # one phrase in two voices
    assert not any(b"Ann" in path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-1],
        lambda content: content[:10],
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"RIFF of another program" * 9,
    ],
)
async def test_a_file_that_is_not_complete_is_made_again(folder, spoil, caplog):
    made = await prepared(folder)
    for path in folder.iterdir():
        path.write_bytes(spoil(path.read_bytes()))
    assert await prepared(folder) == made
    assert "is not a complete phrase" in caplog.text
    assert await prepared(folder, **AWAY) == made


async def test_a_phrase_under_the_name_of_another_is_not_used(folder):
    await prepared(folder)
    one, other = folder.iterdir()
    one.write_bytes(other.read_bytes())
    assert sorted(map(bool, await prepared(folder, **AWAY))) == [False, True]


async def test_the_file_that_was_not_used_for_longest_makes_room(folder, monkeypatch):
    monkeypatch.setattr(phrase_files, "MAX_FILES", 2)

    def grow_older() -> None:
        for path in folder.iterdir():
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**12))

    for text in ("One.", "Two.", "One.", "Three."):
        await prepared(folder, [text])
        grow_older()
    assert [bool((await prepared(folder, [text], **AWAY))[0]) for text in ("One.", "Two.", "Three.")] == [
        True,
        False,
        True,
    ]
    monkeypatch.setattr(phrase_files, "MAX_FILE_BYTES", max(path.stat().st_size for path in folder.iterdir()))
    await prepared(folder, ["Six."])
    assert len(list(folder.iterdir())) == 1


async def test_a_phrase_in_use_has_its_file_marked_and_written_again_if_it_is_missing(folder, monkeypatch):
    monkeypatch.setattr(phrases, "_TOUCH_INTERVAL", 0.0)
    ready = Phrases(Described(**QUICK), folder=folder)
    await ready.prepare(["One."], voice="", language="en", lasting=True)
    (path,) = folder.iterdir()
    os.utime(path, (1, 1))
    await ready.prepare(["One."], voice="", language="en")
    assert path.stat().st_mtime > 1
    path.unlink()
    await ready.prepare(["One."], voice="", language="en")
    assert all(await prepared(folder, ["One."], **AWAY))


async def test_a_file_that_a_dead_process_did_not_finish_is_deleted(folder):
    old, fresh = folder / "a.1.new", folder / "b.2.new"
    folder.mkdir()
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (1, 1))
    await prepared(folder)
    assert fresh.exists()
    assert not old.exists()


@pytest.mark.parametrize("trouble", ["full", "no folder"])
async def test_a_disk_that_fails_is_logged_once(folder, trouble, monkeypatch, caplog):
    if trouble == "no folder":
        folder.write_text("this is a file")
    else:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
    assert all(await prepared(folder, [*TEXTS, "Goodbye."]))
    assert len(caplog.records) == 1
    assert "kept in memory only" in caplog.text
    if trouble == "full":
        assert not list(folder.iterdir())


async def test_processes_may_share_the_folder(folder):
    texts = [f"Phrase {number}." for number in range(6)]
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from media import phrase_files\n"
        "from tests.media.test_phrase_files import prepared\n"
        "phrase_files.MAX_FILES = 4\n"
        f"assert all(asyncio.run(prepared(Path(sys.argv[1]), {texts!r})))\n"
    )
    root = Path(__file__).parents[2]
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(folder), cwd=root) for _ in range(3)
    ]
    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert len(list(folder.iterdir())) == 4
    made = await prepared(folder / "alone", texts)
    assert {audio for audio in await prepared(folder, texts, **AWAY) if audio} <= set(made)
