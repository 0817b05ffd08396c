"""
The people on the simulated network: the last two digits of a number say who answers it.

    await assign_people(network, voice=voice)

They use words of a front desk's callers, which the recogniser of the ``laptop`` profile understands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from inference.mulaw import encode_mulaw
from media.phone.answering import Outcome
from media.phone.caller import CallerVoice, HangUp, Press, Say, ScriptedCaller, Step, Wait, WaitForAgent, prepare
from media.phone.clips import Clip
from media.phone.frames import RATE_HZ
from media.phone.network import PhoneNetwork
from media.phone.party import Party

VOICE = "en-us+adam"
"""A voice of eSpeak NG. The recogniser of the ``laptop`` profile understands it best of all that were tried."""
OPT_OUT_KEY = "9"
GREETING = "Hello. Nobody can come to the phone right now. Please leave a message after the tone."
LISTEN_SECONDS = 20.0
"""Seconds that a person waits for the agent to speak before they go on: longer than any reply should take."""


def tone(*, seconds: float = 0.5, pitch_hz: float = 1000.0) -> Clip:
    """Make the beep of an answering machine, at -12 dBFS."""
    wave = 8192 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    return Clip.of(encode_mulaw(wave.astype(np.int16)), name="(beep)")


@dataclass(frozen=True, slots=True)
class Person:
    """The person who answers the numbers with one ending."""

    ending: str
    """The last two digits; empty for all other numbers."""
    name: str
    """A short description, in the output of ``manage.py network``."""
    behaviour: str
    """Their behaviour, in the output of ``manage.py network --people``."""
    steps: tuple[Step, ...] = ()
    """Their behaviour on the line."""
    outcome: Outcome | None = None
    """Why the call is not answered; None if it is."""
    answered_by: str = "human"
    """The finding of machine detection (``Answerer.answered_by``)."""


_LISTEN = WaitForAgent(timeout=LISTEN_SECONDS)
_GOODBYE: tuple[Step, ...] = (_LISTEN, Wait(3.0), HangUp())

PEOPLE = (
    Person("01", "a busy line", "is busy", outcome=Outcome.busy()),
    Person("02", "nobody at home", "rings, and nobody answers", outcome=Outcome.no_answer()),
    Person("03", "no such number", "fails with SIP 404", outcome=Outcome.failed(404)),
    Person(
        "04",
        "an answering machine",
        "greets, beeps, and records until five seconds of silence",
        (Wait(0.8), Say(GREETING), Wait(0.3), Say(tone()), WaitForAgent(quiet=5.0, timeout=30.0), HangUp()),
        answered_by="machine",
    ),
    Person(
        "05",
        "a person who opts out",
        "listens, then asks to be taken off the list",
        (_LISTEN, Say("Please take me off your list."), *_GOODBYE),
    ),
    Person("06", "a person in a hurry", "answers, and hangs up at once", (Wait(0.3), HangUp())),
    Person(
        "07",
        "a person who wants a human",
        "asks for one, and stays on the line to be transferred",
        (_LISTEN, Say("Can I talk to a person please?"), _LISTEN, Wait(15.0), HangUp()),
    ),
    Person(
        "08",
        "a person at the keypad",
        f"presses {OPT_OUT_KEY} while the agent speaks",
        (WaitForAgent("start", timeout=LISTEN_SECONDS), Wait(1.0), Press(OPT_OUT_KEY), *_GOODBYE),
    ),
    Person("09", "a silent line", "answers, says nothing, and does not hang up"),
    Person(
        "",
        "a person with questions",
        "asks for opening hours and prices, says goodbye, hangs up",
        (
            _LISTEN,
            Say("What time do you open?"),
            _LISTEN,
            Say("How much does it cost?"),
            _LISTEN,
            Say("Thank you, goodbye."),
            *_GOODBYE,
        ),
    ),
)
"""The last one answers all numbers that end in none of the others."""


def person_at(number: str) -> Person:
    """Return the person who answers this number."""
    return next(person for person in PEOPLE if number.endswith(person.ending))


async def assign_people(network: PhoneNetwork, *, voice: CallerVoice, patience: float | None = None) -> None:
    """
    Give every number of the network its person, who speaks with this voice.

    A phone that nobody answers rings for ``patience`` seconds, or by default until the ``Timeout`` of the call.
    """
    for person in PEOPLE:
        steps = await prepare(person.steps, voice)
        outcome = person.outcome
        if outcome == Outcome.no_answer():
            outcome = Outcome("no-answer", patience)
        answer: Callable[[], Party | Outcome] = partial(_answer, outcome, steps)
        network.on_dial(
            f"*{person.ending}",
            answer,
            answered_by=person.answered_by,
            beep_after=seconds_until_beep(steps) if person.answered_by == "machine" else None,
        )


def _answer(outcome: Outcome | None, steps: list[Step]) -> Party | Outcome:
    return ScriptedCaller(steps) if outcome is None else outcome


def seconds_until_beep(steps: list[Step]) -> float:
    """Return the time from the answer to the end of the last thing that a machine says."""
    seconds = end = 0.0
    for step in steps:
        match step:
            case Wait(pause):
                seconds += pause
            case Say(Clip() as clip):
                seconds += clip.seconds
                end = seconds
    return end
