"""
From what the agent is to say to mu-law audio: tokens, clauses, speech, each as it comes.

No stage waits for the whole output of another. Progress is emitted as events of the conversation. Cancelling the
coroutine closes every stage behind it, down to the connection to the model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from math import ceil

from inference import metrics as engine_metrics
from inference.interfaces import LanguageModel, MovingSpeech, Speech, TextToSpeech
from inference.mulaw import encode_mulaw
from inference.requests import NO_REQUESTS
from inference.resampling import Resampler
from inference.types import NO_TOOLS, EngineError, Message, TextDelta, Tools
from media import metrics
from media.audio import first_audible
from media.messages import RATE_HZ
from media.speakable import CONTEXT, speakable
from media.spoken_reply import SpokenReply
from media.turns import events as ev

logger = logging.getLogger(__name__)

READ_ON_SECONDS = 5.0
"""How long the rest of a reply is read for requests after its speech is complete. A server of 20 tokens a second, the
slowest that is of use, sends 100 tokens in that time, and meanwhile the caller still listens to what was said."""
READ_ON_CHARACTERS = 4000
"""How much of it is read: five times the longest reply that ``max_tokens`` allows by default. A model that writes more
does not end."""

LATE = 0.2
"""Seconds after the first token when the first clause is late and may be shorter. A model of 50 tokens a second has
written eight words by then, which are a first clause of full length."""

Emit = Callable[[ev.Event], None]

ONSET = 120
"""Samples (15 ms) that are kept before the first audible one, so that a soft consonant is not cut: "f", "h" and "th"
rise for 10 ms before they are audible on the telephone, and an "f" that begins at once may sound like a "p"."""


async def answer(
    revision: ev.Revision,
    messages: Sequence[Message],
    *,
    llm: LanguageModel,
    tts: TextToSpeech,
    speech: Speech,
    language: str,
    speculative: bool,
    emit: Emit,
    longest: float,
    tools: Tools = NO_TOOLS,
    sent: Callable[[], int] = lambda: 0,
) -> None:
    """
    Let the language model answer ``messages`` and the voice say the answer. Raises ``EngineError``.

    An answer of more than ``longest`` seconds is not said to its end, but it is read to its end, because what the model
    requests comes last. ``sent`` tells how many characters the caller has heard, or will hear in any case.
    """
    async with aclosing(llm.stream(messages, speculative=speculative, tools=tools)) as deltas:
        reader = _ReplyReader(revision, deltas, longest=longest, emit=emit)
        try:
            async with aclosing(reader.spoken(language)) as text:
                await _speak(revision, text, tts=tts, speech=speech, emit=emit, scale=1.0, sent=sent)
        except EngineError as error:
            engine_metrics.count_error("llm" if reader.failed else "tts", error)
            raise
        await reader.read_on()
    reader.count_guards()
    emit(ev.ReplyEnded(revision, reader.requests, reader.unsaid))


class _ReplyReader:
    """Reads one reply of the language model: first what is spoken, then the rest for what it requests."""

    def __init__(self, revision: ev.Revision, deltas: AsyncIterator[TextDelta], *, longest: float, emit: Emit) -> None:
        self.requests = NO_REQUESTS
        self._revision = revision
        self._deltas = deltas
        self._emit = emit
        self._reply = SpokenReply(longest)
        self._late_at: float | None = None
        """When the first clause is late, in the time of the event loop; known with the first token."""
        self._is_cut = False
        self._ended = False
        """There is nothing more to read."""
        self.failed = False
        """The language model has failed before its words were enough for a reply."""

    @property
    def unsaid(self) -> str:
        """The rest of the reply that is worth saying."""
        is_missing = self._is_cut or (self._reply.done and not self._reply.looping)
        return self._reply.unsaid if is_missing else ""

    def count_guards(self) -> None:
        if self._reply.looping:
            metrics.REPLY_GUARDS["repeats-itself"].inc()
        elif self._reply.done:
            metrics.REPLY_GUARDS["too-long"].inc()

    async def spoken(self, language: str) -> AsyncGenerator[str, None]:
        """Yield what the voice says."""
        gap = before = ""
        async with aclosing(self._clauses()) as clauses:
            async for clause in clauses:
                if text := speakable(clause, language, before=before):
                    self._emit(ev.ReplyText(self._revision, gap + text))
                    yield gap + text
                    gap = " "
                before = f"{before} {clause}"[-CONTEXT:]

    async def read_on(self) -> None:
        """Read the rest for what it requests, within limits. The speech is complete, so an error does not matter."""
        if self._ended or self._reply.looping:
            return
        characters = 0
        try:
            async with asyncio.timeout(READ_ON_SECONDS):
                async for delta in self._deltas:
                    characters += len(self._take(delta))
                    self._reply.push(delta.text)
                    if characters > READ_ON_CHARACTERS:
                        break
        except (EngineError, TimeoutError) as error:
            self._is_cut = True
            logger.info("The rest of a reply could not be read: %s", error or "it took too long")
        self._reply.finish(is_cut=self._is_cut)

    async def _clauses(self) -> AsyncGenerator[str, None]:
        try:
            async for delta in self._deltas:
                for clause in self._reply.push(self._take(delta)):
                    yield clause
                if self._reply.done:
                    return
        except EngineError as error:
            if not self._reply.full:
                self.failed = True
                raise
            logger.info("The end of a long reply is missing: %s", error)
            self._is_cut = True
        self._ended = True
        for clause in self._reply.finish(is_cut=self._is_cut):
            yield clause

    def _take(self, delta: TextDelta) -> str:
        """Note everything but the text, and return that."""
        now = asyncio.get_running_loop().time()
        if self._late_at is None:
            self._late_at = now + LATE
            self._emit(ev.ReplyToken(self._revision))
        elif now >= self._late_at:
            self._reply.hurry()
        self.requests |= delta.requests
        self._is_cut = self._is_cut or delta.is_cut
        return delta.text


async def say(
    revision: ev.Revision,
    line: str,
    *,
    tts: TextToSpeech,
    speech: Speech,
    language: str,
    emit: Emit,
    sent: Callable[[], int] = lambda: 0,
) -> None:
    """
    Say exactly this line. Raises ``EngineError``. ``sent`` is that of ``answer``.

    A line in a script that the voice cannot speak is left out, because a voice would fail at it or spell it.
    """
    spoken = speakable(line, language)
    if not spoken:
        logger.warning(
            "Left out a line of %d characters: a voice in %s can speak none of its words", len(line), language
        )
        emit(ev.ReplyEnded(revision, unspeakable=True))
        return

    async def text() -> AsyncGenerator[str, None]:
        yield spoken

    async with aclosing(text()) as source:
        try:
            # The ledger counts the characters of the line as it was written.
            await _speak(revision, source, tts=tts, speech=speech, emit=emit, scale=len(line) / len(spoken), sent=sent)
        except EngineError as error:
            engine_metrics.count_error("tts", error)
            raise
    emit(ev.ReplyEnded(revision))


async def render(line: str, *, tts: TextToSpeech, voice: str, language: str) -> bytes:
    """A whole line as mu-law audio, for phrases that are made beforehand. Raises ``EngineError``."""
    pieces: list[tuple[bytes, int]] = []
    """The sound, each piece with how many characters are said by the end of it."""

    def collect(event: ev.Event) -> None:
        if isinstance(event, ev.ReplyAudio):
            if (again_from := event.again_from) is not None:
                pieces[:] = [piece for piece in pieces if piece[1] <= again_from]
            pieces.append((event.audio, event.text_end))

    speech = tts.open(voice=voice, language=language)
    try:
        await say(ev.Revision(0, 0), line, tts=tts, speech=speech, language=language, emit=collect)
    finally:
        await speech.close()
    return b"".join(audio for audio, _ in pieces)


async def _speak(
    revision: ev.Revision,
    text: AsyncIterator[str],
    *,
    tts: TextToSpeech,
    speech: Speech,
    emit: Emit,
    scale: float,
    sent: Callable[[], int],
) -> None:
    """Emit the sound of ``text``; ``scale`` converts its characters to those that the ledger counts."""
    if isinstance(speech, MovingSpeech):
        speech.sent = lambda: ceil(sent() / scale)
    resampler = Resampler(tts.rate_hz, RATE_HZ)
    sounding = False
    before = b""
    """The end of the silence so far."""
    text_end = 0
    async with aclosing(speech.speak(text)) as chunks:
        async for chunk in chunks:
            if chunk.again_from is not None:
                emit(ev.ReplyAudio(revision, b"", text_end, int(chunk.again_from * scale)))
                resampler, sounding, before = Resampler(tts.rate_hz, RATE_HZ), False, b""
            audio = encode_mulaw(resampler.push(chunk.pcm))
            text_end = int(chunk.text_end * scale)
            if not sounding:
                # Silence at the beginning of a reply only adds latency.
                start = first_audible(audio)
                if start is None:
                    before = (before + audio)[-ONSET:]
                    continue
                sounding = True
                audio = (before + audio)[max(0, len(before) + start - ONSET) :]
            if audio:
                emit(ev.ReplyAudio(revision, audio, text_end))
    if sounding and (tail := encode_mulaw(resampler.flush())):
        emit(ev.ReplyAudio(revision, tail, text_end))
