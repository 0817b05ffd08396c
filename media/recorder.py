"""
The sound of a call as a stereo WAV: the caller on the left, the agent as it was heard on the right. If stored
recordings are encrypted, this file is too.

Each recording keeps the last seconds in memory, because it is known only later what the caller heard of the agent. One
thread per process writes what changed, once a second. A call never waits for the disk: if the disk fails or is full,
the recording is dropped and the call goes on. A process that dies leaves files that are complete up to the last second;
``recover`` gives them to the next process. An advisory lock on each file tells whether its process is alive.
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
from typing import Protocol
from uuid import uuid4

import numpy as np

from inference.mulaw import decode_mulaw
from media.audio import SILENCE
from media.messages import RATE_HZ

logger = logging.getLogger(__name__)

WINDOW = 10 * RATE_HZ
"""Samples kept in memory, 160 kB a call. What comes more than 8 s late is missing from the recording."""
_SHIFT = 2 * RATE_HZ
"""Samples by which the window moves: seldom enough that moving it costs nothing, and 8 s of it always remain."""
_WRITE_INTERVAL = RATE_HZ
"""Samples between two writes: what a crash may cost."""
_MAX_JUMP = 60 * RATE_HZ
"""Audio further ahead than this is a mistake and not a pause; it would fill the disk with silence."""
_JOIN = 160
"""Samples: pieces of the agent that touch within a frame are joined, because a gap of a few samples is a click."""
_MAX_WAITING = 600
"""Writes that may wait for the disk (10 MB): ten seconds of sixty calls for a disk that hangs."""
_HEADER_BYTES = 44
_FRAME_BYTES = 4

_SECOND_BYTES = RATE_HZ * _FRAME_BYTES

Pwrite = Callable[[int, bytes, int], int]


class Sealer(Protocol):
    """Encrypts one file, which begins with ``header``."""

    header: bytes

    def seal(self, second: int, pcm: bytes) -> tuple[int, bytes]:
        """Where a second's PCM is written, and what."""


class Sealing(Protocol):
    """How the files of a spool are encrypted: ``calls.services.spooled_sound`` is one."""

    def make_sealer(self) -> Sealer | None:
        """For a new file; None if it is not encrypted."""

    def is_sealed(self, beginning: bytes) -> bool:
        """Whether a file that begins so is encrypted."""

    def has_sound(self, file_bytes: int) -> bool:
        """Whether an encrypted file of this size has any sound."""


def _header(payload_bytes: int) -> bytes:
    """The start of a WAV file of 16-bit stereo PCM at 8 kHz."""
    riff = struct.pack("<4sI4s", b"RIFF", _HEADER_BYTES - 8 + payload_bytes, b"WAVE")
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE_HZ, RATE_HZ * _FRAME_BYTES, _FRAME_BYTES, 16)
    return riff + layout + struct.pack("<4sI", b"data", payload_bytes)


class RecordingFile:
    """The file of one recording. The writing thread alone uses it, except for ``path`` and ``is_dropped``."""

    def __init__(self, path: Path, sealer: Sealer | None = None) -> None:
        self.path = path
        self.sealer = sealer
        """Encrypts the file, which is no WAV file then; None if it is stored as it is."""
        self.is_dropped = False
        """The recording was given up: nothing more is written."""
        self.descriptor: int | None = None
        """The open and locked file; None until the first write, and again once it is dropped."""
        self.payload_bytes = 0
        """The PCM that the file's header announces."""


