"""Random messages of a media stream, made from a seed: genuine ones, odd ones, and those that must change nothing."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

TEXT, BINARY, CONTINUED, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
SILENCE = b"\xff" * 160
MOST_BYTES = 65_536
"""The server closes a socket that sends a longer message."""
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**31, 2**53 + 1, 2**64, -(2**63), 10**400, float("nan"), float("inf"), 1e308, "", " ",
    "NaN", "-1", "1e400", "9" * 5000, "0x10", "²", "٣", "\0", "a\0b", "\u202e", "\ud7ff\ufffd\U0010ffff", "\x1b[31m",
    "\r\nX: y", "%s%n", "' OR 1=1 --", "{{ x }}", "../../etc/passwd", [], {}, [[]], {"a": {"b": []}}, ["inbound"],
)  # fmt: skip
NOT_BASE64 = (
    "!",
    "/w=",
    "/w==\n",
    "=",
    "/w==/w==",
    "-_-_",
    "\0\0\0\0",
    "/w\u200b==",
    "data:audio/x-mulaw;base64,/w==",
    "A",
)
NOT_MESSAGES = (
    "", " ", "null", "true", "0", "NaN", "[]", "{}", "[{}]", '"media"', "{", '{"event"', '{"event":}',
    "{'event':'stop'}",
    '{"event":null}', '{"event":["stop"]}', '{"event":{"stop":1}}', '{"event":"stop"', '\ufeff{"event":"stop"}',
    '{"event":"stop"}{"event":"stop"}', '{"event":"stop"} x', '{"event":"media","media":{"payload":"\\ud800"}}',
    '{"event":"media","media":' * 500, "[" * 30_000, '{"a":' * 10_000, '{"event":"' + "x" * 50_000 + '"}',
    '{"event":"media","streamSid":"\\u0000"}', "<Response/>", "GET / HTTP/1.1\r\n\r\n",
)  # fmt: skip
UNKNOWN_EVENTS = ("Stop", "STOP", "stop ", "", "closed", "clear", "websocket:connected", "media\0", "__class__")


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A frame of a client (RFC 6455, section 5.2). Its mask is zero, which leaves the payload as it is."""
    length, mask = len(payload), 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    if length < 126:
        head += bytes([mask | length])
    elif length < 65_536:
        head += bytes([mask | 126]) + length.to_bytes(2)
    else:
        head += bytes([mask | 127]) + length.to_bytes(8)
    return head + (bytes(4) if masked else b"") + payload


