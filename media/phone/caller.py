"""
A caller who follows a script: speaks, listens, waits, talks over the agent, presses keys, hangs up.

He lives in the stream's own time, one frame at a step, and never looks at a clock. A script is a list of steps, or text
with one step per line (``parse_script``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.resampling import resample
from media.audio import decode_mulaw, encode_mulaw
from media.errors import MediaError
from media.phone.impairments import Noise, mix
from media.phone.party import Note
from media.phone.tape import AUDIBLE, FRAME_BYTES, FRAME_SECONDS, QUIET_SECONDS, RATE_HZ, SILENT_FRAME

Voice = Callable[[str], Awaitable[bytes]]
"""Text to mu-law speech at 8 kHz."""

LOUD_SAMPLES = 8  # of the 160 in a frame: clicks have fewer, any voiced frame has more
KEY_FRAMES = 8  # from one key to the next: 160 ms, a quick finger
_LOUD_SHARE = 10 ** (-30 / 20)  # of a clip's peak: breath and room at the ends of a recording lie below it
_QUIET_FRAMES = round(QUIET_SECONDS / FRAME_SECONDS)
_PATIENCE = 20.0
_WAVE_FORMATS = {1: "PCM", 6: "A-law", 7: "mu-law"}


class ScriptError(MediaError):
    """A step that cannot be done: an unknown line, an unreadable recording, text without a voice."""


# -- what he says ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clip:
    """
    Something to say: mu-law at 8 kHz, with the places of its first and last loud sample.

    "Loud" is within 30 dB of the clip's peak and above line noise; both are 0 in a silent clip.
    """

    name: str
    audio: bytes
    first_loud: int
    last_loud: int

    @classmethod
    def of(cls, audio: bytes, *, name: str = "") -> Clip:
        """From mu-law audio."""
        level = np.abs(decode_mulaw(audio).astype(np.int32))
        threshold = max(256, int(level.max(initial=0) * _LOUD_SHARE))
        loud = np.flatnonzero(level >= threshold)
        first, last = (int(loud[0]), int(loud[-1])) if len(loud) else (0, 0)
        return cls(name or f"{len(audio) / RATE_HZ:.1f} s of sound", audio, first, last)

    @classmethod
    def load(cls, path: Path) -> Clip:
        """From a mono WAV file: 16-bit PCM or mu-law, at any rate."""
        return cls.of(read_wave(path), name=path.name)

    @property
    def seconds(self) -> float:
        return len(self.audio) / RATE_HZ


def read_wave(path: Path) -> bytes:
    """The sound of a mono WAV file (16-bit PCM or mu-law, any rate) as mu-law at 8 kHz."""
    try:
        encoding, channels, rate_hz, width, data = _read_riff(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ScriptError(f"cannot read {path}: {error}") from error
    if channels != 1 or (encoding, width) not in ((1, 2), (7, 1)):
        what = f"{channels} channel(s) of {8 * width}-bit {_WAVE_FORMATS.get(encoding, f'format {encoding}')}"
        raise ScriptError(f"{path} has {what}; mono, 16-bit PCM or mu-law is needed")
    if encoding == 7 and rate_hz == RATE_HZ:
        return data
    return to_mulaw(decode_mulaw(data) if encoding == 7 else np.frombuffer(data, "<i2").astype(np.int16), rate_hz)


def to_mulaw(pcm: NDArray[np.int16], rate_hz: int) -> bytes:
    """PCM at any rate as mu-law at 8 kHz."""
    return encode_mulaw(resample(pcm, rate_hz, RATE_HZ))


def _read_riff(content: bytes) -> tuple[int, int, int, int, bytes]:
    """Encoding, channels, rate, bytes per sample and data. The ``wave`` module refuses mu-law."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    header = None
    position = 12
    while position + 8 <= len(content):
        chunk, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        body = content[position + 8 : position + 8 + size]
        if chunk == b"fmt ":
            if len(body) < 16:
                raise ValueError("a truncated header")
            number = [int.from_bytes(body[at : at + 2], "little") for at in (0, 2, 14, 24)]
            encoding = number[3] if number[0] == 0xFFFE else number[0]  # the real one of WAVE_FORMAT_EXTENSIBLE
            header = encoding, number[1], int.from_bytes(body[4:8], "little"), number[2] // 8
        elif chunk == b"data" and header is not None:
            width = max(1, header[3])
            return *header, body[: len(body) // width * width]
        position += 8 + size + size % 2
    raise ValueError("a WAV file without sound")


# -- what he can do -------------------------------------------------------------------------------

Sound = Clip | bytes | Path | str
"""A clip, mu-law audio, a WAV file, or text to be synthesised."""
Frames = Iterator[bytes | None]
"""One item per 20 ms: 160 bytes of voice (the last may be shorter), or None where he is silent."""


class Step(Protocol):
    def frames(self, caller: ScriptedCaller) -> Frames:
        """Do it, one frame at a time; ends in the frame after the last that it takes."""


@dataclass(frozen=True, slots=True)
class Say:
    sound: Sound

    def frames(self, caller: ScriptedCaller) -> Frames:
        yield from caller.speak(_clip(self.sound), "say")
        caller.agent_has_spoken = False


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float

    def frames(self, caller: ScriptedCaller) -> Frames:
        for _ in range(round(self.seconds / FRAME_SECONDS)):
            yield None


@dataclass(frozen=True, slots=True)
class WaitForAgent:
    """Until the agent has begun to speak since the caller last did; or has, and been quiet for ``quiet`` seconds."""

    until: Literal["start", "finish"] = "finish"
    quiet: float = 0.8
    timeout: float = _PATIENCE

    def frames(self, caller: ScriptedCaller) -> Frames:
        for _ in range(round(self.timeout / FRAME_SECONDS)):
            if caller.agent_has_spoken and (self.until == "start" or caller.agent_quiet >= self.quiet):
                return
            yield None
        caller.gave_up.append(self)


@dataclass(frozen=True, slots=True)
class TalkOver:
    """
    Speak once the agent has been speaking for ``after`` seconds.

    A ``backchannel`` ("mm-hm") is not meant to stop the agent; it changes nothing but how the tape is measured.
    """

    sound: Sound
    after: float = 0.8
    backchannel: bool = False
    timeout: float = _PATIENCE

    def frames(self, caller: ScriptedCaller) -> Frames:
        for _ in range(round(self.timeout / FRAME_SECONDS)):
            if caller.agent_speaking >= self.after and caller.agent_quiet == 0:
                break
            yield None
        else:
            caller.gave_up.append(self)
        yield from caller.speak(_clip(self.sound), "backchannel" if self.backchannel else "talk over")
        if not self.backchannel:
            caller.forget_agent()


@dataclass(frozen=True, slots=True)
class Press:
    keys: str

    def frames(self, caller: ScriptedCaller) -> Frames:
        for key in self.keys:
            caller.press(key)
            for _ in range(KEY_FRAMES):
                yield None


@dataclass(frozen=True, slots=True)
class HangUp:
    def frames(self, caller: ScriptedCaller) -> Frames:
        caller.hang_up()
        yield None


def _clip(sound: Sound) -> Clip:
    match sound:
        case Clip():
            return sound
        case bytes():
            return Clip.of(sound)
        case Path():
            return Clip.load(sound)
        case str():
            raise ScriptError(f"nobody can say {sound!r} here: give the script to prepare() with a voice first")


async def prepare(steps: Iterable[Step], voice: Voice | None = None) -> list[Step]:
    """The steps with every text spoken and every file read, so that nothing slow is left for the call."""
    prepared: list[Step] = []
    for step in steps:
        match step:
            case Say(sound) | TalkOver(sound) if isinstance(sound, str):
                if voice is None:
                    raise ScriptError(f"no voice to say {sound!r} with")
                prepared.append(replace(step, sound=Clip.of(await voice(sound), name=sound)))
            case Say(sound) | TalkOver(sound):
                prepared.append(replace(step, sound=_clip(sound)))
            case _:
                prepared.append(step)
    return prepared


# -- the caller -----------------------------------------------------------------------------------


class Ear:
    """What is made of the frames heard: is somebody speaking, for how long, how long has it been quiet?"""

    def __init__(self) -> None:
        self._speaking = 0
        self._quiet: float = float("inf")

    @property
    def speaking(self) -> float:
        """Seconds since the voice began, with pauses shorter than ``QUIET_SECONDS`` inside; 0.0 once it has ended."""
        return self._speaking * FRAME_SECONDS

    @property
    def quiet(self) -> float:
        """Seconds since the last loud frame."""
        return self._quiet * FRAME_SECONDS

    def hear(self, frame: bytes) -> None:
        if frame != SILENT_FRAME and frame.translate(AUDIBLE).count(1) >= LOUD_SAMPLES:
            self._quiet = 0
            self._speaking += 1
            return
        self._quiet += 1
        self._speaking = self._speaking + 1 if self._speaking and self._quiet < _QUIET_FRAMES else 0


@dataclass
class ScriptedCaller:
    """
    A ``Party`` that carries out steps and then stays silently on the line.

    ``noise_db`` is the noise around him in dBFS; ``echo_db`` (negative) how loudly his telephone gives the agent's
    voice back, ``echo_delay`` seconds later. ``gave_up`` holds the waits that ran into their timeout.
    """

    steps: Sequence[Step]
    noise_db: float | None = None
    echo_db: float | None = None
    echo_delay: float = 0.06
    seed: int = 0
    agent_has_spoken: bool = field(default=False, init=False)
    """Since he last finished speaking himself."""
    gave_up: list[Step] = field(default_factory=list, init=False)
    heard: bytearray | None = field(default=None, init=False)
    """Set to ``bytearray()`` to keep what he hears."""

    def __post_init__(self) -> None:
        self._pending = deque(self.steps)
        self._frames: Frames = iter(())
        self._ear = Ear()
        self._ignore_agent = False
        self._key: str | None = None
        self._hung_up = False
        self._done = not self._pending
        self._notes: list[Note] = []
        self._noise = None if self.noise_db is None else Noise(self.noise_db, seed=self.seed)
        self._echo = deque([SILENT_FRAME] * (round(self.echo_delay / FRAME_SECONDS) + 1))
        factor = 0.0 if self.echo_db is None else 10 ** (self.echo_db / 20)
        self._echo_table = encode_mulaw((decode_mulaw(bytes(range(256))) * factor).astype(np.int16))

    # Party

    def connected(self) -> None:
        pass

    def next_frame(self) -> bytes:
        frame = self._step() or SILENT_FRAME
        if self.echo_db is not None:
            echo = self._echo[0].translate(self._echo_table)
            frame = echo if frame is SILENT_FRAME else mix(frame, echo)
        return frame if self._noise is None else self._noise.add(frame)

    def hear(self, frame: bytes) -> None:
        self._ear.hear(frame)
        if self._ignore_agent:
            self._ignore_agent = self._ear.speaking > 0
        elif self._ear.speaking > 0:
            self.agent_has_spoken = True
        if self.echo_db is not None:
            self._echo.append(frame)
            self._echo.popleft()
        if self.heard is not None:
            self.heard += frame

    def next_key(self) -> str | None:
        key, self._key = self._key, None
        return key

    @property
    def hung_up(self) -> bool:
        return self._hung_up

    def take_notes(self) -> list[Note]:
        notes, self._notes = self._notes, []
        return notes

    # for the steps, and for whoever directs him

    def add(self, step: Step) -> None:
        """One more thing to do, after all the others."""
        self._pending.append(step)
        self._done = False

    @property
    def done(self) -> bool:
        """Whether every step was carried out."""
        return self._done

    @property
    def agent_speaking(self) -> float:
        return self._ear.speaking

    @property
    def agent_quiet(self) -> float:
        return self._ear.quiet

    def forget_agent(self) -> None:
        """What the agent is just saying is no answer; only what it begins after a pause counts as spoken."""
        self.agent_has_spoken = False
        self._ignore_agent = self._ear.speaking > 0

    def press(self, key: str) -> None:
        self._key = key

    def hang_up(self) -> None:
        self._hung_up = True

    def speak(self, clip: Clip, kind: str) -> Frames:
        for start in range(0, ceil(len(clip.audio) / FRAME_BYTES) * FRAME_BYTES, FRAME_BYTES):
            for event, at in (("caller_speech_start", clip.first_loud), ("caller_speech_end", clip.last_loud)):
                if start <= at < start + FRAME_BYTES:
                    self._notes.append(Note(event, at - start, {"clip": clip.name, "kind": kind}))
            yield clip.audio[start : start + FRAME_BYTES].ljust(FRAME_BYTES, b"\xff")

    def _step(self) -> bytes | None:
        while True:
            try:
                return next(self._frames)
            except StopIteration:
                if not self._pending:
                    self._done = True
                    return None
                self._frames = self._pending.popleft().frames(self)


# -- scripts as text ------------------------------------------------------------------------------


def parse_script(text: str, *, folder: Path = Path()) -> list[Step]:
    """
    Steps from text, one on a line; empty lines and lines beginning with ``#`` are skipped.

        say Hello, is anyone there?
        play recordings/question.wav
        wait 1.5
        wait for agent                 until it has spoken and is quiet again
        wait for agent to start
        talk over 0.8 stop             once it has been speaking for 0.8 s
        talk over 1.2 play hush.wav
        murmur 1.0 mm-hm               the same, not meant to stop it
        press 12#
        hang up

    Relative file names are looked up in ``folder``. A line that makes no sense raises ``ScriptError``.
    """
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            steps.append(_parse_line(words, folder))
        except ValueError as error:
            raise ScriptError(f"line {number}: {line.strip()!r}: {error}") from error
    return steps


def _parse_line(words: list[str], folder: Path) -> Step:
    match words:
        case ["say", _, *_]:
            return Say(" ".join(words[1:]))
        case ["play", _, *_]:
            return Say(folder / " ".join(words[1:]))
        case ["wait", "for", "agent"] | ["wait", "for", "agent", "to", "finish"]:
            return WaitForAgent()
        case ["wait", "for", "agent", "to", "start"]:
            return WaitForAgent("start")
        case ["wait", seconds]:
            return Wait(_seconds(seconds))
        case ["talk", "over", seconds, _, *_]:
            return TalkOver(_sound(words[3:], folder), _seconds(seconds))
        case ["murmur", seconds, _, *_]:
            return TalkOver(_sound(words[2:], folder), _seconds(seconds), backchannel=True)
        case ["press", keys]:
            if set(keys) - set("0123456789*#ABCD"):
                raise ValueError("keys are 0 to 9, * and #")
            return Press(keys)
        case ["hang", "up"]:
            return HangUp()
        case _:
            raise ValueError("say, play, wait, wait for agent, talk over, murmur, press or hang up?")


def _sound(words: list[str], folder: Path) -> Sound:
    return folder / " ".join(words[1:]) if words[0] == "play" and len(words) > 1 else " ".join(words)


def _seconds(word: str) -> float:
    seconds = float(word)
    if not 0 <= seconds < float("inf"):
        raise ValueError("a number of seconds, please")
    return seconds
