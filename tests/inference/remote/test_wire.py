"""Messages to a worker and back arrive whole and numbered, and anything else is refused."""

from typing import Literal

import msgspec
import pytest

from inference.remote import wire
from inference.remote.llm import open_message
from inference.requests import ToolRequests
from inference.types import (
    ContextTooLarge,
    EngineError,
    EngineFull,
    EngineLoading,
    EngineTimeout,
    Message,
    NoWorker,
    QuotaExhausted,
    Tools,
)

MESSAGES = [
    wire.OpenTranscription(1, 16000, "en", "How many rooms?", partials=True),
    wire.OpenReply(2, [("system", "You…"), ("user", "Hi")], True, False, ["sales"], True),
    wire.OpenSpeech(3, 24000, "maya", "en"),
    wire.Push(4, b"\x01\x02" * 800),
    wire.Ask(4, 1, final=True),
    wire.Speak(3, 1),
    wire.Clause(3, 1, "We open at ten. "),
    wire.NoMoreText(3, 1),
    wire.Stop(3, 1),
    wire.Heard(3, 1, 12_000),
    wire.CallerSaid(3, "Are you open?", b"\x01\x02" * 8000, 8000),
    wire.Credit(3, 1, 8),
    wire.Close(3),
    wire.Offer(3),
    wire.Words(4, 1, "hello", 16000, 0.9),
    wire.Words(4, 1, "hallo", 16000, 0.9, "de"),
    wire.Words(4, 1, "hallo", 16000, 0.9, "de", stop_counts=False),
    wire.Words(4, 1, "hallo", 16000, 0.9, "de", False, 0.8, True),
    wire.OpenTranscription(1, 16000, "en", "", partials=False, others=["de", "pt-BR"]),
    wire.Delta(2, " there", None, False),
    wire.Delta(2, "", ToolRequests(transfer="sales"), True),
    wire.Piece(3, 1, b"\x00\x01" * 1920, 12, exact=True),
    wire.Done(3, 1),
    wire.Failed(3, 0, "full", "all slots are taken", permanent=False),
    wire.Failed(3, 0, "full", "too many requests", permanent=False, retry_after=20.0),
    wire.Failed(3, 0, "error", "no credit is left", permanent=True, quota_exhausted=True),
    wire.Done(3, 1, {"tts": {"cartesia/sonic": {"characters": 12.0}}}),
    wire.Words(1, 1, "hello", 800, 0.9, usage={"stt": {"deepgram/nova-3": {"seconds": 1.2}}}),
]  # fmt: skip
ENVELOPES = [
    wire.Packet("asgi.a!1", 0, 7, MESSAGES, confirmed=(0, 0)),
    wire.Announcement("b", "ready", 64, 63, 12.5, wire.Facts(24000, voices=["maya"], may_speculate=True)),
    wire.Announcement("b", "loading", 0, 0, 12.5, None),
    wire.Placement("a", (1 << 62) + 1, {"b": 14.5}),
]


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_an_envelope_is_the_same_after_packing_and_unpacking(envelope):
    assert wire.unpack(wire.pack(envelope)) == envelope


def test_messages_that_are_encoded_already_make_the_same_packet():
    assert wire.unpack(pack_encoded("asgi.a!1", 7, MESSAGES)) == ENVELOPES[0]


def pack_encoded(sender: str, number: int, messages) -> wire.LayerMessage:
    encoded = [msgspec.Raw(wire.encode(message)) for message in messages]
    return wire.pack(wire.EncodedPacket(sender, 0, number, encoded, True, 0, (0, 0), False))


def test_a_packet_of_the_last_version_confirms_nothing():
    """Web processes and workers of the two versions work together; what is lost between them ends the sessions."""
    names = ("Packet", "a", 1, 2, [])
    old = wire.unpack({**wire.pack(ENVELOPES[0]), "body": msgspec.msgpack.encode(names)})
    assert old == wire.Packet("a", 1, 2, [], counted=True, oldest=0, confirmed=None, missing=False)


def test_a_process_of_the_last_version_reads_the_packets_of_this_one():
    class LastPacket(msgspec.Struct, array_like=True, tag="Packet"):
        sender: str
        link: int
        number: int
        messages: list[msgspec.Raw]

    old = msgspec.msgpack.decode(pack_encoded("a", 7, MESSAGES)["body"], type=LastPacket)
    assert (old.sender, old.link, old.number, len(old.messages)) == ("a", 0, 7, len(MESSAGES))


def body(*content: object) -> dict[str, object]:
    return {**wire.pack(ENVELOPES[0]), "body": msgspec.msgpack.encode(content)}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (None, "does not belong to the protocol"),
        ({}, "does not belong to the protocol"),
        ({"type": "orders"}, "does not belong to the protocol"),
        ({**wire.pack(ENVELOPES[0]), "version": 1}, "version 1 and this process has 4; update the older one"),
        ({**wire.pack(ENVELOPES[0]), "body": "text"}, "missing or too large"),
        ({**wire.pack(ENVELOPES[0]), "body": bytes(wire.MAX_BYTES + 1)}, "missing or too large"),
        ({**wire.pack(ENVELOPES[0]), "body": b""}, "truncated"),
        ({**wire.pack(ENVELOPES[0]), "body": b"\x91" * 100_000}, "array"),
        (body("Nonsense", 1), "Nonsense"),
        (body("Packet", "a b", 0, 0, []), "regex"),
        (body("Packet", "a" * 101, 0, 0, []), "regex"),
        (body("Packet", "a", 0, -1, []), ">= 0"),
        (body("Packet", "a", 0, 0, [["Close", 0]]), ">= 1"),
        (body("Packet", "a", 0, 0, [["Credit", 1, 1, wire.WINDOW + 1]]), "<= 32"),
        (body("Packet", "a", 0, 0, [["Push", 1, bytes(wire.MAX_SOUND_BYTES + 1)]]), "length <="),
        (body("Packet", "a", 0, 0, [["Push", 1]]), "length"),
        (body("Placement", "a", 1, dict.fromkeys(map(str, range(wire.MAX_WORKERS + 1)), 1.0)), "length <="),
    ],
)
def test_an_invalid_envelope_is_refused_with_a_reason(message, reason):
    with pytest.raises(wire.InvalidEnvelope, match=reason):
        wire.unpack(message)


