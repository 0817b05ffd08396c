"""The way to the application: messages are numbered, delayed, damaged on purpose, and held back if it does not read."""

from __future__ import annotations

from binascii import b2a_base64
from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from media.phone.impairments import DelayLine, FrameKind, Impairments
from media.phone.media_socket import MediaSocket

MAX_UNSENT_FRAMES = 50
"""One second of the caller's audio waits for an application that does not read; then the oldest is discarded."""


class _Outgoing(NamedTuple):
    kind: FrameKind
    data: bytes
    is_media: bool


class Uplink:
    """
    Sends one stream's messages to the application.

    ``warn(code, detail)`` is called when audio is discarded because the application reads too slowly (31930).
    """

    def __init__(
        self,
        media_socket: MediaSocket,
        stream_sid: str,
        impairments: Impairments,
        *,
        random: Random,
        warn: Callable[[int, str], None],
    ) -> None:
        self.sequence = 0
        """``sequenceNumber`` of the last message; an injected fault may skip numbers."""
        self.chunk = 0
        """``chunk`` of the last media message."""
        self.sent_frames = 0
        self.lost_frames = 0
        """Frames of the caller that were lost on the line, or discarded because the application reads too slowly."""
        self.repeat_next = False
        """Set by a fault: the next media message is sent twice."""
        self.swap_next = False
        """Set by a fault: the next media message changes places with the one after it."""
        self._socket, self._stream_sid, self._warn = media_socket, stream_sid, warn
        self._swapped: bytes | None = None  # the media message that waits for the one after it
        self._unsent: deque[_Outgoing] = deque()  # arrived at the socket, but the kernel takes no more
        # None stands for the close that follows the last message.
        self._network: DelayLine[_Outgoing | None] = DelayLine(
            self._arrive,
            random=random,
            delay=impairments.network_delay,
            jitter=impairments.jitter,
            stalls=impairments.stalls,
            bunch=impairments.bunch,
        )

    def start(self, now: float) -> None:
        """Number from the beginning: ``start`` is sent now. Stalls count from here."""
        self.sequence = self.chunk = 0
        self._network.origin = now

    def send(self, event: str, body: str) -> None:
        """Send a numbered message; ``body`` is the JSON member that carries its content."""
        self._network.push(_Outgoing("text", self._message(event, body), False))

    def send_raw(self, kind: FrameKind, data: bytes) -> None:
        """Send something without a number: the first message, or a fault."""
        self._network.push(_Outgoing(kind, data, False))

    def send_media(self, frame: bytes, timestamp_ms: int) -> None:
        """Send a frame of the caller's audio."""
        self.chunk += 1
        payload = b2a_base64(frame, newline=False).decode()
        media = f'"track":"inbound","chunk":"{self.chunk}","timestamp":"{timestamp_ms}","payload":"{payload}"'
        message = self._message("media", f'"media":{{{media}}}')
        self.sent_frames += 1
        if self.swap_next:
            self.swap_next, self._swapped = False, message
            return
        self._push_media(message)
        if self._swapped is not None:
            self._push_media(self._swapped)
            self._swapped = None
        if self.repeat_next:
            self.repeat_next = False
            self._push_media(message)

    def close(self) -> None:
        """Close the socket after everything sent so far has arrived."""
        self._network.push(None)

    def abandon(self) -> None:
        """Drop what is still under way."""
        self._network.close()

    def flush(self, *, force: bool = False) -> None:
        """Hand over what was held back, for as long as the kernel takes it; with ``force``, all of it."""
        while self._unsent and (force or not self._socket.is_paused):
            outgoing = self._unsent.popleft()
            self._socket.send(outgoing.kind, outgoing.data)

    def _push_media(self, message: bytes) -> None:
        self._network.push(_Outgoing("text", message, True))

    def _message(self, event: str, body: str) -> bytes:
        self.sequence += 1
        numbered = f'"event":"{event}","sequenceNumber":"{self.sequence}"'
        return f'{{{numbered},{body},"streamSid":"{self._stream_sid}"}}'.encode()

    def _arrive(self, outgoing: _Outgoing | None) -> None:
        if outgoing is None:
            self.flush(force=True)
            self._socket.close(1000)
        elif not self._socket.is_paused and not self._unsent:
            self._socket.send(outgoing.kind, outgoing.data)
        else:
            self._unsent.append(outgoing)
            if outgoing.is_media and sum(waiting.is_media for waiting in self._unsent) > MAX_UNSENT_FRAMES:
                del self._unsent[next(index for index, waiting in enumerate(self._unsent) if waiting.is_media)]
                self.lost_frames += 1
                self._warn(31930, "the application reads too slowly; the caller's audio is being discarded")
