"""Cuts the sound of one clause into chunks: trims its silence, and says how far in the text each chunk ends. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from inference.types import AudioChunk, Pcm

MIN_CHUNK, MAX_CHUNK = 0.02, 0.06
"""Seconds. Cancelling takes effect, and ``text_end`` advances, once per chunk."""

LEADING_SILENCE = 0.03
SENTENCE_PAUSE = 0.18
CLAUSE_PAUSE = 0.08
UNMARKED_PAUSE = 0.03
"""
Seconds of silence before a clause, after a sentence, after a clause with a mark (``,;:—``), and after one without. They
replace the voice's own: Flite adds about 200 ms before and after a clause, during which the caller would wait; eSpeak
NG adds none, so that sentences would run together. People pause for 150 to 350 ms between sentences that belong
together, half as long at a comma, and not at all where only the reply was cut into clauses.
"""

_SENTENCE_MARKS = ".!?…。！？؟।"
_CLAUSE_MARKS = ",;:—–-、，；：،؛"

HELD_BACK = 0.01
"""Seconds of sound that are held until the clause ends, so that there is always a last chunk to carry its end."""

QUIET = 160
"""Samples up to this (-46 dBFS) are silence: 26 dB below the voice. The silence of C libraries is nearly digital zero,
that of a neural voice is below -55 dBFS."""

FADE = 0.005
"""Seconds in which what remains of the voice's own silence fades where it is cut, so that the cut is no click."""


@dataclass(frozen=True, slots=True)
class SpokenUntil:
    """At ``sample`` of a clause, ``text_end`` of its characters have been spoken."""

    sample: int
    text_end: int


@dataclass(slots=True)
class SpokenClause:
    """Takes the sound of one clause as it is synthesised and returns it in chunks."""

    text: str
    rate_hz: int
    offset: int = 0
    """Characters of the clauses before this one."""
    exact: bool = True
    """Whether the timing of words is known and not estimated."""
    spoken: list[SpokenUntil] = field(default_factory=list)
    """The timing of words that is known so far."""
    _held: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))
    """Sound that is not in a chunk yet."""
    _position: int = 0
    """The voice's sample number of the first held sample."""
    _voiced: bool = False
    """Whether the silence before the voice has ended."""

    def feed(self, pcm: Pcm, spoken: Sequence[SpokenUntil]) -> Iterator[AudioChunk]:
        """Take the next sound of the voice and yield the chunks that are complete."""
        self.spoken.extend(spoken)
        held = np.concatenate((self._held, pcm))
        loud = np.flatnonzero(np.abs(held.astype(np.int32)) > QUIET)
        lead = int(LEADING_SILENCE * self.rate_hz)
        if not self._voiced:
            drop = max(0, (int(loud[0]) if loud.size else len(held)) - lead)
            held, self._position, loud = held[drop:], self._position + drop, loud - drop
            self._voiced = bool(loud.size)
            if drop and self._voiced:
                held = _fade(held, self._fade_samples, begins=True)
        # Hold silence until voice follows it: only then is it a pause and not the end.
        end = min(int(loud[-1]) + 1, len(held) - int(HELD_BACK * self.rate_hz)) if loud.size else 0
        if end < MIN_CHUNK * self.rate_hz:
            end = 0
        self._held = held[end:]
        yield from self._chunks(held[:end])

    def finish(self) -> Iterator[AudioChunk]:
        """Yield the rest of the voice and the pause after it. The last chunk ends the text."""
        loud = np.flatnonzero(np.abs(self._held.astype(np.int32)) > QUIET)
        voiced = int(loud[-1]) + 1 if loud.size else 0
        rest = np.zeros(voiced + int(pause_after(self.text) * self.rate_hz), np.int16)
        kept = self._held[: len(rest)]
        # Behind the voice there is only its own silence to fade; the voice itself is never touched.
        rest[: len(kept)] = _fade(kept, min(self._fade_samples, len(kept) - voiced), begins=False)
        *chunks, last = self._chunks(rest)
        yield from chunks
        yield AudioChunk(last.pcm, self.offset + len(self.text), exact=True)

    @property
    def _fade_samples(self) -> int:
        return int(FADE * self.rate_hz)

    def _chunks(self, pcm: Pcm) -> Iterator[AudioChunk]:
        for piece in np.array_split(pcm, ceil(len(pcm) / (MAX_CHUNK * self.rate_hz))) if len(pcm) else ():
            self._position += len(piece)
            known = bisect_right(self.spoken, self._position, key=lambda until: until.sample)
            text_end = min(self.spoken[known - 1].text_end, len(self.text)) if known else 0
            yield AudioChunk(piece, self.offset + text_end, exact=self.exact)


def pause_after(text: str) -> float:
    """Return the seconds of silence after a clause."""
    last = text.rstrip().rstrip("\"'”’»」)]*_")[-1:]
    if last and last in _SENTENCE_MARKS:
        return SENTENCE_PAUSE
    return CLAUSE_PAUSE if last and last in _CLAUSE_MARKS else UNMARKED_PAUSE


def _fade(pcm: Pcm, samples: int, *, begins: bool) -> Pcm:
    """Return the sound with its first or last ``samples`` rising from silence or falling to it."""
    if samples <= 0:
        return pcm
    slope = np.ones(len(pcm), np.float32)
    rise = np.linspace(0, 1, min(samples, len(pcm)), dtype=np.float32)
    if begins:
        slope[: len(rise)] = rise
    else:
        slope[len(slope) - len(rise) :] = rise[::-1]
    faded: Pcm = np.rint(pcm * slope).astype(np.int16)
    return faded
