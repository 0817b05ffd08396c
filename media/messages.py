"""
Twilio Media Streams: JSON text frames to typed messages and back.

Pure. Twilio's spelling stays in this file: the rest of the project sees only the flat messages below. Counters come as
decimal strings, or as numbers from other senders, which also leave fields out or set them to null. Only what the call
needs is required and checked; other fields are ignored.
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
ENCODINGS = frozenset({"audio/x-mulaw", "audio/mulaw", "audio/pcmu", "x-mulaw", "mulaw", "ulaw", "pcmu", "g711_ulaw"})
"""The first is Twilio's name of mu-law. Others use these, in small or capital letters."""


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
    """
    A frame of the caller's sound.

    ``timestamp_ms`` counts from a start that is not 0, and is None if missing. ``chunk`` rises with each frame, but not
    always by one, and is 0 if missing. ``stream_sid`` may be empty, here and below: the socket has one stream.
    """

    stream_sid: str
    payload: str
    timestamp_ms: int | None = None
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
    """Playout reached a mark that we sent, or a ``clear`` dropped it. ``name`` is empty if it is missing."""

    stream_sid: str
    name: str


class Stop(Struct, frozen=True):
    """The stream or the call ended."""

    stream_sid: str


class Outbound(Struct, frozen=True):
    """A frame of what the caller hears, or a key sent to the caller, from a sender of both tracks; to be ignored."""


class Unknown(Struct, frozen=True):
    """An event that the protocol did not have when this was written; it is to be ignored."""

    event: str


Message: TypeAlias = Connected | Start | Media | KeyPress | MarkEcho | Stop | Outbound | Unknown

Counter = Annotated[int, Meta(ge=0, le=2**53)]
Milliseconds = Annotated[float, Meta(ge=0, le=2**53)]
Sid = Annotated[str, Meta(max_length=128)]
StoredSid = Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
"""What ``start`` names and the database keeps: as long as its columns, and without what no database or log takes."""
Track = str | None
"""``inbound``, or ``inbound_track`` in ``dtmf``: what the caller sends. ``outbound``: what the caller hears."""


class _MediaFormat(Struct, rename="camel"):
    encoding: str | None = None
    sample_rate: int | None = None
    channels: int | None = None


class _StartBody(Struct, rename="camel"):
    call_sid: Annotated[StoredSid, Meta(min_length=1)]
    media_format: _MediaFormat | None = None
    stream_sid: StoredSid | None = None
    account_sid: StoredSid | None = None


class _MediaBody(Struct, gc=False):
    payload: str
    timestamp: Milliseconds | None = None
    chunk: Counter | None = None
    track: Track = None


class _KeyBody(Struct, gc=False):
    digit: Annotated[str, Meta(pattern=r"^[0-9*#A-Da-d]$")] | Annotated[int, Meta(ge=0, le=9)]
    track: Track = None


class _MarkBody(Struct, gc=False):
    name: str | None = None


class _Wire(Struct, tag_field="event", rename="camel"):
    """One JSON object of the socket; ``typed()`` makes of it what the rest of the project sees."""

    def typed(self) -> Message:
        raise NotImplementedError


class _ConnectedWire(_Wire, tag="connected"):
    def typed(self) -> Connected:
        return Connected()


class _StartWire(_Wire, tag="start"):
    start: _StartBody
    stream_sid: StoredSid | None = None

    def typed(self) -> Start:
        _check_format(self.start.media_format or _MediaFormat())
        names = {name for name in (self.stream_sid, self.start.stream_sid) if name}
        if len(names) != 1:
            raise BadMessage("start names two different streams" if names else "start: `streamSid` is missing")
        return Start(names.pop(), self.start.call_sid, self.start.account_sid or "")


class _MediaWire(_Wire, tag="media"):
    media: _MediaBody
    stream_sid: Sid | None = None
    sequence_number: Counter | None = None

    def typed(self) -> Media | Outbound:
        body = self.media
        if body.track != "inbound" and _is_outbound(body.track):
            return Outbound()
        at = body.timestamp
        # Without numbers of its own, media has those of all messages, which rise as well.
        number = body.chunk or self.sequence_number or 0
        return Media(self.stream_sid or "", body.payload, None if at is None else round(at), number)


class _KeyWire(_Wire, tag="dtmf"):
    dtmf: _KeyBody
    stream_sid: Sid | None = None

    def typed(self) -> KeyPress | Outbound:
        if _is_outbound(self.dtmf.track):
            return Outbound()
        return KeyPress(self.stream_sid or "", str(self.dtmf.digit).upper())


class _MarkWire(_Wire, tag="mark"):
    mark: _MarkBody | None = None
    stream_sid: Sid | None = None

    def typed(self) -> MarkEcho:
        return MarkEcho(self.stream_sid or "", (self.mark and self.mark.name) or "")


class _StopWire(_Wire, tag="stop"):
    stream_sid: Sid | None = None

    def typed(self) -> Stop:
        return Stop(self.stream_sid or "")


def _is_outbound(track: Track) -> bool:
    return track is not None and track.lower().startswith("outbound")


def _check_format(offered: _MediaFormat) -> None:
    """Raise ``BadMessage`` if the sound is not mu-law, 8000 Hz, one channel, which what is left out stands for."""
    encoding = "audio/x-mulaw" if offered.encoding is None else offered.encoding
    rate = RATE_HZ if offered.sample_rate is None else offered.sample_rate
    channels = 1 if offered.channels is None else offered.channels
    if encoding.lower() not in ENCODINGS or (rate, channels) != (RATE_HZ, 1):
        raise BadMessage(f"start offers {encoding:.40} {rate} Hz x {channels}, not mu-law 8000")


class _AnyEvent(Struct):
    event: Annotated[str, Meta(max_length=64)]


_EVENTS = frozenset({"connected", "start", "media", "dtmf", "mark", "stop"})

# Not strict, so that counters may be strings.
_decode_wire: Callable[[str | bytes], _Wire] = msgspec.json.Decoder(
    _ConnectedWire | _StartWire | _MediaWire | _KeyWire | _MarkWire | _StopWire, strict=False
).decode
_decode_event = msgspec.json.Decoder(_AnyEvent).decode


def parse(text: str | bytes) -> Message:
    """The message in one frame. Raises ``BadMessage`` with the reason if the frame is not of the protocol."""
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


class _OutMark(Struct, gc=False):
    name: str


class _MarkOut(Struct, tag_field="event", tag="mark", rename="camel"):
    stream_sid: str
    mark: _OutMark


class _ClearOut(Struct, tag_field="event", tag="clear", rename="camel"):
    stream_sid: str


# Bytes become base64, and fields keep the order written above.
_encode = msgspec.json.Encoder().encode


def media_message(stream_sid: str, audio: bytes) -> str:
    """Play this mu-law audio after everything that was sent before."""
    return _encode(_MediaOut(stream_sid, _OutBody(audio))).decode()


def mark_message(stream_sid: str, name: str) -> str:
    """Echo ``name`` once everything sent before it was played, or dropped by a ``clear``."""
    return _encode(_MarkOut(stream_sid, _OutMark(name))).decode()


def clear_message(stream_sid: str) -> str:
    """Drop what was sent and was not played yet; every mark that is still out comes back."""
    return _encode(_ClearOut(stream_sid)).decode()