class OddMessages:
    """Makes the messages of one stream, as bytes for its socket. ``sound`` is what the caller says, as mu-law."""

    def __init__(self, seed: int, *, call_sid: str, account_sid: str, sound: bytes = b"") -> None:
        self.random = random.Random(seed)
        self.stream_sid = f"MZ{self.random.getrandbits(128):032x}"
        self._call_sid, self._account_sid = call_sid, account_sid
        self._sound = sound
        self._said = 0
        """How many bytes of the sound were sent."""
        self._sequence = self._chunk = 0
        self.marks: list[str] = []
        """The names of the marks that the server has sent."""

    def opening(self) -> bytes:
        """``connected`` and ``start``, as Twilio sends them, perhaps behind messages that come too early."""
        early = [self.misplaced() for _ in range(self.random.choice((0, 0, 1, 5)))]
        return b"".join((*early, _text({"event": "connected", "protocol": "Call", "version": "1.0.0"}), self.start()))

    def start(self, **changes: Any) -> bytes:
        body = {
            "streamSid": self.stream_sid,
            "accountSid": self._account_sid,
            "callSid": self._call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {},
            **changes,
        }
        return _text({"event": "start", "sequenceNumber": "1", "start": body, "streamSid": body["streamSid"]})

    def start_of_another(self) -> bytes:
        """A ``start`` that is not of the call for which the socket was opened, or has a name that nobody may have."""
        changes = self.random.choice(
            (
                {"callSid": f"CA{self.random.getrandbits(128):032x}"},
                {"callSid": self._call_sid.lower()},
                {"callSid": self._call_sid + "\0"},
                {"callSid": "\0"},
                {"streamSid": "\0"},
                {"streamSid": "x" * 65},
                {"streamSid": "\x1b[31m"},
                {"accountSid": "AC" + "0" * 32},
                {"accountSid": None},
            )
        )
        return self.start(**changes)

    def stop(self) -> bytes:
        return _text({"event": "stop", "streamSid": self.stream_sid, "stop": {"callSid": self._call_sid}})

    def genuine(self) -> bytes:
        """The next 20 ms of the caller, who speaks and pauses."""
        audio = self._sound[self._said : self._said + 160].ljust(160, b"\xff")
        self._said = self._said + 160 if self._said < len(self._sound) + 16_000 else 0
        return _text(self._media(audio))

    def silence(self) -> bytes:
        """The next 20 ms of a caller who says nothing."""
        return _text(self._media(SILENCE))

    # -- what a caller or another sender may cause ------------------------------------------------

    def odd(self) -> bytes:
        """A message that is allowed, or nearly: what it causes concerns its own call alone."""
        return self.random.choice(self._odd_kinds)(self)

    def _with_odd_fields(self) -> bytes:
        message = self._any_message()
        place = self.random.choice([message, *(value for value in message.values() if isinstance(value, dict))])
        for _ in range(self.random.randint(1, 3)):
            name = self.random.choice((*(name for name in place if name != "event"), "more", "", "\0"))
            place[name] = self._value()
        return _text(message)

    def _without_fields(self) -> bytes:
        message = self._any_message()
        place = self.random.choice([message, *(value for value in message.values() if isinstance(value, dict))])
        place.pop(self.random.choice([name for name in place if name != "event"] or [""]), None)
        return _text(message)

    def _twice_the_same_field(self) -> bytes:
        text = json.dumps(self._any_message())
        return frame(TEXT, f'{text[:-1]}, "streamSid": {json.dumps(self._value())}, {text[1:]}'.encode())

    def _at_an_odd_time(self) -> bytes:
        message = self._media(SILENCE)
        message["media"]["timestamp"] = self.random.choice(("0", "1", "-0", "5000000", "1.5", 2**53, 7, "20"))
        message["media"]["chunk"] = self.random.choice(("0", "1", str(2**53), 3, "999999"))
        message["sequenceNumber"] = self.random.choice(("0", "1", "4", str(2**53), 10**6))
        return _text(message)

    def _of_odd_length(self) -> bytes:
        length = self.random.choice((0, 1, 2, 159, 161, 320, 1600, 8000, 40_000))
        return _text(self._media(self.random.choice((b"\xff" * length, self.random.randbytes(length)))))

    def _mark(self) -> bytes:
        never_sent = self.random.choice(("", "x", "1", "0:0", "\0", "m" * 30_000))
        name = self.random.choice((*self.marks[-20:], never_sent))
        return _text({"event": "mark", "streamSid": self.stream_sid, "mark": {"name": name}})

    def _keys(self) -> bytes:
        keys = self.random.choices("0123456789*#ABCDabcd", k=self.random.choice((1, 1, 1, 12)))
        return b"".join(_text(self._key(key)) for key in keys)

    def _in_binary(self) -> bytes:
        return frame(BINARY, json.dumps(self._any_message()).encode())

    def _in_fragments(self) -> bytes:
        text = json.dumps(self._any_message()).encode()
        cuts = sorted(self.random.choices(range(len(text) + 1), k=self.random.choice((1, 2, 30))))
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        last = len(parts) - 1
        frames = [frame(CONTINUED if n else TEXT, part, fin=n == last) for n, part in enumerate(parts)]
        return frame(PING, b"between").join(frames)

    def _pings(self) -> bytes:
        payload = self.random.randbytes(self.random.choice((0, 1, 125)))
        return b"".join((frame(self.random.choice((PING, PONG)), payload),) * self.random.choice((1, 1, 50)))

    _odd_kinds: Sequence[Callable[[OddMessages], bytes]] = (
        _with_odd_fields, _without_fields, _twice_the_same_field, _at_an_odd_time, _of_odd_length, _mark, _keys,
        _in_binary, _in_fragments, _pings,
    )  # fmt: skip

    # -- what must change nothing -----------------------------------------------------------------

    def misplaced(self) -> bytes:
        """A message that is malformed, or of another stream. What it says must have no effect."""
        return self.random.choice(self._misplaced_kinds)(self)

    def _not_a_message(self) -> bytes:
        return frame(self.random.choice((TEXT, BINARY)), self.random.choice(NOT_MESSAGES).encode())

    def _random_bytes(self) -> bytes:
        return frame(BINARY, self.random.randbytes(self.random.choice((1, 160, 5000))))

    def _cut_off(self) -> bytes:
        text = json.dumps(self._any_message(digit="5"))
        return frame(TEXT, text[: self.random.randint(0, len(text) - 1)].encode())

    def _of_another_stream(self) -> bytes:
        message = self.random.choice((self._media(self._sound[:1600]), self._key("9"), {"event": "stop"}))
        other = self.random.choice((self.stream_sid.lower(), self.stream_sid + " ", "MZ" + "0" * 32, "\0", "x" * 128))
        return _text({**message, "streamSid": other})

    def _second_start(self) -> bytes:
        return self.start() if self._chunk else _text({"event": "connected"})

    def _not_base64(self) -> bytes:
        message = self._media(b"")
        message["media"]["payload"] = self.random.choice((*NOT_BASE64, *(v for v in ODD_VALUES if v not in ("", None))))
        return _text(message)

    def _not_a_key(self) -> bytes:
        keys = [value for value in ODD_VALUES if value not in (0, "0") and not isinstance(value, bool)]
        return _text(self._key(self.random.choice((*keys, "10", "E", "5 ", "w"))))

    def _unknown(self) -> bytes:
        return _text({**self._media(self._sound[:160]), "event": self.random.choice(UNKNOWN_EVENTS)})

    def _what_we_play(self) -> bytes:
        message = self._media(self._sound[:1600])
        message["media"]["track"] = self.random.choice(("outbound", "outbound_track", "OUTBOUND"))
        return _text(message)

    _misplaced_kinds: Sequence[Callable[[OddMessages], bytes]] = (
        _not_a_message, _random_bytes, _cut_off, _of_another_stream, _second_start, _not_base64, _not_a_key, _unknown,
        _what_we_play,
    )  # fmt: skip

    # -- what ends the socket ---------------------------------------------------------------------

    def fatal(self) -> bytes:
        """Bytes after which a server must close the socket (RFC 6455)."""
        return self.random.choice(
            (
                frame(TEXT, b'{"event":"mark\xff\xfe"}'),
                frame(0x3, b"reserved"),
                frame(0xB, b"reserved"),
                frame(TEXT, b"{}", reserved=0x40),
                frame(TEXT, b"{}", masked=False),
                frame(PING, b"x" * 126),
                frame(PING, b"x", fin=False),
                frame(CONTINUED, b"of nothing"),
                frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
                frame(TEXT, b" " * (MOST_BYTES + 1)),
                frame(TEXT, b" " * MOST_BYTES, fin=False) + frame(CONTINUED, b" " * MOST_BYTES),
                b"\x81\xff" + b"\x7f" * 8,  # a length of 2 ** 63 and more
                frame(CLOSE, b"\x03"),
                frame(CLOSE, (999).to_bytes(2)),
                frame(CLOSE, (1000).to_bytes(2) + b"\xff\xfe"),
                self.random.randbytes(500),
            )
        )

    # -- parts of messages ------------------------------------------------------------------------

    def _any_message(self, digit: str = "") -> dict[str, Any]:
        digit = digit or self.random.choice("0123456789*#")
        mark = {"event": "mark", "streamSid": self.stream_sid, "mark": {"name": "x"}}
        return self.random.choice((self._media(SILENCE), self._media(SILENCE), self._key(digit), mark))

    def _media(self, audio: bytes) -> dict[str, Any]:
        self._sequence += 1
        self._chunk += 1
        body = {
            "track": "inbound",
            "chunk": str(self._chunk),
            "timestamp": str(150 + 20 * self._chunk),
            "payload": base64.b64encode(audio).decode(),
        }
        return {"event": "media", "sequenceNumber": str(self._sequence), "media": body, "streamSid": self.stream_sid}

    def _key(self, digit: Any) -> dict[str, Any]:
        return {"event": "dtmf", "streamSid": self.stream_sid, "dtmf": {"track": "inbound_track", "digit": digit}}

    def _value(self) -> Any:
        return self.random.choice(ODD_VALUES)


def _text(message: dict[str, Any]) -> bytes:
    return frame(TEXT, json.dumps(message).encode())
