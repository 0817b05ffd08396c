"""``<Connect><Stream>`` on one leg: the gateway runs the stream, and its status is reported."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from media.phone.call_request import Callback, CallChange
from media.phone.stream import StreamEnd
from media.phone.stream_handshake import StreamRequest
from media.phone.twiml_interpreter import ConnectStream

if TYPE_CHECKING:  # leg.py imports this module
    from media.phone.leg import PhoneCall

STOP_TIMEOUT = 5.0
"""Seconds that the gateway has for `stop` and the close of the socket; its own limit for the close is 2 s."""
ANNOUNCE_AFTER = (0.05, 0.3)
"""Seconds from the start of a stream to its report: this one and the first messages come in no fixed order."""


class LegStream:
    """Runs the media streams of one leg, one after another."""

    def __init__(self, leg: PhoneCall) -> None:
        self._leg = leg
        self._running: asyncio.Task[StreamEnd] | None = None

    async def run(self, stream: ConnectStream) -> None:
        """Return when the stream is over and the call is not."""
        request = StreamRequest(
            url=stream.url,
            account_sid=self._leg.network.account_sid,
            call_sid=self._leg.sid,
            stream_sid="MZ" + uuid.uuid4().hex,
            auth_token=self._leg.network.auth_token,
            parameters=stream.parameters,
            connect_to=self._leg.network.routes.socket_base(stream.url),
            tls=self._leg.network.tls,
        )
        self._running = self._leg.network.spawn(self._run(stream, request))
        self._leg.audio.is_streaming = True
        end = await asyncio.shield(self._running)
        if end.reason in ("party-hung-up", "call-updated"):
            await asyncio.Event().wait()  # the change that ended the stream is about to cancel this
        self._running = None
        self._leg.audio.is_streaming = False

    async def stop(self, change: CallChange | None) -> None:
        """Stop the stream that runs, if any, because of this change of the call."""
        running, self._running = self._running, None
        self._leg.audio.is_streaming = False
        if running is None or running.done():
            return
        assert self._leg.gateway is not None
        self._leg.gateway.stop("party-hung-up" if change is not None and change.by == "caller" else "call-updated")
        await asyncio.wait({running}, timeout=STOP_TIMEOUT)
        if running.cancel():
            await asyncio.wait({running})

    async def _run(self, stream: ConnectStream, request: StreamRequest) -> StreamEnd:
        assert self._leg.gateway is not None
        announced = False

        def announce() -> None:
            nonlocal announced
            if not announced:
                announced = True
                self._report(stream, request, "stream-started")

        delay = self._leg.network.random.uniform(*ANNOUNCE_AFTER)
        announcement = asyncio.get_running_loop().call_later(delay, announce)
        try:
            end = await self._leg.gateway.run(request)
        except Exception as error:  # in strict mode, a fault of the application: `PhoneCall.wait` raises it
            end = StreamEnd("call-updated", detail=str(error))
            self._leg.fail(error)
        finally:
            announcement.cancel()
        if end.reason == "refused":
            self._report(stream, request, "stream-error", StreamError=end.detail)
        else:
            announce()
            self._report(stream, request, "stream-stopped")
        if end.reason == "party-hung-up":
            self._leg.hang_up()
        return end

    def _report(self, stream: ConnectStream, request: StreamRequest, event: str, **extra: str) -> None:
        if not stream.status_callback:
            return
        parameters = {
            "AccountSid": request.account_sid,
            "CallSid": request.call_sid,
            "StreamSid": request.stream_sid,
            "StreamName": stream.name or request.stream_sid,
            "StreamEvent": event,
            "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z"),
            **extra,
        }
        callback = Callback(stream.status_callback, stream.status_callback_method)
        self._leg.callbacks.enqueue("stream-status", callback, parameters)
