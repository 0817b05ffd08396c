"""The ear of the agent: the caller's sound, and the utterance that is being recognised."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from calls.services import StreamClaim
from inference import metrics
from inference.interfaces import DelayedTranscription, PacedTranscription, SpeechToText, Transcription
from inference.resampling import Resampler
from inference.types import EngineError, Pcm, Transcript
from media.background import BackgroundTasks
from media.messages import RATE_HZ
from media.noise import NoiseSuppressor
from media.turns import commands as cmd
from media.turns import events as ev

logger = logging.getLogger(__name__)

PRE_ROLL = 0.3
"""Seconds of sound before the voice that recognition gets: less costs the first word, more costs others."""
KEPT_FOR_RECOGNITION = 1.0
"""Seconds of sound that are kept to open an utterance with: voice is noticed up to half a second late."""
KEPT_FOR_VOICE = 10.0
"""Seconds of sound that are kept where the agent's voice answers to how something was said."""
TELL_OF_DELAY_EVERY = 0.5
"""Seconds: several times in the patience of a conversation."""
_PIECE = int(0.1 * RATE_HZ)
"""Samples (0.1 s) that are given to recognition at once, because each piece costs it some work of its own."""


@dataclass(slots=True)
class _Utterance:
    """One utterance that is being recognised."""

    number: int
    transcription: Transcription
    paced: PacedTranscription | None
    """The same, if it wants to know whether words are urgent."""
    converter: Resampler | NoiseSuppressor
    recognised_to: int
    """The position up to which the sound has been given to recognition."""


