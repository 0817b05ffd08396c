"""
The WebSocket of one stream: check the request, read messages, pass them to the session.

Channels' stock consumer changes threads before every message and dispatches by name. At 50 messages per second and call
that took two thirds of the time, so this one overrides ``__call__`` and receives in a loop of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from channels.consumer import AsyncConsumer
from django.db import Error as DatabaseError

from calls import services
from calls.services import draining, facts
from inference.chat.inert import join_inert
from inference.types import EngineError
from media import metrics
from media.agent_options import options_of
from media.held_recording import HeldRecording
from media.messages import BadMessage, KeyPress, MarkEcho, Media, Message, Start, Stop, parse
from media.recorder import Recording
from media.runtime import PROCESS, Runtime, get_runtime
from media.session import Session

logger = logging.getLogger(__name__)
refusals = logging.getLogger(f"{__name__}.refused")
"""For lines that strangers can cause at any rate: the console of the log gets few of them."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

START_TIMEOUT = 10.0
"""Seconds from accepting the socket to its ``start`` message. Twilio sends it within a second."""
SILENT_SOCKET = 60.0
"""Seconds without a message after which the stream counts as lost: frames come 50 times a second."""
MAX_BAD_MESSAGES = 100
"""Bad messages are ignored, because Twilio may add fields; a socket that sends so many is not Twilio's."""
RENEW_INTERVAL = 10.0
"""Seconds between renewals of the lease: three may fail before it expires."""
RECORD_TIMEOUT = 2.0
"""Seconds for which the end of a stream waits until its reason is recorded: the carrier's next answer depends on it."""

NORMAL, POLICY, TOO_BAD, INTERNAL = 1000, 1008, 1007, 1011
"""Close codes of WebSocket (RFC 6455, section 7.4.1)."""


