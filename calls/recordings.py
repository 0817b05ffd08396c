"""The sound of a call as files: one WAV per stream in the spool, one per call in storage."""

import tempfile
import wave
from pathlib import Path
from typing import IO

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
