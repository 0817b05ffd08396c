"""
Recognises speech by ``POST /audio/transcriptions``: OpenAI, and the many servers that have the same request.

Each answer costs a request with the sound of the utterance, so there are no partials. A snapshot after which only
silence was pushed shares its answer with those that follow; ``inference/hosted/requested_recognition.py`` decides.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from uuid import uuid4

import aiohttp
import msgspec
import numpy as np

from inference import usage
from inference.chat.events import EventReader
from inference.hosted.api import Api
from inference.hosted.health import Health
from inference.hosted.openai import (
    LANGUAGES,
    OPENAI_URL,
    authorisation,
    check_account,
    check_model,
    check_seconds,
    is_own,
    key_of,
    provider_of,
    refusal_in,
    usage_name,
)
from inference.hosted.requested_recognition import RequestedTranscription, Words
from inference.interfaces import OnPartial
from inference.types import (
    AUTO,
    Description,
    EngineError,
    EngineFull,
    EngineTimeout,
    Languages,
    has_language,
    main_language,
)

logger = logging.getLogger(__name__)

SETTING = "the option model (STT_MODEL)"
PATH = "/audio/transcriptions"
MOST_KEYTERMS = 100
LONGEST_ANSWER = 1 << 20
"""Bytes. The words of two minutes are a few thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAITranscribeOptions:
    api_key: str = field(default="", repr=False)
    """Sent as a bearer token, if there is one. OpenAI needs it."""

    base_url: str = OPENAI_URL
    """The address of the API, without ``/audio/transcriptions``."""

    model: str = "gpt-transcribe"
    """The name of the model at the server."""

    languages: Sequence[str] = ()
    """The languages that the model recognises. Empty: OpenAI's, which are those of Whisper."""

    prompt: str = ""
    """Sent with each request: what the calls are about, or names as they are written."""

    keywords: bool | None = None
    """Whether the server takes the fields ``keywords`` and ``languages``. None: if the model is a ``gpt-transcribe``.
    Otherwise the key terms of a call are added to the prompt."""

    stream: bool = False
    """Whether the words are asked for as server-sent events, for a server that sends them in no other way."""

    rate_hz: int = 16_000
    """The rate of the recordings that are sent: 16000, or 8000, which is all that a telephone has and half the size."""

    longest: float = 15.0
    """Seconds of an utterance that are sent again with what follows them. Beyond it, what was recognised up to a pause
    is kept, which costs accuracy at the seam."""

    paid: bool | None = None
    """Whether requests cost money, so that none is made to warm up, and seconds are counted. None: yes, except for a
    server on this machine or in a private network."""

    extra_fields: Mapping[str, str] = field(default_factory=dict)
    """Further fields of every request, such as ``temperature``."""

    limit: int = 0
    """The most utterances at once; 0 sets no limit."""

    connect_timeout: float = 2.0
    """Seconds to open a connection."""

    timeout: float = 5.0
    """Seconds from a request to its answer."""

    load_timeout: float = 60.0
    """Seconds that the start waits for the first answer of an own server, which may load its model for it."""

    def __post_init__(self) -> None:
        check_account(self.base_url, self.api_key, "STT")
        if self.rate_hz not in (8000, 16_000):
            raise EngineError(f"rate_hz is {self.rate_hz}. Set it to 16000 or 8000.", permanent=True)
        check_seconds(self, "connect_timeout", "timeout", "load_timeout", "longest")
        if isinstance(self.languages, str):
            raise EngineError("languages is a list of codes", permanent=True)


