"""
OpenAI's protocol for transcription by a Realtime session, for one utterance on one socket, without I/O.

The sound goes into a buffer, and each ``commit`` makes an item of what the buffer holds. The words of an item come as
increments, perhaps before it is known which item they belong to, and once more as a whole when it is complete. Items
may be complete in another order than they were committed in.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import msgspec

from inference.hosted.fields import fields, items, text
from inference.hosted.invented_words import invented
from inference.hosted.plan import Frame, Received
from inference.hosted.recognition import RATE_HZ, Heard
from inference.hosted.utterance_sound import UtteranceSound
from inference.mulaw import decode_mulaw
from inference.types import EngineError, EngineFull, QuotaExhausted
from inference.whisper.hallucinations import SHORTEST_SPEECH

SHORTEST_ITEM = int(0.12 * RATE_HZ)
"""Samples. OpenAI refuses to commit less than 100 ms, so shorter sound is filled up with silence."""
LONGEST_ITEM = 50 * RATE_HZ
"""Samples. Sound that goes on is committed after this time, so that its words are settled if the socket is lost."""
SILENCE = b"\xff"
"""One sample of it, in mu-law."""
LAG = int(0.5 * RATE_HZ)
"""Samples. The words that have come while the caller speaks are about so old: OpenAI gives no times."""
HELLO, TERMS, COMMIT = "hello", "terms", "commit"
"""How our messages are named (``event_id``), by which errors refer to them."""

_DELTA = "conversation.item.input_audio_transcription.delta"
_COMPLETED = "conversation.item.input_audio_transcription.completed"
_FAILED = "conversation.item.input_audio_transcription.failed"
_COMMITTED = "input_audio_buffer.committed"
_EMPTY = "input_audio_buffer_commit_empty"
_UNINTELLIGIBLE = "audio_unintelligible"


def session_update(transcription: Mapping[str, Any], event_id: str) -> str:
    """The message that sets up a session: mu-law at 8 kHz, and the end of an utterance decided by us."""
    audio = {
        "format": {"type": "audio/pcmu"},
        "transcription": dict(transcription),
        "turn_detection": None,
        "noise_reduction": None,
    }
    session = {"type": "transcription", "audio": {"input": audio}}
    return json.dumps({"type": "session.update", "event_id": event_id, "session": session})


@dataclass
class _Item:
    """What one commit has made of the buffer."""

    begin: int
    end: int
    """Between these samples of the utterance."""
    speech: float
    """Seconds of it that may be speech."""
    id: str = ""
    """Known when the commit was acknowledged."""
    is_empty: bool = False
    """OpenAI found nothing to commit."""


@dataclass
class _Words:
    """What was received for an item."""

    text: str = ""
    is_complete: bool = False
    language: str = ""
    heard_to: int = 0
    """The samples that had been pushed when the last increment came."""


class RealtimeExchange:
    """See ``Exchange``."""

    def __init__(
        self,
        *,
        terms: Mapping[str, Any] | None = None,
        prompt: str = "",
        drop: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """
        ``terms`` is what the model is told for this utterance, if that differs from how the socket was set up.
        ``drop`` gets the reason for each text that is not believed.
        """
        self._terms = terms
        self._prompt = prompt
        self._drop = drop
        self._sound = UtteranceSound(RATE_HZ)
        self._pushed = 0
        self._committed = 0
        """The sample up to which the sound was committed."""
        self._items: list[_Item] = []
        self._words: dict[str, _Words] = {}
        """By the ids of items, in the order in which they were first named."""
        self._flushes: list[tuple[int, int]] = []
        """The samples at which words were asked for, each with the number of items that it waits for."""
        self._answered = 0

    @property
    def heard(self) -> Heard:
        known = [self._heard_of(item) for item in self._items]
        ids = {item.id for item in self._items}
        open_words = [words for name, words in self._words.items() if name not in ids and words.text.strip()]
        texts = [*(heard.text for heard in known), *(words.text.strip() for words in open_words)]
        latest = max((words.heard_to - LAG for words in open_words), default=0)
        samples = min(self._pushed, max(self._answered, self._complete_to, latest))
        language = next((heard.language for heard in reversed(known) if heard.language), "")
        whole = " ".join(filter(None, texts))
        return Heard(whole, samples, 1.0, len(whole.split()), language, 1.0 if language else 0.0)

    @property
    def settled(self) -> Heard:
        done = self._items[: self._complete_items]
        words = [self._heard_of(item) for item in done]
        whole = " ".join(filter(None, (heard.text for heard in words)))
        language = next((heard.language for heard in reversed(words) if heard.language), "")
        probability = 1.0 if language else 0.0
        return Heard(whole, self._complete_to, 1.0, len(whole.split()), language, probability)

    @property
    def answered(self) -> int:
        return self._answered

    @property
    def quiet(self) -> float:
        return inf  # each commit is answered

    def begin(self) -> Sequence[Frame]:
        return () if self._terms is None else (session_update(self._terms, TERMS),)

    def push(self, sound: bytes) -> Sequence[Frame]:
        self._sound.push(decode_mulaw(sound))
        self._pushed += len(sound)
        too_long = self._pushed - self._committed > LONGEST_ITEM
        return (_append(sound), *(self._commit() if too_long else ()))

    def flush(self) -> Sequence[Frame]:
        frames = self._commit()
        self._flushes.append((self._pushed, len(self._items)))
        self._answer()
        return frames

    def _commit(self) -> Sequence[Frame]:
        """Make an item of the sound since the last one, if there is speech in it."""
        frames: list[Frame] = []
        speech = self._sound.speech(self._pushed)
        if speech >= SHORTEST_SPEECH and not self._sound.is_quiet(self._committed, self._pushed):
            if (missing := SHORTEST_ITEM - (self._pushed - self._committed)) > 0:
                frames.append(_append(SILENCE * missing))
            self._items.append(_Item(self._committed, self._pushed, speech))
            frames.append(json.dumps({"type": "input_audio_buffer.commit", "event_id": f"{COMMIT}{len(self._items)}"}))
            self._committed = self._pushed
            self._sound.drop(self._committed)
        return frames

    def settle(self) -> None:
        """Do nothing: each commit is answered."""

    def end(self) -> tuple[Sequence[Frame], bool]:
        # Each utterance has a socket of its own: nothing of it can reach the next one, or another call.
        return (), False

    def receive(self, message: Any) -> Sequence[Frame]:
        match text(message.get("type")):
            case "input_audio_buffer.committed":
                self._take_commit(text(message.get("item_id")))
            case "conversation.item.input_audio_transcription.delta":
                words = self._words_of(message)
                if not words.is_complete:
                    words.text += text(message.get("delta"))
                    words.heard_to = self._pushed
            case "conversation.item.input_audio_transcription.completed":
                self._complete(message)
            case "conversation.item.input_audio_transcription.failed":  # as there are no words in it: see ``failure``
                self._words_of(message).text = ""
                self._complete(message)
            case "error":
                self._take_error(fields(message.get("error")))
        self._answer()
        return ()

    def _take_commit(self, name: str) -> None:
        if not name or any(item.id == name for item in self._items):
            return
        item = next((item for item in self._items if not item.id and not item.is_empty), None)
        if item is None:  # a server that decides by itself where an utterance ends
            item = _Item(self._committed, self._pushed, self._sound.speech(self._pushed))
            self._items.append(item)
            self._committed = self._pushed
            self._sound.drop(self._committed)
        item.id = name
        self._judge(name)

    def _complete(self, message: Any) -> None:
        words = self._words_of(message)
        if words.is_complete:
            return
        whole = message.get("transcript")
        words.text = whole if isinstance(whole, str) else words.text
        found = [text(fields(each).get("code")) for each in items(message.get("languages"))]
        words.language = found[0] if len(found) == 1 else ""
        words.is_complete = True
        self._judge(text(message.get("item_id")))

    def _judge(self, name: str) -> None:
        """Drop words that were more likely invented than said."""
        item, words = next((item for item in self._items if item.id == name), None), self._words.get(name)
        if item is None or words is None or not words.is_complete:
            return
        seconds = max(item.end - item.begin, SHORTEST_ITEM) / RATE_HZ
        reason = invented(words.text, speech=item.speech, seconds=seconds, prompt=self._prompt)
        if reason is not None:
            self._drop(reason)
            words.text = words.language = ""

    def _take_error(self, error: Mapping[str, Any]) -> None:
        """Most errors change nothing. What was too short to be committed has no words."""
        if text(error.get("code")) != _EMPTY:
            return
        number = text(error.get("event_id")).removeprefix(COMMIT)
        waiting = [item for item in self._items if not item.id and not item.is_empty]
        if number.isdecimal() and 0 < int(number) <= len(self._items):
            self._items[int(number) - 1].is_empty = True
        elif waiting:
            waiting[0].is_empty = True

    def _words_of(self, message: Any) -> _Words:
        return self._words.setdefault(text(message.get("item_id")), _Words())

    def _heard_of(self, item: _Item) -> Heard:
        words = self._words.get(item.id) if item.id else None
        return Heard(words.text.strip(), language=words.language) if words is not None else Heard()

    def _is_complete(self, item: _Item) -> bool:
        words = self._words.get(item.id)
        return item.is_empty or bool(item.id and words is not None and words.is_complete)

    @property
    def _complete_items(self) -> int:
        """The items at the beginning that are all complete."""
        return next((n for n, item in enumerate(self._items) if not self._is_complete(item)), len(self._items))

    @property
    def _complete_to(self) -> int:
        complete = self._complete_items
        return self._items[complete - 1].end if complete else 0

    def _answer(self) -> None:
        complete = self._complete_items
        for sample, count in self._flushes:
            if count <= complete:
                self._answered = max(self._answered, sample)
        self._flushes = [(sample, count) for sample, count in self._flushes if count > complete]


def _append(sound: bytes) -> str:
    return f'{{"type":"input_audio_buffer.append","audio":"{b64encode(sound).decode()}"}}'


def read(frame: Frame) -> Received | None:
    """Decode a message. Binary frames and JSON that is no object say nothing."""
    message = msgspec.json.decode(frame) if isinstance(frame, str) else None
    return Received(message) if isinstance(message, dict) else None


def is_ready(message: Any) -> bool:
    return text(message.get("type")) == "session.updated"


def failure(message: Any) -> EngineError | None:
    """
    The error, if a message means that this socket is of no more use.

    After most errors the socket goes on. A transcription that has failed is made again on another one.
    """
    kind = text(message.get("type"))
    error = fields(message.get("error"))
    if kind not in ("error", _FAILED) or error.get("code") == _UNINTELLIGIBLE:
        return None
    code, cause = text(error.get("code")) or text(error.get("type")), text(error.get("event_id"))
    said = f"OpenAI reports {code or 'an error'}: {text(error.get('message'))[:200]}"
    if "quota" in code or "billing" in code:
        return QuotaExhausted(f"{said}. The account's quota is used up: add credit or raise its limit.")
    if "rate_limit" in code:
        return EngineFull(said)
    if code in ("invalid_api_key", "authentication_error"):
        return EngineError(f"{said}. Check the key in OPENAI_API_KEY.", permanent=True)
    if "model_not_found" in code or cause == HELLO:
        return EngineError(f"{said}. Check the option model (STT_MODEL).", permanent=True)
    is_lost = kind == _FAILED or "session_expired" in code or cause == TERMS
    is_commit = cause.startswith(COMMIT) and code != _EMPTY
    return EngineError(said) if is_lost or is_commit else None
