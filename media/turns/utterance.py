"""The caller's current utterance, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass, field

from media.turns.acoustic import FUSION
from media.turns.clock import RATE_HZ
from media.turns.endpointing import UNFINISHED, Judgement
from media.turns.timing import Timing

LONGEST_DELAY = 8.0
"""Seconds for which an answer is awaited in silence while recognition is out of reach: most restarts take less, and the
caller would have to say everything again."""


@dataclass(slots=True)
class Words:
    """The words that the caller has said by a pause."""

    text: str
    """Empty: recognition found no words."""
    judgement: Judgement
    """How long to wait in silence before the caller is taken to have finished, by these words alone."""
    speculate_at: float | None = 0.0
    """Seconds of silence after which a reply to them is considered; None if one was."""
    model_waits: bool = False
    """The language model has taken them for unfinished."""


@dataclass(slots=True)
class Pause:
    """The caller's voice has paused."""

    since: int
    """Position of the last voiced sample."""
    words: Words | None = None
    """None until recognition has answered."""
    asked: bool = False
    """Recognition was asked for the words."""
    failed: bool = False
    """Recognition gave no answer."""
    scores_asked: int = 0
    """How often the turn model was asked about this pause."""
    awaited_score: int = 0
    """The number of the last of these scores; 0 if the turn model was not asked."""
    score: float | None = None
    """The probability that the caller has finished, by the sound; None until the turn model has answered."""

    @property
    def wait(self) -> float | None:
        """
        Seconds of silence after which the turn is over, by the words, what the language model makes of them, and the
        sound; None until the words are known.
        """
        if self.words is None:
            return None
        if self.words.model_waits:
            return UNFINISHED
        judgement = self.words.judgement
        return judgement.wait if self.score is None else FUSION.wait(judgement, self.score)

    def silence(self, position: int) -> float:
        """Seconds of the pause up to ``position``."""
        return (position - self.since) / RATE_HZ


@dataclass(frozen=True, slots=True)
class AwaitedSnapshot:
    """Recognition was asked for the words so far and has not answered yet."""

    number: int
    asked_at: float
    """Session clock."""
    delayed_at: float | None = None
    """When recognition was last known to be out of reach."""

    def patience_ends(self, timeout: float) -> float:
        """When recognition has failed if it has not answered by then."""
        if self.delayed_at is None:
            return self.asked_at + timeout
        return min(self.delayed_at + timeout, self.asked_at + LONGEST_DELAY)


@dataclass(slots=True, eq=False)
class Utterance:
    """One stretch of recognition, which may have pauses in it. Positions are samples into the stream."""

    number: int
    """Counts the utterances of this conversation from 1."""
    onset: int
    """Position of its first voiced sample."""
    stretch: int
    """The position where the present stretch of voice began, or the last one if the voice has paused."""
    overlap: int
    """The position where the present overlap with the agent began: stretches with no more than short gaps between."""
    voiced: int = 0
    """Samples of voice in this overlap, or else in this utterance, without the stretch that is still going on."""
    pause: Pause | None = None
    """Set while the voice has paused."""
    has_paused: bool = False
    """The voice has paused and gone on, in the caller's own turn."""
    text: str = ""
    """The latest words, of a partial or a snapshot."""
    stop_counts: bool = True
    """Whether a full stop at their end means that the sentence is over."""
    language: str = ""
    """The language that recognition found in the sound, if it looked for one."""
    language_probability: float = 0.0
    snapshot: AwaitedSnapshot | None = None
    """Set while an answer of recognition is awaited."""
    asked_position: int = 0
    """The position of the stream when recognition was last asked for the words."""
    gap: float | None = None
    """
    Seconds of silence between the caller's last words and this utterance, if the agent's answer to them had not begun
    or only just begun. Then the caller may have been pausing only.
    """
    cut_in: bool = False
    """The agent's answer had just begun: if the caller has words to say, the agent cut in on them."""
    timing: Timing = field(default_factory=Timing)
    """The stages of the answer, up to now. Renewed whenever recognition is asked in a pause."""
    early: Words | None = None
    """Words that make a whole turn, though the voice goes on. None once it has others."""
    early_starts: int = 0
    """The number of replies that were begun while the voice went on."""
    speculations: int = 0
    """The number of replies to it that were started before it was certain that the caller had finished."""
    over_agent: bool = False
    """It began in the agent's turn."""
    after_question: bool = False
    """The agent has just asked something, when it began or by the time that the voice stopped."""
    only_words_count: bool = False
    """Its voice does not stop the agent by itself: it was a noise or an echo before."""

    @property
    def words(self) -> Words | None:
        """The words of the pause, or else those that make a whole turn already."""
        return self.pause.words if self.pause is not None and self.pause.words is not None else self.early

    def voiced_until(self, position: int) -> float:
        """Seconds of voice up to ``position``."""
        return (self.voiced + (max(0, position - self.stretch) if self.pause is None else 0)) / RATE_HZ
