"""
The shell of one stream: passes events to ``Conversation`` and carries out its commands.

It has one rule: take one event, carry out all its commands, arm one timer; then take the next event. Nothing slow
happens in between: the engines, the socket and the database are awaited in tasks of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from calls.services import StreamClaim
from inference.backends import Engines
from inference.mulaw import decode_mulaw
from inference.usage import UsageMeter, metering
from media.audio import SILENCE, fade_in
from media.background import BackgroundTasks
from media.hearing import KEPT_FOR_RECOGNITION, KEPT_FOR_VOICE, Ear
from media.held_facts import HeldFacts
from media.held_recording import HeldRecording, redactor_for
from media.intake import Intake
from media.journal import Journal
from media.level import CallerLevel
from media.messages import Media, clear_message, mark_message, media_message
from media.outbox import Outbox
from media.phrases import Phrases
from media.recorder import Recording
from media.reply_load import ReplyLoad
from media.speaking import Mouth
from media.speech import VoiceDetector, VoiceWindow
from media.spool import FactSpool
from media.turn_scores import TurnScores
from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.clock import StreamClock
from media.turns.conversation import Conversation
from media.turns.floor_states import Floor
from media.turns.options import ConversationOptions

logger = logging.getLogger(__name__)


class Session:
    """
    One stream of one call.

    Call ``start`` once, ``media`` for each frame, ``mark`` and ``key`` as they come, and ``close`` at the end. Await
    ``outgoing()`` for the messages to send. ``hang_up`` is called when the conversation wants the stream closed.
    """

    def __init__(
        self,
        claim: StreamClaim,
        options: ConversationOptions,
        *,
        engines: Engines,
        detector: VoiceDetector,
        phrases: Phrases,
        facts: FactSpool,
        hang_up: Callable[[str], None],
        recording: Recording | HeldRecording | None = None,
        redact: bool = False,
        held: HeldFacts | None = None,
        noise_suppression: int = 0,
        load: ReplyLoad | None = None,
    ) -> None:
        self._claim = claim
        self._usage = UsageMeter(str(claim.call_id))
        self._hang_up = hang_up
        self._loop = asyncio.get_running_loop()
        self._clock = StreamClock()
        history = tuple(cmd.Line("caller" if side == "caller" else "agent", heard) for side, heard in claim.history)
        self._conversation = Conversation(options, clock=self._clock, history=history)
        self._tasks = BackgroundTasks(f"Call {claim.call_id}")
        self._intake = Intake()
        # The detector calls from a task of its own, which does not know of the call.
        context = copy_context()
        self._voice = detector.open(lambda window: context.run(self._on_window, window))
        self._level = CallerLevel(str(claim.call_id))
        self._hears_caller = engines.tts.hears_caller
        """Whether the agent's voice wants the sound of the caller's turns."""
        self._ear = Ear(
            claim,
            engines.stt,
            keep=max(
                KEPT_FOR_VOICE if self._hears_caller else KEPT_FOR_RECOGNITION,
                engines.turn.longest if engines.turn is not None else 0.0,
            ),
            tasks=self._tasks,
            emit=self.receive,
            in_callers_turn=lambda: self._conversation.floor is Floor.CALLER,
            language=options.language,
            others=[other.language for other in options.others],
            noise_suppression=noise_suppression,
            on_error=lambda error: engines.availability.note(error, self._loop.time()),
        )
        self._scores = TurnScores(
            claim,
            engines.turn,
            sound=self._ear.sound_between,
            position=lambda: self._intake.position,
            tasks=self._tasks,
            emit=self.receive,
        )
        with metering(self._usage):
            self._mouth = Mouth(
                claim,
                engines,
                phrases,
                longest_reply=options.longest_reply,
                may_wait=options.may_wait,
                load=load,
                tasks=self._tasks,
                emit=self.receive,
                language=options.language,
                sent=self._conversation.sent_text,
            )
        self._recording = recording
        redactor = redactor_for(options.language, recording, held) if redact else None
        self._journal = Journal(claim, facts, clock=self._clock, redactor=redactor, held=held)
        self._may_record = False
        """Set by ``StartRecording``: what is said before, during the disclosure, is not recorded."""
        self._outbox = Outbox(self._on_dead_socket)
        self._stream_sid = ""
        """Twilio's name of the stream, known from ``start`` on; every message that is sent carries it."""
        self._events: deque[ev.Event] = deque()
        """The events that have happened and were not yet passed to the conversation."""
        self._receiving = False
        """An event is being carried out: those that it causes wait for their turn."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        """The time of the loop's clock for which the timer was armed."""
        self._closed = False
        self._handlers = self._command_handlers()

    def _command_handlers(self) -> dict[type[cmd.Command], Callable[[Any], None]]:
        """Map each kind of command to the method that carries it out."""
        return {
            cmd.OpenUtterance: self._ear.open,
            cmd.TakeSnapshot: self._ear.take_snapshot,
            cmd.ScoreTurn: self._scores.score,
            cmd.CloseUtterance: self._ear.close_utterance,
            cmd.Warm: self._mouth.warm,
            cmd.StartReply: self._mouth.start_reply,
            cmd.SayLine: self._mouth.say_line,
            cmd.StopReply: self._mouth.stop_reply,
            cmd.ChangeLanguage: self._change_language,
            cmd.SendAudio: self._send_audio,
            cmd.SendMark: lambda command: self._outbox.put(mark_message(self._stream_sid, command.name)),
            cmd.ClearPlayout: self._clear_playout,
            cmd.StartRecording: self._start_recording,
            cmd.Played: self._record_agent,
            cmd.TurnEnded: self._end_turn,
            cmd.Noted: self._journal.noted,
            cmd.OptOut: self._journal.opted_out,
            cmd.Transfer: self._journal.transfer_requested,
            cmd.HangUp: lambda command: self._hang_up(command.reason),
        }

    # -- the socket -----------------------------------------------------------------------------------------

    def start(self, stream_sid: str) -> None:
        """The stream runs."""
        self._stream_sid = stream_sid
        self._journal.stream_started(stream_sid)
        self.receive(ev.CallStarted(resumed=self._claim.is_reconnect, disclosed=self._claim.disclosed))

    def media(self, message: Media) -> None:
        """A frame of the caller's sound. Raises ``BadMessage`` if its payload is not base64."""
        now = self._loop.time()
        audio = self._intake.accept(message, spoken=self._clock.position_at(now))
        if not audio or self._closed:
            return
        position = self._intake.position
        self._clock.observe(position, now)
        if self._recording is not None and self._may_record:
            self._recording.caller(position - len(audio), audio)
        pcm = decode_mulaw(audio)
        with metering(self._usage):  # a fallback may open its next engine
            self._ear.push(position, pcm)
        self._level.push(position, pcm)
        self._voice.push(pcm)

    def mark(self, name: str) -> None:
        """Twilio has played everything before this mark, or has dropped it."""
        self.receive(ev.MarkReached(name))

    def key(self, digit: str) -> None:
        self.receive(ev.KeyPressed(digit))

    async def outgoing(self) -> str:
        """The next message to send, as soon as there is one."""
        return await self._outbox.get()

    async def close(self, reason: str) -> None:
        """The stream is over: end everything that was started for it. Idempotent."""
        if self._closed:
            return
        if self._conversation.floor is not Floor.ENDED:
            self.receive(ev.CallerHungUp(reason))
        self._closed = True
        try:
            self._voice.close()
            if self._timer is not None:
                self._timer.cancel()
            self._ear.close()
            await self._tasks.cancel()
            await self._mouth.close()
        finally:  # also if a voice does not close, or the process will not wait for it
            self._journal.close()
            if not self._usage.is_empty:
                self._journal.used(self._usage.as_json())

    # -- the one rule ---------------------------------------------------------------------------------------

    def receive(self, event: ev.Event) -> None:
        """Pass the event to the conversation and carry out its commands; events that these cause come after them."""
        self._events.append(event)
        if self._receiving:
            return
        self._receiving = True
        try:
            while self._events and not self._closed:
                commands = self._conversation.receive(self._events.popleft(), now=self._loop.time())
                with metering(self._usage):
                    for command in commands:
                        self._handlers[type(command)](command)
        except Exception:
            # The one outer handler of a call: a bug must not leave the caller in silence.
            logger.exception("Call %s: the session failed on %s", self._claim.call_id, type(event).__name__)
            self._hang_up("engines-failed")
        finally:
            self._receiving = False
            self._arm_timer()

    def _arm_timer(self) -> None:
        deadline = self._conversation.deadline
        if self._timer is not None:
            if deadline == self._timer_at:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self._closed:
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        # The loop may wake a clock tick early; the conversation must not see a time before its deadline.
        if self._loop.time() < self._timer_at:
            self._timer = self._loop.call_at(self._timer_at, self._on_timer)
            return
        self.receive(ev.TimerFired())

    # -- voice activity -------------------------------------------------------------------------------------

    def _on_window(self, window: VoiceWindow) -> None:
        conversation = self._conversation
        silent, asked = conversation.agent_is_silent, conversation.caller_asked_for
        window = self._level.judge(window, agent_silent=silent, asked=asked)
        if window.changed:
            if not window.voiced:
                self._ear.voice_ended = window.edge
            self.receive(ev.SpeechStarted(window.edge) if window.voiced else ev.SpeechStopped(window.edge))
        wake = conversation.wake_position
        if wake is not None and window.position >= wake:
            self.receive(ev.PositionReached(window.position))

    # -- commands that concern several parts ----------------------------------------------------------------

    def _send_audio(self, command: cmd.SendAudio) -> None:
        audio = fade_in(command.audio) if command.goes_on else command.audio
        self._outbox.put(media_message(self._stream_sid, audio))

    def _clear_playout(self, command: cmd.ClearPlayout) -> None:
        # Empty our own queue first, or its audio would be sent after the clear.
        self._outbox.clear()
        self._outbox.put(clear_message(self._stream_sid))

    def _change_language(self, command: cmd.ChangeLanguage) -> None:
        logger.info("Call %s: the agent goes on in the caller's language, %s", self._claim.call_id, command.language)
        self._ear.change_language(command)
        self._mouth.change_language(command)
        self._journal.language_changed(command)

    def _on_dead_socket(self) -> None:
        logger.warning("Call %s: the socket takes no more messages, closing the stream", self._claim.call_id)
        self._hang_up("stream-lost")

    def _start_recording(self, command: cmd.StartRecording) -> None:
        self._may_record = True
        if self._recording is not None and (position := self._intake.position):
            # Silence replaces what may not be recorded, so that positions in the recording stay those of the stream.
            self._recording.caller(0, SILENCE * position)

    def _record_agent(self, command: cmd.Played) -> None:
        if self._recording is not None and self._may_record:
            self._recording.agent(self._clock.position_at(command.at), command.audio)

    def _end_turn(self, turn: cmd.TurnEnded) -> None:
        logger.info("Call %s: turn %d, of the %s, has ended", self._claim.call_id, turn.number, turn.speaker)
        self._journal.turn_ended(turn)
        if turn.speaker != "caller":
            return
        began, ended = self._clock.position_at(turn.started), self._clock.position_at(turn.ended)
        self._level.learn(began, ended)
        if self._hears_caller:
            self._mouth.caller_said(turn.heard, self._ear.sound_between(began, ended))
