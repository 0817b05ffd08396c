"""The sound of a call as files: one WAV per stream in the spool, one per call in storage, served by ranges."""

import re
import tempfile
import wave
from pathlib import Path
from typing import IO

from django.db.models.fields.files import FieldFile
from django.http import HttpResponse

PIECE_BYTES = 1 << 20
"""Most of a recording that one answer to a range holds; players ask for the next piece themselves."""
_FRAMES = 1 << 16


def join(earlier: IO[bytes], spooled: Path) -> IO[bytes]:
    """
    An open file with the earlier recording and ``spooled`` behind it, made in bounded memory; the caller closes it.

    Raises ``wave.Error`` or ``EOFError`` if the two do not fit or one is not a WAV.
    """
    joined = tempfile.TemporaryFile(dir=spooled.parent)  # noqa: SIM115
    try:
        with wave.open(earlier, "rb") as first, wave.open(str(spooled), "rb") as second:
            if first.getparams()[:3] != second.getparams()[:3]:
                raise wave.Error(f"{first.getparams()} does not go with {second.getparams()}")
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


def serve(recording: FieldFile, asked: str) -> HttpResponse:
    """
    The sound as an answer to a request whose ``Range`` header is ``asked``; without ranges players cannot seek.

    Raises ``FileNotFoundError`` if it is gone from the storage.
    """
    with recording.open("rb") as sound:
        size = sound.size
        span = byte_range(asked, size)
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
    """The bytes that a ``Range`` header asks for, at most ``PIECE_BYTES``; ``None`` is all, empty is none."""
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1 if first and last else size, start + PIECE_BYTES)
    return range(start, stop)
