"""
From what the agent is to say to mu-law audio: tokens, clauses, speech, each as it comes.

No stage waits for the whole output of another. Progress is emitted as events of the conversation. Cancelling the
coroutine closes every stage behind it, down to the connection to the model.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

from inference.interfaces import LanguageModel, Speech, TextToSpeech
from inference.requests import NO_REQUESTS
from inference.resampling import Resampler
from inference.types import NO_TOOLS, Message, Tools
from media.audio import encode_mulaw, first_audible
from media.clauses import clauses
from media.messages import RATE_HZ
from media.speakable import speakable
from media.turns import events as ev

Emit = Callable[[ev.Event], None]

ONSET = 40
"""Samples (5 ms) that are kept before the first audible one, so that a soft consonant is not cut."""


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
    tools: Tools = NO_TOOLS,
) -> None:
    """Let the language model answer ``messages`` and the voice say the answer. Raises ``EngineError``."""
    requests = NO_REQUESTS

    async def tokens() -> AsyncGenerator[str, None]:
        nonlocal requests
        first = True
        async with aclosing(llm.stream(messages, speculative=speculative, tools=tools)) as deltas:
            async for delta in deltas:
                if first:
                    first = False
                    emit(ev.ReplyToken(revision))
                if delta.requests:
                    requests |= delta.requests
                if delta.text:
                    yield delta.text

    async def spoken() -> AsyncGenerator[str, None]:
        gap = ""
        async with aclosing(tokens()) as source, aclosing(clauses(source)) as parts:
            async for part in parts:
                if text := speakable(part, language):
                    emit(ev.ReplyText(revision, gap + text))
                    yield gap + text
                    gap = " "

    async with aclosing(spoken()) as text:
        await _speak(revision, text, tts=tts, speech=speech, emit=emit, scale=1.0)
    emit(ev.ReplyEnded(revision, requests))


async def say(
    revision: ev.Revision, line: str, *, tts: TextToSpeech, speech: Speech, language: str, emit: Emit
) -> None:
    """Say exactly this line. Raises ``EngineError``."""
    spoken = speakable(line, language) or line

    async def text() -> AsyncGenerator[str, None]:
        yield spoken

    async with aclosing(text()) as source:
        # The ledger counts the characters of the line as it was written.
        await _speak(revision, source, tts=tts, speech=speech, emit=emit, scale=len(line) / len(spoken))
    emit(ev.ReplyEnded(revision))


async def render(line: str, *, tts: TextToSpeech, voice: str, language: str) -> bytes:
    """A whole line as mu-law audio, for phrases that are made beforehand. Raises ``EngineError``."""
    pieces: list[bytes] = []

    def collect(event: ev.Event) -> None:
        if isinstance(event, ev.ReplyAudio):
            pieces.append(event.audio)

    speech = tts.open(voice=voice, language=language)
    try:
        await say(ev.Revision(0, 0), line, tts=tts, speech=speech, language=language, emit=collect)
    finally:
        await speech.close()
    return b"".join(pieces)


async def _speak(
    revision: ev.Revision,
    text: AsyncIterator[str],
    *,
    tts: TextToSpeech,
    speech: Speech,
    emit: Emit,
    scale: float,
) -> None:
    """Emit the sound of ``text``; ``scale`` converts its characters to those that the ledger counts."""
    resampler = Resampler(tts.rate_hz, RATE_HZ)
    sounding = False
    text_end = 0
    async with aclosing(speech.speak(text)) as chunks:
        async for chunk in chunks:
            audio = encode_mulaw(resampler.push(chunk.pcm))
            text_end = int(chunk.text_end * scale)
            if not sounding:
                # Silence at the beginning of a reply only adds latency.
                start = first_audible(audio)
                if start is None:
                    continue
                sounding = True
                audio = audio[max(0, start - ONSET) :]
            if audio:
                emit(ev.ReplyAudio(revision, audio, text_end))
    if sounding and (tail := encode_mulaw(resampler.flush())):
        emit(ev.ReplyAudio(revision, tail, text_end))
