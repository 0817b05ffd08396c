"""Stock phrases as sound, made before they are needed: they must come when an engine is slow or gone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from inference.interfaces import TextToSpeech
from inference.types import EngineError
from media.reply import render

logger = logging.getLogger(__name__)

MAX_PHRASES = 500
"""Some 3 s of mu-law each: 12 MB. Greetings with a name in them are many: what was not used for longest goes."""
MAX_FILES = 2000
MAX_FILE_BYTES = 64 * 2**20
"""Of all files together, for all the voices that were ever tried; what was not used for longest goes."""
RENDER_TIMEOUT = 20.0
"""For one phrase: a voice that takes longer hangs."""
MAX_FAILURES = 2
"""In a row: then the voice is away, and the other phrases are not tried either. One alone may be the phrase's fault."""
_TOUCH_EVERY = 3600.0  # a file is marked as used at most so often
_HASH = 32  # bytes

_Key = tuple[str, str, str]


class Phrases:
    """
    The phrases of one process, by voice and language, all in the voice that they are asked for.

    A voice of several engines (one with an attribute ``preferred``) makes them with that one or not at all, for
    what a stand-in said would stay in its voice. Those that say nothing of a person also lie in ``folder``, which
    processes may share: the next one has them although its voice is away. Where the engine's weights have changed
    they are made anew, and said as they are until then. ``version`` is whatever else changes how the voice sounds.
    """

    def __init__(self, tts: TextToSpeech, *, folder: Path | None = None, version: str = "") -> None:
        self._tts: TextToSpeech = getattr(tts, "preferred", tts)
        self._shelf = _Shelf(folder) if folder is not None else None
        self._version = version
        self._ready: dict[_Key, bytes] = {}
        self._outdated: set[_Key] = set()
        self._making: dict[_Key, asyncio.Task[bool]] = {}
        self._lasting: set[str] = set()
        self._touched: dict[_Key, float] = {}

    def get(self, text: str, *, voice: str, language: str) -> bytes:
        """The phrase as mu-law audio; ``b""`` if it is not ready."""
        return self._use((text, voice, language))

    async def prepare(self, texts: Iterable[str], *, voice: str, language: str, lasting: bool = False) -> None:
        """
        Read or make those that are missing, one after the other.

        ``lasting``: nobody's name or number is in them, so they may lie on disk, now and whenever they are asked for
        again, in any voice. A voice that fails is logged, and tried again next time.
        """
        keys = [(text, voice, language) for text in dict.fromkeys(texts) if text]
        if lasting:
            self._lasting.update(text for text, *_ in keys)
        await self._read([key for key in keys if not self._use(key)])
        wanted = [key for key in keys if not self._use(key)] + [key for key in keys if key in self._outdated]
        failures = 0
        for key in wanted:
            if (key in self._ready and key not in self._outdated) or failures == MAX_FAILURES:
                continue
            making = self._making.get(key) or asyncio.ensure_future(self._make(key))
            self._making[key] = making
            # Several calls may wait for the same: none of them takes it along when it goes.
            await asyncio.wait([making])
            failures = 0 if not making.cancelled() and making.result() else failures + 1
        await self._keep([key for key in keys if key in self._ready], made=False)

    async def close(self) -> None:
        """Stop making what is not ready yet."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _use(self, key: _Key) -> bytes:
        audio = self._ready.pop(key, b"")
        if audio:
            self._ready[key] = audio  # the last again
        return audio

    def _put(self, key: _Key, audio: bytes, *, outdated: bool = False) -> None:
        self._ready[key] = audio
        (self._outdated.add if outdated else self._outdated.discard)(key)
        while len(self._ready) > MAX_PHRASES:
            oldest = next(iter(self._ready))
            del self._ready[oldest]
            self._outdated.discard(oldest)
            self._touched.pop(oldest, None)

    async def _make(self, key: _Key) -> bool:
        text, voice, language = key
        try:
            async with asyncio.timeout(RENDER_TIMEOUT):
                audio = await render(text, tts=self._tts, voice=voice, language=language)
            if not audio:
                raise EngineError("the voice made no sound")
            self._put(key, audio)
            await self._keep([key], made=True)
            return True
        except (EngineError, TimeoutError) as error:
            reason = str(error) or f"the voice made no phrase in {RENDER_TIMEOUT:.0f} s"
            logger.warning("A phrase of %d characters could not be made ready: %s", len(text), reason)
        except Exception:
            logger.exception("Unexpected error in making a phrase of %d characters", len(text))
        finally:
            del self._making[key]
        return False

    # -- the files ------------------------------------------------------------------------------------------

    async def _read(self, keys: list[_Key]) -> None:
        if self._shelf is None or not (labels := self._labels(keys)):
            return
        weights = self._weights()
        for key, (audio, made_with) in (await asyncio.to_thread(self._shelf.read, labels)).items():
            if key not in self._ready:
                self._put(key, audio, outdated=made_with != weights)
                self._touched[key] = asyncio.get_running_loop().time()

    async def _keep(self, keys: list[_Key], *, made: bool) -> None:
        """Have on disk what belongs there: written if it was just ``made`` or is not there, else marked as used."""
        if self._shelf is None:
            return
        now = asyncio.get_running_loop().time()
        if not made:
            idle = [key for key in keys if now - self._touched.get(key, -_TOUCH_EVERY) >= _TOUCH_EVERY]
            keys = [key for key in idle if key not in self._outdated]
        if labels := self._labels(keys):
            self._touched.update(dict.fromkeys(labels, now))
            phrases = {label: self._ready[key] for key, label in labels.items() if key in self._ready}
            await asyncio.to_thread(self._shelf.keep, phrases, self._weights(), made)

    def _labels(self, keys: list[_Key]) -> dict[_Key, bytes]:
        """The names of those that may lie on disk."""
        return {key: json.dumps([1, self._version, *key]).encode() for key in keys if key[0] in self._lasting}

    def _weights(self) -> bytes:
        return hashlib.sha256(self._tts.describe().weights.encode()).digest()


class _Shelf:
    """
    A folder of phrases. Its methods block and never raise.

    A file is named by its label, is written whole or not at all, and begins with a seal and the hash of the weights
    that it was made with: what is cut off, changed or somebody else's is not taken for a phrase. The time of its last
    use is its time of modification.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ailing = False

    def read(self, labels: Mapping[_Key, bytes]) -> dict[_Key, tuple[bytes, bytes]]:
        """Sound and weights of those that are there."""
        found = {key: self._read(label) for key, label in labels.items()}
        return {key: phrase for key, phrase in found.items() if phrase is not None}

    def keep(self, phrases: Mapping[bytes, bytes], weights: bytes, made: bool) -> None:
        """Sounds by label: write those that were just ``made`` or are not there, mark the others as used; make room."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for label, audio in phrases.items():
                if made or not self._touch(label):
                    self._write(label, weights, audio)
            self._make_room()
        except OSError as error:
            self._complain(error)
        else:
            self._ailing = False

    def _complain(self, error: OSError) -> None:
        """Once, until it works again."""
        if not self._ailing:
            logger.error("Phrases are kept in memory only, for their folder fails: %s", error)
        self._ailing = True

    def _path(self, label: bytes) -> Path:
        return self._folder / f"{hashlib.sha256(label).hexdigest()[:40]}.phrase"

    def _touch(self, label: bytes) -> bool:
        try:
            os.utime(self._path(label))
        except FileNotFoundError:
            return False
        return True

    def _read(self, label: bytes) -> tuple[bytes, bytes] | None:
        path = self._path(label)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(error)
            return None
        seal, weights, audio = content[:_HASH], content[_HASH : 2 * _HASH], content[2 * _HASH :]
        whole = bool(audio) and seal == _seal(label, weights, audio)
        with suppress(OSError):  # the disk may be read-only
            if whole:
                os.utime(path)
            else:
                logger.warning("The file %s is no whole phrase, and is made anew", path.name)
                path.unlink()
        return (audio, weights) if whole else None

    def _write(self, label: bytes, weights: bytes, audio: bytes) -> None:
        path = self._path(label)
        new = path.with_suffix(f".{uuid4().hex}.new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_seal(label, weights, audio) + weights + audio)
            os.replace(new, path)
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise

    def _make_room(self) -> None:
        phrases = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process makes room too
                    state = entry.stat()
                    if entry.name.endswith(".phrase"):
                        phrases.append((state.st_mtime_ns, state.st_size, entry.path))
                    elif entry.name.endswith(".new") and state.st_mtime < time.time() - _TOUCH_EVERY:
                        os.unlink(entry.path)  # its process died over it
        total_bytes = 0
        for number, (_, file_bytes, path) in enumerate(sorted(phrases, reverse=True), start=1):
            total_bytes += file_bytes
            if number > MAX_FILES or total_bytes > MAX_FILE_BYTES:
                with suppress(FileNotFoundError):
                    os.unlink(path)


def _seal(label: bytes, weights: bytes, audio: bytes) -> bytes:
    return hashlib.sha256(b"%d %b%b%b" % (len(label), label, weights, audio)).digest()
