"""
A telephone in virtual time: the caller, the carrier and the engines around one ``Conversation``.

Ten minutes of a call take milliseconds. The carrier plays what it is sent on a clock of its own, and the tape keeps
what the caller really heard, so that tests can compare the ledger with it. Each character of speech is 40 ms of audio
that says which revision and which character it is.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from inference.requests import ToolRequests
from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.clock import StreamClock
from media.turns.conversation import Conversation, Floor
from media.turns.events import Revision
from media.turns.options import ConversationOptions

T = TypeVar("T", bound=cmd.Command)

FRAME = 0.02
"""Seconds of audio in a frame."""
CHARACTER_BYTES = 320
"""Bytes of audio that say one character."""
VOICE_ON_AFTER = 0.06
"""Seconds of voice after which voice activity notices it."""
VOICE_OFF_AFTER = 0.07
"""Seconds by which voice activity outlasts a voice."""
REPLY = "We open at nine in the morning every day. On Sundays we open at ten. Is there anything else?"
SHORT = "We open at nine."
GREETING = "Hello, this is the front desk."
NEVER = 1e9
WAIT = ToolRequests(wait=True)


def audio_of(revision: Revision, start: int, end: int) -> bytes:
    return b"".join(
        bytes((0xFE, revision.number % 250, index // 250, index % 250, 0, 0, 0, 0)) * (CHARACTER_BYTES // 8)
        for index in range(start, end)
    )


def characters_in(audio: bytes) -> dict[int, dict[int, int]]:
    """For each revision's number, the characters in the audio, and how many milliseconds there are of each."""
    found: dict[int, dict[int, int]] = {}
    at = audio.find(0xFE)
    while at >= 0 and at + 3 < len(audio):
        characters = found.setdefault(audio[at + 1], {})
        index = audio[at + 2] * 250 + audio[at + 3]
        characters[index] = characters.get(index, 0) + 1
        at = audio.find(0xFE, at + 4)
    return found


