"""
A caller who follows a script: speaks, listens, waits, talks over the agent, presses keys, hangs up.

The caller lives in the time of the stream, one frame after another, and never reads a clock. A script is a list of
steps; ``script.py`` reads one from text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from inference.mulaw import decode_mulaw, encode_mulaw
from media.phone.clips import Clip, ScriptError
from media.phone.frames import AUDIBLE, FRAME_BYTES, FRAME_SECONDS, QUIET_SECONDS, SILENT_FRAME
from media.phone.impairments import Noise, mix
from media.phone.party import Note

CallerVoice = Callable[[str], Awaitable[bytes]]
"""Turns text into mu-law speech at 8 kHz."""

LOUD_SAMPLES = 8
"""A frame is loud if this many of its 160 samples are audible: clicks have fewer, any voiced frame has more."""
KEY_FRAMES = 8
"""Frames from one key to the next: 160 ms, as quick as a person presses them."""
AGENT_TIMEOUT = 20.0
"""Seconds that a step waits for the agent before the caller goes on without it: longer than any reply should take."""
_QUIET_FRAMES = round(QUIET_SECONDS / FRAME_SECONDS)


# -- what a caller can do -------------------------------------------------------------------------

Sound = Clip | bytes | Path | str
"""A clip, mu-law audio, a WAV file, or text to be synthesised."""
Frames = Iterator[bytes | None]
"""One item per 20 ms: 160 bytes of voice (the last may be shorter), or None where the caller is silent."""


class Step(Protocol):
    """One thing that a caller does."""

    def frames(self, caller: ScriptedCaller) -> Frames:
        """Do it, one frame at a time. The iterator ends in the frame after the last one that the step takes."""


@dataclass(frozen=True, slots=True)
class Say:
    """Say something."""

    sound: Sound

    def frames(self, caller: ScriptedCaller) -> Frames:
        yield from caller.speak(_make_clip(self.sound), "say")
        caller.agent_has_spoken = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Stay silent for a time."""

    seconds: float

    def frames(self, caller: ScriptedCaller) -> Frames:
        for _ in range(round(self.seconds / FRAME_SECONDS)):
            yield None


@dataclass(frozen=True, slots=True)
class WaitForAgent:
    """Wait until the agent has begun to speak (``start``), or has spoken and been quiet for a time (``finish``)."""

    until: Literal["start", "finish"] = "finish"
    quiet: float = 0.8
    """Seconds without the agent's voice after which it has finished."""
    timeout: float = AGENT_TIMEOUT

    def frames(self, caller: ScriptedCaller) -> Frames:
        for _ in range(round(self.timeout / FRAME_SECONDS)):
            if caller.agent_has_spoken and (self.until == "start" or caller.agent.quiet >= self.quiet):
                return
            yield None
        caller.gave_up.append(self)


@dataclass(frozen=True, slots=True)
class TalkOver:
    """Speak once the agent has been speaking for ``after`` seconds."""

    sound: Sound
    after: float = 0.8
    backchannel: bool = False
    """Whether this is a murmur ("mm-hm") that is not meant to stop the agent. Only the measurements differ."""
    timeout: float = AGENT_TIMEOUT

    def frames(self, caller: ScriptedCaller) -> Frames:
        for _ in range(round(self.timeout / FRAME_SECONDS)):
            if caller.agent.speaking >= self.after and caller.agent.quiet == 0:
                break
            yield None
        else:
            caller.gave_up.append(self)
        yield from caller.speak(_make_clip(self.sound), "backchannel" if self.backchannel else "talk over")
        if not self.backchannel:
            caller.forget_agent()


@dataclass(frozen=True, slots=True)
class Press:
    """Press keys, one after another."""

    keys: str

    def frames(self, caller: ScriptedCaller) -> Frames:
        for key in self.keys:
            caller.key = key
            for _ in range(KEY_FRAMES):
                yield None


@dataclass(frozen=True, slots=True)
class HangUp:
    """Hang up."""

    def frames(self, caller: ScriptedCaller) -> Frames:
        caller.hung_up = True
        yield None


def _make_clip(sound: Sound) -> Clip:
    match sound:
        case Clip():
            return sound
        case bytes():
            return Clip.of(sound)
        case Path():
            return Clip.load(sound)
        case str():
            raise ScriptError(f"There is no voice to say {sound!r}; pass the steps and a voice to prepare() first.")


async def prepare(steps: Iterable[Step], voice: CallerVoice | None = None) -> list[Step]:
    """Synthesise every text and read every file of the steps before the call, so that nothing slow happens in it."""
    prepared: list[Step] = []
    for step in steps:
        match step:
            case Say(sound) | TalkOver(sound) if isinstance(sound, str):
                if voice is None:
                    raise ScriptError(f"There is no voice to say {sound!r}.")
                prepared.append(replace(step, sound=Clip.of(await voice(sound), name=sound)))
            case Say(sound) | TalkOver(sound):
                prepared.append(replace(step, sound=_make_clip(sound)))
            case _:
                prepared.append(step)
    return prepared


# -- the caller -----------------------------------------------------------------------------------


