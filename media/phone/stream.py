"""
One media stream of a call: a WebSocket to the app, a play-out clock, and a person on the phone.

Each stream has two absolute schedules of one frame per 20 ms: what the person says goes to the app as ``media``
messages, and what the app sent is played to the person from a queue of audio and marks. All streams of a
process hang on one ``Ticker``, and all work of a frame is done on bytes, so that one process carries many calls.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from binascii import b2a_base64
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec
from twilio.request_validator import RequestValidator
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus, NegotiationError
from websockets.http11 import Request

from media.errors import MediaError
from media.phone.frames import (
    FRAME_BYTES,
    FRAME_SECONDS,
    QUIET_SECONDS,
    RATE_HZ,
    SILENT_FRAME,
    first_audible,
    last_audible,
)
from media.phone.impairments import WIRE_FAULTS, DelayLine, Fault, FrameKind, Impairments, Noise
from media.phone.media_socket import CONNECT_TIMEOUT, MediaSocket
from media.phone.party import Note, Party
from media.phone.playout_queue import PlayoutQueue
from media.phone.tape import Tape
from media.phone.ticker import Ticker

MAX_UNSENT_FRAMES = 50  # one second
UNDERRUN_SECONDS = 1.0  # a dry queue that fills again within this was dry in mid-speech

Reason = Literal["app-closed", "party-hung-up", "call-updated", "refused", "lost"]


class StreamViolation(MediaError):
    """In strict mode: the app sent what Twilio would have ignored with a warning."""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What ``<Connect><Stream>`` asks for. ``connect_to`` is where to dial instead: ``ws://127.0.0.1:8000``."""

    url: str
    account_sid: str
    call_sid: str
    stream_sid: str
    auth_token: str
    parameters: dict[str, str] = field(default_factory=dict)
    connect_to: str | None = None


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How a stream ended. ``code`` is the WebSocket close code or, when refused, the HTTP status."""

    reason: Reason
    code: int | None = None
    detail: str = ""


class StreamOwner(Protocol):
    """What a stream needs of the gateway that runs it."""

    party: Party
    tape: Tape
    impairments: Impairments
    strict: bool
    sign_trailing_slash: bool
    underruns: int

    def error(self, code: int, detail: str) -> None: ...


class _Payload(msgspec.Struct, forbid_unknown_fields=True):
    payload: bytes  # msgspec decodes base64, strictly


class _Name(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Media(msgspec.Struct, tag_field="event", tag="media", forbid_unknown_fields=True):
    streamSid: str
    media: _Payload


class _Mark(msgspec.Struct, tag_field="event", tag="mark", forbid_unknown_fields=True):
    streamSid: str
    mark: _Name


class _Clear(msgspec.Struct, tag_field="event", tag="clear", forbid_unknown_fields=True):
    streamSid: str


_decode = msgspec.json.Decoder(_Media | _Mark | _Clear).decode


class _Refused(Exception):
    def __init__(self, code: int, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.status = code, detail, status


class MediaStream:
    """One WebSocket of one call, from the upgrade request to its end."""

    def __init__(self, gateway: StreamOwner, request: StreamRequest) -> None:
        self._gateway, self._party, self._tape = gateway, gateway.party, gateway.tape
        self._request = request
        self._sid = request.stream_sid
        self._random = Random(f"{gateway.impairments.seed} {request.stream_sid}")
        self._line_model = model = gateway.impairments
        self._ended: asyncio.Future[StreamEnd] = asyncio.get_running_loop().create_future()
        self._ending: Reason | None = None
        self._wire = MediaSocket(on_message=self._receive, on_writable=self._drain, on_closed=self._closed)
        self._ticker = Ticker.shared()
        self._start_timer: asyncio.TimerHandle | None = None
        self._warned: set[int] = set()
        self._faults = deque(sorted(model.faults, key=lambda fault: fault.at))
        # To the app: None stands for the close that follows the last message.
        self._up: DelayLine[tuple[FrameKind, bytes, bool] | None] = DelayLine(
            self._arrive_at_app,
            random=self._random,
            delay=model.network_delay,
            jitter=model.jitter,
            stalls=model.stalls,
            bunch=model.bunch,
        )
        self._down: DelayLine[_Media | _Mark | _Clear] = DelayLine(
            self._obey, random=self._random, delay=model.network_delay, jitter=model.jitter
        )
        self._unsent: deque[tuple[FrameKind, bytes, bool]] = deque()
        self._started_at = 0.0
        self._speaks_from = float("inf")
        self._sequence = self._chunk = 0
        self._sent_frames = self._lost_frames = self._received_bytes = self._ticks = 0
        self._noise = None if model.noise_db is None else Noise(model.noise_db, seed=model.seed)
        self._comfort = [bytes(self._random.choices(b"\xff\x7f", k=FRAME_BYTES)) for _ in range(16)]
        # The carrier's leg, as frames under way.
        carrier_frames = round(model.carrier_delay / FRAME_SECONDS)
        self._carrier_delay = carrier_frames * FRAME_SECONDS
        self._to_gateway = deque([SILENT_FRAME] * carrier_frames)
        self._to_ear = deque([SILENT_FRAME] * carrier_frames)
        self._playout = PlayoutQueue(prebuffer_frames=round(model.prebuffer / FRAME_SECONDS))
        self._playing = False
        self._dry_since: float | None = None
        self._audible = False
        self._audible_until = 0.0
        self._report_audio_from = 0.0
        self._last_audio_at = float("-inf")
        # What a fault has left to do.
        self._gap_until = self._late_marks_until = 0.0
        self._lose_marks = 0
        self._repeat_next = False
        self._swapped: bytes | None = None
        self._swap_next = False
        self._take_notes: Callable[[], list[Note]] = getattr(self._party, "take_notes", list)

    async def run(self) -> StreamEnd:
        try:
            await self._open()
            if self._ending is not None:
                self._wire.close(1000)
            else:
                self._begin()
            return await self._ended
        except _Refused as refusal:
            if self._ending is not None:
                return StreamEnd(self._ending)
            self._gateway.error(refusal.code, refusal.detail)
            return StreamEnd("refused", refusal.status, refusal.detail)
        finally:
            self._stop_clocks()
            self._up.close()
            self._down.close()
            self._wire.abort()

    def end(self, reason: Reason) -> None:
        """Say ``stop`` and close; what is under way before it still arrives."""
        if self._ending is not None:
            return
        self._ending = reason
        self._stop_clocks()
        if not self._wire.is_open:
            self._wire.abort()
            return
        if self._started_at:
            ids = f'"accountSid":"{self._request.account_sid}","callSid":"{self._request.call_sid}"'
            self._send("stop", f'"stop":{{{ids}}}')
        self._up.push(None)

    def _stop_clocks(self) -> None:
        self._ticker.leave(self._tick)
        if self._start_timer is not None:
            self._start_timer.cancel()

    # -- opening ----------------------------------------------------------------------------------

    async def _open(self) -> None:
        try:
            url = urlsplit(self._request.url)
            target = urlsplit(self._request.connect_to or self._request.url)
        except ValueError as error:
            raise _Refused(31923, f"malformed URL {self._request.url}") from error
        if url.scheme != "wss":
            raise _Refused(31922, f"the stream's URL must begin with wss://, not {url.scheme}://")
        if not url.hostname or not target.hostname:
            raise _Refused(31923, f"no host in {self._request.url}")
        secure = target.scheme in ("wss", "https")
        path = url.path or "/"
        # The query is dropped before dialling, and the signature is over what is dialled.
        signed = urlunsplit(("wss", url.netloc, path, "", "")) + ("/" if self._gateway.sign_trailing_slash else "")
        # Exactly what Twilio sends, in its order: no Origin, no extension, no subprotocol.
        headers = Headers()
        headers["host"] = url.netloc
        headers["user-agent"] = "Twilio.TmeWs/1.0"
        headers["connection"] = "Upgrade"
        headers["upgrade"] = "websocket"
        headers["sec-websocket-version"] = "13"
        headers["sec-websocket-key"] = self._wire.protocol.key
        headers["x-twilio-signature"] = RequestValidator(self._request.auth_token).compute_signature(signed, {})
        headers["accept-encoding"] = "gzip"
        try:
            await self._wire.open(
                Request(path, headers),
                host=target.hostname,
                port=target.port or (443 if secure else 80),
                secure=secure,
            )
        except TimeoutError as error:
            raise _Refused(31901, f"no answer within {CONNECT_TIMEOUT:.0f} s") from error
        except ssl.SSLError as error:
            raise _Refused(31910, f"TLS: {error}") from error
        except ConnectionRefusedError as error:
            raise _Refused(31902, f"connection refused: {target.netloc}") from error
        except OSError as error:
            raise _Refused(31901, str(error)) from error
        except NegotiationError as error:
            raise _Refused(31924, f"accepted what was not offered: {error}") from error
        except InvalidStatus as error:
            raise _Refused(31920, str(error), error.response.status_code) from error
        except InvalidHandshake as error:
            raise _Refused(31920, str(error)) from error

    def _begin(self) -> None:
        self._ticker.join(self._tick)
        self._send_raw('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        if any(fault.kind == "early-media" for fault in self._faults):
            self._faults = deque(fault for fault in self._faults if fault.kind != "early-media")
            self._tape.log("fault", kind="early-media")
            self._send_media(SILENT_FRAME, 0)
        delay = self._line_model.start_delay + self._random.uniform(0.0, 0.05)
        if delay < float("inf"):
            self._start_timer = asyncio.get_running_loop().call_later(delay, self._start)

    def _start(self) -> None:
        self._started_at = self._up.origin = time.monotonic()
        self._sequence = self._chunk = 0
        start = {
            "streamSid": self._sid,
            "accountSid": self._request.account_sid,
            "callSid": self._request.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": RATE_HZ, "channels": 1},
            "customParameters": self._request.parameters,
        }
        self._send("start", f'"start":{msgspec.json.encode(start).decode()}')
        self._speaks_from = self._started_at + self._random.uniform(0.102, 0.178)

    # -- one frame --------------------------------------------------------------------------------

    def _tick(self, due: float) -> None:
        try:
            if self._party.hung_up:
                self.end("party-hung-up")
            elif self._started_at:
                self._carry(due)
        except Exception as error:  # one broken party must not stop the ticker of all the others
            self._fail(error)

    def _carry(self, due: float) -> None:
        while self._faults and due - self._started_at >= self._faults[0].at:
            self._inject(self._faults.popleft())
        self._play(due)
        if due >= self._speaks_from:
            self._speak(due)
        self._ticks += 1
        if self._ticks % 50 == 0:
            self._tally()

    def _play(self, due: float) -> None:
        frame, passed = self._playout.frame()
        for name in passed:
            self._echo(name)
        if frame is None:
            frame = SILENT_FRAME
            if self._playing:
                self._stop_playing(due, "dry")
        elif not self._playing:
            self._playing = True
            if self._dry_since is not None and due - self._dry_since <= UNDERRUN_SECONDS:
                self._gateway.underruns += 1
                self._tape.log("underrun", at=due, seconds=round(due - self._dry_since, 4))
            self._tape.log("play_start", at=due, queued_bytes=self._playout.queued_bytes + FRAME_BYTES)
        onset = -1 if frame is SILENT_FRAME else first_audible(frame)
        if onset >= 0:
            if not self._audible:
                self._audible = True
                self._log_ear("agent_speech_start", due + onset / RATE_HZ)
            self._audible_until = due + (last_audible(frame) + 1) / RATE_HZ
        elif self._audible and due - self._audible_until >= QUIET_SECONDS:
            self._end_agent_speech()
        self._tape.record_heard(due + self._carrier_delay, frame)
        self._to_ear.append(frame)
        self._party.hear(self._to_ear.popleft())

    def _speak(self, due: float) -> None:
        frame = self._party.next_frame()
        # What is sent now was captured over the 20 ms before.
        spoken_at = due - FRAME_SECONDS
        for note in self._take_notes():
            at = spoken_at + note.offset / RATE_HZ
            sent_at = at + self._carrier_delay + self._line_model.network_delay  # jitter and stalls apart
            self._tape.log(note.event, at=at, sent_at=self._tape.seconds(sent_at), **note.fields)
            if note.event == "caller_speech_end":
                self._report_audio_from = sent_at
        if self._noise is not None:
            frame = self._noise.add(frame)
        self._tape.record_said(spoken_at, frame)
        self._to_gateway.append(frame)
        frame = self._to_gateway.popleft()
        if frame == SILENT_FRAME:
            frame = self._comfort[self._ticks % len(self._comfort)]
        if due < self._gap_until or (self._line_model.loss and self._random.random() < self._line_model.loss):
            self._lost_frames += 1
        else:
            timestamp = round((due - self._started_at) * 1000) + self._random.randrange(-1, 2)
            self._send_media(frame, timestamp)
        key = self._party.next_key()
        if key is not None:
            self._tape.log("dtmf", digit=key)
            self._send("dtmf", f'"dtmf":{{"track":"inbound_track","digit":"{key}"}}')

    def _stop_playing(self, at: float, reason: Literal["dry", "clear"]) -> None:
        self._playing = False
        self._dry_since = at if reason == "dry" else None
        self._tape.log("play_end", at=at, reason=reason, played_bytes=self._playout.played_bytes)

    def _end_agent_speech(self) -> None:
        self._audible = False
        self._log_ear("agent_speech_end", self._audible_until)

    def _log_ear(self, event: str, at: float) -> None:
        self._tape.log(event, at=at, heard_at=self._tape.seconds(at + self._carrier_delay))

    def _tally(self) -> None:
        self._tape.log(
            "frames",
            sent=self._sent_frames,
            lost=self._lost_frames,
            received_bytes=self._received_bytes,
            queued_bytes=self._playout.queued_bytes,
        )

    # -- to the app -------------------------------------------------------------------------------

    def _send_media(self, frame: bytes, timestamp: int) -> None:
        self._chunk += 1
        payload = b2a_base64(frame, newline=False).decode()
        media = f'"track":"inbound","chunk":"{self._chunk}","timestamp":"{timestamp}","payload":"{payload}"'
        message = self._message("media", f'"media":{{{media}}}')
        self._sent_frames += 1
        if self._swap_next:
            self._swap_next, self._swapped = False, message
            return
        self._push_media(message)
        if self._swapped is not None:
            self._push_media(self._swapped)
            self._swapped = None
        if self._repeat_next:
            self._repeat_next = False
            self._push_media(message)

    def _push_media(self, message: bytes) -> None:
        self._up.push(("text", message, True))

    def _send(self, event: str, body: str) -> None:
        self._up.push(("text", self._message(event, body), False))

    def _send_raw(self, message: str) -> None:
        self._up.push(("text", message.encode(), False))

    def _message(self, event: str, body: str) -> bytes:
        self._sequence += 1
        return f'{{"event":"{event}","sequenceNumber":"{self._sequence}",{body},"streamSid":"{self._sid}"}}'.encode()

    def _arrive_at_app(self, item: tuple[FrameKind, bytes, bool] | None) -> None:
        if item is None:
            self._drain(force=True)
            self._wire.close(1000)
        elif not self._wire.paused and not self._unsent:
            self._wire.send(item[0], item[1])
        else:
            self._unsent.append(item)
            if item[2] and sum(media for _, _, media in self._unsent) > MAX_UNSENT_FRAMES:
                del self._unsent[next(index for index, queued in enumerate(self._unsent) if queued[2])]
                self._lost_frames += 1
                self._warn(31930, "the app reads too slowly; the caller's audio is being discarded")

    def _drain(self, *, force: bool = False) -> None:
        while self._unsent and (force or not self._wire.paused):
            kind, data, _ = self._unsent.popleft()
            self._wire.send(kind, data)

    def _echo(self, name: str) -> None:
        if self._ended.done():
            return
        if self._lose_marks:
            self._lose_marks -= 1
            return
        wait = self._late_marks_until - time.monotonic()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._echo, name)
            return
        self._tape.log("mark_echoed", name=name)
        self._send("mark", f'"mark":{{"name":{msgspec.json.encode(name).decode()}}}')

    # -- from the app -----------------------------------------------------------------------------

    def _receive(self, is_text: bool, data: bytes) -> None:
        now = time.monotonic()
        if self._ending is not None or self._ended.done():
            return
        if not is_text:
            self._warn(31950, "a binary message")
            return
        try:
            message = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._warn(31951, f"{error}: {data[:120]!r}")
            return
        if not self._started_at:
            self._warn(31951, f"sent before start: {data[:120]!r}")
        elif message.streamSid != self._sid:
            self._warn(31951, f"streamSid is {message.streamSid!r}, not this stream's {self._sid!r}")
        else:
            match message:
                case _Media():
                    self._note_audio(message.media.payload, now)
                case _Clear():
                    self._report_audio_from = max(self._report_audio_from, now)
                    self._tape.log("clear_received", at=now)
            self._down.push(message)

    def _note_audio(self, payload: bytes, now: float) -> None:
        self._received_bytes += len(payload)
        onset = first_audible(payload)
        if onset < 0:
            return
        quiet_before = now - self._last_audio_at > UNDERRUN_SECONDS
        self._last_audio_at = now
        if quiet_before or (self._report_audio_from and now >= self._report_audio_from):
            self._report_audio_from = 0.0
            self._tape.log("agent_audio_received", at=now, onset=onset, payload_bytes=len(payload))

    def _obey(self, message: _Media | _Mark | _Clear) -> None:
        match message:
            case _Media():
                if not self._playout.add(message.media.payload):
                    self._warn(31931, "more than ten minutes are queued; new audio is being discarded")
            case _Mark():
                name = message.mark.name
                self._tape.log("mark_received", name=name, queued_bytes=self._playout.queued_bytes)
                if not self._playout.mark(name):
                    self._echo(name)
            case _Clear():
                dropped = self._playout.queued_bytes
                marks = self._playout.clear()
                now = time.monotonic()
                if self._playing:
                    self._stop_playing(now, "clear")
                self._dry_since = None
                if self._audible:
                    self._end_agent_speech()
                played = self._playout.played_bytes
                self._tape.log("clear", at=now, played_bytes=played, dropped_bytes=dropped, marks=marks)
                for name in marks:
                    self._echo(name)

    # -- what goes wrong --------------------------------------------------------------------------

    def _warn(self, code: int, detail: str) -> None:
        # Twilio reports each of these once per stream; later ones are silent.
        if code in self._warned:
            return
        self._warned.add(code)
        self._gateway.error(code, detail)
        if self._gateway.strict and code in (31950, 31951):
            self._fail(StreamViolation(f"{code}: {detail}"))

    def _fail(self, error: Exception) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def _closed(self) -> None:
        """The connection is gone, by whoever's will."""
        if self._ended.done():
            return
        protocol = self._wire.protocol
        self._tally()
        if self._audible:
            self._end_agent_speech()
        if self._ending is not None:
            end = StreamEnd(self._ending, 1000)
        elif protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError):
            self._gateway.error(31924, f"WebSocket: {protocol.parser_exc}")
            end = StreamEnd("lost", 1006, str(protocol.parser_exc))
        elif protocol.close_rcvd is not None:
            self._gateway.error(31921, f"the app closed the socket with {protocol.close_rcvd.code}")
            end = StreamEnd("app-closed", protocol.close_rcvd.code, protocol.close_rcvd.reason)
        else:
            self._gateway.error(31903, "the socket was dropped without a close frame")
            end = StreamEnd("lost", 1006)
        self._ended.set_result(end)

    def _inject(self, fault: Fault) -> None:
        self._tape.log("fault", kind=fault.kind, value=fault.value)
        now = time.monotonic()
        match fault.kind:
            case "drop":
                self._wire.abort(reset=True)
            case "close":
                self._wire.close(int(fault.value))
            case "gap":
                self._gap_until = now + fault.value
            case "sequence-gap":
                self._sequence += int(fault.value)
            case "duplicate":
                self._repeat_next = True
            case "swap":
                self._swap_next = True
            case "stop-reading":
                self._wire.pause_reading(fault.value)
            case "lose-mark":
                self._lose_marks += 1
            case "late-marks":
                self._late_marks_until = now + fault.value
            case kind:
                timestamp = str(round((now - self._started_at) * 1000))
                media = {"track": "inbound", "chunk": str(self._chunk), "timestamp": timestamp, "payload": "/w=="}
                sequence = str(self._sequence)
                model = {"event": "media", "sequenceNumber": sequence, "media": media, "streamSid": self._sid}
                for frame_kind, data in WIRE_FAULTS[kind](model):
                    self._up.push((frame_kind, data, False))
