"""
Who lives on the simulated network: the last two digits of a number say who answers it.

    await assign_people(network, voice=voice)

They speak in the words of a front desk's callers, whom the laptop's recogniser understands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from media.audio import encode_mulaw
from media.phone.answering import Outcome
from media.phone.caller import HangUp, Press, Say, ScriptedCaller, Step, Voice, Wait, WaitForAgent, prepare
from media.phone.clips import Clip
from media.phone.frames import RATE_HZ
from media.phone.network import PhoneNetwork

VOICE = "en-us+adam"
"""Of eSpeak NG. Of all the voices on a laptop, its recogniser understands this one best."""
OPT_OUT_KEY = "9"
GREETING = "Hello. Nobody can come to the phone right now. Please leave a message after the tone."
LISTENS_FOR = 20.0
"""Seconds that a person waits for somebody to speak, and then goes on."""


def tone(*, seconds: float = 0.5, pitch_hz: float = 1000.0) -> Clip:
    """The beep of an answering machine, at -12 dBFS."""
    wave = 8192 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    return Clip.of(encode_mulaw(wave.astype(np.int16)), name="(beep)")


@dataclass(frozen=True, slots=True)
class Person:
    """
    Whoever answers the numbers with this ``ending``: by doing ``steps``, or not at all (``outcome``).

    ``name`` and ``does`` say so to the reader.
    """

    ending: str
    name: str
    does: str
    steps: tuple[Step, ...] = ()
    outcome: Outcome | None = None
    answered_by: str = "human"


_listens = WaitForAgent(timeout=LISTENS_FOR)
_GOODBYE: tuple[Step, ...] = (_listens, Wait(3.0), HangUp())

PEOPLE = (
    Person("01", "a busy line", "is busy", outcome=Outcome.busy()),
    Person("02", "nobody at home", "rings, and nobody answers", outcome=Outcome.no_answer()),
    Person("03", "no such number", "fails with SIP 404", outcome=Outcome.failed(404)),
    Person(
        "04",
        "an answering machine",
        "greets, beeps, records until five seconds of silence",
        (Wait(0.8), Say(GREETING), Wait(0.3), Say(tone()), WaitForAgent(quiet=5.0, timeout=30.0), HangUp()),
        answered_by="machine",
    ),
    Person(
        "05",
        "somebody who had enough",
        "listens, and asks to be taken off the list",
        (_listens, Say("Please take me off your list."), *_GOODBYE),
    ),
    Person("06", "somebody in a hurry", "answers, and hangs up at once", (Wait(0.3), HangUp())),
    Person(
        "07",
        "somebody who wants a person",
        "asks for one, and stays on the line to be put through",
        (_listens, Say("Can I talk to a person please?"), _listens, Wait(15.0), HangUp()),
    ),
    Person(
        "08",
        "somebody at the keypad",
        f"presses {OPT_OUT_KEY} while the agent speaks",
        (WaitForAgent("start", timeout=LISTENS_FOR), Wait(1.0), Press(OPT_OUT_KEY), *_GOODBYE),
    ),
    Person("09", "a silent line", "answers, says nothing, does not hang up"),
    Person(
        "",
        "somebody with questions",
        "asks for hours and prices, says goodbye, hangs up",
        (
            _listens,
            Say("What time do you open?"),
            _listens,
            Say("How much does it cost?"),
            _listens,
            Say("Thank you, goodbye."),
            *_GOODBYE,
        ),
    ),
)
"""The last is everybody else."""


def person_at(number: str) -> Person:
    return next(person for person in PEOPLE if number.endswith(person.ending))


async def assign_people(network: PhoneNetwork, *, voice: Voice, patience: float | None = None) -> None:
    """
    Give every number of the network its person, with a voice.

    A phone that nobody answers rings for ``patience`` seconds; by default for as long as whoever dialled wants to wait.
    """
    for person in PEOPLE:
        outcome = person.outcome
        if outcome == Outcome.no_answer():
            outcome = Outcome("no-answer", patience)
        steps = await prepare(person.steps, voice)
        network.on_dial(
            f"*{person.ending}",
            partial(ScriptedCaller, steps) if outcome is None else lambda outcome=outcome: outcome,
            answered_by=person.answered_by,
            beep_after=seconds_until_beep(steps) if person.answered_by == "machine" else None,
        )


def seconds_until_beep(steps: list[Step]) -> float:
    """From the answer to the end of the last thing that the machine says."""
    seconds = end = 0.0
    for step in steps:
        match step:
            case Wait(pause):
                seconds += pause
            case Say(Clip() as clip):
                seconds += clip.seconds
                end = seconds
    return end
