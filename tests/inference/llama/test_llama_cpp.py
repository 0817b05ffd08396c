"""The language model in this process, with a tiny model that llama.cpp really computes."""

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import jinja2
import msgspec
import pytest

from inference.engines import llama_cpp
from inference.llama.options import LlamaCppOptions, spare_cores
from inference.llama.server import PLAIN_TEMPLATE, LlamaServer
from inference.types import ContextTooLarge, EngineError, EngineFull, EngineTimeout, Message
from tests.inference.contract import LanguageModelContract
from tests.inference.llama.conftest import make_engine
from tests.inference.tiny_gemma import ANSWERS, COUNT, OTHERWISE
from tests.inference.tiny_gguf import CONTEXT, make_tiny_gguf

SYSTEM = Message("system", "You answer the telephone.")
OPENING = Message("user", "What time do you open?")
WHERE = Message("user", "Where are you?")
ENDLESS = Message("user", "Please count.")
"""The reply to it never ends."""


async def reply_to(engine, *messages: Message, **options) -> str:
    async with aclosing(engine.stream([SYSTEM, *messages], **options)) as deltas:
        return "".join([delta.text async for delta in deltas])


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


class TestLlamaCpp(LanguageModelContract):
    reads_notes = False  # it has learnt single words and knows none of the note

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tiny):
        return lambda: make_engine(tiny)


async def test_the_model_answers_the_last_question_of_any_conversation(load):
    engine = await load()
    history: list[Message] = []
    for question, key in ((OPENING, "time"), (WHERE, "Where"), (OPENING, "time")):
        await engine.warm([SYSTEM, *history])
        history.append(question)
        reply = await reply_to(engine, *history)
        assert reply == ANSWERS[key]
        history.append(Message("assistant", reply))
    assert await reply_to(engine, Message("user", "Hm.")) == OTHERWISE


async def test_words_arrive_one_by_one(load):
    deltas = [delta.text async for delta in (await load()).stream([SYSTEM, OPENING])]
    assert deltas[:3] == ["We ", "open ", "at "]


async def test_a_model_without_a_chat_template_gets_plain_lines(tmp_path, monkeypatch, caplog):
    base = make_tiny_gguf(tmp_path / "base.gguf", template=None)
    templates = []
    load = llama_cpp.LlamaServer.load

    def remember(file, options, *, chat_template):
        templates.append(chat_template)
        return load(file, options, chat_template=chat_template)

    monkeypatch.setattr(llama_cpp.LlamaServer, "load", remember)
    engine = make_engine(base)
    await engine.start()
    await engine.close()
    assert templates == [PLAIN_TEMPLATE]
    assert "no chat template" in caplog.text


def test_the_plain_template_prints_the_dialogue_line_by_line():
    turns = [{"role": role, "content": role.upper()} for role in ("system", "user", "assistant", "user")]
    text = jinja2.Template(PLAIN_TEMPLATE).render(messages=turns, add_generation_prompt=True)
    assert text == "SYSTEM\n\nUser: USER\nAssistant: ASSISTANT\nUser: USER\nAssistant:"


async def test_a_template_of_the_options_replaces_the_models_own(load):
    template = "{%- for turn in messages -%}{{ 'Where' }}{%- endfor -%}{{ '\n' }}"
    assert await reply_to(await load(chat_template=template), OPENING) == ANSWERS["Where"]


async def test_the_model_is_found_in_a_folder(tmp_path):
    make_tiny_gguf(tmp_path / "model.gguf")
    engine = make_engine(tmp_path)
    await engine.start()
    assert await reply_to(engine, OPENING) == ANSWERS["time"]
    await engine.close()


async def test_the_reply_ends_at_the_limit_of_tokens_and_says_so(load):
    engine = await load(max_tokens=5)
    deltas = [delta async for delta in engine.stream([SYSTEM, ENDLESS])]
    assert "".join(delta.text for delta in deltas) == ANSWERS[COUNT][: len("Certainly 1 2 3 4")]
    assert deltas[-1].is_cut


async def test_a_closed_reply_frees_its_slot_at_once(load):
    engine = await load(slots=1, max_tokens=1000)
    for _ in range(5):
        async with aclosing(engine.stream([SYSTEM, ENDLESS])) as endless:
            await anext(endless)
        assert await reply_to(engine, OPENING) == ANSWERS["time"]


async def test_a_reply_that_was_closed_is_no_longer_computed(load, monkeypatch):
    engine = await load(slots=1, max_tokens=1000)
    events: list[bytes] = []
    read = llama_cpp.read_chunk
    monkeypatch.setattr(llama_cpp, "read_chunk", lambda event: events.append(event) or read(event))
    async with aclosing(engine.stream([SYSTEM, ENDLESS])) as endless:
        await anext(endless)
    await engine.close()  # it waits for the thread of the request
    assert len(events) < 100