def test_sound_crosses_between_versions_with_and_without_its_pace():
    class EarlierPush(msgspec.Struct, frozen=True, array_like=True, tag="Push"):
        session: int
        sound: bytes

    earlier, later = EarlierPush(1, b"ab"), wire.Push(1, b"ab", hurried=False)
    assert msgspec.msgpack.decode(wire.encode(later), type=EarlierPush) == earlier
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(earlier), type=wire.Push) == wire.Push(1, b"ab", hurried=True)


def test_workers_and_clients_of_an_earlier_version_are_understood():
    packed = body("Packet", "a", 0, 0, [["OpenTranscription", 1, 8000, "en", "", True], ["Words", 1, 1, "hi", 9, 0.5]])
    opened, words = wire.unpack(packed).messages
    assert opened.others == opened.keyterms == []
    assert (words.language, words.stop_counts, words.language_probability) == ("", True, 0.0)


def test_an_earlier_version_ignores_what_it_does_not_know():
    class OpenTranscription(msgspec.Struct, array_like=True, tag=True):
        session: int
        rate_hz: int
        language: str
        hint: str
        partials: bool

    class OpenReply(msgspec.Struct, array_like=True, tag=True):
        session: int
        messages: list[tuple[Literal["system", "user", "assistant", "unsaid"], str]]
        speculative: bool
        warm: bool
        transfer_targets: list[str]
        opt_out: bool

    class Done(msgspec.Struct, array_like=True, tag=True):
        session: int
        request: int

    done = wire.encode(wire.Done(1, 2, {"tts": {"cartesia/sonic": {"characters": 12.0}}}))
    assert msgspec.msgpack.decode(done, type=Done) == Done(1, 2)
    opened = wire.OpenTranscription(1, 16000, "en", "", partials=False, others=["de"], keyterms=["Okafor"])
    sent = wire.encode(opened)
    assert msgspec.msgpack.decode(sent, type=OpenTranscription) == OpenTranscription(1, 16000, "en", "", False)
    asked = open_message([Message("user", "hello"), Message("finished", "")], Tools(may_wait=True))
    opened = OpenReply(1, [("user", "hello")], False, False, [], False)
    assert msgspec.msgpack.decode(wire.encode(asked), type=OpenReply) == opened


def test_a_message_that_the_other_side_would_refuse_is_not_sent():
    with pytest.raises(ContextTooLarge, match=r"1,\d{3},\d{3} bytes") as refusal:
        wire.encode(wire.Clause(1, 1, "ä" * (wire.MAX_MESSAGE_BYTES // 2)))
    assert refusal.value.permanent
    with pytest.raises(EngineError, match="cannot send this Clause"):
        wire.encode(wire.Clause(1, 1, "half of a letter: \ud800"))
    with pytest.raises(EngineError, match="cannot send this OpenSpeech") as refusal:
        wire.encode(wire.OpenSpeech(1, 24000, "a name of more than two hundred letters" * 10, "en"))
    assert refusal.value.permanent


@pytest.mark.parametrize(
    "kind",
    [
        EngineError,
        EngineLoading,
        EngineFull,
        EngineTimeout,
        NoWorker,
        ContextTooLarge,
        QuotaExhausted,
        wire.SessionLost,
    ],
)
@pytest.mark.parametrize("permanent", [True, False])
def test_errors_keep_their_kind(kind, permanent):
    failed = wire.Failed.from_error(5, 2, kind("an error", permanent=permanent))
    (received,) = wire.unpack(pack_encoded("a", 0, [failed])).messages
    assert type(received.error) is kind
    assert str(received.error) == "an error"
    assert received.error.permanent is permanent


def test_a_subclass_of_a_known_error_arrives_as_the_known_error():
    class OutOfMemory(EngineFull):
        pass

    assert type(wire.Failed.from_error(5, 2, OutOfMemory("no slot")).error) is EngineFull


def test_a_full_engine_says_when_to_ask_again():
    error = wire.Failed.from_error(5, 2, EngineFull("too many requests", retry_after=20.0)).error
    assert isinstance(error, EngineFull)
    assert error.retry_after == 20.0


def test_a_client_of_the_last_version_takes_an_exhausted_quota_for_an_error():
    failed = wire.Failed.from_error(5, 2, QuotaExhausted("no credit is left", permanent=True))
    last_version = wire.Failed(*msgspec.structs.astuple(failed)[:5])
    assert type(last_version.error) is EngineError
    assert last_version.error.permanent


def test_only_sound_that_is_too_long_is_split():
    assert wire.split_sound(b"abcdef", 4) == [b"abcd", b"ef"]
    assert wire.split_sound(b"abcd", 4) == [b"abcd"]
    assert wire.split_sound(b"", 4) == [b""]
