"""The decisions of the CSM engine, on a simulated machine in virtual time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.csm.scheduler import FIRST_FRAME_SECONDS, FRAME_SECONDS, MEASURED_FOR, Plan, Scheduler
from inference.types import EngineFull

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
H100 = {1: 0.0072, 2: 0.0073, 4: 0.0075, 8: 0.0078, 16: 0.0084, 32: 0.0095, 64: 0.0115}
"""Seconds per tick as estimated for an H100; chunks cost 1.5 ms and 15 us a token."""


@dataclass
class Caller:
    """What the caller hears of one call, kept apart from what the scheduler believes."""

    asked: float | None = None
    first_after: list[float] = field(default_factory=list)
    heard_until: float = 0.0
    """When the audio made so far ends."""
    frames: int = 0
    gaps: int = 0
    to_feed: int = 0
    clause: bool = False


class Machine:
    """Carries out plans and takes time for it; tells the truth about what came out."""

    def __init__(self, slots=64, *, tick=H100, chunk=0.0015, token=0.000015, warm=True, **options):
        self.scheduler = Scheduler(slots, buckets=[b for b in BUCKETS if b <= slots], **options)
        self.tick, self.chunk, self.token = tick, chunk, token
        self.now = 0.0
        self.gaps = 0
        self.callers: dict[int, Caller] = {}
        self.done: list[tuple[float, Plan]] = []
        if warm:
            for bucket in self.scheduler._tick_seconds._sizes:
                self.scheduler.record_tick(range(bucket), now=0.0, seconds=self.tick_seconds(bucket))

    def tick_seconds(self, size):
        if callable(self.tick):
            return self.tick(size)
        return self.tick[min(b for b in self.tick if b >= size)]

    def join(self):
        slot = self.scheduler.join(now=self.now)
        assert slot not in self.callers
        self.callers[slot] = Caller()
        return slot

    def leave(self, slot):
        self.scheduler.leave(slot)
        del self.callers[slot]

    def prefill_later(self, slot, tokens):
        self.scheduler.prefill_later(slot, tokens, now=self.now)
        self.callers[slot].to_feed += tokens

    def start_clause(self, slot, tokens=10, *, since=None):
        """``since``: when the text came, if a tick was in flight then."""
        self.scheduler.start_clause(slot, tokens, now=self.now)
        caller = self.callers[slot]
        caller.to_feed += tokens
        if not caller.clause and caller.heard_until <= self.now:
            caller.asked = self.now if since is None else since
        caller.clause = True

    def end_clause(self, slot):
        self.scheduler.end_clause(slot, now=self.now)
        self.callers[slot].clause, self.callers[slot].asked = False, None

    def stop(self, slot):
        self.scheduler.stop(slot)
        self.callers[slot] = Caller(frames=self.callers[slot].frames, first_after=self.callers[slot].first_after)

    def step(self, until):
        """Do one plan, or pass the time until there is one; checks what must hold of every plan."""
        plan = self.scheduler.plan(now=self.now)
        assert self.scheduler.plan(now=self.now) == plan
        assert len(set(plan.frames)) == len(plan.frames)
        if plan.prefill is None and not plan.frames:
            assert plan.wait_until is None or plan.wait_until > self.now
            self.now = until if plan.wait_until is None else min(until, plan.wait_until)
            return plan
        assert plan.wait_until is None
        self.done.append((self.now, plan))
        if plan.prefill is not None:
            slot, tokens = plan.prefill
            assert 0 < tokens <= self.callers[slot].to_feed
            seconds = self.chunk + tokens * self.token
            self.now += seconds
            self.callers[slot].to_feed -= tokens
            self.scheduler.record_prefill(slot, tokens, now=self.now, seconds=seconds)
        if plan.frames:
            seconds = self.tick_seconds(len(plan.frames))
            self.now += seconds
            for slot in plan.frames:
                self._hear(self.callers[slot])
            self.scheduler.record_tick(plan.frames, now=self.now, seconds=seconds)
        return plan

    def _hear(self, caller):
        assert caller.clause
        assert caller.to_feed == 0
        if caller.asked is not None:
            caller.first_after.append(self.now - caller.asked)
            caller.asked = None
        elif caller.heard_until < self.now:
            caller.gaps += 1
            self.gaps += 1
        caller.frames += 1
        caller.heard_until = max(caller.heard_until, self.now) + FRAME_SECONDS

    def run(self, seconds):
        """Returns the moment; ``now`` may be later, since a tick in flight is not interrupted."""
        until = self.now + seconds
        while self.now < until:
            self.step(until)
        return until

    def speaking(self, calls):
        """So many calls that started at different moments and are now in the middle of a long clause."""
        slots = []
        for _ in range(calls):
            slots.append(self.join())
            self.start_clause(slots[-1])
            self.run(0.037)
        self.run(1.0)
        return slots


@pytest.fixture
def machine():
    return Machine()


# -- one call


def test_a_clause_is_fed_in_bounded_chunks_and_then_spoken(machine):
    slot = machine.join()
    machine.start_clause(slot, 300)
    plans = [machine.step(1.0) for _ in range(4)]
    assert [plan.prefill for plan in plans] == [(slot, 128), (slot, 128), (slot, 44), None]
    assert plans[0].frames == plans[1].frames == plans[2].frames == ()
    assert plans[3].frames == (slot,)


def test_a_clause_whose_tokens_are_all_fed_already_is_spoken_at_once(machine):
    slot = machine.join()
    machine.prefill_later(slot, 10)
    machine.run(0.1)
    machine.start_clause(slot, 0)
    assert machine.scheduler.plan(now=machine.now) == Plan(frames=(slot,))


def test_a_speaking_call_keeps_its_lead_and_gets_a_frame_each_80_ms(machine):
    (slot,) = machine.speaking(1)
    frames, start = machine.callers[slot].frames, machine.now
    leads = []
    while machine.now < start + 8.0:
        machine.step(start + 8.0)
        leads.append(machine.scheduler.lead(slot, now=machine.now))
    assert machine.callers[slot].frames - frames == pytest.approx(100, abs=1)
    assert min(leads) > 0.4
    assert max(leads) <= 0.5 + FRAME_SECONDS


def test_nothing_to_do_means_waiting_until_the_lead_has_run_down(machine):
    (slot,) = machine.speaking(1)
    plan = machine.step(machine.now + 1.0)
    while plan.frames:
        plan = machine.step(machine.now + 1.0)
    assert machine.now == plan.wait_until
    assert machine.scheduler.plan(now=plan.wait_until - 1e-6).frames == ()
    assert machine.scheduler.plan(now=plan.wait_until).frames == (slot,)


def test_nothing_asked_means_waiting_for_somebody_to_ask(machine):
    machine.join()
    assert machine.scheduler.plan(now=0.0) == Plan()


def test_after_the_end_of_a_clause_no_frame_is_made_and_the_lead_runs_down(machine):
    (slot,) = machine.speaking(1)
    machine.end_clause(slot)
    lead = machine.scheduler.lead(slot, now=machine.now)
    assert machine.scheduler.plan(now=machine.now) == Plan()
    assert machine.scheduler.lead(slot, now=machine.now + 0.1) == pytest.approx(lead - 0.1)
    assert machine.scheduler.lead(slot, now=machine.now + 9.0) == 0.0


def test_the_next_clause_goes_on_before_the_audio_runs_out(machine):
    slots = machine.speaking(32)
    for _ in range(20):
        for slot in slots[::5]:
            machine.end_clause(slot)
            machine.start_clause(slot)
        machine.run(0.3)
    assert sum(machine.callers[slot].gaps for slot in slots) == machine.scheduler.counters.underruns == 0
    assert all(len(machine.callers[slot].first_after) == 1 for slot in slots)


def test_stop_forgets_what_waits_and_the_lead(machine):
    slot, other = machine.speaking(2)
    machine.stop(slot)
    assert machine.scheduler.lead(slot, now=machine.now) == 0.0
    machine.prefill_later(slot, 500)
    machine.start_clause(other, 500)
    machine.stop(slot)
    machine.stop(other)
    assert machine.scheduler.plan(now=machine.now) == Plan()


def test_rewinding_between_two_clauses_does_not_take_the_audio_from_the_caller(machine):
    (slot,) = machine.speaking(1)
    lead = machine.scheduler.lead(slot, now=machine.now)
    machine.prefill_later(slot, 500)
    machine.scheduler.stop(slot, audio_goes_on=True)
    assert machine.scheduler.lead(slot, now=machine.now) == lead
    assert machine.scheduler.plan(now=machine.now) == Plan()
    machine.scheduler.start_clause(slot, 10, now=machine.now)
    assert machine.scheduler.plan(now=machine.now) == Plan(prefill=(slot, 10))
    assert machine.scheduler.counters.firsts == 1


def test_a_frame_that_is_not_spoken_adds_nothing_to_the_lead_and_is_not_the_first(machine):
    scheduler, slot = machine.scheduler, machine.join()
    scheduler.start_clause(slot, 0, now=0.0)
    scheduler.record_tick([slot], now=0.01, seconds=0.01, unspoken={slot})
    assert scheduler.lead(slot, now=0.01) == 0.0
    assert scheduler.counters.firsts == 0
    assert scheduler.plan(now=0.01).frames == (slot,)
    scheduler.record_tick([slot], now=0.02, seconds=0.01)
    scheduler.end_clause(slot, now=0.03)
    scheduler.record_tick([slot], now=0.03, seconds=0.01)
    assert scheduler.lead(slot, now=0.02) == pytest.approx(FRAME_SECONDS)
    assert (scheduler.counters.frames, scheduler.counters.firsts, scheduler.counters.ticks) == (1, 1, 3)


def test_what_a_call_does_in_a_slot_leaves_no_trace_for_the_next(machine):
    (slot,) = machine.speaking(1)
    machine.prefill_later(slot, 500)
    machine.leave(slot)
    assert machine.join() == slot
    assert machine.scheduler.lead(slot, now=machine.now) == 0.0
    assert machine.scheduler.plan(now=machine.now) == Plan()


def test_a_frame_in_flight_for_a_clause_that_was_stopped_adds_nothing_to_the_next(machine):
    scheduler, (slot,) = machine.scheduler, machine.speaking(1)
    scheduler.stop(slot)
    scheduler.start_clause(slot, 10, now=machine.now)
    scheduler.record_tick([slot], now=machine.now, seconds=0.01)
    assert scheduler.lead(slot, now=machine.now) == 0.0
    assert scheduler.counters.firsts == 1


def test_late_and_repeated_words_about_a_call_that_has_left_are_ignored(machine):
    scheduler, slot = machine.scheduler, machine.join()
    for _ in range(2):
        scheduler.leave(slot)
    scheduler.stop(slot)
    scheduler.end_clause(slot, now=0.0)
    scheduler.record_prefill(slot, 10, now=0.0, seconds=0.001)
    scheduler.record_tick([slot], now=0.0, seconds=0.001)
    assert scheduler.lead(slot, now=0.0) == 0.0
    assert [scheduler.join(now=0.0), scheduler.join(now=0.0)] == [0, 1]


def test_feeding_a_slot_without_a_call_is_a_mistake(machine):
    with pytest.raises(ValueError, match="Slot 3 has no call"):
        machine.scheduler.start_clause(3, 10, now=0.0)
    slot = machine.join()
    with pytest.raises(ValueError, match="cannot be prefilled"):
        machine.scheduler.prefill_later(slot, -1, now=0.0)


# -- many calls


@pytest.mark.parametrize("others", [0, 31, 32, 63])
def test_a_new_call_speaks_soon_while_others_speak(others):
    """At worst a tick of all the others has just begun: then a chunk, and a tick of one's own."""
    waits = []
    for phase in range(60):
        machine = Machine()
        machine.speaking(others)
        slot = machine.join()
        machine.prefill_later(slot, 400)
        machine.run(0.2)
        text_came = machine.run(phase * 0.0016)
        machine.start_clause(slot, 10, since=text_came)
        machine.run(0.5)
        waits += machine.callers[slot].first_after
        assert sum(caller.gaps for caller in machine.callers.values()) == 0
    assert len(waits) == 60
    assert sorted(waits)[30] < 0.010
    assert max(waits) < H100[64] + 0.010