class OpenAITranscribeSpeechToText:
    """One model at one server; the options say which."""

    gives_partials: ClassVar[bool] = False
    options_class: ClassVar[type[OpenAITranscribeOptions]] = OpenAITranscribeOptions

    def __init__(self, options: OpenAITranscribeOptions) -> None:
        self._options = options
        self._paid = options.paid if options.paid is not None else not is_own(options.base_url)
        self.may_speculate = not self._paid
        self.rate_hz = options.rate_hz
        self.counts: Counter[str] = Counter()
        """Counts of the texts that were dropped, by the reason."""
        self._key = key_of(options.base_url, "STT")
        self._knows_keywords = (
            options.model.startswith("gpt-transcribe") if options.keywords is None else options.keywords
        )
        self._api = Api(
            provider_of(options.base_url),
            options.base_url,
            headers={"Accept-Encoding": "identity", **authorisation(options.api_key)},
            key=self._key,
            setting="STT_BASE_URL",
            connect_timeout=options.connect_timeout,
            advice={404: f"Check the address (STT_BASE_URL) and {SETTING}.", 400: f"Check {SETTING}."},
        )
        self._health = Health()
        self._started = False
        self._starting = asyncio.Lock()
        self._open: weakref.WeakSet[RequestedTranscription] = weakref.WeakSet()

    @property
    def languages(self) -> Languages:
        return frozenset(map(main_language, self._options.languages or LANGUAGES)) | {AUTO}

    def describe(self) -> Description:
        weights = f"served by {self._api.where} as {self._options.model}"
        return Description(weights, device="server", capacity=self._options.limit)

    async def start(self) -> None:
        """Check the key and the model, and have an own server load it."""
        async with self._starting:
            if self._started:
                return
            try:
                await check_model(self._api, self._options.model, setting=SETTING)
                self._started = True
                if not self._paid:
                    await self._warm_up()
            except BaseException:
                self._started = False
                await self._api.close()
                raise

    async def close(self) -> None:
        self._started = False
        for utterance in list(self._open):
            utterance.cancel()
        await self._api.close()

    def open(
        self,
        *,
        language: str = "en",
        hint: str = "",
        on_partial: OnPartial | None = None,
        others: Sequence[str] = (),
        keyterms: Sequence[str] = (),
    ) -> RequestedTranscription:
        if not self._started:
            raise EngineError("the recogniser is not started")
        if not has_language(self.languages, language):
            raise EngineError(f"{self._options.model} does not recognise {language!r}", permanent=True)
        self._health.check()
        limit = self._options.limit
        if limit and len(self._open) >= limit:
            raise EngineFull(f"the recogniser has {limit} utterances open, which is its limit (`limit`)")
        prompt = self._prompt(keyterms)
        utterance = RequestedTranscription(
            partial(self._recognise, self._fields(language, others, keyterms, prompt), usage.current()),
            self.rate_hz,
            longest=self._options.longest,
            prompt=prompt,
            drop=self._count_dropped,
            released=self._open.discard,
        )
        self._open.add(utterance)
        return utterance

    def _count_dropped(self, reason: str) -> None:
        self.counts[reason] += 1

    # -- requests

    def _prompt(self, keyterms: Sequence[str]) -> str:
        terms = "" if self._knows_keywords or not keyterms else f"{', '.join(keyterms[:MOST_KEYTERMS])}."
        return " ".join(filter(None, (self._options.prompt, terms)))

    def _fields(
        self, language: str, others: Sequence[str], keyterms: Sequence[str], prompt: str
    ) -> list[tuple[str, str]]:
        options = self._options
        fields = {"model": options.model, "response_format": "json", "prompt": prompt}
        lists: list[tuple[str, str]] = []
        codes = list(
            dict.fromkeys(main_language(each) for each in (language, *others) if has_language(self.languages, each))
        )
        if language != AUTO:
            if len(codes) > 1 and self._knows_keywords:
                lists += [("languages[]", code) for code in codes if code != AUTO]
            else:
                fields["language"] = codes[0]
        if self._knows_keywords:
            lists += [("keywords[]", term) for term in keyterms[:MOST_KEYTERMS]]
        if options.stream:
            fields["stream"] = "true"
        return [*((name, value) for name, value in {**fields, **options.extra_fields}.items() if value), *lists]

    async def _recognise(
        self, fields: Sequence[tuple[str, str]], meter: usage.UsageMeter | None, pcm: bytes, *, patience: float = 0.0
    ) -> Words:
        if not self._started:
            raise EngineError("the recogniser is closed")
        options = self._options
        patience = patience or options.timeout
        seconds = len(pcm) / 2 / self.rate_hz
        private = [value for name, value in fields if name in ("prompt", "keywords[]")]
        boundary = uuid4().hex
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        body = multipart(boundary, fields, wav(pcm, self.rate_hz))
        is_billed = True
        try:
            async with (
                asyncio.timeout(patience),
                self._api.request("POST", PATH, private=private, data=body, headers=headers) as response,
            ):
                words = await self._read(response)
        except TimeoutError as error:
            raise EngineTimeout(f"{self._api.provider} gave no words within {patience:.1f} s") from error
        except EngineError as error:
            is_billed = False
            self._health.fail(error)
            raise
        finally:
            # One that is given up is not likely to be noticed by the server before it has the words.
            if is_billed and self._paid and meter is not None:
                meter.add("stt", usage_name(options.base_url, options.model), seconds=seconds)
        self._health.succeed()
        return words

    async def _read(self, response: aiohttp.ClientResponse) -> Words:
        if response.content_type == "text/event-stream":
            return await self._read_events(response)
        data = b""
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > LONGEST_ANSWER:
                raise EngineError(f"{self._api.provider} sent an answer of more than {LONGEST_ANSWER} bytes")
        if (content := _decoded(data)) is None:  # not quoted: it may be the words of a caller
            raise EngineError(f"{self._api.provider} answered with {response.content_type} that is not JSON with words")
        return self._words(content)

    async def _read_events(self, response: aiohttp.ClientResponse) -> Words:
        events, so_far, size = EventReader(), "", 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > LONGEST_ANSWER:
                break
            for event in events.feed(piece):
                content = _decoded(event)
                if event.strip() == b"[DONE]" and so_far:
                    return Words(so_far)
                match content:
                    case {"type": "transcript.text.delta", "delta": str(delta)}:
                        so_far += delta
                    case {"type": "transcript.text.done", "text": str()} | {"error": _}:
                        return self._words(content)
                    case _:
                        pass  # of a kind that means nothing here, or does not exist yet
        raise EngineError(f"{self._api.provider} broke off in the middle of its words")

    def _words(self, content: Any) -> Words:
        if isinstance(content, dict):
            text = content.get("text")
            if isinstance(text, str) or ("text" in content and text is None):
                return Words(text or "", _language_in(content.get("languages")))
            if "error" in content or "detail" in content:
                said = msgspec.json.encode(content).decode()
                raise refusal_in(said, self._api.provider, key=self._key, doing=f"POST {PATH}")
        raise EngineError(f"{self._api.provider} answered with something that has no text")

    async def _warm_up(self) -> None:
        """Send a second of soft noise, so that the server loads its model."""
        noise = np.random.default_rng(1).normal(0, 10, self.rate_hz).astype("<i2").tobytes()
        fields = self._fields(next(iter(sorted(self.languages or (), key=lambda code: code != "en"))), (), (), "")
        try:
            await self._recognise(fields, None, noise, patience=self._options.load_timeout)
        except EngineError as error:
            if error.permanent:
                raise
            logger.warning("%s does not recognise yet; calls try it again: %s", self._api.provider, error)


def wav(pcm: bytes, rate_hz: int) -> bytes:
    """A WAV file of these 16-bit little-endian samples."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + len(pcm), b"WAVE") + form + struct.pack("<4sI", b"data", len(pcm)) + pcm


def multipart(boundary: str, fields: Sequence[tuple[str, str]], file: bytes) -> bytes:
    """The body of a form with these fields and one recording. OpenAI tells its format by the name of the file."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    parts = [f'{head}{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields]
    start = f'{head}file"; filename="utterance.wav"\r\nContent-Type: audio/wav\r\n\r\n'.encode()
    return b"".join([*parts, start, file, f"\r\n--{boundary}--\r\n".encode()])


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):  # msgspec's errors, and those of text that is not UTF-8
        return None


def _language_in(found: Any) -> str:
    """The language that was found, if it is one."""
    codes = [each.get("code") if isinstance(each, dict) else each for each in found] if isinstance(found, list) else []
    return codes[0] if len(codes) == 1 and isinstance(codes[0], str) else ""