class Recording:
    """
    The sound of one stream of a call; made by ``RecordingSpool.open``, used on the loop's thread.

    Positions are samples into the caller's stream. Nothing here blocks or raises.
    """

    def __init__(self, spool: RecordingSpool, path: Path, sealer: Sealer | None) -> None:
        self._spool = spool
        self._file = RecordingFile(path, sealer)
        self._window = np.full((WINDOW, 2), SILENCE[0], np.uint8)
        """Mu-law of both sides, a row for each position from ``_base`` on."""
        self._base = 0
        """The position of the window's first row."""
        self._end = 0
        """The position up to which something was recorded."""
        self._unwritten: int | None = None
        """The position from which on changes were not given to the spool; None if all were."""
        self._write_at = _WRITE_INTERVAL
        """The position at which the next write is due."""
        self._agent_end = 0
        """The position at which the agent's last piece ended."""
        self._finished: asyncio.Future[Path | None] | None = None
        """Set once ``finish`` was called: what comes later is ignored."""

    def caller(self, position: int, mulaw: bytes) -> None:
        """Record what the caller said, as it comes."""
        self._place(0, position, mulaw)

    def agent(self, position: int, mulaw: bytes) -> None:
        """Record what the caller heard of the agent, once that is certain; up to 8 s late."""
        if abs(position - self._agent_end) <= _JOIN:
            position = self._agent_end
        self._agent_end = position + len(mulaw)
        self._place(1, position, mulaw)

    async def finish(self) -> Path | None:
        """
        Write what is left. Returns the finished file, or None if there is none (nothing was said, the disk failed).

        The file stays locked until it is moved or deleted, or the spool is closed.
        """
        if self._finished is None:
            self._write()
            self._finished = self._spool.finish(self._file)
        return await asyncio.shield(self._finished)

    def _place(self, side: int, position: int, mulaw: bytes) -> None:
        if self._file.is_dropped or self._finished is not None or position > self._end + _MAX_JUMP:
            return
        sound = np.frombuffer(mulaw, np.uint8)
        if position < self._base:
            position, sound = self._base, sound[self._base - position :]
        for at in range(0, len(sound), _SHIFT):
            part = sound[at : at + _SHIFT] if len(sound) > _SHIFT else sound
            begin, position = position, position + len(part)
            while position > self._base + WINDOW:
                self._slide()
            self._window[begin - self._base : position - self._base, side] = part
            # If the part begins after the end, the silence between the two has to be written too.
            self._mark_changed(begin if begin < self._end else self._end, position)
        if self._end >= self._write_at and self._spool.has_room:
            self._write()

    def _mark_changed(self, start: int, end: int) -> None:
        if self._unwritten is None or start < self._unwritten:
            self._unwritten = start
        if end > self._end:
            self._end = end

    def _write(self) -> None:
        self._write_at = self._end + _WRITE_INTERVAL
        if self._unwritten is not None:
            # Whole seconds are encrypted. The window begins with one.
            begin = self._unwritten if self._file.sealer is None else self._unwritten // RATE_HZ * RATE_HZ
            rows = self._window[begin - self._base : self._end - self._base]
            self._spool.write(self._file, begin, rows.tobytes())
            self._unwritten = None

    def _slide(self) -> None:
        if self._end < self._base + _SHIFT:
            self._mark_changed(self._end, self._base + _SHIFT)
        if self._spool.has_room:
            self._write()
        elif self._unwritten is not None and self._unwritten < self._base + _SHIFT:
            self._spool.drop(self._file, "the disk does not keep up")
            self._unwritten = None
        self._window[:-_SHIFT] = self._window[_SHIFT:]
        self._window[-_SHIFT:] = SILENCE[0]
        self._base += _SHIFT


def _resolve(future: asyncio.Future[Path | None], path: Path | None) -> None:
    if not future.done():
        future.set_result(path)


