"""
Twilio Media Streams: JSON text frames to typed messages and back.

Pure. Twilio's spelling stays in this file: the rest of the project sees only the flat messages below. Counters come as
decimal strings, or as numbers from other senders. Unknown fields are ignored.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from media.errors import MediaError

MAX_MESSAGE_BYTES = 64 * 1024
"""A frame of 20 ms takes about 370 bytes, and no message of the protocol takes much more."""

RATE_HZ = 8000
ENCODING = "audio/x-mulaw"


class BadMessage(MediaError):
    """A frame that is not a message of the protocol."""


class Connected(Struct, frozen=True):
    """The first frame, before the stream has a name."""


class Start(Struct, frozen=True):
    """The stream opens. Its format was checked: mu-law, 8000 Hz, one channel."""

    stream_sid: str
    call_sid: str
    account_sid: str = ""


class Media(Struct, frozen=True):
    """A frame of the caller's sound. ``timestamp_ms`` counts from a start that is not 0; ``chunk`` is 0 if missing."""

    stream_sid: str
    payload: str
    timestamp_ms: int
    chunk: int = 0

    def audio(self) -> bytes:
        """The payload as mu-law bytes, of any length. Raises ``BadMessage`` if it is not base64."""
        try:
            return a2b_base64(self.payload, strict_mode=True)
        except ValueError as error:
            raise BadMessage(f"media payload is not base64: {error}") from error


class KeyPress(Struct, frozen=True):
    """The caller pressed a key: one of ``0-9 * # A-D``."""

    stream_sid: str
    digit: str


class MarkEcho(Struct, frozen=True):
    """Playout reached a mark that we sent, or a ``clear`` dropped it."""

    stream_sid: str
    name: str


class Stop(Struct, frozen=True):
    """The stream or the call ended."""

    stream_sid: str


class Unknown(Struct, frozen=True):
    """An event that the protocol did not have when this was written; it is to be ignored."""

    event: str


Message: TypeAlias = Connected | Start | Media | KeyPress | MarkEcho | Stop | Unknown

Counter = Annotated[int, Meta(ge=0, le=2**53)]
Sid = Annotated[str, Meta(min_length=1, max_length=128)]


class _MediaFormat(Struct, rename="camel"):
    encoding: str
    sample_rate: int
    channels: int


class _StartBody(Struct, rename="camel"):
    call_sid: Sid
    media_format: _MediaFormat
    stream_sid: str = ""
    account_sid: str = ""
    tracks: tuple[str, ...] = ()
    custom_parameters: dict[str, str] = {}


class _MediaBody(Struct, gc=False):
    payload: str
    timestamp: Counter
    chunk: Counter = 0


class _KeyBody(Struct, gc=False):
    digit: Annotated[str, Meta(pattern=r"^[0-9*#A-D]$")]


class _MarkBody(Struct, gc=False):
    name: str


class _StopBody(Struct, rename="camel", gc=False):
    call_sid: str = ""


class _Wire(Struct, tag_field="event", rename="camel"):
    """
    One JSON object of the socket; ``typed()`` makes of it what the rest of the project sees.

    Fields that ``typed`` leaves out are only checked.
    """

    def typed(self) -> Message:
        raise NotImplementedError


class _ConnectedWire(_Wire, tag="connected"):
    protocol: str = ""
    version: str = ""

    def typed(self) -> Connected:
        return Connected()


class _StartWire(_Wire, tag="start"):
    stream_sid: Sid
    start: _StartBody
    sequence_number: Counter = 0

    def typed(self) -> Start:
        body, offered = self.start, self.start.media_format
        if (offered.encoding, offered.sample_rate, offered.channels) != (ENCODING, RATE_HZ, 1):
            raise BadMessage(
                f"start offers {offered.encoding} {offered.sample_rate} Hz x {offered.channels}, not mu-law 8000"
            )
        if body.stream_sid not in ("", self.stream_sid):
            raise BadMessage("start names two different streams")
        return Start(self.stream_sid, body.call_sid, body.account_sid)


class _MediaWire(_Wire, tag="media"):
    stream_sid: Sid
    media: _MediaBody
    sequence_number: Counter = 0

    def typed(self) -> Media:
        body = self.media
        return Media(self.stream_sid, body.payload, body.timestamp, body.chunk)


class _KeyWire(_Wire, tag="dtmf"):
    stream_sid: Sid
    dtmf: _KeyBody
    sequence_number: Counter = 0

    def typed(self) -> KeyPress:
        return KeyPress(self.stream_sid, self.dtmf.digit)


class _MarkWire(_Wire, tag="mark"):
    stream_sid: Sid
    mark: _MarkBody
    sequence_number: Counter = 0

    def typed(self) -> MarkEcho:
        return MarkEcho(self.stream_sid, self.mark.name)


class _StopWire(_Wire, tag="stop"):
    stream_sid: Sid
    stop: _StopBody = msgspec.field(default_factory=_StopBody)
    sequence_number: Counter = 0

    def typed(self) -> Stop:
        return Stop(self.stream_sid)


class _AnyEvent(Struct):
    event: Annotated[str, Meta(max_length=64)]


_EVENTS = frozenset({"connected", "start", "media", "dtmf", "mark", "stop"})

# Not strict, so that counters may be strings.
_decode_wire: Callable[[str | bytes], _Wire] = msgspec.json.Decoder(
    _ConnectedWire | _StartWire | _MediaWire | _KeyWire | _MarkWire | _StopWire, strict=False
).decode
_decode_event = msgspec.json.Decoder(_AnyEvent).decode


def parse(text: str | bytes) -> Message:
    """The message in one text frame. Raises ``BadMessage`` with the reason if the frame is not of the protocol."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise BadMessage(f"a message of {len(text)} characters is over the limit of {MAX_MESSAGE_BYTES}")
    try:
        return _decode_wire(text).typed()
    except (ValueError, RecursionError) as error:  # all errors of msgspec are ValueErrors
        event = _event_of(text)
        if event is None or event in _EVENTS:
            raise BadMessage(f"{event or 'message'}: {error}") from error
        return Unknown(event)


def _event_of(text: str | bytes) -> str | None:
    try:
        return _decode_event(text).event
    except (ValueError, RecursionError):
        return None


class _OutBody(Struct, gc=False):
    payload: bytes


class _MediaOut(Struct, tag_field="event", tag="media", rename="camel"):
    stream_sid: str
    media: _OutBody


class _MarkOut(Struct, tag_field="event", tag="mark", rename="camel"):
    stream_sid: str
    mark: _MarkBody


class _ClearOut(Struct, tag_field="event", tag="clear", rename="camel"):
    stream_sid: str


# Bytes become base64, and fields keep the order written above.
_encode = msgspec.json.Encoder().encode


def media_message(stream_sid: str, audio: bytes) -> str:
    """Play this mu-law audio after everything that was sent before."""
    return _encode(_MediaOut(stream_sid, _OutBody(audio))).decode()


def mark_message(stream_sid: str, name: str) -> str:
    """Echo ``name`` once everything sent before it was played, or dropped by a ``clear``."""
    return _encode(_MarkOut(stream_sid, _MarkBody(name))).decode()


def clear_message(stream_sid: str) -> str:
    """Drop what was sent and was not played yet; every mark that is still out comes back."""
    return _encode(_ClearOut(stream_sid)).decode()
