"""Who answers a number that is dialled, with what result, and how long the telephone network takes for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from media.phone.party import Party


@dataclass(frozen=True)
class CarrierTiming:
    """
    How long the telephone network takes, each as (least, most) seconds.

    ``scale`` multiplies these and all seconds that TwiML and the REST parameters mean, except for ``TimeLimit``: with
    the default a minute of ringing lasts 0.6 s. Streams always run in real time.
    """

    post_dial: tuple[float, float] = (0.5, 3.0)
    answer: tuple[float, float] = (2.0, 20.0)
    verdict: tuple[float, float] = (1.0, 8.0)
    recording: tuple[float, float] = (1.0, 30.0)
    scatter: tuple[float, float] = (0.0, 0.3)
    """How far apart two things that happen at the same time are reported."""
    characters_per_second: float = 15.0
    scale: float = 0.01

    @classmethod
    def real(cls) -> CarrierTiming:
        return cls(scale=1.0)


@dataclass(frozen=True)
class Outcome:
    """What becomes of a dialled call that nobody answers, ``after`` seconds (unscaled) of ringing."""

    status: Literal["busy", "no-answer", "failed"]
    after: float | None = None
    sip_code: int | None = None

    @classmethod
    def busy(cls, after: float | None = None) -> Outcome:
        return cls("busy", after)

    @classmethod
    def no_answer(cls) -> Outcome:
        """It rings until the ``Timeout`` of whoever dialled."""
        return cls("no-answer")

    @classmethod
    def failed(cls, sip_code: int = 404, after: float | None = 0.0) -> Outcome:
        return cls("failed", after, sip_code)


@dataclass(frozen=True)
class Answerer:
    """
    Who answers a number: ``answer`` is asked each time; machine detection will find ``answered_by``.

    ``beep_after`` is when the message of a machine ends, in real seconds after the answer.
    """

    answer: Callable[[], Party | Outcome]
    after: float | None = None
    answered_by: str = "human"
    beep_after: float | None = None
