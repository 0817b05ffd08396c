"""The language model in this process with real weights: Gemma 3 270M, a base model without a chat template."""

from contextlib import aclosing

import pytest
import pytest_asyncio

from inference.engines.llama_cpp import LlamaCppLanguageModel
from inference.llama.options import LlamaCppOptions
from inference.types import Message

pytestmark = [pytest.mark.weights, pytest.mark.asyncio(loop_scope="module")]
SYSTEM = Message("system", "You answer the telephone of the Harbour Hotel. The restaurant opens at six.")
GREETING = Message("assistant", "Harbour Hotel, good morning.")
QUESTIONS = ("Do you have a room for tonight?", "When does the restaurant open?", "Thank you, goodbye.")
ROLES = ("user", "assistant", "model", "system", "caller")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(request):
    folder = request.config.getoption("models") / "gemma3-270m"
    if not folder.exists():
        pytest.skip(f"there is no model in {folder}")
    engine = LlamaCppLanguageModel(LlamaCppOptions(model=str(folder), max_tokens=60, context_tokens=2048))
    await engine.start()
    yield engine
    await engine.close()


async def reply_to(engine, *messages: Message) -> str:
    async with aclosing(engine.stream([SYSTEM, GREETING, *messages])) as deltas:
        return "".join([delta.text async for delta in deltas])


async def test_a_conversation_has_a_reply_in_every_turn_and_no_names_of_roles(engine):
    history: list[Message] = []
    for question in QUESTIONS:
        history.append(Message("user", question))
        reply = await reply_to(engine, *history)
        assert any(letter.isalpha() for letter in reply)
        assert not any(f"{role}:" in reply.lower() or f"\n{role}" in reply.lower() for role in ROLES)
        history.append(Message("assistant", reply))


async def test_a_closed_reply_leaves_its_slot_to_the_next_one(engine):
    async with aclosing(engine.stream([SYSTEM, GREETING, Message("user", "Tell me about the hotel.")])) as deltas:
        await anext(deltas)
    assert await reply_to(engine, Message("user", QUESTIONS[0]))
