"""Whose clause is synthesised next. The clauses are doubles that write down their steps, so nothing is timed."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from inference.types import EngineError
from inference.voices.turns import Steps, SynthesisThreads


@dataclass(eq=False)
class Clause:
    name: str
    log: list[str]
    steps_left: int = 1
    needed_at: float = 0.0
    seconds: float = 0.0
    """How much sound each step makes."""
    fails: Exception | None = None
    stopped: bool = False
    closed: bool = False
    before: threading.Event | None = None
    """What the first step waits for."""
    began: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    error: EngineError | None = None

    def steps(self) -> Steps:
        try:
            for _ in range(self.steps_left):
                self.began.set()
                if self.before is not None:
                    self.before.wait(60)
                if self.fails is not None:
                    raise self.fails
                self.log.append(self.name)
                self.needed_at += self.seconds
                yield
        finally:
            self.closed = True

    def done(self, error: EngineError | None) -> None:
        self.error = error
        self.ended.set()


@pytest_asyncio.fixture
async def threads():
    threads = SynthesisThreads("test")
    yield threads
    threads.close()


class Crowd:
    """Clauses that all wait until the first one lets them go, so that their order is decided and not raced."""

    def __init__(self, threads: SynthesisThreads) -> None:
        self.threads = threads
        self.log: list[str] = []
        self.go = threading.Event()
        self.clauses: list[Clause] = []
        gate = self.submit("", needed_at=-1.0, before=self.go)
        gate.began.wait(60)

    def submit(self, name: str, **facts) -> Clause:
        clause = Clause(name, self.log, **facts)
        self.clauses.append(clause)
        self.threads.submit(clause)
        return clause

    def order(self) -> str:
        self.go.set()
        for clause in self.clauses:
            assert clause.ended.wait(60)
        return "".join(self.log)


async def test_clauses_without_sound_are_begun_in_their_order(threads):
    crowd = Crowd(threads)
    for name, submitted in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        crowd.submit(name, needed_at=submitted)
    assert crowd.order() == "abc"


async def test_a_long_clause_lets_a_call_without_sound_go_first(threads):
    crowd = Crowd(threads)
    crowd.submit("L", needed_at=1.0, steps_left=5, seconds=0.7)
    crowd.submit("s", needed_at=1.5)
    assert crowd.order() == "LsLLLL"


async def test_clauses_of_several_calls_take_turns(threads):
    crowd = Crowd(threads)
    for name, submitted in (("a", 1.0), ("b", 1.1), ("c", 1.2)):
        crowd.submit(name, needed_at=submitted, steps_left=3, seconds=0.7)
    assert crowd.order() == "abcabcabc"


async def test_a_call_whose_sound_runs_out_goes_before_one_that_has_sound_in_hand(threads):
    crowd = Crowd(threads)
    crowd.submit("a", needed_at=9.0, steps_left=2, seconds=0.1)
    crowd.submit("b", needed_at=2.0, steps_left=2, seconds=0.1)
    assert crowd.order() == "bbaa"


async def test_a_clause_knows_whether_others_wait(threads):
    crowd = Crowd(threads)
    assert not threads.others_wait
    waiting = crowd.submit("a", needed_at=1.0)
    assert threads.others_wait
    waiting.stopped = True
    assert not threads.others_wait
    crowd.order()


async def test_a_stopped_clause_is_closed_and_makes_no_step(threads):
    crowd = Crowd(threads)
    clause = crowd.submit("a", needed_at=1.0, steps_left=3)
    never = crowd.submit("b", needed_at=2.0)
    never.stopped = True
    assert crowd.order() == "aaa"
    assert clause.closed
    assert never.error is None


async def test_an_error_ends_its_clause_only(threads):
    crowd = Crowd(threads)
    failing = crowd.submit("a", needed_at=1.0, fails=EngineError("no such voice", permanent=True))
    broken = crowd.submit("b", needed_at=2.0, fails=ValueError("42"))
    crowd.submit("c", needed_at=3.0)
    assert crowd.order() == "c"
    assert failing.error is not None
    assert failing.error.permanent
    assert str(broken.error) == "speech synthesis failed: ValueError: 42"


async def test_closing_ends_each_clause_with_an_error(threads):
    crowd = Crowd(threads)
    waiting = crowd.submit("a", needed_at=1.0)
    threads.close()
    assert waiting.ended.wait(60)
    assert str(waiting.error) == "the speech engine is closed"
    crowd.go.set()
    assert await asyncio.to_thread(crowd.clauses[0].ended.wait, 60)
    with pytest.raises(EngineError, match="is closed"):
        threads.submit(Clause("b", []))


async def test_two_threads_make_steps_of_two_clauses_at_the_same_time():
    threads = SynthesisThreads("test", 2)
    meet = threading.Barrier(2, timeout=60)

    class Meeting(Clause):
        def steps(self) -> Steps:
            meet.wait()
            yield

    clauses = [Meeting(name, []) for name in "ab"]
    for clause in clauses:
        threads.submit(clause)
    assert all([await asyncio.to_thread(clause.ended.wait, 60) for clause in clauses])
    assert [clause.error for clause in clauses] == [None, None]
    threads.close()
