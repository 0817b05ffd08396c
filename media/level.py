"""The caller's level: tells the caller's voice from those of people, televisions and loudspeakers far behind it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

import numpy as np

from inference.types import Pcm
from media.messages import RATE_HZ
from media.speech import WINDOW, VoiceWindow

logger = logging.getLogger(__name__)

_FRAME = 160
"""Samples (20 ms) whose power is one number."""
_SYLLABLE = 5
"""Frames (100 ms) whose mean power shows how loud a voice is: a click is shorter, and the vowel of a word is not."""
_BELOW = 10**-1.6
"""
A voice is not the caller's while its loudest syllable is 16 dB below the caller's level.

The level is that of the louder half of a voice, above which the loudest syllable lies by 4 dB in the median and by 8 dB
at most. So a voice whose own level is 20 dB below the caller's passes with single syllables, and one that is 26 dB
below does not pass. Of the stretches of 0.2 s or more in recordings of 40 people, 1 % have no syllable so loud.
"""
_OVER_AGENT = 10**0.6
"""
A voice over the agent's has to be 6 dB louder than that, 10 dB below the caller's level: callers who interrupt do not
speak softly, and what comes back of the agent's own voice is heard only then.
"""
_LEAST_OVER_AGENT = 8
"""
Frames (160 ms) of a voice over the agent's that must be loud enough. In a voice 20 dB below the caller's, single
syllables are; and the caller's own voice has so many before it is long enough to stop the agent.
"""
_CLOSE = int(0.4 * RATE_HZ)
"""Samples (0.4 s) among which they are: they need not follow each other, because a frame may be lost on the line."""
_SOFTEST_OVER_AGENT = 10**-3.7
"""
-37 dBFS: before the caller's first words, a voice over the agent's is not the caller's while its loudest syllable is
below that. A caller who is 13 dB softer than usual on a telephone still passes. The voices of the next room do not, nor
does the agent's own voice when it comes back 20 dB below.
"""
_HOLD = int(0.3 * RATE_HZ)
"""
A voice has paused when it was so quiet for 0.3 s, though the detector still hears one. In 204 stretches of
people's voices, 4 have a longer run of such frames.
"""
_SOFT_ONSET = int(0.5 * RATE_HZ)
"""A voice that began so soon before its first loud syllable began with it, and an earlier one was somebody else's."""
_HEARD_LATE = RATE_HZ
"""Samples (1 s) that are kept of a voice that passes late, as long as the sound is kept for recognition."""
_LEAST_LEARNT = 10
"""Frames (0.2 s of voice) that words must have before the level is learnt from them."""
_KEPT = 500
"""Frames (10 s) of the caller's latest voice, from which the level is learnt."""
_UTTERANCES = 5
"""
The level is the median of so many utterances. One shout does not move it, a caller who has turned away sets it with
their third utterance, and so does a caller whose television was heard first.
"""
_TRIAL = 3 * RATE_HZ
"""
Samples (3 s) of a quieter voice while the agent is silent, after which the level is forgotten: two or three attempts of
a caller who has moved away from the telephone.
"""
_ANSWER = 1 * RATE_HZ
"""The same (1 s) once the agent has asked whether the caller is there: this may be the answer."""
_FACTOR = 2
"""A trial is longer by twice what was heard of the voice under the agent's: a caller mostly waits for a pause."""
_LONG_TRIAL = 20 * RATE_HZ
"""
No voice has to try for longer (20 s). One that was followed by the caller's own, and so was somebody else's, has to.
The agent asks whether the caller is there, and hangs up, before a television has spoken for so long.
"""
_WEAK = 10**0.2
"""
Words whose level is within 2 dB of the softest syllable that passes, and so 14 dB below the caller's, passed by their
loudest syllables alone. They are somebody else's, or the caller's who has moved away if there is nobody else.
"""
_SOMEBODY = 2 * RATE_HZ
"""Samples (2 s) of quieter voice that show that there is somebody else."""


