"""
Judges whether the channel layer works, by messages that a process sends to itself. Pure.

When a peer says nothing and the layer works, the peer is dead. When the layer does not work, nothing is known of the
peer, and nothing can be asked elsewhere. So the silence of peers counts only in beats in which an echo came back.
"""

from __future__ import annotations

SILENT_AFTER = 3
"""Beats without an echo after which the layer counts as silent. A single echo may be late."""
PATIENCE = 15
"""Beats after an outage in which the silence of peers does not count either: they have to reach the layer again. After
a shorter outage than that there are as many as it lasted."""


class LayerWatch:
    """Counts beats with and without an echo."""

    def __init__(self) -> None:
        self.beats_without = 0
        """Beats since the last one with an echo."""
        self._echoed = False
        """An echo came back in this beat."""
        self._patience = 0

    @property
    def silent(self) -> bool:
        return self.beats_without >= SILENT_AFTER

    def echo(self) -> None:
        """A message to itself came back."""
        self._echoed = True

    def beat(self) -> bool:
        """A beat is over. Whether the silence of peers in it means something."""
        echoed, self._echoed = self._echoed, False
        if not echoed:
            self.beats_without += 1
            return False
        if self.silent:
            self._patience = min(PATIENCE, self.beats_without)
        self.beats_without = 0
        if self._patience:
            self._patience -= 1
            return False
        return True