class MediaStreamConsumer(AsyncConsumer):
    """Serves ``wss /twilio/media/<token>``."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await StreamConnection(scope, receive, send, get_runtime()).serve()


class _Refused(Exception):
    """The socket is not served; the message says why, for the log."""

    def __init__(self, reason: str, code: int = POLICY, *, counted_as: str) -> None:
        super().__init__(reason)
        self.code = code
        metrics.STREAMS_REFUSED[counted_as].inc()


class StreamConnection:
    """One WebSocket, from its handshake to the last record of its stream."""

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send, runtime: Runtime) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._runtime = runtime
        self._recording: Recording | HeldRecording | None = None
        self._hung_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """The reason for which our side ends the stream, once it does."""
        self.ended = asyncio.Event()
        """Set when the records of the stream are complete."""
        self._bad_messages = 0
        self._was_active = True
        """A message has come since the last look of ``_watch``."""
        self._sid = ""
        """Twilio's name of the stream; messages of another one are bad."""

    async def serve(self) -> None:
        message = await self._receive()
        if message["type"] != "websocket.connect":
            return
        try:
            claim = await self._admit()
        except _Refused as refusal:
            refusals.warning("Refused a media socket: %s", refusal)
            await self._send({"type": "websocket.close", "code": refusal.code})
            return
        with services.about_call(claim.call_id):
            await self._serve(claim)

    async def _serve(self, claim: services.StreamClaim) -> None:
        self._runtime.streams.add(self)
        reason = "stream-lost"
        code = NORMAL
        try:
            await self._send({"type": "websocket.accept"})
            reason = await self._run(claim)
        except _Refused as refusal:
            logger.warning("Call %s: closed the stream: %s", claim.call_id, refusal)
            # Twilio may open the stream anew if it was refused only because this process is ending.
            reason, code = "drain" if draining.is_over() else "refused", refusal.code
        except EngineError as error:
            logger.error("Call %s: ended the stream, an engine is missing: %s", claim.call_id, error)
            self._runtime.engines.availability.note(error, asyncio.get_running_loop().time())
            reason = "engines-failed"
        except Exception:
            logger.exception("Call %s: unexpected error in the stream", claim.call_id)
            reason, code = "engines-failed", INTERNAL
        finally:
            try:
                await self._finish(claim, reason, code)
                await self._keep_recording(claim)
            finally:
                # Also if the server cancels this task: a slot that is not released is lost for good.
                self._runtime.streams.discard(self)
                self.ended.set()

    # -- admission ------------------------------------------------------------------------------------------

    async def _admit(self) -> services.StreamClaim:
        """Check signature, slot and token, the cheapest first; nothing is allocated before."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._scope["headers"]}
        if not services.valid_stream_signature(self._scope["path"], headers):
            raise _Refused("its signature is invalid", counted_as="signature")
        if draining.is_over():
            raise _Refused("this process is ending", counted_as="ending")
        if self._runtime.is_full:
            raise _Refused("all slots of this process are taken", counted_as="full")
        token = self._scope["url_route"]["kwargs"]["token"]
        try:
            claim = await self._runtime.database(
                services.claim_stream,
                token=token,
                process=PROCESS,
                channel=self._runtime.orders.channel,
                join=join_inert,
            )
        except DatabaseError as error:
            raise _Refused(f"the database is away: {error}", INTERNAL, counted_as="database") from error
        if claim is None:
            raise _Refused("its token opens no stream", counted_as="token")
        return claim

    async def _await_start(self, claim: services.StreamClaim) -> Start:
        """The ``start`` message; other messages that come before it are ignored."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while True:
                    message = await self._next_message()
                    if message is None:
                        raise _Refused("it was closed before its start message", counted_as="start")
                    if isinstance(message, Start):
                        break
        except TimeoutError:
            raise _Refused(f"no start message came within {START_TIMEOUT:.0f} s", counted_as="start") from None
        confirmed = await self._runtime.database(
            services.confirm_stream,
            call_id=claim.call_id,
            call_sid=message.call_sid,
            stream_sid=message.stream_sid,
            account_sid=message.account_sid,
        )
        if not confirmed:
            raise _Refused("its start message is of another call", counted_as="start")
        return message

    # -- the stream -----------------------------------------------------------------------------------------

    async def _run(self, claim: services.StreamClaim) -> str:
        """Serve the stream until either side ends it; returns the reason."""
        await self._runtime.start()
        starting = asyncio.ensure_future(self._await_start(claim))
        try:
            either: list[asyncio.Future[Any]] = [starting, self._hung_up]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return self._hung_up.result()
            start = starting.result()
        finally:
            starting.cancel()
        self._sid = start.stream_sid
        session = self._open_session(claim)
        self._runtime.sessions[claim.call_id] = session
        self._runtime.orders.check()
        reader = asyncio.ensure_future(self._read(session))
        others = [asyncio.ensure_future(work) for work in (self._write(session), self._renew(claim), self._watch())]
        try:
            session.start(start.stream_sid)
            await asyncio.wait([reader, self._hung_up], return_when=asyncio.FIRST_COMPLETED)
            reason = self._hung_up.result() if self._hung_up.done() else reader.result()
            await session.close(reason)
            return reason
        finally:
            for task in (reader, *others):
                task.cancel()
            await asyncio.gather(reader, *others, return_exceptions=True)
            await session.close("stream-lost")
            # A later stream of the call may have replaced this one.
            if self._runtime.sessions.get(claim.call_id) is session:
                del self._runtime.sessions[claim.call_id]

    def _open_session(self, claim: services.StreamClaim) -> Session:
        runtime = self._runtime
        options = options_of(
            claim,
            speculate=runtime.speculate,
            scores_turns=runtime.engines.turn is not None,
            can_change_to=runtime.can_change_to,
        )
        runtime.prepare_phrases(options, claim.agent)
        if claim.agent.record:
            recording = runtime.recordings.open(str(claim.call_id))
            self._recording = HeldRecording(recording) if claim.agent.redact_numbers else recording
        return Session(
            claim,
            options,
            engines=runtime.engines,
            detector=runtime.detector,
            phrases=runtime.phrases,
            facts=runtime.facts,
            hang_up=self.hang_up,
            recording=self._recording,
            redact=claim.agent.redact_numbers,
            held=runtime.held_facts,
            noise_suppression=runtime.noise_suppression,
            load=runtime.reply_load,
        )

    def hang_up(self, reason: str) -> None:
        """End the stream, for this reason."""
        if not self._hung_up.done():
            self._hung_up.set_result(reason)

    async def _read(self, session: Session) -> str:
        """Pass every message to the session until there are no more; returns why."""
        while True:
            match message := await self._next_message():
                case None:
                    # Twilio says `stop` when the caller hangs up. Without it the connection was lost.
                    return "stream-lost"
                case Media(stream_sid=self._sid | ""):
                    try:
                        session.media(message)
                    except BadMessage as error:
                        self._count_bad_message(str(error))
                case MarkEcho(stream_sid=self._sid | ""):
                    session.mark(message.name)
                case KeyPress(stream_sid=self._sid | ""):
                    session.key(message.digit)
                case Stop(stream_sid=self._sid | ""):
                    return "caller-hung-up"
                case Start(stream_sid=self._sid):
                    self._count_bad_message("it is a second start")
                case Start() | Media() | MarkEcho() | KeyPress() | Stop():
                    self._count_bad_message("it is of another stream")
                case _:
                    pass

    async def _next_message(self) -> Message | None:
        """The next message that can be read, or None when the socket is closed."""
        while True:
            frame = await self._receive()
            self._was_active = True
            if frame["type"] == "websocket.disconnect":
                return None
            text = frame.get("text")
            try:
                # Some senders put their JSON into binary frames.
                return parse(frame["bytes"] if text is None else text)
            except BadMessage as error:
                self._count_bad_message(f"binary frame, {error}" if text is None else str(error))

    def _count_bad_message(self, reason: str) -> None:
        self._bad_messages += 1
        if self._bad_messages == 1:
            logger.warning("Stream %s: ignored a bad message, more are not logged: %.200s", self._sid, reason)
        if self._bad_messages > MAX_BAD_MESSAGES:
            raise _Refused(
                f"it sent more than {MAX_BAD_MESSAGES} bad messages, the last: {reason:.200}",
                TOO_BAD,
                counted_as="messages",
            )

    async def _write(self, session: Session) -> None:
        while True:
            await self._send({"type": "websocket.send", "text": await session.outgoing()})

    async def _watch(self) -> None:
        """Hang up when no message comes any more. A look each minute costs less than a time-out for each frame."""
        while self._was_active:
            self._was_active = False
            await asyncio.sleep(SILENT_SOCKET)
        self.hang_up("stream-lost")

    async def _renew(self, claim: services.StreamClaim) -> None:
        """Keep the slot of the call. While the database is away, leases do not expire either."""
        while True:
            await asyncio.sleep(RENEW_INTERVAL)
            with suppress(DatabaseError):
                await self._runtime.database(services.renew_lease, call_id=claim.call_id, stream=claim.stream)

    # -- the end --------------------------------------------------------------------------------------------

    async def _finish(self, claim: services.StreamClaim, reason: str, code: int) -> None:
        """Record the reason, then close the socket: as soon as it is closed, the carrier asks what comes next."""
        ended = facts.StreamEnded(call_id=claim.call_id, reason=reason, stream=claim.stream, at=datetime.now(UTC))
        metrics.count_stream_end(reason)
        self._runtime.facts.record(ended)
        await self._runtime.facts.drain(RECORD_TIMEOUT)
        with suppress(DatabaseError):
            await self._runtime.database(services.release_lease, call_id=claim.call_id, stream=claim.stream)
        # The other side may have closed the socket already.
        with suppress(Exception):
            await self._send({"type": "websocket.close", "code": code})
        logger.info("Call %s: stream %d ended: %s", claim.call_id, claim.stream, reason)

    async def _keep_recording(self, claim: services.StreamClaim) -> None:
        """Last, because finishing a recording may take long and the carrier does not wait for it."""
        if self._recording is not None and (path := await self._recording.finish()) is not None:
            self._runtime.keep_recording(claim.call_id, path)