class Ear:
    """
    Keeps the last seconds of the caller's sound and gives them to recognition, one utterance at a time.

    ``push`` each piece of sound as it comes; the last ``keep`` seconds are kept. Transcripts are emitted as events.
    Positions are samples into the caller's stream.
    """

    def __init__(
        self,
        claim: StreamClaim,
        stt: SpeechToText,
        *,
        keep: float,
        tasks: BackgroundTasks,
        emit: Callable[[ev.Event], None],
        in_callers_turn: Callable[[], bool] = lambda: False,
        language: str = "",
        others: Sequence[str] = (),
        noise_suppression: int = 0,
        on_error: Callable[[EngineError], None] = lambda error: None,
    ) -> None:
        self._on_error = on_error
        """Gets each error of recognition."""
        self._stt = stt
        self._claim = claim
        self._language = language or claim.agent.language
        """The language in which the caller is expected to speak."""
        self._languages = (self._language, *others)
        """All languages that the caller may speak."""
        self._keep_samples = int(keep * RATE_HZ)
        self._tasks = tasks
        self._emit = emit
        self._in_callers_turn = in_callers_turn
        """Tells whether the agent is silent, so that words are not urgent before the caller pauses."""
        self._noise_suppression = noise_suppression
        """How much noise recognition does not get, one of ``media.noise.LEVELS``."""
        self._sound: deque[tuple[int, Pcm]] = deque()
        """The kept sound, each piece with the position of its end."""
        self._sound_samples = 0
        self._utterance: _Utterance | None = None
        self.voice_ended = 0
        """The position at which the caller last stopped speaking; set by the owner, who detects voice."""

    def push(self, end: int, pcm: Pcm) -> None:
        """The piece of sound that ends at position ``end``."""
        self._sound.append((end, pcm))
        self._sound_samples += len(pcm)
        while self._sound_samples - len(self._sound[0][1]) >= self._keep_samples:
            self._sound_samples -= len(self._sound.popleft()[1])
        if self._utterance is not None and end - self._utterance.recognised_to >= _PIECE:
            self._recognise(self._utterance)

    def open(self, command: cmd.OpenUtterance) -> None:
        """Begin to recognise a little before the command's position, but not before the voice that came last."""

        def on_partial(transcript: Transcript) -> None:
            words = transcript.text, transcript.stop_counts, transcript.settled
            self._emit(ev.TranscriptPartial(command.utterance, *words))

        self._utterance = None
        others = [language for language in self._languages if language != self._language]
        try:
            transcription = self._stt.open(
                language=self._language,
                hint=command.hint,
                on_partial=on_partial,
                others=others,
                keyterms=self._claim.agent.keyterms,
            )
        except EngineError as error:
            logger.warning("Call %s: recognition could not be opened: %s", self._claim.call_id, error)
            self._note_error(error)
            return
        start = max(command.position - int(PRE_ROLL * RATE_HZ), self.voice_ended)
        converter = self._converter(start)
        paced = transcription if isinstance(transcription, PacedTranscription) else None
        self._utterance = _Utterance(command.utterance, transcription, paced, converter, recognised_to=start)
        self._recognise(self._utterance)

    def change_language(self, command: cmd.ChangeLanguage) -> None:
        """Expect the caller to speak this language in the utterances to come."""
        self._language = command.language

    def take_snapshot(self, command: cmd.TakeSnapshot) -> None:
        """Emit the words so far as ``TranscriptReady``, or ``TranscriptFailed``."""
        utterance = self._utterance
        if utterance is None or utterance.number != command.utterance:
            self._emit(ev.TranscriptFailed(command.utterance, command.snapshot))
            return
        self._recognise(utterance)
        self._tasks.start(self._snapshot(command, utterance.transcription))

    def close_utterance(self, command: cmd.CloseUtterance) -> None:
        if self._utterance is not None and self._utterance.number == command.utterance:
            self.close()

    def close(self) -> None:
        """Give up the utterance that is open, if one is. Idempotent."""
        if self._utterance is not None:
            self._utterance.transcription.cancel()
            self._utterance = None

    def sound_between(self, start: int, end: int) -> Pcm:
        """As much of this sound as is kept."""
        pieces = [
            pcm[max(0, start - (piece_end - len(pcm))) : max(0, len(pcm) - (piece_end - end))]
            for piece_end, pcm in self._sound
        ]
        return np.concatenate([np.zeros(0, np.int16), *pieces])

    def _converter(self, start: int) -> Resampler | NoiseSuppressor:
        """What turns the sound from this position on into that which recognition gets."""
        rate_hz = self._stt.rate_hz
        if not self._noise_suppression:
            return Resampler(RATE_HZ, rate_hz)
        return NoiseSuppressor(RATE_HZ, rate_hz, self._noise_suppression, before=self.sound_between(0, start))

    def _recognise(self, utterance: _Utterance) -> None:
        """Give recognition the sound that it has not got yet."""
        if utterance.paced is not None:
            utterance.paced.hurried = not self._in_callers_turn()
        start = utterance.recognised_to
        pending: list[tuple[int, Pcm]] = []
        for piece in reversed(self._sound):  # from the end, because that is a few pieces out of many
            if piece[0] <= start:
                break
            pending.append(piece)
        for end, pcm in reversed(pending):
            known = start - (end - len(pcm))
            utterance.transcription.push(utterance.converter.push(pcm[known:] if known > 0 else pcm))
            utterance.recognised_to = end

    async def _words(self, command: cmd.TakeSnapshot, transcription: Transcription) -> Transcript:
        """Await the words, and tell while they are delayed."""
        if not isinstance(transcription, DelayedTranscription):
            return await transcription.snapshot()
        answer = asyncio.ensure_future(transcription.snapshot())
        try:
            while not (await asyncio.wait([answer], timeout=TELL_OF_DELAY_EVERY))[0]:
                if transcription.delayed:
                    self._emit(ev.TranscriptDelayed(command.utterance, command.snapshot))
            return await answer
        finally:
            answer.cancel()

    def _note_error(self, error: EngineError) -> None:
        metrics.count_error("stt", error)
        self._on_error(error)

    async def _snapshot(self, command: cmd.TakeSnapshot, transcription: Transcription) -> None:
        try:
            transcript = await self._words(command, transcription)
        except EngineError as error:
            logger.warning("Call %s: recognition failed: %s", self._claim.call_id, error)
            self._note_error(error)
        except Exception:
            logger.exception("Call %s: recognition failed", self._claim.call_id)
        else:
            words = transcript.text, transcript.stop_counts, transcript.language, transcript.language_probability
            self._emit(ev.TranscriptReady(command.utterance, command.snapshot, *words))
            return
        self._emit(ev.TranscriptFailed(command.utterance, command.snapshot))
