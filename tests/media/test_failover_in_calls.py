"""
Whole calls whose workers die and freeze, and whose Redis restarts and freezes; in virtual time.

``tests/benchmarks/faults.py`` does the same with real processes.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from inference.backends import Engines
from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText
from inference.remote.server import Server
from media.session import Session
from media.turns.options import ConversationOptions
from tests.inference.remote.breakable import Network, PlacementLayer, StreamLayer
from tests.inference.remote.serving import replaced, serving
from tests.media.scripted_call import CallResult, run_call
from tests.word_tones import Told, WordTonesTextToSpeech, judge, reply, runs_of

QUESTION = "Will you let me know when you are all available again on Monday morning?"
ASKING, ANSWERING = 2.5, 7.0
"""Seconds into the call at which the caller is asking and the agent is answering."""
MURMUR = 1.5
"""Seconds of voice below which recognition takes an utterance for a murmur: it must get all of the sound."""


@dataclass(frozen=True)
class Served(Engines):
    """Remote engines, and the worker processes, each with all three engines, that serve them."""

    network: Network = field(default_factory=Network)
    workers: tuple[list[Server], ...] = ()
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        self.stack.enter_context(replaced(PlacementLayer(self.network), StreamLayer(self.network)))
        for worker in self.workers:
            engines = {
                "stt": ScriptedSpeechToText(backchannel_below=MURMUR),
                "llm": ScriptedLanguageModel(replies=[reply()]),
                # Little faster than it is heard, so that hardly anything is left to play when it stops.
                "tts": WordTonesTextToSpeech(chunk_delay=0.095),
            }
            for alias, engine in engines.items():
                worker.append(await self.stack.enter_async_context(serving(alias, engine)))
        await super().start()

    async def close(self) -> None:
        await super().close()
        await self.stack.aclose()

    @property
    def busy_worker(self) -> list[str]:
        """The channels of the worker that has the voice of the call."""
        return next(
            [server.links.channel for server in worker]
            for worker in self.workers
            if any(server.links.sessions for server in worker if server.alias == "tts")
        )


def served(workers: int = 2) -> Served:
    lists: tuple[list[Server], ...] = tuple([] for _ in range(workers))
    return Served(RemoteSpeechToText(), RemoteLanguageModel(), RemoteTextToSpeech(), workers=lists)


def call_with(fault: Callable[[Served], None], *, at: float, workers: int = 2) -> tuple[CallResult, Told]:
    """Hold a call in which the fault comes after so many seconds."""
    engines = served(workers)

    def during(session: Session) -> None:
        fault(engines)

    result = run_call([(0.5, QUESTION)], seconds=17.0, served_by=engines, during=during, at=at)
    assert result.hung_up == ""
    assert result.tasks_left <= 0
    return result, judge(runs_of(_heard(result)), seconds_per_character=0.04)


def _heard(result: CallResult) -> bytes:
    """What the caller hears, from the beginning of the call."""
    sound = bytearray()
    for when, message in result.sent:
        if message["event"] == "media":
            sound += b"\xff" * (round(when * 8000) - len(sound))
            sound += base64.b64decode(message["media"]["payload"])
    return bytes(sound)


def later(seconds: float, work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, work)


def kill_worker(engines: Served) -> None:
    engines.network.freeze(*engines.busy_worker)


def freeze_worker(engines: Served) -> None:
    kill_worker(engines)
    later(5.0, engines.network.continue_all)


def hold_up_worker(engines: Served) -> None:
    kill_worker(engines)
    later(1.5, engines.network.continue_all)


def restart_redis(engines: Served) -> None:
    engines.network.refuses = True
    later(3.0, lambda: setattr(engines.network, "refuses", False))


def freeze_redis(engines: Served) -> None:
    engines.network.freeze_redis()
    later(3.0, engines.network.continue_redis)


@pytest.mark.parametrize(("fault", "at"), [(kill_worker, 6.0), (kill_worker, 6.31), (freeze_worker, ANSWERING)])
def test_the_sentence_goes_on_with_another_worker(fault, at):
    _, told = call_with(fault, at=at)
    assert (told.twice, told.left_out) == (0, 0)
    assert told.broken <= 1
    assert told.gap < 0.8
    assert told.other == 0


@pytest.mark.parametrize(("fault", "at"), [(kill_worker, ASKING), (freeze_worker, 4.2)])
def test_the_turn_is_answered_when_the_worker_is_lost_in_recognition(fault, at):
    result, told = call_with(fault, at=at)
    assert (told.twice, told.left_out) == (0, 0)
    assert told.first < result.caller_stopped[QUESTION] + 2.0


@pytest.mark.parametrize("at", [ASKING, ANSWERING])
def test_a_call_waits_for_its_only_worker_while_that_is_late(at):
    result, told = call_with(hold_up_worker, at=at, workers=1)
    assert (told.twice, told.left_out) == (0, 0)
    assert told.gap < 1.5 + 0.6
    assert told.other < 1.0  # a filler at most
    assert [speaker for speaker, _ in result.turns][:2] == ["caller", "agent"]


@pytest.mark.parametrize("fault", [restart_redis, freeze_redis])
def test_a_call_stays_with_its_worker_while_redis_is_away(fault):
    before: list[str] = []

    def note_and_break(engines: Served) -> None:
        before.extend(engines.busy_worker)
        fault(engines)
        later(6.0, lambda: before.append(engines.busy_worker == before[:3]))

    _, told = call_with(note_and_break, at=ANSWERING)
    assert (told.twice, told.left_out) == (0, 0)
    assert told.gap < 3.0 + 1.0
    assert 0 < told.other < 2.5  # one filler, or one and a half
    assert before[-1] is True


@pytest.mark.parametrize("fault", [restart_redis, freeze_redis])
def test_the_turn_is_answered_when_redis_is_away_in_recognition(fault):
    result, told = call_with(fault, at=3.5)
    assert (told.twice, told.left_out) == (0, 0)
    stopped = result.caller_stopped[QUESTION]
    assert told.first < stopped + 4.0
    # The caller does not listen to silence meanwhile.
    filler = ConversationOptions().fillers[0]
    assert [speaker for speaker, heard in result.turns] == ["agent", "caller", "agent"]
    assert result.turns[0] == ("agent", filler)
    assert min(result.times("media")) < stopped + 2.0
