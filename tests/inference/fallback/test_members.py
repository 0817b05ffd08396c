"""The options of a fallback, the start of its engines, and which of them is asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from inference.backends import make_engine
from inference.engines.fallback import FallbackLanguageModel
from inference.engines.scripted import ScriptedLanguageModel
from inference.types import EngineError, EngineFull, EngineLoading, Message, QuotaExhausted, TextDelta
from tests.inference.contract import leaving_no_task
from tests.inference.fallback.engines import (
    FAILING,
    SECOND_REPLY,
    SILENT,
    entry,
    exactly,
    llm,
    loop_time,
    outcomes,
    read_reply,
    started,
)
from tests.virtual_time import run

HERE = f"{__name__}."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engines": [llm(), entry("nowhere.Engine")]}, r"llm, engines\[1\].*nowhere"),
        ({"engines": [llm(tokens=3)]}, r"llm, engines\[0\].*does not take"),
        ({"engines": [{**llm(), "DEADLIN": 1}]}, r"llm, engines\[0\].*takes BACKEND, DEADLINE, NAME, OPTIONS, not"),
        ({"engines": ["inference.engines.echo"]}, r"llm, engines\[0\].*takes BACKEND"),
        ({"engines": []}, "at least one engine"),
        ({"engines": [llm()], "failures": 0}, "failures >= 1"),
        ({}, "does not take its OPTIONS"),
        ({"engines": [llm()], "hedge": 1}, "does not take its OPTIONS"),
    ],
)
def test_a_wrong_option_is_refused_and_located(options, message):
    with pytest.raises(EngineError, match=message) as refusal:
        make_engine("llm", entry("inference.engines.fallback.FallbackLanguageModel", **options))
    assert refusal.value.permanent


def test_a_fallback_describes_all_its_engines():
    description = FallbackLanguageModel(engines=[llm(), llm()]).describe()
    one = ScriptedLanguageModel().describe()
    assert description.weights == f"{one.weights}; then {one.weights} (on {one.device})"
    assert (description.memory_bytes, description.device) == (2 * one.memory_bytes, one.device)
    assert description.capacity == one.capacity


# -- starting ------------------------------------------------------------------------------------------------


class SlowStarter(ScriptedLanguageModel):
    """Takes some seconds to start, and fails ``refusals`` times to."""

    def __init__(self, *, refusals: int, permanent: bool = False, seconds: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.refusals = refusals
        self.permanent = permanent
        self.seconds = seconds

    async def start(self) -> None:
        await asyncio.sleep(self.seconds)
        self.refusals -= 1
        if self.refusals >= 0:
            raise EngineError("its weights are not there", permanent=self.permanent)


def slow_starter(**options: Any) -> dict[str, Any]:
    return entry(f"{HERE}SlowStarter", **options)


@pytest.mark.parametrize("permanent", [True, False])
def test_an_engine_that_does_not_start_is_started_again_while_calls_go_on(permanent, caplog):
    async def work():
        engines = [slow_starter(refusals=2, permanent=permanent, replies=["first"]), llm(replies=["second"])]
        engine = await started(FallbackLanguageModel(engines=engines, retry_after=10.0))
        assert loop_time() == exactly(0.0)
        answers = [await read_reply(engine)]
        await asyncio.sleep(11)
        answers.append(await read_reply(engine))
        await asyncio.sleep(10)
        answers.append(await read_reply(engine))
        assert answers == ["second", "second", "first"]
        assert outcomes(engine) == [(1, 0, 0, 2), (2, 0, 0, 0)]
        async with leaving_no_task():
            await engine.close()

    run(work())
    lines = [record.message for record in caplog.records if "start" in record.message]
    later = ", later less often" if permanent else ""
    assert lines == [
        f"The llm engine 1 (SlowStarter) does not start, trying again every 10 s{later}: its weights are not there",
        "The llm engine 1 (SlowStarter) has started",
    ]


@pytest.mark.parametrize(
    ("permanent", "retry_after", "seconds", "starts"),
    # A start that may be tried again at once must not take a core.
    [(True, 10.0, 1001, 9), (False, 10.0, 1001, 101), (True, 0.0, 1.01, 6), (False, 0.0, 1.01, 21)],
)
def test_a_start_that_fails_permanently_is_tried_less_and_less_often(permanent, retry_after, seconds, starts):
    async def work():
        engines = [slow_starter(refusals=1000, permanent=permanent), llm()]
        engine = await started(FallbackLanguageModel(engines=engines, retry_after=retry_after))
        await asyncio.sleep(seconds)
        assert 1000 - engine.members[0].engine.refusals == starts
        await engine.close()

    run(work())


def test_starting_waits_for_one_engine_and_then_only_a_while_for_the_others():
    async def work():
        slow = slow_starter(refusals=0, seconds=40.0, replies=["slow"])
        hanging = slow_starter(refusals=0, seconds=3600.0)
        engine = FallbackLanguageModel(engines=[hanging, slow], start_patience=5.0)
        await engine.start()
        assert loop_time() == exactly(40.0)
        assert await read_reply(engine) == "slow"
        await engine.close()
        engine = FallbackLanguageModel(engines=[hanging, llm()], start_patience=5.0)
        await engine.start()
        assert loop_time() == pytest.approx(45.0, abs=1.0)
        async with leaving_no_task():
            await engine.close()

    run(work())


@pytest.mark.parametrize("permanent", [True, False])
def test_if_no_engine_starts_the_error_names_the_reasons(permanent):
    async def work():
        engines = [slow_starter(refusals=9, permanent=True), slow_starter(refusals=9, permanent=permanent)]
        async with leaving_no_task():
            engine = FallbackLanguageModel(engines=engines)
            with pytest.raises(EngineError, match="no llm engine starts: its weights are not there; its") as failure:
                await engine.start()
        assert failure.value.permanent is permanent
        with pytest.raises(EngineLoading):
            await read_reply(engine)

    run(work())


# -- which engine is asked ------------------------------------------------------------------------------------


def test_an_engine_that_fails_repeatedly_is_not_used_for_a_while_and_then_tried_again(caplog):
    caplog.set_level(logging.INFO)

    async def work():
        first = llm(replies=["first"], stalls=[{"on": n, "seconds": 99.0} for n in (1, 2, 3, 4)])
        engine = await started(
            FallbackLanguageModel(engines=[first, llm(replies=["second"])], failures=3, retry_after=10.0)
        )
        waits = []
        for pause in (0, 0, 0, 0, 0, 10, 0, 10, 0):
            await asyncio.sleep(pause)
            asked_at = loop_time()
            words = await read_reply(engine)
            waits.append((words, loop_time() - asked_at > 0.9))
        slow, quick = ("second", True), ("second", False)
        assert waits == [slow, slow, slow, quick, quick, slow, quick, ("first", False), ("first", False)]
        assert outcomes(engine) == [(2, 0, 4, 3), (7, 0, 0, 0)]

    run(work())
    name = "the llm engine 1 (ScriptedLanguageModel)"
    lines = [record.message for record in caplog.records if name in record.message]
    assert [line.replace(name, "it") for line in lines if not line.startswith("The ")] == [
        "Not using it for 10 s: it failed too often",
        "Trying it again",
        "Not using it for 10 s: it failed too often",
        "Trying it again",
        "Using it again: it works",
    ]


class PaidByTheToken(ScriptedLanguageModel):
    may_speculate = False


def test_no_speculative_request_is_made_while_a_paid_model_replaces_a_failing_one():
    async def work():
        paid = entry(f"{HERE}PaidByTheToken", replies=["paid"])
        engine = await started(FallbackLanguageModel(engines=[llm(**SILENT), paid], failures=1))
        assert await read_reply(engine) == "paid"
        asked_at = loop_time()
        with pytest.raises(EngineError, match="takes no speculative requests"):
            await read_reply(engine, speculative=True)
        assert loop_time() == asked_at

    run(work())


def test_if_no_engine_may_be_asked_the_second_is_asked_after_the_first():
    async def work():
        first, second = llm(**FAILING), llm(replies=["back"], failures=[{"on": 1}])
        engine = await started(FallbackLanguageModel(engines=[first, second], failures=1, retry_after=60.0))
        with pytest.raises(EngineError):
            await read_reply(engine)
        assert [await read_reply(engine) for _ in range(2)] == ["back", "back"]

    run(work())


def test_if_no_engine_may_be_asked_the_first_one_is_asked_nevertheless():
    async def work():
        first = llm(replies=["back"], failures=[{"on": 1}])
        engine = await started(FallbackLanguageModel(engines=[first, llm(**FAILING)], failures=1, retry_after=60.0))
        with pytest.raises(EngineError):
            await read_reply(engine)
        assert await read_reply(engine) == "back"
        assert await read_reply(engine) == "back"

    run(work())


def test_a_model_that_is_paid_by_the_token_gets_no_speculative_request():
    async def work():
        paid = entry(f"{HERE}PaidByTheToken", replies=["paid"])
        engine = await started(FallbackLanguageModel(engines=[llm(**FAILING), paid], failures=2))
        assert engine.may_speculate
        with pytest.raises(EngineError, match="as its script says"):
            await read_reply(engine, speculative=True)
        assert await read_reply(engine) == "paid"
        assert not engine.may_speculate

    run(work())


def test_a_request_that_its_listener_gives_up_does_not_count():
    async def work():
        engine = await started(FallbackLanguageModel(engines=[llm(**SILENT), llm()], deadline=1.0))
        reader = asyncio.ensure_future(read_reply(engine))
        await asyncio.sleep(0.5)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert outcomes(engine) == [(0, 0, 0, 0), (0, 0, 0, 0)]

    run(work())


class RefusingLanguageModel(ScriptedLanguageModel):
    """Refuses every request with the next of ``REFUSALS``, while there are any."""

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[TextDelta, None]:
        self.asked = getattr(self, "asked", 0) + 1
        if REFUSALS:
            raise REFUSALS.pop(0)
        async for delta in super().stream(messages, **options):
            yield delta


REFUSALS: list[EngineError] = []
REFUSING = entry(f"{HERE}RefusingLanguageModel")


@pytest.mark.parametrize("permanent", [True, False])
def test_an_engine_whose_account_is_used_up_is_not_asked_for_a_minute(permanent, caplog):
    async def work():
        REFUSALS[:] = [QuotaExhausted("no credit is left", permanent=permanent)]
        engine = await started(FallbackLanguageModel(engines=[REFUSING, llm(replies=[SECOND_REPLY])]))
        first = engine.members[0].engine
        for _ in range(3):
            assert await read_reply(engine) == SECOND_REPLY
        assert first.asked == 1
        health, other = engine.health(loop_time())
        assert (health.state, health.last_error, other.state) == ("no quota", "no credit is left", "ready")
        assert 59 < health.retry_in <= 60
        await asyncio.sleep(60)
        assert await read_reply(engine) != SECOND_REPLY
        assert engine.health(loop_time())[0].state == "ready"

    run(work())
    assert "its account is used up" in caplog.text


def full(seconds: float) -> EngineFull:
    return EngineFull("too many requests", retry_after=seconds)


QUOTA, BROKEN = QuotaExhausted("no credit is left"), EngineError("the server is away")


@pytest.mark.parametrize(
    ("first", "second", "kind", "retry_after"),
    [
        (full(20.0), full(5.0), EngineFull, 5.0),
        (full(20.0), QUOTA, EngineFull, 20.0),
        (QUOTA, full(20.0), EngineFull, 20.0),
        (QUOTA, QUOTA, QuotaExhausted, None),
        (full(20.0), BROKEN, EngineError, None),
        (BROKEN, full(20.0), EngineError, None),
        (QUOTA, BROKEN, EngineError, None),
        (BROKEN, QUOTA, EngineError, None),
    ],
)
def test_a_fallback_is_full_until_the_first_of_its_engines_may_be_asked_again(first, second, kind, retry_after):
    async def work():
        REFUSALS[:] = [first, second]
        engine = await started(FallbackLanguageModel(engines=[REFUSING, REFUSING]))
        with pytest.raises(EngineError) as refused:
            await read_reply(engine)
        assert type(refused.value) is kind
        assert getattr(refused.value, "retry_after", None) == retry_after

    run(work())


def test_the_health_of_each_engine_says_what_its_requests_have_shown():
    async def work():
        engine = FallbackLanguageModel(engines=[{**llm(**FAILING), "NAME": "mine"}, llm()], failures=2)
        assert [health.state for health in engine.health(0.0)] == ["not started", "not started"]
        await engine.start()
        for _ in range(2):
            await read_reply(engine)
        mine, other = engine.health(loop_time())
        assert (mine.name, mine.state) == ("llm engine 1 (mine)", "failing")
        assert 9 < mine.retry_in <= 10
        assert (mine.served, mine.failed, other.served) == (0, 2, 2)
        assert "fails, as its script says" in mine.last_error
        assert (other.state, other.last_error) == ("ready", "")

    run(work())