def test_a_first_frame_is_made_without_those_who_have_plenty_of_lead(machine):
    machine.speaking(32)
    slot = machine.join()
    machine.start_clause(slot)
    assert machine.step(machine.now) == Plan(prefill=(slot, 10))
    assert machine.step(machine.now) == Plan(frames=(slot,))


def test_a_first_frame_does_not_come_before_those_about_to_run_dry():
    scheduler = Scheduler(4, buckets=[1])
    low, high, new = (scheduler.join(now=0.0) for _ in range(3))
    for slot, frames in ((low, 1), (high, 5)):
        scheduler.start_clause(slot, 0, now=0.0)
        for _ in range(frames):
            scheduler.record_tick([slot], now=0.0, seconds=0.01)
    scheduler.start_clause(new, 0, now=0.02)
    order = []
    for _ in range(3):
        order += scheduler.plan(now=0.02).frames
        scheduler.record_tick(order[-1:], now=0.02, seconds=0.01)
        scheduler.stop(order[-1])
    assert order == [low, new, high]


def test_calls_that_started_at_different_moments_share_one_tick_per_frame(machine):
    machine.speaking(64)
    counters, start = machine.scheduler.counters, machine.now
    ticks, batch = counters.ticks, counters.batch
    machine.run(8.0)
    assert counters.ticks - ticks <= 101
    assert counters.batch - batch == pytest.approx(64 * 100, rel=0.02)
    assert machine.now == pytest.approx(start + 8.0, abs=0.02)


