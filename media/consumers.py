"""
The WebSocket of one stream: check who knocks, parse, hand to the session.

Channels' stock consumer makes a thread hop before every message and dispatches through names; at 50 messages a second
and call that was two thirds of the cost. This one overrides ``__call__`` and receives in a loop of its own.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer
from django.db import Error as DatabaseError

from calls import services
from calls.services import facts
from inference.types import EngineError
from media.brief import CallBrief, brief_of
from media.messages import BadMessage, KeyPress, MarkEcho, Media, Message, Start, Stop, parse
from media.recorder import Recording
from media.runtime import PROCESS, Service, get_service
from media.session import Session

logger = logging.getLogger(__name__)

START_TIMEOUT = 10.0
"""From accepting the socket to ``start``: longer is nobody we know."""
SILENT_SOCKET = 60.0
"""Frames come 50 times a second; a socket without any for so long is dead without having said so."""
MAX_BAD_MESSAGES = 100
"""Garbage is ignored, but not for ever."""
RENEW_EVERY = 10.0
BOOKS_TIMEOUT = 2.0
"""How long the end of a call waits for its reason to be written, which decides what the carrier does next."""

NORMAL, POLICY, TOO_BAD, INTERNAL = 1000, 1008, 1007, 1011


class MediaStreamConsumer(AsyncConsumer):
    """Serves ``wss /twilio/media/<token>``."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await _Stream(scope, receive, send, get_service()).serve()


class _Refused(Exception):
    """The socket is not to be served; the message says why, for the log."""

    def __init__(self, reason: str, code: int = POLICY) -> None:
        super().__init__(reason)
        self.code = code


