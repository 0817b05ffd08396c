"""One utterance at a hosted service, without a service: when the words that are known are taken for the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from inference.hosted.lease import Lease
from inference.hosted.recognition import GRACE, Heard, HostedTranscription, Terms
from inference.interfaces import OnPartial
from inference.types import Transcript

QUIET = 0.05


class OneFlush:
    """An exchange that may be settled, and whose messages are the words."""

    def __init__(self) -> None:
        self.text = "interim"
        self.answered = self._pushed = 0
        self.settled = Heard()
        self.quiet = QUIET

    @property
    def heard(self) -> Heard:
        return Heard(self.text, self._pushed)

    def begin(self) -> tuple[str, ...]:
        return ()

    def push(self, sound: bytes) -> tuple[bytes, ...]:
        self._pushed += len(sound)
        return (sound,)

    def flush(self) -> tuple[str, ...]:
        return ("flush",)

    def receive(self, message: Any) -> tuple[str, ...]:
        self.text, self.answered = message, self._pushed
        return ()

    def settle(self) -> None:
        self.answered = self._pushed

    def end(self) -> tuple[tuple[str, ...], bool]:
        return (), False


def utterance(on_partial: OnPartial | None = None) -> HostedTranscription:
    return HostedTranscription(
        Terms(
            provider="Echo Ltd",
            name="echo/1",
            take=lambda listener: Lease(lambda *_: None, listener, "c1"),
            begin=lambda lost: OneFlush(),
        ),
        on_partial,
    )


def some_iterations_later(what: Callable[[], None], iterations: int = 3) -> None:
    """As a message comes to its utterance: by a callback of the transport, a queue and a task."""
    loop = asyncio.get_running_loop()
    loop.call_soon(what if iterations == 1 else lambda: some_iterations_later(what, iterations - 1))


async def test_the_words_that_are_known_are_the_answer_once_nothing_else_comes():
    heard = utterance()
    heard.push(np.zeros(800, np.int16))
    assert (await heard.finish()).text == "interim"


async def test_an_answer_that_came_while_the_process_was_busy_counts():
    heard = utterance()
    heard.push(np.zeros(800, np.int16))
    finishing = asyncio.create_task(heard.finish())
    await asyncio.sleep(0)
    time.sleep(QUIET + 2 * GRACE)  # noqa: ASYNC251 - the process is busy
    some_iterations_later(lambda: heard.receive("final"))
    assert (await finishing).text == "final"


async def test_a_process_that_is_always_busy_takes_the_words_that_are_known():
    heard = utterance()
    heard.push(np.zeros(800, np.int16))
    finishing = asyncio.create_task(heard.finish())
    await asyncio.sleep(0)
    for _ in range(3):
        time.sleep(QUIET + 2 * GRACE)  # noqa: ASYNC251 - the process is busy
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await finishing).text == "interim"


async def test_a_partial_that_cannot_be_reported_costs_no_words(caplog):
    def fail(partial: Transcript) -> None:
        raise ZeroDivisionError

    heard = utterance(fail)
    heard.push(np.zeros(800, np.int16))
    assert (await heard.snapshot()).text == "interim"
    heard.push(np.zeros(800, np.int16))
    heard.receive("final")
    assert (await heard.finish()).text == "final"
    assert "the utterance goes on" in caplog.text
