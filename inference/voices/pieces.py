"""Cuts a clause into pieces for a voice that makes all of its sound at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from inference.types import Pcm
from inference.voices.clause import CLAUSE_PAUSE, FADE, QUIET

MIN_WORDS = 3
"""Words of the shortest piece: a shorter one has no melody."""
EDGE = 0.01
"""Seconds of near-silence that are kept around a piece, in which soft consonants rise and fall."""

_PHRASE = re.compile(r"(?<=[,;:.!?…—])\s+")
_JOINT = re.compile(
    r"\s+(?=(?:and|but|or|so|because|that|which|who|when|where|while|if|until|for|with|at|on|in|from|by|to|than)\s)",
    re.I,
)
"""The spaces before words that begin a phrase of English, where a cut does the least harm to the melody."""


def next_piece(text: str, *, hurried: bool) -> str:
    """
    Return the beginning of a clause that is made next, with the spaces behind it.

    A piece ends at a mark of punctuation, and if another call waits (``hurried``) also where a phrase ends.
    """
    for match in sorted(_cuts(text, hurried), key=lambda each: each.end()):
        if len(text[: match.start()].split()) >= MIN_WORDS <= len(text[match.end() :].split()):
            return text[: match.end()]
    return text


def _cuts(text: str, hurried: bool) -> Iterator[re.Match[str]]:
    yield from _PHRASE.finditer(text)
    if hurried:
        yield from _JOINT.finditer(text)


def trim_piece(pcm: Pcm, rate_hz: int) -> tuple[Pcm, int]:
    """Return a piece without its silence at both ends, faded where it is cut, and how many samples it lost in front."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > QUIET)
    if not loud.size:
        return pcm[:0], 0
    edge = int(EDGE * rate_hz)
    begin, end = max(0, int(loud[0]) - edge), min(len(pcm), int(loud[-1]) + 1 + edge)
    slope = np.ones(end - begin, np.float32)
    fade = min(int(FADE * rate_hz), len(slope))
    slope[:fade] = np.linspace(0, 1, fade)
    slope[len(slope) - fade :] *= np.linspace(1, 0, fade)
    trimmed: Pcm = np.rint(pcm[begin:end] * slope).astype(np.int16)
    return trimmed, begin


def pause_behind(piece: str, rate_hz: int) -> Pcm:
    """Return the silence between this piece and the next: none where the text has no mark."""
    marked = piece.rstrip().endswith((",", ";", ":", ".", "!", "?", "…", "—"))
    return np.zeros(int(CLAUSE_PAUSE * rate_hz) if marked else 0, np.int16)
