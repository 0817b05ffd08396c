"""Media Streams: every message of Twilio is understood, sent ones have their exact shape, errors have a reason."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import MediaError
from media.messages import (
    MAX_MESSAGE_BYTES,
    BadMessage,
    Connected,
    KeyPress,
    MarkEcho,
    Media,
    Start,
    Stop,
    Unknown,
    clear_message,
    mark_message,
    media_message,
    parse,
)

SID = "MZ" + "0" * 32


def wire(event: str, **fields: object) -> dict[str, object]:
    return {"event": event, "sequenceNumber": "4", "streamSid": SID, **fields}


def start(**changes: object) -> dict[str, object]:
    body = {
        "streamSid": SID,
        "accountSid": "AC1",
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "t"},
    }
    return wire("start", start=body | changes)


def media(**changes: object) -> dict[str, object]:
    body = {"track": "inbound", "chunk": "3", "timestamp": "171", "payload": base64.b64encode(b"\xff" * 160).decode()}
    return wire("media", media=body | changes)


@pytest.mark.parametrize(
    ("sent", "understood"),
    [
        ({"event": "connected", "protocol": "Call", "version": "1.0.0"}, Connected()),
        (start(), Start(SID, "CA1", "AC1")),
        (media(payload="/w=="), Media(SID, "/w==", 171, 3)),
        (wire("dtmf", dtmf={"track": "inbound_track", "digit": "#"}), KeyPress(SID, "#")),
        (wire("mark", mark={"name": "r3"}), MarkEcho(SID, "r3")),
        (wire("stop", stop={"accountSid": "AC1", "callSid": "CA1"}), Stop(SID)),
        (wire("stop"), Stop(SID)),
        (wire("brand-new", anything=[1]), Unknown("brand-new")),
    ],
)
def test_every_message_of_the_protocol_is_understood(sent, understood):
    assert parse(json.dumps(sent)) == understood
    assert parse(json.dumps(sent).encode()) == understood


def test_counters_may_be_numbers_and_unknown_fields_are_ignored():
    sent = media(chunk=3, timestamp=171, extra={"deep": [1]}) | {"sequenceNumber": 4, "new": None}
    assert parse(json.dumps(sent)) == parse(json.dumps(media()))


def test_a_payload_of_any_length_is_decoded_on_request():
    for audio in (b"", b"\x00", bytes(range(256)) * 5):
        message = parse(json.dumps(media(payload=base64.b64encode(audio).decode())))
        assert message.audio() == audio


@pytest.mark.parametrize("payload", ["####", "/w=", "/w==\n", "é", "/w==/w=="])
def test_a_payload_that_is_not_base64_is_refused(payload):
    message = parse(json.dumps(media(payload=payload)))
    with pytest.raises(BadMessage, match="base64"):
        message.audio()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "truncated"),
        ("hello", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        ("[1, 2]", "object"),
        ("{}", "event"),
        ('{"event": 7}', "event"),
        ('{"event": "media"}', "media"),
        ('{"event":"media","x":' + "[" * 30_000 + "]" * 30_000 + "}", "recursion"),
        ('{"event":"\ud800"}', "surrogate"),
        (" " * (MAX_MESSAGE_BYTES + 1), "limit"),
        (json.dumps(media(timestamp="soon")), "timestamp"),
        (json.dumps(media(timestamp="-5")), "timestamp"),
        (json.dumps(media(chunk=10**30)), "chunk"),
        (json.dumps(media(payload=None)), "payload"),
        (json.dumps(media() | {"streamSid": 7}), "streamSid"),
        (json.dumps(media() | {"streamSid": "M" * 200}), "streamSid"),
        (json.dumps(media() | {"sequenceNumber": "x"}), "sequenceNumber"),
        (json.dumps(media(track=7)), "track"),
        (json.dumps(media(timestamp="nan")), "timestamp"),
        (json.dumps(wire("dtmf", dtmf={"digit": "12"})), "digit"),
        (json.dumps(start(streamSid="MZother")), "two different"),
        (json.dumps(start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1})), "16000"),
        (json.dumps(start(mediaFormat={"encoding": "audio/opus", "sampleRate": 8000, "channels": 1})), "opus"),
        (json.dumps(start(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2})), "x 2"),
        (json.dumps(start(callSid=None)), "callSid"),
        (json.dumps(start(callSid="CA1\0")), "callSid"),
        (json.dumps(start(callSid="CA1\n")), "callSid"),
        (json.dumps(start(callSid="")), "callSid"),
        (json.dumps(start(accountSid="\x1b[31m")), "accountSid"),
        (json.dumps(start(streamSid="\0") | {"streamSid": None}), "streamSid"),
        (json.dumps(start() | {"streamSid": "M" * 65}), "streamSid"),
        (json.dumps(start(streamSid="") | {"streamSid": None}), "streamSid"),
    ],
)
def test_an_invalid_message_is_refused_with_a_reason(text, reason):
    with pytest.raises(BadMessage, match=reason) as refusal:
        parse(text)
    assert isinstance(refusal.value, MediaError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
events = st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop", "other"])


@given(st.binary() | st.text() | st.builds(lambda e, v: json.dumps(wire(e, **{e: v})), events, json_values))
def test_parsing_raises_no_other_error_than_bad_message(text):
    with contextlib.suppress(BadMessage):  # any other error fails the test
        message = parse(text)
        if isinstance(message, Media):
            message.audio()


def test_sent_messages_have_exactly_these_three_shapes():
    assert media_message(SID, b"\xff\x7f") == f'{{"event":"media","streamSid":"{SID}","media":{{"payload":"/38="}}}}'
    assert mark_message(SID, "r1.2") == f'{{"event":"mark","streamSid":"{SID}","mark":{{"name":"r1.2"}}}}'
    assert clear_message(SID) == f'{{"event":"clear","streamSid":"{SID}"}}'


@given(st.text(), st.text(), st.binary())
def test_sent_messages_are_json_whatever_the_names(sid, name, audio):
    assert base64.b64decode(json.loads(media_message(sid, audio))["media"]["payload"]) == audio
    assert json.loads(mark_message(sid, name)) == {"event": "mark", "streamSid": sid, "mark": {"name": name}}
