"""Speech to text by a worker elsewhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from typing import Any

from inference.remote import wire
from inference.remote.placement import RemoteEngine, RemoteSession
from inference.types import (
    EngineError,
    EngineTimeout,
    Pcm,
    Transcript,
)

logger = logging.getLogger(__name__)

PIECE_SECONDS = 0.1
"""Sound is sent in pieces of this length while nobody waits for words."""
KEPT_SECONDS = 30.0
"""Of an utterance, for the case that its worker dies; an utterance is rarely longer."""


class RemoteSpeechToText(RemoteEngine):
    """
    ``rate_hz`` and ``gives_partials`` are learned from a worker unless they are given.

    Sound crosses as 16-bit samples at the engine's rate, 16 to 32 kB/s while somebody speaks: exactly what an engine
    in this process would get.
    """

    kind = "stt"

    def __init__(self, *, rate_hz: int = 0, gives_partials: bool = False, may_speculate: bool = True, **options: Any):
        facts = wire.Facts(rate_hz=rate_hz, gives_partials=gives_partials, may_speculate=may_speculate)
        super().__init__(facts=facts if rate_hz else None, **options)

    @property
    def rate_hz(self) -> int:
        return self.facts.rate_hz

    @property
    def gives_partials(self) -> bool:
        return self.facts.gives_partials

    def open(
        self, *, language: str = "en", hint: str = "", on_partial: Callable[[Transcript], None] | None = None
    ) -> RemoteTranscription:
        """Raises at once if there is no worker; what goes wrong later is told by ``snapshot`` and ``finish``."""
        self.check()
        return RemoteTranscription(self, language, hint, on_partial)


class RemoteTranscription:
    """All that was said is kept, as long as it is short enough: a second worker could begin again."""

    def __init__(
        self,
        remote: RemoteSpeechToText,
        language: str,
        hint: str,
        on_partial: Callable[[Transcript], None] | None,
    ) -> None:
        self._remote = remote
        self._language = language
        self._hint = hint
        self._on_partial = on_partial
        self._sound = bytearray()
        self._sent = 0
        self._whole = True
        self._piece_bytes = int(PIECE_SECONDS * remote.rate_hz) * 2
        self._kept_bytes = int(KEPT_SECONDS * remote.rate_hz) * 2
        self._requests = count(1)
        self._asked: dict[int, tuple[bool, asyncio.Future[Transcript]]] = {}
        self._final: asyncio.Future[Transcript] | None = None
        self._error: EngineError | None = None
        self._second_try = False
        self._session = remote.place(self)

    def push(self, pcm: Pcm) -> None:
        if self._final is not None or self._error is not None:
            return
        self._sound += wire.encode_sound(pcm)
        if len(self._sound) - self._sent >= self._piece_bytes:
            self._flush()
            if len(self._sound) > self._kept_bytes:
                self._keep_less()

    async def snapshot(self) -> Transcript:
        if self._final is not None:
            return await self.finish()
        return await self._await(self._ask(final=False))

    async def finish(self) -> Transcript:
        if self._final is None:
            self._final = self._ask(final=True)
        return await self._await(self._final)

    def cancel(self) -> None:
        self._fail(EngineError("the utterance was cancelled"))

    # -- the session ------------------------------------------------------------------------------------

    def opened(self, session: RemoteSession) -> None:
        wants_partials = self._on_partial is not None and self._remote.gives_partials
        session.tell(
            wire.OpenUtterance(session.id, self._remote.rate_hz, self._language, self._hint[-1000:], wants_partials)
        )
        self._flush()
        for request, (final, _) in self._asked.items():
            session.tell(wire.Ask(session.id, request, final))

    def receive(self, session: RemoteSession, message: wire.Message) -> None:
        match message:
            case wire.Words(request=0):
                if self._on_partial is not None and self._final is None and self._error is None:
                    try:
                        self._on_partial(_transcript(message))
                    except Exception:
                        logger.exception("A partial transcript could not be handed on")
            case wire.Words():
                if (asked := self._asked.pop(message.request, None)) is not None and not asked[1].done():
                    asked[1].set_result(_transcript(message))
            case wire.Failed():
                if (asked := self._asked.pop(message.request, None)) is not None and not asked[1].done():
                    asked[1].set_exception(message.error)
            case _:
                raise EngineError(f"a worker answered an utterance with {type(message).__name__}")
        if self._final is not None and not self._asked:
            session.end()

    def lost(self, session: RemoteSession, error: EngineError) -> None:
        if isinstance(error, wire.Lost) and self._whole and not self._second_try and self._error is None:
            self._second_try = True
            self._sent = 0
            try:
                self._session = self._remote.place(self)
            except EngineError as refusal:
                self._fail(refusal)
        else:
            self._fail(error)

    def leave(self, session: RemoteSession) -> None:
        """It will be over in time."""

    # -- ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._session.open and self._sent < len(self._sound):
            for piece in wire.pieces(bytes(self._sound[self._sent :])):
                self._session.tell(wire.Push(self._session.id, piece))
            self._sent = len(self._sound)

    def _keep_less(self) -> None:
        if self._session.open:
            self._whole = False
            del self._sound[: self._sent]
            self._sent = 0
        else:
            self._fail(EngineError(f"no worker took the utterance for {KEPT_SECONDS:g} s of it"))

    def _ask(self, *, final: bool) -> asyncio.Future[Transcript]:
        answer: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting any more when it fails.
        answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        if self._error is not None:
            answer.set_exception(self._error)
            return answer
        request = next(self._requests)
        self._asked[request] = final, answer
        self._flush()
        self._session.tell(wire.Ask(self._session.id, request, final))
        return answer

    async def _await(self, answer: asyncio.Future[Transcript]) -> Transcript:
        try:
            async with asyncio.timeout(self._remote.answer_timeout):
                return await asyncio.shield(answer)
        except TimeoutError:
            error = EngineTimeout(f"recognition gave no answer within {self._remote.answer_timeout:g} s")
            self._fail(error)
            raise error from None

    def _fail(self, error: EngineError) -> None:
        if self._error is None and not (self._final is not None and not self._asked):
            self._error = error
        for _, answer in self._asked.values():
            if not answer.done():
                answer.set_exception(error)
        self._asked.clear()
        self._sound.clear()
        self._sent = 0
        self._session.end()


def _transcript(words: wire.Words) -> Transcript:
    return Transcript(words.text, words.samples, words.confidence)
