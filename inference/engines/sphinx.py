"""
Recognises speech with PocketSphinx and a small language model, for a guided demonstration without a download.

It recognises people well as long as they say what ``front_desk_phrases`` lists. It cannot recognise free conversation.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import itertools
import json
import logging
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from inference.cores import usable_cores
from inference.engines.front_desk_phrases import sentences
from inference.interfaces import OnPartial
from inference.types import Description, EngineError, Languages, Pcm, Transcript, has_language

RATE_HZ = 16_000
"""The rate of the acoustic model."""
BATCH_BYTES = 2 * RATE_HZ // 10
"""Sound is sent to the worker process in pieces of 100 ms, to save requests. A snapshot or a finish sends the rest."""

MAX_UNSENT_BYTES = 4 * 2**20
"""Two minutes of speech. A process that has not read so much hangs, and is killed."""

START_TIMEOUT = 30.0
"""Seconds until a new process must be ready. It takes about 0.6 s; a busy machine may take much longer."""
PROCESS_BYTES, DECODER_BYTES = 14_000_000, 11_000_000
"""For the estimate of resident memory. A process with 1, 4 and 8 decoders, all used, has 25, 57 and 100 MB."""
RESTART_DELAY = 1.0
"""Seconds before the next attempt to start a process that did not start, so that the attempts take little time."""

logger = logging.getLogger(__name__)

# The request's letter, the number of the utterance and the length of the payload, as in sphinx_worker.
_HEADER = struct.Struct("<cII")
_WORKER = Path(__file__).with_name("sphinx_worker.py")
_DATA = Path(__file__).with_name("sphinx_data")


class SphinxTranscription:
    """One utterance, recognised by one worker process."""

    def __init__(self, worker: _WorkerProcess, number: int, on_partial: OnPartial | None) -> None:
        self._worker = worker
        self._number = number
        self._on_partial = on_partial
        self._pending = bytearray()
        """Sound that has not been sent to the process yet."""
        self._snapshot_numbers = itertools.count()
        self._snapshots: dict[int, asyncio.Future[Transcript]] = {}
        """The snapshots without an answer yet, by their numbers."""
        self._final: asyncio.Future[Transcript] | None = None
        """The final words; set by ``finish`` and ``cancel``."""
        self._error: EngineError | None = None
        """The error with which recognition failed, once it has."""
        worker.send(b"o", number)

    def push(self, pcm: Pcm) -> None:
        if self._final is None and self._error is None:
            self._pending += pcm.astype("<i2", copy=False).tobytes()
            if len(self._pending) >= BATCH_BYTES:
                self._send_pending()

    async def snapshot(self) -> Transcript:
        if self._final is not None:
            return await self.finish()
        self._raise_if_failed()
        self._send_pending()
        future: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        number = next(self._snapshot_numbers) % 2**32
        self._snapshots[number] = future
        self._worker.send(b"s", self._number, number.to_bytes(4, "little"))
        try:
            return await future
        finally:
            self._snapshots.pop(number, None)

    async def finish(self) -> Transcript:
        if self._final is None:
            self._raise_if_failed()
            self._send_pending()
            self._final = asyncio.get_running_loop().create_future()
            self._worker.send(b"f", self._number)
        # Shielded, so that a second finish() gets the answer even if the first was cancelled.
        return await asyncio.shield(self._final)

    def cancel(self) -> None:
        if self._final is None and self._error is None:
            self._worker.send(b"c", self._number)
            self._worker.utterances.pop(self._number, None)
            self._final = asyncio.get_running_loop().create_future()
            self._final.set_result(Transcript(""))
            for future in self._snapshots.values():
                _resolve(future, Transcript(""))

    def receive(self, kind: str, answer: dict[str, Any]) -> None:
        """Take an answer of the process about this utterance."""
        if kind == "error":
            self.fail(EngineError(f"recognition failed: {answer['error']}"))
            return
        transcript = Transcript(answer["text"], answer["samples"], answer["confidence"])
        match kind:
            case "partial" if self._on_partial is not None and self._final is None:
                self._on_partial(transcript)
            case "snapshot" if answer["number"] in self._snapshots:
                _resolve(self._snapshots[answer["number"]], transcript)
            case "final" if self._final is not None:
                self._worker.utterances.pop(self._number, None)
                # A forked process answers the open snapshots and may be later: give them the final words.
                for future in (self._final, *self._snapshots.values()):
                    _resolve(future, transcript)

    def fail(self, error: EngineError) -> None:
        """End the utterance: this error is raised wherever its words are awaited."""
        self._error = error
        self._pending.clear()
        self._worker.utterances.pop(self._number, None)
        for future in (self._final, *self._snapshots.values()):
            if future is not None:
                _resolve(future, error)

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error

    def _send_pending(self) -> None:
        if self._pending:
            self._worker.send(b"a", self._number, bytes(self._pending))
            self._pending.clear()


def _resolve(future: asyncio.Future[Transcript], outcome: Transcript | EngineError) -> None:
    if future.done():
        return
    if isinstance(outcome, EngineError):
        future.set_exception(outcome)
        future.exception()  # marks it as retrieved: asyncio must not complain if the words are not awaited any more
    else:
        future.set_result(outcome)


class _WorkerProcess(asyncio.SubprocessProtocol):
    """Controls one worker process and passes its answers to the utterances."""

    def __init__(self, on_exit: Callable[[_WorkerProcess], None]) -> None:
        loop = asyncio.get_running_loop()
        self.utterances: dict[int, SphinxTranscription] = {}
        """The open utterances by their numbers."""
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done when the process can take utterances; fails if it ends before that."""
        self.exited: asyncio.Future[None] = loop.create_future()
        """Done when the process has ended."""
        self._on_exit = on_exit
        self._numbers = itertools.count(1)
        self._received = b""
        """An unfinished line of output."""
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def pid(self) -> int | None:
        return self._transport.get_pid() if self._transport is not None else None

    def open(self, on_partial: OnPartial | None) -> SphinxTranscription:
        number = next(self._numbers) % 2**32
        self.utterances[number] = SphinxTranscription(self, number, on_partial)
        return self.utterances[number]

    def send(self, request: bytes, number: int, payload: bytes = b"") -> None:
        stdin = self._stdin()
        if stdin is None or stdin.is_closing():
            return  # connection_lost() fails the utterances
        stdin.write(_HEADER.pack(request, number, len(payload)) + payload)
        if stdin.get_write_buffer_size() > MAX_UNSENT_BYTES:
            logger.error("A PocketSphinx process has stopped reading sound. It is killed and replaced.")
            self.kill()

    def kill(self) -> None:
        if self._transport is not None and self._transport.get_returncode() is None:
            self._transport.kill()

    async def close(self) -> None:
        if self._transport is not None:
            stdin = self._stdin()
            if stdin is not None:
                stdin.close()  # the process ends when its input does
            self._transport.close()
            await self.exited

    def _stdin(self) -> asyncio.WriteTransport | None:
        pipe = self._transport.get_pipe_transport(0) if self._transport is not None else None
        return cast("asyncio.WriteTransport | None", pipe)

    # asyncio.SubprocessProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            kind = answer.pop("kind")
            if kind == "ready":
                if not self.ready.done():
                    self.ready.set_result(None)
            elif utterance := self.utterances.get(answer.pop("utterance")):
                utterance.receive(kind, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport.close()
        if not self.ready.done():
            self.ready.set_exception(EngineError("the PocketSphinx process ended before it was ready"))
            self.ready.exception()
        for utterance in list(self.utterances.values()):
            utterance.fail(EngineError("the PocketSphinx process ended during the utterance"))
        if not self.exited.done():
            self.exited.set_result(None)
        self._on_exit(self)


class SphinxSpeechToText:
    """
    Recognises English in ``processes`` worker processes (0: two, or one on a single core).

    Each process keeps ``decoders`` decoders ready, one for each utterance at the same time; to create another takes
    50 ms. If a process ends, its open utterances raise ``EngineError``, and it is replaced.
    """

    rate_hz: ClassVar[int] = RATE_HZ
    gives_partials: ClassVar[bool] = True
    may_speculate: ClassVar[bool] = True
    languages: ClassVar[Languages] = frozenset(("en",))

    def __init__(self, *, processes: int = 0, decoders: int = 4) -> None:
        self._processes = processes or min(2, usable_cores())
        self._decoders = decoders
        self._workers: list[_WorkerProcess] = []
        self._replacing: set[asyncio.Task[None]] = set()
        """The tasks that start a process in place of one that ended."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        """Holds the language model and the dictionary; None unless the engine is started."""
        self._command: list[str] = []
        """The command line of a worker process."""

    async def start(self) -> None:
        if self._folder is not None:
            return
        if importlib.util.find_spec("pocketsphinx") is None:
            raise EngineError("PocketSphinx is not installed: pip install -r requirements/laptop.txt", permanent=True)
        self._folder = tempfile.TemporaryDirectory(prefix="sphinx-")
        try:
            options = await asyncio.to_thread(_prepare_decoder, Path(self._folder.name))
            arguments = json.dumps({"decoder": options, "decoders": self._decoders})
            # -P: do not import from the folder of the script, whose modules have common names.
            self._command = [sys.executable, "-P", str(_WORKER), arguments]
            await asyncio.gather(*(self._add_worker() for _ in range(self._processes)))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        folder, self._folder = self._folder, None
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.close() for worker in workers))
        if folder is not None:
            folder.cleanup()

    def describe(self) -> Description:
        return Description(
            "the pocketsphinx wheel (en-us), adapted to the telephone",
            memory_bytes=self._processes * (PROCESS_BYTES + self._decoders * DECODER_BYTES),
        )

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> SphinxTranscription:
        if not has_language(self.languages, language):
            raise EngineError(f"PocketSphinx recognises English only, not {language!r}", permanent=True)
        if not self._workers:
            raise EngineError("no PocketSphinx process is running")
        return min(self._workers, key=lambda worker: len(worker.utterances)).open(on_partial)

    async def _add_worker(self) -> None:
        """Start one more process and return when it is ready."""
        loop = asyncio.get_running_loop()
        worker = _WorkerProcess(self._on_worker_exit)
        await loop.subprocess_exec(lambda: worker, *self._command, stderr=None)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await worker.ready
        except BaseException as error:
            await worker.close()
            if isinstance(error, TimeoutError):
                raise EngineError(f"the PocketSphinx process was not ready after {START_TIMEOUT:.0f} s") from error
            raise
        self._workers.append(worker)

    def _on_worker_exit(self, worker: _WorkerProcess) -> None:
        if worker in self._workers and self._folder is not None:
            self._workers.remove(worker)
            logger.error("A PocketSphinx process ended, and recognition failed in its calls. Starting another one.")
            task = asyncio.get_running_loop().create_task(self._start_replacement())
            self._replacing.add(task)
            task.add_done_callback(self._replacing.discard)

    async def _start_replacement(self) -> None:
        while True:
            try:
                return await self._add_worker()
            except (EngineError, OSError) as error:
                logger.error("Cannot start a PocketSphinx process; trying again in %.0f s: %s", RESTART_DELAY, error)
                await asyncio.sleep(RESTART_DELAY)


def _prepare_decoder(folder: Path) -> dict[str, Any]:
    """Build the language model and the dictionary in ``folder``, which takes 0.3 s. Return the options of a decoder."""
    from pocketsphinx import get_model_path
    from pocketsphinx.lm import ArpaBoLM

    text = sentences()
    model = ArpaBoLM(sentfile=io.StringIO("\n".join(text) + "\n"), add_start=True)
    model.compute()
    model.write_file(str(folder / "words.arpa"))
    words = {word for sentence in text for word in sentence.split()}
    acoustic = Path(get_model_path("en-us"))
    with (acoustic / "cmudict-en-us.dict").open(encoding="utf-8") as dictionary:
        entries = [line for line in dictionary if line.split(maxsplit=1)[0].partition("(")[0] in words]
    (folder / "words.dict").write_text("".join(entries), encoding="utf-8")
    return {
        "hmm": str(acoustic / "en-us"),
        "lm": str(folder / "words.arpa"),
        "dict": str(folder / "words.dict"),
        "mllr": str(_DATA / "telephone.mllr"),
        "cmn": "live",
        "cmninit": (_DATA / "cmninit.txt").read_text(encoding="ascii").strip(),
        # One pass, and the best path through its lattice: 3 ms from the last sample to the words. A second pass lowers
        # the word error rate by three points with eSpeak's voices and not at all with Flite's, and doubles the cost.
        "fwdflat": False,
        "bestpath": True,
        "lw": 9.0,  # more weight for so small a language model than the default of 6.5: a fifth fewer word errors
        "loglevel": "FATAL",
    }
