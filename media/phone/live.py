"""A person at this machine on the phone, with microphone and loudspeaker or with lines typed at the keyboard."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TextIO

import numpy as np

from inference.interfaces import TextToSpeech
from inference.mulaw import decode_mulaw, encode_mulaw
from inference.resampling import Resampler
from inference.types import has_language, main_language
from media.errors import MediaError
from media.phone.caller import CallerVoice, HangUp, Press, Say, ScriptedCaller, SpeechMeter
from media.phone.clips import Clip, to_mulaw
from media.phone.frames import FRAME_BYTES, RATE_HZ, SILENT_FRAME, first_audible, last_audible
from media.phone.party import Note

MAX_BUFFERED_BYTES = 10 * FRAME_BYTES
"""The clocks of the sound card and of the call drift apart. Audio beyond 200 ms is dropped rather than heard late."""
DEVICE_RATES_HZ = (RATE_HZ, 48_000, 44_100, 16_000)
"""Most sound systems convert to the telephone's rate; some drivers accept only one of the others."""


class SoundError(MediaError):
    """This machine cannot play or record. The message says what to do about it."""


def load_sound() -> Any:
    """Import the ``sounddevice`` module. Raises a ``SoundError`` that says what to install."""
    try:
        import sounddevice
    except ImportError as error:
        raise SoundError(
            "The sounddevice package is missing. Install it (pip install -r requirements/laptop.txt), "
            "or type with --type."
        ) from error
    except OSError as error:
        raise SoundError(
            "The PortAudio library is missing. Install it (Debian, Ubuntu: sudo apt install libportaudio2), "
            "or type with --type."
        ) from error
    return sounddevice


