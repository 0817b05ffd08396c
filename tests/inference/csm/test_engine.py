"""The engine's thread, on a machine that makes any frame at once and as the test scripts it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from inference.csm.context import ContextSegment, sound_positions, text_positions
from inference.csm.engine import CsmThread
from inference.csm.replies import Clause
from inference.csm.scheduler import Scheduler
from inference.csm.speaker import Speaker
from inference.types import ContextTooLarge, EngineError, EngineFull
from tests.inference.csm.machine import CODEBOOKS, ROWS, Caller, Machine, codes_of, tokens


async def test_a_reply_is_spoken_clause_by_clause_and_then_ends(engine):
    caller = Caller(engine)
    caller.say("Good morning. ", "How are you?")
    chunks = await caller.hears()
    assert codes_of(chunks) == [1, 2, 3, 4, 5] * 2
    ends = [chunk.text_end for chunk in chunks]
    assert ends == sorted(ends)
    assert [chunk.text_end for chunk in chunks if chunk.exact] == [14, 26]


async def test_the_model_is_fed_prompt_text_sound_and_the_end_of_each_clause(engine, machine):
    prompt = ContextSegment(tokens("My name is Ann"), np.full((20, CODEBOOKS), 7, np.int16))
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
    assert np.array_equal(caller.slot.speaker.row.fed, machine.fed[0])


async def test_the_first_clause_is_heard_before_the_second_is_known(engine):
    caller = Caller(engine)
    reply = caller.say("Good morning. ", more=True)
    first = [await caller.hears_next() for _ in range(6)]
    assert first[-1].text_end == 14
    engine.post(caller.slot, Speaker.add_clauses, reply, [Clause("Bye.", tokens("Bye."), 14)])
    engine.post(caller.slot, Speaker.end_text, reply)
    rest = await caller.hears()
    assert codes_of(rest) == [1, 2, 3, 4, 5]
    assert rest[-1].text_end == 18


async def test_the_next_reply_prefills_nothing_that_the_model_was_fed(engine, machine):
    caller = Caller(engine)
    caller.say("Good morning.")
    await caller.hears()
    await caller.settled()
    before = len(machine.fed[0])
    fed = []
    prefill, machine.prefill = machine.prefill, lambda row, what: (fed.append(len(what)), prefill(row, what))
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
        assert codes_of(heard) == list(range(1, 9)) * 2
    assert max(len(rows) for rows, _ in machine.frames_made) > 1


async def test_slots_are_limited_and_a_call_that_leaves_frees_its_own(engine):
    callers = [Caller(engine) for _ in range(ROWS)]
    with pytest.raises(EngineFull):
        Caller(engine)
    engine.leave(callers[1].slot)
    await callers[0].settled()
    new_call = Caller(engine)
    new_call.say("Hello.")
    assert codes_of(await new_call.hears()) == [1, 2, 3, 4, 5]


async def test_a_call_that_leaves_in_mid_reply_hears_no_more(engine, machine):
    machine.stops_before = 2
    caller, other = Caller(engine), Caller(engine)
    caller.say("Hello.")
    await caller.hears_next()
    await machine.stands()
    engine.leave(caller.slot)
    machine.go.set()
    with pytest.raises(EngineError, match="over"):
        await caller.hears()
    await other.settled()
    assert caller.items.empty()


async def test_the_slots_that_speak_are_kept_in_the_first_rows(engine, machine):
    """The fourth call speaks alone, so its frames are made in a bucket of one instead of four."""
    callers = [Caller(engine) for _ in range(ROWS)]
    await callers[3].settled()
    callers[3].say("Hello there.")
    assert codes_of(await callers[3].hears()) == [1, 2, 3, 4, 5]
    assert {rows for rows, _ in machine.frames_made} == {(0,)}
    callers[0].say("Me too.")
    assert codes_of(await callers[0].hears()) == [1, 2, 3, 4, 5]
    await callers[0].settled()
    assert np.array_equal(callers[0].slot.speaker.row.fed, machine.fed[engine._rows.row_of[0]])
    assert np.array_equal(callers[3].slot.speaker.row.fed, machine.fed[engine._rows.row_of[3]])


async def test_start_raises_an_error_of_the_build():
    def broken():
        raise EngineError("no memory", permanent=True)

    engine = CsmThread(broken, Scheduler(1, buckets=[1]), tokenize=tokens, temperature=0.0, top_k=1)
    with pytest.raises(EngineError, match="no memory"):
        engine.start()


async def test_a_long_call_forgets_its_beginning_and_keeps_its_voice(engine, machine):
    machine.script = lambda number: 1 + number % 31 if number < 60 else "end"
    prompt = ContextSegment(tokens("My name is Ann"), np.full((20, CODEBOOKS), 7, np.int16))
    caller = Caller(engine, prompt)
    text = "one two three four five six seven eight nine ten"
    for _ in range(12):
        caller.say(text)
        assert len(codes_of(await caller.hears())) == 60
        assert (await caller.remembers())[-1][0] == tokens(text)
        assert caller.slot.speaker.context.seconds <= 24
        assert np.array_equal(machine.fed[0][: len(prompt)], prompt.positions())
        assert np.array_equal(caller.slot.speaker.row.fed, machine.fed[0])


class EngineWithoutThread(CsmThread):
    """The engine without its thread: the test calls ``round``."""

    alive = True

    def start(self) -> None:
        self._build()


async def test_no_more_speech_is_made_ahead_than_the_lead(machine):
    machine.script = lambda number: number + 1
    now = [100.0]
    scheduler = Scheduler(ROWS, buckets=machine.buckets, lead=0.4, prefill_tokens=16)
    engine = EngineWithoutThread(
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


async def test_a_context_that_grows_too_large_is_shortened_and_harms_no_other_call(engine, machine):
    """Turns with many words and little sound are not bounded by seconds alone."""
    machine.script = lambda number: 1 + number % 31 if number < 40 else "end"
    prompt = ContextSegment(tokens("My name is Ann"), np.full((100, CODEBOOKS), 7, np.int16))
    caller, other = Caller(engine, prompt), Caller(engine)
    for turn in range(6):
        words = " ".join(f"word{n}" for n in range(200))
        segment = ContextSegment(tokens(words), np.full((10, CODEBOOKS), 3, np.int16))
        engine.post(caller.slot, Speaker.remember, segment, turn + 1)
        caller.say("one two three four five six seven eight")
        assert len(codes_of(await caller.hears())) == 40
        await caller.settled()
        assert len(caller.slot.speaker.row.fed) < Machine.positions
    other.say("Hello.")
    assert len(codes_of(await other.hears())) > 10


async def test_a_prompt_that_leaves_no_room_fails_only_its_own_call(engine):
    prompt = ContextSegment(tokens("long"), np.full((650, CODEBOOKS), 7, np.int16))
    caller, other = Caller(engine, prompt), Caller(engine)
    caller.say("Hello.")
    with pytest.raises(ContextTooLarge):
        await caller.hears()
    other.say("Hello.")
    assert codes_of(await other.hears()) == [1, 2, 3, 4, 5]


async def test_a_step_that_does_not_return_is_reported_as_a_hang(machine):
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
        await machine.stands()
        assert not engine.hangs
        now[0] += 60
        assert engine.hangs
        machine.go.set()
        await caller.hears()
        await caller.settled()
        assert not engine.hangs
    finally:
        engine.close()
