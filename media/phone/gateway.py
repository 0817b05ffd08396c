"""Twilio's media gateway: the media streams of one call, one after another, and the errors that Twilio would report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from media.errors import MediaError
from media.phone.impairments import Impairments
from media.phone.media_socket import MediaSocket
from media.phone.party import Party
from media.phone.stream import MediaStream, Reason, StreamEnd
from media.phone.stream_handshake import StreamRequest
from media.phone.tape import Tape


@dataclass(frozen=True, slots=True)
class GatewayError:
    """One of Twilio's 319xx errors or warnings, ``at`` seconds on the tape."""

    code: int
    detail: str
    at: float


class Gateway:
    """
    The media of one call.

    In strict mode, the first message of the application that Twilio would only have warned of (31950, 31951) ends the
    stream, and ``run`` raises ``StreamViolation``.
    """

    def __init__(
        self,
        party: Party,
        *,
        tape: Tape,
        impairments: Impairments | None = None,
        strict: bool = True,
        sign_trailing_slash: bool = False,
        make_socket: Callable[..., MediaSocket] = MediaSocket,
    ) -> None:
        self.party = party
        self.tape = tape
        self.impairments = impairments or Impairments()
        self.strict = strict
        self.sign_trailing_slash = sign_trailing_slash
        """Whether the socket's URL is signed as if it ended with a slash; Twilio advises accepting that form too."""
        self.make_socket = make_socket
        """Makes the connection of each stream, with the arguments of ``MediaSocket``."""
        self.errors: list[GatewayError] = []
        """The errors that Twilio would have reported, in order."""
        self.underruns = 0
        """The times that the play-out queue ran dry and was filled again within a second, with no ``clear`` between."""
        self._stream: MediaStream | None = None  # the one that runs

    async def run(self, request: StreamRequest) -> StreamEnd:
        """Run a stream and return how it ended."""
        if self._stream is not None:
            raise MediaError("This call has a media stream already; Twilio allows one at a time.")
        self._stream = stream = MediaStream(self, request)
        self.tape.log("stream_start", stream_sid=request.stream_sid, url=request.url)
        try:
            end = await stream.run()
        finally:
            self._stream = None
        self.tape.log("stream_end", reason=end.reason, code=end.code, detail=end.detail)
        return end

    def stop(self, reason: Reason = "call-updated") -> None:
        """Send ``stop`` and close the socket, because the call was changed or ended. Does nothing between streams."""
        if self._stream is not None:
            self._stream.end(reason)

    def error(self, code: int, detail: str) -> None:
        """Write down an error or warning."""
        self.errors.append(GatewayError(code, detail, self.tape.seconds(time.monotonic())))
        self.tape.log("error", code=code, detail=detail)
