"""Recordings as files: one per stream in the spool, one WAV per call in storage, served in ranges."""

import io
import re
import struct
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol

from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from calls.made_while_read import MadeWhileRead
from calls.models import Call
from calls.sealed_sound import FRAME_BYTES, SealedSound, is_sealed

PIECE_BYTES = 1 << 20
"""The most that one answer to a range request contains. Players request the next piece themselves."""
STREAM_BYTES = 1 << 17
"""The bytes of a recording that are in memory at once, for each client that reads one."""
_FRAMES = 1 << 13
"""Frames that are read at once: about a second, or 32 kB of stereo."""
_FORMAT = (2, 2, 8000)
"""Channels, bytes of a sample, and samples a second of every recording."""


class _Part(Protocol):
    """Sound of which any frames can be read."""

    frames: int

    def read(self, frame: int, count: int) -> bytes: ...


class _WavPart:
    """The sound of a WAV file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._wave = wave.open(file, "rb")  # noqa: SIM115
        if self._wave.getparams()[:3] != _FORMAT:
            raise wave.Error(f"The format is another one than that of a recording: {self._wave.getparams()}.")
        self.frames = self._wave.getnframes()

    def read(self, frame: int, count: int) -> bytes:
        self._wave.setpos(frame)
        return self._wave.readframes(count)


class _Joined(MadeWhileRead):
    """Parts one after the other as one WAV file, of which nothing is written anywhere."""

    name = "the recording"

    def __init__(self, parts: list[_Part]) -> None:
        super().__init__()
        self._parts = parts
        frames = sum(part.frames for part in parts)
        self._header = _header(frames)
        self.size = len(self._header) + frames * FRAME_BYTES

    def _piece_at(self, position: int) -> bytes:
        if position < len(self._header):
            return self._header[position:]
        frame, within = divmod(position - len(self._header), FRAME_BYTES)
        for part in self._parts:
            if frame < part.frames:
                wanted = min(_FRAMES, part.frames - frame)
                # A file that was cut off has fewer frames than it says: the rest is silent.
                return (part.read(frame, wanted) or bytes(wanted * FRAME_BYTES))[within:]
            frame -= part.frames
        return b""


def _header(frames: int) -> bytes:
    payload = frames * FRAME_BYTES
    channels, width, rate = _FORMAT
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * FRAME_BYTES, FRAME_BYTES, 8 * width)
    return struct.pack("<4sI4s", b"RIFF", 36 + payload, b"WAVE") + layout + struct.pack("<4sI", b"data", payload)


@contextmanager
def whole_sound(
    spooled: Path, earlier: IO[bytes] | None = None, *, keys: Mapping[bytes, bytes] = MappingProxyType({})
) -> Iterator[IO[bytes]]:
    """
    Open a recording of the spool as a WAV file, behind the recording of the call's ``earlier`` streams.

    Nothing is written, and little is in memory, however long the recordings are. ``keys`` by their ids decrypt
    ``spooled``. Raises ``wave.Error`` or ``EOFError`` if ``earlier`` is no recording.
    """
    with spooled.open("rb") as file:
        parts: list[_Part] = [] if earlier is None else [_WavPart(earlier)]
        sealed = is_sealed(file.read(8))
        file.seek(0)
        if not sealed and not parts:
            yield file
            return
        parts.append(SealedSound(file, keys, spooled.name) if sealed else _WavPart(file))
        with io.BufferedReader(_Joined(parts), STREAM_BYTES) as sound:
            yield sound


def delete_recording(instance: Call, **_: Any) -> None:
    """Delete the recording of a call that was deleted (``post_delete``)."""
    name, storage = instance.recording.name, instance.recording.storage
    if name:
        transaction.on_commit(lambda: storage.delete(name))


def serve(recording: FieldFile, request: HttpRequest) -> HttpResponseBase:
    """
    Answer a request for a recording, according to its ``Range`` header. Without ranges, players cannot seek.

    It goes out in pieces as the client reads them, so that little is in memory. HEAD reads nothing. Raises
    ``FileNotFoundError`` if the storage no longer has the recording.
    """
    sound = recording.open("rb")
    size = sound.size
    span = byte_range(request.headers.get("Range", ""), size)
    response: HttpResponseBase
    if span is not None and not span:
        sound.close()
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    if request.method == "HEAD":
        sound.close()
        response = HttpResponse()
    else:
        response = _stream(sound, range(size) if span is None else span)
    if span is not None:
        response.status_code = 206
        response["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    response["Content-Type"] = "audio/wav"
    response["Content-Length"] = str(size if span is None else len(span))
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private"
    return response


def _stream(sound: FieldFile, span: range) -> StreamingHttpResponse:
    """``clientcaller.web.handler`` reads each piece when the client has read the one before it."""
    try:
        sound.seek(span.start)
        pieces = _read(sound, len(span))
        # An error of the storage is best noticed while the answer can still be another one.
        response = StreamingHttpResponse(chain([next(pieces, b"")], pieces))
    except BaseException:
        sound.close()
        raise
    response._resource_closers.append(sound.close)  # type: ignore[attr-defined]  # the stubs forget it
    return response


def _read(sound: FieldFile, count: int) -> Iterator[bytes]:
    while piece := sound.read(min(count, STREAM_BYTES)):
        count -= len(piece)
        yield piece


def byte_range(header: str, size: int) -> range | None:
    """Return the bytes that a ``Range`` header requests, at most ``PIECE_BYTES``. None: all; an empty range: none."""
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1 if first and last else size, start + PIECE_BYTES)
    return range(start, stop)
