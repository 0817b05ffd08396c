"""
What callers say in ``tests.benchmarks.turns``, what is heard around them, and what their line does to it.

The lines are those that issue reports and tau2-bench (``src/tau2/voice_config.py``) name: televisions and people behind
the caller, the agent's echo, music, children, lost frames, muffled voices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from inference.mulaw import encode_mulaw
from media.phone.caller import Say, ScriptedCaller, Step, TalkOver, Wait, WaitForAgent
from media.phone.clips import Clip
from media.phone.frames import FRAME_BYTES, FRAME_SECONDS, SILENT_FRAME
from media.phone.impairments import Impairments, mix
from tests.benchmarks.turn_sounds import (
    ACTIVE_DBFS,
    at_level,
    band,
    cafe,
    cough,
    crying,
    hold_music,
    people,
    television,
    voice_ends,
    without_ends,
)
from tests.sounds import RATE_HZ, Sound, active_level, read

ASKS = (
    "google-samples__brooklyn",
    "azure-samples__whatstheweatherlike-mulaw",
    "google-samples__book_a_room",
    "google-samples__two_people",
    "google-samples__half_an_hour",
    "google-samples__mountain_view",
    "google-samples__230pm",
    "pocketsphinx__goforward",
    "pocketsphinx__cards_002",
    "pocketsphinx__sense_and_sensibility_01_austen_64kb-0930",
    "mfa__mfa_theother",
)
"""Recordings that are whole turns."""
INTERRUPTIONS = ASKS[:5]
BACKCHANNELS = (
    ("google-samples__commercial_mono", 18.36, 19.20),  # okay, great
    ("google-samples__commercial_mono", 28.82, 29.50),  # okay, sure
    ("google-samples__commercial_mono", 40.46, 41.12),  # thank you
    ("mfa__cold_corpus3", 5.36, 5.90),  # okay
    ("mfa__cold_corpus3", 18.28, 18.72),  # yeah
)
"""Recordings and the seconds that are cut from them."""
ASIDE = "google-samples__commercial_mono"
"""What the caller says to somebody else, turned away from the telephone."""
ASIDE_DB = -20.0
"""Its level, relative to the caller's words to the agent."""
PROGRAMME = (
    "pocketsphinx__sense_and_sensibility_01_austen_64kb-0870",
    "pocketsphinx__sense_and_sensibility_01_austen_64kb-0890",
    "mfa__acoustic_corpus",
    "mfa__cold_corpus3",
    "google-samples__commercial_mono",
)
"""The voices of a television, of people behind the caller and of a cafe."""
REPLIES = (
    "We are open from nine in the morning until six in the evening, and on Saturdays until two. There is parking "
    "behind the house, and the bus stops right at the door.",
    "That is no problem at all. We have a quiet room with a view of the garden, and breakfast is served from seven.",
    "It takes about twenty minutes from the station. Follow the river to the old bridge, and then turn left.",
)


@dataclass(frozen=True)
class Scene:
    """What is heard around the callers, and what their line does to them."""

    gain_db: float = 0.0
    """Of the callers."""
    around: str = ""
    """The sound around them, a key of ``Sounds.around``."""
    around_db: float = 0.0
    """Its level relative to that of a caller at 0 dB."""
    echo_db: float | None = None
    """The level of the agent's voice that comes back."""
    echo_delay: float = 0.06
    """Seconds after which it does."""
    loss: float = 0.0
    """The share of the frames that never arrive."""
    dropped: tuple[int, int] = (0, 0)
    """So many frames in every so many are replaced by silence."""
    band_hz: tuple[float, float] | None = None
    """The band of the callers' voices; None for that of the recording."""

    @property
    def impairments(self) -> Impairments:
        return Impairments(loss=self.loss)


SCENES = {
    "clean": Scene(),
    "20 dB softer": Scene(gain_db=-20.0),
    "television, 32 dB below": Scene(around="television", around_db=-32.0),
    "television, 26 dB below": Scene(around="television", around_db=-26.0),
    "television, 20 dB below": Scene(around="television", around_db=-20.0),
    "people, 15 dB below": Scene(around="people", around_db=-15.0),
    "cafe, 10 dB below": Scene(around="cafe", around_db=-10.0),
    "hold music, 20 dB below": Scene(around="music", around_db=-20.0),
    "crying child, 20 dB below": Scene(around="crying", around_db=-20.0),
    "echo, -30 dB after 60 ms": Scene(echo_db=-30.0),
    "echo, -30 dB after 250 ms": Scene(echo_db=-30.0, echo_delay=0.25),
    "echo, -20 dB after 60 ms": Scene(echo_db=-20.0),
    "echo, -20 dB after 250 ms": Scene(echo_db=-20.0, echo_delay=0.25),
    "1 % of the frames lost": Scene(loss=0.01),
    "3 % of the frames lost": Scene(loss=0.03),
    "60 ms dropped twice a second": Scene(dropped=(3, 25)),
    "muffled, up to 1 kHz": Scene(band_hz=(0.0, 1000.0)),
    "telephone band": Scene(band_hz=(300.0, 3400.0)),
}


