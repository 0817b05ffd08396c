"""Tracks which workers of an engine have announced themselves, and what they serve. Pure."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass

from inference.remote import wire
from inference.remote.links import SILENT_BEATS

logger = logging.getLogger(__name__)

UNHEARD_BEATS = 20
"""Beats (2 s) without an announcement after which a worker is forgotten. On a busy machine one may be late for longer
than a dead worker is silent. A request that goes to a dead worker comes later; one that finds none fails."""


@dataclass(slots=True)
class _KnownWorker:
    news: wire.Announcement
    """The last announcement."""
    ahead: float
    """Its clock minus the clock of this process, in seconds."""
    missed_beats: int = 0
    """Beats since the last announcement."""

    @property
    def heard(self) -> bool:
        """Whether it has announced itself lately; else it may be dead."""
        return self.missed_beats <= SILENT_BEATS


class KnownWorkers:
    """The workers of one engine whose announcements are received."""

    def __init__(self, alias: str, facts: wire.Facts | None) -> None:
        self.facts = facts
        """The facts about the engine: from its options, or else from the first worker. Then they stay the same."""
        self.weights = ""
        """The weights of the workers that were heard last. They are kept when the workers go: stored speech is found by
        them."""
        self._alias = alias
        self._workers: dict[str, _KnownWorker] = {}
        """The workers by channel, without those whose rate does not fit."""
        self._mismatched: set[str] = set()
        """Channels of the workers about whose rate a warning was logged."""

    def update(self, news: wire.Announcement, now: float) -> bool:
        """Note an announcement. False if sessions must not be given to its sender."""
        if news.state == "gone" or (news.facts is not None and not self._accept(news.sender, news.facts)):
            self._workers.pop(news.sender, None)
            return False
        self._workers[news.sender] = _KnownWorker(news, news.at - now)
        self.weights = "; ".join(sorted({facts.weights for facts in self.all_facts} - {""})) or self.weights
        return True

    def _accept(self, sender: str, facts: wire.Facts) -> bool:
        """
        Whether the worker fits.

        One with another rate may be the first of a new kind. This process uses those of the old kind until it is
        restarted.
        """
        if self.facts is None:
            self.facts = facts
        if facts.rate_hz == self.facts.rate_hz:
            return True
        if sender not in self._mismatched:
            self._mismatched.add(sender)
            rates = f"its rate is {facts.rate_hz} Hz and not {self.facts.rate_hz} Hz"
            logger.warning("Not using a worker of %s: %s; restart this process to use it", self._alias, rates)
        return False

    def beat(self) -> None:
        """Forget workers that have been silent for too long. Called once a beat."""
        for channel, worker in list(self._workers.items()):
            worker.missed_beats += 1
            if worker.missed_beats > UNHEARD_BEATS:
                del self._workers[channel]

    def clear(self) -> None:
        self._workers.clear()

    @property
    def all_news(self) -> list[wire.Announcement]:
        return [worker.news for worker in list(self._workers.values())]  # another thread may ask

    @property
    def all_facts(self) -> list[wire.Facts]:
        """The facts of the workers that are there now."""
        return [news.facts for news in self.all_news if news.facts is not None]

    @property
    def slots(self) -> int:
        """Sessions that the workers serve at once."""
        return sum(news.slots for news in self.all_news if news.state == "ready")

    @property
    def full(self) -> bool:
        """Whether no worker has a free slot; not known of one that may be dead."""
        heard = [worker.news.free for worker in self._workers.values() if worker.news.state == "ready" and worker.heard]
        return bool(heard) and max(heard) <= 0

    def any_in_state(self, state: wire.WorkerState) -> bool:
        return any(news.state == state for news in self.all_news)

    def remembers(self, channel: str) -> bool:
        """Whether the voice of this worker takes what was said before in a call."""
        worker = self._workers.get(channel)
        return worker is not None and worker.news.facts is not None and worker.news.facts.remembers

    def has_free_slot(self, channel: str) -> bool:
        """Whether this worker would probably take a session."""
        worker = self._workers.get(channel)
        return worker is not None and worker.heard and self._may_take(worker)

    def free_slots(self, *, without: str, only_heard: bool = False) -> dict[str, int]:
        """
        The workers that would probably take a session, but for one, each with its free slots, by channel.

        If none of them was heard lately, the one that was heard last, unless ``only_heard``.
        """
        able = [worker for channel, worker in self._workers.items() if channel != without and self._may_take(worker)]
        heard = [worker for worker in able if worker.heard]
        late = [] if only_heard else sorted(able, key=lambda worker: worker.missed_beats)[:1]
        chosen = heard or late
        return {worker.news.sender: worker.news.free for worker in chosen}

    def choose(self, *, without: str = "", only_heard: bool = False) -> str:
        """Return one of ``free_slots``, one with more of them more often; "" if there is none."""
        free = self.free_slots(without=without, only_heard=only_heard)
        return random.choices([*free], [*free.values()])[0] if free else ""

    @staticmethod
    def _may_take(worker: _KnownWorker) -> bool:
        return worker.news.state == "ready" and worker.news.free > 0

    def on_their_clocks(self, time: float) -> dict[str, float]:
        """The time of this process on the clock of each worker, by channel; of at most as many as a placement names."""
        return {channel: time + worker.ahead for channel, worker in list(self._workers.items())[: wire.MAX_WORKERS]}