class SpeechMeter:
    """Hears frames and measures how long a voice has been speaking, and how long it has been quiet."""

    def __init__(self) -> None:
        self._speaking_frames = 0
        self._quiet_frames: float = float("inf")

    @property
    def speaking(self) -> float:
        """Seconds since the voice began, pauses below ``QUIET_SECONDS`` included; 0.0 once it has ended."""
        return self._speaking_frames * FRAME_SECONDS

    @property
    def quiet(self) -> float:
        """Seconds since the last loud frame; infinite before the first."""
        return self._quiet_frames * FRAME_SECONDS

    def hear(self, frame: bytes) -> None:
        """Hear the next frame."""
        if frame != SILENT_FRAME and frame.translate(AUDIBLE).count(1) >= LOUD_SAMPLES:
            self._quiet_frames = 0
            self._speaking_frames += 1
            return
        self._quiet_frames += 1
        goes_on = self._speaking_frames and self._quiet_frames < _QUIET_FRAMES
        self._speaking_frames = self._speaking_frames + 1 if goes_on else 0


@dataclass
class ScriptedCaller:
    """A ``Party`` that carries out steps and then stays on the line in silence."""

    steps: Sequence[Step]
    noise_db: float | None = None
    """Noise around the caller in dBFS."""
    echo_db: float | None = None
    """The level of the agent's voice as the telephone sends it back, relative to it (negative); None for no echo."""
    echo_delay: float = 0.06
    """Seconds by which the echo is late."""
    seed: int = 0
    """Of the noise."""
    hung_up: bool = field(default=False, init=False)
    """Whether the caller has hung up, which the network notices before the next frame."""
    done: bool = field(default=False, init=False)
    """Whether every step was carried out."""
    key: str | None = field(default=None, init=False)
    """The key that the caller presses, until the network takes it."""
    agent: SpeechMeter = field(default_factory=SpeechMeter, init=False)
    """Measures the agent's voice."""
    agent_has_spoken: bool = field(default=False, init=False)
    """Whether the agent has spoken since the caller last finished speaking."""
    gave_up: list[Step] = field(default_factory=list, init=False)
    """The steps that waited for the agent until their time-out."""
    heard: bytearray | None = field(default=None, init=False)
    """The sound that the caller hears, if this is set to ``bytearray()`` before the call."""

    def __post_init__(self) -> None:
        self._pending = deque(self.steps)  # the steps after the present one
        self._frames: Frames = iter(())  # the rest of the present step
        self.done = not self._pending
        self._ignore_agent = False  # while what the agent says does not count as a reply (`forget_agent`)
        self._notes: list[Note] = []  # of the present frame
        self._noise = None if self.noise_db is None else Noise(self.noise_db, seed=self.seed)
        self._echo = deque([SILENT_FRAME] * (round(self.echo_delay / FRAME_SECONDS) + 1))  # heard, to be sent back
        factor = 0.0 if self.echo_db is None else 10 ** (self.echo_db / 20)
        self._echo_table = encode_mulaw((decode_mulaw(bytes(range(256))) * factor).astype(np.int16))  # attenuates bytes

    # Party

    def next_frame(self) -> bytes:
        frame = self._next_step_frame() or SILENT_FRAME
        if self.echo_db is not None:
            echo = self._echo[0].translate(self._echo_table)
            frame = echo if frame is SILENT_FRAME else mix(frame, echo)
        return frame if self._noise is None else self._noise.add(frame)

    def hear(self, frame: bytes) -> None:
        self.agent.hear(frame)
        if self._ignore_agent:
            self._ignore_agent = self.agent.speaking > 0
        elif self.agent.speaking > 0:
            self.agent_has_spoken = True
        if self.echo_db is not None:
            self._echo.append(frame)
            self._echo.popleft()
        if self.heard is not None:
            self.heard += frame

    def next_key(self) -> str | None:
        key, self.key = self.key, None
        return key

    def take_notes(self) -> list[Note]:
        notes, self._notes = self._notes, []
        return notes

    # What steps and tests use

    def add(self, step: Step) -> None:
        """Add a step after all the others."""
        self._pending.append(step)
        self.done = False

    def forget_agent(self) -> None:
        """Do not count what the agent says now as a reply, only what it begins to say after a pause."""
        self.agent_has_spoken = False
        self._ignore_agent = self.agent.speaking > 0

    def speak(self, clip: Clip, kind: Literal["say", "talk over", "backchannel"]) -> Frames:
        """Say a clip frame by frame, and note its first and last loud samples."""
        for start in range(0, ceil(len(clip.audio) / FRAME_BYTES) * FRAME_BYTES, FRAME_BYTES):
            for event, at in (("caller_speech_start", clip.first_loud), ("caller_speech_end", clip.last_loud)):
                if start <= at < start + FRAME_BYTES:
                    self._notes.append(Note(event, at - start, {"clip": clip.name, "kind": kind}))
            yield clip.audio[start : start + FRAME_BYTES].ljust(FRAME_BYTES, SILENT_FRAME[:1])

    def _next_step_frame(self) -> bytes | None:
        while True:
            try:
                return next(self._frames)
            except StopIteration:
                if not self._pending:
                    self.done = True
                    return None
                self._frames = self._pending.popleft().frames(self)
