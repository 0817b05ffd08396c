"""The effects of a bad line and of a faulty or hostile peer. Everything random is seeded, so a run can be repeated."""

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

from inference.mulaw import decode_mulaw, encode_mulaw
from media.phone.frames import FRAME_BYTES, FRAME_SECONDS, RATE_HZ, SILENT_FRAME

NOISE_SECONDS = 2
"""Length of the loop of line noise: too long to be heard as a rhythm, short enough to cost little memory."""
Item = TypeVar("Item")
FrameKind = Literal["text", "binary"]
"""The two kinds of WebSocket message."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing reaches the application from ``at`` seconds after ``start`` on, for ``seconds``; then all of it does."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Fault:
    """
    Something that goes wrong ``at`` seconds after ``start`` was sent.

    ``kind`` is one of ``WIRE_FAULTS`` (a message that Twilio would not send) or:

    - ``early-media``: media is sent before ``start`` (``at`` is ignored)
    - ``drop``: the connection is reset without a close frame; ``close``: it is closed with the code ``value``
    - ``gap``: ``value`` seconds of the caller's audio are lost; ``sequence-gap``: ``value`` numbers are skipped
    - ``duplicate``: the next frame is sent twice; ``swap``: the next two change places
    - ``stop-reading``: nothing is read from the application for ``value`` seconds
    - ``lose-mark``: the next echo of a mark is lost; ``late-marks``: echoes are held back for ``value`` seconds
    """

    at: float
    kind: str
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Impairments:
    """The faults of the line of a call. Times are in seconds."""

    network_delay: float = 0.0
    """The delay of the internet, each way."""
    jitter: float = 0.0
    """Up to how much more it adds, at random; messages stay in order, as on TCP."""
    carrier_delay: float = 0.0
    """The delay of gateway, carrier and handset, each way, rounded to frames. The tape includes it."""
    loss: float = 0.0
    """The share of the caller's frames that never reach the gateway."""
    noise_db: float | None = None
    """Line noise in dBFS."""
    bunch: int = 1
    """The number of frames that arrive together."""
    prebuffer: float = 0.0
    """The time for which play-out waits after an empty queue."""
    start_delay: float = 0.0
    """The time for which ``start`` is held back; with infinity it never comes."""
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

    An item that is not delayed is delivered inside ``push``.
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
        self.origin = time.monotonic()
        """The instant that stalls and bunches count from."""
        self._waiting: deque[tuple[float, Item]] = deque()  # when each is due, and what it is
        self._timer: asyncio.TimerHandle | None = None  # for the first that waits
        self._last_due = 0.0  # of the item pushed last; a later one is not delivered before it

    def push(self, item: Item) -> None:
        """Send an item on its way."""
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
        """Drop what is under way."""
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
    """White noise at a level in dBFS (RMS), to be added to mu-law frames. It repeats, so that it costs little."""

    def __init__(self, level_db: float, *, seed: int = 0) -> None:
        amplitude = 32768.0 * 10.0 ** (level_db / 20.0)
        noise = np.random.default_rng(seed).normal(0.0, amplitude, NOISE_SECONDS * RATE_HZ)
        self._mulaw = encode_mulaw(noise.clip(-32768, 32767).astype(np.int16))
        self._position = 0  # of the next frame in the loop

    def add(self, frame: bytes) -> bytes:
        """Return the frame with noise."""
        start = self._position
        end = start + FRAME_BYTES
        self._position = end % len(self._mulaw)
        if frame == SILENT_FRAME:
            return self._mulaw[start:end]
        return mix(frame, self._mulaw[start:end])


def mix(first: bytes, second: bytes) -> bytes:
    """Return the sum of two pieces of mu-law audio of the same length."""
    total = decode_mulaw(first).astype(np.int32) + decode_mulaw(second)
    return encode_mulaw(total.clip(-32768, 32767).astype(np.int16))


_LINE_FAULTS = frozenset(
    {
        *("early-media", "drop", "close", "gap", "sequence-gap", "duplicate", "swap"),
        *("stop-reading", "lose-mark", "late-marks"),
    }
)
Message = dict[str, Any]
"""A well-formed ``media`` message of the stream, from which a fault makes its own."""


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
