"""Stock phrases as sound, made before they are needed: they must be there when an engine is slow or away."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from inference.interfaces import TextToSpeech
from inference.mulaw import decode_mulaw, encode_mulaw
from inference.types import EngineError
from inference.voices.loudness import ACTIVE_DBFS, active_level, limit_and_quantise
from media.messages import RATE_HZ
from media.phrase_files import PhraseFiles
from media.reply import render
from media.speakable import speakable

logger = logging.getLogger(__name__)

MAX_PHRASES = 500
"""Phrases in memory: about 3 s of mu-law each, 12 MB. There are many greetings with a name in them, so the phrase that
was not used for longest makes room."""
RENDER_TIMEOUT = 20.0
"""Seconds for one phrase of a few seconds: a voice that takes longer hangs."""
MAX_FAILURES = 2
"""Consecutive failures after which the voice counts as away. After a single one, the phrase may be at fault."""
_TOUCH_INTERVAL = 3600.0
"""Seconds between two marks that a file is used: the order of use need not be finer, and each mark is a write."""

LARGEST_CORRECTION_DB = 6.0
"""A phrase of a voice strays by up to 3.4 dB from the level of its sentences. One that is farther away belongs to a
voice that keeps no level, such as the caller's own of the ``echo`` engine."""

FORMAT = 2
"""Counts what has changed in the making of phrases, so that older files are not used. 2: their level is corrected."""

_Key = tuple[str, str, str]
"""Text, voice and language of a phrase."""


def at_house_level(audio: bytes) -> bytes:
    """
    Bring a phrase (mu-law, 8 kHz) to the level that all voices share.

    A voice is that loud on average, but a phrase of two words is not an average, and nothing else of a stream is known
    as a whole before it is heard.
    """
    pcm = decode_mulaw(audio)
    wrong = ACTIVE_DBFS - active_level(pcm, RATE_HZ)
    if not abs(wrong) <= LARGEST_CORRECTION_DB:
        return audio
    return encode_mulaw(limit_and_quantise(pcm.astype(np.float32) / np.float32(32768), 10 ** (wrong / 20)))


class Phrases:
    """
    The phrases of one process, by voice and language.

    If the voice is a fallback over several engines (it then has an attribute ``preferred``), its preferred engine makes
    the phrases or none does, because a phrase made by another one would keep that voice.

    Phrases that name no person are also kept in ``folder``, which processes may share: the next process has them even
    if its voice is away. When the engine's weights have changed, they are made again, and used as they are until then.
    ``version`` stands for everything else that changes how the voice sounds.
    """

    def __init__(self, tts: TextToSpeech, *, folder: Path | None = None, version: str = "") -> None:
        self._tts: TextToSpeech = getattr(tts, "preferred", tts)
        self._files = PhraseFiles(folder) if folder is not None else None
        self._version = version
        self._ready: dict[_Key, bytes] = {}
        """The sound of each phrase, the one that was used last at the end."""
        self._outdated: set[_Key] = set()
        """The ready phrases that were made with other weights."""
        self._making: dict[_Key, asyncio.Task[bool]] = {}
        """The phrases that are being made; the result says whether that succeeded."""
        self._lasting: set[str] = set()
        """The texts that may be kept in files."""
        self._touched: dict[_Key, float] = {}
        """The time of the loop's clock at which each file was last marked as used."""

    def get(self, text: str, *, voice: str, language: str) -> bytes:
        """The phrase as mu-law audio; ``b""`` if it is not ready."""
        return self._use((text, voice, language))

    async def prepare(self, texts: Iterable[str], *, voice: str, language: str, lasting: bool = False) -> None:
        """
        Read or make the phrases that are missing, one after the other.

        ``lasting`` texts contain no name and no number of a person. They may be kept on disk, now and whenever they are
        prepared again, in any voice. A voice that fails is logged, and tried again the next time. A text of which
        the voice can speak no word is passed over.
        """
        keys = [(text, voice, language) for text in dict.fromkeys(texts) if speakable(text, language)]
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
            # Several calls may wait for the same phrase, so a call that ends does not cancel it.
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
            self._ready[key] = audio  # at the end, as the one that was used last
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
                audio = at_house_level(await render(text, tts=self._tts, voice=voice, language=language))
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

    # -- files ----------------------------------------------------------------------------------------------

    async def _read(self, keys: list[_Key]) -> None:
        if self._files is None or not (labels := self._labels(keys)):
            return
        weights = self._weights()
        for key, (audio, made_with) in (await asyncio.to_thread(self._files.read, labels)).items():
            if key not in self._ready:
                self._put(key, audio, outdated=made_with != weights)
                self._touched[key] = asyncio.get_running_loop().time()

    async def _keep(self, keys: list[_Key], *, made: bool) -> None:
        """Write the phrases that were just ``made`` or have no file; mark the files of the others as used."""
        if self._files is None:
            return
        now = asyncio.get_running_loop().time()
        if not made:
            idle = [key for key in keys if now - self._touched.get(key, -_TOUCH_INTERVAL) >= _TOUCH_INTERVAL]
            keys = [key for key in idle if key not in self._outdated]
        if labels := self._labels(keys):
            self._touched.update(dict.fromkeys(labels, now))
            phrases = {label: self._ready[key] for key, label in labels.items() if key in self._ready}
            await asyncio.to_thread(self._files.keep, phrases, self._weights(), made)

    def _labels(self, keys: list[_Key]) -> dict[_Key, bytes]:
        """The labels of those phrases that may be kept on disk."""
        return {key: json.dumps([FORMAT, self._version, *key]).encode() for key in keys if key[0] in self._lasting}

    def _weights(self) -> bytes:
        return hashlib.sha256(self._tts.describe().weights.encode()).digest()
