"""A voice is a recording and its words; the errors say what is wrong with either."""

import wave
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from inference.csm.mimi import encode
from inference.csm.voices import load_voice, voice_names
from inference.types import EngineError
from tests.inference.tiny_csm import CODEBOOKS, tiny_csm

TEXT = "This is how I sound."


def speech(seconds: float, rate_hz: int = 24000, dbfs: float = -30.0) -> np.ndarray:
    """Bursts of a tone at that level, half a second each, with the same tone 18 dB lower between them; int16."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = np.sin(2 * np.pi * 220 * time) * 2**0.5 * 10 ** (dbfs / 20) * np.where(time % 1 < 0.5, 1, 10 ** (-18 / 20))
    return np.rint(sound * 32768).astype(np.int16)


def record(folder: Path, name: str, pcm: np.ndarray, rate_hz: int = 24000, text: str | None = TEXT) -> Path:
    path = folder / f"{name}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(pcm.dtype.itemsize)
        file.setframerate(rate_hz)
        file.writeframes(pcm.tobytes())
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


class Encoder:
    """Returns codes that show how many frames they were made from and which call made them."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []

    def __call__(self, pcm: np.ndarray) -> np.ndarray:
        self.heard.append(pcm)
        return np.full((-(-len(pcm) // 1920), CODEBOOKS), len(self.heard), np.int16)


def load(folder: Path, name: str = "anna", encoder=None, fingerprint: str = "one"):
    return load_voice(folder, name, encoder or Encoder(), fingerprint=fingerprint)


def test_a_voice_has_its_words_its_codes_and_its_gain(tmp_path):
    record(tmp_path, "anna", speech(4), text="  This is\nhow I sound.\n")
    voice = load(tmp_path)
    assert (voice.name, voice.text, voice.codes.shape) == ("anna", TEXT, (50, CODEBOOKS))
    assert 20 * np.log10(voice.gain) == pytest.approx(10, abs=0.1)  # from -30 to -20 dBFS; pauses do not count


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (16000, 2), (44100, 1), (48000, 2)])
def test_recordings_of_any_rate_become_24_khz_mono(tmp_path, rate_hz, channels):
    encoder = Encoder()
    pcm = speech(3, rate_hz)
    record(tmp_path, "anna", pcm if channels == 1 else np.stack([pcm, pcm], axis=1), rate_hz)
    voice = load(tmp_path, encoder=encoder)
    expected = speech(3) / 32768
    assert encoder.heard[0].dtype == np.float32
    assert encoder.heard[0].shape == expected.shape
    assert np.abs(encoder.heard[0] - expected)[2000:10000].max() < 1e-3  # within the first burst
    assert 20 * np.log10(voice.gain) == pytest.approx(10, abs=0.1)


def test_the_tiny_codec_makes_codes_of_a_recording(tmp_path):
    record(tmp_path, "anna", speech(2))
    voice = load(tmp_path, encoder=partial(encode, tiny_csm().codec_model))
    assert voice.codes.dtype == np.int16
    assert voice.codes.shape == (25, CODEBOOKS)


def test_codes_are_stored_until_the_recording_or_the_codec_changes(tmp_path):
    record(tmp_path, "anna", speech(3))
    encoder = Encoder()
    first = load(tmp_path, encoder=encoder)
    assert np.array_equal(load(tmp_path, encoder=encoder).codes, first.codes)
    assert len(encoder.heard) == 1
    load(tmp_path, encoder=encoder, fingerprint="two")
    assert len(encoder.heard) == 2
    record(tmp_path, "anna", speech(3, dbfs=-25))
    load(tmp_path, encoder=encoder)
    assert len(encoder.heard) == 3
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"PK\x03\x04 something else", b"codes"])
def test_a_broken_file_of_codes_is_replaced(tmp_path, content):
    record(tmp_path, "anna", speech(3))
    load(tmp_path)
    (kept,) = tmp_path.glob("anna.*.codes.npy")
    kept.write_bytes(content)
    encoder = Encoder()
    assert load(tmp_path, encoder=encoder).codes.shape == (38, CODEBOOKS)
    assert len(encoder.heard) == 1
    load(tmp_path, encoder=encoder)
    assert len(encoder.heard) == 1


