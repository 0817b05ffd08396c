"""
How the voices of this machine sound on the line, as figures: level, clicks, pauses, cuts, and what they cost.

    python -m tests.benchmarks.voices                                   # eSpeak NG, and Flite where it is installed
    python -m tests.benchmarks.voices --piper FOLDER/piper-joe          # and Piper
    python -m tests.benchmarks.voices --kokoro FOLDER/kokoro            # and Kokoro, for some minutes
    python -m tests.benchmarks.voices --resampling                      # only the resampling
    python -m tests.benchmarks.voices --piper FOLDER/piper-joe --cost   # only what Piper costs

Replies go the product's way: clauses of a scripted model, the voice, resampling and mu-law (``media.reply``), the
ledger (``media.turns.playout``) and the carrier's queue, with interruptions after which the agent goes on.

- level: the active level (RMS of the louder half of the blocks of 20 ms) of sentences and of stock phrases, dBFS
- steps: the largest from one sample to the next within 1 ms of a join of two chunks, and of where the sound stops and
  goes on, as a multiple of the RMS of the 10 ms around it; beside each, the same at as many places drawn at random
- DC: the mean of a block of 100 ms, the largest by size, dBFS
- pauses: silence on the line between two clauses, by the mark between them
- cut off: the loudest 5 ms of the voice before the first and after the last sample that is sent, relative to its active
  level; Piper without chance, so that both are the same sound
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from inference.engines import flite
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.flite import FliteTextToSpeech
from inference.engines.kokoro import KokoroOptions, KokoroTextToSpeech
from inference.engines.piper import PiperOptions, PiperTextToSpeech
from inference.mulaw import decode_mulaw, encode_mulaw
from inference.resampling import resample
from inference.types import NO_TOOLS, Message, Pcm, TextDelta
from inference.voices.loudness import active_level
from inference.voices.speech import LocalTextToSpeech
from media.audio import fade_in
from media.phone.frames import FRAME_SECONDS
from media.phone.playout_queue import PlayoutQueue
from media.phrases import at_house_level
from media.reply import answer, render
from media.turns import events as ev
from media.turns.options import ConversationOptions
from media.turns.playout import Playout, Segment, Sending

RATE_HZ = 8000
SENTENCES = (
    "Hello, this is the front desk of Harper Hall.",
    "We open at ten in the morning, and we close at six in the evening.",
    "I can change your booking to Thursday at half past three, if you would like that.",
    "Fifty people have asked for this before.",
    "She sells sea shells, and he fixes fishing ships.",
    "Please hold on, I am looking for your file.",
    "What is your telephone number?",
    "That costs forty two pounds and twenty pence, including breakfast.",
    "Thank you very much for your patience.",
    "Have a nice day, and see you on Friday.",
)
SILENT = 10 ** (-46 / 20) * 32768
"""The amplitude of what is silence between two clauses."""


class ScriptedReply:
    """A language model that writes a text word by word."""

    may_speculate = True

    def __init__(self, text: str) -> None:
        self._text = text

    async def stream(self, messages: Sequence[Message], **options: Any) -> AsyncGenerator[TextDelta, None]:
        for word in self._text.split(" "):
            yield TextDelta(f"{word} ")


async def reply_audio(tts: Any, text: str) -> tuple[bytes, list[int]]:
    """The mu-law of a whole reply, and the samples at which its chunks end."""
    pieces: list[bytes] = []

    def collect(event: ev.Event) -> None:
        if isinstance(event, ev.ReplyAudio):
            pieces.append(event.audio)

    speech = tts.open()
    llm: Any = ScriptedReply(text)
    await answer(
        ev.Revision(0, 0),
        [Message("user", "?")],
        llm=llm,
        tts=tts,
        speech=speech,
        language="en",
        speculative=False,
        emit=collect,
        longest=60.0,
        tools=NO_TOOLS,
    )
    await speech.close()
    return b"".join(pieces), list(np.cumsum([len(piece) for piece in pieces]))


# -- one voice on the line --------------------------------------------------------------------------------------


def steps(pcm: Pcm) -> np.ndarray:
    """Each step from a sample to the next, relative to the RMS of the 10 ms around it (at least -50 dBFS)."""
    sound = pcm.astype(np.float64)
    window = np.ones(80) / 80
    level = np.sqrt(np.convolve(sound**2, window, "same"))
    return np.abs(np.diff(sound)) / np.maximum(level[1:], 10 ** (-50 / 20) * 32768)


def largest_near(relative: np.ndarray, positions: Sequence[int]) -> float:
    """The largest step within 1 ms of one of the positions."""
    return max(
        (float(relative[max(0, at - 8) : at + 8].max()) for at in positions if 8 < at < len(relative)), default=0
    )


def largest_elsewhere(relative: np.ndarray, positions: Sequence[int]) -> float:
    """The same for as many other places of the same speech; the median of 200 draws."""
    random = np.random.default_rng(0)
    draws = [largest_near(relative, random.integers(8, len(relative), len(positions)).tolist()) for _ in range(200)]
    return float(np.median(draws))


def largest_dc(pcm: Pcm) -> float:
    blocks = pcm[: len(pcm) // 800 * 800].reshape(-1, 800).astype(np.float64).mean(1)
    return float(20 * np.log10(max(np.abs(blocks).max(), 1) / 32768))


def silences(pcm: Pcm) -> list[float]:
    """The lengths of the stretches of silence of at least 50 ms inside a reply."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > SILENT)
    gaps = np.diff(loud) / RATE_HZ
    return [float(gap) for gap in gaps if gap >= 0.05]


