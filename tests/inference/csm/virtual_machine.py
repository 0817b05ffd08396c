"""A simulated machine for the CSM engine's scheduler, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.csm.scheduler import FRAME_SECONDS, Plan, Scheduler

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
H100 = {1: 0.0072, 2: 0.0073, 4: 0.0075, 8: 0.0078, 16: 0.0084, 32: 0.0095, 64: 0.0115}
"""Seconds per tick as estimated for an H100. Chunks take 1.5 ms, and 15 µs per token."""


@dataclass
class Caller:
    """What the caller of one call hears, independently of what the scheduler believes."""

    asked: float | None = None
    """When the text came, while the caller waits for the first frame."""
    first_after: list[float] = field(default_factory=list)
    """How long each first frame took, in seconds."""
    heard_until: float = 0.0
    """When the audio made so far ends."""
    frames: int = 0
    gaps: int = 0
    """How often the audio ran out in the middle of a clause."""
    to_prefill: int = 0
    """Tokens that wait to be prefilled."""
    clause: bool = False
    """Whether a clause has started and not ended."""


class Machine:
    """Carries out plans, lets time pass for them, and reports to the scheduler what came out."""

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
        self.callers[slot].to_prefill += tokens

    def start_clause(self, slot, tokens=10, *, since=None):
        """``since`` is when the text came, if a tick was in progress then."""
        self.scheduler.start_clause(slot, tokens, now=self.now)
        caller = self.callers[slot]
        caller.to_prefill += tokens
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
        """Do one plan, or let time pass until there is one. Checks what must hold for every plan."""
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
            assert 0 < tokens <= self.callers[slot].to_prefill
            seconds = self.chunk + tokens * self.token
            self.now += seconds
            self.callers[slot].to_prefill -= tokens
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
        assert caller.to_prefill == 0
        if caller.asked is not None:
            caller.first_after.append(self.now - caller.asked)
            caller.asked = None
        elif caller.heard_until < self.now:
            caller.gaps += 1
            self.gaps += 1
        caller.frames += 1
        caller.heard_until = max(caller.heard_until, self.now) + FRAME_SECONDS

    def run(self, seconds):
        """Let time pass and return the moment. ``now`` may be later, because a tick in progress is not interrupted."""
        until = self.now + seconds
        while self.now < until:
            self.step(until)
        return until

    def speaking(self, calls):
        """Start so many calls at different moments, and return when all are in the middle of a long clause."""
        slots = []
        for _ in range(calls):
            slots.append(self.join())
            self.start_clause(slots[-1])
            self.run(0.037)
        self.run(1.0)
        return slots
