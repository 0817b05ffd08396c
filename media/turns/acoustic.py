"""
What the sound of a turn adds to its words: how a score of the turn model changes the wait.

A score says how probable it is, by the sound alone, that the caller has finished. It is a hint: on recordings of people
on the telephone it is right in 7 of 10 pauses. So it moves the wait, within its limits, and decides nothing. Words that
are plainly unfinished or being dictated are waited for however final they sound, and a form that is complete is
answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from media.turns.endpointing import LONGEST, SHORTEST, Judgement

BEFORE = 0.5
"""Seconds of sound before the voice that the model hears as well, as Pipecat, whose model it is, gives it."""
FIRST = 0.1
"""Seconds of silence after which the sound is scored. Later scores are no better: the area under the curve is 0.71 to
0.72 from 0.1 to 0.25 s."""
SECOND = 0.5
"""... and after which it is scored once more, if the wait is longer."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """
    How a score changes a wait.

    The values were chosen with ``python -m tests.benchmarks.endings``, which leaves out the turn that it judges.
    """

    unfinished_below: float = 0.05
    """Below this score, the caller sounds as if they went on ..."""
    longer: float = 2.0
    """... and the wait is so many times as long."""
    finished_from: float = 0.8
    """From this score on, the caller sounds as if they had finished ..."""
    shorter: float = 0.65
    """... and the wait is this part of itself."""

    def wait(self, judgement: Judgement, score: float) -> float:
        """Return the seconds of silence after which the turn is over, by the words and by the sound."""
        if judgement.settled:
            return judgement.wait
        factor = 1.0
        if score < self.unfinished_below:
            factor = self.longer
        elif score >= self.finished_from:
            factor = self.shorter
        return min(max(judgement.wait * factor, SHORTEST), LONGEST)


FUSION = Fusion()


def is_due(silence: float, judgement: Judgement | None, score: float | None, *, asked: int) -> bool:
    """
    Whether the sound of a pause of so many seconds is to be scored now.

    ``judgement`` and ``score`` are what is known so far, and ``asked`` counts the scores of this pause. The second
    score is asked for if the first one has come and the turn is not over yet, unless the words leave nothing to it.
    """
    if asked == 0:
        return silence >= FIRST
    if asked > 1 or silence < SECOND or score is None or judgement is None or judgement.settled:
        return False
    return FUSION.wait(judgement, score) > SECOND
