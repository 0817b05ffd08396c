"""A language model that fails or is too slow is replaced before the caller hears a word of it."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from inference.engines.fallback import FallbackLanguageModel
from inference.engines.scripted import DEFAULT_REPLY, ScriptedLanguageModel
from inference.requests import ToolRequests
from inference.types import (
    ContextTooLarge,
    EngineError,
    EngineFull,
    TextDelta,
)
from tests.inference.contract import leaving_no_task
from tests.inference.fallback.engines import (
    FAILING,
    MESSAGES,
    SECOND_REPLY,
    SILENT,
    entry,
    llm,
    loop_time,
    outcomes,
    read_reply,
    started,
)
from tests.virtual_time import run

HERE = f"{__name__}."


def test_a_model_that_fails_is_replaced_at_once_and_a_silent_one_at_its_deadline():
    async def work():
        for trouble, seconds in ((FAILING, 0.0), (SILENT, 0.4), ({"replies": ["\n \n"], "token_delay": 9.0}, 0.4)):
            first = {**llm(first_delay=0.0, **trouble), "DEADLINE": 0.4}
            engine = await started(FallbackLanguageModel(engines=[first, llm(replies=[SECOND_REPLY], first_delay=0.1)]))
            asked_at = loop_time()
            async with leaving_no_task(), aclosing(engine.stream(MESSAGES)) as deltas:
                await anext(deltas)
                assert loop_time() - asked_at <= seconds + 0.1 + 1e-6
            assert await read_reply(engine) == SECOND_REPLY

    run(work())


def test_an_empty_reply_counts_as_a_failure():
    async def work():
        engine = await started(FallbackLanguageModel(engines=[llm(replies=[""]), llm(replies=[SECOND_REPLY])]))
        assert await read_reply(engine) == SECOND_REPLY
        mute = await started(FallbackLanguageModel(engines=[llm(replies=[""])]))
        with pytest.raises(EngineError, match="empty reply"):
            await read_reply(mute)

    run(work())


def test_a_reply_that_only_requests_the_end_of_the_call_is_a_success():
    async def work():
        engine = await started(FallbackLanguageModel(engines=[llm(replies=[""], end_call_after=1), llm()]))
        assert [delta async for delta in engine.stream(MESSAGES)] == [TextDelta(requests=ToolRequests(end_call=True))]

    run(work())


@pytest.mark.parametrize("trouble", ["failures", "stalls"])
@pytest.mark.parametrize("begins_again", [True, False])
def test_a_reply_that_breaks_off_is_finished_by_the_next_model(trouble, begins_again):
    async def work():
        broken = llm(**{trouble: [{"rate": 1.0, "at": "middle", **({"seconds": 99.0} if trouble == "stalls" else {})}]})
        half = " ".join(DEFAULT_REPLY.split()[:15])
        rest = DEFAULT_REPLY.removeprefix(half)
        second = llm(replies=[DEFAULT_REPLY if begins_again else rest.strip()])
        engine = await started(FallbackLanguageModel(engines=[broken, second], stall=2.0))
        assert await read_reply(engine) == half + rest
        assert outcomes(engine)[0] == ((0, 0, 1, 0) if trouble == "stalls" else (0, 1, 0, 0))
        assert outcomes(engine)[1] == (1, 0, 0, 0)

    run(work())


def test_a_reply_that_breaks_off_at_every_model_raises():
    async def work():
        broken = llm(failures=[{"rate": 1.0, "at": "middle"}])
        engine = await started(FallbackLanguageModel(engines=[broken, broken]))
        with pytest.raises(EngineError, match="as its script says"):
            await read_reply(engine)

    run(work())


class ClosedLanguageModel(ScriptedLanguageModel):
    """Notes when a reply is closed."""

    closed: list[str] = []

    async def stream(self, messages, **options):
        try:
            async with aclosing(super().stream(messages, **options)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self.closed.append("closed")


def test_a_late_model_is_cancelled_at_its_source_before_the_next_is_asked():
    async def work():
        ClosedLanguageModel.closed.clear()
        engine = await started(FallbackLanguageModel(engines=[entry(f"{HERE}ClosedLanguageModel", **SILENT), llm()]))
        async with aclosing(engine.stream(MESSAGES)) as deltas:
            await anext(deltas)
            assert ClosedLanguageModel.closed == ["closed"]

    run(work())


class RefusingLanguageModel(ScriptedLanguageModel):
    """Raises the error that ``raises`` names."""

    def __init__(self, *, raises: str) -> None:
        super().__init__()
        errors = {"full": EngineFull, "large": ContextTooLarge, "bug": ZeroDivisionError}
        self.error = errors[raises]("refused")

    async def stream(self, messages, **options):
        raise self.error
        yield


@pytest.mark.parametrize("raises", ["full", "large"])
def test_a_full_model_and_one_whose_context_is_too_small_are_skipped_and_stay_healthy(raises):
    async def work():
        refusing = entry(f"{HERE}RefusingLanguageModel", raises=raises)
        engine = await started(FallbackLanguageModel(engines=[refusing, llm(replies=[SECOND_REPLY])], failures=2))
        assert [await read_reply(engine) for _ in range(5)] == [SECOND_REPLY] * 5
        assert outcomes(engine) == [(0, 0, 0, 5), (5, 0, 0, 0)]
        alone = await started(FallbackLanguageModel(engines=[refusing]))
        with pytest.raises(EngineFull if raises == "full" else ContextTooLarge):
            await read_reply(alone)

    run(work())


def test_an_unexpected_error_of_one_model_is_logged_and_the_next_one_replies(caplog):
    async def work():
        defective = entry(f"{HERE}RefusingLanguageModel", raises="bug")
        engine = await started(FallbackLanguageModel(engines=[defective, llm()]))
        assert await read_reply(engine)

    run(work())
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)


class NamedLanguageModel(ScriptedLanguageModel):
    """Notes its name when it is warmed."""

    warmed: list[str] = []

    def __init__(self, *, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.name = name

    async def warm(self, messages, **options):
        self.warmed.append(self.name)


def test_warming_goes_to_the_model_that_would_be_asked():
    async def work():
        NamedLanguageModel.warmed.clear()
        first = entry(f"{HERE}NamedLanguageModel", name="first", **FAILING)
        engine = FallbackLanguageModel(engines=[first, entry(f"{HERE}NamedLanguageModel", name="second")], failures=1)
        await engine.warm(MESSAGES)
        await engine.start()
        await engine.warm(MESSAGES)
        await read_reply(engine)
        await engine.warm(MESSAGES)
        assert NamedLanguageModel.warmed == ["first", "second"]

    run(work())
