"""The part of an utterance that one context of a service says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.hosted.context import Context, Heard, Manner
from inference.hosted.lease import Lease
from inference.hosted.timing import RATE_HZ, Timing
from inference.mulaw import decode_mulaw
from inference.types import EngineError, EngineTimeout, Pcm

HELD_BACK = 80
"""Samples (10 ms) that are held until more follow, so that there always is a last chunk that ends the text."""
CHUNK = 480
"""Samples (60 ms) of the longest chunk: ``text_end`` advances once per chunk."""
ESTIMATED = 0.6
"""The share of its estimated length from which a text without timing may be complete. Before, audio is owed."""
TOLERANCE = 2000
"""Samples (0.25 s) by which the audio of a text may be shorter than its timing says. If it is shorter by more, the rest
is waited for: the timing is wrong only if none comes, because some services' times run ahead of their audio."""
LEAD, HOLD = 0.5, 0.25
"""If the listener has so many seconds of audio in advance, audio whose timing is still missing waits so long for it."""
SLACK = 0.3
"""Seconds that a passage waits longer than its lease, which notices a dead socket by itself."""


@dataclass(slots=True)
class Clause:
    """A clause that has sound."""

    text: str
    begin: int
    """The character of the whole text with which it begins."""
    tries: int = 0


class Passage:
    """
    Some clauses of an utterance, said in one context. It is the listener of a lease.

    ``over`` is called with the error when the service fails it, and ``news`` when there is more to know.
    """

    def __init__(
        self,
        manner: Manner,
        begin: int,
        *,
        news: Callable[[], None],
        over: Callable[[Passage, EngineError], None],
    ) -> None:
        self.begin = begin
        """The character of the whole text with which it begins."""
        self.timing = Timing(manner.voice.pace)
        self.finished = False
        """Nothing more will be received."""
        self.error: EngineError | None = None
        """Why the rest of it cannot be said; set by the owner."""
        self.received = 0
        """Samples in all."""
        self.taken = 0
        """Samples that were taken from it."""
        self._manner = manner
        self._news = news
        self._over = over
        self._clauses: list[Clause] = []
        self._complete = 0
        """Clauses of which all audio was received."""
        self._complete_at = 0
        """Samples received by then."""
        self._pieces: deque[Pcm] = deque()
        self._lease: Lease | None = None
        self._context: Context | None = None
        self._is_ending = False
        """It was told that no more text follows."""
        self._is_draining = False
        """Nobody listens any more, but the context takes room until it has ended."""
        self._owed_since = 0.0
        """When the service began to owe audio, or last sent some meanwhile, on the loop's clock."""
        self._patience = manner.first_audio
        self._sounded_at = 0.0
        """When audio was last received."""
        self._uncounted = 0
        """Characters that are not counted as used, because no socket was connected when they were sent."""
        self._held_since: float | None = None
        """Since when audio waits for its timing."""

    # -- what is to be said -------------------------------------------------------------------------------

    def say(self, clause: Clause, whole: str) -> None:
        """Send a clause of the whole text now. Raises ``EngineError``."""
        owed = self._is_surely_owed
        if self._lease is None or self._context is None:
            self._lease = self._manner.take(self)
            self._context = self._manner.open_context(self._lease.key)
            self._send(self._context.begin())
        clause.tries += 1
        self._clauses.append(clause)
        self.extend(whole[: clause.begin + len(clause.text)])
        self._send(self._context.say(clause.text))
        self._count(len(clause.text))
        if not owed:
            self._expect(self._manner.first_audio)

    def extend(self, whole: str) -> None:
        """The whole text goes on with something that has no sound."""
        self.timing.add(whole[self.begin + len(self.timing.text) :])
        if self.finished or self._complete == len(self._clauses):
            self.timing.complete(len(self.timing.text), self.received)

    def end(self) -> None:
        """No more text follows."""
        if self._context is None or self.finished or self._is_ending:
            return
        owed = self._is_surely_owed
        self._is_ending = True
        frames = self._context.end()
        self._send(frames)
        self._finish_if_complete(nothing_follows=not frames)
        if not owed and not self.finished:
            self._expect(self._manner.first_audio)

    def takes_more(self) -> bool:
        """Whether the service would still add a clause to this context."""
        if self.finished or self.error is not None or self._is_ending:
            return False
        if not self._manner.has_room():
            return False
        return self.owes_sound or asyncio.get_running_loop().time() - self._sounded_at < self._manner.life

    def leave(self) -> None:
        """It takes no further clause. If all of it was said, the service is about to forget the context."""
        owed = self.owes_sound
        self.end()
        if not owed and not self.finished:
            self._let_go(cancel=False)
            self._finish()

    def drop(self) -> None:
        """Nobody listens any more: cancel it at the service, and take nothing of it."""
        self._pieces.clear()
        self.taken = self.received
        if not self.finished:
            self._let_go(cancel=True)
            self._finish()

    def give_up(self) -> None:
        """The service has sent nothing for too long."""
        if self._is_doubtful:
            self.timing.cut(self.received)
            self._complete_clauses(len(self._clauses))
            return
        if not self.rest:  # only the word that it has ended is missing
            self._let_go(cancel=True)
            self._finish()
            return
        error = EngineTimeout(
            f"{self._manner.provider} sent no audio for {self._patience:.1f} s, although it owes some"
        )
        self.drop()
        self.error = error

    # -- what the service owes ----------------------------------------------------------------------------

    @property
    def owes_sound(self) -> bool:
        """Whether the service must send something now."""
        if self.finished or not self._clauses:
            return False
        if self._is_ending:
            return True
        if self._complete == len(self._clauses):
            return False
        if self.timing.is_followed:
            return self.received + TOLERANCE < self.timing.covered
        return self._manner.marks_clauses or self._is_too_short

    @property
    def _is_too_short(self) -> bool:
        """Whether what was received cannot be all of the text, however fast the voice speaks."""
        return self.received < ESTIMATED * len(self.timing.text) / self._manner.voice.pace.rate * RATE_HZ

    @property
    def _is_doubtful(self) -> bool:
        """Whether only the timing says that audio is owed, which may be wrong."""
        is_timed = self.timing.is_followed and not self._manner.marks_clauses
        return is_timed and self.owes_sound and not self._is_ending and not self._is_too_short

    @property
    def _is_surely_owed(self) -> bool:
        return self.owes_sound and not self._is_doubtful

    @property
    def deadline(self) -> float | None:
        """The time by which the service must have sent the next audio."""
        return self._owed_since + self._patience + SLACK if self.owes_sound else None

    @property
    def held_until(self) -> float | None:
        """The time at which audio is taken although its timing is missing."""
        return None if self._held_since is None else self._held_since + HOLD

    @property
    def rest(self) -> list[Clause]:
        """The clauses of which audio is missing."""
        return self._clauses[self._complete :]

    @property
    def has_begun_rest(self) -> bool:
        """Whether a part of ``rest`` was received."""
        return self.received > self._complete_at

    @property
    def may_retry(self) -> bool:
        """Whether there is still time to say it on another socket."""
        return asyncio.get_running_loop().time() - self._owed_since < self._patience

    # -- what it said -------------------------------------------------------------------------------------

    def ready(self, lead: float) -> int:
        """Samples that can be taken. The listener has ``lead`` seconds of audio in advance."""
        if self.finished or self.received == self._complete_at:
            self._held_since = None
            return self.received - self.taken
        count = max(0, self.received - self.taken - HELD_BACK)
        known = max(0, min(count, self.timing.covered - self.taken))
        now = asyncio.get_running_loop().time()
        if known < count and self._manner.times_words and lead > LEAD:
            self._held_since = self._held_since or now
            if now - self._held_since < HOLD:
                count = known
        if count:
            self._held_since = None
        return count

    @property
    def limit(self) -> int:
        """The characters of it that may be spoken so far."""
        if not self._manner.marks_clauses or self._complete >= len(self._clauses):
            return len(self.timing.text)
        clause = self._clauses[self._complete]
        return clause.begin + len(clause.text) - self.begin

    def take(self, samples: int) -> tuple[Pcm, int, bool]:
        """Return up to 60 ms of these samples, the characters of the whole text spoken by their end, and if exactly."""
        wanted = min(CHUNK, samples)
        parts: list[Pcm] = []
        while wanted:
            piece = self._pieces.popleft()
            if len(piece) > wanted:
                self._pieces.appendleft(piece[wanted:])
                piece = piece[:wanted]
            parts.append(piece)
            wanted -= len(piece)
        pcm = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.taken += len(pcm)
        characters, is_exact = self.timing.at(self.taken, self.limit)
        return pcm, self.begin + characters, is_exact

    # -- called by the socket -----------------------------------------------------------------------------

    def receive(self, message: Any) -> None:
        self._count()
        if self._context is None or self._lease is None or (heard := self._context.hear(message)) is None:
            return
        if self._is_draining:
            if heard.ended or heard.error is not None:
                self._lease.release()
            return
        self._take_in(heard)
        if heard.error is not None:
            self._lease.release()
            self.lose(heard.error)
        elif heard.ended:
            self._lease.release()
            if not self.has_begun_rest and self.rest:
                self.lose(EngineError(f"{self._manner.provider} ended without any audio for a clause"))
            else:
                self._learn_pace(len(self._clauses))
                self._finish()
        else:
            self._finish_if_complete()
        self._news()

    def lose(self, error: EngineError) -> None:
        self._count()
        if not self.finished:
            if not self.rest:
                self._finish()
            else:
                self.finished = True
                self._over(self, error)
            self._news()

    def _take_in(self, heard: Heard) -> None:
        assert self._lease is not None
        complete = self._complete
        if heard.clauses_before is not None:
            self._complete_clauses(min(heard.clauses_before, len(self._clauses)))
        begin = self.received
        if heard.audio:
            pcm = decode_mulaw(heard.audio)
            self._pieces.append(pcm)
            self.received += len(pcm)
            self._sounded_at = asyncio.get_running_loop().time()
        if heard.words:
            ends = [max(0, round(end * RATE_HZ)) for end in heard.ends]
            if heard.is_relative:
                self.timing.follow(heard.words, ends, begin=begin, until=self.received)
            else:
                self.timing.follow(heard.words, ends)
        if heard.clauses is not None:
            self._complete_clauses(min(heard.clauses, len(self._clauses)))
        elif not self._manner.marks_clauses:
            followed = self._followed_clauses
            # Audio behind the last word, such as its silence, belongs to its clause unless another one was sent.
            if heard.words or followed == len(self._clauses):
                self._complete_clauses(followed)
        if self._is_doubtful:
            self._expect(self._manner.stall)
            self._lease.expect_nothing()  # the socket is not lost if nothing comes
        elif self.owes_sound:
            if heard.audio:
                self._expect(self._manner.stall)
            elif self._complete > complete:  # the service begins with the next clause now
                self._expect(self._manner.first_audio)
        else:
            self._lease.expect_nothing()

    @property
    def _followed_clauses(self) -> int:
        """The clauses with the last of which the timing ends; 0 if it ends within one."""
        for count, clause in enumerate(self._clauses, start=1):
            if self.timing.is_followed_to(clause.begin + len(clause.text) - self.begin):
                return count if self.received + TOLERANCE >= self.timing.covered else 0
        return 0

    def _complete_clauses(self, count: int) -> None:
        if count < max(1, self._complete) or (count == self._complete and self._manner.marks_clauses):
            return
        self._learn_pace(count)
        self._complete, self._complete_at = count, self.received
        clause = self._clauses[count - 1]
        following = self._clauses[count].begin if count < len(self._clauses) else self.begin + len(self.timing.text)
        self.timing.complete(max(clause.begin + len(clause.text), following) - self.begin, self.received)

    def _learn_pace(self, count: int) -> None:
        characters = sum(len(clause.text) for clause in self._clauses[self._complete : count])
        self._manner.voice.pace.learn(characters, self.received - self._complete_at)

    def _finish_if_complete(self, *, nothing_follows: bool = False) -> None:
        if not ((self._manner.marks_clauses or nothing_follows) and self._is_ending) or self.finished:
            return
        if self._complete == len(self._clauses):
            self._let_go(cancel=False)
            self._finish()

    def _finish(self) -> None:
        self.finished = True
        self.timing.cut(self.received)
        self._complete, self._complete_at = len(self._clauses), self.received
        self.timing.complete(len(self.timing.text), self.received)

    def _let_go(self, *, cancel: bool) -> None:
        lease, context = self._lease, self._context
        if lease is None or context is None or not lease.open:
            return
        self._count()
        frames = context.cancel() if cancel else ()
        self._send(frames)
        takes_room = bool(frames) if cancel else self._complete < len(self._clauses)
        if self._manner.holds_room and lease.connected and takes_room:
            self._is_draining = True
            lease.expect(self._manner.drain)
        else:
            lease.release()

    def _count(self, characters: int = 0) -> None:
        self._uncounted += characters
        if self._uncounted and self._lease is not None and self._lease.has_connected:
            if self._manner.meter is not None:
                self._manner.meter.add("tts", self._manner.usage_name, characters=self._uncounted)
            self._uncounted = 0

    def _send(self, frames: Any) -> None:
        assert self._lease is not None
        for frame in frames:
            self._lease.send(frame)

    def _expect(self, patience: float) -> None:
        assert self._lease is not None
        self._owed_since, self._patience = asyncio.get_running_loop().time(), patience
        self._lease.expect(patience)
