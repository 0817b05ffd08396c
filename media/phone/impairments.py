"""What a telephone line and a hostile or clumsy peer do to a call: seeded, so that a bad day can be had again."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, Literal, TypeVar

import msgspec
import numpy as np

from media.audio import decode_mulaw, encode_mulaw
from media.phone.frames import FRAME_BYTES, FRAME_SECONDS, RATE_HZ, SILENT_FRAME

Item = TypeVar("Item")
FrameKind = Literal["text", "binary"]


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing from the caller reaches the app for ``seconds``; then all of it does, at once."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Fault:
    """
    Something goes wrong ``at`` seconds after ``start`` was sent.

    ``kind`` is one of ``WIRE_FAULTS`` (a message that should not have been sent) or:

    - ``early-media``: media before ``start`` (``at`` is ignored)
    - ``drop``: the connection is reset without a word; ``close``: closed with the code ``value``
    - ``gap``: ``value`` seconds of the caller's audio are dropped; ``sequence-gap``: ``value`` numbers are skipped
    - ``duplicate``: the next frame is sent twice; ``swap``: the next two change places
    - ``stop-reading``: nothing is read from the app for ``value`` seconds
    - ``lose-mark``: the next echo is lost; ``late-marks``: echoes are held back for ``value`` seconds
    """

    at: float
    kind: str
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Impairments:
    """
    ``network_delay`` is what the internet adds each way and ``jitter`` up to how much more, in order as TCP
    has it; ``carrier_delay`` what gateway, carrier and handset add each way (rounded to frames; it shows
    on the tape). ``loss`` is the share of the caller's frames that never reach the gateway. ``noise_db`` is line
    noise in dBFS. ``bunch`` frames arrive together. ``prebuffer`` is how long play-out waits after an empty
    queue. ``start_delay`` holds back ``start``; infinity means that it never comes.
    """

    network_delay: float = 0.0
    jitter: float = 0.0
    carrier_delay: float = 0.0
    loss: float = 0.0
    noise_db: float | None = None
    bunch: int = 1
    prebuffer: float = 0.0
    start_delay: float = 0.0
    stalls: Sequence[Stall] = ()
    faults: Sequence[Fault] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for fault in self.faults:
            if fault.kind not in WIRE_FAULTS and fault.kind not in _LINE_FAULTS:
                known = ", ".join(sorted([*WIRE_FAULTS, *_LINE_FAULTS]))
                raise ValueError(f"unknown fault {fault.kind!r}; there are: {known}")


class DelayLine(Generic[Item]):
    """
    Delivers items late and in order, as a TCP connection over a poor network does.

    Without a delay, jitter, stall or bunch an item is delivered inside ``push``.
    """

    def __init__(
        self,
        deliver: Callable[[Item], None],
        *,
        random: Random,
        delay: float = 0.0,
        jitter: float = 0.0,
        stalls: Sequence[Stall] = (),
        bunch: int = 1,
    ) -> None:
        self._deliver = deliver
        self._random = random
        self._delay, self._jitter, self._stalls, self._bunch = delay, jitter, stalls, bunch
        self._waiting: deque[tuple[float, Item]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._last_due = 0.0
        self.origin = time.monotonic()
        """The instant that ``Stall.at`` counts from."""

    def push(self, item: Item) -> None:
        now = time.monotonic()
        due = max(self._due(now), self._last_due)
        if due <= now and not self._waiting:
            self._deliver(item)
            return
        self._last_due = due
        self._waiting.append((due, item))
        if self._timer is None:
            self._arm(now)

    def close(self) -> None:
        """Forget what is under way."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self, now: float) -> float:
        due = now + self._delay
        if self._jitter:
            due += self._random.uniform(0.0, self._jitter)
        if self._bunch > 1:
            every = self._bunch * FRAME_SECONDS
            due = self.origin + math.ceil((due - self.origin) / every) * every
        for stall in self._stalls:
            end = self.origin + stall.at + stall.seconds
            if end - stall.seconds <= due < end:
                due = end
        return due

    def _arm(self, now: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(0.0, self._waiting[0][0] - now), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            self._deliver(self._waiting.popleft()[1])
        if self._waiting and self._timer is None:
            self._arm(now)


class Noise:
    """White noise at a level in dBFS (RMS), added to mu-law frames; a loop of two seconds, so it costs little."""

    def __init__(self, level_db: float, *, seed: int = 0) -> None:
        amplitude = 32768.0 * 10.0 ** (level_db / 20.0)
        noise = np.random.default_rng(seed).normal(0.0, amplitude, 2 * RATE_HZ)
        self._pcm = noise.clip(-32768, 32767).astype(np.int16)
        self._mulaw = encode_mulaw(self._pcm)
        self._position = 0

    def add(self, frame: bytes) -> bytes:
        start = self._position
        end = start + FRAME_BYTES
        self._position = end % len(self._mulaw)
        if frame == SILENT_FRAME:
            return self._mulaw[start:end]
        return mix(frame, self._mulaw[start:end])


def mix(first: bytes, second: bytes) -> bytes:
    """The sum of two mu-law pieces of the same length."""
    total = decode_mulaw(first).astype(np.int32) + decode_mulaw(second)
    return encode_mulaw(total.clip(-32768, 32767).astype(np.int16))


_LINE_FAULTS = frozenset(
    {
        *("early-media", "drop", "close", "gap", "sequence-gap", "duplicate", "swap"),
        *("stop-reading", "lose-mark", "late-marks"),
    }
)
Message = dict[str, Any]
"""A well-formed ``media`` message of this stream, for a fault to spoil."""


def _text(message: Message) -> list[tuple[FrameKind, bytes]]:
    return [("text", msgspec.json.encode(message))]


def _with_payload(message: Message, payload: str) -> list[tuple[FrameKind, bytes]]:
    return _text(message | {"media": message["media"] | {"payload": payload}})


def _second_start(message: Message) -> list[tuple[FrameKind, bytes]]:
    sid = message["streamSid"]
    form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    start = {"streamSid": sid, "accountSid": "AC" + "0" * 32, "callSid": "CA" + "0" * 32, "tracks": ["inbound"]}
    return _text(
        {
            "event": "start",
            "sequenceNumber": message["sequenceNumber"],
            "streamSid": sid,
            "start": start | {"mediaFormat": form, "customParameters": {}},
        }
    )


WIRE_FAULTS: dict[str, Callable[[Message], list[tuple[FrameKind, bytes]]]] = {
    "garbage": lambda message: [("text", b"this is {not JSON")],
    "array": lambda message: [("text", b"[1, 2, 3]")],
    "deep-json": lambda message: [("text", b"[" * 20_000 + b"]" * 20_000)],
    "invalid-utf8": lambda message: [("text", b'{"event":"media\xff\xfe"}')],
    "binary": lambda message: [("binary", bytes(FRAME_BYTES))],
    "huge": lambda message: [("text", b'{"event":"media","padding":"' + b"A" * 1_000_000 + b'"}')],
    "bad-base64": lambda message: _with_payload(message, "!!not base64!!"),
    "empty-payload": lambda message: _with_payload(message, ""),
    "odd-length": lambda message: _with_payload(message, "/" * 212) + _with_payload(message, "/" * 215 + "="),
    "wrong-sid": lambda message: _text(message | {"streamSid": "MZ" + "f" * 32}),
    "unknown-event": lambda message: _text({"event": "surprise", "streamSid": message["streamSid"]}),
    "unknown-field": lambda message: _text(message | {"novelty": {"nested": [1, None]}}),
    "number-sequence": lambda message: _text(message | {"sequenceNumber": int(message["sequenceNumber"])}),
    "second-start": _second_start,
}
