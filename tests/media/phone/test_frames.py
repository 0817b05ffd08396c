"""Which samples of a frame are audible."""

from media.phone.frames import SILENT_FRAME, first_audible, last_audible
from tests.media.phone.sounds import LOUD


def test_audible_samples_are_found():
    payload = SILENT_FRAME[:50] + b"\x7f\x70" + LOUD[:20] + SILENT_FRAME[:30]
    assert first_audible(payload) == 52
    assert last_audible(payload) == 71
    assert first_audible(SILENT_FRAME) == last_audible(b"") == -1