def interrupted(audio: bytes, times: Sequence[float], pause: float = 0.8) -> tuple[Pcm, list[int], list[int]]:
    """
    Play a reply through the ledger and the carrier's queue, stop it at these times and let it go on after a pause.

    Returns what the caller hears, and the samples at which it stops and at which it goes on.
    """
    playout, carrier, segment = Playout(), PlayoutQueue(), Segment(ev.Revision(0, 0))
    playout.add(segment, audio, 0)
    playout.end(segment)
    heard, cuts, resumes = bytearray(), [], []
    stops, resume_at, now = list(times), None, 0.0
    while playout.busy(now) or resume_at is not None:
        if stops and now >= stops[0]:
            stops.pop(0)
            playout.hold(now)
            carrier.clear()
            cuts.append(len(heard))
            resume_at = now + pause
        if resume_at is not None and now >= resume_at:
            playout.resume()
            resume_at = None
            resumes.append(len(heard))
        for sending in playout.due(now):
            carrier.add(sending_audio(sending))
        frame, _ = carrier.next_frame()
        heard += frame or b"\xff" * 160
        now += FRAME_SECONDS
    return decode_mulaw(bytes(heard)), cuts, resumes


def sending_audio(sending: Sending) -> bytes:
    """The audio as the session sends it."""
    return fade_in(sending.audio) if sending.goes_on else sending.audio


@dataclass
class Steps:
    """The largest step at some places, and at as many that were drawn at random."""

    there: float
    elsewhere: float

    def __str__(self) -> str:
        return f"{self.there:.1f} ({self.elsewhere:.1f})"


def steps_at(pcm: Pcm, positions: Sequence[int]) -> Steps:
    relative = steps(pcm)
    return Steps(largest_near(relative, positions), largest_elsewhere(relative, positions))


@dataclass
class Line:
    """What one voice sounds like on the line."""

    levels: list[float]
    phrase_levels: list[float]
    joins: Steps
    stops: Steps
    resumes: Steps
    dc: float
    sentence_pauses: list[float]
    comma_pauses: list[float]
    lost: list[tuple[float, float]]
    """At the start and at the end of each sentence."""


async def listen(tts: LocalTextToSpeech) -> Line:
    options = ConversationOptions()
    phrases = [*options.fillers, options.not_caught, options.apology, options.still_there, options.lost_thread]
    levels = [level_of(await render(text, tts=tts, voice="", language="en")) for text in SENTENCES]
    rendered = [await render(text, tts=tts, voice="", language="en") for text in phrases]
    phrase_levels = [level_of(at_house_level(audio)) for audio in rendered]
    audio, joins = await reply_audio(tts, " ".join(SENTENCES))
    pcm = decode_mulaw(audio)
    heard, stops, resumes = interrupted(audio, np.arange(1.13, len(pcm) / RATE_HZ, 1.37).tolist())
    return Line(
        levels,
        phrase_levels,
        steps_at(pcm, joins[:-1]),
        steps_at(heard, stops),
        steps_at(heard, resumes),
        largest_dc(pcm),
        await pauses(tts, "."),
        await pauses(tts, ","),
        [lost for text in SENTENCES if (lost := await lost_sound(tts, text)) is not None],
    )


def level_of(audio: bytes) -> float:
    return active_level(decode_mulaw(audio), RATE_HZ)


async def pauses(tts: Any, mark: str) -> list[float]:
    """The silence between two clauses with this mark between them."""
    found = []
    for first in ("We are open", "Thank you very much", "That is all right", "I have your file", "It costs a pound"):
        audio, _ = await said(tts, f"{first}{mark}", " And the door is on the left.")
        found.append(max(silences(decode_mulaw(audio)), default=0.0))
    return found


