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
from inference.mulaw import decode_mulaw, encode_mulaw
from inference.resampling import Resampler
from media import speech
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
    assert not any(
        window.voiced for window in VoiceDetector(start=1.1, start_twice=1.1, clear=(1.1, 1.1)).run(sentence)
    )
    faint = ([0.8] + [0.2] * 10, -20)
    assert all(window.voiced for window in judge(faint, stop=0.1))
    assert sum(window.voiced for window in judge(faint, clear=(0.75, 0.4))) == 1


def test_silence_ends_a_voice_before_the_model_does(sentence):
    stubborn = VoiceDetector(stop=0.0).run(np.concatenate([sentence, np.zeros(8000, np.int16)]))
    last = changes(stubborn)[-1]
    assert not last.voiced
    assert last.position - last.edge <= 110 * MS


class ScriptedModel:
    """Answers with these probabilities, one a window, and keeps the rows it was given."""

    def __init__(self, probabilities: list[float]) -> None:
        self.probabilities = iter(probabilities)
        self.rows: list[np.ndarray] = []

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        self.rows.append(feed["input"][0].copy())
        return np.array([[next(self.probabilities)]], np.float32), feed["state"]


def judge(*parts: tuple[list[float], float], line: float = -50, **options: float) -> list[VoiceWindow]:
    """Judge parts of given probabilities and levels in dBFS, which follow two seconds of line noise."""
    parts = ([0.0] * 62, line), *parts
    sound = np.concatenate([noise(len(probabilities) * WINDOW, level) for probabilities, level in parts])
    detector = VoiceDetector(**options)
    detector._session = ScriptedModel([probability for part in parts for probability in part[0]])
    return detector.run(sound)[62:]


@pytest.mark.parametrize(
    ("probabilities", "over_noise", "voiced"),
    [
        ([0.55], 30, 1),  # far above the noise, half as sure is enough
        ([0.2, 0.2, 0.2, 0.1], 30, 2),  # and less in two windows in succession, for as long as it lasts
        ([0.2, 0.1, 0.2], 30, 0),
        ([0.55], 15, 0),
        ([0.2, 0.2, 0.2], 15, 0),
    ],
)
def test_a_sound_far_above_the_noise_is_a_voice_sooner(probabilities, over_noise, voiced):
    assert sum(window.voiced for window in judge((probabilities, -60 + over_noise), line=-60)) == voiced


@pytest.mark.parametrize(
    ("probabilities", "over_noise", "starts"),
    [
        ([0.8], 10, True),  # one window that is nearly sure
        ([0.7], 10, False),
        ([0.45, 0.45], 10, True),  # two in succession
        ([0.45, 0.2, 0.45], 10, False),  # not in succession
        ([0.35, 0.35, 0.35], 10, False),
        ([0.8], 0, False),  # as loud as the noise
        ([0.95], 0, True),  # but the model is sure
    ],
)
def test_a_voice_starts_where_the_model_is_sure_or_the_energy_agrees(probabilities, over_noise, starts):
    windows = judge((probabilities, -50 + over_noise))
    assert any(window.voiced for window in windows) == starts


def test_a_voice_that_the_model_notices_late_does_not_raise_the_noise_floor():
    windows = judge(([0.05] * 11, -20), ([0.8] * 10, -38))
    late, quieter = windows[:11], windows[11:]
    assert not any(window.voiced for window in late)
    assert all(window.voiced for window in quieter)


def test_a_noise_floor_learnt_from_a_voice_that_was_not_noticed_is_lowered_by_the_voice_that_is():
    windows = judge(([0.05] * 60, -20), ([0.95] * 5, -20), ([0.5] * 20, -20))
    assert all(window.voiced for window in windows[60:])


@pytest.mark.parametrize(("probability", "stays"), [(0.95, True), (0.7, False)])
def test_only_a_voice_of_which_the_model_is_sure_goes_on_as_soft_as_the_noise(probability, stays):
    windows = judge(([0.95] * 10, -30), ([probability] * 30, -49))
    assert windows[9].voiced
    assert all(window.voiced for window in windows[10:]) == stays


def test_a_sure_voice_ends_where_the_sound_ends():
    windows = judge(([0.95] * 10, -30), ([0.95] * 10, -62), line=-90)
    stop = next(window for window in windows if window.changed and not window.voiced)
    assert stop.position - stop.edge <= 110 * MS
    assert stop.edge == pytest.approx(72 * WINDOW, abs=8 * MS)
    assert not windows[-1].voiced


@pytest.mark.parametrize("line", [-90, -50, -30])
@pytest.mark.parametrize("lead", [9, 62])
def test_the_start_of_a_voice_that_is_noticed_350_ms_late_is_found_in_noise_too(line, lead):
    detector = VoiceDetector()
    detector._session = ScriptedModel([0.0] * lead + [0.05] * 10 + [0.95] * 10)
    sound = noise((lead + 20) * WINDOW, line)
    sound[lead * WINDOW :] += noise(20 * WINDOW, -20)
    start = next(window for window in detector.run(sound) if window.changed)
    assert start.edge == pytest.approx(lead * WINDOW, abs=16 * MS)


