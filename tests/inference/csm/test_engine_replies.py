"""Replies that are interrupted, fail or must be repeated, through the engine's thread on the scripted machine."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from inference.csm.context import ContextSegment, sound_positions, text_positions
from inference.csm.engine import CsmThread
from inference.csm.replies import Clause
from inference.csm.speaker import Speaker
from inference.types import EngineError
from tests.inference.csm.machine import CODEBOOKS, FRAME, Caller, codes_of, tokens


def wait_until_told(engine: CsmThread) -> None:
    """Block until the engine's thread, which stands in a step, has something else to do."""
    while engine._inbox.empty():
        time.sleep(0.001)


class TestInterrupted:
    TEXT = "one two three four five six seven eight nine ten"

    @pytest.fixture(autouse=True)
    def long_clause(self, machine):
        machine.script = lambda number: number + 1 if number < 20 else "end"

    async def test_only_what_was_heard_is_remembered(self, engine, machine):
        caller = Caller(engine)
        reply = caller.say(self.TEXT, "And more.", more=True)
        heard = [await caller.hears_next() for _ in range(21)]
        engine.post(caller.slot, Speaker.cancel_reply, reply)
        engine.post(caller.slot, Speaker.heard, 10 * FRAME + 5)
        assert len(heard) == 21
        assert await caller.remembers() == [(tokens("one two three four five"), list(range(1, 11)))]
        await caller.settled()
        half = np.repeat(np.arange(1, 11, dtype=np.int16)[:, None], CODEBOOKS, axis=1)
        wanted = [text_positions(tokens("one two three four five"), CODEBOOKS), sound_positions(half)]
        assert np.array_equal(machine.fed[0], np.concatenate(wanted))

    async def test_a_reply_heard_to_its_end_is_remembered_whole(self, engine):
        caller = Caller(engine)
        caller.say(self.TEXT)
        await caller.hears()
        engine.post(caller.slot, Speaker.heard, 20 * FRAME)
        assert await caller.remembers() == [(tokens(self.TEXT), list(range(1, 21)))]

    async def test_clauses_heard_whole_stay_and_the_next_one_is_cut(self, engine):
        caller = Caller(engine)
        caller.say(self.TEXT, self.TEXT, self.TEXT)
        await caller.hears()
        engine.post(caller.slot, Speaker.heard, 30 * FRAME)
        assert await caller.remembers() == [
            (tokens(self.TEXT), list(range(1, 21))),
            (tokens("one two three four five"), list(range(1, 11))),
        ]

    @pytest.mark.parametrize("samples", [0, FRAME, 2 * FRAME - 1])
    async def test_less_than_a_word_is_not_remembered(self, engine, samples):
        caller = Caller(engine)
        caller.say(self.TEXT)
        await caller.hears()
        engine.post(caller.slot, Speaker.heard, samples)
        assert await caller.remembers() == []

    async def test_a_later_report_can_only_reduce_what_was_heard(self, engine):
        caller = Caller(engine)
        caller.say(self.TEXT)
        await caller.hears()
        for samples in (16 * FRAME, 8 * FRAME, 18 * FRAME):
            engine.post(caller.slot, Speaker.heard, samples)
        assert await caller.remembers() == [(tokens("one two three four"), list(range(1, 9)))]

    async def test_a_cancelled_reply_makes_no_more_frames(self, engine, machine):
        machine.stops_before = 1
        caller = Caller(engine)
        reply = caller.say(self.TEXT)
        await caller.hears_next()
        await machine.stands()
        engine.post(caller.slot, Speaker.cancel_reply, reply)
        machine.go.set()
        await caller.settled()
        assert len(machine.frames_made) == 2

    async def test_a_filler_is_spoken_while_the_reply_waits_for_its_text(self, engine, machine):
        machine.script = lambda number: number + 1 if number < 5 else "end"
        caller = Caller(engine)
        reply = caller.say(more=True)
        answer = caller.items
        caller.say("One moment, please.")
        assert codes_of(await caller.hears()) == [1, 2, 3, 4, 5]
        caller.items = answer
        engine.post(caller.slot, Speaker.add_clauses, reply, [Clause("We open at ten.", tokens("We open at ten."), 0)])
        engine.post(caller.slot, Speaker.end_text, reply)
        assert codes_of(await caller.hears()) == [1, 2, 3, 4, 5]
        assert [said for said, _ in await caller.remembers()] == [
            tokens("One moment, please."),
            tokens("We open at ten."),
        ]

    async def test_a_reply_speaks_all_its_clauses_before_another_reply_begins(self, engine, machine):
        machine.script = lambda number: number + 1 if number < 5 else "end"
        machine.stops_before = 2
        caller = Caller(engine)
        caller.say("One two. ", "Three four.")
        first = caller.items
        await caller.hears_next()
        await machine.stands()
        caller.say("Me too.")
        machine.go.set()
        await caller.hears()
        assert first.qsize() == 2 * 6 + 1 - 1  # all of it was delivered before
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
        assert 10 < len(codes_of(chunks)) < 60
        assert chunks[-1].text_end == len("Hello.")
        assert sum(engine.counts.values()) == 1
        assert await caller.remembers() == []  # it would teach the next clause to babble

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
        assert codes_of(await caller.hears()) == [1, 2, 3, 4, 5]
        assert engine.counts["immediate-end"] == 1
        assert await caller.remembers() == [(tokens("Hello there."), [1, 2, 3, 4, 5])]

    async def test_a_clause_that_ends_at_once_every_time_is_an_error_and_not_remembered(self, engine, machine):
        machine.script = lambda number: "end"
        caller = Caller(engine)
        caller.say("Hello there.")
        with pytest.raises(EngineError, match="a clause of 12 characters"):
            await caller.hears()
        assert await caller.remembers() == []

    @pytest.mark.parametrize("trouble", ["end", "nan"])
    async def test_the_reported_position_in_the_text_never_falls(self, engine, machine, trouble):
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
            while (chunk := await caller.next_item()) is not None:
                ends.append(chunk.text_end)
        except EngineError:
            failed = True
        assert ends == sorted(ends)
        assert failed == (trouble == "nan")  # sound that was delivered is not repeated
        assert len(tried) == (2 if trouble == "end" else 1)

    async def test_nan_is_answered_by_one_rebuild_and_then_by_an_error(self, engine, machine):
        machine.script = lambda number: "nan" if number == 0 else 1
        prompt = ContextSegment(tokens("My name is Ann"), np.full((20, CODEBOOKS), 7, np.int16))
        caller = Caller(engine, prompt)
        caller.say("Hello there.")
        with pytest.raises(EngineError, match="NaN"):
            await caller.hears()
        assert engine.counts["not-finite"] == 2
        machine.script = lambda number: number + 1 if number < 5 else "end"
        caller.say("Better now.")
        assert codes_of(await caller.hears()) == [1, 2, 3, 4, 5]
        await caller.settled()
        assert np.array_equal(machine.fed[0][: len(prompt)], prompt.positions())

    async def test_silence_at_the_beginning_is_trimmed(self, engine, machine):
        machine.script = lambda number: "silence" if number < 2 else number if number < 7 else "end"
        caller = Caller(engine)
        caller.say("Hello there.")
        chunks = await caller.hears()
        assert codes_of(chunks) == [2, 3, 4, 5, 6]
        engine.post(caller.slot, Speaker.heard, 5 * FRAME)
        ((_, codes),) = await caller.remembers()
        assert len(codes) == 7

    async def test_an_error_in_one_call_leaves_the_others_alone(self, engine, machine, caplog):
        one, other = Caller(engine), Caller(engine)
        one.say("Hello.", more=True)
        await one.hears_next()
        engine._post(one.slot, lambda: 1 / 0)
        with pytest.raises(EngineError, match="failed in this call"):
            await one.hears()
        other.say("Hello.")
        assert codes_of(await other.hears()) == [1, 2, 3, 4, 5]
        assert "ZeroDivisionError" in caplog.text

    async def test_a_broken_machine_ends_all_replies_and_accepts_no_calls(self, engine, machine):
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

    async def test_closing_ends_open_replies(self, engine, machine):
        machine.stops_before = 2
        caller = Caller(engine)
        caller.say("Hello.")
        await caller.hears_next()
        await machine.stands()
        closing = asyncio.ensure_future(asyncio.to_thread(engine.close))
        await asyncio.to_thread(wait_until_told, engine)
        machine.go.set()
        await closing
        with pytest.raises(EngineError, match="stopped"):
            await caller.hears()