class RecordingSpool:
    """
    The recordings of one process on their way to storage, in ``directory``: ``<call id>.<x>.wav`` for each stream.

    ``open``, ``write``, ``drop`` and ``finish`` return at once; the work is done on a thread, in this order.
    ``pwrite`` is ``os.pwrite``, or a test's replacement. Without ``sealing`` no file is encrypted.
    """

    def __init__(self, directory: Path, *, sealing: Sealing | None = None, pwrite: Pwrite = os.pwrite) -> None:
        self._directory = directory
        self._sealing = sealing
        self._pwrite = pwrite
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        """The work of the thread; None ends it."""
        self._thread: threading.Thread | None = None
        self._locks: dict[Path, int] = {}
        """The descriptors of the files that this process has locked."""

    def open(self, call_id: str) -> Recording:
        """A recording at position 0. The file is created with the first second of sound."""
        if not re.fullmatch(r"[\w-]+", call_id):
            raise ValueError(f"the call id {call_id!r} cannot be part of a file name")
        sealer = self._sealing.make_sealer() if self._sealing is not None else None
        return Recording(self, self._directory / f"{call_id}.{uuid4().hex[:12]}.wav", sealer)

    def write(self, file: RecordingFile, position: int, mulaw: bytes) -> None:
        """Write both sides from ``position`` on, their samples in turn."""
        self._submit(partial(self._write, file, position, mulaw))

    def drop(self, file: RecordingFile, reason: str) -> None:
        """Give up a recording and delete its file."""
        file.is_dropped = True
        self._submit(partial(self._drop, file, reason))

    def finish(self, file: RecordingFile) -> asyncio.Future[Path | None]:
        """The file's path once everything is written, or None if there is no file."""
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[Path | None] = loop.create_future()
        self._submit(partial(self._finish, file, loop, finished))
        return finished

    @property
    def has_room(self) -> bool:
        """Whether the disk keeps up, so that another write may wait for it."""
        return self._jobs.qsize() < _MAX_WAITING

    def recover(self) -> list[tuple[str, Path]]:
        """
        The call ids and files that dead processes have left, with their headers put right. Blocks.

        The files belong to this process from now on: no other process that asks gets them while this one lives.
        """
        adopted = filter(self._adopt, sorted(self._directory.glob("*.wav")))
        return [(path.name.partition(".")[0], path) for path in adopted]

    async def close(self) -> None:
        """Wait until everything is written, then release the files that are left. Idempotent."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        while self._locks:
            os.close(self._locks.popitem()[1])

    def _submit(self, job: Callable[[], None]) -> None:
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
                logger.exception("Unexpected error in writing a recording")

    def _write(self, file: RecordingFile, position: int, mulaw: bytes) -> None:
        if file.is_dropped:
            return
        try:
            if file.descriptor is None:
                file.descriptor = self._create(file.path)
                if file.sealer is not None:
                    self._write_all(file.descriptor, file.sealer.header, 0)
            pcm = decode_mulaw(mulaw).tobytes()
            if file.sealer is None:
                self._write_plain(file, file.descriptor, position, pcm)
            else:
                self._write_sealed(file.sealer, file.descriptor, position // RATE_HZ, pcm)
        except OSError as error:
            self._drop(file, str(error))

    def _write_plain(self, file: RecordingFile, descriptor: int, position: int, pcm: bytes) -> None:
        self._write_all(descriptor, pcm, _HEADER_BYTES + position * _FRAME_BYTES)
        payload_bytes = position * _FRAME_BYTES + len(pcm)
        if payload_bytes > file.payload_bytes:
            file.payload_bytes = payload_bytes
            self._write_all(descriptor, _header(payload_bytes), 0)

    def _write_sealed(self, sealer: Sealer, descriptor: int, second: int, pcm: bytes) -> None:
        for number, at in enumerate(range(0, len(pcm), _SECOND_BYTES), second):
            offset, sealed = sealer.seal(number, pcm[at : at + _SECOND_BYTES])
            self._write_all(descriptor, sealed, offset)

    def _create(self, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not os.fstat(descriptor).st_nlink:  # another process recovered it, as empty, before it was locked
            os.close(descriptor)
            return self._create(path)
        self._locks[path] = descriptor
        return descriptor

    def _write_all(self, descriptor: int, content: bytes, offset: int) -> None:
        view = memoryview(content)
        while view:
            written = self._pwrite(descriptor, bytes(view), offset)
            view, offset = view[written:], offset + written

    def _drop(self, file: RecordingFile, reason: str) -> None:
        logger.error("Dropped the recording %s: %s", file.path.name, reason)
        file.is_dropped = True
        if file.descriptor is not None:
            file.path.unlink(missing_ok=True)
            file.descriptor = None
        self._release_deleted()

    def _finish(
        self, file: RecordingFile, loop: asyncio.AbstractEventLoop, finished: asyncio.Future[Path | None]
    ) -> None:
        path = file.path if file.descriptor is not None else None
        self._release_deleted()
        try:
            loop.call_soon_threadsafe(_resolve, finished, path)
        except RuntimeError:
            logger.warning("The recording %s stays in the spool: its event loop is closed", file.path.name)

    def _release_deleted(self) -> None:
        """Close the files that were moved into storage or deleted."""
        for path, descriptor in list(self._locks.items()):
            if os.fstat(descriptor).st_nlink == 0 or not path.exists():
                os.close(self._locks.pop(path))

    def _adopt(self, path: Path) -> bool:
        """Lock a file that a dead process has left and put its header right; False if there is nothing to keep."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = os.fstat(descriptor)
            if state.st_nlink and self._complete(descriptor, state.st_size):
                self._locks[path] = descriptor
                return True
            if state.st_nlink:
                path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its process lives
        except OSError as error:
            logger.error("Could not recover the recording %s, it stays in the spool: %s", path.name, error)
        os.close(descriptor)
        return False

    def _complete(self, descriptor: int, file_bytes: int) -> bool:
        """Put the header of a file right that its process has left; False if it has no sound."""
        if self._sealing is not None and self._sealing.is_sealed(os.pread(descriptor, 8, 0)):
            return self._sealing.has_sound(file_bytes)
        payload_bytes = (file_bytes - _HEADER_BYTES) // _FRAME_BYTES * _FRAME_BYTES
        if payload_bytes > 0:
            os.ftruncate(descriptor, _HEADER_BYTES + payload_bytes)
            self._write_all(descriptor, _header(payload_bytes), 0)
        return payload_bytes > 0
