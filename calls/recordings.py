"""Recordings as files: one WAV per stream in the spool, one per call in storage, served in ranges."""

import re
import tempfile
import wave
from pathlib import Path
from typing import IO, Any

from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.http import HttpResponse

from calls.models import Call

PIECE_BYTES = 1 << 20
"""The most that one answer to a range request contains. Players request the next piece themselves."""
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


def serve(recording: FieldFile, range_header: str) -> HttpResponse:
    """
    Answer a request for a recording, according to its ``Range`` header. Without ranges, players cannot seek.

    Raises ``FileNotFoundError`` if the storage no longer has the recording.
    """
    with recording.open("rb") as sound:
        size = sound.size
        span = byte_range(range_header, size)
        if span is None:
            response = HttpResponse(sound.read(), content_type="audio/wav")
        elif not span:
            return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
        else:
            sound.seek(span.start)
            response = HttpResponse(sound.read(len(span)), status=206, content_type="audio/wav")
            response["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private"
    return response


def byte_range(header: str, size: int) -> range | None:
    """Return the bytes that a ``Range`` header requests, at most ``PIECE_BYTES``. None: all; an empty range: none."""
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1 if first and last else size, start + PIECE_BYTES)
    return range(start, stop)
