"""
Nova's protocol (``/v1/listen``) for one utterance on one socket, without I/O.

The service sends ``Results``: interim ones, each of which replaces the one before, and final ones, which never change.
``Finalize`` makes it send final ones for all sound that it has. The last of them is marked ``from_finalize``, but the
mark may not come if there was little sound, may come with an empty text, and other final ones may come before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import msgspec
import numpy as np

from inference.deepgram.account import report_terms
from inference.deepgram.exchange import DeepgramExchange
from inference.hosted.fields import fields, items, number, share, text
from inference.hosted.plan import Frame, Received
from inference.hosted.recognition import RATE_HZ, Heard
from inference.mulaw import encode_mulaw
from inference.types import EngineError, main_language

FINALIZE = '{"type":"Finalize"}'
KEEP_ALIVE = '{"type":"KeepAlive"}'
"""Without it or sound, the service closes the socket after 10 s."""
SILENCE = encode_mulaw(np.zeros(160, np.int16))
"""20 ms that are sent first on each socket, because KeepAlive has failed to hold one that got no sound."""
QUIET = 0.3
"""Seconds without a message after which a flush is over whose mark did not come."""
LITTLE = int(0.3 * RATE_HZ)
"""Samples. With less sound than this behind the known words, the mark may not come."""
COVERED = int(0.05 * RATE_HZ)
"""Samples. A final result that ends so little before the flush is its answer: no word fits between them."""
BEYOND = int(0.5 * RATE_HZ)
"""Samples. A result that ends so far behind all sound that was sent has another clock than ours."""
SURE = 0.5
"""The confidence from which the words of an interim result count although the final one is empty. Services have sent
empty ones after right words; a guess at a noise is less sure than this."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    begin: float | None
    """Seconds on the socket's clock."""
    confidence: float
    language: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """The words of one result."""

    text: str = ""
    confidence: float = 1.0
    words: tuple[Word, ...] = ()
    languages: tuple[str, ...] = ()

    @classmethod
    def of(cls, message: Any) -> Segment:
        alternative = fields(next(iter(items(fields(message.get("channel")).get("alternatives"))), None))
        words = [fields(each) for each in items(alternative.get("words"))]
        return cls(
            text(alternative.get("transcript")).strip(),
            share(alternative.get("confidence")),
            tuple(
                Word(
                    text(word.get("punctuated_word")) or text(word.get("word")),
                    number(word.get("start")),
                    share(word.get("confidence")),
                    text(word.get("language")),
                )
                for word in words
            ),
            tuple(filter(None, (text(each) for each in items(alternative.get("languages"))))),
        )

    def after(self, seconds: float) -> Segment:
        """Those of its words that begin later."""
        words = tuple(word for word in self.words if word.begin is not None and word.begin >= seconds - 0.01)
        return Segment(" ".join(filter(None, (word.text for word in words))), self.confidence, words, self.languages)

    def heard(self) -> Heard:
        weight = len(self.text.split())
        counts = Counter(main_language(word.language) for word in self.words if word.language)
        if not counts:
            counts = Counter(main_language(each) for each in self.languages[:1])
        language, count = counts.most_common(1)[0] if counts else ("", 0)
        probability = count / counts.total() if counts else 0.0
        return Heard(self.text, 0, self.confidence, weight, language, probability)


