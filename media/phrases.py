"""Stock phrases as sound, made before they are needed: they must come when an engine is slow or gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from inference.interfaces import TextToSpeech
from inference.types import EngineError
from media.reply import render

logger = logging.getLogger(__name__)

MAX_PHRASES = 500
"""Some 3 s of mu-law each: 12 MB. Greetings with a name in them are many: what was not used for longest goes."""


class Phrases:
    """The phrases of one process, by voice and language."""

    def __init__(self, tts: TextToSpeech) -> None:
        self._tts = tts
        self._ready: dict[tuple[str, str, str], bytes] = {}
        self._making: dict[tuple[str, str, str], asyncio.Task[None]] = {}

    def get(self, text: str, *, voice: str, language: str) -> bytes:
        """The phrase as mu-law audio; ``b""`` if it is not ready."""
        return self._use((text, voice, language))

    async def prepare(self, texts: Iterable[str], *, voice: str, language: str) -> None:
        """Make those that are missing, one after the other; a voice that fails is logged, and tried again next time."""
        for text in texts:
            key = (text, voice, language)
            if not text or self._use(key):
                continue
            if key not in self._making:
                self._making[key] = asyncio.ensure_future(self._make(key))
            await self._making[key]

    def _use(self, key: tuple[str, str, str]) -> bytes:
        audio = self._ready.pop(key, b"")
        if audio:
            self._ready[key] = audio  # the last again
        return audio

    async def _make(self, key: tuple[str, str, str]) -> None:
        text, voice, language = key
        try:
            self._ready[key] = await render(text, tts=self._tts, voice=voice, language=language)
            while len(self._ready) > MAX_PHRASES:
                del self._ready[next(iter(self._ready))]
        except EngineError as error:
            logger.warning("The phrase %r could not be made ready: %s", text, error)
        finally:
            del self._making[key]
