"""What the protocols of Deepgram's recognisers have in common, for one utterance on one socket, without I/O."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.hosted.plan import Frame


@dataclass
class DeepgramExchange:
    """The part of an ``Exchange`` that is the same for Nova and Flux."""

    keyterms: Sequence[str] | None = None
    """The terms to expect instead of those in the address of the socket. None leaves those."""
    _pushed: int = 0
    _flushes: deque[int] = field(default_factory=deque)
    """The samples at which words were asked for, as long as that is not answered."""
    _answered: int = 0

    @property
    def answered(self) -> int:
        return self._answered

    def begin(self) -> Sequence[Frame]:
        if self.keyterms is None:
            return ()
        return (json.dumps({"type": "Configure", "keyterms": list(self.keyterms)}),)

    def push(self, sound: bytes) -> Sequence[Frame]:
        self._pushed += len(sound)
        return (sound,)

    def settle(self) -> None:
        if self._flushes:
            self._answered = self._flushes.pop()
            self._flushes.clear()

    def end(self) -> tuple[Sequence[Frame], bool]:
        # Each utterance has a socket of its own: nothing of it can reach the next one, or another call.
        return (), False
