"""
Measure what the hosted engines add themselves: from a message of the service to a ``Transcript`` or ``AudioChunk``.

    python -m tests.benchmarks.hosted
    python -m tests.benchmarks.hosted --engines aura cartesia --utterances 100

Imitations of the services run in a process of their own and send a message every 20 ms. The time from the message to
what the engine makes of it includes both network stacks. The first row is the same for a plain WebSocket of aiohttp,
without any engine: what a busy machine adds to every row can be seen there. "Own" is the part of it in this project's
code, for engines on WebSockets: from the message as aiohttp has decoded it. The goal for it is 1 ms at p95.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import aiohttp
import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from inference.engines.cartesia import CartesiaOptions, CartesiaTextToSpeech
from inference.engines.deepgram import DeepgramSpeechToText
from inference.engines.deepgram_aura import AuraOptions, AuraTextToSpeech
from inference.engines.deepgram_flux import DeepgramFluxSpeechToText
from inference.engines.deepgram_flux_tts import FluxOptions, FluxTextToSpeech
from inference.engines.elevenlabs import ElevenLabsOptions, ElevenLabsTextToSpeech
from inference.engines.openai_realtime import OpenAIRealtimeOptions, OpenAIRealtimeSpeechToText
from inference.engines.openai_speech import OpenAISpeechOptions, OpenAISpeechTextToSpeech
from inference.engines.openai_transcribe import OpenAITranscribeOptions, OpenAITranscribeSpeechToText
from inference.hosted.lease import Lease
from inference.interfaces import SpeechToText, TextToSpeech
from inference.types import Transcript
from tests.benchmarks.hosted_fakes import Fakes, fakes
from tests.inference.contract import band_noise
from tests.inference.hosted import cartesia_service, deepgram_service, deepgram_voice, elevenlabs_service

PACE = 0.02
"""Seconds between two messages: an answer that took longer would be taken for that to the next message."""
CLAUSE = "We open at ten in the morning and we shut at six."
PLAIN = "aiohttp alone"
GOAL_MS = 1.0


def _deepgram(engine: Any) -> Callable[[str], SpeechToText]:
    options = engine.options_class
    return lambda url: engine(options(api_key=deepgram_service.KEY, base_url=url))  # type: ignore[no-any-return]


STT: dict[str, tuple[str, Callable[[str], SpeechToText]]] = {
    "deepgram": ("deepgram", _deepgram(DeepgramSpeechToText)),
    "deepgram-flux": ("deepgram", _deepgram(DeepgramFluxSpeechToText)),
    "openai-realtime": (
        "openai",
        lambda url: OpenAIRealtimeSpeechToText(OpenAIRealtimeOptions(base_url=f"{url}/v1", api_key="k")),
    ),
    "openai-transcribe": (
        "openai",
        lambda url: OpenAITranscribeSpeechToText(OpenAITranscribeOptions(base_url=f"{url}/v1", api_key="k")),
    ),
}
TTS: dict[str, tuple[str, Callable[[str], TextToSpeech]]] = {
    "cartesia": (
        "cartesia",
        lambda url: CartesiaTextToSpeech(
            CartesiaOptions(api_key=cartesia_service.KEY, base_url=url, voice="voice-a", check=False)
        ),
    ),
    "elevenlabs": (
        "elevenlabs",
        lambda url: ElevenLabsTextToSpeech(
            ElevenLabsOptions(api_key=elevenlabs_service.KEY, base_url=url, voice="voice-a")
        ),
    ),
    "aura": ("aura", lambda url: AuraTextToSpeech(AuraOptions(api_key=deepgram_voice.KEY, base_url=url))),
    "flux-tts": ("flux-tts", lambda url: FluxTextToSpeech(FluxOptions(api_key=deepgram_voice.KEY, base_url=url))),
    "openai-speech": (
        "openai",
        lambda url: OpenAISpeechTextToSpeech(OpenAISpeechOptions(base_url=f"{url}/v1", api_key="k", paid=True)),
    ),
}
"""Each engine with the name of its service, and how it is made for an address."""


async def text() -> AsyncIterator[str]:
    yield CLAUSE


async def hear_plainly(url: str, utterances: int) -> list[float]:
    """Return the times at which a plain client has the messages of Aura."""
    times: list[float] = []
    query = "model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Token {deepgram_voice.KEY}"}) as session,
        session.ws_connect(f"{url}/v1/speak?{query}") as socket,
    ):
        for _ in range(utterances):
            await socket.send_json({"type": "Speak", "text": CLAUSE})
            await socket.send_json({"type": "Flush"})
            async for message in socket:
                times.append(time.monotonic())
                if message.type is aiohttp.WSMsgType.TEXT and "Flushed" in message.data:
                    break
    return times


async def hear_voice(engine: TextToSpeech, times: list[float]) -> None:
    """Note when each chunk came."""
    speech = engine.open()
    async with aclosing(speech.speak(text())) as chunks:
        async for chunk in chunks:
            if len(chunk.pcm):
                times.append(time.monotonic())
    await speech.close()


async def recognise(engine: SpeechToText, times: list[float]) -> None:
    """Note when the words of an utterance came: partial ones, and those at its end."""

    def on_partial(partial: Transcript) -> None:
        times.append(time.monotonic())

    utterance = engine.open(on_partial=on_partial)
    sound = band_noise(300, 1500, 1.2, engine.rate_hz)
    for piece in np.array_split(sound, 60):
        utterance.push(piece)
        await asyncio.sleep(0.005)
    await utterance.finish()
    times.append(time.monotonic())


async def measure(name: str, running: Fakes, utterances: int) -> tuple[list[float], list[float]]:
    """
    Return the seconds from the last message before it, for each output of the engine.

    The second list has those from the last message that was decoded before it.
    """
    if name == PLAIN:
        running.sent()
        return since(await hear_plainly(running.urls["aura"], utterances), running.sent()), []
    service, make = STT[name] if name in STT else TTS[name]
    engine: Any = make(running.urls[service])
    await engine.start()
    times: list[float] = []
    received = DECODED
    try:
        for number in range(utterances + 1):
            await (recognise if name in STT else hear_voice)(engine, times)
            if number == 0:  # the first one warms up
                running.sent()
                times.clear()
                received.clear()
    finally:
        await engine.close()
    return since(times, running.sent()), since(times, received)


DECODED: list[float] = []
"""When a message was given to a listener of a socket."""


def note_decoded() -> None:
    receive = Lease.receive

    def receive_and_note(self: Lease, message: Any) -> None:
        DECODED.append(time.monotonic())
        receive(self, message)

    Lease.receive = receive_and_note  # type: ignore[method-assign]


def since(times: list[float], sent: list[float]) -> list[float]:
    """Return for each time how long before it the last message was sent."""
    return [at - sent[index - 1] for at in times if (index := bisect_right(sent, at))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*STT, *TTS]
    parser.add_argument("--engines", nargs="+", choices=names, default=names, help="engines (default: all)")
    parser.add_argument("--utterances", type=int, default=10, help="of each engine (default: %(default)d)")
    options = parser.parse_args()
    table = Table(title="From a message of the service to what the engine makes of it, in ms")
    note_decoded()
    for column in ("", "outputs", "p50", "p95", "worst", "own p50", "own p95"):
        table.add_column(column, justify="right" if column else "left")
    with fakes(pace=PACE) as running:
        for name in (PLAIN, *options.engines):
            taken, own = (1000 * np.array(each) for each in uvloop.run(measure(name, running, options.utterances)))
            figures = [np.percentile(taken, 50), np.percentile(taken, 95), taken.max()]
            figures += [np.percentile(own, 50), np.percentile(own, 95)] if len(own) else []
            late = " (over the goal)" if len(own) and figures[-1] > GOAL_MS else ""
            table.add_row(name + late, str(len(taken)), *(f"{figure:.2f}" for figure in figures))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
