"""The engine's thread, on a machine that makes any frame at once and as the test tells it to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inference.csm.context import Context, Segment, sound_positions, text_positions
from inference.csm.engine import Clause, CsmThread, Reply
from inference.csm.model import ENDS, NOT_FINITE, Frames
from inference.csm.scheduler import Scheduler
from inference.types import AudioChunk, ContextTooLarge, EngineError, EngineFull

CODEBOOKS = 8
FRAME = 1920
ROWS = 4


class Machine:
    """
    In the place of both model and steps. ``script`` says of each frame of a row, counted from its last feeding, what
    comes: a number is the code of all codebooks, "end" the end of speech, "nan" a broken number, "silence" a quiet
    frame. ``rows`` holds what each row was fed, frames included, as the real one would have it in its cache.
    """

    rows = ROWS
    positions = 600
    codebooks = CODEBOOKS
    device = torch.device("cpu")
    buckets = (1, 2, 4)

    def __init__(self) -> None:
        self.script: Callable[[int], int | str] = lambda number: number + 1 if number < 5 else "end"
        self.fed = [np.zeros((0, CODEBOOKS + 1), np.int32) for _ in range(ROWS)]
        self.last: list[np.ndarray | None] = [None] * ROWS
        self.number = [0] * ROWS
        self.frames_made: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.breaks = False
        self.stops_before: int | None = None
        """This frame of a clause waits for ``go``, so that the test can say something meanwhile."""
        self.go, self.stopped = threading.Event(), threading.Event()
        self.mimi = SimpleNamespace(rate_hz=24000, frame_samples=FRAME, reset=lambda row: None)

    def bucket(self, rows: int) -> int:
        return next(bucket for bucket in self.buckets if bucket >= rows)

    def rewind(self, row: int, length: int) -> None:
        assert length <= len(self.fed[row])
        self.fed[row], self.last[row] = self.fed[row][:length], None

    def settle(self, row: int, *, temperature: float, top_k: int, gain: float) -> None:
        pass

    def swap(self, a: int, b: int, *, positions: int) -> None:
        for state in (self.fed, self.last, self.number):
            state[a], state[b] = state[b], state[a]
        assert max(len(self.fed[a]), len(self.fed[b])) <= positions

    def feed(self, row: int, what: np.ndarray) -> None:
        self.fed[row], self.last[row], self.number[row] = np.concatenate([self.fed[row], what]), None, 0

    def frame(self, rows: list[int], fresh: list[int]) -> Frames:
        if self.breaks:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if any(self.number[row] == self.stops_before for row in rows):
            self.stopped.set()
            assert self.go.wait(10)
        self.frames_made.append((tuple(rows), tuple(fresh)))
        size = self.bucket(max(rows) + 1)
        pcm, levels = np.zeros((size, FRAME), np.int16), np.full(size, -20.0, np.float32)
        codes, flags = np.zeros((size, CODEBOOKS), np.int64), np.zeros(size, np.int64)
        for row in rows:
            if row not in fresh and (last := self.last[row]) is not None:
                self.fed[row] = np.concatenate([self.fed[row], [[*last, 0]]])
            what = self.script(self.number[row])
            self.number[row] += 1
            match what:
                case "end":
                    flags[row] = ENDS
                case "nan":
                    flags[row] = NOT_FINITE
                case "silence":
                    codes[row], levels[row] = 9 + self.number[row], -80.0
                case code:
                    codes[row], pcm[row] = code, 1000 * code
            self.last[row] = codes[row]
        return Frames(pcm, codes, levels, flags)


class Caller:
    """One call and what it hears."""

    def __init__(self, engine: CsmThread, prompt: Segment | None = None) -> None:
        self.engine = engine
        context = Context(prompt, codebooks=CODEBOOKS, positions=599, most_seconds=24.0, keep_seconds=16.0)
        self.call = engine.join(context, gain=1.0, loop=asyncio.get_running_loop())
        self.items: asyncio.Queue[AudioChunk | EngineError | None] = asyncio.Queue()
        self._replies = 0

    def say(self, *texts: str, more: bool = False) -> Reply:
        """A new reply; from now on its sound is heard."""
        self._replies += 1
        self.items = asyncio.Queue()
        reply = Reply(self.items.put_nowait, self._replies)
        self.engine.begin(self.call, reply)
        starts = 0
        for text in texts:
            self.engine.say(self.call, reply, [Clause(text, tokens(text), starts)])
            starts += len(text)
        if not more:
            self.engine.finish(self.call, reply)
        return reply

    async def hears(self) -> list[AudioChunk]:
        """All of the reply; its error is raised."""
        heard = []
        while (item := await self._next()) is not None:
            heard.append(item)
        return heard

    async def hears_next(self) -> AudioChunk:
        item = await self._next()
        assert item is not None
        return item

    async def _next(self) -> AudioChunk | None:
        item = await asyncio.wait_for(self.items.get(), 10)
        if isinstance(item, EngineError):
            raise item
        return item

    async def remembers(self) -> list[tuple[tuple[int, ...], list[int]]]:
        """The segments of the context, as tokens and the code of each frame."""
        await self.settled()
        return [(said.tokens, said.codes[:, 0].tolist()) for said in self.call.context._said]

    async def settled(self) -> None:
        """Until the engine has done all that it was told, and has nothing left to do."""
        loop = asyncio.get_running_loop()
        while True:
            done = loop.create_future()
            self.engine._told.put(lambda done=done: loop.call_soon_threadsafe(done.set_result, len(self.call.waiting)))
            if not await done:
                return


def tokens(text: str) -> tuple[int, ...]:
    return (300, *(sum(map(ord, word)) % 200 + 1 for word in text.split()), 301)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def engine(machine) -> Iterator[CsmThread]:
    scheduler = Scheduler(ROWS, buckets=machine.buckets, lead=1e6, prefill_tokens=16)
    engine = CsmThread(lambda: (machine, machine), scheduler, tokenize=tokens, temperature=0.9, top_k=50)
    engine.start()
    machine.frames_made.clear()
    yield engine
    engine.close()


def sound(chunks: list[AudioChunk]) -> list[int]:
    """The code behind each frame of the sound."""
    pcm = np.concatenate([chunk.pcm for chunk in chunks])
    return [int(value) // 1000 for value in pcm[FRAME // 2 :: FRAME]]


async def test_a_reply_is_spoken_clause_by_clause_and_then_ends(engine):
    caller = Caller(engine)
    caller.say("Good morning. ", "How are you?")
    chunks = await caller.hears()
    assert sound(chunks) == [1, 2, 3, 4, 5] * 2
    ends = [chunk.text_end for chunk in chunks]
    assert ends == sorted(ends)
    assert [chunk.text_end for chunk in chunks if chunk.exact] == [14, 26]


async def test_the_model_is_fed_prompt_text_sound_and_the_end_of_each_clause(engine, machine):
    prompt = Segment(tokens("My name is Ann"), np.full((20, CODEBOOKS), 7, np.int16))
    caller = Caller(engine, prompt)
    caller.say("Good morning. ", "How are you?")
    await caller.hears()
    await caller.settled()
    spoken = sound_positions(np.repeat(np.arange(1, 6, dtype=np.int16)[:, None], CODEBOOKS, axis=1))
    wanted = [
        prompt.positions(),
        text_positions(tokens("Good morning. "), CODEBOOKS),
        spoken,
        text_positions(tokens("How are you?"), CODEBOOKS),
        spoken,
    ]
    assert np.array_equal(machine.fed[0], np.concatenate(wanted))
    assert np.array_equal(caller.call.fed, machine.fed[0])


async def test_the_first_clause_is_heard_before_the_second_is_known(engine):
    caller = Caller(engine)
    reply = caller.say("Good morning. ", more=True)
    first = [await caller.hears_next() for _ in range(6)]
    assert first[-1].text_end == 14
    engine.say(caller.call, reply, [Clause("Bye.", tokens("Bye."), 14)])
    engine.finish(caller.call, reply)
    rest = await caller.hears()
    assert sound(rest) == [1, 2, 3, 4, 5]
    assert rest[-1].text_end == 18


async def test_the_next_reply_is_fed_nothing_again(engine, machine):
    caller = Caller(engine)
    caller.say("Good morning.")
    await caller.hears()
    await caller.settled()
    before = len(machine.fed[0])
    fed = []
    feed, machine.feed = machine.feed, lambda row, what: (fed.append(len(what)), feed(row, what))
    caller.say("How are you?")
    await caller.hears()
    assert fed[0] == len(tokens("How are you?"))
    assert len(machine.fed[0]) > before


async def test_a_reply_without_text_ends_at_once(engine):
    caller = Caller(engine)
    caller.say()
    assert await caller.hears() == []


async def test_calls_share_frames_and_do_not_mix(engine, machine):
    callers = [Caller(engine) for _ in range(ROWS)]
    machine.script = lambda number: number + 1 if number < 8 else "end"
    for caller in callers:
        caller.say("One two three. ", "Four five.")
    for heard in await asyncio.gather(*(caller.hears() for caller in callers)):
        assert sound(heard) == list(range(1, 9)) * 2
    assert max(len(rows) for rows, _ in machine.frames_made) > 1


async def test_there_is_room_for_so_many_calls_and_a_place_is_given_back(engine):
    callers = [Caller(engine) for _ in range(ROWS)]
    with pytest.raises(EngineFull):
        Caller(engine)
    engine.leave(callers[1].call)
    await callers[0].settled()
    newcomer = Caller(engine)
    newcomer.say("Hello.")
    assert sound(await newcomer.hears()) == [1, 2, 3, 4, 5]


async def test_who_leaves_in_mid_reply_hears_no_more(engine, machine):
    machine.stops_before = 2
    caller, other = Caller(engine), Caller(engine)
    caller.say("Hello.")
    await caller.hears_next()
    engine.leave(caller.call)
    machine.go.set()
    with pytest.raises(EngineError, match="over"):
        await caller.hears()
    await other.settled()
    assert caller.items.empty()


async def test_those_who_speak_are_kept_in_front(engine, machine):
    """The fourth call speaks alone: in a bucket of one, and not of four."""
    callers = [Caller(engine) for _ in range(ROWS)]
    await callers[3].settled()
    callers[3].say("Hello there.")
    assert sound(await callers[3].hears()) == [1, 2, 3, 4, 5]
    assert {rows for rows, _ in machine.frames_made} == {(0,)}
    callers[0].say("Me too.")
    assert sound(await callers[0].hears()) == [1, 2, 3, 4, 5]
    await callers[0].settled()
    assert np.array_equal(callers[0].call.fed, machine.fed[engine._row_of[0]])
    assert np.array_equal(callers[3].call.fed, machine.fed[engine._row_of[3]])


class TestInterrupted:
    TEXT = "one two three four five six seven eight nine ten"

    @pytest.fixture(autouse=True)
    def long_clause(self, machine):
        machine.script = lambda number: number + 1 if number < 20 else "end"

    async def test_only_what_was_heard_is_remembered(self, engine, machine):
        caller = Caller(engine)
        reply = caller.say(self.TEXT, "And more.", more=True)
        heard = [await caller.hears_next() for _ in range(21)]
        engine.cancel(caller.call, reply)
        engine.heard(caller.call, 10 * FRAME + 5)
        assert len(heard) == 21
        assert await caller.remembers() == [(tokens("one two three four five"), list(range(1, 11)))]
        await caller.settled()
        half = np.repeat(np.arange(1, 11, dtype=np.int16)[:, None], CODEBOOKS, axis=1)
        wanted = [text_positions(tokens("one two three four five"), CODEBOOKS), sound_positions(half)]
        assert np.array_equal(machine.fed[0], np.concatenate(wanted))

    async def test_heard_to_the_end_is_all_remembered(self, engine):
        caller = Caller(engine)
        caller.say(self.TEXT)
        await caller.hears()
        engine.heard(caller.call, 20 * FRAME)
        assert await caller.remembers() == [(tokens(self.TEXT), list(range(1, 21)))]

    async def test_whole_clauses_stay_and_the_one_after_is_cut(self, engine):
        caller = Caller(engine)
        caller.say(self.TEXT, self.TEXT, self.TEXT)
        await caller.hears()
        engine.heard(caller.call, 30 * FRAME)
        assert await caller.remembers() == [
            (tokens(self.TEXT), list(range(1, 21))),
            (tokens("one two three four five"), list(range(1, 11))),
        ]

    @pytest.mark.parametrize("samples", [0, FRAME, 2 * FRAME - 1])
    async def test_without_a_whole_word_nothing_is_remembered(self, engine, samples):
        caller = Caller(engine)
        caller.say(self.TEXT)
        await caller.hears()
        engine.heard(caller.call, samples)
        assert await caller.remembers() == []

    async def test_hearing_less_and_less_is_possible_and_more_is_not(self, engine):
        caller = Caller(engine)
        caller.say(self.TEXT)
        await caller.hears()
        for samples in (16 * FRAME, 8 * FRAME, 18 * FRAME):
            engine.heard(caller.call, samples)
        assert await caller.remembers() == [(tokens("one two three four"), list(range(1, 9)))]

    async def test_a_reply_that_is_given_up_makes_no_more_frames(self, engine, machine):
        machine.stops_before = 1
        caller = Caller(engine)
        reply = caller.say(self.TEXT)
        await caller.hears_next()
        engine.cancel(caller.call, reply)
        machine.go.set()
        await caller.settled()
        assert len(machine.frames_made) == 2

    async def test_a_filler_is_said_while_the_reply_waits_for_its_words(self, engine, machine):
        machine.script = lambda number: number + 1 if number < 5 else "end"
        caller = Caller(engine)
        reply = caller.say(more=True)
        answer = caller.items
        caller.say("One moment, please.")
        assert sound(await caller.hears()) == [1, 2, 3, 4, 5]
        caller.items = answer
        engine.say(caller.call, reply, [Clause("We open at ten.", tokens("We open at ten."), 0)])
        engine.finish(caller.call, reply)
        assert sound(await caller.hears()) == [1, 2, 3, 4, 5]
        assert [said for said, _ in await caller.remembers()] == [
            tokens("One moment, please."),
            tokens("We open at ten."),
        ]

    async def test_the_reply_goes_on_between_its_clauses_before_another_begins(self, engine, machine):
        machine.script = lambda number: number + 1 if number < 5 else "end"
        machine.stops_before = 2
        caller = Caller(engine)
        caller.say("One two. ", "Three four.")
        first = caller.items
        await caller.hears_next()
        caller.say("Me too.")
        machine.go.set()
        await caller.hears()
        assert first.qsize() == 2 * 6 + 1 - 1  # all of it was said before
        assert [said for said, _ in await caller.remembers()] == [
            tokens("One two. "),
            tokens("Three four."),
            tokens("Me too."),
        ]


class TestGuarded:
    async def test_speech_that_does_not_end_is_cut(self, engine, machine):
        machine.script = lambda number: 1 + (number * number) % 23
        caller = Caller(engine)
        caller.say("Hello.")
        chunks = await caller.hears()
        assert 10 < len(sound(chunks)) < 60
        assert chunks[-1].text_end == len("Hello.")
        assert sum(engine.counts.values()) == 1
        assert await caller.remembers() == []  # it would teach the next clause

    async def test_a_clause_that_ends_at_once_is_tried_again(self, engine, machine):
        tries = iter([0, 5])
        limit = [0]

        def script(number: int) -> int | str:
            if number == 0:
                limit[0] = next(tries)
            return number + 1 if number < limit[0] else "end"

        machine.script = script
        caller = Caller(engine)
        caller.say("Hello there.")
        assert sound(await caller.hears()) == [1, 2, 3, 4, 5]
        assert engine.counts["immediate-end"] == 1
        assert await caller.remembers() == [(tokens("Hello there."), [1, 2, 3, 4, 5])]

    async def test_a_clause_that_always_ends_at_once_is_an_error_and_not_taken_for_said(self, engine, machine):
        machine.script = lambda number: "end"
        caller = Caller(engine)
        caller.say("Hello there.")
        with pytest.raises(EngineError, match=r"'Hello there\.'"):
            await caller.hears()
        assert await caller.remembers() == []

    @pytest.mark.parametrize("trouble", ["end", "nan"])
    async def test_how_far_the_text_is_never_goes_back(self, engine, machine, trouble):
        tried = []

        def script(number: int) -> int | str:
            if number == 0:
                tried.append(None)
            if trouble == "end":
                return number + 1 if number < (2 if len(tried) == 1 else 12) else "end"
            return "nan" if number == 6 else number + 1

        machine.script = script
        caller = Caller(engine)
        caller.say("one two three four five six seven eight nine ten")
        ends, failed = [], False
        try:
            while (chunk := await caller._next()) is not None:
                ends.append(chunk.text_end)
        except EngineError:
            failed = True
        assert ends == sorted(ends)
        assert failed == (trouble == "nan")  # what was heard already is not said again
        assert len(tried) == (2 if trouble == "end" else 1)

    async def test_numbers_that_are_none_cost_a_rebuild_and_then_the_reply(self, engine, machine):
        machine.script = lambda number: "nan" if number == 0 else 1
        prompt = Segment(tokens("My name is Ann"), np.full((20, CODEBOOKS), 7, np.int16))
        caller = Caller(engine, prompt)
        caller.say("Hello there.")
        with pytest.raises(EngineError, match="numbers"):
            await caller.hears()
        assert engine.counts["not-finite"] == 2
        machine.script = lambda number: number + 1 if number < 5 else "end"
        caller.say("Better now.")
        assert sound(await caller.hears()) == [1, 2, 3, 4, 5]
        await caller.settled()
        assert np.array_equal(machine.fed[0][: len(prompt)], prompt.positions())

    async def test_silence_at_the_beginning_is_not_spoken(self, engine, machine):
        machine.script = lambda number: "silence" if number < 2 else number if number < 7 else "end"
        caller = Caller(engine)
        caller.say("Hello there.")
        chunks = await caller.hears()
        assert sound(chunks) == [2, 3, 4, 5, 6]
        engine.heard(caller.call, 5 * FRAME)
        ((_, codes),) = await caller.remembers()
        assert len(codes) == 7

    async def test_a_mistake_in_one_call_is_not_that_of_the_others(self, engine, machine, caplog):
        one, other = Caller(engine), Caller(engine)
        one.say("Hello.", more=True)
        await one.hears_next()
        engine._tell(lambda call: 1 / 0, one.call)
        with pytest.raises(EngineError, match="mistake"):
            await one.hears()
        other.say("Hello.")
        assert sound(await other.hears()) == [1, 2, 3, 4, 5]
        assert "ZeroDivisionError" in caplog.text

    async def test_a_broken_machine_ends_all_replies_and_takes_no_calls(self, engine, machine):
        callers = [Caller(engine) for _ in range(2)]
        machine.breaks = True
        for caller in callers:
            caller.say("Hello.")
        for caller in callers:
            with pytest.raises(EngineError, match="stopped"):
                await caller.hears()
        engine._thread.join()
        with pytest.raises(EngineError, match="not running"):
            Caller(engine)

    async def test_closing_ends_what_is_open(self, engine, machine):
        machine.stops_before = 2
        caller = Caller(engine)
        caller.say("Hello.")
        await caller.hears_next()
        closing = asyncio.ensure_future(asyncio.to_thread(engine.close))
        await asyncio.sleep(0)
        machine.go.set()
        await closing
        with pytest.raises(EngineError, match="stopped"):
            await caller.hears()


async def test_a_failure_to_build_is_raised_by_start():
    def broken():
        raise EngineError("no memory", permanent=True)

    engine = CsmThread(broken, Scheduler(1, buckets=[1]), tokenize=tokens, temperature=0.0, top_k=1)
    with pytest.raises(EngineError, match="no memory"):
        engine.start()


async def test_a_long_call_forgets_its_beginning_and_keeps_its_voice(engine, machine):
    machine.script = lambda number: 1 + number % 31 if number < 60 else "end"
    prompt = Segment(tokens("My name is Ann"), np.full((20, CODEBOOKS), 7, np.int16))
    caller = Caller(engine, prompt)
    text = "one two three four five six seven eight nine ten"
    for _ in range(12):
        caller.say(text)
        assert len(sound(await caller.hears())) == 60
        assert (await caller.remembers())[-1][0] == tokens(text)
        assert caller.call.context.seconds <= 24
        assert np.array_equal(machine.fed[0][: len(prompt)], prompt.positions())
        assert np.array_equal(caller.call.fed, machine.fed[0])


class ByHand(CsmThread):
    """The engine without its thread: the test makes the rounds."""

    alive = True

    def start(self) -> None:
        self._build()


async def test_speech_is_made_no_further_ahead_than_the_lead(machine):
    machine.script = lambda number: number + 1
    now = [100.0]
    scheduler = Scheduler(ROWS, buckets=machine.buckets, lead=0.4, prefill_tokens=16)
    engine = ByHand(
        lambda: (machine, machine), scheduler, tokenize=tokens, temperature=0.9, top_k=50, clock=lambda: now[0]
    )
    engine.start()
    caller = Caller(engine)
    caller.say("one two three four five six seven eight nine ten")
    for _ in range(7):
        engine.round()
    for frames in range(10):
        now[0] = 100 + 0.08 * frames
        engine.round()
        await asyncio.sleep(0)
        assert 4 + frames <= caller.items.qsize() <= 5 + frames


async def test_a_context_that_grows_too_large_costs_no_call_but_its_own_memory(engine, machine):
    """The caller's turns have many words and little sound: seconds alone do not bound them."""
    machine.script = lambda number: 1 + number % 31 if number < 40 else "end"
    prompt = Segment(tokens("My name is Ann"), np.full((100, CODEBOOKS), 7, np.int16))
    caller, other = Caller(engine, prompt), Caller(engine)
    for turn in range(6):
        words = " ".join(f"word{n}" for n in range(200))
        engine.remember(caller.call, Segment(tokens(words), np.full((10, CODEBOOKS), 3, np.int16)), before=turn + 1)
        caller.say("one two three four five six seven eight")
        assert len(sound(await caller.hears())) == 40
        await caller.settled()
        assert len(caller.call.fed) < Machine.positions
    other.say("Hello.")
    assert len(sound(await other.hears())) > 10


async def test_a_prompt_that_leaves_no_room_fails_its_own_call_alone(engine):
    prompt = Segment(tokens("long"), np.full((650, CODEBOOKS), 7, np.int16))
    caller, other = Caller(engine, prompt), Caller(engine)
    caller.say("Hello.")
    with pytest.raises(ContextTooLarge):
        await caller.hears()
    other.say("Hello.")
    assert sound(await other.hears()) == [1, 2, 3, 4, 5]


async def test_a_machine_that_does_not_come_back_is_noticed(machine):
    now = [100.0]
    engine = CsmThread(
        lambda: (machine, machine),
        Scheduler(ROWS, buckets=machine.buckets, lead=1e6),
        tokenize=tokens,
        temperature=0.9,
        top_k=50,
        clock=lambda: now[0],
    )
    engine.start()
    try:
        machine.stops_before = 2
        caller = Caller(engine)
        caller.say("Hello.")
        assert await asyncio.to_thread(machine.stopped.wait, 10)
        assert not engine.hangs
        now[0] += 60
        assert engine.hangs
        machine.go.set()
        await caller.hears()
        await caller.settled()
        assert not engine.hangs
    finally:
        engine.close()
