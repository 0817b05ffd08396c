"""
Decides which calls get the GPU next, without a clock, threads or tensors.

Two kinds of work compete. A tick makes one frame (80 ms of audio) for many calls at once, and takes about as long for
one call as for all. A chunk prefills text or context for one call. Which of them goes first follows from one thing: how
long each call's audio still lasts.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from inference.csm.durations import Durations
from inference.types import EngineFull

FRAME_SECONDS = 0.08
"""Mimi's frame: 1920 samples at 24 kHz."""

FIRST_FRAME_SECONDS = 0.06
"""The longest that a caller should wait from ``start_clause()`` to the first frame, with 31 other calls speaking. A
longer wait counts as late."""

MOST_PASSED = 1
"""So many consecutive ticks may go before an urgent chunk, so that under overload chunks are still prefilled."""

KEPT_PER_TICK = 0.999
"""The share of prefill keeps so much of the past at each tick: it is the mean over about 80 s of steady speech."""

PRIOR_FRAMES = 250.0
"""The share of prefill starts as if 20 s of speech had needed none, because the first voice prompts would overstate
it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The work to do now: first the chunk, then the frames. With neither, there is none before ``wait_until``."""

    prefill: tuple[int, int] | None = None
    """The slot to prefill, and how many tokens at most."""
    frames: tuple[int, ...] = ()
    """The slots that get a frame, all in one tick, the most urgent first."""
    wait_until: float | None = None
    """With nothing to do now: when there will be. None: not before something happens."""


@dataclass(slots=True)
class Counters:
    """Counts since the start of the engine."""

    frames: int = 0
    """Frames that callers hear."""
    ticks: int = 0
    batch: int = 0
    """The sum of the sizes of all ticks; divided by ``ticks``, the mean batch."""
    underruns: int = 0
    """Times that the audio of a clause that was being spoken ran out before its next frame."""
    firsts: int = 0
    """First frames, for which a caller waited in silence."""
    late_firsts: int = 0
    """Those that came more than FIRST_FRAME_SECONDS after ``start_clause()``."""


class _Phase(Enum):
    QUIET = auto()
    """No clause. The caller may still hear the audio of the last one."""
    FIRST = auto()
    """A clause was started while no audio was left: the caller waits in silence."""
    RUNNING = auto()
    """The next frame of a clause continues where the audio ends."""


@dataclass(slots=True)
class _Call:
    phase: _Phase = _Phase.QUIET
    waiting: int = 0
    """Tokens to prefill."""
    since: float = 0.0
    """FIRST: when the clause was started. QUIET: when tokens began to wait."""
    deadline: float = inf
    """RUNNING: when the audio ends. FIRST: when the audio of a call that had ``urgent_lead`` at ``since`` would end."""
    audio_until: float = -inf
    """The time at which the caller will have heard all audio made so far."""


_Key = tuple[float, int]
"""A deadline and the slot that has it: the smallest key is the most urgent one."""


class _WaitingCalls(NamedTuple):
    first: list[_Key]
    """Prefilled, waiting for a first frame."""
    running: list[_Key]
    """Prefilled, with less audio than the target."""
    urgent: _Key | None
    """The most urgent clause that waits for a chunk."""
    background: _Key | None
    """The quiet call whose tokens have waited longest, with the time since when."""
    a_first_waits: bool
    """Whether any call waits for a first frame."""
    ends: float
    """The time at which the first audio ends that a frame could prolong."""