async def said(tts: Any, *clauses: str) -> tuple[bytes, Pcm]:
    """Clauses as the voice gets them, on the line and as the engine made them."""

    async def text() -> AsyncIterator[str]:
        for clause in clauses:
            yield clause

    async with aclosing(tts.open().speak(text())) as chunks:
        pcm = np.concatenate([chunk.pcm async for chunk in chunks])
    return encode_mulaw(resample(pcm, tts.rate_hz, RATE_HZ)), pcm


async def lost_sound(tts: LocalTextToSpeech, text: str) -> tuple[float, float] | None:
    """
    The loudest 5 ms that are cut off at the start and at the end, in dB relative to the level of the sentence.

    None if the voice does not say it in the same way twice, so that the two cannot be compared.
    """
    whole: list[Pcm] = []

    class Whole:
        others_wait = False

        def __call__(self, pcm: Pcm, spoken: object) -> bool:
            whole.append(pcm)
            return False

    voice: Any = tts._find("", "en")
    usual = getattr(voice, "manner", None)
    if usual is not None:
        voice.manner = replace(usual, noise_scale=0.0, noise_w=0.0)
    await asyncio.to_thread(lambda: [None for _ in voice.synthesise(text, Whole())])
    sent = decode_mulaw(await render(text, tts=tts, voice="", language="en")).astype(np.float64)
    if usual is not None:
        voice.manner = usual
    untrimmed = resample(np.concatenate(whole), tts.rate_hz, RATE_HZ)
    level = active_level(untrimmed, RATE_HZ)
    begin, sound = sent[: RATE_HZ // 2], untrimmed.astype(np.float64)
    windows = [sound[at : at + len(begin)] for at in range(max(1, min(RATE_HZ, len(sound) - len(begin))))]
    likeness = np.array([np.dot(window, begin) / (np.linalg.norm(window) + 1) for window in windows])
    if likeness.max() < 0.98 * np.linalg.norm(begin):
        return None
    start = int(np.argmax(likeness))
    return loudest(untrimmed[:start]) - level, loudest(untrimmed[start + len(sent) :]) - level


def loudest(pcm: Pcm) -> float:
    """The level of the loudest 5 ms, dBFS; -96 without any."""
    blocks = pcm[: len(pcm) // 40 * 40].reshape(-1, 40).astype(np.float64)
    power = float((blocks**2).mean(1).max()) if len(blocks) else 0.0
    return float(10 * np.log10(max(power / 32768**2, 10**-9.6)))


# -- the resampler ------------------------------------------------------------------------------------------------


def resampling_figures(source_hz: int) -> dict[str, float]:
    """Feed tones through the resampler to 8 kHz: the response where the line has sound, and what folds back."""

    def response(hertz: float) -> float:
        tone = 10_000 * np.sin(2 * np.pi * hertz * np.arange(source_hz) / source_hz)
        out = resample(np.rint(tone).astype(np.int16), source_hz, RATE_HZ)[400:-400].astype(np.float64)
        return float(20 * np.log10(max(np.sqrt((out**2).mean()), 0.1) / (10_000 / np.sqrt(2))))

    passband = [response(hertz) for hertz in np.arange(100, 3401, 100)]
    edge = [response(hertz) for hertz in np.arange(3450, 3951, 50)]
    above = {hertz: response(hertz) for hertz in np.arange(4050, source_hz / 2, 50)}
    return {
        "ripple up to 3.4 kHz": max(map(abs, passband)),
        "3.4 to 3.95 kHz, mean": statistics.fmean(edge),
        "folded, 4.05 to 4.6 kHz": max(level for hertz, level in above.items() if hertz <= 4600),
        "folded, above 4.6 kHz": max(level for hertz, level in above.items() if hertz > 4600),
    }


# -- what a voice costs -------------------------------------------------------------------------------------------

CLAUSES = {
    1: "Hello.",
    3: "We are open.",
    6: "We open at ten every morning.",
    9: "I can change your booking to Thursday at three.",
    18: "I can change your booking to Thursday at half past three if you would like me to do that.",
}


async def first_sound(tts: Any, text: str) -> tuple[float, float, float]:
    """Processor seconds to the first chunk of a clause and to its end, and the seconds of its sound."""

    async def clauses() -> AsyncIterator[str]:
        yield text

    began, first, samples = time.process_time(), 0.0, 0
    async with aclosing(tts.open().speak(clauses())) as chunks:
        async for chunk in chunks:
            first = first or time.process_time() - began
            samples += len(chunk.pcm)
    return first, time.process_time() - began, samples / tts.rate_hz


async def wait_behind_long_clauses(tts: Any, calls: int, rounds: int) -> list[float]:
    """
    How long a short clause waits for its first sound while others say 18 words.

    In processor seconds of the one thread that all share, which do not depend on what else the machine does.
    """
    waits = []
    for _ in range(rounds):
        others = [asyncio.ensure_future(first_sound(tts, CLAUSES[18])) for _ in range(calls)]
        await asyncio.sleep(0.05)  # they have begun
        began = time.process_time()
        async with aclosing(tts.open().speak(one(CLAUSES[3]))) as chunks:
            await anext(chunks)
        waits.append(time.process_time() - began)
        await asyncio.gather(*others)
    return waits


async def one(text: str) -> AsyncIterator[str]:
    yield text


async def cost(console: Console, tts: LocalTextToSpeech) -> None:
    table = Table(title=f"{tts.name}: processor ms on one thread, medians of 7")
    for column in ("words", "to the first sound", "whole clause", "sound, s", "real-time factor"):
        table.add_column(column, justify="right")
    for words, text in CLAUSES.items():
        runs = [await first_sound(tts, text) for _ in range(7)]
        first, whole, sound = (statistics.median(each) for each in zip(*runs, strict=True))
        table.add_row(str(words), f"{1e3 * first:.0f}", f"{1e3 * whole:.0f}", f"{sound:.2f}", f"{whole / sound:.3f}")
    console.print(table)
    for calls in (1, 3):
        waits = await wait_behind_long_clauses(tts, calls, 7)
        console.print(
            f"3 words behind {calls} clauses of 18 words: first sound after {1e3 * statistics.median(waits):.0f} ms in"
            f" the median, {1e3 * max(waits):.0f} ms at most"
        )


# -- tables ---------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float], digits: int = 1) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def worst(values: Sequence[float]) -> str:
    return f"{max(values):.0f}" if values else "–"


async def main(arguments: argparse.Namespace) -> None:
    console = Console(width=120)
    if arguments.resampling:
        table = Table(title="Resampling to 8 kHz, dB")
        rates = (16_000, 22_050, 24_000)
        figures = {rate: resampling_figures(rate) for rate in rates}
        for column in ("", *map(str, rates)):
            table.add_column(column)
        for name in figures[rates[0]]:
            table.add_row(name, *(f"{figures[rate][name]:.2f}" for rate in rates))
        console.print(table)
        return
    engines: list[LocalTextToSpeech] = [EspeakTextToSpeech()]
    if flite.is_installed():
        engines += [FliteTextToSpeech(voice=voice) for voice in ("slt", "rms")]
    if arguments.piper:
        engines.append(PiperTextToSpeech(PiperOptions(model=arguments.piper)))
    if arguments.kokoro:
        engines.append(KokoroTextToSpeech(KokoroOptions(model=arguments.kokoro, cores=os.cpu_count() or 1)))
    if arguments.cost:
        engines = engines[-1:]
    lines: dict[str, Line] = {}
    for engine in engines:
        await engine.start()
        if arguments.cost:
            await cost(console, engine)
        else:
            lines[f"{engine.name} {getattr(engine, '_voice', '')}"] = await listen(engine)
        await engine.close()
    if lines:
        print_lines(console, lines)


def print_lines(console: Console, lines: dict[str, Line]) -> None:
    table = Table(title="On the line")
    for column in ("", *lines):
        table.add_column(column)
    rows = {
        "level of sentences, dBFS": lambda line: spread(line.levels),
        "level of stock phrases, dBFS": lambda line: spread(line.phrase_levels),
        "steps at joins": lambda line: str(line.joins),
        "steps where it stops": lambda line: str(line.stops),
        "steps where it goes on": lambda line: str(line.resumes),
        "largest DC of 100 ms, dBFS": lambda line: f"{line.dc:.0f}",
        "pause between sentences, ms": lambda line: spread([1e3 * pause for pause in line.sentence_pauses], 0),
        "pause between clauses, ms": lambda line: spread([1e3 * pause for pause in line.comma_pauses], 0),
        "cut off at the start, dB": lambda line: worst([start for start, _ in line.lost]),
        "cut off at the end, dB": lambda line: worst([end for _, end in line.lost]),
    }
    for name, figure in rows.items():
        table.add_row(name, *(figure(line) for line in lines.values()))
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--piper", metavar="PATH", help="a voice of Piper")
    parser.add_argument("--kokoro", metavar="PATH", help="the folder of Kokoro")
    parser.add_argument("--resampling", action="store_true", help="measure only the resampling")
    parser.add_argument("--cost", action="store_true", help="measure only what the last engine costs")
    asyncio.run(main(parser.parse_args()))