class CallerLevel:
    """
    Passes on the caller's voice, and no voice that is far quieter.

    ``push`` each piece of sound before its windows are judged, pass each window through ``judge``, and call ``learn``
    for what the caller has said. Until they have said something, every voice passes that is not very soft or comes in
    the agent's silence, and after a quieter voice has tried for long enough, every voice does. Positions are samples
    into the caller's stream.
    """

    def __init__(self, call: str = "") -> None:
        self._call = call
        """The call's name in the log."""
        self._frames: deque[tuple[int, float]] = deque()
        """The frames that were not yet judged, each with the position of its end and its power."""
        self._syllable: deque[float] = deque([0.0] * _SYLLABLE, maxlen=_SYLLABLE)
        """The powers of the latest frames."""
        self._voice: deque[tuple[int, float]] = deque(maxlen=_KEPT)
        """The latest frames of a voice that passed in the agent's silence. Over its voice it may be an echo of that."""
        self._levels: deque[float] = deque(maxlen=_UTTERANCES)
        """The levels (power) of the caller's latest utterances."""
        self._least = _SOFTEST_OVER_AGENT
        """The power from which a voice passes; 0 if every voice does."""
        self._loud: deque[tuple[int, int]] = deque(maxlen=_LEAST_OVER_AGENT)
        """The latest frames of a voice that were so loud: their ends, and the edges where their voices began."""
        self._passing = False
        self._loud_until = 0
        """The end of the last frame that was loud enough."""
        self._edge = 0
        """The edge that was reported last."""
        self._tried = 0
        """Samples of voice that did not pass since the caller's last words, while the agent was silent, ..."""
        self._under_agent = 0
        """... and while it was not."""
        self._somebody_else = False
        """A voice that did not pass was followed by the caller's own."""

    @property
    def decibels(self) -> float | None:
        """The caller's level in dB relative to full scale; None while it is not known."""
        return 10 * float(np.log10(self._least / _BELOW)) if self._levels else None

    def push(self, end: int, pcm: Pcm) -> None:
        """The piece of sound that ends at position ``end``."""
        sound = pcm.astype(np.float32)
        start = end - len(pcm)
        for begin in range(0, len(pcm), _FRAME):
            frame = sound[begin : begin + _FRAME]
            power = float(frame @ frame) / (len(frame) * 32768.0**2)
            self._frames.append((start + begin + len(frame), power))

    def judge(self, window: VoiceWindow, *, agent_silent: bool, asked: bool = False) -> VoiceWindow:
        """
        Return what the window says about the caller.

        ``agent_silent``: the caller can hear nothing of the agent. ``asked``: it has asked whether the caller is there,
        and they have not answered.
        """
        loud = self._take_frames(window, agent_silent=agent_silent)
        if not agent_silent and self._least:
            loud = loud and len(self._loud) == _LEAST_OVER_AGENT and self._loud[-1][0] - self._loud[0][0] <= _CLOSE
        if not self._passing:
            if not window.voiced:
                return self._report(window, self._edge, changed=False)
            if not loud and not self._gives_in(window, agent_silent=agent_silent, asked=asked):
                return self._report(window, self._edge, changed=False)
            self._loud_until = window.position
            return self._report(window, self._onset(window), changed=True)
        if not window.voiced:
            return self._report(window, window.edge, changed=True)
        if window.position - self._loud_until >= _HOLD:
            return self._report(window, self._loud_until, changed=True)
        return self._report(window, self._edge, changed=False)

    def learn(self, start: int, end: int) -> None:
        """The caller has said words between these positions."""
        powers = np.sort([power for at, power in self._voice if start < at <= end + _FRAME])
        if len(powers) < _LEAST_LEARNT:
            return
        level = float(powers[len(powers) // 2 :].mean())
        if level < self._least * _WEAK:
            if self._somebody_else:
                return
            self._levels.clear()
        else:
            self._somebody_else |= self._under_agent + self._tried >= _SOMEBODY
        self._levels.append(level)
        self._least = _upper_median(self._levels) * _BELOW
        self._under_agent = self._tried = 0

    def _take_frames(self, window: VoiceWindow, *, agent_silent: bool) -> bool:
        """Take the frames up to the window's end. Returns whether one of them ends a loud syllable."""
        loud = False
        interrupts = not agent_silent and not self._passing and bool(self._levels)
        least = self._least * (_OVER_AGENT if interrupts else 1.0)
        while self._frames and self._frames[0][0] <= window.position:
            end, power = self._frames.popleft()
            self._syllable.append(power)
            if not window.voiced:
                continue
            loud = loud or sum(self._syllable) >= least * _SYLLABLE
            if power >= least:
                self._loud_until = end
                self._loud.append((end, window.edge))
            if self._passing and agent_silent:
                self._voice.append((end, power))
        return loud

    def _gives_in(self, window: VoiceWindow, *, agent_silent: bool, asked: bool) -> bool:
        """Whether a voice that is too quiet has tried for so long that it may be the caller's."""
        length = min(WINDOW, window.position - window.edge)
        if not agent_silent:
            self._under_agent += length
            return False
        self._tried += length
        patience = _FACTOR * self._under_agent
        if self._levels:
            patience += _ANSWER if asked else _TRIAL
        if self._tried < (_LONG_TRIAL if self._somebody_else else min(patience, _LONG_TRIAL)):
            return False
        if self._levels:
            logger.info("Call %s: forgot the caller's level, because a quieter voice goes on speaking", self._call)
        self._levels.clear()
        self._least = 0.0
        self._under_agent = self._tried = 0
        return True

    def _onset(self, window: VoiceWindow) -> int:
        """The position at which the caller has begun to speak, now that they are heard."""
        soft_onset = window.position - _SOFT_ONSET
        if not self._levels:
            return max(window.edge, window.position - _HEARD_LATE)
        # A frame that was lost may have cut the voice in two before it was loud for long enough.
        edge = next((edge for _, edge in self._loud if edge >= soft_onset), window.edge)
        return edge if edge >= soft_onset else window.position - _SYLLABLE * _FRAME

    def _report(self, window: VoiceWindow, edge: int, *, changed: bool) -> VoiceWindow:
        self._edge = max(self._edge, edge)
        if changed:
            self._passing = not self._passing
        if (window.voiced, window.changed, window.edge) == (self._passing, changed, self._edge):
            return window
        return VoiceWindow(window.position, self._passing, changed, self._edge)


def _upper_median(values: Iterable[float]) -> float:
    ranked = sorted(values)
    return ranked[len(ranked) // 2]
