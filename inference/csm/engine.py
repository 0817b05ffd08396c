"""
One thread that makes the speech of all calls, frame by frame.

Only this thread touches the model. Each round it does what other threads have posted, asks the scheduler what is most
urgent, prefills at most one chunk, makes at most one frame for every call that is due, and hands the sound out. The
decisions are elsewhere: when and for which calls in ``scheduler``, what each call says in ``speaker``.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVarTuple

import numpy as np
import torch

from inference.csm.context import Context
from inference.csm.controls import Outbox, SlotControls
from inference.csm.guards import Frame
from inference.csm.model import ENDS, HEAD_ZEROS, NOT_FINITE, CsmModel
from inference.csm.replies import SoundItem, SpokenReply
from inference.csm.rows import Rows, Slot
from inference.csm.scheduler import Scheduler
from inference.csm.speaker import Format, Speaker
from inference.csm.steps import Steps
from inference.types import EngineError

logger = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")

HANGS_AFTER = 10.0
"""Seconds. A step takes milliseconds: one that takes so long will not come back."""


class CsmThread:
    """
    ``start`` builds the steps on the thread and returns when the first reply would be at full speed.

    All other public methods may be called from any thread and return at once.
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
        """Counts, since the start, of how clauses ended, what the guards found and what else went wrong."""
        self._make: Callable[[], tuple[CsmModel, Steps]] | None = make
        """None once the thread has built its steps, so that the checkpoint behind it can be freed."""
        self._tokenize = tokenize
        self._temperature, self._top_k = temperature, top_k
        self._clock = clock
        self._lock = threading.Lock()
        """Guards the scheduler, which ``join`` asks on the caller's thread whether there is room."""
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        """The work that other threads have posted; None stops the thread."""
        self._slots: dict[int, Slot] = {}
        """The calls that have joined and not left, by the number of their slot."""
        self._outbox: Outbox = {}
        """The sound that this round delivers, by the event loop of the call."""
        self._thread: threading.Thread | None = None
        """Between ``start`` and ``close``."""
        self._ready = threading.Event()
        """Set when the thread has built its steps or has failed to."""
        self._failure: BaseException | None = None
        """The error for which the steps could not be built."""
        self._busy_since: float | None = None
        """While a round works on the model, when it began; by the thread's clock."""
        self._model: CsmModel
        """Set by the thread before ``start`` returns, as are the three below."""
        self._steps: Steps
        self._rows: Rows
        self._format: Format

    def start(self) -> None:
        """Block while the steps are built; an error there is raised here."""
        self._thread = threading.Thread(target=self._run, name="csm", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Block until the round in progress is over; open replies end with an error."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            thread.join(HANGS_AFTER)
            if thread.is_alive():
                logger.error("The speech engine's thread hangs in the GPU; closing without it")

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def hangs(self) -> bool:
        """Whether the model has not returned from a step for too long."""
        since = self._busy_since
        return since is not None and self._clock() - since > HANGS_AFTER

    # -- from any thread

    def join(self, context: Context, *, gain: float, loop: asyncio.AbstractEventLoop) -> Slot:
        """A slot for a call, or ``EngineFull``. The call's context is prefilled in the background."""
        if not self.alive:
            raise EngineError("the speech engine is not running")
        with self._lock:
            number = self.scheduler.join(now=self._clock())
        controls = SlotControls(number, loop, self._rows, self._outbox, self.scheduler, self._lock, self._clock)
        slot = Slot(number, Speaker(context, controls, self._format, tokenize=self._tokenize, counts=self.counts))
        self._post(slot, self._enter, slot, gain)
        return slot

    def leave(self, slot: Slot) -> None:
        self._post(slot, self._leave, slot)

    def post(self, slot: Slot, method: Callable[[Speaker, *Arguments], None], *arguments: *Arguments) -> None:
        """Have the engine's thread call a method of the slot's speaker."""
        self._post(slot, method, slot.speaker, *arguments)

    def _post(self, slot: Slot, function: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        if self.alive:
            self._inbox.put(lambda: self._guarded(slot, function, *arguments))

    # -- the thread

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
            logger.exception("The speech engine broke; all replies end with an error")
            self.counts["broken"] += 1
        finally:
            for slot in self._slots.values():
                slot.speaker.fail(EngineError("the speech engine has stopped"))
            self._hand_out()

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        device = self._model.device
        if device.type != "cuda":
            yield
            return
        # A stream of high priority: on a GPU that is shared with the language model, frames must not queue behind it.
        stream: torch.cuda.Stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]  # no annotation
        with torch.cuda.device(device), torch.cuda.stream(stream):
            yield

    @torch.no_grad()
    def _build(self) -> None:
        make, self._make = self._make, None
        assert make is not None
        self._model, self._steps = make()
        model = self._model
        self._rows = Rows(model, self._steps.bucket, self._slots)
        self._format = Format(model.positions, model.codebooks, model.mimi.frame_samples, model.mimi.rate_hz)
        # Measure how long a tick of each size takes: the first call that joins is judged by it already.
        for bucket in self._steps.buckets:
            self._steps.frame([bucket - 1], [bucket - 1])
            began = self._clock()
            self._steps.frame([bucket - 1], [bucket - 1])
            ended = self._clock()
            self.scheduler.record_tick(range(bucket), now=ended, seconds=ended - began)

    def round(self) -> bool:
        """Do what was posted and what is due, or wait until something is. Return False if the thread is to stop."""
        if not self._do_posted(block=False):
            return False
        with self._lock:
            plan = self.scheduler.plan(now=self._clock())
        self._busy_since = self._clock()
        if plan.prefill is not None:
            self._prefill(*plan.prefill)
        if plan.frames:
            self._make_frames(plan.frames)
        self._busy_since = None
        self._hand_out()
        if plan.prefill is not None or plan.frames:
            return True
        return self._do_posted(timeout=None if plan.wait_until is None else max(0.0, plan.wait_until - self._clock()))

    def _do_posted(self, *, block: bool = True, timeout: float | None = None) -> bool:
        """Do everything that was posted, waiting for the first item. Return False if the thread is to stop."""
        with suppress(queue.Empty):
            posted = self._inbox.get(block, timeout)
            while posted is not None:
                posted()
                posted = self._inbox.get_nowait()
            return False
        return True

    def _enter(self, slot: Slot, gain: float) -> None:
        self._slots[slot.number] = slot
        self._rows.enter(slot.number, temperature=self._temperature, top_k=self._top_k, gain=gain)
        slot.speaker.enter()

    def _leave(self, slot: Slot) -> None:
        if self._slots.get(slot.number) is not slot:
            return
        slot.speaker.leave()
        del self._slots[slot.number]
        with self._lock:
            self.scheduler.leave(slot.number)

    def _prefill(self, number: int, most: int) -> None:
        speaker = self._slots[number].speaker
        began = self._clock()
        chunk = speaker.row.next_chunk(most)
        self._steps.prefill(self._rows.row_of[number], chunk)
        speaker.row.record_prefill(chunk)
        ended = self._clock()
        with self._lock:
            self.scheduler.record_prefill(number, len(chunk), now=ended, seconds=ended - began)

    def _make_frames(self, numbers: Sequence[int]) -> None:
        began = self._clock()
        slots = [self._slots[number] for number in numbers]
        row_of = self._rows.row_of
        rows = [row_of[number] for number in numbers]
        fresh = [row for slot, row in zip(slots, rows, strict=True) if slot.speaker.row.is_fresh]
        made = self._steps.frame(rows, fresh)
        ended = self._clock()
        codes, pcm = made.codes.astype(np.int16), made.pcm.copy()  # the next frame is written over this one
        unspoken: list[int] = []
        flags, levels = made.flags.tolist(), made.level_dbfs.tolist()
        for slot, row in zip(slots, rows, strict=True):
            speaker, row_codes, flag = slot.speaker, codes[row], flags[row]
            speaker.row.record_frame(row_codes)
            reply = speaker.speaking
            before = reply.samples if reply is not None else 0
            frame = Frame(
                int(row_codes[0]), bool(flag & HEAD_ZEROS), bool(flag & ENDS), levels[row], not flag & NOT_FINITE
            )
            self._guarded(slot, speaker.judge, frame, row_codes, pcm[row])
            reply = speaker.speaking
            if reply is not None and reply.samples == before:
                unspoken.append(slot.number)
        with self._lock:
            self.scheduler.record_tick(numbers, now=ended, seconds=ended - began, unspoken=unspoken)

    def _guarded(self, slot: Slot, function: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call the function; if it fails, the replies of this call end with an error, and other calls go on."""
        try:
            function(*arguments)
        except EngineError as error:
            slot.speaker.fail(error)
        except Exception:
            logger.exception("The speech of one call failed; its open replies end with an error")
            self.counts["error"] += 1
            slot.speaker.fail(EngineError("the speech engine failed in this call; its log has the traceback"))

    def _hand_out(self) -> None:
        """Wake each event loop once per round: waking one costs more than what it then does."""
        for loop, items in self._outbox.items():
            try:
                loop.call_soon_threadsafe(deliver_items, items)
            except RuntimeError:
                self.counts["loop-closed"] += 1
        self._outbox.clear()


def deliver_items(items: Sequence[tuple[SpokenReply, SoundItem]]) -> None:
    """Runs on the event loop of the calls."""
    for reply, item in items:
        reply.deliver(item)
