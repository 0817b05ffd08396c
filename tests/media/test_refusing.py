"""While an engine is full or an account is used up, no new call is taken, nothing is dialled, and live calls go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from itertools import groupby
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from calls.services import Refusal
from inference.backends import Engines
from inference.engines.fallback import FallbackLanguageModel
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.types import EngineError, EngineFull, Message, QuotaExhausted, TextDelta
from media.background import BackgroundTasks
from media.refusing import Refusing
from tests.media.scripted_call import run_call
from tests.virtual_time import in_virtual_time

NO_CREDIT = QuotaExhausted("no credit is left", permanent=True)


class RefusingLanguageModel(ScriptedLanguageModel):
    """Refuses all requests while it has a reason."""

    reason: EngineError | None = None

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[TextDelta, None]:
        if self.reason is not None:
            raise self.reason
        async for delta in super().stream(messages, **options):
            yield delta


class Dialler:
    """Notes how it is held, and when."""

    def __init__(self) -> None:
        self.notes: list[tuple[float, str, float]] = []

    async def hold(self, why: str, seconds: float) -> None:
        self.notes.append((now(), why, seconds))

    async def release(self) -> None:
        self.notes.append((now(), "", 0.0))


def now() -> float:
    return asyncio.get_running_loop().time()


def engines_with(llm: Any) -> Engines:
    return Engines(ScriptedSpeechToText(), llm, ScriptedTextToSpeech())


def begun(llm: Any) -> tuple[Engines, Refusing, Dialler, BackgroundTasks]:
    engines, dialler, tasks = engines_with(llm), Dialler(), BackgroundTasks("The test")
    refusing = Refusing(engines, tasks=tasks, hold=dialler.hold, release=dialler.release)
    refusing.begin()
    return engines, refusing, dialler, tasks


@in_virtual_time
async def test_a_full_engine_refuses_calls_as_busy_until_it_may_be_asked_again(caplog):
    caplog.set_level(logging.INFO)
    engines, refusing, dialler, tasks = begun(ScriptedLanguageModel())
    assert refusing.refusal() is None
    engines.availability.note(EngineFull("too many requests", retry_after=20.0), now())
    assert refusing.refusal() == Refusal("too many requests", is_busy=True)
    assert refusing.details()["refuses_calls"] == "too many requests"
    await asyncio.sleep(5.0)
    engines.availability.note(EngineFull("too many requests", retry_after=20.0), now())
    await asyncio.sleep(30.0)
    assert refusing.refusal() is None
    assert refusing.details()["refuses_calls"] == ""
    assert [(round(when), why, round(seconds)) for when, why, seconds in dialler.notes] == [
        (0, "too many requests", 20),
        (10, "too many requests", 10),
        (20, "too many requests", 5),
        (25, "", 0),
    ]
    messages = [record.getMessage() for record in caplog.records if record.name == "media.refusing"]
    assert messages == [
        "New calls are refused and none is dialled, because an engine is full: too many requests",
        "New calls are taken again",
    ]
    await tasks.cancel()


@in_virtual_time
async def test_an_account_that_is_used_up_is_tried_each_minute_and_calls_are_taken_once_it_has_credit(caplog):
    caplog.set_level(logging.INFO)
    llm = RefusingLanguageModel()
    engines, refusing, dialler, tasks = begun(llm)
    llm.reason = NO_CREDIT
    engines.availability.note(NO_CREDIT, now())
    await asyncio.sleep(125.0)
    assert refusing.refusal() == Refusal("no credit is left", is_busy=False)
    llm.reason = None
    await asyncio.sleep(70.0)
    assert refusing.refusal() is None
    holds = [(when, round(when + seconds)) for when, why, seconds in dialler.notes if why == "no credit is left"]
    # Each trial, at 60, 120 and 180 s, is held for as long again, and the dialler is held anew on the way.
    assert [when for when, _ in holds] == [10 * count for count in range(18)]
    assert [until for _, until in holds] == [120] * 6 + [180] * 6 + [240] * 6
    assert (round(dialler.notes[-1][0]), dialler.notes[-1][1]) == (181, "")  # the trial is an utterance
    assert len([record for record in caplog.records if record.name == "media.refusing"]) == 2
    await tasks.cancel()


@pytest.mark.parametrize("error", [InterfaceError("connection already closed"), OperationalError("server is away")])
@in_virtual_time
async def test_calls_are_taken_again_also_if_the_database_is_away_meanwhile(error):
    engines, refusing, _, tasks = begun(RefusingLanguageModel())

    async def fail(*_: object) -> None:
        raise error

    refusing._hold = refusing._release = fail
    engines.availability.note(NO_CREDIT, now())
    await asyncio.sleep(70.0)
    assert refusing.refusal() is None
    await tasks.cancel()


@in_virtual_time
async def test_an_account_that_is_used_up_while_the_dialler_is_released_is_tried_as_well():
    engines, refusing, dialler, tasks = begun(RefusingLanguageModel())
    release = dialler.release

    async def release_slowly() -> None:
        refusing._release = release
        engines.availability.note(NO_CREDIT, now())
        await release()

    refusing._release = release_slowly
    engines.availability.note(EngineFull("too many requests", retry_after=5.0), now())
    await asyncio.sleep(6.0)
    assert refusing.refusal() == Refusal("no credit is left", is_busy=False)
    await asyncio.sleep(70.0)
    assert refusing.refusal() is None
    whys = [why for why, _ in groupby(why for _, why, _ in dialler.notes)]
    assert whys == ["too many requests", "", "no credit is left", ""]
    await tasks.cancel()


class BrokenLanguageModel(ScriptedLanguageModel):
    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[TextDelta, None]:
        raise KeyError("choices")
        yield


@in_virtual_time
async def test_a_bug_of_an_engine_does_not_end_the_trials_of_its_account():
    engines, refusing, _, tasks = begun(BrokenLanguageModel())
    engines.availability.note(NO_CREDIT, now())
    await asyncio.sleep(70.0)
    assert refusing.refusal() is None
    await tasks.cancel()


@in_virtual_time
async def test_the_state_of_each_engine_of_a_fallback_is_shown():
    backend = "inference.engines.scripted.ScriptedLanguageModel"
    llm = FallbackLanguageModel(engines=[{"BACKEND": backend, "NAME": "mine"}, {"BACKEND": backend, "NAME": "other"}])
    _, refusing, _, _ = begun(llm)
    await llm.start()
    llm.members[0].report_failure(llm.members[0].breaker.ticket, NO_CREDIT)
    assert refusing.details()["engines"] == {
        "llm": [
            {"name": "llm engine 1 (mine)", "state": "no quota", "retry_in": 60.0},
            {"name": "llm engine 2 (other)", "state": "ready", "retry_in": 0.0},
        ]
    }
    await llm.close()


@pytest.mark.parametrize(
    ("reason", "is_noted"),
    [
        (EngineFull("too many requests", retry_after=300.0), True),
        (NO_CREDIT, True),
        (EngineError("the server is away"), False),
    ],
)
def test_an_error_that_reaches_a_call_decides_about_the_next_one(reason, is_noted):
    llm = RefusingLanguageModel()
    llm.reason = reason
    engines = engines_with(llm)
    run_call([(0.5, "What time do you open?")], seconds=6.0, served_by=engines)
    refusal = engines.availability.refusal(6.0)
    assert (refusal is not None) is is_noted
    assert refusal is None or refusal.why == str(reason)


class RefusingSpeechToText(ScriptedSpeechToText):
    def open(self, **options: Any) -> Any:
        raise NO_CREDIT


def test_recognition_that_is_refused_decides_as_well():
    engines = Engines(RefusingSpeechToText(), ScriptedLanguageModel(), ScriptedTextToSpeech())
    run_call([(0.5, "What time do you open?")], seconds=6.0, served_by=engines)
    assert engines.availability.refusal(6.0) is not None


def test_an_engine_that_a_fallback_could_replace_decides_nothing():
    entries = [
        {"BACKEND": f"{__name__}.OutOfCreditLanguageModel"},
        {"BACKEND": "inference.engines.scripted.ScriptedLanguageModel"},
    ]
    engines = engines_with(FallbackLanguageModel(engines=entries))
    call = run_call([(0.5, "What time do you open?")], seconds=8.0, served_by=engines)
    assert len(call.turns) >= 2
    assert engines.availability.refusal(8.0) is None


class OutOfCreditLanguageModel(RefusingLanguageModel):
    reason = NO_CREDIT
