"""How many replies the calls of this process are having made at the moment."""

from __future__ import annotations


class ReplyLoad:
    """
    Counts the replies that are being made. One object serves all calls of a process.

    ``most_for_early`` replies at once are few enough that another one may be begun before its caller has paused, though
    such replies are often thrown away.
    """

    def __init__(self, most_for_early: int) -> None:
        self._most_for_early = most_for_early
        self.running = 0

    @property
    def is_light(self) -> bool:
        return self.running < self._most_for_early
