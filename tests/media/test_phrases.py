"""Phrases that are kept ready, in memory and on disk: all that are in use, and not without end."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path

import pytest

from inference.engines.fallback import FallbackTextToSpeech
from inference.engines.scripted import ScriptedTextToSpeech
from inference.types import Description
from media import phrases
from media.phrases import Phrases
from media.reply import render
from tests.virtual_time import run


def test_a_phrase_is_made_once_and_then_there():
    async def work():
        ready = Phrases(ScriptedTextToSpeech())
        assert ready.get("Hello.", voice="", language="en") == b""
        await ready.prepare(["Hello.", ""], voice="", language="en")
        audio = ready.get("Hello.", voice="", language="en")
        await ready.prepare(["Hello."], voice="", language="en")
        assert ready.get("Hello.", voice="", language="en") is audio
        assert len(audio) > 1000

    run(work())


def test_the_phrase_that_was_not_used_for_longest_makes_room(monkeypatch):
    monkeypatch.setattr(phrases, "MAX_PHRASES", 3)

    async def work():
        ready = Phrases(ScriptedTextToSpeech())
        for name in ("Ann", "Bob", "Cleo", "Dan"):
            await ready.prepare(["One moment.", f"Hello {name}."], voice="", language="en")
        there = ("One moment.", "Hello Ann.", "Hello Bob.", "Hello Cleo.", "Hello Dan.")
        assert [bool(ready.get(text, voice="", language="en")) for text in there] == [True, False, False, True, True]

    run(work())


def test_a_voice_that_fails_is_tried_again_next_time(caplog):
    async def work():
        ready = Phrases(ScriptedTextToSpeech(failures=[{"on": 1}]))
        await ready.prepare(["Hello."], voice="", language="en")
        assert ready.get("Hello.", voice="", language="en") == b""
        await ready.prepare(["Hello."], voice="", language="en")
        assert ready.get("Hello.", voice="", language="en")

    run(work())
    assert "could not be made ready" in caplog.text


def test_a_voice_that_is_away_is_not_asked_for_every_phrase():
    async def work():
        tts = ScriptedTextToSpeech(failures=[{"rate": 1.0}])
        await Phrases(tts).prepare(["One.", "Two.", "Three.", "Four."], voice="", language="en")
        return tts.deal_fate().name

    assert run(work()) == "scripted speech 3"


def test_a_phrase_that_cannot_be_said_does_not_keep_the_others_back(caplog):
    async def work():
        ready = Phrases(ScriptedTextToSpeech(failures=[{"on": 1}, {"on": 3}]))
        await ready.prepare(["One.", "Two.", "Three.", "Four."], voice="", language="en")
        return [bool(ready.get(text, voice="", language="en")) for text in ("One.", "Two.", "Three.", "Four.")]

    assert run(work()) == [False, True, False, True]


def test_a_voice_that_hangs_is_given_up(caplog):
    async def work():
        ready = Phrases(ScriptedTextToSpeech(stalls=[{"rate": 1.0, "seconds": 3600.0}]))
        await ready.prepare(["One.", "Two.", "Three."], voice="", language="en")
        return asyncio.get_running_loop().time()

    assert run(work()) == phrases.MAX_FAILURES * phrases.RENDER_TIMEOUT
    assert "no phrase in 20 s" in caplog.text


def test_a_call_that_ends_while_it_waits_for_a_phrase_does_not_take_it_from_another():
    async def work():
        ready = Phrases(ScriptedTextToSpeech())
        one, other = (asyncio.ensure_future(ready.prepare(["Hello."], voice="", language="en")) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        await other
        assert ready.get("Hello.", voice="", language="en")
        before = len(asyncio.all_tasks())
        hanging = asyncio.ensure_future(ready.prepare(["Goodbye."], voice="", language="en"))
        await asyncio.sleep(0.01)
        await ready.close()
        await hanging
        assert len(asyncio.all_tasks()) == before

    run(work())


# -- of several voices ----------------------------------------------------------------------------------------

SCRIPTED = "inference.engines.scripted.ScriptedTextToSpeech"


async def voice_with_a_stand_in(**first) -> FallbackTextToSpeech:
    engines = [{"BACKEND": SCRIPTED, "OPTIONS": first}, {"BACKEND": SCRIPTED, "OPTIONS": {"tone_hz": 440}}]
    tts = FallbackTextToSpeech(engines=engines)
    await tts.start()
    return tts


def test_what_a_stand_in_would_say_is_not_kept():
    async def work():
        tts = await voice_with_a_stand_in(failures=[{"on": 1}])
        ready = Phrases(tts)
        await ready.prepare(["Hello."], voice="", language="en")
        assert ready.get("Hello.", voice="", language="en") == b""
        await ready.prepare(["Hello."], voice="", language="en")
        alone = await render("Hello.", tts=ScriptedTextToSpeech(), voice="", language="en")
        assert ready.get("Hello.", voice="", language="en") == alone

    run(work())


# -- on disk ----------------------------------------------------------------------------------------------------

TEXTS = ["One moment, please.", "I'm sorry."]


class Described(ScriptedTextToSpeech):
    """Says in words which weights it has."""

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
    """What a new process has of these phrases."""
    options = {**QUICK, "voices": ("tone", "ada"), **options}
    ready = Phrases(Described(**options), folder=folder, version=version)
    await ready.prepare(texts, voice=voice, language="en", lasting=True)
    await ready.close()
    return [ready.get(text, voice=voice, language="en") for text in texts]


async def test_the_next_process_has_the_phrases_although_its_voice_is_away(folder):
    made = await prepared(folder)
    assert all(made)
    assert await prepared(folder, **AWAY) == made


async def test_so_has_one_whose_preferred_voice_is_away_and_another_stands_in(folder):
    made = []
    for trouble in ({}, AWAY):
        ready = Phrases(await voice_with_a_stand_in(**QUICK, **trouble), folder=folder)
        await ready.prepare(TEXTS, voice="", language="en", lasting=True)
        made.append([ready.get(text, voice="", language="en") for text in TEXTS])
    assert all(made[0])
    assert made[1] == made[0]


@pytest.mark.parametrize("other", [{"version": "2"}, {"voice": "ada"}])
async def test_whatever_may_sound_different_is_another_phrase(folder, other):
    assert all(await prepared(folder))
    assert not any(await prepared(folder, **AWAY, **other))


async def test_new_weights_make_it_anew_and_until_then_the_old_one_is_said(folder):
    old = await prepared(folder)
    assert await prepared(folder, weights="second", **AWAY) == old
    new = await prepared(folder, weights="second", tone_peak=4000)
    assert all(now != then for now, then in zip(new, old, strict=True))
    assert await prepared(folder, weights="second", **AWAY) == new


async def test_a_voice_that_is_away_is_not_asked_again_and_again_for_what_is_outdated(folder):
    texts = [f"Phrase {number}." for number in range(5)]
    old = await prepared(folder, texts)
    tts = Described("second", **AWAY)
    ready = Phrases(tts, folder=folder)
    await ready.prepare(texts, voice="", language="en", lasting=True)
    assert [ready.get(text, voice="", language="en") for text in texts] == old
    assert tts.deal_fate().name == f"scripted speech {phrases.MAX_FAILURES + 1}"


async def test_what_may_name_a_person_stays_in_memory(folder):
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
        lambda content: b"RIFF of somebody else" * 9,
    ],
)
async def test_a_file_that_is_not_whole_is_made_anew(folder, spoil, caplog):
    made = await prepared(folder)
    for path in folder.iterdir():
        path.write_bytes(spoil(path.read_bytes()))
    assert await prepared(folder) == made
    assert "is no whole phrase" in caplog.text
    assert await prepared(folder, **AWAY) == made


async def test_a_phrase_under_the_name_of_another_is_not_said_in_its_place(folder):
    await prepared(folder)
    one, other = folder.iterdir()
    one.write_bytes(other.read_bytes())
    assert sorted(map(bool, await prepared(folder, **AWAY))) == [False, True]


async def test_the_file_that_was_not_used_for_longest_makes_room(folder, monkeypatch):
    monkeypatch.setattr(phrases, "MAX_FILES", 2)

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
    monkeypatch.setattr(phrases, "MAX_FILE_BYTES", max(path.stat().st_size for path in folder.iterdir()))
    await prepared(folder, ["Six."])
    assert len(list(folder.iterdir())) == 1


async def test_a_phrase_in_use_stays_young_and_comes_back_if_its_file_is_gone(folder, monkeypatch):
    monkeypatch.setattr(phrases, "_TOUCH_EVERY", 0.0)
    ready = Phrases(Described(**QUICK), folder=folder)
    await ready.prepare(["One."], voice="", language="en", lasting=True)
    (path,) = folder.iterdir()
    os.utime(path, (1, 1))
    await ready.prepare(["One."], voice="", language="en")
    assert path.stat().st_mtime > 1
    path.unlink()
    await ready.prepare(["One."], voice="", language="en")
    assert all(await prepared(folder, ["One."], **AWAY))


async def test_what_a_process_that_died_left_half_written_goes(folder):
    old, fresh = folder / "a.1.new", folder / "b.2.new"
    folder.mkdir()
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (1, 1))
    await prepared(folder)
    assert fresh.exists()
    assert not old.exists()


@pytest.mark.parametrize("trouble", ["full", "no folder"])
async def test_a_disk_that_fails_costs_a_line_in_the_log(folder, trouble, monkeypatch, caplog):
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


async def test_processes_that_share_the_folder_do_no_harm(folder):
    texts = [f"Phrase {number}." for number in range(6)]
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from media import phrases\n"
        "from tests.media.test_phrases import prepared\n"
        "phrases.MAX_FILES = 4\n"
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
