"""
Who gets the GPU next: the decisions of the CSM engine, without a clock, threads or tensors.

Two kinds of work compete. A tick makes one frame (80 ms of audio) for many calls at once, and takes about as long for
one call as for all. A chunk feeds text or context to one call. Which of them goes first follows from one thing: how
long each call's audio still lasts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from heapq import heappop, heappush
from itertools import chain
from math import inf

from inference.types import EngineFull

FRAME_SECONDS = 0.08
"""Mimi's frame: 1920 samples at 24 kHz."""

FIRST_FRAME_SECONDS = 0.06
"""What a caller should wait from ``ask()`` to the first frame, with 31 others speaking. More counts as late."""

MOST_PASSED = 1
"""Ticks that may go before an urgent chunk, one after the other, so that under overload chunks still get their turn."""

WEIGHT = 0.1
"""Of the newest measurement: follows a change within about ten ticks (0.8 s of steady speech)."""

OUTLIER = 2.0
"""A measurement counts as at most so many times the mean: one hiccup of a second must not close the door."""

MEASURED_FOR = 60.0
"""After so long without a measurement of its size, a step is trusted to take what it took at its best. Without this, a
busy minute would refuse calls for ever: only the calls refused could have shown that it is over."""

KEPT_PER_TICK = 0.999
"""How much of the past remains in the share of prefill: about 80 s of steady speech."""

PRIOR_FRAMES = 250.0
"""20 s of speech without prefill, where the share of prefill starts: the first voice prompts say nothing about it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now: first the chunk, then the frames; with neither, nothing before ``wait_until``."""

    prefill: tuple[int, int] | None = None
    """The slot to feed, and how many tokens at most."""
    frames: tuple[int, ...] = ()
    """The slots to make one frame for, in one tick, the most urgent first."""
    wait_until: float | None = None
    """When there is nothing to do: the time of the next duty. None: nothing until something is told."""


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    frames: int = 0
    """Of audio."""
    ticks: int = 0
    batch: int = 0
    """Sum of the sizes of all ticks; over ``ticks`` it is the mean batch."""
    prefills: int = 0
    underruns: int = 0
    """A clause was being said, and its audio ran out before its next frame."""
    firsts: int = 0
    late_firsts: int = 0
    """First frames that came more than FIRST_FRAME_SECONDS after ``ask()``."""


class _Phase(Enum):
    QUIET = auto()
    """No clause. Audio may still be running down."""
    FIRST = auto()
    """A clause was asked for while no audio was left: the caller waits in silence."""
    RUNNING = auto()
    """A clause is to go on from where the audio ends."""


@dataclass(slots=True)
class _Call:
    phase: _Phase = _Phase.QUIET
    waiting: int = 0
    """Tokens to feed."""
    since: float = 0.0
    """FIRST: when it was asked. QUIET: when ``waiting`` began."""
    deadline: float = inf
    """RUNNING: when the audio ends. FIRST: when somebody with ``urgent_lead`` at ``since`` would run out."""
    audio_until: float = -inf


