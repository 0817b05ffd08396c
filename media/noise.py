"""
Noise suppression before recognition, by the filter of WebRTC.

It learns the noise between the words and lowers each band by it. It needs no model and takes 1.4 ms of processor time
for a second of sound. Neural filters (RNNoise, GTCRN) are no alternative: Whisper understands less of what they leave.
"""

from __future__ import annotations

import numpy as np

from inference.resampling import Resampler
from inference.types import Pcm
from media.errors import MediaError

LEVELS = {"off": 0, "low": 1, "moderate": 2, "high": 3, "very-high": 4}
"""The values of the setting ``NOISE_SUPPRESSION``, and WebRTC's own."""
_RATE_HZ = 16000
_BLOCK = 160
"""Samples (10 ms) that the filter takes at once."""
_DELAY = 96
"""Samples by which the filter is late."""


class NoiseSuppressor:
    """
    Converts one utterance to another rate as ``Resampler`` does, and suppresses its noise.

    ``before`` is the sound before the utterance, from which the filter learns the noise; it is not returned. What is
    returned keeps its time: output sample k has the time of input sample ``k * src_hz / dst_hz``. At most 20 ms are
    held back; words are asked for at least 80 ms after the caller has stopped.
    """

    def __init__(self, src_hz: int, dst_hz: int, level: int, *, before: Pcm) -> None:
        from webrtc_noise_gain import AudioProcessor

        self._to_filter = Resampler(src_hz, _RATE_HZ)
        self._from_filter = Resampler(_RATE_HZ, dst_hz)
        self._filter = AudioProcessor(0, level)  # without a gain
        self._rest = np.empty(0, np.int16)
        """Samples that do not fill a block yet."""
        self._skip = _DELAY + len(before) * _RATE_HZ // src_hz
        """Samples that the filter is still to return before those of the utterance."""
        self.push(before)

    def push(self, pcm: Pcm) -> Pcm:
        """Take samples of shape ``(n,)`` and return the output that they complete."""
        sound = np.concatenate([self._rest, self._to_filter.push(pcm)])
        whole = len(sound) - len(sound) % _BLOCK
        self._rest = sound[whole:]
        blocks = (self._filter.Process10ms(block.tobytes()).audio for block in sound[:whole].reshape(-1, _BLOCK))
        filtered = np.frombuffer(b"".join(blocks), np.int16)
        skipped = min(self._skip, len(filtered))
        self._skip -= skipped
        return self._from_filter.push(filtered[skipped:])


def level_of(setting: str) -> int:
    """The level of this value of ``NOISE_SUPPRESSION``, 0 for none; ``MediaError`` if the package is missing."""
    level = LEVELS[setting]
    if level:
        try:
            import webrtc_noise_gain  # noqa: F401
        except ImportError as error:
            raise MediaError(
                f"NOISE_SUPPRESSION is {setting!r}, but its package cannot be loaded: {error}. "
                "Install it: pip install -r requirements/noise.txt"
            ) from error
    return level