async def test_as_many_replies_as_there_are_slots_are_made_at_once(load):
    engine = await load(slots=3, max_tokens=1000)
    async with aclosing(engine.stream([SYSTEM, ENDLESS])) as one, aclosing(engine.stream([SYSTEM, ENDLESS])) as other:
        await anext(one), await anext(other)
        assert await reply_to(engine, OPENING) == ANSWERS["time"]
        assert (await anext(one)).text
        assert (await anext(other)).text


async def test_a_request_without_a_slot_waits_no_longer_than_the_first_words_may_take(load):
    engine = await load(slots=1, max_tokens=1000, first_token_timeout=0.05)
    async with aclosing(engine.stream([SYSTEM, ENDLESS])) as endless:
        await anext(endless)
        with pytest.raises(EngineFull):
            await reply_to(engine, OPENING)


async def test_a_speculative_request_without_words_gives_way_to_a_real_one(load, monkeypatch):
    engine = await load(slots=1)
    held = asyncio.Event()
    events = LlamaServer.events

    async def keep_words_back(server, body):
        async with aclosing(events(server, body)) as progress:
            yield await anext(progress)
            held.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(LlamaServer, "events", keep_words_back)
    guess = asyncio.create_task(reply_to(engine, WHERE, speculative=True))
    await held.wait()
    monkeypatch.setattr(LlamaServer, "events", events)
    assert await reply_to(engine, OPENING) == ANSWERS["time"]
    assert await guess == ANSWERS["Where"]


async def test_warming_does_not_wait_for_a_slot(load):
    engine = await load(slots=1, max_tokens=1000)
    async with aclosing(engine.stream([SYSTEM, ENDLESS])) as endless:
        await anext(endless)
        await engine.warm([SYSTEM, OPENING])
        assert (await anext(endless)).text


async def prompt_tokens_read(engine, monkeypatch, *messages: Message) -> int:
    """Make a reply, and return how many tokens of its prompt were not in the slot."""
    progress: list[bytes] = []
    is_progress = llama_cpp.is_progress
    monkeypatch.setattr(llama_cpp, "is_progress", lambda event: progress.append(event) or is_progress(event))
    await reply_to(engine, *messages)
    monkeypatch.undo()
    told = [msgspec.json.decode(event).get("prompt_progress") for event in progress]
    last = [each for each in told if each][-1]
    return last["total"] - last["cache"]


async def test_calls_by_turns_read_only_their_new_words(load, monkeypatch):
    engine = await load(slots=2)
    about = Message("user", "The hotel has many rooms, and each of them has a window. " * 20)
    calls: list[list[Message]] = [[about, Message("assistant", "Good morning.")] for _ in range(2)]
    for _ in calls:
        await engine.warm([SYSTEM])
    for turn in range(4):
        for number, call in enumerate(calls):
            call.append(Message("user", f"Caller {number} asks in turn {turn}: what time do you open?"))
            call.append(Message("assistant", await reply_to(engine, *call)))
    for number, call in enumerate(calls):
        call.append(Message("user", f"Caller {number}: where are you?"))
        assert await prompt_tokens_read(engine, monkeypatch, *call) < 60


async def test_a_conversation_that_is_too_long_loses_its_oldest_turns(load, caplog):
    engine = await load(context_tokens=1024)
    # Each sign is a token of this model, but counts as a third of one.
    history = [Message(role, "!?" * 60) for role in ("user", "assistant") * 12]
    assert await reply_to(engine, *history, OPENING) == ANSWERS["time"]
    assert "context" in caplog.text
    caplog.clear()
    assert await reply_to(engine, *history, OPENING) == ANSWERS["time"]
    assert not caplog.text


async def test_a_system_message_that_is_too_long_is_an_error_without_its_words(load):
    engine = await load(context_tokens=512)
    with pytest.raises(ContextTooLarge) as refusal:
        await reply_to(engine, Message("user", "?!" + "secret words of a caller ?! " * 500))
    assert "secret words" not in str(refusal.value)


class SlowServer:
    """Sends these events, and then no more."""

    def __init__(self, *events: bytes) -> None:
        self._events = events

    async def events(self, body):
        for event in self._events:
            yield event
        await asyncio.Event().wait()

    def close(self):
        pass


PROGRESS = b'{"choices":[{"delta":{"content":null}}],"prompt_progress":{"total":9,"cache":0,"processed":4}}'
WORD = b'{"choices":[{"delta":{"content":"We "}}]}'


