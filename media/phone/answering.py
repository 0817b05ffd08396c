"""The answer to a number that is dialled: a person or an outcome, and the time that the telephone network takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from media.phone.party import Party


@dataclass(frozen=True)
class CarrierTiming:
    """
    The time that the telephone network takes for each step, as (least, most) seconds.

    ``scale`` multiplies these and all seconds in TwiML and REST parameters except ``TimeLimit``: with the default, a
    minute of ringing lasts 0.6 s; 1.0 is the timing of the real network. Media streams always run in real time.
    """

    post_dial: tuple[float, float] = (0.5, 3.0)
    """From dialling to the first ring."""
    answer: tuple[float, float] = (2.0, 20.0)
    """From the first ring to the answer, for numbers that do not say when they answer."""
    verdict: tuple[float, float] = (1.0, 8.0)
    """From the answer to the result of machine detection."""
    recording: tuple[float, float] = (1.0, 30.0)
    """From the end of a recording to the callback that says it is ready."""
    scatter: tuple[float, float] = (0.0, 0.3)
    """The time between Twilio's reports of two things that happen at the same time."""
    characters_per_second: float = 15.0
    """The speed of ``<Say>`` where no voice renders it: about 170 words a minute."""
    scale: float = 0.01

    async def pause(self, seconds: float) -> None:
        """Wait for this many seconds, scaled."""
        await asyncio.sleep(seconds * self.scale)

    async def pause_between(self, limits: tuple[float, float], random: Random) -> None:
        """Wait for a random time between the limits, scaled."""
        await self.pause(random.uniform(*limits))


@dataclass(frozen=True)
class Outcome:
    """The outcome of a dialled call that is not answered, ``after`` seconds of ringing (before scaling)."""

    status: Literal["busy", "no-answer", "failed"]
    after: float | None = None
    sip_code: int | None = None

    @classmethod
    def busy(cls, after: float | None = None) -> Outcome:
        """The line is busy."""
        return cls("busy", after)

    @classmethod
    def no_answer(cls) -> Outcome:
        """The phone rings until the ``Timeout`` of the call."""
        return cls("no-answer")

    @classmethod
    def failed(cls, sip_code: int = 404, after: float | None = 0.0) -> Outcome:
        """The network cannot reach the number."""
        return cls("failed", after, sip_code)


@dataclass(frozen=True)
class Answerer:
    """The reaction to a number that is dialled."""

    answer: Callable[[], Party | Outcome]
    """Called for each call: returns the person who answers, or why nobody does."""
    after: float | None = None
    """Seconds of ringing before the answer (before scaling); None for a random time."""
    answered_by: str = "human"
    """The finding of machine detection; ``machine`` stands for the usual verdict of its mode."""
    beep_after: float | None = None
    """Seconds from the answer to the end of a machine's greeting, in real time; None if there is no greeting."""