@pytest.mark.parametrize("line", [-50, -32])
def test_a_click_before_a_voice_is_not_its_start(line):
    detector = VoiceDetector()
    detector._session = ScriptedModel([0.0] * 62 + [0.95] * 10)
    sound = noise(72 * WINDOW, line)
    sound[62 * WINDOW :] += noise(10 * WINDOW, -20)
    sound[60 * WINDOW : 60 * WINDOW + 32] = 8000
    start = next(window for window in detector.run(sound) if window.changed)
    assert start.edge == pytest.approx(62 * WINDOW, abs=16 * MS)


def test_the_model_gets_loud_sound_on_a_quiet_line_and_the_end_of_the_window_before():
    detector = VoiceDetector()
    model = detector._session = ScriptedModel([0.0] * 4)
    detector.run(np.concatenate([silence(0.064), np.full(2 * WINDOW, 20_000, np.int16)]))
    quiet, _, first_loud, loud = model.rows
    assert 20 * np.log10(quiet.std()) == pytest.approx(-70 + 12, abs=1)
    assert loud.max() == 1  # clipped
    assert np.array_equal(loud[:32], first_loud[-32:])


def breaths(seconds: float, seed: int) -> np.ndarray:
    """Breaths of a quarter of a second to one second, at -45 to -25 dBFS on a quiet line."""
    random = np.random.default_rng(seed)
    sound, at = random.normal(size=round(seconds * 8000)) * 18, 4000
    while at < len(sound) - 12_000:
        length = round(random.uniform(0.25, 1) * 8000)
        spectrum = np.fft.rfft(random.normal(size=length))
        hz = np.fft.rfftfreq(length, 1 / 8000)
        throat = np.exp(-(((hz - random.uniform(400, 800)) / 250) ** 2))
        mouth = 0.8 * np.exp(-(((hz - random.uniform(1200, 1800)) / 300) ** 2))
        breath = np.fft.irfft(spectrum * (throat + mouth + 0.05), length) * np.sin(np.pi * np.arange(length) / length)
        sound[at : at + length] += breath / breath.std() * 32768 * 10 ** (random.uniform(-45, -25) / 20)
        at += length + round(random.uniform(0.4, 2) * 8000)
    return sound


def tones(seconds: float) -> np.ndarray:
    """A ringback tone, a busy tone and a dial tone, one after the other."""
    time = np.arange(round(seconds / 3 * 8000)) / 8000
    sines = [(440, 480, 2, 4), (480, 620, 0.5, 0.5), (350, 440, 1, 0)]
    return 3000 * np.concatenate(
        [
            (np.sin(2 * np.pi * a * time) + np.sin(2 * np.pi * b * time)) * (time % (on + off) < on)
            for a, b, on, off in sines
        ]
    )


def melody(seconds: float, seed: int) -> np.ndarray:
    """Plucked notes of a major scale."""
    random = np.random.default_rng(seed)
    time = np.arange(2400) / 8000
    notes = [220 * 2 ** (random.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12) for _ in range(round(seconds / 0.3))]
    return 3000 * np.concatenate(
        [sum(np.sin(2 * np.pi * hz * n * time) / n * np.exp(-time * (2 + n)) for n in range(1, 8)) for hz in notes]
    )


@pytest.mark.parametrize(
    ("sound", "most"),
    [
        pytest.param(np.concatenate([noise(80_000, level) for level in (-50, -25, -40, -30)]), 0, id="noise"),
        pytest.param(np.concatenate([breaths(30, seed) for seed in range(4)]), 4, id="90 breaths"),
        pytest.param(tones(30), 0, id="tones"),
        pytest.param(np.concatenate([melody(20, 1), melody(20, 2)]), 1, id="melody"),
    ],
)
def test_what_is_no_voice_starts_none(detector, sound, most):
    windows = detector.run(over_the_phone(np.clip(sound, -32768, 32767).astype(np.int16)))
    assert sum(window.voiced for window in changes(windows)) <= most


@pytest.mark.parametrize("lead", [0.3, 2, 3])
@pytest.mark.parametrize("level", [1, 0.1])
def test_a_sentence_is_heard_behind_any_silence_and_when_it_is_soft(detector, sentence, lead, level):
    voice = sentence[8000:-8000] * level
    windows = detector.run(over_the_phone(np.concatenate([silence(lead), voice.astype(np.int16), silence(1)])))
    voiced = sum(window.voiced for window in windows) * WINDOW
    assert voiced >= 0.85 * len(voice)
    assert changes(windows)[0].edge == pytest.approx(
        round(lead * 8000) + loud_blocks(sentence)[0] * 80 - 8000, abs=20 * MS
    )


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
