"""
One thread that makes the speech of all calls, frame by frame.

It alone touches the model. Each round it takes what it was told, asks the scheduler what is most urgent, feeds at most
one chunk, makes at most one frame for every call that is due, and hands the sound out. The decisions are elsewhere:
when and for whom in ``scheduler``, whether a clause is over in ``guards``, what is remembered in ``context``.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from inference.csm.context import Codes, Context, Fed, Segment, common_beginning, text_positions
from inference.csm.guards import MOST_FRAMES, SILENT_FRAMES_ANYWHERE, ClauseGuard, Frame, Verdict, expected_frames
from inference.csm.model import ENDS, HEAD_ZEROS, NOT_FINITE, CsmModel, Steps
from inference.csm.scheduler import Scheduler
from inference.csm.trimming import LeadingSilence, fade_out
from inference.types import AudioChunk, ContextTooLarge, EngineError

logger = logging.getLogger(__name__)

HANGS_AFTER = 10.0
"""Seconds. A frame takes milliseconds: what takes longer will not come back."""

SoundItem = AudioChunk | EngineError | None
"""What a reply hands out: sound, why there is no more, or its end."""


@dataclass(slots=True, eq=False)
class Clause:
    """A piece of a reply that is spoken in one go."""

    text: str
    tokens: tuple[int, ...]
    starts: int
    """Where its text begins in that of the reply."""
    codes: list[Codes] = field(default_factory=list)
    """Its frames that were spoken."""
    first_sample: int = 0
    """Of the reply's sound."""
    skipped: int = 0
    """Samples at its beginning that were silent and not handed out."""
    tries: int = 0
    guard: ClauseGuard | None = None
    whole: bool = False
    """It was spoken to its end."""
    segment: Segment | None = None
    """What the context holds of it."""


@dataclass(slots=True, eq=False)
class Reply:
    """One ``speak()``."""

    deliver: Callable[[SoundItem], None]
    number: int = 0
    """They count up within a call."""
    waiting: deque[Clause] = field(default_factory=deque)
    clause: Clause | None = None
    said: list[Clause] = field(default_factory=list)
    text_ended: bool = False
    samples: int = 0
    """Handed out so far."""
    text_end: int = 0
    """Told so far; it never falls, though a clause may begin again."""
    silence: LeadingSilence = field(default_factory=lambda: LeadingSilence(most_frames=SILENT_FRAMES_ANYWHERE))


class Call:
    """One call's place in the engine. Made by ``CsmThread.join``; everything in it is the thread's."""

    def __init__(
        self, slot: int, context: Context, loop: asyncio.AbstractEventLoop, positions: int, width: int
    ) -> None:
        self.slot = slot
        self.context = context
        self.loop = loop
        self.replies: list[Reply] = []
        """Those that are open. A filler may be said while the reply waits for its text."""
        self.reply: Reply | None = None
        """The one of which a clause is being spoken."""
        self.latest: Reply | None = None
        """The one that spoke last."""
        self.last: Reply | None = None
        """Of those that are over, the one that began last."""
        self.waiting: Fed = np.zeros((0, width), np.int32)
        """To be fed, in order."""
        self.fresh = False
        """Fed since its last frame."""
        self.late: list[tuple[Segment, int]] = []
        """To be remembered once nothing is being spoken, as said before the reply of that number."""
        self._fed = np.zeros((positions, width), np.int32)
        self._count = 0
        self._frame: Codes | None = None
        """The last one drawn; it is fed by the next step."""

    @property
    def fed(self) -> Fed:
        return self._fed[: self._count]

    def was_fed(self, what: Fed) -> None:
        self._fed[self._count : self._count + len(what)] = what
        self._count += len(what)
        self._frame = None

    def rewound(self, length: int) -> None:
        self._count = length
        self._frame = None

    def drew(self, codes: Codes) -> None:
        if self._frame is not None:
            self._fed[self._count, :-1] = self._frame
            self._fed[self._count, -1] = 0
            self._count += 1
        self._frame = codes