# -- the callers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sounds:
    """Everything that is played."""

    asks: list[Sound]
    interruptions: list[Sound]
    backchannels: list[Sound]
    coughs: list[Sound]
    asides: list[Sound]
    around: dict[str, Sound]


def make_sounds(folder: Path, seconds: float) -> Sounds:
    def speech(name: str, begin: float = 0.0, end: float = 60.0) -> Sound:
        whole = read(folder / f"{name}.wav").astype(np.float64)
        return at_level(whole[int(begin * RATE_HZ) : int(end * RATE_HZ)], ACTIVE_DBFS)

    programme = [speech(name) for name in PROGRAMME]
    return Sounds(
        asks=[without_ends(speech(name)) for name in ASKS],
        interruptions=[without_ends(speech(name)) for name in INTERRUPTIONS],
        backchannels=[speech(*cut) for cut in BACKCHANNELS],
        coughs=[cough(seed) for seed in range(3)],
        asides=[at_level(speech(ASIDE, begin, begin + 1.5), ACTIVE_DBFS + ASIDE_DB) for begin in (8.0, 21.0, 33.0)],
        around={
            "television": television(programme, seconds, 1),
            "people": people(programme, seconds, 4),
            "cafe": cafe(programme, seconds, 2),
            "music": hold_music(seconds),
            "crying": crying(seconds, 3),
        },
    )


def script(sounds: Sounds, scene: Scene, number: int) -> Iterator[Step]:
    """An endless conversation in which each kind of overlap comes every fifth turn."""

    def clip(sound: Sound, name: str) -> Clip:
        first, last = voice_ends(sound)
        if scene.band_hz is not None:
            sound = at_level(band(sound, *scene.band_hz), 20 * np.log10(active_level(sound) / 32768))
        return Clip(name, _mulaw(sound * 10 ** (scene.gain_db / 20)), first, last)

    yield WaitForAgent()
    yield Wait(0.4 + 0.37 * number)
    for turn in count(number):
        yield Say(clip(sounds.asks[turn % len(sounds.asks)], "ask"))
        yield WaitForAgent("start", timeout=6.0)
        after = 1.0 + 0.2 * (turn % 4)
        match turn % 5:
            case 0:
                sound = sounds.backchannels[turn // 5 % len(sounds.backchannels)]
                yield TalkOver(clip(sound, "backchannel"), after=after, backchannel=True, timeout=6.0)
            case 1:
                sound = sounds.interruptions[turn // 5 % len(sounds.interruptions)]
                yield TalkOver(clip(sound, "interruption"), after=after, timeout=6.0)
            case 2:
                sound = sounds.coughs[turn // 5 % len(sounds.coughs)]
                yield TalkOver(clip(sound, "tic"), after=after, backchannel=True, timeout=6.0)
            case 3:
                sound = sounds.asides[turn // 5 % len(sounds.asides)]
                yield TalkOver(clip(sound, "aside"), after=after, backchannel=True, timeout=6.0)
        yield WaitForAgent(quiet=1.2, timeout=15.0)
        yield Wait(0.3)


class CallerSomewhere(ScriptedCaller):
    """A caller with a sound around them."""

    def __init__(
        self, steps: Sequence[Step], scene: Scene, around: bytes, number: int, *, seconds: float = float("inf")
    ) -> None:
        super().__init__(steps, echo_db=scene.echo_db, echo_delay=scene.echo_delay)
        self._around = around
        self._at = 101 * number * FRAME_BYTES
        self._frames_left = seconds / FRAME_SECONDS
        self._dropped, self._every = scene.dropped
        self._frame = 0

    def next_frame(self) -> bytes:
        frame = super().next_frame()
        self._frame += 1
        self.hung_up = self.hung_up or self._frame >= self._frames_left
        if self._around:
            self._at = (self._at + FRAME_BYTES) % len(self._around)
            frame = mix(frame, self._around[self._at : self._at + FRAME_BYTES])
        return SILENT_FRAME if self._dropped and self._frame % self._every < self._dropped else frame


def make_callers(sounds: Sounds, scene: Scene, calls: int, *, seconds: float = float("inf")) -> list[CallerSomewhere]:
    """So many callers, each with a script of their own. They hang up after so many seconds, or never."""
    around = sounds.around.get(scene.around)
    background = b"" if around is None else _mulaw(around * 10 ** (scene.around_db / 20))
    background = background[: len(background) // FRAME_BYTES * FRAME_BYTES]
    return [
        CallerSomewhere([*islice(script(sounds, scene, number), 200)], scene, background, number, seconds=seconds)
        for number in range(calls)
    ]


def _mulaw(sound: Sound) -> bytes:
    return encode_mulaw(sound.clip(-32768, 32767).astype(np.int16))