@dataclass
class Engines:
    """How the engines behave. Durations are seconds; replies are counted from 0."""

    partials: float = 0.0
    """Seconds between two partial transcripts; 0: there are none."""
    snapshot: float = 0.05
    """What recognition takes to answer."""
    line: float = 0.005
    """What fixed words take, which are mostly stored."""
    first_token: float = 0.05
    """What the language model takes for its first token."""
    clause: float = 0.09
    """What it takes from there to the first clause."""
    first_audio: float = 0.05
    """What the voice takes from there to the first audio."""
    replies: list[str] = field(default_factory=lambda: [REPLY])
    """The texts of the replies, one after the other; the last one is used again and again."""
    fails: Callable[[int], bool] = lambda attempt: False
    """Whether a reply fails before it says anything."""
    breaks_off: Callable[[int], bool] = lambda attempt: False
    """Whether a reply fails after its first words."""
    is_empty: Callable[[int], bool] = lambda attempt: False
    """Whether a reply ends without words."""
    recognises: Callable[[str], str] = lambda text: text
    """What recognition makes of the caller's words."""
    scores: list[float] = field(default_factory=list)
    """What the turn model answers, one after the other; the last one is used again and again. Empty: nothing."""
    score: float = 0.08
    """What it takes to answer."""
    language_of: Callable[[str], tuple[str, float]] = lambda text: ("", 0.0)
    """The language that recognition finds in them, and its probability."""
    mute: bool = False
    """The voice fails, even for fixed words."""
    end_call_after: int | None = None
    """The replies from this one on request the end of the call."""
    requests: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What replies request beside their words, by their number: fields of ``ToolRequests``."""
    waits: Callable[[cmd.StartReply], bool] = lambda command: False
    """The requests that the language model answers with the request to wait."""
    unsaid: dict[int, str] = field(default_factory=dict)
    """The rest of replies that are too long, by their number."""
    pace: float = 10.0
    """Speech is made this many times faster than it plays."""


class Phone:
    """
    A call to the conversation.

    Say with ``caller_says`` and ``at`` what is to happen and when, run the call with ``wait_until``, then look at what
    was said, heard and commanded. All times are seconds of the call.
    """

    def __init__(
        self,
        options: ConversationOptions | None = None,
        engines: Engines | None = None,
        *,
        delay: float = 0.03,
        prebuffer: float = 0.02,
        start: bool = True,
    ) -> None:
        self.clock = StreamClock()
        self.options = options or ConversationOptions()
        self.conversation = Conversation(self.options, clock=self.clock)
        self.engines = engines or Engines()
        self.delay = delay
        self.prebuffer = prebuffer
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._voices: list[tuple[float, float, str]] = []
        self._stalls: list[tuple[float, float]] = []
        self._spoken: dict[Revision, str] = {}
        self._attempts = 0
        self.marks_lost = False
        # The carrier's queue of audio and marks, and since when it has nothing to play.
        self._queue: deque[bytes | str] = deque()
        self._dry_since: float | None = 0.0
        # What tests look at.
        self.commands: list[tuple[float, cmd.Command]] = []
        self.heard_frames: list[tuple[float, bytes]] = []
        self.floors: list[tuple[float, Floor]] = []
        self.stopped: set[Revision] = set()
        self.open_utterances: dict[int, int] = {}
        self.hung_up: str | None = None
        self.position = 0
        self._arrived = 0.0
        self._voiced = False
        self._at(0.0, self._frame)
        self._at(0.005, self._play)
        if start:
            self.receive(ev.CallStarted())

    # -- the script -----------------------------------------------------------------------------------

    def caller_says(self, text: str, *, start: float, end: float) -> None:
        self._voices.append((start, end, text))
        self._voices.sort()

    def caller_makes_noise(self, *, start: float, end: float) -> None:
        self.caller_says("", start=start, end=end)

    def network_stalls(self, *, start: float, end: float) -> None:
        """Nothing of the caller's stream arrives, and then all of it at once."""
        self._stalls.append((start, end))

    def marks_are_lost(self) -> None:
        self.marks_lost = True

    def at(self, when: float, event: ev.Event) -> None:
        self._at(when, lambda: self.receive(event))

    def wait_until(self, when: float) -> Phone:
        while True:
            deadline = self.conversation.deadline
            next_time = self._heap[0][0] if self._heap else NEVER
            if deadline is not None and deadline <= min(next_time, when):
                self.now = max(self.now, deadline)
                self.receive(ev.TimerFired())
                again = self.conversation.deadline
                assert again is None or again > self.now - 1e-9, f"deadline {again} still due at {self.now}"
                if again is not None and again <= self.now:
                    self.now += 1e-4
                continue
            if next_time > when:
                self.now = when
                return self
            self.now, _, happen = heapq.heappop(self._heap)
            happen()

    # -- what happened ------------------------------------------------------------------------------------

    @property
    def agent_turns(self) -> list[float]:
        """When each stretch of the agent's sound began at the caller's end, less the way there."""
        starts: list[float] = []
        last = -1.0
        for when, _ in self.heard_frames:
            if when - last > 0.3:
                starts.append(when - self.delay - self.prebuffer)
            last = when
        return starts

    @property
    def agent_stretches(self) -> list[tuple[float, float]]:
        stretches: list[tuple[float, float]] = []
        for when, _ in self.heard_frames:
            if stretches and when - stretches[-1][1] < 0.1:
                stretches[-1] = (stretches[-1][0], when + FRAME)
            else:
                stretches.append((when, when + FRAME))
        return stretches

    def sent(self, kind: type[T]) -> list[T]:
        """The commands of this kind, in order."""
        return [command for _, command in self.commands if isinstance(command, kind)]

    def times(self, kind: type) -> list[float]:
        """When the commands of this kind were given."""
        return [when for when, command in self.commands if isinstance(command, kind)]

    @property
    def turns(self) -> list[cmd.TurnEnded]:
        return self.sent(cmd.TurnEnded)

    @property
    def transcript(self) -> list[tuple[str, str]]:
        """Who said what, as it was heard."""
        return [(turn.speaker, turn.heard) for turn in self.turns]

    def notes(self, kind: str) -> list[cmd.Noted]:
        return [note for note in self.sent(cmd.Noted) if note.kind == kind]

    def really_heard(self, revision: Revision) -> str:
        """The part of this revision's text that sounded at the caller's end, to the character."""
        tape = b"".join(frame for _, frame in self.heard_frames)
        spoken = characters_in(tape).get(revision.number % 250, {})
        sounded = {index for index, count in spoken.items() if count >= CHARACTER_BYTES // 16}
        text = self.text_of(revision)
        # Up to 100 ms may be lost where the sound was stopped and resumed.
        until = max(sounded, default=-1) + 1
        if until - len(sounded) <= 3 * (len(self.sent(cmd.ClearPlayout)) + 1):
            return text[:until]
        return "".join(letter for index, letter in enumerate(text) if index in sounded)

    def words_heard(self, revision: Revision) -> list[str]:
        """The words of this revision that sounded to their end."""
        heard, text = self.really_heard(revision), self.text_of(revision)
        # The full stop behind a word makes no sound.
        whole = heard == text or not text[len(heard)].isalnum()
        words = len(heard.split())
        return text.split()[: words if whole else max(0, words - 1)]

    def text_of(self, revision: Revision) -> str:
        return self._spoken.get(revision, "")

    @property
    def voices(self) -> list[tuple[float, float, str]]:
        return self._voices

    @property
    def revisions(self) -> list[Revision]:
        return list(self._spoken)

    # -- the simulation ---------------------------------------------------------------------------------------

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._order), happen))

    def receive(self, event: ev.Event) -> None:
        for command in self.conversation.receive(event, now=self.now):
            self.commands.append((self.now, command))
            self._carry_out(command)
        if not self.floors or self.floors[-1][1] is not self.conversation.floor:
            self.floors.append((self.now, self.conversation.floor))

    def _carry_out(self, command: cmd.Command) -> None:
        now = self.now
        match command:
            case cmd.OpenUtterance(utterance, position, _):
                self.open_utterances[utterance] = position
            case cmd.CloseUtterance(utterance):
                del self.open_utterances[utterance]
            case cmd.TakeSnapshot(utterance, snapshot):
                text = self._words(self.open_utterances[utterance], self.position)
                language, probability = self.engines.language_of(text)
                answer = ev.TranscriptReady(
                    utterance,
                    snapshot,
                    self.engines.recognises(text),
                    language=language,
                    language_probability=probability,
                )
                self._at(now + self.engines.snapshot, lambda: self.receive(answer))
            case cmd.ScoreTurn(utterance, score, _):
                if self.engines.scores:
                    probability = self.engines.scores[min(score, len(self.engines.scores)) - 1]
                    scored = ev.TurnScored(utterance, score, probability)
                    self._at(now + self.engines.score, lambda: self.receive(scored))
            case cmd.StartReply(revision):
                if self.engines.waits(command):
                    self._at(now + self.engines.first_token, lambda: self.receive(ev.ReplyEnded(revision, WAIT)))
                else:
                    self._reply(revision)
            case cmd.SayLine(revision, text):
                self._spoken[revision] = text
                if self.engines.mute:
                    self._at(now + 0.01, lambda: self.receive(ev.ReplyFailed(revision, "mute")))
                else:
                    self._speak(revision, text, now + self.engines.line)
            case cmd.StopReply(revision, _):
                self.stopped.add(revision)
            case cmd.SendAudio(audio):
                assert self.hung_up is None
                for number in characters_in(audio):
                    assert number not in {revision.number % 250 for revision in self.stopped}, (
                        "audio of a stopped revision"
                    )
                self._at(now + self.delay, lambda: self._queue.append(audio))
            case cmd.SendMark(name):
                self._at(now + self.delay, lambda: self._mark_arrives(name))
            case cmd.ClearPlayout():
                self._at(now + self.delay, self._clear)
            case cmd.HangUp(reason):
                self.hung_up = reason

    def _reply(self, revision: Revision) -> None:
        attempt = self._attempts
        self._attempts += 1
        engines = self.engines
        text = engines.replies[min(attempt, len(engines.replies) - 1)]
        token = self.now + engines.first_token
        if engines.fails(attempt):
            self._at(token, lambda: self.receive(ev.ReplyFailed(revision, "broken")))
            return
        if engines.is_empty(attempt):
            self._at(token, lambda: self.receive(ev.ReplyEnded(revision)))
            return
        self._spoken[revision] = text
        self._at(token, lambda: self.receive(ev.ReplyToken(revision)))
        clause = token + engines.clause
        self._at(clause, lambda: self.receive(ev.ReplyText(revision, text)))
        end_call = engines.end_call_after is not None and attempt >= engines.end_call_after
        requests = ToolRequests(**{"end_call": end_call, **engines.requests.get(attempt, {})})
        ended = ev.ReplyEnded(revision, requests, engines.unsaid.get(attempt, ""))
        self._speak(revision, text, clause + engines.first_audio, ended, broken=engines.breaks_off(attempt))

    def _speak(
        self, revision: Revision, text: str, when: float, ended: ev.ReplyEnded | None = None, *, broken: bool = False
    ) -> None:
        ended = ended or ev.ReplyEnded(revision)
        step = 5
        every = step * CHARACTER_BYTES / 8000 / self.engines.pace
        for number, start in enumerate(range(0, len(text), step)):
            end = min(start + step, len(text))
            event = ev.ReplyAudio(revision, audio_of(revision, start, end), end)
            self._at(when + number * every, lambda event=event: self.receive(event))
            if broken and number == 2:
                self._at(when + number * every, lambda: self.receive(ev.ReplyFailed(revision, "broken")))
                return
        self._at(when + len(text) / step * every, lambda: self.receive(ended))

    def _words(self, onset: int, position: int) -> str:
        """The words that the caller says between two positions."""
        words: list[str] = []
        for start, end, text in self._voices:
            spoken = text.split()
            for index, word in enumerate(spoken):
                at = start + (end - start) * (index + 1) / len(spoken)
                if onset / 8000 - 0.3 <= at - 0.001 and at <= position / 8000 + 0.001:
                    words.append(word)
        return " ".join(words)

    def _voiced_at(self, seconds: float) -> bool:
        return any(start + VOICE_ON_AFTER <= seconds < end + VOICE_OFF_AFTER for start, end, _ in self._voices)

    def _frame(self) -> None:
        """A frame of the caller's stream leaves. Frames arrive in order, and late if the network stalls."""
        number = round(self.now / FRAME)
        arrival = self._arrived = max(self._arrival(self.now + FRAME), self._arrived)
        self._at(arrival, lambda: self._arrive((number + 1) * 160))
        self._at((number + 1) * FRAME, self._frame)

    def _arrival(self, left: float) -> float:
        """When something that leaves the carrier now arrives."""
        arrival = left + self.delay
        for start, end in self._stalls:
            if start <= arrival < end:
                arrival = end
        return arrival

    def _arrive(self, position: int) -> None:
        self.position = position
        self.clock.observe(position, self.now)
        if self.hung_up is not None:
            return
        voiced = self._voiced_at(position / 8000)
        if voiced != self._voiced:
            self._voiced = voiced
            if voiced:
                onset = max(start for start, _, _ in self._voices if start <= position / 8000)
                self.receive(ev.SpeechStarted(round(onset * 8000)))
            else:
                ended = max(end for _, end, _ in self._voices if end <= position / 8000)
                self.receive(ev.SpeechStopped(round(ended * 8000)))
        every = round(self.engines.partials / FRAME) * 160
        if every and position % every == 0 and self.open_utterances:
            utterance, onset = max(self.open_utterances.items())
            self.receive(ev.TranscriptPartial(utterance, self.engines.recognises(self._words(onset, position))))
        wake = self.conversation.wake_position
        if wake is not None and position >= wake:
            self.receive(ev.PositionReached(position))

    def _play(self) -> None:
        """The carrier plays the next 20 ms."""
        self._at(self.now + FRAME, self._play)
        if self._dry_since is not None:
            if not any(isinstance(item, bytes) for item in self._queue):
                self._echo_marks()
                self._dry_since = self.now
                return
            if self.now - self._dry_since < self.prebuffer:
                return
            self._dry_since = None
        frame = b""
        while self._queue and len(frame) < 160:
            item = self._queue.popleft()
            if isinstance(item, str):
                self._echo(item)
                continue
            frame += item
        if len(frame) > 160:
            self._queue.appendleft(frame[160:])
            frame = frame[:160]
        if frame:
            self.heard_frames.append((self.now, frame))
        else:
            self._dry_since = self.now

    def _mark_arrives(self, name: str) -> None:
        if self._queue or self._dry_since is None:
            self._queue.append(name)
        else:
            self._echo(name)

    def _echo_marks(self) -> None:
        while self._queue:
            name = self._queue.popleft()
            assert isinstance(name, str)
            self._echo(name)

    def _echo(self, name: str) -> None:
        if not self.marks_lost:
            self._at(self._arrival(self.now), lambda: self.receive(ev.MarkReached(name)))

    def _clear(self) -> None:
        for item in self._queue:
            if isinstance(item, str):
                self._echo(item)
        self._queue.clear()


__all__ = ["REPLY", "Engines", "Floor", "Phone"]
