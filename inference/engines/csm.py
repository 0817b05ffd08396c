"""
Sesame's CSM: a voice that hears its own last turns, for many calls at once on one GPU, streaming.

The engine itself is ``inference.csm``; this is what a call sees of it. Nothing here imports torch before ``start``.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from inference.csm.options import CsmOptions
from inference.csm.prompts import AGENT
from inference.csm.replies import Clause, SoundItem, SpokenReply
from inference.csm.speaker import Speaker
from inference.types import (
    AudioChunk,
    Description,
    EngineError,
    EngineLoading,
    EngineTimeout,
    Languages,
    Pcm,
    has_language,
)

if TYPE_CHECKING:
    from inference.csm.loading import LoadedCsm
    from inference.csm.rows import Slot
    from inference.csm.voices import Voice

logger = logging.getLogger(__name__)

WEIGHTS_BYTES = 3_500_000_000
"""Of csm-1b: 1.5 billion parameters in bfloat16 and the codec in float32."""
POSITION_BYTES = 32 * 1024
"""Keys and values of one position of csm-1b in bfloat16."""
SLOT_BYTES = 9_000_000
"""The state that the codec carries from frame to frame for one call."""
ANSWERED_WITHIN = 1.0
"""Seconds. A reply that ended so shortly before the caller's turn is reported was the answer to that turn."""
MOST_WORDS = 30
"""In one clause. At a slow 0.55 s each they take less time than the longest clause may."""


class CsmTextToSpeech:
    """One model on one device, which speaks for all calls; the options say which and how."""

    may_speculate: ClassVar[bool] = True
    rate_hz: ClassVar[int] = 24000
    languages: ClassVar[Languages] = frozenset(("en",))
    options_class: ClassVar[type[CsmOptions]] = CsmOptions

    def __init__(self, options: CsmOptions) -> None:
        self.hears_caller = options.hears_caller
        self._options = options
        self._starting = asyncio.Lock()
        """Held while the engine starts or closes."""
        self._loaded: LoadedCsm | None = None
        """Between ``start`` and ``close``, even when the thread in it has broken."""
        self._voices: dict[str, Voice] = {}
        """By name, as of the last ``start``."""

    async def start(self) -> None:
        async with self._starting:
            if self._loaded is not None and self._loaded.thread.alive:
                return
            loading = asyncio.ensure_future(asyncio.to_thread(self._load))
            try:
                self._loaded = await asyncio.shield(loading)
            except asyncio.CancelledError:
                # Loading cannot be stopped, and its result must not stay on the GPU.
                loading.add_done_callback(_discard)
                raise
            self._voices = self._loaded.voices

    async def close(self) -> None:
        async with self._starting:
            loaded, self._loaded = self._loaded, None
            if loaded is not None:
                await asyncio.to_thread(loaded.close)

    def describe(self) -> Description:
        options = self._options
        folder = Path(options.model)
        weights_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder.is_dir() else 0
        return Description(
            weights=f"{'folder' if folder.is_dir() else 'hub'}: {options.model}{self._voices_in_words()}",
            memory_bytes=(weights_bytes or WEIGHTS_BYTES)
            + options.slots * (options.positions * POSITION_BYTES + SLOT_BYTES),
            device=options.device,
            capacity=options.slots,
        )

    def open(self, *, voice: str = "", language: str = "en") -> CsmSpeech:
        loaded = self._loaded
        if loaded is None:
            raise EngineLoading("the speech engine has not been started")
        if not has_language(self.languages, language):
            raise EngineError(f"CSM speaks English only, not {language!r}", permanent=True)
        name = voice or loaded.default_voice
        if name and name not in loaded.voices:
            known = ", ".join(self.voice_names) or "none: set the option `voices` to a folder of recordings"
            raise EngineError(f"CSM has no voice {name!r}; its voices are: {known}", permanent=True)
        spoken = loaded.voices.get(name)
        slot = loaded.thread.join(
            loaded.prompts.context(spoken),
            gain=spoken.gain if spoken is not None else 1.0,
            loop=asyncio.get_running_loop(),
        )
        return CsmSpeech(loaded, slot, self._options.stall_timeout)

    @property
    def voice_names(self) -> list[str]:
        """Empty until the engine has started."""
        return sorted(self._voices)

    @property
    def remembers(self) -> bool:
        """Whether a call can be taken over with what was said in it: that needs the encoder of the caller's turns."""
        return self._loaded is not None and self._loaded.caller_encoder is not None

    @property
    def broken(self) -> str:
        """The reason why the engine cannot serve any call until it is started again; empty if it can."""
        if self._loaded is None:
            return ""
        if not self._loaded.thread.alive:
            return "the speech engine has stopped; its log says why"
        return "the speech engine waits for a GPU that does not answer" if self._loaded.thread.hangs else ""

    @property
    def counts(self) -> dict[str, int]:
        """Counts, since the start, of how clauses ended, what the guards found and what went wrong."""
        return dict(self._loaded.thread.counts) if self._loaded is not None else {}

    def _voices_in_words(self) -> str:
        """With a digest of each recording, so that a cache of speech notices when a voice is recorded again."""
        voices = (f"{name} {sha256(voice.codes.tobytes()).hexdigest()[:6]}" for name, voice in self._voices.items())
        return f", voices {', '.join(voices)}" if self._voices else ""

    def _load(self) -> LoadedCsm:
        try:
            from inference.csm.loading import load_csm

            return load_csm(self._options)
        except EngineError:
            raise
        except ImportError as error:
            raise EngineError(
                f"CSM needs torch and transformers (pip install -r requirements/tts.txt): {error}", permanent=True
            ) from error
        except Exception as error:  # mostly CUDA: no memory, or a driver that does not fit
            raise EngineError(
                f"CSM does not start on {self._options.device}: {error}. "
                "If memory is short, set fewer `slots` or `positions`.",
                permanent=True,
            ) from error