class _Stream:
    """One socket, from the knock to the last word in the books."""

    def __init__(self, scope: Any, receive: Any, send: Any, service: Service) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._service = service
        self._session: Session | None = None
        self._recording: Recording | None = None
        self._hung_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._bad_messages = 0
        self._received = True
        self._sid = ""

    async def serve(self) -> None:
        message = await self._receive()
        if message["type"] != "websocket.connect":
            return
        try:
            claim = await self._admit()
        except _Refused as refusal:
            logger.warning("Media socket refused: %s", refusal)
            await self._send({"type": "websocket.close", "code": refusal.code})
            return
        self._service.streams.add(self)
        reason = "stream-lost"
        code = NORMAL
        try:
            await self._send({"type": "websocket.accept"})
            reason = await self._run(claim)
        except _Refused as refusal:
            logger.warning("Call %s: stream closed: %s", claim.call_id, refusal)
            reason, code = "refused", refusal.code
        except EngineError as error:
            logger.error("Call %s: no engine: %s", claim.call_id, error)
            reason = "engines-failed"
        except Exception:
            logger.exception("Call %s: the stream failed", claim.call_id)
            reason, code = "engines-failed", INTERNAL
        finally:
            try:
                await self._finish(claim, reason, code)
                await self._save_recording(claim)
            finally:
                # Also where the server cuts this short: a place that is not given back is lost for good.
                self._service.streams.discard(self)

    # -- letting in ---------------------------------------------------------------------------------------

    async def _admit(self) -> services.StreamClaim:
        """Signature, room and token, in the order of their cost; nothing is allocated before."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._scope["headers"]}
        if not services.valid_stream_signature(self._scope["path"], headers):
            raise _Refused("bad signature")
        if self._service.full:
            raise _Refused("this process carries as many calls as it may")
        token = self._scope["url_route"]["kwargs"]["token"]
        try:
            claim = await self._service.database(
                services.claim_stream, token=token, process=PROCESS, channel=self._service.orders.channel
            )
        except DatabaseError as error:
            raise _Refused(f"the database is away: {error}", INTERNAL) from error
        if claim is None:
            raise _Refused("its token opens nothing")
        return claim

    # -- the stream ----------------------------------------------------------------------------------------

    async def _run(self, claim: services.StreamClaim) -> str:
        """Serve until one side has had enough; returns why."""
        await self._service.start()
        start = await self._await_start(claim)
        brief = brief_of(claim, speculate=self._service.speculate)
        self._service.chore(self._prepare_phrases(brief, claim.agent.lasting))
        if claim.agent.record:
            self._recording = self._service.recordings.open(str(claim.call_id))
        session = self._session = Session(
            brief,
            engines=self._service.engines,
            detector=self._service.detector,
            phrases=self._service.phrases,
            facts=self._service.facts,
            hang_up=self._hang_up,
            recording=self._recording,
        )
        self._service.sessions[claim.call_id] = session
        self._service.orders.look()
        self._sid = start.stream_sid
        chores = [asyncio.ensure_future(work) for work in (self._write(), self._renew(claim), self._watch())]
        reader = asyncio.ensure_future(self._read())
        try:
            session.start(start.stream_sid)
            await asyncio.wait([reader, self._hung_up], return_when=asyncio.FIRST_COMPLETED)
            reason = self._hung_up.result() if self._hung_up.done() else reader.result()
            await session.close(reason)
            return reason
        finally:
            for task in (reader, *chores):
                task.cancel()
            await asyncio.gather(reader, *chores, return_exceptions=True)
            await session.close("stream-lost")
            # A later stream of the call may have taken its place.
            if self._service.sessions.get(claim.call_id) is session:
                del self._service.sessions[claim.call_id]

    def _hang_up(self, reason: str) -> None:
        if not self._hung_up.done():
            self._hung_up.set_result(reason)

    async def _await_start(self, claim: services.StreamClaim) -> Start:
        """The first thing that counts; whatever else comes before it is not for us."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while True:
                    message = await self._next()
                    if message is None:
                        raise _Refused("gone before it started")
                    if isinstance(message, Start):
                        break
        except TimeoutError:
            raise _Refused("no start message") from None
        confirmed = await self._service.database(
            services.confirm_stream,
            call_id=claim.call_id,
            call_sid=message.call_sid,
            stream_sid=message.stream_sid,
            account_sid=message.account_sid,
        )
        if not confirmed:
            raise _Refused("its start message is not of its call")
        return message

    async def _read(self) -> str:
        """Hand every message to the session; returns why there are no more."""
        session = self._session
        assert session is not None
        while True:
            match message := await self._next():
                case None:
                    # Without `stop` it was the line that went, or a process between us.
                    return "stream-lost"
                case Media() if message.stream_sid == self._sid:
                    self._tolerate(session.media, message)
                case MarkEcho(stream_sid=self._sid):
                    session.mark(message.name)
                case KeyPress(stream_sid=self._sid):
                    session.key(message.digit)
                case Stop():
                    return "caller-hung-up"
                case Start() | Media() | MarkEcho() | KeyPress():
                    self._bad("not of this stream")
                case _:
                    pass

    def _tolerate(self, take: Any, message: Message) -> None:
        try:
            take(message)
        except BadMessage as error:
            self._bad(str(error))

    async def _next(self) -> Message | None:
        """The next message that can be read; None at the end of the socket."""
        while True:
            frame = await self._receive()
            self._received = True
            if frame["type"] == "websocket.disconnect":
                return None
            text = frame.get("text")
            if text is None:
                self._bad("binary frame")
                continue
            try:
                return parse(text)
            except BadMessage as error:
                self._bad(str(error))

    def _bad(self, reason: str) -> None:
        self._bad_messages += 1
        if self._bad_messages == 1:
            logger.warning("A message is ignored, and so will be others: %.200s", reason)
        if self._bad_messages > MAX_BAD_MESSAGES:
            raise _Refused(f"too much garbage, last: {reason:.200}", TOO_BAD)

    async def _write(self) -> None:
        session = self._session
        assert session is not None
        while True:
            await self._send({"type": "websocket.send", "text": await session.outgoing()})

    async def _watch(self) -> None:
        """One look a minute instead of one timeout a frame."""
        while self._received:
            self._received = False
            await asyncio.sleep(SILENT_SOCKET)
        self._hang_up("stream-lost")

    async def _renew(self, claim: services.StreamClaim) -> None:
        """Keep the slot. A database that is away keeps it for us."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            with suppress(DatabaseError):
                await self._service.database(services.renew_lease, call_id=claim.call_id, stream=claim.stream)

    # -- the end ----------------------------------------------------------------------------------------------

    async def _finish(self, claim: services.StreamClaim, reason: str, code: int) -> None:
        """Write down why before the socket closes: the carrier asks what comes next as soon as it does."""
        ended = facts.StreamEnded(call_id=claim.call_id, reason=reason, stream=claim.stream, at=datetime.now(UTC))
        self._service.facts.record(ended)
        await self._service.facts.drain(BOOKS_TIMEOUT)
        with suppress(DatabaseError):
            await self._service.database(services.release_lease, call_id=claim.call_id, stream=claim.stream)
        # The other side may have closed before us.
        with suppress(Exception):
            await self._send({"type": "websocket.close", "code": code})
        logger.info("Call %s: stream %d ended: %s", claim.call_id, claim.stream, reason)

    async def _prepare_phrases(self, brief: CallBrief, lasting: tuple[str, ...]) -> None:
        prepare = partial(self._service.phrases.prepare, voice=brief.voice, language=brief.language)
        await prepare(lasting, lasting=True)
        await prepare(brief.options.stock_phrases)

    async def _save_recording(self, claim: services.StreamClaim) -> None:
        """Last, because it may be long and nobody waits for it."""
        if self._recording is not None and (path := await self._recording.finish()) is not None:
            self._service.book_recording(str(claim.call_id), path)
