"""
The shell of one stream: feeds ``Conversation`` with what happens and obeys what it says.

One rule: one event in, all its commands out, one timer armed; then the next event. Nothing slow sits between:
engines, the socket and the books are awaited in tasks of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from inference.backends import Engines
from inference.types import EngineError, Message, Tools
from media.audio import SILENCE, decode_mulaw
from media.background import BackgroundTasks
from media.hearing import KEPT_FOR_RECOGNITION, KEPT_FOR_VOICE, Ear
from media.intake import Intake
from media.journal import FactRecorder, Journal
from media.messages import RATE_HZ, Media, clear_message, mark_message, media_message
from media.outbox import Outbox
from media.phrases import Phrases
from media.reply import answer, say
from media.speech import VoiceDetector, VoiceWindow
from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.clock import StreamClock
from media.turns.conversation import Conversation
from media.turns.options import ConversationOptions

logger = logging.getLogger(__name__)


class Tape(Protocol):
    """Where the sound of the call is recorded."""

    def caller(self, position: int, mulaw: bytes) -> None: ...
    def agent(self, position: int, mulaw: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class CallBrief:
    """What a session needs to know of its call."""

    call_id: UUID
    stream: int
    prompt: str
    voice: str
    language: str
    options: ConversationOptions
    history: tuple[cmd.Line, ...] = ()
    next_turn: int = 1
    resumed: bool = False
    disclosed: bool = False
    """An earlier stream of the call has said the disclosure."""


class Session:
    """
    One stream of one call.

    ``start`` once, ``media`` for each frame, ``mark`` and ``key`` as they come, ``close`` at the end; ``hang_up`` is
    called when the conversation wants the stream closed. ``outgoing()`` is awaited for what to send.
    """

    def __init__(
        self,
        brief: CallBrief,
        *,
        engines: Engines,
        detector: VoiceDetector,
        phrases: Phrases,
        facts: FactRecorder,
        hang_up: Callable[[str], None],
        tape: Tape | None = None,
    ) -> None:
        self._brief = brief
        self._engines = engines
        self._phrases = phrases
        self._tape = tape
        self._recording = False
        self._hang_up = hang_up
        self._loop = asyncio.get_running_loop()
        self._clock = StreamClock()
        self.conversation = Conversation(brief.options, clock=self._clock, history=brief.history)
        self._speech = engines.tts.open(voice=brief.voice, language=brief.language)
        self._voice = detector.open(self._on_window)
        self._intake = Intake()
        self._tasks = BackgroundTasks(f"Call {brief.call_id}")
        self._ear = Ear(
            engines.stt,
            language=brief.language,
            call_id=brief.call_id,
            keep=KEPT_FOR_VOICE if engines.tts.hears_caller else KEPT_FOR_RECOGNITION,
            tasks=self._tasks,
            emit=self.tell,
        )
        self._replies: dict[ev.Revision, asyncio.Task[None]] = {}
        self._spoke: ev.Revision | None = None
        self._warming: asyncio.Task[None] | None = None
        self._events: deque[ev.Event] = deque()
        self._telling = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._stream_sid = ""
        self._outbox = Outbox(self._on_dead_socket)
        self._closed = False
        self._system = Message("system", brief.prompt)
        self._tools = Tools(brief.options.transfer_targets, opt_out=brief.options.hears_opt_out)
        self._journal = Journal(brief.call_id, facts, next_turn=brief.next_turn, clock=self._clock)
        self._obeyed: dict[type, Callable[[Any], None]] = {
            cmd.OpenUtterance: self._ear.open,
            cmd.TakeSnapshot: self._ear.take_snapshot,
            cmd.CloseUtterance: self._ear.close_utterance,
            cmd.Warm: self._warm,
            cmd.StartReply: self._start_reply,
            cmd.SayLine: self._say_line,
            cmd.StopReply: self._stop_reply,
            cmd.SendAudio: lambda command: self._outbox.put(media_message(self._stream_sid, command.audio)),
            cmd.SendMark: lambda command: self._outbox.put(mark_message(self._stream_sid, command.name)),
            cmd.ClearPlayout: self._clear_playout,
            cmd.StartRecording: self._start_recording,
            cmd.Played: self._played,
            cmd.TurnEnded: self._turn_ended,
            cmd.Noted: self._journal.noted,
            cmd.OptOut: self._journal.opted_out,
            cmd.Transfer: self._journal.transfer_requested,
            cmd.HangUp: lambda command: self._hang_up(command.reason),
        }

    # -- what the socket says ---------------------------------------------------------------------------

    def start(self, stream_sid: str) -> None:
        """The stream runs."""
        self._stream_sid = stream_sid
        self._journal.stream_started(stream_sid)
        self.tell(ev.CallStarted(resumed=self._brief.resumed, disclosed=self._brief.disclosed))

    def media(self, message: Media) -> None:
        """Some of the caller's voice. Raises ``BadMessage`` if its payload is not base64."""
        audio = self._intake.accept(message)
        if not audio or self._closed:
            return
        position = self._intake.position
        self._clock.observe(position, self._loop.time())
        if self._tape is not None and self._recording:
            self._tape.caller(position - len(audio), audio)
        pcm = decode_mulaw(audio)
        self._ear.push(position, pcm)
        self._voice.push(pcm)

    def mark(self, name: str) -> None:
        self.tell(ev.MarkReached(name))

    def key(self, digit: str) -> None:
        self.tell(ev.KeyPressed(digit))

    async def outgoing(self) -> str:
        """The next message to send, as soon as there is one."""
        return await self._outbox.get()

    async def close(self, reason: str) -> None:
        """The stream is over; everything that was started for it ends. Idempotent."""
        if self._closed:
            return
        self.tell(ev.CallerHungUp(reason))
        self._closed = True
        self._voice.close()
        if self._timer is not None:
            self._timer.cancel()
        self._ear.close()
        await self._tasks.cancel()
        try:
            await self._speech.close()
        except EngineError as error:
            logger.warning("Call %s: closing the voice failed: %s", self._brief.call_id, error)

    # -- the one rule ---------------------------------------------------------------------------------------

    def tell(self, event: ev.Event) -> None:
        """Tell the conversation; what its commands cause at once is told after them."""
        self._events.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._events and not self._closed:
                commands = self.conversation.receive(self._events.popleft(), now=self._loop.time())
                for command in commands:
                    self._obeyed[type(command)](command)
        except Exception:
            # The one outer handler of a call: no error of ours may leave silence on the line.
            logger.exception("Call %s: the session failed on %s", self._brief.call_id, type(event).__name__)
            self._hang_up("engines-failed")
        finally:
            self._telling = False
            self._arm()

    def _arm(self) -> None:
        deadline = self.conversation.deadline
        if self._timer is not None:
            if deadline == self._timer_at:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self._closed:
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        # The loop may wake a clock tick early; the conversation is told the time it asked for.
        if self._loop.time() < self._timer_at:
            self._timer = self._loop.call_at(self._timer_at, self._fire)
            return
        self.tell(ev.TimerFired())

    # -- hearing ------------------------------------------------------------------------------------------------

    def _on_window(self, window: VoiceWindow) -> None:
        if window.changed:
            if not window.voiced:
                self._ear.voice_ended = window.edge
            self.tell(ev.SpeechStarted(window.edge) if window.voiced else ev.SpeechStopped(window.edge))
        wake = self.conversation.wake_position
        if wake is not None and window.position >= wake:
            self.tell(ev.PositionReached(window.position))

    # -- speaking -------------------------------------------------------------------------------------------------

    def _warm(self, command: cmd.Warm) -> None:
        self._stop_warming()
        self._warming = self._tasks.start(self._read_ahead(self._messages(command.history)))

    async def _read_ahead(self, messages: Sequence[Message]) -> None:
        try:
            await self._engines.llm.warm(messages, tools=self._tools)
        except EngineError as error:
            logger.info("Call %s: the language model was not warmed: %s", self._brief.call_id, error)

    def _stop_warming(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            self._warming = None

    def _start_reply(self, command: cmd.StartReply) -> None:
        self._stop_warming()
        self._speak(
            command.revision,
            answer(
                command.revision,
                self._messages(command.history),
                llm=self._engines.llm,
                tts=self._engines.tts,
                speech=self._speech,
                language=self._brief.language,
                speculative=command.speculative,
                emit=self.tell,
                tools=self._tools,
            ),
        )

    def _say_line(self, command: cmd.SayLine) -> None:
        ready = self._phrases.get(command.text, voice=self._brief.voice, language=self._brief.language)
        if ready:
            self.tell(ev.ReplyAudio(command.revision, ready, len(command.text)))
            self.tell(ev.ReplyEnded(command.revision))
            return
        self._speak(
            command.revision,
            say(
                command.revision,
                command.text,
                tts=self._engines.tts,
                speech=self._speech,
                language=self._brief.language,
                emit=self.tell,
            ),
        )

    def _speak(self, revision: ev.Revision, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.start(self._guarded(revision, work))
        self._replies[revision] = task
        task.add_done_callback(lambda _: self._replies.pop(revision, None))

    async def _guarded(self, revision: ev.Revision, work: Coroutine[Any, Any, None]) -> None:
        """Whatever goes wrong in making a reply is the conversation's to answer."""
        # Not before: of a reply that never began nothing is heard, and the voice would take it for the one before.
        self._spoke = revision
        try:
            await work
        except EngineError as error:
            logger.warning("Call %s: an engine failed: %s", self._brief.call_id, error)
            self.tell(ev.ReplyFailed(revision, str(error)))
        except Exception as error:
            logger.exception("Call %s: making a reply failed", self._brief.call_id)
            self.tell(ev.ReplyFailed(revision, f"{type(error).__name__}: {error}"))

    def _stop_reply(self, command: cmd.StopReply) -> None:
        if command.revision == self._spoke:
            # What the voice remembers of itself is what was heard of it, be it nothing.
            self._speech.heard(command.heard_samples * self._engines.tts.rate_hz // RATE_HZ)
        if (task := self._replies.get(command.revision)) is not None:
            task.cancel()

    def _messages(self, history: Sequence[cmd.Line]) -> list[Message]:
        spoken = [Message("user" if line.speaker == "caller" else "assistant", line.text) for line in history]
        return [self._system, *spoken]

    def _on_dead_socket(self) -> None:
        logger.warning("Call %s: the socket takes nothing any more", self._brief.call_id)
        self._hang_up("stream-lost")

    def _clear_playout(self, command: cmd.ClearPlayout) -> None:
        # Our own queue first, or its sound would follow the clear.
        self._outbox.clear()
        self._outbox.put(clear_message(self._stream_sid))

    def _start_recording(self, command: cmd.StartRecording) -> None:
        self._recording = True
        if self._tape is not None and (position := self._intake.position):
            # Silence stands for what may not be kept, so that positions in the sound stay those of the stream.
            self._tape.caller(0, SILENCE * position)

    def _played(self, command: cmd.Played) -> None:
        if self._tape is not None and self._recording:
            self._tape.agent(self._clock.position_at(command.at), command.audio)

    # -- the records --------------------------------------------------------------------------------------------------

    def _turn_ended(self, turn: cmd.TurnEnded) -> None:
        logger.info("%s %s: %s", self._brief.call_id, turn.speaker, turn.heard)
        self._journal.turn_ended(turn)
        if turn.speaker == "caller" and self._engines.tts.hears_caller:
            began, ended = self._clock.position_at(turn.started), self._clock.position_at(turn.ended)
            self._speech.caller_said(turn.heard, self._ear.sound_between(began, ended), RATE_HZ)
