"""Recordings as files: one WAV per stream in the spool, one per call in storage, served in ranges."""

import re
import tempfile
import wave
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from calls.models import Call

PIECE_BYTES = 1 << 20
"""The most that one answer to a range request contains. Players request the next piece themselves."""
STREAM_BYTES = 1 << 17
"""The bytes of a recording that are in memory at once, for each client that reads one."""
_FRAMES = 1 << 16
"""Frames that are copied at once when two recordings are joined: 8 s, or 256 kB of stereo."""


def join(earlier: IO[bytes], spooled: Path) -> IO[bytes]:
    """
    Return an open file with the earlier recording followed by ``spooled``. The caller closes it.

    Uses little memory, however long the recordings are. Raises ``wave.Error`` or ``EOFError`` if their formats differ
    or one of them is not a WAV file.
    """
    joined = tempfile.TemporaryFile(dir=spooled.parent)  # noqa: SIM115
    try:
        with wave.open(earlier, "rb") as first, wave.open(str(spooled), "rb") as second:
            if first.getparams()[:3] != second.getparams()[:3]:
                raise wave.Error(f"The formats differ: {first.getparams()} and {second.getparams()}.")
            with wave.open(joined, "wb") as out:
                out.setparams(first.getparams())
                for part in (first, second):
                    while frames := part.readframes(_FRAMES):
                        out.writeframesraw(frames)
    except BaseException:
        joined.close()
        raise
    joined.seek(0)
    return joined


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