def test_64_calls_speak_without_a_gap(machine):
    slots = machine.speaking(64)
    machine.run(10.0)
    assert [machine.callers[slot].gaps for slot in slots] == [0] * 64
    assert machine.scheduler.counters.underruns == 0
    assert max(max(machine.callers[slot].first_after) for slot in slots) < 0.05


def test_eight_callers_who_ask_at_once_share_their_first_tick(machine):
    machine.speaking(24)
    slots = [machine.join() for _ in range(8)]
    for slot in slots:
        machine.start_clause(slot)
    machine.run(0.2)
    waits = [machine.callers[slot].first_after[0] for slot in slots]
    assert max(waits) < 0.03


def test_those_who_are_ready_do_not_wait_for_ever_for_others_who_ask(machine):
    slots = [machine.join() for _ in range(64)]
    for slot in slots:
        machine.start_clause(slot, 50)
    machine.run(0.6)
    waits = sorted(machine.callers[slot].first_after[0] for slot in slots)
    assert waits[0] < 0.03
    assert waits[-1] < 0.4
    assert machine.scheduler.counters.late_firsts == sum(wait > FIRST_FRAME_SECONDS for wait in waits)


# -- feeding in the background


def test_the_background_is_fed_while_nobody_waits(machine):
    slot, other = machine.join(), machine.join()
    machine.prefill_later(slot, 200)
    machine.prefill_later(other, 100)
    assert [machine.step(1.0).prefill for _ in range(3)] == [(slot, 128), (slot, 72), (other, 100)]


