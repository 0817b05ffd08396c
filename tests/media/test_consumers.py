"""The connection of a stream releases its slot, and passes on what its sender means."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from media.consumers import MAX_BAD_MESSAGES, StreamConnection, _Refused
from media.messages import Media


async def test_a_stream_that_is_cancelled_releases_its_slot(monkeypatch):
    """If the server cancels the application, the process must not seem full from then on."""

    async def cut_short(self: Any, *arguments: Any) -> None:
        raise asyncio.CancelledError

    async def admit(self: Any) -> Any:
        return SimpleNamespace(call_id="1", stream=1)

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        pass

    monkeypatch.setattr(StreamConnection, "_admit", admit)
    monkeypatch.setattr(StreamConnection, "_run", cut_short)
    monkeypatch.setattr(StreamConnection, "_finish", cut_short)
    runtime = SimpleNamespace(streams=set())
    stream = StreamConnection({}, receive, send, runtime)
    with pytest.raises(asyncio.CancelledError):
        await stream.serve()
    assert runtime.streams == set()


SID = "MZ1"


class Listener:
    """Stands for the session: writes down what it is passed."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def media(self, message: Media) -> None:
        message.audio()
        self.heard.append(message.payload)

    def mark(self, name: str) -> None:
        self.heard.append(f"mark {name}".strip())

    def key(self, digit: str) -> None:
        self.heard.append(f"key {digit}")


async def read(*frames: dict[str, Any] | str | bytes) -> tuple[str, list[str]]:
    """Why the stream of these frames ended, and what the session was passed. Text and bytes are sent as they are."""
    arriving = iter([*frames, None])

    async def receive() -> dict[str, Any]:
        match next(arriving):
            case None:
                return {"type": "websocket.disconnect", "code": 1005}
            case bytes() as data:
                return {"type": "websocket.receive", "bytes": data}
            case str() as text:
                return {"type": "websocket.receive", "text": text}
            case message:
                return {"type": "websocket.receive", "text": json.dumps(message)}

    async def send(message: Any) -> None:
        pass

    stream, listener = StreamConnection({}, receive, send, SimpleNamespace()), Listener()
    stream._sid = SID
    return await stream._read(listener), listener.heard


SOUND = {"event": "media", "streamSid": SID, "media": {"payload": "/w=="}}
START = {"event": "start", "streamSid": SID, "start": {"callSid": "CA1"}}


@pytest.mark.parametrize(
    ("report", "frame", "warning"),
    [
        ("pipecat-ai/pipecat#3260", b"\xff" * 160, "binary frame"),  # Asterisk: sound without JSON
        ("pipecat-ai/pipecat#3265", b"\xff\xfe" * 320, "binary frame"),  # Vonage
        ("", b"", "binary frame"),
        ("openclaw/openclaw#116508", START, "a second start"),
        ("openclaw/openclaw#111771", {**SOUND, "media": {"payload": "!!!"}}, "base64"),
        ("", '{"event":"media","streamSid":"MZ1","media":{"payl', "truncated"),
        ("", {**SOUND, "streamSid": "MZ2"}, "another stream"),
        ("", {"event": "stop", "streamSid": "MZ2"}, "another stream"),
        ("", {"event": "dtmf", "streamSid": SID, "dtmf": {}}, "digit"),
    ],
)
async def test_a_bad_frame_is_ignored_with_one_line_in_the_log(report, frame, warning, caplog):
    assert await read(SOUND, frame, SOUND) == ("stream-lost", ["/w==", "/w=="])
    assert [(line.levelname, line.exc_info) for line in caplog.records] == [("WARNING", None)]
    assert warning in caplog.text


@pytest.mark.parametrize(
    ("report", "frames", "heard"),
    [
        ("", [json.dumps(SOUND).encode()], ["/w=="]),  # JSON in a binary frame
        ("", [{"event": "media", "media": {"payload": "/w=="}}], ["/w=="]),
        ("twilio/twilio-agent-connect-python#82", [{"event": "mark", "streamSid": SID}], ["mark"]),
        ("", [{"event": "dtmf", "dtmf": {"digit": "#"}}], ["key #"]),
        ("twilio/media-streams#121", [{**SOUND, "media": {"track": "outbound", "payload": "AA=="}}, SOUND], ["/w=="]),
        ("Nexmo/nexmo-developer#1034", [{"event": "websocket:connected"}] * 2 * MAX_BAD_MESSAGES, []),
    ],
)
async def test_what_other_senders_leave_out_or_add_is_no_fault(report, frames, heard, caplog):
    assert await read(*frames) == ("stream-lost", heard)
    assert caplog.text == ""


async def test_a_stop_without_a_stream_ends_the_stream():
    assert await read(SOUND, {"event": "stop"}, SOUND) == ("caller-hung-up", ["/w=="])


@pytest.mark.parametrize(
    ("frame", "reason"), [(b"\xff" * 160, "binary frame"), ("[]", "object"), ({**SOUND, "media": {}}, "payload")]
)
async def test_a_sender_of_garbage_is_refused_with_a_reason(frame, reason):
    assert await read(*[frame] * MAX_BAD_MESSAGES) == ("stream-lost", [])
    with pytest.raises(_Refused, match=reason) as refusal:
        await read(*[frame] * (MAX_BAD_MESSAGES + 1))
    assert refusal.value.code == 1007