def _discard(loading: asyncio.Future[LoadedCsm]) -> None:
    if not loading.cancelled() and loading.exception() is None:
        threading.Thread(target=loading.result().close, name="csm-discard", daemon=True).start()


@dataclass(slots=True)
class _Progress:
    """The progress of one reply, in characters of its text."""

    given: int = 0
    """Handed to the engine."""
    spoken: int = 0
    """Reported as spoken."""
    text_ended: bool = False
    """Whether there will be no more text."""


class CsmSpeech:
    """The voice of one call, which holds one slot of the engine."""

    def __init__(self, loaded: LoadedCsm, slot: Slot, stall_timeout: float) -> None:
        self._loaded = loaded
        self._thread = loaded.thread
        self._slot = slot
        self._stall_timeout = stall_timeout
        self._replies = 0
        """The number of replies that have begun. They are numbered from 1."""
        self._speaking = 0
        """The number of replies that are open."""
        self._spoke_at = -ANSWERED_WITHIN
        """The time at which the last reply ended, on the loop's clock."""

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        items: asyncio.Queue[SoundItem | Exception] = asyncio.Queue()
        if not self._thread.alive:
            raise EngineError("the speech engine has stopped")
        self._replies += 1
        self._speaking += 1
        reply = SpokenReply(items.put_nowait, self._replies)
        self._thread.post(self._slot, Speaker.begin_reply, reply)
        progress = _Progress()

        def end_broken_text(reading: asyncio.Future[None]) -> None:
            if reading.cancelled():
                items.put_nowait(EngineError("the text of the reply broke off"))

        reading = asyncio.ensure_future(self._read(text, reply, progress, items))
        reading.add_done_callback(end_broken_text)
        try:
            while True:
                item = await self._next_item(items, progress)
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                progress.spoken = item.text_end
                yield item
        finally:
            self._speaking -= 1
            self._spoke_at = asyncio.get_running_loop().time()
            self._thread.post(self._slot, Speaker.cancel_reply, reply)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _next_item(
        self, items: asyncio.Queue[SoundItem | Exception], progress: _Progress
    ) -> SoundItem | Exception:
        """Wait without limit while there is no text to say, and only ``stall_timeout`` for sound that is due."""
        while True:
            try:
                async with asyncio.timeout(self._stall_timeout):
                    return await items.get()
            except TimeoutError:
                if not items.empty():  # the event loop was held up, not the engine
                    continue
                if progress.spoken < progress.given or progress.text_ended or not self._thread.alive:
                    self._thread.counts["stall"] += 1
                    raise EngineTimeout(f"no speech came for {self._stall_timeout:g} s") from None

    async def _read(
        self,
        text: AsyncIterator[str],
        reply: SpokenReply,
        progress: _Progress,
        items: asyncio.Queue[SoundItem | Exception],
    ) -> None:
        blank = ""  # white space, which is spoken with the text after it
        try:
            async for part in text:
                blank += part
                clauses = []
                for piece in split_text(blank):
                    clauses.append(Clause(piece, self._loaded.prompts.tokenize(piece.strip()), progress.given))
                    progress.given += len(piece)
                if clauses:
                    blank = ""
                    self._thread.post(self._slot, Speaker.add_clauses, reply, clauses)
            progress.text_ended = True
            self._thread.post(self._slot, Speaker.end_text, reply)
        except Exception as error:  # whatever went wrong with the text is raised by ``speak``
            items.put_nowait(error)

    def heard(self, samples: int) -> None:
        self._thread.post(self._slot, Speaker.heard, samples)

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        if self._loaded.caller_encoder is not None:
            now = asyncio.get_running_loop().time()
            is_answered = self._speaking or now - self._spoke_at < ANSWERED_WITHIN
            before = self._replies + (not is_answered)
            self._loaded.caller_encoder.encode_turn(self._slot, text, pcm, rate_hz, before=before)

    def agent_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        if self._loaded.caller_encoder is not None:
            before = self._replies + (not self._speaking)
            self._loaded.caller_encoder.encode_turn(self._slot, text, pcm, rate_hz, before=before, speaker=AGENT)

    async def close(self) -> None:
        self._thread.leave(self._slot)


def split_text(text: str) -> list[str]:
    """The text in pieces that are short enough to be spoken in one go, with all white space; none if it is blank."""
    words = re.findall(r"\s*\S+\s*", text)
    return ["".join(words[start : start + MOST_WORDS]) for start in range(0, len(words), MOST_WORDS)]