def test_a_clause_is_fed_before_the_background_and_makes_its_own_background_urgent(machine):
    first, second = machine.join(), machine.join()
    machine.prefill_later(first, 200)
    machine.prefill_later(second, 100)
    machine.start_clause(second, 10)
    assert machine.scheduler.plan(now=0.0) == Plan(prefill=(second, 110))


def test_the_background_is_fed_beside_speaking_calls_and_disturbs_none():
    machine = Machine()
    slots = machine.speaking(32)
    for _ in range(16):
        machine.prefill_later(machine.join(), 400)
    machine.run(3.0)
    assert all(caller.to_feed == 0 for caller in machine.callers.values())
    assert sum(machine.callers[slot].gaps for slot in slots) == 0


def test_the_background_waits_while_a_chunk_would_make_a_call_run_dry():
    scheduler = Scheduler(2, buckets=[1, 2])
    scheduler.record_tick(range(1), now=0.0, seconds=0.03)
    scheduler.record_prefill(0, 128, now=0.0, seconds=0.06)
    talker, listener = scheduler.join(now=0.0), scheduler.join(now=0.0)
    scheduler.start_clause(talker, 0, now=0.0)
    scheduler.record_tick([talker], now=0.0, seconds=0.03)
    scheduler.prefill_later(listener, 128, now=0.0)
    assert scheduler.plan(now=0.0) == Plan(frames=(talker,))
    scheduler.record_tick([talker], now=0.03, seconds=0.03)
    assert scheduler.plan(now=0.03) == Plan(prefill=(listener, 128), frames=(talker,))


def test_the_background_does_not_delay_a_first_frame(machine):
    slot, other = machine.join(), machine.join()
    machine.prefill_later(other, 100)
    machine.start_clause(slot, 0)
    assert machine.scheduler.plan(now=0.0) == Plan(frames=(slot,))


def test_the_end_of_a_clause_told_twice_costs_nobody_the_place_in_the_queue(machine):
    scheduler, slot, other = machine.scheduler, machine.join(), machine.join()
    scheduler.prefill_later(slot, 10, now=0.0)
    scheduler.prefill_later(other, 10, now=1.0)
    scheduler.end_clause(slot, now=2.0)
    assert scheduler.plan(now=2.0).prefill == (slot, 10)