@pytest.mark.parametrize(
    ("events", "limit", "what"),
    [
        ([], "first_token_timeout", "first words"),
        ([PROGRESS], "first_token_timeout", "first words"),
        ([PROGRESS, WORD], "inter_token_timeout", "next words"),
        ([PROGRESS, WORD], "reply_timeout", "next words"),
    ],
)
async def test_a_model_that_is_too_slow_fails_the_reply(unstarted, events, limit, what):
    engine = unstarted(**{limit: 0.01})
    engine._server = SlowServer(*events)
    with pytest.raises(EngineTimeout, match=what):
        await reply_to(engine, OPENING)


async def test_an_engine_that_was_not_started_says_so(unstarted):
    with pytest.raises(EngineError, match="not loaded"):
        await reply_to(unstarted(), OPENING)


async def test_closing_leaves_no_thread_no_port_and_no_file(unstarted, monkeypatch, tmp_path):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    before = await asyncio.to_thread(threads)
    engine = unstarted()
    await engine.start()
    assert not [*(tmp_path / "tmp").iterdir()]
    assert threads() > before
    assert await reply_to(engine, OPENING) == ANSWERS["time"]
    await engine.close()
    assert threads() == before
    await engine.start()
    assert await reply_to(engine, WHERE) == ANSWERS["Where"]
    await engine.close()


async def test_nothing_listens_on_a_port_of_the_network(load):
    def listening() -> set[str]:
        texts = [Path(f"/proc/self/net/{each}").read_text() for each in ("tcp", "tcp6")]
        lines = [line.split() for text in texts for line in text.splitlines()]
        inodes = {os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}
        return {f[1] for f in lines if f[3] == "0A" and f"socket:[{f[9]}]" in inodes}

    before = listening()
    await load()
    assert listening() == before


async def test_signals_still_reach_the_process(load):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    caught = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, caught.set)
    try:
        await load()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(caught.wait(), 30)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert {number: signal.getsignal(number) for number in before} == before


async def test_the_description_names_the_file_and_the_memory_before_and_after_the_start(unstarted, tiny):
    engine = unstarted(slots=3)
    before = engine.describe()
    assert str(tiny) in before.weights
    assert "gemma3" in before.weights
    assert before.capacity == 3
    assert before.memory_bytes > tiny.stat().st_size
    await engine.start()
    assert engine.describe() == before
    await engine.close()


async def refused(engine) -> str:
    with pytest.raises(EngineError) as refusal:
        await engine.start()
    assert refusal.value.permanent
    await engine.close()
    return str(refusal.value)


async def test_a_missing_file_is_a_permanent_error_with_its_path(tmp_path):
    engine = make_engine(tmp_path / "nothing.gguf")
    assert "nothing.gguf" in engine.describe().weights
    assert "nothing.gguf of the option `model` does not exist" in await refused(engine)


async def test_a_file_of_another_format_is_a_permanent_error(tmp_path):
    (tmp_path / "model.gguf").write_text("a web page about a model")
    assert "is no GGUF file" in await refused(make_engine(tmp_path / "model.gguf"))


async def test_an_architecture_that_llama_cpp_does_not_know_is_a_permanent_error(tmp_path, capfd):
    path = make_tiny_gguf(tmp_path / "new.gguf", architecture="gemma99")
    said = await refused(make_engine(path))
    assert "gemma99" in said
    assert "stderr" in said
    written = ""
    for _ in range(200):  # a thread of llama.cpp writes it, maybe later
        written += capfd.readouterr().err
        if "gemma99" in written:
            break
        await asyncio.sleep(0.05)
    assert "gemma99" in written


async def test_a_context_beyond_that_of_the_training_is_a_permanent_error(tiny):
    assert "set context_tokens to at most" in await refused(make_engine(tiny, context_tokens=CONTEXT * 2))


async def test_too_little_memory_is_a_permanent_error_that_says_what_to_do(unstarted, monkeypatch):
    monkeypatch.setattr(llama_cpp, "available_memory", lambda: 1_000_000)
    assert "use a smaller model, fewer slots or a smaller context" in await refused(unstarted())


async def test_without_the_package_the_error_says_what_to_install(unstarted, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert "pip install -r requirements/talk.txt" in await refused(unstarted())


@pytest.mark.parametrize(
    "wrong",
    [
        *({"slots": 0}, {"threads": -1}, {"context_tokens": 100}, {"max_tokens": 0}, {"max_tokens": 2049}),
        *({"temperature": -0.1}, {"model": ""}, {"batch_tokens": 8}),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(wrong):
    with pytest.raises(EngineError, match=next(iter(wrong))) as refusal:
        LlamaCppOptions(**({"model": "model.gguf"} | wrong))
    assert refusal.value.permanent


def test_one_core_is_left_to_the_rest_of_the_calls(monkeypatch):
    for cores, expected in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr("inference.llama.options.usable_cores", lambda cores=cores: cores)
        assert spare_cores() == expected
