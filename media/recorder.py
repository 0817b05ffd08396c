"""
The sound of a call as a stereo WAV: the caller on the left, the agent on the right as it was heard.

Each recording keeps the last seconds in memory, because what the agent said is known to be heard only after the
caller's voice of the same moment has come; one thread per process writes what changed, once a second. A call never
waits for the disk: if it fails or is full, the recording is dropped and the call goes on. A process that dies leaves
files that are whole up to the last second; ``recover`` hands them to the next one. An advisory lock on each
file tells whether its process is alive.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
import struct
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from uuid import uuid4

import numpy as np

from media.audio import SILENCE, decode_mulaw
from media.messages import RATE_HZ

logger = logging.getLogger(__name__)

WINDOW = 10 * RATE_HZ
"""Samples kept in memory, 160 kB a call. What comes later than 8 s is lost to the recording."""
_SHIFT = 2 * RATE_HZ
_EVERY = RATE_HZ  # samples between two writes: what a crash may cost
_MAX_JUMP = 60 * RATE_HZ  # audio further ahead than this is a mistake, not a pause
_JOIN = 160  # samples: pieces that touch within a frame are joined, for a gap of a few samples is a click
_MAX_WAITING = 600  # writes (10 MB): ten seconds of sixty calls for a disk that hangs
_HEADER_BYTES = 44
_FRAME_BYTES = 4

Pwrite = Callable[[int, bytes, int], int]


def _header(payload_bytes: int) -> bytes:
    """The start of a WAV file of 16-bit stereo PCM at 8 kHz."""
    riff = struct.pack("<4sI4s", b"RIFF", _HEADER_BYTES - 8 + payload_bytes, b"WAVE")
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE_HZ, RATE_HZ * _FRAME_BYTES, _FRAME_BYTES, 16)
    return riff + layout + struct.pack("<4sI", b"data", payload_bytes)


class Recording:
    """
    The sound of one stream of a call; made by ``RecordingSpool.open``, used on the loop's thread.

    Positions are samples into the caller's stream. Nothing here blocks or raises.
    """

    def __init__(self, spool: RecordingSpool, path: Path) -> None:
        self.path = path
        self._spool = spool
        self._window = np.full((WINDOW, 2), SILENCE[0], np.uint8)
        self._base = 0  # position of the window's first row
        self._end = 0  # of what was recorded so far
        self._unwritten: int | None = None  # where the changes begin that are not on their way to the disk
        self._due = _EVERY
        self._agent_end = 0
        self._finished: asyncio.Future[Path | None] | None = None
        # The writing thread's own:
        self._file: int | None = None
        self._payload_bytes = 0
        self.failed = False

    def caller(self, position: int, mulaw: bytes) -> None:
        """What the caller said, as it comes."""
        self._place(0, position, mulaw)

    def agent(self, position: int, mulaw: bytes) -> None:
        """What the caller was played, once it is certain that it was; up to 8 s late."""
        if abs(position - self._agent_end) <= _JOIN:
            position = self._agent_end
        self._agent_end = position + len(mulaw)
        self._place(1, position, mulaw)

    async def finish(self) -> Path | None:
        """
        Write what is left; the finished file, or None if there is none (nothing was said, the disk failed).

        The file stays locked until it is moved or deleted, or the spool is closed.
        """
        if self._finished is None:
            loop = asyncio.get_running_loop()
            self._finished = loop.create_future()
            self._write()
            self._spool._do(partial(self._spool._settle, self, loop, self._finished))
        return await asyncio.shield(self._finished)

    def _place(self, side: int, position: int, mulaw: bytes) -> None:
        if self.failed or self._finished is not None or position > self._end + _MAX_JUMP:
            return
        late = max(0, self._base - position)
        position, sound = position + late, np.frombuffer(mulaw, np.uint8)[late:]
        for part in (sound[at : at + _SHIFT] for at in range(0, len(sound), _SHIFT)):
            while position + len(part) > self._base + WINDOW:
                self._slide()
            row = position - self._base
            self._window[row : row + len(part), side] = part
            position += len(part)
            # Between the end and what begins after it lies silence, which is to be written too.
            self._changed(min(self._end, position - len(part)), position)
        if self._end >= self._due and self._spool.has_room:
            self._write()

    def _changed(self, begin: int, end: int) -> None:
        self._unwritten = begin if self._unwritten is None else min(self._unwritten, begin)
        self._end = max(self._end, end)

    def _write(self) -> None:
        self._due = self._end + _EVERY
        if self._unwritten is not None:
            rows = self._window[self._unwritten - self._base : self._end - self._base]
            self._spool._do(partial(self._spool._write, self, self._unwritten, rows.tobytes()))
            self._unwritten = None

    def _slide(self) -> None:
        if self._end < self._base + _SHIFT:
            self._changed(self._end, self._base + _SHIFT)
        if self._spool.has_room:
            self._write()
        elif self._unwritten is not None and self._unwritten < self._base + _SHIFT:
            self._spool._do(partial(self._spool._drop, self, "the disk does not keep up"))
            self._unwritten = None
            self.failed = True
        self._window[:-_SHIFT] = self._window[_SHIFT:]
        self._window[-_SHIFT:] = SILENCE[0]
        self._base += _SHIFT


def _resolve(future: asyncio.Future[Path | None], path: Path | None) -> None:
    if not future.done():
        future.set_result(path)


class RecordingSpool:
    """
    The recordings of one process on their way to storage, in ``directory``, one file a stream: ``<call id>.<x>.wav``.

    ``pwrite`` is ``os.pwrite``, or what stands for it in a test.
    """

    def __init__(self, directory: Path, *, pwrite: Pwrite = os.pwrite) -> None:
        self._directory = directory
        self._pwrite = pwrite
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._locks: dict[Path, int] = {}

    def open(self, call_id: str) -> Recording:
        """A recording at position 0. Touches no disk; the file comes with the first second of sound."""
        if not re.fullmatch(r"[\w-]+", call_id):
            raise ValueError(f"{call_id!r} cannot be part of a file's name")
        return Recording(self, self._directory / f"{call_id}.{uuid4().hex[:12]}.wav")

    def recover(self) -> list[tuple[str, Path]]:
        """
        The call ids and files that dead processes have left, with their headers put right. Blocks.

        They are this process's from now on: no other that asks will get them while it lives.
        """
        adopted = filter(self._adopt, sorted(self._directory.glob("*.wav")))
        return [(path.name.partition(".")[0], path) for path in adopted]

    async def close(self) -> None:
        """Wait until everything is written, then let go of the files that nobody has fetched. Idempotent."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        while self._locks:
            os.close(self._locks.popitem()[1])

    @property
    def has_room(self) -> bool:
        return self._jobs.qsize() < _MAX_WAITING

    def _do(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    # -- on the writing thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                logger.exception("The recording thread met something that it does not know")

    def _write(self, recording: Recording, position: int, rows: bytes) -> None:
        if recording.failed:
            return
        try:
            if recording._file is None:
                recording._file = self._create(recording.path)
            pcm = decode_mulaw(rows).tobytes()
            self._write_all(recording._file, pcm, _HEADER_BYTES + position * _FRAME_BYTES)
            payload_bytes = position * _FRAME_BYTES + len(pcm)
            if payload_bytes > recording._payload_bytes:
                recording._payload_bytes = payload_bytes
                self._write_all(recording._file, _header(payload_bytes), 0)
        except OSError as error:
            self._drop(recording, str(error))

    def _create(self, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if not os.fstat(file).st_nlink:  # taken for a dead process's, before it was locked
            os.close(file)
            return self._create(path)
        self._locks[path] = file
        return file

    def _write_all(self, file: int, content: bytes, offset: int) -> None:
        view = memoryview(content)
        while view:
            written = self._pwrite(file, bytes(view), offset)
            view, offset = view[written:], offset + written

    def _drop(self, recording: Recording, reason: str) -> None:
        logger.error("The recording %s is dropped: %s", recording.path.name, reason)
        recording.failed = True
        if recording._file is not None:
            recording.path.unlink(missing_ok=True)
            recording._file = None
        self._let_go_of_the_gone()

    def _settle(
        self, recording: Recording, loop: asyncio.AbstractEventLoop, finished: asyncio.Future[Path | None]
    ) -> None:
        path = recording.path if recording._file is not None else None
        self._let_go_of_the_gone()
        try:
            loop.call_soon_threadsafe(_resolve, finished, path)
        except RuntimeError:
            logger.warning("Nobody waits for the recording %s any more", recording.path.name)

    def _let_go_of_the_gone(self) -> None:
        for path, file in list(self._locks.items()):
            if os.fstat(file).st_nlink == 0 or not path.exists():
                os.close(self._locks.pop(path))

    def _adopt(self, path: Path) -> bool:
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = os.fstat(file)
            payload_bytes = (state.st_size - _HEADER_BYTES) // _FRAME_BYTES * _FRAME_BYTES
            if state.st_nlink and payload_bytes > 0:
                os.ftruncate(file, _HEADER_BYTES + payload_bytes)
                self._write_all(file, _header(payload_bytes), 0)
                self._locks[path] = file
                return True
            if state.st_nlink:
                path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its process lives
        except OSError as error:
            logger.error("The recording %s cannot be recovered: %s", path.name, error)
        os.close(file)
        return False