class Scheduler:
    """
    The slots of one engine, and what is due for them.

    Report what happened, do what ``plan()`` says, and report that by ``record_prefill()`` and ``record_tick()``. All
    times are seconds on one clock, which the owner reads. The earliest deadline goes first: the call whose audio ends
    soonest. A first frame is due ``urgent_lead`` after its clause was started, and calls with more audio than that stay
    out of the tick so that it comes sooner.

    Ticks are gathered: a call is due below ``lead``, but a tick waits until one of the calls has been due for a frame's
    time. So calls that started at different moments share one tick per 80 ms instead of having one each.
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
        """
        ``buckets`` are the sizes that a tick can have, and ``prefill_tokens`` is the largest chunk.

        ``lead`` and ``urgent_lead`` are seconds of audio that a call should have left: in general, and while another
        call waits for its first frame. 0.3 s survives the longest chunk and a few ticks. ``max_load`` is the share of
        the time that all calls speaking at once may take.
        """
        self.slots = slots
        self.counters = Counters()
        self._calls: dict[int, _Call] = {}
        """By slot."""
        self._free = list(range(slots))
        """Slots without a call, as a heap."""
        self._lead = lead
        self._urgent_lead = urgent_lead
        self._tick_lead = max(lead - FRAME_SECONDS, min(lead, urgent_lead))
        """Seconds of audio. A tick is due as soon as the most urgent call has less."""
        self._prefill_tokens = prefill_tokens
        self._max_seconds = max_load * FRAME_SECONDS
        """The most seconds that a frame of all calls may take."""
        self._tick_seconds = Durations(sorted(buckets))
        # Chunks are padded to a few lengths; powers of two distinguish them well enough.
        powers = [1 << bits for bits in range(4, (prefill_tokens - 1).bit_length())]
        self._chunk_seconds = Durations([*powers, prefill_tokens])
        self._largest = max(buckets)
        self._passed = 0
        """Consecutive ticks since the last chunk."""
        self._fed_seconds = 0.0
        """Spent on chunks since the last tick."""
        self._prefill_sum, self._frame_sum = 0.0, PRIOR_FRAMES
        """Seconds of prefill and frames made, both fading; their quotient is the prefill that a frame costs."""

    # -- calls

    def join(self, *, now: float) -> int:
        """
        The lowest free slot, for a call.

        Raises ``EngineFull`` if none is free, or if all calls speaking at once, including this one, would take more
        than ``max_load`` of each frame's time. However slow the machine is, one call is always accepted.
        """
        if not self._free:
            raise EngineFull(f"All {self.slots} slots for calls are taken. Try again when a call has ended.")
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

    def prefill_later(self, slot: int, tokens: int, *, now: float) -> None:
        """So many more tokens are to be prefilled when there is time: no caller waits for them yet."""
        call = self._call(slot, tokens)
        if call.phase is _Phase.QUIET and not call.waiting:
            call.since = now
        call.waiting += tokens

    def start_clause(self, slot: int, tokens: int, *, now: float) -> None:
        """
        A clause starts, for which the caller waits: first prefill so many more tokens, then make frames until it ends.

        The tokens come after those that wait already.
        """
        call = self._call(slot, tokens)
        call.waiting += tokens
        if call.phase is _Phase.QUIET:
            if not self._a_clause_waits_for_prefill():
                self._passed = 0
            if call.audio_until > now:
                call.phase, call.deadline = _Phase.RUNNING, call.audio_until
            else:
                call.phase, call.since, call.deadline = _Phase.FIRST, now, now + self._urgent_lead

    def end_clause(self, slot: int, *, now: float) -> None:
        """The clause is over: no more frames until the next ``start_clause()``. Its audio plays on. Idempotent."""
        call = self._calls.get(slot)
        if call and call.phase is not _Phase.QUIET:
            call.phase, call.since = _Phase.QUIET, now

    def stop(self, slot: int, *, audio_goes_on: bool = False) -> None:
        """
        The call was cancelled, interrupted or rewound: nothing to prefill, no frames, no audio left. Idempotent.

        With ``audio_goes_on`` only the model is rewound, between two clauses, and the caller goes on hearing the audio.
        """
        if call := self._calls.get(slot):
            self._calls[slot] = _Call(audio_until=call.audio_until) if audio_goes_on else _Call()

    def lead(self, slot: int, *, now: float) -> float:
        """Seconds of audio that the caller has not heard yet."""
        call = self._calls.get(slot)
        return max(0.0, call.audio_until - now) if call else 0.0

    # -- what to do

    def plan(self, *, now: float) -> Plan:
        """Return what to do next. Changes nothing."""
        first, running, urgent, background, a_first_waits, ends = self._waiting_calls(now)
        may_pass = self._passed < MOST_PASSED
        if urgent and first and may_pass and self._calls[urgent[1]].phase is _Phase.RUNNING and min(first) < urgent:
            urgent = None  # this call has audio for longer than the other one can wait
        chosen = urgent or (None if a_first_waits else background)
        chunk, fully, chunk_seconds = None, False, 0.0
        if chosen:
            waiting = self._calls[chosen[1]].waiting
            chunk, fully = (chosen[1], min(waiting, self._prefill_tokens)), waiting <= self._prefill_tokens
            chunk_seconds = self._chunk_seconds.predict(chunk[1], now=now)
        frame_seconds = self._tick_seconds.predict(len(running) + len(first), now=now)
        spare = ends - now - chunk_seconds - frame_seconds

        if a_first_waits:
            horizon = now + max(self._urgent_lead, chunk_seconds + frame_seconds)
            due = [key for key in running if key[0] < horizon]
        elif ends - self._tick_lead <= now or (urgent and spare < 0):
            due = running
        else:
            due = []

        if spare < 0 and (not urgent or (may_pass and (due or first))):
            chunk = None
        elif (
            urgent
            and fully
            and (spare >= frame_seconds or not may_pass)
            and self._fed_seconds + chunk_seconds <= frame_seconds
        ):
            # One more call can join the tick, for which the others wait no longer than a tick takes. So when eight
            # clauses start at once, the last one does not wait for eight ticks, nor the first one for eight chunks.
            due = first = []

        due = sorted(due + first)[: self._largest]
        if chunk is None and not due:
            return Plan(wait_until=None if ends == inf else ends - self._tick_lead)
        return Plan(chunk, tuple([slot for _, slot in due]))

    def _waiting_calls(self, now: float) -> _WaitingCalls:
        first: list[_Key] = []
        running: list[_Key] = []
        urgent: _Key | None = None
        background: _Key | None = None
        a_first_waits = False
        ends = inf
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
                elif urgent is None or key < urgent:
                    urgent = key
                if phase is not RUNNING:
                    a_first_waits = True
        return _WaitingCalls(first, running, urgent, background, a_first_waits, ends)

    # -- what was done

    def record_prefill(self, slot: int, tokens: int, *, now: float, seconds: float) -> None:
        """A chunk was prefilled in so many seconds. If the call has left meanwhile, only the time counts."""
        self._chunk_seconds.add(tokens, seconds, now=now)
        self._prefill_sum += seconds
        self._fed_seconds += seconds
        if call := self._calls.get(slot):
            call.waiting = max(0, call.waiting - tokens)

    def record_tick(self, slots: Sequence[int], *, now: float, seconds: float, unspoken: Container[int] = ()) -> None:
        """
        A tick was made for these slots in so many seconds.

        ``unspoken`` are the slots whose frame the caller does not hear: silence that was trimmed, or the end of the
        clause. Frames for slots without a clause are not heard either, so that a tick for empty slots only teaches how
        long a tick of that size takes: record one for each bucket at the start.
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
        QUIET, FIRST = _Phase.QUIET, _Phase.FIRST  # looking them up each time would double the time of this loop
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

    # -- helpers

    def _call(self, slot: int, tokens: int) -> _Call:
        if slot not in self._calls:
            raise ValueError(f"Slot {slot} has no call.")
        if tokens < 0:
            raise ValueError(f"{tokens} tokens cannot be prefilled.")
        return self._calls[slot]

    def _a_clause_waits_for_prefill(self) -> bool:
        return any(call.waiting and call.phase is not _Phase.QUIET for call in self._calls.values())
