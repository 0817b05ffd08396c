"""
Sesame's CSM: a voice that hears its own last turns, for many calls at once on one GPU, streaming.

The engine itself is ``inference.csm``; this is what a call sees of it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from inference.csm.options import CsmOptions
from inference.resampling import resample
from inference.types import AudioChunk, Description, EngineError, EngineLoading, EngineTimeout, Pcm

if TYPE_CHECKING:
    from inference.csm.context import Context
    from inference.csm.engine import Call, CsmThread, Reply, SoundItem
    from inference.csm.voices import Voice

logger = logging.getLogger(__name__)

WEIGHTS_BYTES = 3_500_000_000
"""csm-1b: 1.5 billion parameters in bfloat16 and the codec in float32."""
POSITION_BYTES = 32 * 1024
"""Keys and values of one position of csm-1b in bfloat16."""
SLOT_BYTES = 9_000_000
"""What the codec carries for one call."""
CHUNKS = (16, 64, 128)
"""Positions that are fed at once, rounded up to one of these: a clause, a clause after a pause, a rebuilt context."""
PREFILL = {"cuda": 128, "cpu": 32}
"""Positions between two ticks at most: 2 to 4 ms on an 80 GB GPU, by estimate."""
DTYPES = ("auto", "bfloat16", "float16", "float32")
AGENT, CALLER = 0, 1
"""The speakers' numbers in the model's prompt; the voice's prompt has the agent's."""
ANSWERED_WITHIN = 1.0
"""Seconds. A reply that was made so shortly before the caller's turn was told is the answer to it."""
HEARD_SECONDS = 10.0
"""Of one turn of the caller, its end: the rest would push the agent's own voice out of the context."""
MOST_WORDS_PER_SECOND = 3.0
"""Of the text of such a turn, what fits its sound."""
MOST_UNHEARD = 16
"""Turns of callers that may wait to be encoded."""
MOST_CLAUSE = 80
"""Positions that the text of one clause takes, and a few to spare."""
MOST_WORDS = 30
"""In one clause: at a slow 0.55 s each, below the most that is spoken in one go."""


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What is needed of a checkpoint once its weights are where they are used."""

    config: Any
    tokenizer: Any
    codec: Any


class CsmTextToSpeech:
    """One model on one device, which speaks for all calls; the options say which and how."""

    may_speculate: ClassVar[bool] = True
    rate_hz: ClassVar[int] = 24000
    options_class: ClassVar[type[CsmOptions]] = CsmOptions

    def __init__(self, options: CsmOptions) -> None:
        self.hears_caller = options.hears_caller
        self._options = options
        self._default_voice = options.voice
        """Once started, the name of the folder's first voice if the options name none."""
        self._starting = asyncio.Lock()
        self._spoken: _Spoken | None = None
        self._thread: CsmThread | None = None
        self._loaded_voices: dict[str, Voice] = {}
        self._ears: ThreadPoolExecutor | None = None
        """One thread that encodes what callers said, beside the one that speaks."""
        self._unheard = threading.Semaphore(MOST_UNHEARD)

    async def start(self) -> None:
        async with self._starting:
            if self._thread is not None and self._thread.alive:
                return
            loading = asyncio.ensure_future(asyncio.to_thread(self._load))
            try:
                self._thread = await asyncio.shield(loading)
            except asyncio.CancelledError:
                # It cannot be stopped, and must not be left on the GPU when it is done.
                loading.add_done_callback(_discard)
                raise

    async def close(self) -> None:
        async with self._starting:
            thread, self._thread = self._thread, None
            if thread is not None:
                await asyncio.to_thread(thread.close)
            ears, self._ears = self._ears, None
            if ears is not None:
                await asyncio.to_thread(ears.shutdown, cancel_futures=True)
            self._spoken = None

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

    def open(self, *, voice: str = "", language: str = "en") -> _CsmSpeech:
        if self._thread is None:
            raise EngineLoading("the speech engine has not been started")
        if language.partition("-")[0].lower() != "en":
            raise EngineError(f"CSM speaks English only, not {language!r}", permanent=True)
        name = voice or self._default_voice
        if name and name not in self._loaded_voices:
            known = ", ".join(self.voice_names) or "none: name a folder in the option `voices`"
            raise EngineError(f"CSM has no voice {name!r}; there is {known}", permanent=True)
        spoken = self._loaded_voices.get(name)
        call = self._thread.join(
            self._remembering(spoken), gain=spoken.gain if spoken is not None else 1.0, loop=asyncio.get_running_loop()
        )
        return _CsmSpeech(
            self._thread, call, self._tokenize, self._options.stall_timeout, self._hear if self.hears_caller else None
        )

    def _voices_in_words(self) -> str:
        """With a digest of how they sound: whoever keeps speech learns that it is another one now."""
        voices = (
            f"{name} {sha256(voice.codes.tobytes()).hexdigest()[:6]}" for name, voice in self._loaded_voices.items()
        )
        return f", voices {', '.join(voices)}" if self._loaded_voices else ""

    @property
    def voice_names(self) -> list[str]:
        """Known once it has started."""
        return sorted(self._loaded_voices)

    @property
    def broken(self) -> str:
        thread = self._thread
        if thread is None:
            return ""
        if not thread.alive:
            return "the speech engine has stopped; its log says why"
        return "the speech engine waits for a GPU that does not answer" if thread.hangs else ""

    @property
    def counts(self) -> dict[str, int]:
        """What the guards found and how clauses ended, since the start."""
        return dict(self._thread.counts) if self._thread is not None else {}

    def _load(self) -> CsmThread:
        """On a thread: seconds from a disk, minutes with ``compiled``."""
        try:
            return self._loaded()
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

    def _loaded(self) -> CsmThread:
        import torch

        from inference.csm.checkpoint import load_checkpoint
        from inference.csm.engine import CsmThread
        from inference.csm.model import CsmModel, Steps
        from inference.csm.scheduler import Scheduler

        options = self._options
        has_cuda = torch.cuda.is_available()
        device = torch.device(("cuda" if has_cuda else "cpu") if options.device == "auto" else options.device)
        if device.type not in PREFILL or options.dtype not in DTYPES:
            raise EngineError(
                f"CSM runs on cuda or cpu with dtype {', '.join(DTYPES)}, not on {options.device} with {options.dtype}",
                permanent=True,
            )
        cuda = device.type == "cuda"
        if cuda and not has_cuda:
            raise EngineError("CSM is to run on CUDA, and torch finds no GPU: is the driver installed?", permanent=True)
        dtype = getattr(torch, options.dtype if options.dtype != "auto" else "bfloat16" if cuda else "float32")
        checkpoint = load_checkpoint(options.model, local_files_only=options.local_files_only)
        config, codec = checkpoint.model.config, checkpoint.model.codec_model
        self._spoken = _Spoken(config, checkpoint.tokenizer, codec)
        if options.positions > config.max_position_embeddings:
            raise EngineError(f"{options.model} has {config.max_position_embeddings} positions at most", permanent=True)
        self._load_voices(codec, f"{options.model} {config.codec_config.to_json_string()}")
        buckets = [*(2**n for n in range(options.slots.bit_length()) if 2**n < options.slots), options.slots]

        def make() -> tuple[CsmModel, Steps]:
            model = CsmModel(
                checkpoint.model, rows=options.slots, positions=options.positions, device=device, dtype=dtype
            )
            graphs = cuda if options.graphs is None else options.graphs
            return model, Steps(model, buckets=buckets, chunks=CHUNKS, graphs=graphs, compiled=options.compiled)

        scheduler = Scheduler(
            options.slots,
            buckets=buckets,
            lead=options.lead,
            prefill_tokens=PREFILL[device.type],
            max_load=options.max_load,
        )
        thread = CsmThread(
            make, scheduler, tokenize=self._tokenize, temperature=options.temperature, top_k=options.top_k
        )
        thread.start()
        return thread

    def _load_voices(self, codec: Any, fingerprint: str) -> None:
        from inference.csm.mimi import encode
        from inference.csm.voices import load_voice, voice_names

        if not self._options.voices and not self._default_voice:
            logger.warning("CSM has no voice: every call will hear another one (options `voices` and `voice`)")
            return
        folder = Path(self._options.voices) if self._options.voices else None

        def load(name: str) -> Voice:
            voice = load_voice(folder, name, lambda pcm: encode(codec, pcm), fingerprint=fingerprint)
            self._check_room(voice)
            return voice

        default = load(self._default_voice)
        assert folder is not None
        self._default_voice = default.name
        self._loaded_voices = {default.name: default}
        for name in [name for name in voice_names(folder) if name != default.name]:
            try:
                self._loaded_voices[name] = load(name)
            except EngineError as error:
                logger.error("A voice is left out: %s", error)  # nobody else's calls suffer from it

    def _check_room(self, voice: Voice) -> None:
        """A voice that leaves no room to speak is found out now, and not by a caller."""
        from inference.csm.guards import MOST_FRAMES

        taken = len(self._remembering(voice))
        if taken + MOST_FRAMES + MOST_CLAUSE > self._options.positions:
            raise EngineError(
                f"The voice {voice.name!r} takes {taken} of {self._options.positions} positions, "
                "which leaves too little to speak: make it shorter, or set more `positions`",
                permanent=True,
            )

    def _remembering(self, voice: Voice | None) -> Context:
        """What a call in this voice begins with."""
        from inference.csm.context import Context, Segment

        assert self._spoken is not None
        return Context(
            Segment(self._tokenize(voice.text), voice.codes) if voice is not None else None,
            codebooks=self._spoken.config.num_codebooks,
            positions=self._options.positions - 1,
            most_seconds=self._options.remember_seconds,
            keep_seconds=self._options.keep_seconds,
        )

    def _hear(self, call: Call, text: str, pcm: Pcm, rate_hz: int, before: int) -> None:
        """Have the caller's sound encoded and remembered; what cannot be done in time is left out."""
        thread, spoken = self._thread, self._spoken
        if thread is None or spoken is None or not text.strip():
            return
        if self._ears is None:
            self._ears = ThreadPoolExecutor(1, thread_name_prefix="csm-ears")
        if not self._unheard.acquire(blocking=False):
            thread.counts["unheard"] += 1
            return
        pcm = pcm[-int(HEARD_SECONDS * rate_hz) :].copy()
        text = " ".join(text.split()[-int(MOST_WORDS_PER_SECOND * len(pcm) / rate_hz + 2) :])

        def hear() -> None:
            from inference.csm.context import Segment
            from inference.csm.mimi import MimiEncoder

            try:
                codes = listen(MimiEncoder(spoken.codec), resample(pcm, rate_hz, self.rate_hz) / np.float32(32768))
            except Exception:
                logger.exception("What a caller said could not be encoded")
                thread.counts["unheard"] += 1
            else:
                thread.remember(call, Segment(self._tokenize(text, CALLER), codes), before=before)

        self._ears.submit(hear).add_done_callback(lambda _: self._unheard.release())

    def _tokenize(self, text: str, speaker: int = AGENT) -> tuple[int, ...]:
        """The model's prompt for one segment: begin, the speaker's number, the text, end."""
        assert self._spoken is not None
        tokenizer, config = self._spoken.tokenizer, self._spoken.config
        # Text that looks like a marker is text.
        ids: list[int] = tokenizer.encode(f"[{speaker}]{text}", add_special_tokens=False, split_special_tokens=True)
        return (config.bos_token_id, *ids, tokenizer.convert_tokens_to_ids("<|end_of_text|>"))