# -- a clause to feed, others to speak


def slow(*, tick, chunk):
    """A machine of which only the times are known, with a call that has 80 ms of audio for each tick it was given."""
    scheduler = Scheduler(4, buckets=[4], max_load=99.0)
    scheduler.record_tick(range(4), now=0.0, seconds=tick)
    scheduler.record_prefill(0, 128, now=0.0, seconds=chunk)

    def talker(frames):
        slot = scheduler.join(now=0.0)
        scheduler.start_clause(slot, 0, now=0.0)
        for _ in range(frames):
            scheduler.record_tick([slot], now=0.0, seconds=tick)
        return slot

    return scheduler, talker


def test_a_next_clause_with_audio_left_is_fed_after_the_first_frame_of_another():
    scheduler, talker = slow(tick=0.01, chunk=0.002)
    between, new = talker(5), talker(0)
    scheduler.end_clause(between, now=0.0)
    scheduler.start_clause(between, 10, now=0.0)
    assert scheduler.plan(now=0.0) == Plan(frames=(new,))
    scheduler.record_tick([new], now=0.01, seconds=0.01)
    assert scheduler.plan(now=0.01).prefill == (between, 10)


def test_on_a_slow_machine_frames_go_before_the_first_chunk_of_a_new_call_even_at_a_good_lead():
    scheduler, talker = slow(tick=0.2, chunk=0.2)
    slot, new = talker(4), talker(0)
    scheduler.stop(new)
    scheduler.start_clause(new, 10, now=0.0)
    assert scheduler.plan(now=0.0) == Plan(frames=(slot,))


def test_on_a_slow_machine_frames_go_before_the_chunk_of_a_next_clause_even_at_a_good_lead():
    scheduler, talker = slow(tick=0.25, chunk=0.25)
    slot, between = talker(6), talker(6)
    scheduler.end_clause(between, now=0.03)
    scheduler.start_clause(between, 10, now=0.03)
    assert scheduler.plan(now=0.03) == Plan(frames=(slot,))


def test_an_urgent_chunk_lets_one_tick_pass_for_those_who_would_run_dry_and_not_two():
    scheduler = Scheduler(2, buckets=[1, 2], max_load=99.0)
    scheduler.record_tick(range(1), now=0.0, seconds=0.09)
    scheduler.record_prefill(0, 128, now=0.0, seconds=0.06)
    talker, new = scheduler.join(now=0.0), scheduler.join(now=0.0)
    scheduler.start_clause(talker, 0, now=0.0)
    scheduler.record_tick([talker], now=-0.2, seconds=0.09)
    scheduler.record_tick([talker], now=-0.1, seconds=0.09)
    scheduler.start_clause(new, 256, now=0.0)
    assert scheduler.plan(now=0.0) == Plan(frames=(talker,))
    scheduler.record_tick([talker], now=0.09, seconds=0.09)
    assert scheduler.plan(now=0.09) == Plan(prefill=(new, 128), frames=(talker,))
    scheduler.record_prefill(new, 128, now=0.15, seconds=0.06)
    scheduler.record_tick([talker], now=0.24, seconds=0.09)
    assert scheduler.plan(now=0.24) == Plan(frames=(talker,))


# -- too much to do


def test_overload_is_shared_evenly():
    machine = Machine(tick=lambda size: 0.002 * size, warm=False, max_load=99.0)  # 128 ms for 80 ms of sound
    slots = machine.speaking(64)
    machine.run(5.0)
    before = {slot: (machine.callers[slot].gaps, machine.callers[slot].frames) for slot in slots}
    machine.run(20.0)
    gaps = [machine.callers[slot].gaps - before[slot][0] for slot in slots]
    frames = [machine.callers[slot].frames - before[slot][1] for slot in slots]
    assert min(gaps) > 100
    assert max(gaps) - min(gaps) <= 2
    assert max(frames) - min(frames) <= 2
    assert machine.scheduler.counters.underruns == sum(caller.gaps for caller in machine.callers.values())