def test_a_voice_loads_from_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    record(tmp_path, "anna", speech(3))
    monkeypatch.setattr("tempfile.mkstemp", refuse)  # the tests may run as root, which may write everywhere
    assert len(load(tmp_path).codes) == 38
    assert not list(tmp_path.glob("*.npy"))


def test_a_full_disk_leaves_no_temporary_file(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no space left")

    record(tmp_path, "anna", speech(3))
    monkeypatch.setattr("numpy.save", refuse)
    assert len(load(tmp_path).codes) == 38
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["anna.txt", "anna.wav"]


def test_the_default_is_the_first_voice_of_the_folder(tmp_path):
    record(tmp_path, "berta", speech(3))
    record(tmp_path, "anna", speech(3))
    assert voice_names(tmp_path) == ["anna", "berta"]
    assert load(tmp_path, "").name == "anna"


@pytest.mark.parametrize("name", ["carl", "../anna", "anna.wav"])
def test_the_error_for_an_unknown_voice_names_the_known_ones(tmp_path, name):
    folder = tmp_path / "voices"
    folder.mkdir()
    record(tmp_path, "anna", speech(3))
    for known in ("berta", "anna"):
        record(folder, known, speech(3))
    with pytest.raises(EngineError, match=r"Its voices are: anna, berta\.") as raised:
        load(folder, name)
    assert raised.value.permanent


@pytest.mark.parametrize("name", ["", "anna"])
def test_a_folder_without_voices_is_an_error(tmp_path, name):
    with pytest.raises(EngineError, match=r"there is no \.wav file in"):
        load(tmp_path / "nowhere", name)


@pytest.mark.parametrize(
    ("seconds", "dbfs", "message"),
    [
        (1.9, -30, r"lasts 1\.9 s\. A voice needs 2 to 15 s"),
        (15.1, -30, r"lasts more than 15 s|lasts 15\.1 s"),
        (40, -30, "lasts more than 15 s"),
        (5, -80, "almost silent"),
    ],
)
def test_an_unusable_recording_is_refused(tmp_path, seconds, dbfs, message):
    record(tmp_path, "anna", speech(seconds, dbfs=dbfs))
    with pytest.raises(EngineError, match=message) as raised:
        load(tmp_path)
    assert raised.value.permanent


def test_a_file_that_is_not_a_16_bit_recording_is_refused(tmp_path):
    record(tmp_path, "anna", speech(3).astype(np.int32))
    with pytest.raises(EngineError, match=r"has 32 bits.*16-bit PCM, mono or stereo: ffmpeg"):
        load(tmp_path)
    record(tmp_path, "anna", np.stack([speech(3)] * 3, axis=1))
    with pytest.raises(EngineError, match="3 channels"):
        load(tmp_path)
    for content in (b"", b"ID3 an mp3", b"RIFF\x00\x00\x00\x00WAVE"):
        (tmp_path / "anna.wav").write_bytes(content)
        with pytest.raises(EngineError, match=r"Cannot read .*anna\.wav"):
            load(tmp_path)


def test_a_voice_without_its_words_is_refused(tmp_path):
    record(tmp_path, "anna", speech(3), text=None)
    with pytest.raises(EngineError, match=r"anna\.txt.*Write into it the words"):
        load(tmp_path)
    (tmp_path / "anna.txt").write_text(" \n")
    with pytest.raises(EngineError, match=r"anna\.txt is empty"):
        load(tmp_path)
    (tmp_path / "anna.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(EngineError, match=r"Cannot read .*anna\.txt"):
        load(tmp_path)
