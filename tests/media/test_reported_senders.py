"""
What senders of Twilio's protocol do differently, from public reports about them and about those who listen to them.

Each line of the tables names the report from which it comes, or none where it is a neighbour of one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any

import pytest

from media.audio import SILENCE
from media.intake import Intake
from media.messages import BadMessage, KeyPress, MarkEcho, Media, Message, Outbound, Start, Stop, Unknown, parse
from media.turns.clock import StreamClock

SID = "MZ" + "0" * 32
MULAW = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}

REFUSED = "refused"

MESSAGES: list[tuple[str, dict[str, Any], Message | str]] = [
    # start
    (
        "pipecat-ai/pipecat#3745",  # Smartflo: more in the format, and numbers in the parameters
        {
            "event": "start",
            "sequenceNumber": 1,
            "streamSid": SID,
            "start": {
                "callSid": "CA1",
                "streamSid": SID,
                "accountSid": "AC1",
                "from": "+12025550123",
                "direction": "inbound",
                "mediaFormat": {**MULAW, "bitRate": 64, "bitDepth": 8},
                "customParameters": {"attempt": 1, "name": None},
            },
        },
        Start(SID, "CA1", "AC1"),
    ),
    (
        "",  # no format, no account, no numbers
        {"event": "start", "streamSid": SID, "start": {"streamSid": SID, "callSid": "CA1"}},
        Start(SID, "CA1"),
    ),
    (
        "openai/openai-agents-js#1677",  # reads the stream's name from the body alone
        {"event": "start", "start": {"streamSid": SID, "callSid": "CA1", "mediaFormat": None, "accountSid": None}},
        Start(SID, "CA1"),
    ),
    (
        "signalwire/docs-legacy#633",  # both tracks, and the names of mu-law that others use
        {
            "event": "start",
            "streamSid": SID,
            "start": {
                "callSid": "CA1",
                "tracks": ["inbound", "outbound"],
                "mediaFormat": {"encoding": "PCMU", "sampleRate": "8000"},
            },
        },
        Start(SID, "CA1"),
    ),
    (
        "pipecat-ai/pipecat#5219",  # Exotel: snake case, and linear samples
        {"event": "start", "stream_sid": SID, "start": {"stream_sid": SID, "call_sid": "CA1"}},
        REFUSED + "callSid",
    ),
    (
        "GetStream/Vision-Agents#594",  # Telnyx
        {"event": "start", "stream_id": "s", "start": {"call_control_id": "c", "media_format": {"encoding": "PCMU"}}},
        REFUSED + "callSid",
    ),
    (
        "plivo/plivo-node#312",  # linear samples at another rate
        {
            "event": "start",
            "streamSid": SID,
            "start": {"callSid": "CA1", "mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 16000}},
        },
        REFUSED + "audio/x-l16 16000",
    ),
    # media
    (
        "twilio/media-streams#17",  # nothing but the payload
        {"event": "media", "streamSid": SID, "media": {"payload": "/w=="}},
        Media(SID, "/w=="),
    ),
    (
        "jremi/twilio-media-stream-save-audio-file#1",  # both tracks
        {"event": "media", "streamSid": SID, "media": {"track": "outbound", "chunk": "1", "payload": "/w=="}},
        Outbound(),
    ),
    (
        "jferreiros/vortex#434",
        {"event": "media", "streamSid": SID, "media": {"track": "OUTBOUND_TRACK", "payload": "/w=="}},
        Outbound(),
    ),
    (
        "",  # only numbers for all messages, and the stream is not named
        {"event": "media", "sequenceNumber": 9, "media": {"track": "inbound", "payload": "/w==", "timestamp": None}},
        Media("", "/w==", None, 9),
    ),
    (
        "",  # fractions of a millisecond
        {"event": "media", "streamSid": SID, "media": {"payload": "/w==", "timestamp": 20.4, "chunk": 2}},
        Media(SID, "/w==", 20, 2),
    ),
    # other events
    (
        "twilio/twilio-agent-connect-python#82",  # a mark without a name
        {"event": "mark", "streamSid": SID},
        MarkEcho(SID, ""),
    ),
    (
        "",  # a digit as a number
        {"event": "dtmf", "streamSid": SID, "dtmf": {"digit": 5, "duration": 100}},
        KeyPress(SID, "5"),
    ),
    (
        "",  # a key that we pressed ourselves
        {"event": "dtmf", "streamSid": SID, "dtmf": {"track": "outbound_track", "digit": "5"}},
        Outbound(),
    ),
    ("", {"event": "stop"}, Stop("")),
    (
        "Nexmo/nexmo-developer#1034",  # events of another protocol
        {"event": "websocket:connected", "content-type": "audio/l16;rate=8000"},
        Unknown("websocket:connected"),
    ),
    ("asterisk/asterisk#1555", {"event": "MEDIA_START", "channel_id": "c", "format": "ulaw"}, Unknown("MEDIA_START")),
]


@pytest.mark.parametrize(
    ("report", "sent", "understood"),
    MESSAGES,
    ids=[f"{report} {sent['event']}".strip() for report, sent, _ in MESSAGES],
)
def test_messages_of_other_senders(report, sent, understood):
    if isinstance(understood, str):
        with pytest.raises(BadMessage, match=understood.removeprefix(REFUSED)):
            parse(json.dumps(sent))
    else:
        assert parse(json.dumps(sent)) == understood


Sign = Callable[[int], object]
"""What the sender writes about its n-th frame, counted from 0."""

MISSING: Sign = lambda n: None  # noqa: E731


def sender(
    *, timestamp: Sign = MISSING, chunk: Sign = MISSING, sequence: Sign = MISSING, frame_ms: int = 20
) -> Iterator[tuple[float, str, bytes]]:
    """Frames in real time: when each arrives, its message and its sound, which differs from frame to frame."""
    for n in count():
        sound = bytes([n % 251]) * (8 * frame_ms)
        media = {"timestamp": timestamp(n), "chunk": chunk(n), "payload": base64.b64encode(sound).decode()}
        message = {"event": "media", "streamSid": SID, "sequenceNumber": sequence(n), "media": media}
        yield (n + 1) * frame_ms / 1000, json.dumps(message), sound


def hear(arrivals: Iterable[tuple[float, str]]) -> tuple[bytes, Intake]:
    """The stream that the session makes of these messages."""
    intake, clock, stream = Intake(), StreamClock(), b""
    for now, text in arrivals:
        message = parse(text)
        if isinstance(message, Media):
            stream += intake.accept(message, spoken=clock.position_at(now))
            clock.observe(intake.position, now)
    return stream, intake


def rising(n: int) -> int:
    return n + 1


SENDERS: list[tuple[str, str, dict[str, Any]]] = [
    ("", "nothing but sound", {}),
    ("", "timestamps that begin anywhere", {"timestamp": lambda n: 9_000_171 + 20 * n}),
    ("", "timestamps as strings", {"timestamp": lambda n: str(155 + 20 * n), "chunk": lambda n: str(n + 1)}),
    ("", "timestamps as strings, no numbers", {"timestamp": lambda n: str(155 + 20 * n)}),
    ("bolna-ai/bolna#968", "frames of 10 ms", {"timestamp": lambda n: 10 * n, "chunk": rising, "frame_ms": 10}),
    ("bolna-ai/bolna#968", "frames of 30 ms", {"timestamp": lambda n: 30 * n, "sequence": rising, "frame_ms": 30}),
    ("bolna-ai/bolna#968", "frames of 60 ms", {"timestamp": lambda n: 60 * n, "frame_ms": 60}),
    ("bolna-ai/bolna#968", "frames of 100 ms", {"chunk": rising, "frame_ms": 100}),
    ("bolna-ai/bolna#968", "frames of 2 s", {"timestamp": lambda n: 2000 * n, "chunk": rising, "frame_ms": 2000}),
    ("", "one timestamp for all", {"timestamp": lambda n: "0", "chunk": rising}),
    ("", "one timestamp, no numbers", {"timestamp": lambda n: 0}),
    ("", "one timestamp, one number", {"timestamp": lambda n: 0, "chunk": lambda n: 1}),
    ("", "one number, no timestamps", {"chunk": lambda n: 1}),
    ("", "one number, good timestamps", {"timestamp": lambda n: 20 * n, "chunk": lambda n: 1}),
    ("", "timestamps in seconds", {"timestamp": lambda n: 0.155 + 0.02 * n, "chunk": rising}),
    ("", "timestamps in seconds, no numbers", {"timestamp": lambda n: str(0.155 + 0.02 * n)}),
    ("", "timestamps in samples", {"timestamp": lambda n: 160 * n, "chunk": rising}),
    ("", "timestamps in samples, no numbers", {"timestamp": lambda n: 160 * n}),
    ("", "timestamps in microseconds", {"timestamp": lambda n: 20_000 * n, "sequence": rising}),
    ("", "timestamps from the time of day", {"timestamp": lambda n: 1_780_000_000_000 + 20 * n}),
    ("", "timestamps in whole seconds", {"timestamp": lambda n: n // 50 * 1000, "chunk": rising}),
    ("", "timestamps in tenths of a second, no numbers", {"timestamp": lambda n: n // 5 * 100}),
    ("", "timestamps at half of the rate", {"timestamp": lambda n: 10 * n, "chunk": rising}),
    ("", "timestamps at half of the rate, no numbers", {"timestamp": lambda n: 10 * n}),
    (
        "roomkit-live/roomkit#36",
        "timestamps that jump although nothing is missing",
        {"timestamp": lambda n: 20 * n + n // 80 * 1400, "chunk": rising},
    ),
    (
        "signalwire/freeswitch#2427",
        "timestamps that begin again in the middle",
        {"timestamp": lambda n: 7040 + 20 * n if n < 100 else 320 + 20 * (n - 100), "chunk": rising},
    ),
    (
        "signalwire/freeswitch#2427",
        "timestamps that begin again in the middle, no numbers",
        {"timestamp": lambda n: 7040 + 20 * n if n < 100 else 320 + 20 * (n - 100)},
    ),
    (
        "livekit/media-sdk#95",
        "numbers that begin again in the middle",
        {"timestamp": lambda n: 171 + 20 * n, "chunk": lambda n: n % 100 + 1},
    ),
    (
        "pjsip/pjproject#602",
        "numbers and timestamps that begin again in the middle",
        {"timestamp": lambda n: 171 + n % 100 * 20, "chunk": lambda n: n % 100 + 1},
    ),
    ("livekit/media-sdk#95", "numbers that begin again, no timestamps", {"chunk": lambda n: n % 100 + 1}),
]


@pytest.mark.parametrize(
    ("report", "what", "habits"), SENDERS, ids=[f"{report}: {what}" for report, what, _ in SENDERS]
)
def test_no_sample_of_the_caller_is_lost_and_none_is_added(report, what, habits):
    frames = list(islice(sender(**habits), 300))
    stream, _ = hear((now, text) for now, text, _ in frames)
    sent = b"".join(sound for _, _, sound in frames)
    assert len(sent) - len(stream) <= 9 * 160  # what is held until it is plain that it is not old
    assert sent.startswith(stream)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["inbound first", "outbound first"])
@pytest.mark.parametrize("numbered", ["apart", "together"])
def test_of_both_tracks_only_the_caller_s_is_heard(order, numbered):
    """jremi/twilio-media-stream-save-audio-file#1, twilio/media-streams#121"""
    messages, sent = [], b""
    for n in range(100):
        sounds = bytes([n + 1]) * 160, b"\x55" * 160
        pair = []
        for place, side in enumerate(order):
            number = n + 1 if numbered == "apart" else 2 * n + place + 1
            media = {
                "track": ("inbound", "outbound")[side],
                "chunk": str(number),
                "timestamp": str(20 * n),
                "payload": base64.b64encode(sounds[side]).decode(),
            }
            pair.append((n * 0.02, json.dumps({"event": "media", "streamSid": SID, "media": media})))
        messages += pair
        sent += sounds[0]
    stream, intake = hear(messages)
    assert stream == sent
    assert (intake.gaps, intake.duplicates) == (0, 0)


