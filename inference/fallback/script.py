"""The text of one ``speak()``, shared by the engines that say it, and the time in which each must make sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from inference.fallback.member import loop_time
from inference.resuming import has_sound, resume_at
from inference.types import AudioChunk, EngineTimeout


class Script:
    """The text, which is read once, a clause at a time as an engine asks for it, and kept for the next engine."""

    def __init__(self, source: AsyncIterator[str]) -> None:
        self.text = ""
        """The text that was read so far."""
        self.ended = False
        self.error: Exception | None = None
        """The error that reading the text has raised; there is no more text after it."""
        self._source = source
        self._reading: asyncio.Task[None] | None = None
        """Reads the next clause, while an engine waits for it or has stopped waiting."""
        self._clause_ends: list[int] = []

    async def clause_from(self, position: int) -> str:
        """Return the text from this character to the end of its clause, waiting if necessary; ``""`` at the end."""
        while position >= len(self.text) and not self.ended:
            # If an engine stops waiting, the next one must get the clause. So the reading goes on in its own task.
            self._reading = self._reading or asyncio.create_task(self._read_clause())
            await asyncio.shield(self._reading)
        if self.error is not None:
            raise self.error
        return self.text[position : self._clause_end(position)]

    def resume_at(self, said: int, *, sent: int) -> int:
        """Return where the next engine goes on if one failed at this character (``inference/resuming.py``)."""
        return resume_at(self.text, self._clause_ends, said=said, sent=sent)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _clause_end(self, position: int) -> int:
        return next((end for end in self._clause_ends if end > position), len(self.text))

    async def _read_clause(self) -> None:
        try:
            self.text += await anext(self._source)
            self._clause_ends.append(len(self.text))
        except StopAsyncIteration:
            self.ended = True
        except Exception as error:
            self.ended = True
            self.error = error
        finally:
            self._reading = None


class ScriptReader:
    """
    The clauses of a script from character ``begin`` on, for one engine.

    It also limits the time for the next sound to ``deadline`` seconds while the engine owes some: while the engine has
    text that it has not said, or knows that the text has ended.
    """

    def __init__(self, script: Script, begin: int, *, deadline: float, name: str) -> None:
        self.position = begin
        """The character with which the next clause that the engine reads will begin."""
        self.said = begin
        """The character up to which the engine has spoken; set by the user of the reader."""
        self._script = script
        self._deadline = deadline
        self._name = name
        """The name of the engine, for the error."""
        self._knows_end = False
        """The engine has read to the end of the text."""
        self._timeout: asyncio.Timeout | None = None
        """Set while the engine is asked for a chunk."""
        self._owed_since: float | None = None
        """The loop's time since which sound is waited for; None after each sound."""

    def __aiter__(self) -> ScriptReader:
        return self

    async def __anext__(self) -> str:
        clause = await self._script.clause_from(self.position)
        self.position += len(clause)
        self._knows_end = not clause
        if self._timeout is not None and self._timeout.when() is None and self._owes_sound:
            self._owed_since = loop_time()
            self._timeout.reschedule(self._owed_since + self._deadline)
        if not clause:
            raise StopAsyncIteration
        return clause

    async def next_chunk(self, chunks: AsyncGenerator[AudioChunk, None]) -> AudioChunk | None:
        """Return the engine's next chunk; None at the end. Raises ``EngineTimeout`` if it owes sound for too long."""
        if self._owed_since is None:
            self._owed_since = loop_time()
        due = self._owed_since + self._deadline if self._owes_sound else None
        try:
            async with asyncio.timeout_at(due) as self._timeout:
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise EngineTimeout(f"the {self._name} made no sound for {self._deadline:g} s") from error
        finally:
            self._timeout = None
        if chunk is None or len(chunk.pcm):
            self._owed_since = None
        return chunk

    @property
    def _owes_sound(self) -> bool:
        return self._knows_end or has_sound(self._script.text[self.said : self.position])
