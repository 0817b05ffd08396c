"""Finds texts that a recogniser has more likely invented than heard, where it does not say how sure it is."""

from __future__ import annotations

from inference.whisper.hallucinations import (
    MAX_WORDS_PER_SECOND,
    SPARE_WORDS,
    Hypothesis,
    Reason,
    bare_words,
    objection,
)

ECHO = 4
"""Words. A shorter part of the prompt may be what the caller says."""


def invented(text: str, *, speech: float, seconds: float, prompt: str = "") -> Reason | str | None:
    """
    Return why these words are more likely invented than said; None if they may be believed.

    ``seconds`` is the length of the sound, and ``speech`` how much of it may be speech. ``prompt`` is what the service
    was told: some models repeat it about silence.
    """
    if not text.strip():
        return None
    words = bare_words(text)
    if len(words) >= ECHO and " ".join(words) in " ".join(bare_words(prompt)):
        return "echo"
    if len(words) > MAX_WORDS_PER_SECOND * seconds + SPARE_WORDS:
        return Reason.TOO_FAST
    return objection(Hypothesis(text=text, speech=speech))