@dataclass
class NovaExchange(DeepgramExchange):
    """
    See ``Exchange``.

    A final result that comes twice counts once. Sound of which an earlier one had the words has no further ones.
    """

    offset: int = len(SILENCE)
    """Samples that were sent on the socket before this utterance."""
    _finals: Heard = field(default_factory=Heard)
    _settled: Heard = field(default_factory=Heard)
    """Those before the first one whose time was not known."""
    _known: set[Hashable] = field(default_factory=set)
    """The names of final results: see ``_names_of``."""
    _final_end: int = 0
    """Samples up to which there are final results."""
    _interim: Segment = field(default_factory=Segment)
    _interim_end: int = 0
    _clock_is_known: bool = True
    """Whether the times of all final results were there and made sense."""

    @property
    def heard(self) -> Heard:
        samples = min(self._pushed, max(self._final_end, self._interim_end, self._answered))
        heard = self._finals.then(self._interim.heard())
        return Heard(heard.text, samples, heard.confidence, heard.weight, heard.language, heard.language_probability)

    @property
    def settled(self) -> Heard:
        return self._settled

    @property
    def quiet(self) -> float:
        if not self._flushes:
            return inf
        known = max(self._final_end, self._interim_end)
        return QUIET if self._flushes[-1] - known <= LITTLE else inf

    def flush(self) -> Sequence[Frame]:
        self._flushes.append(self._pushed)
        return (FINALIZE,)

    def receive(self, message: Any) -> Sequence[Frame]:
        kind = text(message.get("type"))
        if kind == "Results":
            self._take(message)
        elif kind == "ConfigureFailure":
            report_terms(text(message.get("code")))
        return ()

    def _take(self, message: Any) -> None:
        segment = Segment.of(message)
        end = self._end_of(message, segment)
        is_marked = message.get("from_finalize") is True
        if message.get("is_final") is True or is_marked:
            words, mark = _names_of(message, segment)
            if words not in self._known:
                self._take_final(self._news_of(segment, number(message.get("start"))), end)
            self._answer(end, marked=is_marked and mark not in self._known)
            self._known |= {name for name in (words, mark if is_marked else None) if name is not None}
        elif end is None or end > self._final_end:
            self._interim = segment
            self._interim_end = max(self._interim_end, end or 0)

    def _news_of(self, segment: Segment, start: float | None) -> Segment:
        """What of a final result no earlier one had, if the times of its words say so."""
        known = (self._final_end + self.offset) / RATE_HZ
        overlaps = self._final_end > 0 and start is not None and start < known - COVERED / RATE_HZ
        if not overlaps or not segment.words or any(word.begin is None for word in segment.words):
            return segment
        return segment.after(known)

    def _take_final(self, segment: Segment, end: int | None) -> None:
        rest = Segment()
        if end is None:
            self._clock_is_known = False
        else:
            rest = self._interim.after((end + self.offset) / RATE_HZ) if end < self._interim_end else rest
            self._final_end = max(self._final_end, end)
        if not segment.text and not rest.text and self._interim.confidence >= SURE:
            segment = self._interim
        self._finals = self._finals.then(segment.heard())
        self._interim = rest
        if self._clock_is_known:
            self._settled = replace(self._finals, samples=self._final_end)

    def _answer(self, end: int | None, *, marked: bool) -> None:
        done = [each for each in self._flushes if end is not None and each <= end + COVERED]
        if not done and marked and self._flushes:
            done = [self._flushes[0]]
        for each in done:
            self._answered = each
            self._flushes.popleft()

    def _end_of(self, message: Any, segment: Segment) -> int | None:
        """The sample of the utterance at which a result ends; None if it does not say so, or not on our clock."""
        start, duration = number(message.get("start")), number(message.get("duration"))
        if start is None or duration is None or (segment.text and duration <= 0):
            return None
        end = round((start + duration) * RATE_HZ) - self.offset
        return None if end > self._pushed + BEYOND else max(0, min(end, self._pushed))


def _names_of(message: Any, segment: Segment) -> tuple[Hashable, Hashable]:
    """
    What only a repetition of a final result has in common with it, as far as its words and its mark are concerned.

    None if there is nothing such. An empty result has no words that could be repeated.
    """
    start, duration = number(message.get("start")), number(message.get("duration"))
    begins = tuple(word.begin for word in segment.words)
    span = (start, duration) if start is not None and duration is not None else None
    by_words = (segment.text, begins) if begins and None not in begins else None
    words = (span if span and span[1] > 0 else by_words) if segment.text else None
    return words, ("mark", *span) if span else None


def read(frame: Frame) -> Received | None:
    """Decode a message. Binary frames and JSON that is no object say nothing."""
    message = msgspec.json.decode(frame) if isinstance(frame, str) else None
    return Received(message) if isinstance(message, dict) else None


def failure(message: Any) -> EngineError | None:
    """The error, if the service says that it could not understand what it was sent."""
    if text(message.get("type")) != "Error":
        return None
    kind = text(message.get("variant")) or text(message.get("code")) or "an error"
    return EngineError(f"Deepgram reports {kind}: {text(message.get('description'))[:200]}")
