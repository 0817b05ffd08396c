"""The decisions of the CSM engine, on a simulated machine in virtual time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.csm.durations import MEASURED_FOR
from inference.csm.scheduler import FIRST_FRAME_SECONDS, FRAME_SECONDS, Plan, Scheduler
from inference.types import EngineFull
from tests.inference.csm.virtual_machine import H100, Machine


@pytest.fixture
def machine():
    return Machine()


# -- one call


def test_a_clause_is_prefilled_in_bounded_chunks_and_then_spoken(machine):
    slot = machine.join()
    machine.start_clause(slot, 300)
    plans = [machine.step(1.0) for _ in range(4)]
    assert [plan.prefill for plan in plans] == [(slot, 128), (slot, 128), (slot, 44), None]
    assert plans[0].frames == plans[1].frames == plans[2].frames == ()
    assert plans[3].frames == (slot,)


def test_a_clause_whose_tokens_are_prefilled_already_is_spoken_at_once(machine):
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


def test_with_enough_lead_the_plan_is_to_wait_until_it_runs_low(machine):
    (slot,) = machine.speaking(1)
    plan = machine.step(machine.now + 1.0)
    while plan.frames:
        plan = machine.step(machine.now + 1.0)
    assert machine.now == plan.wait_until
    assert machine.scheduler.plan(now=plan.wait_until - 1e-6).frames == ()
    assert machine.scheduler.plan(now=plan.wait_until).frames == (slot,)


def test_without_a_clause_the_plan_is_to_wait_without_limit(machine):
    machine.join()
    assert machine.scheduler.plan(now=0.0) == Plan()


def test_after_the_end_of_a_clause_no_frame_is_made_and_its_audio_plays_on(machine):
    (slot,) = machine.speaking(1)
    machine.end_clause(slot)
    lead = machine.scheduler.lead(slot, now=machine.now)
    assert machine.scheduler.plan(now=machine.now) == Plan()
    assert machine.scheduler.lead(slot, now=machine.now + 0.1) == pytest.approx(lead - 0.1)
    assert machine.scheduler.lead(slot, now=machine.now + 9.0) == 0.0


def test_the_next_clause_continues_before_the_audio_runs_out(machine):
    slots = machine.speaking(32)
    for _ in range(20):
        for slot in slots[::5]:
            machine.end_clause(slot)
            machine.start_clause(slot)
        machine.run(0.3)
    assert sum(machine.callers[slot].gaps for slot in slots) == machine.scheduler.counters.underruns == 0
    assert all(len(machine.callers[slot].first_after) == 1 for slot in slots)


def test_stop_drops_waiting_tokens_and_the_lead(machine):
    slot, other = machine.speaking(2)
    machine.stop(slot)
    assert machine.scheduler.lead(slot, now=machine.now) == 0.0
    machine.prefill_later(slot, 500)
    machine.start_clause(other, 500)
    machine.stop(slot)
    machine.stop(other)
    assert machine.scheduler.plan(now=machine.now) == Plan()


def test_a_rewind_between_two_clauses_keeps_the_lead(machine):
    (slot,) = machine.speaking(1)
    lead = machine.scheduler.lead(slot, now=machine.now)
    machine.prefill_later(slot, 500)
    machine.scheduler.stop(slot, audio_goes_on=True)
    assert machine.scheduler.lead(slot, now=machine.now) == lead
    assert machine.scheduler.plan(now=machine.now) == Plan()
    machine.scheduler.start_clause(slot, 10, now=machine.now)
    assert machine.scheduler.plan(now=machine.now) == Plan(prefill=(slot, 10))
    assert machine.scheduler.counters.firsts == 1


def test_an_unspoken_frame_adds_no_lead_and_is_not_the_first(machine):
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


def test_the_next_call_in_a_slot_starts_afresh(machine):
    (slot,) = machine.speaking(1)
    machine.prefill_later(slot, 500)
    machine.leave(slot)
    assert machine.join() == slot
    assert machine.scheduler.lead(slot, now=machine.now) == 0.0
    assert machine.scheduler.plan(now=machine.now) == Plan()


def test_a_frame_in_progress_for_a_stopped_clause_adds_nothing_to_the_next_one(machine):
    scheduler, (slot,) = machine.scheduler, machine.speaking(1)
    scheduler.stop(slot)
    scheduler.start_clause(slot, 10, now=machine.now)
    scheduler.record_tick([slot], now=machine.now, seconds=0.01)
    assert scheduler.lead(slot, now=machine.now) == 0.0
    assert scheduler.counters.firsts == 1


def test_late_and_repeated_reports_about_a_call_that_has_left_are_ignored(machine):
    scheduler, slot = machine.scheduler, machine.join()
    for _ in range(2):
        scheduler.leave(slot)
    scheduler.stop(slot)
    scheduler.end_clause(slot, now=0.0)
    scheduler.record_prefill(slot, 10, now=0.0, seconds=0.001)
    scheduler.record_tick([slot], now=0.0, seconds=0.001)
    assert scheduler.lead(slot, now=0.0) == 0.0
    assert [scheduler.join(now=0.0), scheduler.join(now=0.0)] == [0, 1]


def test_tokens_for_a_slot_without_a_call_are_an_error(machine):
    with pytest.raises(ValueError, match="Slot 3 has no call"):
        machine.scheduler.start_clause(3, 10, now=0.0)
    slot = machine.join()
    with pytest.raises(ValueError, match="cannot be prefilled"):
        machine.scheduler.prefill_later(slot, -1, now=0.0)


# -- many calls


@pytest.mark.parametrize("others", [0, 31, 32, 63])
def test_a_new_call_is_heard_soon_while_others_speak(others):
    """At worst a tick of all the other calls has just begun; then follow a chunk and a tick for the new call."""
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


def test_a_first_frame_is_made_without_calls_that_have_plenty_of_lead(machine):
    machine.speaking(32)
    slot = machine.join()
    machine.start_clause(slot)
    assert machine.step(machine.now) == Plan(prefill=(slot, 10))
    assert machine.step(machine.now) == Plan(frames=(slot,))


def test_calls_about_to_run_out_of_audio_go_before_a_first_frame():
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


def test_eight_clauses_that_start_at_once_share_their_first_tick(machine):
    machine.speaking(24)
    slots = [machine.join() for _ in range(8)]
    for slot in slots:
        machine.start_clause(slot)
    machine.run(0.2)
    waits = [machine.callers[slot].first_after[0] for slot in slots]
    assert max(waits) < 0.03


def test_calls_that_are_ready_do_not_wait_long_for_others_that_start(machine):
    slots = [machine.join() for _ in range(64)]
    for slot in slots:
        machine.start_clause(slot, 50)
    machine.run(0.6)
    waits = sorted(machine.callers[slot].first_after[0] for slot in slots)
    assert waits[0] < 0.03
    assert waits[-1] < 0.4
    assert machine.scheduler.counters.late_firsts == sum(wait > FIRST_FRAME_SECONDS for wait in waits)


# -- prefill in the background


def test_context_is_prefilled_while_no_caller_waits(machine):
    slot, other = machine.join(), machine.join()
    machine.prefill_later(slot, 200)
    machine.prefill_later(other, 100)
    assert [machine.step(1.0).prefill for _ in range(3)] == [(slot, 128), (slot, 72), (other, 100)]


def test_a_clause_is_prefilled_before_other_context_and_makes_its_own_context_urgent(machine):
    first, second = machine.join(), machine.join()
    machine.prefill_later(first, 200)
    machine.prefill_later(second, 100)
    machine.start_clause(second, 10)
    assert machine.scheduler.plan(now=0.0) == Plan(prefill=(second, 110))


def test_context_is_prefilled_beside_speaking_calls_without_a_gap():
    machine = Machine()
    slots = machine.speaking(32)
    for _ in range(16):
        machine.prefill_later(machine.join(), 400)
    machine.run(3.0)
    assert all(caller.to_prefill == 0 for caller in machine.callers.values())
    assert sum(machine.callers[slot].gaps for slot in slots) == 0


def test_context_waits_while_a_chunk_would_make_a_call_run_out_of_audio():
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


def test_context_does_not_delay_a_first_frame(machine):
    slot, other = machine.join(), machine.join()
    machine.prefill_later(other, 100)
    machine.start_clause(slot, 0)
    assert machine.scheduler.plan(now=0.0) == Plan(frames=(slot,))


def test_a_repeated_end_of_a_clause_does_not_change_the_order_of_prefill(machine):
    scheduler, slot, other = machine.scheduler, machine.join(), machine.join()
    scheduler.prefill_later(slot, 10, now=0.0)
    scheduler.prefill_later(other, 10, now=1.0)
    scheduler.end_clause(slot, now=2.0)
    assert scheduler.plan(now=2.0).prefill == (slot, 10)


# -- a clause to prefill while others speak


def slow(*, tick, chunk):
    """A scheduler that knows these times, and a function that adds a call with 80 ms of audio for each frame."""
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


def test_a_next_clause_with_audio_left_is_prefilled_after_the_first_frame_of_another():
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


def test_an_urgent_chunk_lets_one_tick_pass_for_calls_that_would_run_out_of_audio_but_not_two():
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


# -- overload and admission


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


def test_overload_is_shared_evenly_if_a_tick_does_not_hold_all_calls():
    machine = Machine(64, tick=lambda size: 0.05, max_load=99.0)
    machine.scheduler = Scheduler(64, buckets=[16], max_load=99.0)  # four ticks of 50 ms for 80 ms of sound
    slots = machine.speaking(64)
    start = {slot: machine.callers[slot].frames for slot in slots}
    machine.run(20.0)
    frames = [machine.callers[slot].frames - start[slot] for slot in slots]
    assert max(frames) - min(frames) <= 2
    assert min(frames) > 90


def test_a_new_call_is_also_served_under_overload():
    machine = Machine(64, tick=lambda size: 0.1, max_load=99.0)
    machine.speaking(40)
    slot = machine.join()
    machine.start_clause(slot, 500)
    machine.run(2.0)
    assert machine.callers[slot].first_after


def test_admission_refuses_before_the_machine_is_too_slow():
    machine = Machine(tick={1: 0.02, 2: 0.022, 4: 0.025, 8: 0.03, 16: 0.05, 32: 0.07, 64: 0.12}, warm=False)
    machine.speaking(17)  # the seventeenth call shows how long the next bucket takes
    with pytest.raises(EngineFull, match=r"With 18 calls .* 7\d ms .* the limit is 64 ms"):
        machine.join()
    machine.run(5.0)
    assert machine.scheduler.counters.underruns == 0


def test_a_machine_too_slow_for_one_call_accepts_one_but_no_second():
    machine = Machine(8, tick=lambda size: 0.2)
    machine.join()
    with pytest.raises(EngineFull):
        machine.join()


def test_admission_uses_the_measured_buckets_before_the_first_call():
    machine = Machine(8, tick=lambda size: 0.03 * size)
    predicted = [machine.scheduler._tick_seconds.predict(size, now=machine.now) for size in (1, 2, 4, 8)]
    assert predicted == pytest.approx([0.03, 0.06, 0.12, 0.24])
    assert machine.scheduler.counters.ticks == 0
    machine.join()
    machine.join()
    with pytest.raises(EngineFull, match="120 ms"):
        machine.join()


def test_the_share_of_prefill_counts_for_admission():
    machine = Machine(64, tick=lambda size: 0.03, chunk=0.03)
    for slot in machine.speaking(16):
        machine.end_clause(slot)
    for _ in range(60):  # much prefill for little speech
        for slot in list(machine.callers)[:4]:
            machine.start_clause(slot, 100)
        machine.run(0.3)
        for slot in list(machine.callers)[:4]:
            machine.end_clause(slot)
        machine.run(0.5)
    with pytest.raises(EngineFull, match="the limit is 64 ms"):
        machine.speaking(48)


def test_a_full_engine_refuses_calls_until_one_has_left():
    scheduler = Scheduler(2, buckets=[2])
    slots = [scheduler.join(now=0.0), scheduler.join(now=0.0)]
    assert slots == [0, 1]
    with pytest.raises(EngineFull, match="All 2 slots"):
        scheduler.join(now=0.0)
    scheduler.leave(1)
    scheduler.leave(0)
    assert [scheduler.join(now=0.0), scheduler.join(now=0.0)] == [0, 1]


def test_a_call_gets_the_lowest_free_slot():
    scheduler = Scheduler(4, buckets=[4])
    for _ in range(4):
        scheduler.join(now=0.0)
    for slot in (1, 3, 0, 2):
        scheduler.leave(slot)
    assert [scheduler.join(now=0.0) for _ in range(4)] == [0, 1, 2, 3]


def test_neither_a_hiccup_nor_a_busy_minute_refuses_calls_for_ever():
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
KINDS = ["join", "leave", "prefill_later", *3 * ["start_clause"], "end_clause", "stop", *3 * ["run"]]
events = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, SLOTS - 1),
        st.sampled_from([0, 1, 10, 60, 200]),
        st.sampled_from([0.0, 0.001, 0.02, 0.08, 0.3]),
    ),
    max_size=60,
)
speeds = st.sampled_from([(0.008, 0.001), (0.03, 0.02), (0.05, 0.1), (0.1, 0.01), (0.2, 0.3)])


@settings(max_examples=150, deadline=None)
@given(events, speeds, st.sampled_from([[1, 2, 4, 6], [2]]), st.sampled_from([0.5, 0.3, 0.1]))
def test_after_any_events_every_plan_is_valid_and_every_clause_is_served(story, speed, buckets, lead):
    """``Machine.step`` checks each plan: no slot twice, frames only for prefilled clauses, the right time to wait."""
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
        step_and_check(machine, machine.now, lead)  # each report takes effect in the very next plan

    asked = {slot: machine.callers[slot].frames for slot in machine.callers if machine.callers[slot].clause}
    # Each clause of 60 x 200 tokens at most is prefilled in chunks of 64 with at most one tick between two of them.
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
        # Nothing was due before the time in the plan: at any moment before it, the plan is the same.
        for part in (0.25, 0.75, 0.999):
            moment = before + part * (machine.now - before)
            if moment < machine.now:
                assert machine.scheduler.plan(now=moment) == plan


def test_a_busy_minute_of_calls_has_no_gap_and_hardly_a_late_first_frame():
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


def test_a_clause_that_starts_when_the_audio_is_almost_over_leaves_a_gap_that_is_counted(machine):
    (slot,) = machine.speaking(1)
    machine.end_clause(slot)
    machine.run(machine.scheduler.lead(slot, now=machine.now) - 0.001)
    machine.start_clause(slot)
    machine.run(0.1)
    assert machine.scheduler.counters.underruns == machine.callers[slot].gaps == 1
