"""Voice activity: every word is detected, its edges agree with the energy, and a batch judges like one call alone."""

from __future__ import annotations

import asyncio
import logging
import wave
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engines.espeak import EspeakTextToSpeech
from inference.resampling import Resampler
from media import speech
from media.audio import decode_mulaw, encode_mulaw
from media.speech import WINDOW, VoiceDetector, VoiceModelError, VoiceWindow

MS = 8  # samples


@pytest.fixture(scope="module")
def detector() -> VoiceDetector:
    return VoiceDetector(gather=0)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * 8000), np.int16)


def noise(length: int, dbfs: float) -> np.ndarray:
    return (np.random.default_rng(1).normal(size=length) * 32768 * 10 ** (dbfs / 20)).astype(np.int16)


def over_the_phone(pcm: np.ndarray) -> np.ndarray:
    return decode_mulaw(encode_mulaw(pcm))


def changes(windows: list[VoiceWindow]) -> list[VoiceWindow]:
    return [window for window in windows if window.changed]


def loud_blocks(pcm: np.ndarray) -> np.ndarray:
    """The blocks of 10 ms with sound in a clean clip, by an energy threshold that needs the whole clip."""
    power = (pcm[: len(pcm) // 80 * 80].astype(float).reshape(-1, 80) ** 2).mean(1) / 2**30
    noise_power, voice_power = np.percentile(power[power > 1e-8], [10, 95])
    return np.flatnonzero(power > max(min(10 * noise_power, voice_power / 100), voice_power / 1000, 1e-6))


def end_errors(windows: list[VoiceWindow], loud: np.ndarray) -> list[float]:
    """For each stop, the seconds from the end of the last loud block before the judgement to its edge."""
    stops = [window for window in changes(windows) if not window.voiced]
    before = [loud[loud < stop.position // 80] for stop in stops]
    return [(stop.edge - 80 * (past[-1] + 1)) / 8000 for stop, past in zip(stops, before, strict=True) if len(past)]


def start_errors(windows: list[VoiceWindow], loud: np.ndarray) -> list[float]:
    """For each start, the seconds from the beginning of the sound around it to its edge; gaps to 50 ms are bridged."""
    errors = []
    for start in (window for window in changes(windows) if window.voiced):
        past = loud[loud < start.position // 80]
        if len(past):
            breaks = np.flatnonzero(np.diff(past) > 5)
            errors.append((start.edge - 80 * past[breaks[-1] + 1 if len(breaks) else 0]) / 8000)
    return errors


async def synthesise(text: str) -> np.ndarray:
    async def clauses():
        yield text

    engine = EspeakTextToSpeech()
    await engine.start()
    chunks = [chunk.pcm async for chunk in engine.open().speak(clauses())]
    await engine.close()
    resampler = Resampler(engine.rate_hz, 8000)
    return np.concatenate([*map(resampler.push, chunks), resampler.flush()])


@pytest.fixture(scope="module")
def sentence() -> np.ndarray:
    """A second of silence on both sides of a synthetic voice."""
    voice = asyncio.run(synthesise("What time do you open on Sunday?"))
    return over_the_phone(np.concatenate([silence(1), voice, silence(1)]))


class Listener(list[VoiceWindow]):
    """Collects judgements and can be awaited until a number of them has come."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = asyncio.Event()

    def __call__(self, window: VoiceWindow) -> None:
        self.append(window)
        self._arrived.set()

    async def until(self, count: int) -> None:
        while len(self) < count:
            self._arrived.clear()
            await self._arrived.wait()


def test_silence_and_line_noise_are_not_voice(detector):
    for pcm in (silence(3), over_the_phone(noise(24_000, -55)), over_the_phone(noise(24_000, -35))):
        windows = detector.run(pcm)
        assert len(windows) == len(pcm) // WINDOW
        assert not any(window.voiced for window in windows)


def test_a_sentence_is_one_stretch_of_voice_with_edges_where_the_energy_is(detector, sentence):
    windows = detector.run(sentence)
    loud = loud_blocks(sentence)
    first, *_, last = changes(windows)
    assert first.voiced
    assert not last.voiced
    assert first.edge == pytest.approx(loud[0] * 80, abs=20 * MS)
    assert last.edge == pytest.approx((loud[-1] + 1) * 80, abs=20 * MS)
    assert last.position - last.edge < 200 * MS


def test_edges_hold_in_noise(detector, sentence):
    loud = loud_blocks(sentence)
    windows = detector.run(over_the_phone(sentence + noise(len(sentence), -45)))
    first, *_, last = changes(windows)
    assert first.edge == pytest.approx(loud[0] * 80, abs=60 * MS)
    assert last.edge == pytest.approx((loud[-1] + 1) * 80, abs=80 * MS)


def test_edges_never_decrease_and_never_exceed_the_position(detector, sentence):
    twice = np.concatenate([sentence, sentence[4000:], noise(4000, -30), sentence])
    edge = 0
    for window in detector.run(twice):
        assert edge <= window.edge <= window.position
        edge = window.edge


def test_thresholds_are_options(sentence):
    assert not any(window.voiced for window in VoiceDetector(start=1.1).run(sentence))
    noisy = np.clip(sentence.astype(int) + noise(len(sentence), -30), -32768, 32767).astype(np.int16)
    stubborn = VoiceDetector(stop=0.0).run(noisy)
    assert [window.voiced for window in changes(stubborn)] == [True]


def test_silence_ends_a_voice_before_the_model_does(sentence):
    stubborn = VoiceDetector(stop=0.0).run(np.concatenate([sentence, np.zeros(8000, np.int16)]))
    last = changes(stubborn)[-1]
    assert not last.voiced
    assert last.position - last.edge <= 110 * MS


async def test_a_stream_in_pieces_of_any_length_is_judged_like_the_whole_clip(detector, sentence):
    expected = detector.run(sentence)
    for size in (1, 37, 160, 255, 4096, len(sentence)):
        listener = Listener()
        stream = detector.open(listener)
        for begin in range(0, len(sentence), size):
            stream.push(sentence[begin : begin + size])
        await listener.until(len(expected))
        assert listener == expected
        stream.close()


async def test_calls_in_one_batch_are_judged_exactly_like_each_alone(detector, sentence):
    clips = [np.roll(sentence, 997 * n) + noise(len(sentence), -80 + 2 * n) for n in range(20)]
    alone = [detector.run(clip) for clip in clips]
    listeners = [Listener() for _ in clips]
    streams = [detector.open(listener) for listener in listeners]
    for begin in range(0, len(sentence), 320):
        for n, (stream, clip) in enumerate(zip(streams, clips, strict=True)):
            size = 160 if n % 2 else 320
            for part in range(begin, begin + 320, size):
                stream.push(clip[part : part + size])
        await asyncio.sleep(0)
    for listener, expected in zip(listeners, alone, strict=True):
        await listener.until(len(expected))
    assert [list(listener) for listener in listeners] == alone
    for stream in streams:
        stream.close()


async def test_windows_of_many_calls_wait_for_each_other_and_run_as_one_batch(monkeypatch):
    detector = VoiceDetector(gather=0.001)
    batches: list[int] = []
    judge = detector._judge
    monkeypatch.setattr(detector, "_judge", lambda streams: (batches.append(len(streams)), judge(streams)))
    listeners = [Listener() for _ in range(5)]
    streams = [detector.open(listener) for listener in listeners]
    for stream in streams[:3]:
        stream.push(silence(0.04))
    await listeners[2].until(1)
    for stream in streams:
        stream.push(silence(0.04))
    await listeners[4].until(1)
    assert batches == [3, 5]


async def test_a_window_runs_at_once_if_every_open_stream_has_one():
    detector = VoiceDetector(gather=3600)
    listener = Listener()
    detector.open(listener).push(silence(0.04))
    await listener.until(1)


async def test_a_long_piece_does_not_hold_up_other_calls(detector):
    long_call, short_call = Listener(), Listener()
    detector.open(long_call).push(silence(10))
    detector.open(short_call).push(silence(0.04))
    await short_call.until(1)
    assert len(long_call) < 10
    await long_call.until(312)


async def test_a_closed_stream_reports_nothing_more_and_its_row_is_used_again_without_its_state(detector, sentence):
    expected = detector.run(sentence)
    listener = Listener()
    stream = detector.open(listener)
    stream.push(sentence)
    await listener.until(20)
    stream.close()
    stream.close()
    stream.push(sentence)
    heard = len(listener)
    successor = Listener()
    detector.open(successor).push(sentence)
    await successor.until(len(expected))
    assert successor == expected
    assert len(listener) == heard


async def test_a_listener_that_fails_or_closes_another_stream_does_not_disturb_the_others(detector, caplog):
    def failing(window: VoiceWindow) -> None:
        closed.close()
        raise RuntimeError("broken session")

    healthy, silenced = Listener(), Listener()
    streams = [detector.open(failing), closed := detector.open(silenced), detector.open(healthy)]
    with caplog.at_level(logging.ERROR):
        for stream in streams:
            stream.push(silence(0.04))
        await healthy.until(1)
    assert "broken session" in caplog.text
    assert silenced == []
    for stream in streams:
        stream.close()


def test_a_missing_model_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(speech.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VoiceModelError, match="silero-vad package is missing"):
        VoiceDetector()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=12), st.integers(0, 2**32 - 1))
def test_every_window_is_judged_once_and_in_order(detector, lengths, seed):
    rng = np.random.default_rng(seed)

    async def live() -> None:
        listener = Listener()
        stream = detector.open(listener)
        for length in lengths:
            stream.push(rng.integers(-32768, 32767, length, dtype=np.int16))
        await listener.until(sum(lengths) // WINDOW)
        assert [w.position for w in listener] == [WINDOW * (n + 1) for n in range(sum(lengths) // WINDOW)]
        stream.close()

    asyncio.run(live())


def recordings(folder: Path) -> list[np.ndarray]:
    """Every clip under 30 s, except the studies of falsetto and breath, between two stretches of silence."""
    clips = []
    for path in sorted(folder.glob("*.wav")):
        if path.stem in ("mfa__falsetto2", "mfa__mfa_breaths"):
            continue
        with wave.open(str(path)) as file:
            assert file.getframerate() == 8000
            clip = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        if len(clip) < 30 * 8000:
            clips.append(np.concatenate([silence(0.5), clip, silence(0.7)]))
    return clips


@pytest.mark.human
@pytest.mark.parametrize(("snr_db", "start_limit", "end_limit"), [(None, 0.04, 0.035), (20, 0.035, 0.045)])
def test_every_human_turn_is_detected_and_its_edges_are_near_the_energy(
    detector, speech_dir, record_property, snr_db, start_limit, end_limit
):
    starts, ends, late = [], [], []
    for clip in recordings(speech_dir):
        loud = loud_blocks(clip)
        level = np.percentile(clip.astype(float) ** 2, 90) / 2**30
        line = noise(len(clip), 10 * np.log10(level) - snr_db) if snr_db else np.zeros_like(clip)
        windows = detector.run(over_the_phone(np.clip(clip.astype(int) + line, -32768, 32767).astype(np.int16)))
        assert any(window.voiced for window in windows)
        assert not windows[-1].voiced
        starts += start_errors(windows, loud)
        ends += end_errors(windows, loud)
        late += [(w.position - w.edge) / 8000 for w in changes(windows) if not w.voiced]
    figures = {
        name: round(float(median(map(abs, errors))), 4)
        for name, errors in (("start", starts), ("end", ends), ("judged_after", late))
    }
    record_property("median_edge_errors", figures)
    print(f"voice activity at {snr_db or 'no'} dB of noise: {figures}, {len(ends)} ends")
    assert figures["start"] <= start_limit
    assert figures["end"] <= end_limit
