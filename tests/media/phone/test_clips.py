"""Clips, from audio in memory and from WAV files."""

import numpy as np
import pytest

from inference.mulaw import decode_mulaw, encode_mulaw
from media.phone.clips import Clip, ScriptError, read_wave, to_mulaw
from media.phone.frames import SILENT_FRAME
from tests.media.phone.sounds import sine, write_wave


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 24000, 44100, 48000])
def test_a_recording_at_any_rate_is_the_same_sound_at_8_khz(tmp_path, rate_hz):
    audio = read_wave(write_wave(tmp_path / "tone.wav", sine(rate_hz), rate_hz))
    assert len(audio) == pytest.approx(4000, abs=2)
    spectrum = np.abs(np.fft.rfft(decode_mulaw(audio)[:4000]))
    assert np.argmax(spectrum) * 2 == 440
    assert np.abs(decode_mulaw(audio)).max() == pytest.approx(8000, rel=0.05)


def test_a_mulaw_recording_is_used_as_it_is(tmp_path):
    audio = encode_mulaw(sine(8000))
    header = b"RIFF" + (50 + len(audio)).to_bytes(4, "little") + b"WAVEfmt " + (18).to_bytes(4, "little")
    header += b"\x07\0\x01\0" + (8000).to_bytes(4, "little") * 2 + b"\x01\0\x08\0\0\0"
    header += b"fact" + (4).to_bytes(4, "little") + len(audio).to_bytes(4, "little")
    path = tmp_path / "mulaw.wav"
    path.write_bytes(header + b"data" + len(audio).to_bytes(4, "little") + audio)
    assert read_wave(path) == audio


def test_an_unreadable_recording_raises_an_error_that_says_why(tmp_path):
    with pytest.raises(ScriptError, match=r"Cannot read .*nowhere\.wav"):
        read_wave(tmp_path / "nowhere.wav")
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(ScriptError, match="not a WAV file"):
        read_wave(tmp_path / "text.wav")
    (tmp_path / "empty.wav").write_bytes(b"RIFF\x04\0\0\0WAVE")
    with pytest.raises(ScriptError, match="without sound"):
        read_wave(tmp_path / "empty.wav")
    with pytest.raises(ScriptError, match="2 channel"):
        read_wave(write_wave(tmp_path / "stereo.wav", sine(8000), 8000, channels=2))


def test_a_clip_has_the_place_of_its_loud_part_and_may_be_silent():
    sound = Clip.of(to_mulaw(np.concatenate([np.zeros(80, np.int16), sine(8000), np.zeros(80, np.int16)]), 8000))
    assert sound.first_loud == pytest.approx(80, abs=10)
    assert sound.last_loud == pytest.approx(4079, abs=10)
    assert sound.seconds == pytest.approx(0.52)
    silent = Clip.of(SILENT_FRAME)
    assert (silent.first_loud, silent.last_loud) == (0, 0)
