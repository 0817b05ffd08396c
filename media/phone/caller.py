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

from media.audio import decode_mulaw, encode_mulaw
from media.phone.clips import Clip, ScriptError
from media.phone.frames import AUDIBLE, FRAME_BYTES, FRAME_SECONDS, QUIET_SECONDS, SILENT_FRAME
from media.phone.impairments import Noise, mix
from media.phone.party import Note

Voice = Callable[[str], Awaitable[bytes]]
"""Text to mu-law speech at 8 kHz."""

LOUD_SAMPLES = 8  # of the 160 in a frame: clicks have fewer, any voiced frame has more
KEY_FRAMES = 8  # from one key to the next: 160 ms, a quick finger
_QUIET_FRAMES = round(QUIET_SECONDS / FRAME_SECONDS)
_PATIENCE = 20.0


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