def test_a_gap_is_filled_also_behind_timestamps_that_were_wrong():
    """livekit/media-sdk#95: the sender counts anew; what is lost after that is silence of the same length."""
    habits = {"timestamp": lambda n: 7040 + 20 * n if n < 50 else 20 * (n - 50), "chunk": lambda n: n + 1}
    frames = list(islice(sender(**habits), 200))
    stream, intake = hear((now, text) for now, text, _ in frames[:100] + frames[125:])
    sounds = [sound for _, _, sound in frames]
    assert stream == b"".join([*sounds[:100], SILENCE * (25 * 160), *sounds[125:]])
    assert (intake.gaps, intake.filled_samples) == (1, 25 * 160)


@pytest.mark.parametrize(
    "signs",
    [
        {"timestamp": lambda n: 20 * n, "chunk": lambda n: n + 1},
        {"timestamp": lambda n: 20 * n},
        {"chunk": lambda n: n + 1},
        {"sequence": lambda n: n + 1},
    ],
    ids=["both", "timestamps", "numbers", "numbers of all messages"],
)
def test_a_frame_that_comes_twice_or_in_another_order_is_dropped_by_any_sign(signs):
    """layerhq/layer-websdk#195"""
    frames = list(islice(sender(**signs), 60))
    texts, sounds = [text for _, text, _ in frames], [sound for _, _, sound in frames]
    texts[10:12] = texts[10], texts[10], texts[11]  # 10 comes twice
    texts[31:33] = texts[32], texts[31]  # 30 comes behind 31
    stream, intake = hear((0.02 * n, text) for n, text in enumerate(texts))
    assert stream == b"".join(sounds[:30] + sounds[31:])
    assert intake.duplicates == 2


def test_the_silence_of_a_hold_is_not_filled_twice():
    """sippy/rtpproxy#61: the first frame after it goes on from before, and the timestamp of the next one jumps."""
    frames = list(islice(sender(timestamp=lambda n: 20 * n if n < 51 else 5000 + 20 * n, chunk=rising), 100))
    arrivals = [(now if n < 50 else now + 5.0, text) for n, (now, text, _) in enumerate(frames)]
    stream, intake = hear(arrivals)
    sounds = [sound for _, _, sound in frames]
    assert stream == b"".join([*sounds[:51], SILENCE * (5000 * 8), *sounds[51:]])
    assert intake.gaps == 1
