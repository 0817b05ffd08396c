"""
Speaks with Pocket TTS by Kyutai: 100 million parameters, which stream on a processor.

The package ``pocket-tts`` runs in worker processes (``pocket_tts_worker.py``), one for each clause that is spoken at
the same time. Its weights come from a hub at the first start, or from local files that a configuration names.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from inference.engines import pocket_tts_worker as worker
from inference.options import PATH
from inference.types import Description, EngineError, EngineTimeout, Languages
from inference.voices.clause import SpokenUntil
from inference.voices.loudness import gain_for, limit_and_quantise
from inference.voices.speech import LocalTextToSpeech, Sink, whole_sound
from inference.voices.turns import Steps

RATE_HZ = 24_000
MEMORY_BYTES = 1_000_000_000
"""An estimate for each worker: the weights in float32, PyTorch and its buffers."""
CHARACTERS_PER_SECOND = 14.0
"""How fast the voice is taken to speak: the package gives no times of words."""
SAMPLE = "One, two, three, four, five, six, seven."
"""The loudness of a voice is measured with this text."""

_LANGUAGES = {
    **{"english": "en", "french": "fr", "german": "de", "italian": "it"},
    **{"portuguese": "pt", "spanish": "es", "dutch": "nl"},
}
"""The languages of the package, and their codes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PocketOptions:
    language: str = "english"
    """The model's language, as the package calls it: ``english``, ``french``, ``german_24l`` ..."""

    config: str = field(default="", metadata=PATH)
    """A YAML file of the package with the paths of local weights, for a machine without network. It replaces the
    package's own for the language."""

    voice: str = field(default="alba", metadata=PATH)
    """The voice of agents that name none: a voice of the package, a key of ``voices``, or a file as there."""

    voices: Mapping[str, str] = field(default_factory=dict, metadata=PATH)
    """More voices, by the names that agents use: voices of the package, or files (``.safetensors`` or a recording of a
    person who agreed to it)."""

    temperature: float | None = None
    """How much the speech varies by chance; 0 makes every reading the same. None: as the model recommends."""

    quantize: bool = False
    """Whether the model computes with 8-bit weights, which the package says is faster by a quarter."""

    slots: int = 1
    """Clauses that are spoken at the same time, each by a process with a model of its own."""

    stall_timeout: float = 10.0
    """Seconds without any sound after which a process that speaks counts as hung, and is replaced."""

    def __post_init__(self) -> None:
        if self.language.partition("_")[0] not in _LANGUAGES:
            raise EngineError(
                f"Pocket TTS does not speak {self.language!r}; it speaks {', '.join(_LANGUAGES)}", permanent=True
            )
        if self.slots < 1:
            raise EngineError(f"slots of Pocket TTS is {self.slots}; use at least 1", permanent=True)
        if self.stall_timeout <= 0:
            raise EngineError("stall_timeout of Pocket TTS must be more than 0 s", permanent=True)


