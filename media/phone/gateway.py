"""
Twilio's media gateway: one WebSocket to the app for each stream, a play-out clock, and a person on the phone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from media.errors import MediaError
from media.phone.impairments import Impairments
from media.phone.party import Party
from media.phone.stream import MediaStream, Reason, StreamEnd, StreamRequest
from media.phone.tape import Tape


@dataclass(frozen=True, slots=True)
class GatewayError:
    """One of Twilio's 319xx errors or warnings, ``at`` seconds on the tape."""

    code: int
    detail: str
    at: float


class Gateway:
    """
    The media of one call. ``run`` opens a stream and lives as long as it does; a call may have
    several, one after another.

    In strict mode the first message that Twilio would only have warned of (31950, 31951) ends the stream and
    ``run`` raises ``StreamViolation``.
    """

    def __init__(
        self,
        party: Party,
        *,
        tape: Tape,
        impairments: Impairments | None = None,
        strict: bool = True,
        sign_trailing_slash: bool = False,
    ) -> None:
        self.party = party
        self.tape = tape
        self.impairments = impairments or Impairments()
        self.strict = strict
        self.sign_trailing_slash = sign_trailing_slash
        self.errors: list[GatewayError] = []
        self.underruns = 0
        """How often the play-out queue ran dry and filled again within a second, with no ``clear`` between."""
        self._stream: MediaStream | None = None

    async def run(self, request: StreamRequest) -> StreamEnd:
        if self._stream is not None:
            raise MediaError("this call has a stream already: Twilio allows one at a time")
        self._stream = stream = MediaStream(self, request)
        self.tape.log("stream_start", stream_sid=request.stream_sid, url=request.url)
        try:
            end = await stream.run()
        finally:
            self._stream = None
        self.tape.log("stream_end", reason=end.reason, code=end.code, detail=end.detail)
        return end

    def stop(self, reason: Reason = "call-updated") -> None:
        """The call was changed or ended: send ``stop``, close the socket. A no-op between streams."""
        if self._stream is not None:
            self._stream.end(reason)

    def error(self, code: int, detail: str) -> None:
        self.errors.append(GatewayError(code, detail, self.tape.seconds(time.monotonic())))
        self.tape.log("error", code=code, detail=detail)