class Scheduler:
    """
    The slots of one engine, and what is due for them.

    Tell it what happened; do what ``plan()`` says and tell it by ``fed()`` and ``made()``. All times are seconds on one
    clock that the caller reads. Deadline first: whose audio ends soonest. A first frame is due ``urgent_lead`` after it
    was asked for, and calls with more audio than that stay out of the tick so that it comes sooner.

    Ticks are gathered: a call is due below ``lead``, but a tick waits until one of them has been due for a frame's
    time. So calls that started at different moments share one tick per 80 ms, instead of having one each.
    """

    def __init__(
        self,
        slots: int,
        *,
        buckets: Sequence[int],
        lead: float = 0.5,
        urgent_lead: float = 0.3,
        prefill_tokens: int = 128,
        max_load: float = 0.8,
    ) -> None:
        """``buckets``: the batch sizes that a tick can have; the largest limits it."""
        self.slots = slots
        self.counters = Counters()
        self._calls: dict[int, _Call] = {}
        self._free = list(range(slots))  # a heap
        self._lead = lead
        self._urgent_lead = urgent_lead
        self._tick_lead = max(lead - FRAME_SECONDS, min(lead, urgent_lead))
        self._prefill_tokens = prefill_tokens
        self._max_seconds = max_load * FRAME_SECONDS
        self._tick_seconds = _Durations(sorted(buckets))
        # Chunks are padded to a few lengths; powers of two tell them apart well enough.
        powers = [1 << bits for bits in range(4, (prefill_tokens - 1).bit_length())]
        self._chunk_seconds = _Durations([*powers, prefill_tokens])
        self._largest = max(buckets)
        self._passed = 0
        self._fed_seconds = 0.0  # since the last tick
        self._prefill_sum, self._frame_sum = 0.0, PRIOR_FRAMES

    # -- calls

    def join(self, *, now: float) -> int:
        """
        A slot for a call, the lowest that is free.

        Raises EngineFull if there is none, or if all calls speaking at once, this one among them, would take more than
        ``max_load`` of each frame's time. However slow the machine, it takes one: refusing that would help nobody.
        """
        if not self._free:
            raise EngineFull(f"All {self.slots} places for calls are taken. Try again when a call has ended.")
        calls = len(self._calls) + 1
        seconds = self._tick_seconds.predict(calls, now=now) + calls * self._prefill_sum / self._frame_sum
        if calls > 1 and seconds > self._max_seconds:
            raise EngineFull(
                f"With {calls} calls speaking, each {FRAME_SECONDS * 1000:.0f} ms of sound would take"
                f" {seconds * 1000:.0f} ms to make; the limit is {self._max_seconds * 1000:.0f} ms."
                " Try again when a call has ended."
            )
        slot = heappop(self._free)
        self._calls[slot] = _Call()
        return slot

    def leave(self, slot: int) -> None:
        """The call is over. Idempotent."""
        if self._calls.pop(slot, None) is not None:
            heappush(self._free, slot)

    def prepare(self, slot: int, tokens: int, *, now: float) -> None:
        """So many more tokens to feed when there is time: nobody waits for them yet."""
        call = self._call(slot, tokens)
        if call.phase is _Phase.QUIET and not call.waiting:
            call.since = now
        call.waiting += tokens

    def ask(self, slot: int, tokens: int, *, now: float) -> None:
        """A clause: so many more tokens, after all that still waits, then frames until ``end()``. The caller waits."""
        call = self._call(slot, tokens)
        call.waiting += tokens
        if call.phase is _Phase.QUIET:
            if not self._somebody_waits_to_be_fed():
                self._passed = 0
            if call.audio_until > now:
                call.phase, call.deadline = _Phase.RUNNING, call.audio_until
            else:
                call.phase, call.since, call.deadline = _Phase.FIRST, now, now + self._urgent_lead

    def end(self, slot: int, *, now: float) -> None:
        """The clause is over: no more frames until the next ``ask()``. Its audio keeps running down. Idempotent."""
        call = self._calls.get(slot)
        if call and call.phase is not _Phase.QUIET:
            call.phase, call.since = _Phase.QUIET, now

    def stop(self, slot: int, *, audio_goes_on: bool = False) -> None:
        """
        Cancelled, interrupted or rewound: nothing waits to be fed, no frames, no audio left. Idempotent.

        ``audio_goes_on`` where only the model is rewound, between two clauses, while the caller hears what was made.
        """
        if call := self._calls.get(slot):
            self._calls[slot] = _Call(audio_until=call.audio_until) if audio_goes_on else _Call()

    def lead(self, slot: int, *, now: float) -> float:
        """Seconds of audio that the caller has not heard yet."""
        call = self._calls.get(slot)
        return max(0.0, call.audio_until - now) if call else 0.0

    # -- what to do

    def plan(self, *, now: float) -> Plan:
        """What to do next. Has no effect: ask as often as you like."""
        first: list[tuple[float, int]] = []  # fed, and waiting for a first frame, by deadline
        running: list[tuple[float, int]] = []  # fed, and with a lead of less than the target
        hungry: tuple[float, int] | None = None  # the most urgent of those who wait to be fed
        background: tuple[float, int] | None = None
        somebody_first = False
        ends = inf  # when the first audio ends that a frame could prolong
        QUIET, RUNNING, lead = _Phase.QUIET, _Phase.RUNNING, self._lead

        for slot, call in self._calls.items():
            phase = call.phase
            if phase is RUNNING and not call.waiting:
                deadline = call.deadline
                if deadline < ends:
                    ends = deadline
                if deadline - lead <= now:
                    running.append((deadline, slot))
            elif phase is QUIET:
                if call.waiting and (background is None or (call.since, slot) < background):
                    background = (call.since, slot)
            else:
                key = (call.deadline, slot)
                if not call.waiting:
                    first.append(key)
                elif hungry is None or key < hungry:
                    hungry = key
                if phase is not RUNNING:
                    somebody_first = True

        may_pass = self._passed < MOST_PASSED
        if hungry and first and may_pass and self._calls[hungry[1]].phase is RUNNING and min(first) < hungry:
            hungry = None  # it has audio for longer than the other can wait
        chosen = hungry or (None if somebody_first else background)
        chunk, fully, chunk_seconds = None, False, 0.0
        if chosen:
            waiting = self._calls[chosen[1]].waiting
            chunk, fully = (chosen[1], min(waiting, self._prefill_tokens)), waiting <= self._prefill_tokens
            chunk_seconds = self._chunk_seconds.predict(chunk[1], now=now)
        frame_seconds = self._tick_seconds.predict(len(running) + len(first), now=now)
        spare = ends - now - chunk_seconds - frame_seconds

        if somebody_first:
            horizon = now + max(self._urgent_lead, chunk_seconds + frame_seconds)
            due = [key for key in running if key[0] < horizon]
        elif ends - self._tick_lead <= now or (hungry and spare < 0):
            due = running
        else:
            due = []

        if spare < 0 and (not hungry or (may_pass and (due or first))):
            chunk = None
        elif (
            hungry
            and fully
            and (spare >= frame_seconds or not may_pass)
            and self._fed_seconds + chunk_seconds <= frame_seconds
        ):
            # One more call can join the tick, for which the others wait no longer than a tick takes. So of eight
            # that ask at once the last does not wait for eight ticks, nor the first for eight chunks.
            due = first = []

        due = sorted(due + first)[: self._largest]
        if chunk is None and not due:
            return Plan(wait_until=None if ends == inf else ends - self._tick_lead)
        return Plan(chunk, tuple([slot for _, slot in due]))

    # -- what was done

    def fed(self, slot: int, tokens: int, *, now: float, seconds: float) -> None:
        """A chunk was fed, and took so long. If the call has gone meanwhile, only the time counts."""
        self._chunk_seconds.add(tokens, seconds, now=now)
        self._prefill_sum += seconds
        self._fed_seconds += seconds
        self.counters.prefills += 1
        if call := self._calls.get(slot):
            call.waiting = max(0, call.waiting - tokens)

    def made(self, slots: Sequence[int], *, now: float, seconds: float, unspoken: Container[int] = ()) -> None:
        """
        A tick was made for these slots, and took so long.

        ``unspoken`` are those whose frame the caller will not hear: silence that was trimmed, or the end of the clause.
        The same holds for slots that have no clause (any more). So a tick made for nobody only teaches how long a tick
        of that size takes; tell all buckets at the start.
        """
        self._tick_seconds.add(len(slots), seconds, now=now)
        if not any(slot in self._calls for slot in slots):
            return
        self._passed = 0 if self._fed_seconds else self._passed + 1
        self._fed_seconds = 0.0
        self._prefill_sum *= KEPT_PER_TICK
        self._frame_sum = self._frame_sum * KEPT_PER_TICK + len(slots)
        counters = self.counters
        counters.ticks += 1
        counters.batch += len(slots)
        QUIET, FIRST = _Phase.QUIET, _Phase.FIRST  # looked up once: that is half of the time of this loop
        for slot in slots:
            call = self._calls.get(slot)
            if call is None or call.waiting or slot in unspoken or (phase := call.phase) is QUIET:
                continue
            until = call.audio_until
            if phase is FIRST:
                counters.firsts += 1
                counters.late_firsts += now - call.since > FIRST_FRAME_SECONDS
                call.phase = _Phase.RUNNING
            elif until < now:
                counters.underruns += 1
            counters.frames += 1
            call.audio_until = call.deadline = (until if until > now else now) + FRAME_SECONDS

    @property
    def frame_seconds(self) -> dict[int, float]:
        """How long a tick takes lately, by bucket; only what was measured."""
        return self._tick_seconds.measured

    # -- helpers

    def _call(self, slot: int, tokens: int) -> _Call:
        if slot not in self._calls:
            raise ValueError(f"Slot {slot} has no call.")
        if tokens < 0:
            raise ValueError(f"{tokens} tokens cannot be fed.")
        return self._calls[slot]

    def _somebody_waits_to_be_fed(self) -> bool:
        return any(call.waiting and call.phase is not _Phase.QUIET for call in self._calls.values())


