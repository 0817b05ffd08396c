"""
One utterance that a hosted service recognises over a WebSocket.

``HostedTranscription`` sends the sound as it comes, keeps what may be needed again, and gives the utterance to another
socket if one is lost or stalls. What a service wants to be sent, and what its messages mean, is in an ``Exchange``,
which has no I/O. ``Terms`` is what all utterances of an engine have in common.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol

from inference import usage
from inference.hosted.lease import Lease
from inference.hosted.plan import Frame, Listener
from inference.interfaces import OnPartial
from inference.mulaw import encode_mulaw
from inference.types import EngineError, EngineFull, EngineTimeout, Pcm, QuotaExhausted, Transcript

logger = logging.getLogger(__name__)

RATE_HZ = 8000
"""The rate of the telephone. Its mu-law is what the services take, so that nothing is resampled on the way."""
KEPT = 60 * RATE_HZ
"""Samples that are kept to be sent again. A service settles words after a few seconds, so more are not needed."""
LONGEST_FRAME = RATE_HZ
"""Bytes of sound in one frame: when an utterance is sent again, one frame would be too long for some services."""
GRACE = 0.05
"""Seconds. A wait for an answer that ends so much too late goes on for as long, because the process was busy."""
CONFIRMED = int(0.2 * RATE_HZ)
"""Samples. The same words are settled when they still are all that is heard so much later."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a service has recognised."""

    text: str = ""
    samples: int = 0
    """How much sound these words account for."""
    confidence: float = 1.0
    weight: int = 0
    """Over how many words ``confidence`` is a mean."""
    language: str = ""
    language_probability: float = 0.0

    def then(self, other: Heard) -> Heard:
        """These words and those of the sound after them."""
        weight = self.weight + other.weight
        confidence = (self.confidence * self.weight + other.confidence * other.weight) / weight if weight else 1.0
        surer = other if other.weight >= self.weight else self
        return Heard(
            " ".join(filter(None, (self.text, other.text))),
            self.samples + other.samples,
            confidence,
            weight,
            surer.language,
            surer.language_probability,
        )


class Exchange(Protocol):
    """
    What is sent and received for one utterance on one socket. It has no I/O.

    Samples count from the first that was pushed to this exchange. Each method returns what is to be sent.
    """

    @property
    def heard(self) -> Heard:
        """All words so far, as they are known best."""

    @property
    def settled(self) -> Heard:
        """The words that cannot change any more. If the socket is lost, only the sound after them is sent again."""

    @property
    def answered(self) -> int:
        """``heard`` holds all words of the sound up to this sample, because a flush was answered."""

    @property
    def quiet(self) -> float:
        """Seconds without a message after which the last flush counts as answered; infinity if it must be answered."""

    def begin(self) -> Sequence[Frame]:
        """The utterance begins."""

    def push(self, sound: bytes) -> Sequence[Frame]:
        """The next sound, one byte for a sample (mu-law, 8 kHz); never empty."""

    def flush(self) -> Sequence[Frame]:
        """All words of the sound before this are wanted. More sound may follow."""

    def receive(self, message: Any) -> Sequence[Frame]:
        """A message of the service. It may be of any kind; what cannot be understood is ignored."""

    def settle(self) -> None:
        """Nothing came for ``quiet`` seconds: take what is known for the answer."""

    def end(self) -> tuple[Sequence[Frame], bool]:
        """The utterance is over. Also returns whether the socket may be used for another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How an engine recognises its utterances."""

    provider: str
    """The name of the service in messages."""
    name: str
    """How usage is counted: ``deepgram/nova-3``."""
    take: Callable[[Listener], Lease]
    """Takes a socket. May raise ``EngineError``."""
    begin: Callable[[int], Exchange]
    """Makes an exchange for a new socket. The argument is how many sockets were lost before it."""
    patience: float = 1.0
    """Seconds without any message after which a socket is left that owes the answer to a flush."""
    timeout: float = 3.0
    """Seconds for an answer in all."""
    replays: int = 2
    """How often in succession the utterance is given to another socket."""
    least: int = 160
    """Samples (20 ms) that are sent at once. Shorter pieces are collected until then, or until the next flush."""
    stop_counts: bool = True
    """See ``Transcript``."""