class CsmThread:
    """
    ``start`` builds the steps on the thread and returns when the first reply would be at full speed.

    All other public methods may be called from any thread and return at once. ``counts`` holds what the guards found
    and what else went wrong.
    """

    def __init__(
        self,
        make: Callable[[], tuple[CsmModel, Steps]],
        scheduler: Scheduler,
        *,
        tokenize: Callable[[str], tuple[int, ...]],
        temperature: float,
        top_k: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scheduler = scheduler
        self.counts: Counter[str] = Counter()
        self._make: Callable[[], tuple[CsmModel, Steps]] | None = make
        self._tokenize = tokenize
        self._temperature, self._top_k = temperature, top_k
        self._clock = clock
        self._lock = threading.Lock()  # of the scheduler: whoever joins must know at once whether there is room
        self._told: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._calls: dict[int, Call] = {}
        self._row_of: list[int] = []
        self._slot_in: list[int] = []
        self._out: dict[asyncio.AbstractEventLoop, list[tuple[Reply, SoundItem]]] = {}
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._busy_since: float | None = None
        self._model: CsmModel
        self._steps: Steps

    def start(self) -> None:
        """Blocks while the steps are built; whatever goes wrong there is raised here."""
        self._thread = threading.Thread(target=self._run, name="csm", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Blocks until the frame in the works is made; open replies end with an error."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._told.put(None)
            thread.join(HANGS_AFTER)
            if thread.is_alive():
                logger.error("The speech engine hangs in the GPU; it is left behind")

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def hangs(self) -> bool:
        """The model was told something, and has not come back from it."""
        since = self._busy_since
        return since is not None and self._clock() - since > HANGS_AFTER

    # From any thread

    def join(self, context: Context, *, gain: float, loop: asyncio.AbstractEventLoop) -> Call:
        """A place for a call; ``EngineFull`` if there is none. What its context remembers is fed in the background."""
        if not self.alive:
            raise EngineError("the speech engine is not running")
        with self._lock:
            slot = self.scheduler.join(now=self._clock())
        call = Call(slot, context, loop, self._model.positions, self._model.codebooks + 1)
        self._tell(self._enter, call, gain)
        return call

    def leave(self, call: Call) -> None:
        self._tell(self._leave, call)

    def begin(self, call: Call, reply: Reply) -> None:
        self._tell(self._begin, call, reply)

    def say(self, call: Call, reply: Reply, clauses: Sequence[Clause]) -> None:
        self._tell(self._say, call, reply, clauses)

    def finish(self, call: Call, reply: Reply) -> None:
        """There will be no more clauses."""
        self._tell(self._finish, call, reply)

    def cancel(self, call: Call, reply: Reply) -> None:
        """Nobody listens any more. Harmless after the end."""
        self._tell(self._cancel, call, reply)

    def heard(self, call: Call, samples: int) -> None:
        """Of the last reply only so much was heard."""
        self._tell(self._heard, call, samples)

    def remember(self, call: Call, segment: Segment, *, before: int) -> None:
        """What the caller said, before the reply of that number if there is one already."""
        self._tell(self._remember, call, segment, before)

    def _tell(self, what: Callable[..., None], call: Call, *arguments: Any) -> None:
        if self.alive:
            self._told.put(lambda: self._guarded(call, what, *arguments))

    def _guarded(self, call: Call, what: Callable[..., None], *arguments: Any) -> None:
        """One call's trouble is not that of the others."""
        try:
            what(call, *arguments)
        except EngineError as error:
            self._fail(call, error)
        except Exception:
            logger.exception("A call's speech failed")
            self.counts["error"] += 1
            self._fail(call, EngineError("the speech engine made a mistake; its log says which"))

    def _fail(self, call: Call, error: EngineError) -> None:
        """End whatever the call has open, without touching what it remembers."""
        for reply in call.replies:
            reply.clause = None
            self._give(call, reply, error)
        call.replies.clear()
        call.reply = None
        call.waiting = call.waiting[:0]
        if self._calls.get(call.slot) is call:
            with self._lock:
                self.scheduler.stop(call.slot)

    # The thread

    def _run(self) -> None:
        try:
            self._build()
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._ready.set()
        try:
            with torch.no_grad(), self._on_device():
                while self.round():
                    pass
        except BaseException:
            logger.exception("The speech engine broke")
            self.counts["broken"] += 1
        finally:
            for call in self._calls.values():
                self._fail(call, EngineError("the speech engine has stopped"))
            self._hand_out()

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        device = self._model.device
        if device.type != "cuda":
            yield
            return
        # A stream of high priority: who shares the GPU with the language model shall not queue behind it.
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device, priority=-1)):
            yield

    @torch.no_grad()
    def _build(self) -> None:
        make, self._make = self._make, None
        assert make is not None
        self._model, self._steps = make()  # and let go of what it was made from
        self._row_of = list(range(self._model.rows))
        self._slot_in = list(range(self._model.rows))
        # How long a tick of each size takes: whoever joins first is judged by it already.
        for bucket in self._steps.buckets:
            self._steps.frame([bucket - 1], [bucket - 1])
            began = self._clock()
            self._steps.frame([bucket - 1], [bucket - 1])
            ended = self._clock()
            self.scheduler.made(range(bucket), now=ended, seconds=ended - began)

    def round(self) -> bool:
        """Do what was told and what is due, or wait until there is something. False when it is told to stop."""
        if not self._listen(block=False):
            return False
        with self._lock:
            plan = self.scheduler.plan(now=self._clock())
        self._busy_since = self._clock()
        if plan.prefill is not None:
            self._feed(*plan.prefill)
        if plan.frames:
            self._frame(plan.frames)
        self._busy_since = None
        self._hand_out()
        if plan.prefill is not None or plan.frames:
            return True
        return self._listen(timeout=None if plan.wait_until is None else max(0.0, plan.wait_until - self._clock()))

    def _listen(self, *, block: bool = True, timeout: float | None = None) -> bool:
        """Do all that was told, waiting for the first of it. False if that is to stop."""
        with suppress(queue.Empty):
            told = self._told.get(block, timeout)
            while told is not None:
                told()
                told = self._told.get_nowait()
            return False
        return True

    def _feed(self, slot: int, tokens: int) -> None:
        call = self._calls[slot]
        began = self._clock()
        chunk, call.waiting = call.waiting[:tokens], call.waiting[tokens:]
        self._steps.feed(self._row_of[slot], chunk)
        call.was_fed(chunk)
        call.fresh = True
        ended = self._clock()
        with self._lock:
            self.scheduler.fed(slot, len(chunk), now=ended, seconds=ended - began)

    def _frame(self, slots: Sequence[int]) -> None:
        began = self._clock()
        rows = [self._row_of[slot] for slot in slots]
        fresh = [row for slot, row in zip(slots, rows, strict=True) if self._calls[slot].fresh]
        made = self._steps.frame(rows, fresh)
        ended = self._clock()
        codes, pcm = made.codes.astype(np.int16), made.pcm.copy()  # the next frame is written over this one
        unspoken: list[int] = []
        flags, levels = made.flags.tolist(), made.level_dbfs.tolist()
        for slot, row in zip(slots, rows, strict=True):
            call = self._calls[slot]
            call.fresh = False
            call.drew(codes[row])
            before = call.reply.samples if call.reply is not None else 0
            self._guarded(call, self._judge, codes[row], pcm[row], levels[row], flags[row])
            if call.reply is not None and call.reply.samples == before:
                unspoken.append(slot)
        with self._lock:
            self.scheduler.made(slots, now=ended, seconds=ended - began, unspoken=unspoken)

    def _judge(self, call: Call, codes: Codes, pcm: Any, level: float, flags: int) -> None:
        reply = call.reply
        assert reply is not None
        clause = reply.clause
        assert clause is not None
        assert clause.guard is not None
        frame = Frame(int(codes[0]), bool(flags & HEAD_ZEROS), bool(flags & ENDS), level, not flags & NOT_FINITE)
        match clause.guard.judge(frame):
            case Verdict.GO_ON:
                clause.codes.append(codes)
                self._speak(call, reply, clause, pcm, level)
            case Verdict.CUT:
                self.counts[clause.guard.reason] += 1
                self._speak(call, reply, clause, fade_out(pcm, self._model.mimi.rate_hz), level)
                clause.codes.clear()  # babble must not teach the next clause
                self._end_clause(call, reply, clause)
            case Verdict.END if clause.guard.reason == "immediate-end":
                self.counts["unsaid"] += 1
                clause.codes.clear()
                self._end(call, reply, EngineError(f"the voice does not say {clause.text!r}"))
            case Verdict.END:
                self.counts[clause.guard.reason] += 1
                self._end_clause(call, reply, clause)
            case Verdict.RETRY:
                self.counts[clause.guard.reason] += 1
                self._again(call, reply, clause)
            case Verdict.FAIL:
                self.counts[clause.guard.reason] += 1
                self._rewind(call, 0)
                if clause.tries or reply.samples > clause.first_sample:
                    clause.codes.clear()
                    self._end(call, reply, EngineError("the speech engine computed numbers that are none"))
                else:
                    self._again(call, reply, clause)

    def _speak(self, call: Call, reply: Reply, clause: Clause, pcm: Any, level: float) -> None:
        sound = reply.silence.push(pcm, level)
        clause.skipped += len(pcm) - len(sound)
        if not len(sound):
            return
        reply.samples += len(sound)
        assert clause.guard is not None
        frames = len(clause.codes)
        said = len(clause.text) * frames // max(clause.guard.expected, frames + 1)
        reply.text_end = max(reply.text_end, clause.starts + said)
        self._give(call, reply, AudioChunk(sound, reply.text_end))

    def _end_clause(self, call: Call, reply: Reply, clause: Clause) -> None:
        assert clause.guard is not None
        clause.whole = True
        if clause.guard.drop:
            del clause.codes[-clause.guard.drop :]
        self._keep(call, clause, len(clause.codes))
        reply.said.append(clause)
        reply.clause = call.reply = None
        with self._lock:
            self.scheduler.end(call.slot, now=self._clock())
        reply.text_end = clause.starts + len(clause.text)
        self._give(call, reply, AudioChunk(_NO_SOUND, reply.text_end, exact=True))
        self._go_on(call)

    def _keep(self, call: Call, clause: Clause, frames: int) -> None:
        """Remember so much of a clause: the frames, and the words that fit them. Without a whole word, nothing."""
        codes = clause.codes[:frames]
        tokens: tuple[int, ...] = clause.tokens
        if not clause.whole or len(codes) < len(clause.codes):
            # One that was broken off would have taken about as long as others of its length.
            length = len(clause.codes) if clause.whole else max(expected_frames(clause.text), len(clause.codes))
            words = clause.text.split()
            words = words[: len(words) * len(codes) // max(length, 1)]
            tokens = self._tokenize(" ".join(words)) if words else ()
        clause.segment = Segment(tokens, np.stack(codes)) if tokens and codes else None
        if clause.segment is not None:
            call.context.add(clause.segment)

    def _go_on(self, call: Call) -> None:
        """The next clause: of whoever spoke last, else of whoever began first. Those that have said all are over."""
        if call.reply is not None:
            return
        ready = [reply for reply in call.replies if reply.waiting]
        if ready:
            reply = next((reply for reply in ready if reply is call.latest), ready[0])
            self._begin_clause(call, reply, reply.waiting.popleft())
        else:
            for reply in [reply for reply in call.replies if reply.text_ended]:
                self._end(call, reply, None)

    def _begin_clause(self, call: Call, reply: Reply, clause: Clause) -> None:
        clause.guard = ClauseGuard(clause.text, tries=clause.tries)
        clause.first_sample, clause.skipped = reply.samples, 0
        reply.clause = clause
        call.reply = call.latest = reply
        try:
            call.context.make_room(len(clause.tokens) + MOST_FRAMES + 2)
        except ContextTooLarge as error:
            self._end(call, reply, error)
            return
        self._to_the_front(call)
        self._model.mimi.reset(self._row_of[call.slot])
        words = text_positions(clause.tokens, self._model.codebooks)
        self._want(call, np.concatenate([call.context.written_out(), words]), asked=True)

    def _again(self, call: Call, reply: Reply, clause: Clause) -> None:
        """The same clause from its beginning, with other luck."""
        clause.tries += 1
        clause.codes.clear()
        with self._lock:
            self.scheduler.end(call.slot, now=self._clock())
        self._begin_clause(call, reply, clause)

    def _want(self, call: Call, wanted: Fed, *, asked: bool) -> None:
        """See to it that the model is fed exactly this; what it was fed already stays."""
        if len(wanted) >= self._model.positions:
            raise ContextTooLarge(f"{len(wanted)} positions do not fit into {self._model.positions - 1}")
        expected = np.concatenate([call.fed, call.waiting])
        common = common_beginning(expected, wanted)
        if asked:
            common = min(common, len(wanted) - 1)  # the frame is drawn from what was fed last
        now = self._clock()
        with self._lock:
            if common < len(expected):
                # In the middle of a reply the caller still hears what was made of it.
                self.scheduler.stop(call.slot, audio_goes_on=asked)
                if common < len(call.fed):
                    self._rewind(call, common)
                call.waiting = wanted[len(call.fed) :]
                more = len(call.waiting)
            else:
                call.waiting = np.concatenate([call.waiting, wanted[common:]])
                more = len(wanted) - common
            if asked:
                self.scheduler.ask(call.slot, more, now=now)
            elif more:
                self.scheduler.prepare(call.slot, more, now=now)

    def _rewind(self, call: Call, length: int) -> None:
        self._model.rewind(self._row_of[call.slot], length)
        call.rewound(length)

    def _to_the_front(self, call: Call) -> None:
        """Have those who speak in the first rows: the smaller the bucket, the quicker the frame."""
        speaking = [other for other in self._calls.values() if other.reply is not None]
        front = self._steps.bucket(len(speaking))
        row = self._row_of[call.slot]
        if row < front:
            return
        taken = {self._row_of[other.slot] for other in speaking}
        better = next(row for row in range(front) if row not in taken)
        other = self._slot_in[better]
        longest = max(len(self._calls[slot].fed) for slot in (call.slot, other) if slot in self._calls)
        self._model.swap(row, better, positions=longest)
        self._slot_in[row], self._slot_in[better] = other, call.slot
        self._row_of[call.slot], self._row_of[other] = better, row

    # What is told

    def _enter(self, call: Call, gain: float) -> None:
        row = self._row_of[call.slot]
        self._calls[call.slot] = call
        self._model.rewind(row, 0)
        self._model.settle(row, temperature=self._temperature, top_k=self._top_k, gain=gain)
        self._want(call, call.context.written_out(), asked=False)

    def _leave(self, call: Call) -> None:
        if self._calls.get(call.slot) is not call:
            return
        self._fail(call, EngineError("the call is over"))
        self._rewind(call, 0)
        del self._calls[call.slot]
        with self._lock:
            self.scheduler.leave(call.slot)

    def _begin(self, call: Call, reply: Reply) -> None:
        if self._calls.get(call.slot) is not call:
            self._give(call, reply, EngineError("the call is over"))
            return
        call.replies.append(reply)

    def _say(self, call: Call, reply: Reply, clauses: Sequence[Clause]) -> None:
        if reply in call.replies:
            reply.waiting.extend(clauses)
            self._go_on(call)

    def _finish(self, call: Call, reply: Reply) -> None:
        if reply in call.replies:
            reply.text_ended = True
            self._go_on(call)

    def _cancel(self, call: Call, reply: Reply) -> None:
        self._end(call, reply, None)

    def _heard(self, call: Call, samples: int) -> None:
        for reply in [reply for reply in call.replies if call.last is None or reply.number > call.last.number]:
            self._end(call, reply, None)
        if call.last is None or self._calls.get(call.slot) is not call:
            return
        changed = False
        for clause in call.last.said:
            frames = max(0, samples - clause.first_sample + clause.skipped) // self._model.mimi.frame_samples
            if samples <= clause.first_sample:
                frames = 0
            if clause.segment is not None and frames < len(clause.segment.codes):
                # Whatever follows it is not heard at all, so that it will be the last again.
                call.context.forget(clause.segment)
                self._keep(call, clause, frames)
                changed = True
        if changed and not call.replies:
            self._settle(call)

    def _remember(self, call: Call, segment: Segment, before: int) -> None:
        call.late.append((segment, before))
        if not call.replies and self._calls.get(call.slot) is call:
            self._settle(call)

    # Ends

    def _end(self, call: Call, reply: Reply, error: EngineError | None) -> None:
        """A reply is over, whatever became of it; what was said of it is remembered. Harmless when repeated."""
        if reply not in call.replies:
            return
        call.replies.remove(reply)
        self._give(call, reply, error)
        clause, reply.clause = reply.clause, None
        if clause is not None:
            call.reply = None
            self._keep(call, clause, len(clause.codes))
            reply.said.append(clause)
            with self._lock:
                self.scheduler.end(call.slot, now=self._clock())
        if call.last is None or reply.number >= call.last.number:
            call.last = reply
        if call.replies:
            self._go_on(call)
        else:
            self._settle(call)

    def _settle(self, call: Call) -> None:
        """With no reply open: have the model fed what is remembered, so that the next one need not wait for it."""
        with self._lock:
            self.scheduler.stop(call.slot)
        call.waiting = call.waiting[:0]
        for segment, number in call.late:
            answer = call.last.said if call.last is not None and call.last.number >= number else []
            first = next((clause.segment for clause in answer if clause.segment is not None), None)
            call.context.add(segment, before=first)
        call.late.clear()
        call.context.trim()
        call.context.make_room(0)
        self._want(call, call.context.written_out(), asked=False)

    # Out

    def _give(self, call: Call, reply: Reply, item: SoundItem) -> None:
        self._out.setdefault(call.loop, []).append((reply, item))

    def _hand_out(self) -> None:
        """Once per round and loop: waking a loop costs more than what it is woken for."""
        for loop, items in self._out.items():
            try:
                loop.call_soon_threadsafe(_deliver, items)
            except RuntimeError:
                self.counts["loop-closed"] += 1
        self._out = {}


_NO_SOUND = np.zeros(0, np.int16)


def _deliver(items: Sequence[tuple[Reply, SoundItem]]) -> None:
    for reply, item in items:
        reply.deliver(item)
