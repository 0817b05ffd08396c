"""Implements speech to text by a worker elsewhere: the client's end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from inference import usage
from inference.interfaces import OnPartial
from inference.remote import wire
from inference.remote.placement import RemoteEngine, RemoteSession
from inference.types import EngineError, EngineFull, EngineTimeout, Pcm, Transcript

logger = logging.getLogger(__name__)

PIECE_SECONDS = 0.1
"""Sound is sent in pieces of this length. Where words are asked for, the rest is sent at once."""
KEPT_SECONDS = 90.0
"""Seconds of an utterance that are kept in case its worker dies: longer than a voice goes on without an answer."""
MOST_MOVES = 3
"""Workers that may be lost in one utterance. After so many there is another fault than that of one worker."""
_MAX_HINT = 1000
_MAX_KEYTERM = 200
"""Characters of the hint that are sent, from its end; engines use fewer."""


class RemoteSpeechToText(RemoteEngine):
    """
    ``rate_hz`` and ``gives_partials`` are learned from a worker unless the options give them.

    Sound is sent as 16-bit samples at the engine's rate, 16 to 32 kB/s while the caller speaks: exactly what an engine
    in this process would get.
    """

    kind = "stt"

    def __init__(
        self, *, rate_hz: int = 0, gives_partials: bool = False, may_speculate: bool = True, **options: Any
    ) -> None:
        facts = wire.Facts(rate_hz=rate_hz, gives_partials=gives_partials, may_speculate=may_speculate)
        super().__init__(facts=facts if rate_hz else None, **options)

    @property
    def rate_hz(self) -> int:
        return self.facts.rate_hz

    @property
    def gives_partials(self) -> bool:
        return self.facts.gives_partials

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> RemoteTranscription:
        """Raises at once if there is no worker. Later errors are raised by ``snapshot`` and ``finish``."""
        self.check()
        return RemoteTranscription(self, language, hint, on_partial, others, keyterms)


@dataclass(frozen=True, slots=True)
class _Request:
    """A request for words."""

    final: bool
    answer: asyncio.Future[Transcript]


class RemoteTranscription:
    """One utterance. Its sound is kept while it is short enough, so that a second worker can hear it from the start."""

    def __init__(
        self,
        engine: RemoteSpeechToText,
        language: str,
        hint: str,
        on_partial: OnPartial | None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> None:
        self.hurried = True
        """Whether partials are wanted soon; set by the owner. It is sent with the sound."""
        self._engine = engine
        self._language = language
        self._others = list(others)
        self._keyterms = [term[:_MAX_KEYTERM] for term in keyterms[: wire.MAX_KEYTERMS]]
        self._hint = hint
        self._on_partial = on_partial
        self._sound = bytearray()
        """The sound so far, as long as it is complete; then only the part that was not sent."""
        self._sent = 0
        """Bytes at the start of ``_sound`` that were sent to the current worker."""
        self._complete = True
        """``_sound`` still starts with the first sample of the utterance."""
        self._piece_bytes = int(PIECE_SECONDS * engine.rate_hz) * 2
        self._kept_bytes = int(KEPT_SECONDS * engine.rate_hz) * 2
        self._numbers = count(1)
        self._requests: dict[int, _Request] = {}
        """The requests that were not answered yet, by number."""
        self._final: asyncio.Future[Transcript] | None = None
        """The answer to the final request, once it was made."""
        self._error: EngineError | None = None
        """The error for which there will be no more words."""
        self._moves = 0
        """The workers that were lost."""
        self.meter = usage.current()
        self._session = engine.place(self)

    def push(self, pcm: Pcm) -> None:
        if self._final is not None or self._error is not None:
            return
        self._sound += wire.encode_sound(pcm)
        if len(self._sound) - self._sent >= self._piece_bytes:
            self._send_sound()
            if len(self._sound) > self._kept_bytes:
                self._discard_sent_sound()

    async def snapshot(self) -> Transcript:
        if self._final is not None:
            return await self.finish()
        return await self._wait_for(self._request(final=False))

    async def finish(self) -> Transcript:
        if self._final is None:
            self._final = self._request(final=True)
        return await self._wait_for(self._final)

    def cancel(self) -> None:
        self._fail(EngineError("the utterance was cancelled"))

    @property
    def delayed(self) -> bool:
        """Whether no worker has the utterance, or the channel layer does not work: the words come once that changes."""
        return self._error is None and (self._engine.layer_is_silent or not self._session.open)

    # -- the session ------------------------------------------------------------------------------------

    def opened(self, session: RemoteSession) -> None:
        partials = self._on_partial is not None and self._engine.gives_partials
        session.send(
            wire.OpenTranscription(
                session.id,
                self._engine.rate_hz,
                self._language,
                self._hint[-_MAX_HINT:],
                partials,
                self._others,
                self._keyterms,
                call=self.meter.call if self.meter is not None else "",
            )
        )
        self._send_sound()
        for number, request in self._requests.items():
            session.send(wire.Ask(session.id, number, request.final))

    def receive(self, session: RemoteSession, message: wire.Message) -> None:
        match message:
            case wire.Words(request=0):
                self._pass_on_partial(message)
            case wire.Words():
                if (request := self._requests.pop(message.request, None)) is not None and not request.answer.done():
                    request.answer.set_result(_transcript(message))
            case wire.Failed():
                if (request := self._requests.pop(message.request, None)) is not None and not request.answer.done():
                    request.answer.set_exception(message.error)
            case _:
                raise EngineError(f"unexpected {type(message).__name__} from the worker of an utterance")
        if self._final is not None and not self._requests:
            session.close()

    def lost(self, session: RemoteSession, error: EngineError) -> None:
        can_move = self._complete and self._moves < MOST_MOVES and self._error is None
        is_lost = isinstance(error, wire.SessionLost)
        if can_move and (is_lost or (isinstance(error, EngineFull) and session.directly)):
            self._moves += 1
            self._sent = 0
            try:
                self._session = self._engine.place(self, instead_of=session.peer if is_lost else "")
            except EngineError as refusal:
                self._fail(refusal)
        else:
            self._fail(error)

    def drain(self, session: RemoteSession) -> None:
        """Nothing to do: an utterance ends soon by itself."""

    # -- ------------------------------------------------------------------------------------------------

    def _send_sound(self) -> None:
        if self._session.open and self._sent < len(self._sound):
            for piece in wire.split_sound(bytes(self._sound[self._sent :])):
                self._session.send(wire.Push(self._session.id, piece, self.hurried))
            self._sent = len(self._sound)

    def _discard_sent_sound(self) -> None:
        if self._session.open:
            self._complete = False
            del self._sound[: self._sent]
            self._sent = 0
        else:
            self._fail(EngineError(f"no worker took the utterance within its first {KEPT_SECONDS:g} s"))

    def _pass_on_partial(self, words: wire.Words) -> None:
        if self._on_partial is not None and self._final is None and self._error is None:
            try:
                self._on_partial(_transcript(words))
            except Exception:
                logger.exception("Unexpected error in handling a partial transcript; the utterance goes on")

    def _request(self, *, final: bool) -> asyncio.Future[Transcript]:
        answer: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        # Python warns of an exception that is never retrieved, and the caller may have stopped waiting for this one.
        answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        if self._error is not None:
            answer.set_exception(self._error)
            return answer
        number = next(self._numbers)
        self._requests[number] = _Request(final, answer)
        self._send_sound()
        self._session.send(wire.Ask(self._session.id, number, final))
        return answer

    async def _wait_for(self, answer: asyncio.Future[Transcript]) -> Transcript:
        try:
            async with asyncio.timeout(self._engine.answer_timeout):
                return await asyncio.shield(answer)
        except TimeoutError:
            error = EngineTimeout(f"speech recognition gave no answer within {self._engine.answer_timeout:g} s")
            self._fail(error)
            raise error from None

    def _fail(self, error: EngineError) -> None:
        is_complete = self._final is not None and not self._requests
        if self._error is None and not is_complete:
            self._error = error
        for request in self._requests.values():
            if not request.answer.done():
                request.answer.set_exception(error)
        self._requests.clear()
        self._sound.clear()
        self._sent = 0
        self._session.close()


def _transcript(words: wire.Words) -> Transcript:
    found = words.language, words.stop_counts, words.language_probability, words.settled
    return Transcript(words.text, words.samples, words.confidence, *found)