class LiveCaller:
    """
    A ``Party`` with the default microphone and loudspeaker. ``open`` it before the call and ``close`` it afterwards.

    PortAudio calls ``_record`` and ``_play`` from threads of its own. They share deques with the call, whose ends are
    safe to use from several threads.
    """

    def __init__(self, sound: Any | None = None) -> None:
        self._sound = load_sound() if sound is None else sound
        self._spoken: deque[bytes] = deque()  # mu-law from the microphone
        self._said = bytearray()  # the same on the call's side, to be cut into frames
        self._to_play: deque[bytes] = deque(maxlen=MAX_BUFFERED_BYTES // FRAME_BYTES)  # frames for the loudspeaker
        self._playing = bytearray()  # the same on the sound card's side, as PCM at its rate
        self._streams: list[Any] = []  # of the sound card
        self.keys: deque[str] = deque()
        """The keys that the person presses, one per frame."""
        self.hung_up = False
        """Set when the person hangs up, which the network notices before the next frame."""
        self._meter = SpeechMeter()  # measures the person's own voice, to find utterances for the tape
        self._utterances = 0  # found so far
        self._frames = 0  # said so far
        self._last_loud = 0  # index of the last audible sample, since the start of the call
        self._notes: list[Note] = []

    def open(self) -> None:
        """Start to record and play. Raises ``SoundError`` if the machine has no usable device."""
        try:
            self._open_stream(self._sound.RawInputStream, "microphone", self._record)
            self._open_stream(self._sound.RawOutputStream, "loudspeaker", self._play)
        except SoundError:
            self.close()
            raise

    def close(self) -> None:
        """Stop recording and playing."""
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    def _open_stream(self, kind: Any, name: str, transfer: Callable[[Any, Resampler], None]) -> None:
        problem: Exception | None = None
        for rate_hz in DEVICE_RATES_HZ:
            recording = name == "microphone"
            resampler = Resampler(rate_hz, RATE_HZ) if recording else Resampler(RATE_HZ, rate_hz)

            def callback(
                buffer: Any, frames: int, time: object, status: object, *, resampler: Resampler = resampler
            ) -> None:
                transfer(buffer, resampler)

            try:
                stream = kind(samplerate=rate_hz, blocksize=rate_hz // 50, channels=1, dtype="int16", callback=callback)
                stream.start()
            except self._sound.PortAudioError as error:
                problem = error
                continue
            self._streams.append(stream)
            return
        raise SoundError(
            f"No {name} can be used here ({problem}). Connect one and make it the system's default, "
            "or type with --type."
        ) from problem

    def _record(self, buffer: Any, resampler: Resampler) -> None:
        self._spoken.append(encode_mulaw(resampler.push(np.frombuffer(buffer, np.int16))))

    def _play(self, buffer: Any, resampler: Resampler) -> None:
        while len(self._playing) < len(buffer):
            frame = self._to_play.popleft() if self._to_play else SILENT_FRAME
            self._playing += resampler.push(decode_mulaw(frame)).tobytes()
        buffer[:] = self._playing[: len(buffer)]
        del self._playing[: len(buffer)]

    # Party

    def next_frame(self) -> bytes:
        while self._spoken:
            self._said += self._spoken.popleft()
        if len(self._said) > MAX_BUFFERED_BYTES:
            del self._said[:-FRAME_BYTES]
        if len(self._said) < FRAME_BYTES:
            frame = SILENT_FRAME
        else:
            frame = bytes(self._said[:FRAME_BYTES])
            del self._said[:FRAME_BYTES]
        self._note_speech(frame)
        return frame

    def hear(self, frame: bytes) -> None:
        self._to_play.append(frame)

    def next_key(self) -> str | None:
        return self.keys.popleft() if self.keys else None

    def take_notes(self) -> list[Note]:
        notes, self._notes = self._notes, []
        return notes

    def _note_speech(self, frame: bytes) -> None:
        was_speaking = self._meter.speaking > 0
        self._meter.hear(frame)
        start = self._frames * FRAME_BYTES
        self._frames += 1
        if self._meter.quiet == 0:
            self._last_loud = start + last_audible(frame)
            if not was_speaking:
                self._utterances += 1
                self._note("caller_speech_start", first_audible(frame))
        elif was_speaking and self._meter.speaking == 0:
            # The pause has shown only now that speech has ended, so the offset lies in the past.
            self._note("caller_speech_end", self._last_loud - start)

    def _note(self, event: str, offset: int) -> None:
        self._notes.append(Note(event, offset, {"clip": f"utterance {self._utterances}", "kind": "say"}))


async def read_lines(source: TextIO | None = None) -> AsyncIterator[str]:
    """Yield lines as they are typed, by default on standard input, without blocking the call. Ends with the input."""
    source = source or sys.stdin
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    # A read from a terminal cannot be cancelled. In a daemon thread it does not keep the program from ending.
    def read() -> None:
        line = "first"
        while line:
            line = source.readline()
            try:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            except RuntimeError:  # the call is over and its loop closed
                return

    threading.Thread(target=read, daemon=True).start()
    while line := await lines.get():
        yield line.strip()


async def speak_typed_lines(caller: ScriptedCaller, voice: CallerVoice, lines: AsyncIterator[str]) -> None:
    """
    Let the caller say the lines that are typed.

    A line that begins with ``/press`` presses keys. ``/hang up``, ``/bye``, ``/quit`` or the end of the input ends the
    call after what was typed before.
    """
    async for line in lines:
        match line.split():
            case []:
                continue
            case ["/press", *keys]:
                caller.add(Press("".join(keys)))
            case ["/hang", "up"] | ["/quit"] | ["/bye"]:
                break
            case _:
                caller.add(Say(Clip.of(await voice(line), name=line)))
    caller.add(HangUp())


async def press_typed_keys(caller: LiveCaller, lines: AsyncIterator[str]) -> None:
    """Let the caller press the keys that are typed. A line without any, or the end of the input, ends the call."""
    async for line in lines:
        keys = [key for key in line.upper() if key in "0123456789*#ABCD"]
        if not keys:
            break
        caller.keys.extend(keys)
    caller.hung_up = True


@asynccontextmanager
async def open_voice(engine: TextToSpeech, *, voice: str = "") -> AsyncIterator[CallerVoice]:
    """Start a synthesiser and make a caller's voice of it. ``voice`` may be that of another language: ``de+f3``."""

    async def say(text: str) -> bytes:
        async def once() -> AsyncIterator[str]:
            yield text

        own = main_language(voice.partition("+")[0])
        speech = engine.open(voice=voice, language=own if own and has_language(engine.languages, own) else "en")
        try:
            pcm = [chunk.pcm async for chunk in speech.speak(once())]
        finally:
            await speech.close()
        return to_mulaw(np.concatenate(pcm), engine.rate_hz) if pcm else b""

    await engine.start()
    try:
        yield say
    finally:
        await engine.close()
