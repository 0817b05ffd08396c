"""
From what is to be said to mu-law audio: tokens, clauses, speech, each as it comes.

Nothing waits for a whole output. Progress is told through ``emit`` as events of the conversation; cancelling the
coroutine closes every stage behind it, down to the model's own connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
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
"""Samples (5 ms) kept in front of the first audible one, so that a soft consonant is not cut."""


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
    """Let the language model answer ``messages`` and the voice say it. Raises ``EngineError``."""
    requests = NO_REQUESTS

    async def tokens() -> AsyncIterator[str]:
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

    async def spoken() -> AsyncIterator[str]:
        gap = ""
        async with aclosing(tokens()) as source, aclosing(clauses(source)) as parts:
            async for part in parts:
                if text := speakable(part, language):
                    emit(ev.ReplyText(revision, gap + text))
                    yield gap + text
                    gap = " "

    async with aclosing(spoken()) as text:
        await _voice(revision, text, tts=tts, speech=speech, emit=emit, scale=1.0)
    emit(ev.ReplyEnded(revision, requests))


async def say(
    revision: ev.Revision, line: str, *, tts: TextToSpeech, speech: Speech, language: str, emit: Emit
) -> None:
    """Say exactly this line. Raises ``EngineError``."""
    spoken = speakable(line, language) or line

    async def text() -> AsyncIterator[str]:
        yield spoken

    async with aclosing(text()) as source:
        # The ledger knows the line as it was written.
        await _voice(revision, source, tts=tts, speech=speech, emit=emit, scale=len(line) / len(spoken))
    emit(ev.ReplyEnded(revision))


async def render(line: str, *, tts: TextToSpeech, voice: str, language: str) -> bytes:
    """The whole of a line as mu-law audio, for phrases that are kept ready. Raises ``EngineError``."""
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


async def _voice(
    revision: ev.Revision,
    text: AsyncIterator[str],
    *,
    tts: TextToSpeech,
    speech: Speech,
    emit: Emit,
    scale: float,
) -> None:
    resampler = Resampler(tts.rate_hz, RATE_HZ)
    sounding = False
    text_end = 0
    async with aclosing(speech.speak(text)) as chunks:
        async for chunk in chunks:
            audio = encode_mulaw(resampler.push(chunk.pcm))
            text_end = int(chunk.text_end * scale)
            if not sounding:
                # Silence in front of a reply is nothing but latency.
                start = first_audible(audio)
                if start is None:
                    continue
                sounding = True
                audio = audio[max(0, start - ONSET) :]
            if audio:
                emit(ev.ReplyAudio(revision, audio, text_end))
    if sounding and (tail := encode_mulaw(resampler.flush())):
        emit(ev.ReplyAudio(revision, tail, text_end))
