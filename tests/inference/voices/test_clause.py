"""The silence after a clause is the pause of a person who says it."""

from __future__ import annotations

import numpy as np
import pytest

from inference.voices.clause import LEADING_SILENCE, SpokenClause

RATE_HZ = 8000
VOICE = np.full(RATE_HZ // 2, 3000, np.int16)
SILENCE = np.zeros(RATE_HZ // 2, np.int16)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("We are open.", 0.18),
        ('He said "come in." ', 0.18),
        ("Are you there?", 0.18),
        ("Well…", 0.18),
        ("こんにちは。", 0.18),
        ("はい、", 0.08),
        ("Of course,", 0.08),
        ("It is free today -", 0.08),
        ("That is right—", 0.08),
        ("We are open on Saturdays", 0.03),
        ("", 0.03),
    ],
)
def test_the_pause_after_a_clause_depends_on_its_mark(text, seconds):
    clause = SpokenClause(text, RATE_HZ)
    chunks = [*clause.feed(np.concatenate((SILENCE, VOICE, SILENCE)), ()), *clause.finish()]
    sound = np.concatenate([chunk.pcm for chunk in chunks])
    voice = np.flatnonzero(sound)
    assert voice[0] == LEADING_SILENCE * RATE_HZ
    assert len(sound) - voice[-1] - 1 == int(seconds * RATE_HZ)
    assert np.array_equal(sound[voice[0] : voice[-1] + 1], VOICE)
