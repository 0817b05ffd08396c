"""A model that thinks before it speaks gets room for that, and its thoughts are not spoken."""

import pytest

from inference.engines.openai_compatible import LEAST_REASONING, MOST_REASONING
from inference.types import EngineError
from tests.inference.model_server import event, replying
from tests.inference.openai_compatible.helpers import deltas_of, failure_of


def thinking(tokens: int, *, field: str = "max_completion_tokens", limit: int | None = None):
    """A model that thinks for so many tokens and then speaks, within the limit of the request."""

    async def answer(body):
        room = body[field] if limit is None else min(limit, body[field])
        yield event("", role="assistant", reasoning_content="Hm." if field == "max_tokens" else None)
        if room <= tokens:
            yield event(finish_reason="length")
        else:
            yield event("Good morning.")
            yield event(finish_reason="stop")

    return answer


async def text_of(engine) -> str:
    return "".join(delta.text for delta in await deltas_of(engine))


async def test_room_for_reasoning_is_added_to_the_length_of_a_reply(server, connect):
    await text_of(connect(server="openai", max_tokens=100, reasoning_tokens=500))
    await text_of(connect(max_tokens=100, reasoning_tokens=500))
    assert server.bodies[0]["max_completion_tokens"] == server.bodies[1]["max_tokens"] == 600


async def test_warming_needs_no_room_for_reasoning(server, connect):
    await connect(reasoning_tokens=500).start()
    assert server.bodies[0]["max_tokens"] == 1


@pytest.mark.parametrize(("kind", "field"), [("openai", "max_completion_tokens"), ("vllm", "max_tokens")])
async def test_a_reply_that_was_all_thought_is_tried_once_more_with_more_room(server, connect, kind, field, caplog):
    server.answer = thinking(300, field=field)
    engine = connect(server=kind, max_tokens=160)
    assert await text_of(engine) == "Good morning."
    assert "thought until the end of its reply" in caplog.text
    assert await text_of(engine) == "Good morning."
    assert [body[field] for body in server.bodies] == [160, 160 + LEAST_REASONING, 160 + LEAST_REASONING]


async def test_written_thoughts_that_fill_the_reply_are_tried_again_too(server, connect):
    async def answer(body):
        if body["max_tokens"] < 1000:
            yield event("<think>The caller says hello, so I")
            yield event(finish_reason="length")
        else:
            yield event("<think>Hello.</think>Good morning.")
            yield event(finish_reason="stop")

    server.answer = answer
    assert await text_of(connect()) == "Good morning."


async def test_a_model_that_thinks_without_end_fails_the_reply(server, connect):
    server.answer = thinking(10_000)
    engine = connect(server="openai")
    error = await failure_of(engine)
    assert "empty reply (length)" in str(error)
    assert len(server.bodies) == 3
    assert server.bodies[-1]["max_completion_tokens"] == 160 + MOST_REASONING
    await failure_of(engine)
    assert len(server.bodies) == 4


async def test_an_empty_reply_that_was_not_cut_is_not_tried_again(server, connect):
    server.answer = lambda body: replying("  ")
    with pytest.raises(EngineError, match="blank"):
        await deltas_of(connect())
    assert len(server.bodies) == 1