def test_overload_is_shared_evenly_where_a_tick_does_not_hold_all_calls():
    machine = Machine(64, tick=lambda size: 0.05, max_load=99.0)
    machine.scheduler = Scheduler(64, buckets=[16], max_load=99.0)  # four ticks of 50 ms for 80 ms of sound
    slots = machine.speaking(64)
    start = {slot: machine.callers[slot].frames for slot in slots}
    machine.run(20.0)
    frames = [machine.callers[slot].frames - start[slot] for slot in slots]
    assert max(frames) - min(frames) <= 2
    assert min(frames) > 90


def test_a_new_call_is_served_under_overload_too():
    machine = Machine(64, tick=lambda size: 0.1, max_load=99.0)
    machine.speaking(40)
    slot = machine.join()
    machine.start_clause(slot, 500)
    machine.run(2.0)
    assert machine.callers[slot].first_after


def test_admission_refuses_before_the_machine_is_too_slow():
    machine = Machine(tick={1: 0.02, 2: 0.022, 4: 0.025, 8: 0.03, 16: 0.05, 32: 0.07, 64: 0.12}, warm=False)
    machine.speaking(17)  # the seventeenth shows what the next bucket takes
    with pytest.raises(EngineFull, match=r"With 18 calls .* 7\d ms .* the limit is 64 ms"):
        machine.join()
    machine.run(5.0)
    assert machine.scheduler.counters.underruns == 0


def test_a_machine_too_slow_for_one_call_takes_one_and_no_second():
    machine = Machine(8, tick=lambda size: 0.2)
    machine.join()
    with pytest.raises(EngineFull):
        machine.join()


def test_measured_buckets_are_known_to_admission_before_the_first_call():
    machine = Machine(8, tick=lambda size: 0.03 * size)
    assert machine.scheduler.frame_seconds == pytest.approx({1: 0.03, 2: 0.06, 4: 0.12, 8: 0.24})
    assert machine.scheduler.counters.ticks == 0
    machine.join()
    machine.join()
    with pytest.raises(EngineFull, match="120 ms"):
        machine.join()


def test_the_share_of_prefill_counts_for_admission():
    machine = Machine(64, tick=lambda size: 0.03, chunk=0.03)
    for slot in machine.speaking(16):
        machine.end_clause(slot)
    for _ in range(60):  # much to feed for little speech
        for slot in list(machine.callers)[:4]:
            machine.start_clause(slot, 100)
        machine.run(0.3)
        for slot in list(machine.callers)[:4]:
            machine.end_clause(slot)
        machine.run(0.5)
    with pytest.raises(EngineFull, match="the limit is 64 ms"):
        machine.speaking(48)


def test_a_full_engine_says_so_and_has_room_after_a_call_has_left():
    scheduler = Scheduler(2, buckets=[2])
    slots = [scheduler.join(now=0.0), scheduler.join(now=0.0)]
    assert slots == [0, 1]
    with pytest.raises(EngineFull, match="All 2 slots"):
        scheduler.join(now=0.0)
    scheduler.leave(1)
    scheduler.leave(0)
    assert [scheduler.join(now=0.0), scheduler.join(now=0.0)] == [0, 1]


def test_a_call_gets_the_lowest_slot_that_is_free():
    scheduler = Scheduler(4, buckets=[4])
    for _ in range(4):
        scheduler.join(now=0.0)
    for slot in (1, 3, 0, 2):
        scheduler.leave(slot)
    assert [scheduler.join(now=0.0) for _ in range(4)] == [0, 1, 2, 3]


def test_one_hiccup_or_a_busy_minute_does_not_close_the_door_for_ever():
    scheduler = Scheduler(4, buckets=[4])
    scheduler.record_tick(range(4), now=0.0, seconds=0.02)
    scheduler.join(now=0.0)
    scheduler.record_tick(range(4), now=1.0, seconds=5.0)
    scheduler.leave(scheduler.join(now=1.0))
    for second in range(2, 60):
        scheduler.record_tick(range(4), now=float(second), seconds=0.2)
    with pytest.raises(EngineFull):
        scheduler.join(now=60.0)
    assert scheduler.join(now=59.0 + MEASURED_FOR + 0.1) == 1


# -- anything may happen

SLOTS = 6
EVENTS = ["join", "leave", "prefill_later", *3 * ["start_clause"], "end_clause", "stop", *3 * ["run"]]
happenings = st.lists(
    st.tuples(
        st.sampled_from(EVENTS),
        st.integers(0, SLOTS - 1),
        st.sampled_from([0, 1, 10, 60, 200]),
        st.sampled_from([0.0, 0.001, 0.02, 0.08, 0.3]),
    ),
    max_size=60,
)
speeds = st.sampled_from([(0.008, 0.001), (0.03, 0.02), (0.05, 0.1), (0.1, 0.01), (0.2, 0.3)])