class _CsmSpeech:
    def __init__(self, thread: CsmThread, call: Call, tokenize: Any, stall_timeout: float, hear: Any) -> None:
        self._thread = thread
        self._call = call
        self._tokenize = tokenize
        self._stall_timeout = stall_timeout
        self._hear = hear
        self._replies = 0
        self._speaking = 0
        self._spoke_at = -ANSWERED_WITHIN

    async def speak(self, text: AsyncIterator[str]) -> AsyncGenerator[AudioChunk, None]:
        from inference.csm.engine import Reply

        items: asyncio.Queue[SoundItem] = asyncio.Queue()
        if not self._thread.alive:
            raise EngineError("the speech engine has stopped")
        self._replies += 1
        self._speaking += 1
        reply = Reply(items.put_nowait, self._replies)
        self._thread.begin(self._call, reply)
        progress = _Progress()
        reading = asyncio.ensure_future(self._read(text, reply, progress, items))
        reading.add_done_callback(lambda task: task.cancelled() and items.put_nowait(EngineError("the text broke off")))
        try:
            while True:
                item = await self._next(items, progress)
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                progress.said = item.text_end
                yield item
        finally:
            self._speaking -= 1
            self._spoke_at = asyncio.get_running_loop().time()
            self._thread.cancel(self._call, reply)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _next(self, items: asyncio.Queue[SoundItem], progress: _Progress) -> SoundItem:
        """Waits for ever while there is no text to say, and never long for sound that is due."""
        while True:
            try:
                async with asyncio.timeout(self._stall_timeout):
                    return await items.get()
            except TimeoutError:
                if not items.empty():  # it was the loop that was held up
                    continue
                if progress.said < progress.given or progress.ended or not self._thread.alive:
                    self._thread.counts["stall"] += 1
                    raise EngineTimeout(f"no speech came for {self._stall_timeout:g} s") from None

    async def _read(self, text: AsyncIterator[str], reply: Reply, progress: _Progress, items: Any) -> None:
        from inference.csm.engine import Clause

        blank = ""  # said with what comes after it
        try:
            async for part in text:
                blank += part
                clauses = []
                for piece in pieces(blank):
                    clauses.append(Clause(piece, self._tokenize(piece.strip()), progress.given))
                    progress.given += len(piece)
                if clauses:
                    blank = ""
                    self._thread.say(self._call, reply, clauses)
            progress.ended = True
            self._thread.finish(self._call, reply)
        except Exception as error:  # whatever it is, it is for whoever listens
            items.put_nowait(error)

    def heard(self, samples: int) -> None:
        self._thread.heard(self._call, samples)

    def caller_said(self, text: str, pcm: Pcm, rate_hz: int) -> None:
        if self._hear is not None:
            now = asyncio.get_running_loop().time()
            answered = self._speaking or now - self._spoke_at < ANSWERED_WITHIN
            self._hear(self._call, text, pcm, rate_hz, self._replies + (not answered))

    async def close(self) -> None:
        self._thread.leave(self._call)


def _discard(loading: asyncio.Future[CsmThread]) -> None:
    if not loading.cancelled() and loading.exception() is None:
        threading.Thread(target=loading.result().close, name="csm-discard", daemon=True).start()


class _Progress:
    given = 0
    """Characters of text."""
    said = 0
    ended = False
    """There will be no more text."""


def pieces(text: str) -> list[str]:
    """The text in parts that are short enough to be spoken in one go; nothing is lost between them."""
    words = re.findall(r"\s*\S+\s*", text)
    return ["".join(words[start : start + MOST_WORDS]) for start in range(0, len(words), MOST_WORDS)]


def listen(encoder: Any, sound: Any) -> Any:
    """The codes of a whole turn, a second at a time: the work waits for nobody, and nobody waits long for it."""
    import torch

    pieces = [encoder.push(torch.from_numpy(sound[start : start + 24000])) for start in range(0, len(sound), 24000)]
    return torch.cat([*pieces, encoder.flush()]).numpy().astype(np.int16)