class _Durations:
    """How long a step takes, by its size rounded up to one of a few."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._recent: list[float | None] = [None] * len(sizes)
        self._best = [inf] * len(sizes)
        self._at = [-inf] * len(sizes)

    def add(self, size: int, seconds: float, *, now: float) -> None:
        i = self._index(size)
        mean = self._recent[i]
        if mean is None:
            mean = seconds
        else:
            # A mean of nothing could never grow: hence the millisecond.
            mean += WEIGHT * (min(seconds, OUTLIER * mean + 0.001) - mean)
        self._recent[i], self._best[i], self._at[i] = mean, min(self._best[i], seconds), now

    def predict(self, size: int, *, now: float) -> float:
        """Of a size never measured: what the next larger one takes, else the next smaller one; 0.0 if there is none."""
        i = self._index(size)
        for j in chain(range(i, len(self._sizes)), range(i - 1, -1, -1)):
            if (mean := self._recent[j]) is not None:
                return mean if now - self._at[j] <= MEASURED_FOR else self._best[j]
        return 0.0

    @property
    def measured(self) -> dict[int, float]:
        return {size: mean for size, mean in zip(self._sizes, self._recent, strict=True) if mean is not None}

    def _index(self, size: int) -> int:
        return min(bisect_left(self._sizes, size), len(self._sizes) - 1)
