"""Mu-law is G.711 to the bit."""

from __future__ import annotations

import warnings

import numpy as np

from inference.mulaw import decode_mulaw, encode_mulaw
from media.audio import SILENCE

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop


def test_every_code_decodes_as_in_g711():
    codes = bytes(range(256))
    assert decode_mulaw(codes).tobytes() == audioop.ulaw2lin(codes, 2)


def test_every_sample_encodes_as_in_g711():
    samples = np.arange(-32768, 32768, dtype=np.int16)
    assert encode_mulaw(samples) == audioop.lin2ulaw(samples.tobytes(), 2)
    assert encode_mulaw(samples[::-3]) == audioop.lin2ulaw(samples[::-3].tobytes(), 2)


def test_silence_is_silent():
    assert decode_mulaw(SILENCE).tolist() == [0]
    assert encode_mulaw(np.zeros(1, np.int16)) == SILENCE
    assert decode_mulaw(b"").shape == (0,)