@settings(max_examples=150, deadline=None)
@given(happenings, speeds, st.sampled_from([[1, 2, 4, 6], [2]]), st.sampled_from([0.5, 0.3, 0.1]))
def test_whatever_happens_every_plan_is_sound_and_everyone_who_asks_is_served(story, speed, buckets, lead):
    """``Machine.step`` checks each plan: no slot twice, frames only for clauses that are fed, waiting is right."""
    machine = Machine(SLOTS, tick=lambda size: speed[0], chunk=speed[1], warm=False)
    machine.scheduler = Scheduler(SLOTS, buckets=buckets, lead=lead, prefill_tokens=64, max_load=99.0)

    for what, slot, tokens, seconds in story:
        if what == "join" and len(machine.callers) < SLOTS:
            machine.join()
        elif what == "run":
            until = machine.now + seconds
            while machine.now < until:
                step_and_check(machine, until, lead)
        elif slot in machine.callers and what != "join":
            if what in ("prefill_later", "start_clause"):
                getattr(machine, what)(slot, tokens)
            else:
                getattr(machine, what)(slot)
        step_and_check(machine, machine.now, lead)  # told things take effect in the very next plan

    asked = {slot: machine.callers[slot].frames for slot in machine.callers if machine.callers[slot].clause}
    # Each clause of 60 x 200 tokens at most is fed in chunks of 64 with at most one tick between two of them.
    machine.run(60 * 200 / 64 * 2 * (speed[0] + speed[1]) + 3 * SLOTS * (speed[0] + speed[1]) + lead + 1.0)
    assert all(machine.callers[slot].frames > frames for slot, frames in asked.items())
    assert machine.scheduler.counters.underruns == machine.gaps


def step_and_check(machine, until, lead):
    before = machine.now
    plan = machine.step(until)
    assert len(plan.frames) <= max(machine.scheduler._tick_seconds._sizes)
    assert all(machine.callers[slot].clause for slot in plan.frames)
    for slot, caller in machine.callers.items():
        left = machine.scheduler.lead(slot, now=machine.now)
        assert left == pytest.approx(max(0.0, caller.heard_until - machine.now))
        assert left <= lead + FRAME_SECONDS + 1e-9
    if plan.prefill is None and not plan.frames:
        # Nothing was due before the time it named: a moment before, the answer is the same.
        for part in (0.25, 0.75, 0.999):
            moment = before + part * (machine.now - before)
            if moment < machine.now:
                assert machine.scheduler.plan(now=moment) == plan


def test_a_busy_minute_of_calls_coming_and_going_has_no_gap_and_hardly_a_late_first_frame():
    machine, chance = Machine(), random.Random(7)
    over: dict[int, float] = {}
    while machine.now < 60.0:
        for slot in [slot for slot, when in over.items() if when <= machine.now]:
            del over[slot]
            machine.end_clause(slot)
        if len(machine.callers) < 48 and chance.random() < 0.3:
            machine.prefill_later(machine.join(), 300)
        for slot, caller in list(machine.callers.items()):
            if caller.clause:
                if chance.random() < 0.002:
                    machine.stop(slot)
                    machine.prefill_later(slot, 300)
                    over.pop(slot, None)
            elif chance.random() < 0.02 and not 0.0 < machine.scheduler.lead(slot, now=machine.now) < 0.02:
                machine.start_clause(slot, chance.randint(5, 40))
                over[slot] = machine.now + chance.uniform(0.5, 5.0)
            elif chance.random() < 0.001:
                machine.leave(slot)
        machine.run(0.02)
    counters = machine.scheduler.counters
    assert counters.firsts > 500
    assert counters.late_firsts <= counters.firsts // 100
    assert counters.underruns == 0


def test_a_clause_that_is_asked_for_when_the_audio_is_all_but_heard_leaves_a_gap_that_counts(machine):
    (slot,) = machine.speaking(1)
    machine.end_clause(slot)
    machine.run(machine.scheduler.lead(slot, now=machine.now) - 0.001)
    machine.start_clause(slot)
    machine.run(0.1)
    assert machine.scheduler.counters.underruns == machine.callers[slot].gaps == 1
