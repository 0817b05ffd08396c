"""The voice of the agent: replies from the language model and fixed lines, each made in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

from django.conf.locale import LANG_INFO

from calls.services import StreamClaim
from inference.backends import Engines
from inference.interfaces import Speech
from inference.types import EngineError, EngineFull, Message, Pcm, Role, Tools, main_language
from media.background import BackgroundTasks
from media.messages import RATE_HZ
from media.phrases import Phrases
from media.reply import answer, say
from media.reply_load import ReplyLoad
from media.turns import commands as cmd
from media.turns import events as ev

logger = logging.getLogger(__name__)


class Mouth:
    """
    Makes the sound of one call's replies, by revision.

    The sound, and how far a reply has come, are emitted as events. A failure is an event too: the conversation answers
    for it.
    """

    def __init__(
        self,
        claim: StreamClaim,
        engines: Engines,
        phrases: Phrases,
        *,
        longest_reply: float,
        may_wait: bool = False,
        load: ReplyLoad | None = None,
        tasks: BackgroundTasks,
        emit: Callable[[ev.Event], None],
        language: str = "",
        sent: Callable[[ev.Revision], int] = lambda revision: 0,
    ) -> None:
        self._sent = sent
        """Tells how many characters of a reply the caller has heard, or will hear in any case."""
        self._claim = claim
        self._engines = engines
        self._phrases = phrases
        self._longest_reply = longest_reply
        self._tasks = tasks
        self._emit = emit
        self._language = language or claim.agent.language
        self._speech = engines.tts.open(voice=self._voice, language=self._language)
        self._system = Message("system", claim.agent.prompt)
        self._tools = Tools(claim.agent.transfer_targets, opt_out=claim.agent.hears_opt_out, may_wait=may_wait)
        self._load = load or ReplyLoad(1)
        self._replies: dict[ev.Revision, asyncio.Task[None]] = {}
        """The replies that are being made."""
        self._spoken_last: ev.Revision | None = None
        """The reply that the voice began last: what the caller heard is reported to the voice for this one only."""
        self._warming: asyncio.Task[None] | None = None

    def warm(self, command: cmd.Warm) -> None:
        self._stop_warming()
        self._warming = self._tasks.start(self._warm(self._messages(command.history)))

    def start_reply(self, command: cmd.StartReply) -> None:
        if command.early and not self._load.is_light:
            self._emit(ev.ReplyRefused(command.revision))
            return
        self._stop_warming()
        self._load.running += 1
        self._start(command).add_done_callback(self._made)

    def say_line(self, command: cmd.SayLine) -> None:
        """Say the line, from the prepared phrases if it is among them."""
        ready = self._phrases.get(command.text, voice=self._voice, language=self._language)
        if ready:
            self._emit(ev.ReplyAudio(command.revision, ready, len(command.text)))
            self._emit(ev.ReplyEnded(command.revision))
            return
        self._start(command)

    def stop_reply(self, command: cmd.StopReply) -> None:
        if command.revision == self._spoken_last:
            # The voice shall remember of its own sound what was heard, even if that is nothing.
            self._speech.heard(command.heard_samples * self._engines.tts.rate_hz // RATE_HZ)
        if (task := self._replies.get(command.revision)) is not None:
            task.cancel()

    def change_language(self, command: cmd.ChangeLanguage) -> None:
        """Speak this language from now on. If the voice fails at it, the one that speaks now goes on."""
        before, speech = self._language, self._speech
        self._language = command.language
        try:
            self._speech = self._engines.tts.open(voice=self._voice, language=self._language)
        except EngineError as error:
            self._language = before
            logger.error(
                "Call %s: the voice does not speak %s, going on in %s: %s",
                self._claim.call_id,
                command.language,
                before,
                error,
            )
            return
        self._spoken_last = None  # what the caller heard of it concerns the voice before
        self._tasks.start(self._close(speech))

    def caller_said(self, text: str, pcm: Pcm) -> None:
        """A turn of the caller has ended, for a voice that answers to how it was said."""
        self._speech.caller_said(text, pcm, RATE_HZ)

    @property
    def _voice(self) -> str:
        """The voice for the present language."""
        return self._claim.agent.voice_for(self._language)

    async def close(self) -> None:
        await self._close(self._speech)

    async def _close(self, speech: Speech) -> None:
        try:
            await speech.close()
        except EngineError as error:
            logger.warning("Call %s: closing the voice failed: %s", self._claim.call_id, error)

    def _made(self, task: asyncio.Task[None]) -> None:
        self._load.running -= 1

    def _start(self, command: cmd.StartReply | cmd.SayLine) -> asyncio.Task[None]:
        task = self._tasks.start(self._make(command))
        self._replies[command.revision] = task
        task.add_done_callback(lambda _: self._replies.pop(command.revision, None))
        return task

    async def _make(self, command: cmd.StartReply | cmd.SayLine) -> None:
        """Make a reply or say a line; whatever goes wrong becomes an event."""
        revision = command.revision
        # Only now: of a reply that was stopped before it began, the voice must not be told that nothing was heard.
        self._spoken_last = revision
        tts, language = self._engines.tts, self._language

        def sent() -> int:
            return self._sent(revision)

        try:
            if isinstance(command, cmd.SayLine):
                await say(
                    revision, command.text, tts=tts, speech=self._speech, language=language, emit=self._emit, sent=sent
                )
            else:
                await answer(
                    revision,
                    self._messages(command.history, finished=command.finished),
                    llm=self._engines.llm,
                    tts=tts,
                    speech=self._speech,
                    language=language,
                    longest=self._longest_reply,
                    speculative=command.speculative,
                    emit=self._emit,
                    tools=self._tools,
                    sent=sent,
                )
        except EngineError as error:
            logger.warning("Call %s: an engine failed: %s", self._claim.call_id, error)
            # A request that may be in vain is refused first: a full engine may still have room for real ones.
            if isinstance(command, cmd.SayLine) or not command.speculative or not isinstance(error, EngineFull):
                self._engines.availability.note(error, asyncio.get_running_loop().time())
            self._emit(ev.ReplyFailed(revision, str(error)))
        except Exception as error:
            logger.exception("Call %s: making a reply failed", self._claim.call_id)
            self._emit(ev.ReplyFailed(revision, f"{type(error).__name__}: {error}"))

    async def _warm(self, messages: Sequence[Message]) -> None:
        try:
            await self._engines.llm.warm(messages, tools=self._tools)
        except EngineError as error:
            logger.info("Call %s: the language model was not warmed: %s", self._claim.call_id, error)

    def _stop_warming(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            self._warming = None

    def _messages(self, history: Sequence[cmd.Line], *, finished: bool = False) -> list[Message]:
        end = [Message("finished", "")] if finished else []
        return [self._system, *(message for line in history for message in _line_messages(line)), *end]


def _line_messages(line: cmd.Line) -> Iterator[Message]:
    role: Role = "user" if line.speaker == "caller" else "assistant"
    yield Message(role, f"{_about_language(line.spoken)}{line.text}")
    if line.unsaid:
        yield Message("unsaid", line.unsaid)


def _about_language(spoken: cmd.Spoken) -> str:
    """Tell the language model in which language the caller speaks and it answers, if that is not as before."""
    said_in, answer_in = _name(spoken.said_in), _name(spoken.answer_in)
    if not answer_in:
        return ""
    if said_in and said_in != answer_in:
        return f"(This is {said_in}. Answer in {answer_in}.) "
    return f"(From here on, answer in {answer_in}.) "


def _name(language: str) -> str:
    """Return the English name of a language, else its code."""
    main = main_language(language)
    return str(LANG_INFO.get(main, {}).get("name", main))