class PocketProcess:
    """One worker process. It is used by one thread at a time; ``close`` may be called on any."""

    def __init__(self, options: str) -> None:
        """Start it. It speaks once ``wait_until_loaded`` has returned."""
        # With -P the package is found and not the module of the same name beside the script.
        command = [sys.executable, "-P", str(Path(worker.__file__)), options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._number = 0
        self._ended = False
        """It has answered no more. Its exit status may come a moment later."""

    def wait_until_loaded(self) -> None:
        """Wait for the model, which may be downloaded first; ``close`` ends the wait. Raises ``EngineError``."""
        kind, payload = self._read()
        if kind == worker.FAILED:
            reason = json.loads(payload)
            install = " Install it: pip install -r requirements/pocket.txt" if "No module named" in reason else ""
            raise EngineError(f"Pocket TTS does not start: {reason}.{install}", permanent=True)
        if (rate_hz := json.loads(payload)["rate_hz"]) != RATE_HZ:
            raise EngineError(f"this model of Pocket TTS speaks at {rate_hz} Hz, not {RATE_HZ} Hz", permanent=True)

    @property
    def is_alive(self) -> bool:
        return not self._ended and self._process.poll() is None

    def say(self, text: str, voice: str, sink: Sink, gain: float, *, patience: float) -> None:
        """
        Pass the sound of a clause to the sink; its end, or that of the worker, ends it. Raises ``EngineError``.

        A worker that sends nothing for ``patience`` seconds is ended.
        """
        self._number += 1
        self._write({"number": self._number, "text": text, "voice": voice})
        timing, stopped = _estimate(text), False
        while True:
            kind, payload = self._read(patience)
            if kind == worker.DONE:
                return
            if kind == worker.FAILED:
                raise EngineError(f"Pocket TTS failed: {json.loads(payload)}")
            if not stopped and sink(limit_and_quantise(np.frombuffer(payload, "<f4"), gain), timing):
                stopped = True
                self._write({"stop": self._number})
            timing = []

    def close(self) -> None:
        """End the process and wait for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was not written any more does not matter

    def _write(self, request: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            self._ended = True
            raise EngineError(f"the process of Pocket TTS has ended: {error}") from error

    def _read(self, patience: float | None = None) -> tuple[bytes, bytes]:
        """Return the next message. ``patience``: seconds; without it, wait as long as it takes."""
        reason = ""
        try:
            kind, size = worker.HEADER.unpack(self._receive(worker.HEADER.size, patience))
            return kind, self._receive(size, patience)
        except EOFError:
            pass
        except TimeoutError:
            self._ended = True
            self._process.kill()
            raise EngineTimeout(f"Pocket TTS sent nothing for {patience:g} s; its process is replaced") from None
        except (OSError, ValueError) as error:  # closed in the meantime
            reason = f": {error}"
        self._ended = True
        raise EngineError(f"the process of Pocket TTS has ended{reason}")

    def _receive(self, size: int, patience: float | None) -> bytes:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        received = bytearray()
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        while len(received) < size:
            if not waiting.poll(None if patience is None else 1000 * patience):
                raise TimeoutError
            if not (piece := os.read(pipe, size - len(received))):
                raise EOFError
            received += piece
        return bytes(received)


def _estimate(text: str) -> list[SpokenUntil]:
    """When each word has been spoken, at an even pace."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    return [SpokenUntil(int(end / CHARACTERS_PER_SECOND * RATE_HZ), end) for end in ends]


@dataclass(slots=True, eq=False)
class _PocketVoice:
    """A voice of the engine; implements ``LocalVoice``."""

    engine: PocketTextToSpeech
    name: str
    gain: float = 1.0
    rate_hz: int = RATE_HZ
    exact: bool = False

    def synthesise(self, text: str, sink: Sink) -> Steps:
        self.engine.say(text, self.name, sink, self.gain)
        yield from ()  # in one step: the model goes on by itself


class PocketTextToSpeech(LocalTextToSpeech):
    """Speaks in one language with the voices that were loaded at the start."""

    name: ClassVar[str] = "Pocket TTS"
    rate_hz = RATE_HZ
    options_class: ClassVar[type[PocketOptions]] = PocketOptions

    def __init__(self, options: PocketOptions) -> None:
        super().__init__(threads=options.slots)
        self._options = options
        self._voices: dict[str, _PocketVoice] = {}
        self._free: queue.SimpleQueue[PocketProcess | None] = queue.SimpleQueue()
        """The workers that speak nothing; None for one that has to be started."""
        self._all: set[PocketProcess] = set()
        self._lock = threading.Lock()
        self._open = False
        """Whether workers may be started."""

    @property
    def languages(self) -> Languages:
        return frozenset((_LANGUAGES[self._options.language.partition("_")[0]],))

    def describe(self) -> Description:
        options = self._options
        weights = f"as {options.config} says" if options.config else f"kyutai/pocket-tts, {options.language}"
        return Description(weights, MEMORY_BYTES * options.slots, capacity=options.slots)

    async def close(self) -> None:
        await super().close()
        with self._lock:
            self._open = False
            processes, self._all = self._all, set()
        for process in processes:
            await asyncio.to_thread(process.close)
        self._free = queue.SimpleQueue()

    def say(self, text: str, voice: str, sink: Sink, gain: float) -> None:
        """Say a clause with a free worker. There is one for each thread."""
        free = self._free
        process = free.get()
        try:
            if process is None or not process.is_alive:
                process = self._start_process()
            process.say(text, voice, sink, gain, patience=self._options.stall_timeout)
        except BaseException:
            if process is not None and not process.is_alive:
                self._forget(process)
                process = None
            raise
        finally:
            free.put(process)

    def _load(self) -> None:
        options = self._options
        with self._lock:
            self._open = True
        try:
            for _ in range(options.slots):
                self._free.put(self._start_process())
            for name in ("", *options.voices):
                self._voices[name] = voice = _PocketVoice(self, name)
                voice.gain = gain_for(whole_sound(voice, SAMPLE), RATE_HZ)
        except BaseException:
            with self._lock:
                processes, self._all = self._all, set()
            for process in processes:
                process.close()
            self._free = queue.SimpleQueue()
            raise

    def _start_process(self) -> PocketProcess:
        options = self._options
        usual = options.voices.get(options.voice, options.voice)
        process = PocketProcess(
            json.dumps(
                {
                    "language": options.language,
                    "config": options.config,
                    "temperature": options.temperature,
                    "quantize": options.quantize,
                    "voices": {"": usual, **options.voices},
                }
            )
        )
        with self._lock:
            is_open = self._open
            if is_open:
                self._all.add(process)  # from now on ``close`` ends it, also while it loads
        if not is_open:
            process.close()
            raise EngineError("the speech engine is closed")
        try:
            process.wait_until_loaded()
        except BaseException:
            self._forget(process)
            raise
        return process

    def _forget(self, process: PocketProcess) -> None:
        with self._lock:
            self._all.discard(process)
        process.close()

    def _find(self, voice: str, language: str) -> _PocketVoice:
        name = "" if voice == self._options.voice else voice
        if name not in self._voices:
            names = ", ".join({self._options.voice: None, **dict.fromkeys(self._options.voices)})
            raise EngineError(f"Pocket TTS has no voice {voice!r}; it has {names}", permanent=True)
        return self._voices[name]