class HostedTranscription:
    """One utterance. It is a listener of the socket that it uses, and has no task of its own."""

    def __init__(self, terms: Terms, on_partial: OnPartial | None = None) -> None:
        """Raises ``EngineError`` if no socket can be had."""
        self._terms = terms
        self._on_partial = on_partial
        self._meter = usage.current()
        self._uncounted = 0
        """Samples that were given to a socket and are not counted as used, because it was not connected."""
        self._kept = bytearray()
        """The sound from ``_kept_from`` on, to be sent again if a socket is lost."""
        self._kept_from = self._pushed = self._sent = self._flushed = 0
        """Samples of the utterance: before what is kept; pushed; given to the exchange; asked for by a flush."""
        self._before = Heard()
        """The settled words of earlier sockets. The exchange begins after their sound."""
        self._failures = 0
        """Sockets that were lost in succession."""
        self._error: EngineError | None = None
        """Why no socket is used any more. A later request tries again."""
        self._is_closed = self._is_cancelled = False
        self._is_over = False
        """The socket was released, and the sound is not kept any more."""
        self._is_untouched = True
        """Nothing of this utterance was given to the socket, neither sound nor terms."""
        self._result: Transcript | None = None
        self._told = Transcript("")
        """The last partial."""
        self._samples = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        """Requests for words, with the sample up to which they want them."""
        self._timer: asyncio.TimerHandle | None = None
        self._exchange = terms.begin(0)
        self._lease: Lease | None = None
        self._connect()
        if self._error is not None:
            raise self._error

    def push(self, pcm: Pcm) -> None:
        if self._is_closed or not len(pcm):
            return
        self._kept += encode_mulaw(pcm)
        self._pushed += len(pcm)
        self._send(self._terms.least)
        self._forget(self._pushed - KEPT)

    async def snapshot(self) -> Transcript:
        if self._result is not None:
            return self._result
        return await self._ask()

    async def finish(self) -> Transcript:
        if self._result is None:
            self._is_closed = True
            try:
                self._result = await self._ask()
            except EngineError as error:
                self._error = error
                raise
            finally:
                self._release()
        return self._result

    def cancel(self) -> None:
        self._is_closed = True
        if self._result is None and not self._is_cancelled:
            self._is_cancelled = True
            self._release()
            self._answer_all(EngineError("the utterance was cancelled"))

    # -- called by the pool -------------------------------------------------------------------------------

    def receive(self, message: Any) -> None:
        settled = self._exchange.settled.samples
        self._send_frames(self._exchange.receive(message))
        if self._exchange.settled.samples > settled:
            self._failures = 0
            self._forget(self._before.samples + self._exchange.settled.samples)
        self._count(0)
        self._look()

    def lose(self, error: EngineError) -> None:
        self._lease = None
        self._uncounted = 0
        self._stop_timer()
        self._before = self._before.then(self._exchange.settled)
        self._exchange = self._terms.begin(self._failures + 1)
        if error.permanent or isinstance(error, EngineFull | QuotaExhausted) or self._failures >= self._terms.replays:
            self._fail(error)
            return
        self._failures += 1
        logger.info("An utterance begins again on another connection to %s: %s", self._terms.provider, error)
        self._connect()

    # -- the socket ---------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Take a socket and give it what is kept of the utterance."""
        self._error, self._is_untouched = None, True
        try:
            self._lease = self._terms.take(self)
        except EngineError as error:
            self._fail(error)
            return
        self._send_frames(self._exchange.begin())
        self._sent = max(self._before.samples, self._kept_from)
        self._before = replace(self._before, samples=self._sent)
        self._send(self._terms.least)
        self._flushed = 0
        if self._waiters:
            self._flush()

    def _release(self) -> None:
        self._stop_timer()
        self._is_over = True
        lease, self._lease = self._lease, None
        if lease is not None:
            self._count(0, lease)
            frames, reuse = ((), True) if self._is_untouched else self._exchange.end()
            for frame in frames:
                lease.send(frame)
            lease.release(reuse=reuse)
        self._kept.clear()

    def _fail(self, error: EngineError) -> None:
        self._error = error
        self._answer_all(error)

    def _send(self, least: int) -> None:
        """Send the sound that the exchange has not got, if it is so many samples."""
        if self._lease is None or self._pushed - self._sent < max(1, least):
            return
        sound = bytes(self._kept[self._sent - self._kept_from :])
        self._sent = self._pushed
        for start in range(0, len(sound), LONGEST_FRAME):
            piece = sound[start : start + LONGEST_FRAME]
            self._send_frames(self._exchange.push(piece), len(piece))

    def _send_frames(self, frames: Sequence[Frame], samples: int = 0) -> None:
        """``samples`` is how much sound they have. Where it is 0, binary frames count, such as silence."""
        if self._lease is not None:
            for frame in frames:
                self._lease.send(frame)
                self._is_untouched = False
            self._count(samples or sum(len(frame) for frame in frames if isinstance(frame, bytes)))

    def _count(self, samples: int, lease: Lease | None = None) -> None:
        """Count what was sent as used: at once, or when the socket is connected."""
        self._uncounted += samples
        lease = lease or self._lease
        if self._uncounted and lease is not None and lease.connected:
            if self._meter is not None:
                self._meter.add("stt", self._terms.name, seconds=self._uncounted / RATE_HZ)
            self._uncounted = 0

    def _forget(self, sample: int) -> None:
        """Keep nothing that was pushed before this sample."""
        if (samples := min(sample, self._sent) - self._kept_from) > 0:
            del self._kept[:samples]
            self._kept_from += samples

    # -- the words ----------------------------------------------------------------------------------------

    async def _ask(self) -> Transcript:
        """Return all words of what was pushed before."""
        if self._is_cancelled:
            raise EngineError("the utterance was cancelled")
        if self._is_over:
            raise self._error or EngineError("the utterance is over")
        if not self._pushed:
            return Transcript("", stop_counts=self._terms.stop_counts)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._pushed, waiter)
        self._waiters.append(entry)
        try:
            if self._lease is None:
                self._failures = 0
                self._connect()
            else:
                self._flush()
            async with asyncio.timeout(self._terms.timeout):
                await waiter
        except TimeoutError as error:
            raise EngineTimeout(f"{self._terms.provider} gave no words within {self._terms.timeout:.1f} s") from error
        finally:
            if entry in self._waiters:
                self._waiters.remove(entry)
        return self._transcript()

    def _flush(self) -> None:
        self._send(1)
        if self._flushed < self._pushed and self._lease is not None:
            self._flushed = self._pushed
            if self._answered < self._flushed:
                self._send_frames(self._exchange.flush())
                self._lease.expect(self._terms.patience)
        self._look()

    @property
    def _answered(self) -> int:
        return self._before.samples + self._exchange.answered

    def _look(self) -> None:
        """Something may have changed: wake who waits, and wait for the rest of an answer."""
        self._stop_timer()
        if self._answered >= self._flushed:
            if self._lease is not None:
                self._lease.expect_nothing()
        elif (quiet := self._exchange.quiet) < inf:
            self._settle_in(quiet)
        if self._flushed and self._answered >= self._flushed:
            self._failures = 0
        for sample, waiter in self._waiters:
            if self._answered >= sample and not waiter.done():
                waiter.set_result(None)
        self._tell()

    def _settle_in(self, seconds: float, *, at_last: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._settle, inf if at_last else loop.time() + seconds)

    def _settle(self, due: float) -> None:
        self._timer = None
        if asyncio.get_running_loop().time() - due > GRACE:
            self._settle_in(GRACE, at_last=True)  # the process was busy: an answer may have come that nobody has read
            return
        self._exchange.settle()
        self._look()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _answer_all(self, error: EngineError) -> None:
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
                waiter.exception()  # whoever waited may be cancelled at this moment

    def _transcript(self) -> Transcript:
        heard = self._before.then(self._exchange.heard)
        self._samples = max(self._samples, min(heard.samples, self._pushed))
        return Transcript(
            heard.text,
            self._samples,
            min(1.0, max(0.0, heard.confidence)),
            heard.language,
            self._terms.stop_counts,
            heard.language_probability,
        )

    def _tell(self) -> None:
        """Pass the words on if they have changed, or once they have not for a while."""
        if self._on_partial is None or self._is_closed:
            return
        now, told = self._transcript(), self._told
        if not now.text:
            return
        if now.text != told.text:
            self._told = now
        elif not told.settled and now.samples >= told.samples + CONFIRMED:
            self._told = Transcript(
                now.text, now.samples, now.confidence, now.language, now.stop_counts, now.language_probability, True
            )
        if self._told is not told:
            try:
                self._on_partial(self._told)
            except Exception:
                logger.exception("Reporting a partial transcript failed; the utterance goes on")
