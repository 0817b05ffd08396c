"""``manage.py phone``, and the person at the machine: microphone, loudspeaker and keyboard."""

import asyncio
import base64
import io
import json
import wave
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from django.core.management import call_command
from django.core.management.base import CommandError
from twilio.request_validator import RequestValidator

from inference.engines.scripted import ScriptedTextToSpeech
from inference.mulaw import decode_mulaw
from inference.types import EngineError
from media.management.commands import phone
from media.phone import live
from media.phone.caller import ScriptedCaller
from media.phone.frames import SILENT_FRAME
from media.phone.live import (
    LiveCaller,
    SoundError,
    load_sound,
    open_voice,
    press_typed_keys,
    read_lines,
    speak_typed_lines,
)
from media.phone.serving import stop_server
from tests.media.phone.doubles import DEADLINE
from tests.media.phone.sounds import LOUD, write_wave

# -- the command ----------------------------------------------------------------------------------


def options(*arguments: str) -> dict[str, Any]:
    return vars(phone.Command().create_parser("manage.py", "phone").parse_args([*arguments]))


def test_help_shows_examples_and_options(capsys):
    with pytest.raises(SystemExit):
        options("--help")
    text = capsys.readouterr().out
    for line in ("manage.py phone --type", "say Hello, is anyone there?", "--noise DB", "--tape DIR"):
        assert line in text
    assert "--pythonpath" not in text


@pytest.mark.parametrize(
    "arguments", [["--loss", "3"], ["--delay", "soon"], ["--noise", "20"], ["--type", "--script", "x"]]
)
def test_invalid_options_are_refused_before_the_call(arguments):
    with pytest.raises(CommandError):
        call_command("phone", *arguments)


def test_without_a_server_the_error_says_how_to_start_one(closed_port):
    with pytest.raises(CommandError, match=r"No server answers at http://127\.0\.0\.1:\d+\. Start one with: make run"):
        call_command("phone", "--type", "--url", f"http://127.0.0.1:{closed_port}")


@pytest.fixture
async def server(settings, tmp_path) -> AsyncIterator[str]:
    """Serve an application that greets for 0.3 s, and replies as long to each thing that the caller says."""
    settings.PUBLIC_BASE_URL = "https://agent.example.com"
    settings.TWILIO_AUTH_TOKEN = "the-token"

    async def voice(request: web.Request) -> web.Response:
        form = dict(await request.post())
        signature = request.headers["X-Twilio-Signature"]
        url = "https://agent.example.com/twilio/voice/"
        assert RequestValidator("the-token").validate(url, form, signature)
        stream = '<Connect><Stream url="wss://agent.example.com/media"/></Connect>'
        return web.Response(text=f"<Response>{stream}</Response>", content_type="text/xml")

    async def media(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        sid, heard = "", False
        async for message in socket:
            event = json.loads(message.data)
            sid = event.get("streamSid", sid)
            loud = event["event"] == "media" and base64.b64decode(event["media"]["payload"]) == LOUD
            if event["event"] == "start" or (heard and not loud):
                audio = base64.b64encode(LOUD * 15).decode()
                await socket.send_json({"event": "media", "streamSid": sid, "media": {"payload": audio}})
                heard = False
            heard = heard or loud
        return socket

    async def answer_empty(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/twilio/voice/", voice)
    app.router.add_get("/media", media)
    app.router.add_route("*", "/{path:.*}", answer_empty)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await stop_server(runner)


async def test_a_script_makes_a_call_and_leaves_figures_and_a_recording(server, tmp_path):
    write_wave(tmp_path / "question.wav", decode_mulaw(LOUD * 10))
    (tmp_path / "call.txt").write_text("wait for agent\nplay question.wav\nwait for agent\nhang up\n")
    command = phone.Command(stdout=io.StringIO())
    arguments = ["--script", str(tmp_path / "call.txt"), "--url", server, "--tape", str(tmp_path / "tapes")]
    async with asyncio.timeout(DEADLINE):
        measured = await command.call(options(*arguments))
    (turn,) = measured.turns
    assert turn.clip == "question.wav"
    assert turn.response is not None
    assert turn.heard is not None
    assert measured.agent_seconds == pytest.approx(0.6, abs=0.01)
    assert measured.errors == []
    output = command.stdout.getvalue()
    for words in ("question.wav", "How long you waited", "gaps in its speech", "completed"):
        assert words in output
    (folder,) = (tmp_path / "tapes").iterdir()
    assert str(folder) in output
    with wave.open(str(folder / "call.wav")) as recording:
        sound = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").reshape(-1, 2)
    assert [np.count_nonzero(np.abs(side) > 1000) for side in sound.T] == [1600, 4800]


async def test_typed_lines_are_spoken(server, tmp_path, monkeypatch):
    monkeypatch.setattr(phone, "LaptopTextToSpeech", ScriptedTextToSpeech)
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n/press 1\n/bye\n"))
    command = phone.Command(stdout=io.StringIO())
    async with asyncio.timeout(DEADLINE):
        measured = await command.call(options("--type", "--url", server, "--tape", str(tmp_path)))
    assert measured.errors == []
    assert "completed" in command.stdout.getvalue()


async def test_a_voice_that_fails_ends_the_call_and_says_why(server, tmp_path, monkeypatch):
    monkeypatch.setattr(phone, "LaptopTextToSpeech", lambda: ScriptedTextToSpeech(failures=[{"on": 1}]))
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(EngineError):
            await phone.Command(stdout=io.StringIO()).call(options("--type", "--url", server, "--tape", str(tmp_path)))


async def test_an_unreadable_script_is_explained(server, tmp_path):
    with pytest.raises(CommandError, match=r"Cannot read .*missing\.txt"):
        await phone.Command().call(options("--script", str(tmp_path / "missing.txt"), "--url", server))


async def test_a_missing_microphone_is_explained(server, monkeypatch):
    monkeypatch.setattr(live, "load_sound", lambda: FakeSound(refuses={"RawInputStream"}))
    with pytest.raises(SoundError, match=r"No microphone can be used here .*--type"):
        await phone.Command().call(options("--url", server))


# -- microphone and loudspeaker -------------------------------------------------------------------


class FakeSound:
    """The part of ``sounddevice`` that is used. Its devices accept only ``rate_hz``."""

    class PortAudioError(Exception):
        pass

    class Stream:
        def __init__(self, callback: Any, blocksize: int) -> None:
            self.callback, self.blocksize, self.closed = callback, blocksize, False

        def start(self) -> None: ...

        def close(self) -> None:
            self.closed = True

    def __init__(self, *, rate_hz: int = 8000, refuses: set[str] | None = None) -> None:
        self.rate_hz, self.refuses = rate_hz, refuses or set()
        self.streams: dict[str, FakeSound.Stream] = {}

    def RawInputStream(self, **settings: Any) -> Stream:
        return self._stream("RawInputStream", **settings)

    def RawOutputStream(self, **settings: Any) -> Stream:
        return self._stream("RawOutputStream", **settings)

    def _stream(self, kind: str, *, samplerate: int, blocksize: int, callback: Any, **settings: Any) -> Stream:
        assert settings == {"channels": 1, "dtype": "int16"}
        if kind in self.refuses:
            raise self.PortAudioError("Error querying device -1")
        if samplerate != self.rate_hz:
            raise self.PortAudioError("Invalid sample rate")
        self.streams[kind] = self.Stream(callback, blocksize)
        return self.streams[kind]

    def record(self, pcm: np.ndarray) -> None:
        stream = self.streams["RawInputStream"]
        for start in range(0, len(pcm), stream.blocksize):
            stream.callback(pcm[start : start + stream.blocksize].tobytes(), stream.blocksize, None, None)

    def play(self) -> np.ndarray:
        stream = self.streams["RawOutputStream"]
        buffer = bytearray(2 * stream.blocksize)
        stream.callback(memoryview(buffer), stream.blocksize, None, None)
        return np.frombuffer(buffer, np.int16)


@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_audio_passes_from_the_microphone_and_to_the_loudspeaker(rate_hz):
    sound = FakeSound(rate_hz=rate_hz)
    caller = LiveCaller(sound)
    caller.open()
    assert caller.next_frame() == SILENT_FRAME
    sound.record(np.full(rate_hz // 10, 8000, np.int16))
    frames = [caller.next_frame() for _ in range(4)]
    assert np.abs(decode_mulaw(frames[3])).mean() == pytest.approx(8000, rel=0.05)
    for _ in range(4):
        caller.hear(LOUD)
    played = [sound.play() for _ in range(3)]
    assert {len(block) for block in played} == {rate_hz // 50}
    assert np.abs(played[2]).max() == pytest.approx(abs(int(decode_mulaw(LOUD)[0])), rel=0.1)
    caller.close()
    assert all(stream.closed for stream in sound.streams.values())


def test_audio_that_piles_up_is_dropped_rather_than_delayed():
    sound = FakeSound()
    caller = LiveCaller(sound)
    caller.open()
    sound.record(np.full(8000, 8000, np.int16))  # one second at once
    assert caller.next_frame() != SILENT_FRAME
    assert caller.next_frame() == SILENT_FRAME
    for _ in range(50):
        caller.hear(LOUD)
    blocks = [sound.play() for _ in range(20)]
    assert sum(bool(np.any(block)) for block in blocks) == 10


def test_utterances_are_noted_for_the_tape():
    sound = FakeSound()
    caller = LiveCaller(sound)
    caller.open()
    notes = []
    for frame in range(40):
        sound.record(np.full(160, 8000 if 5 <= frame < 15 else 0, np.int16))
        caller.next_frame()
        notes += [(note.event, frame * 160 + note.offset, note.fields["clip"]) for note in caller.take_notes()]
    assert notes == [
        ("caller_speech_start", 5 * 160, "utterance 1"),
        ("caller_speech_end", 15 * 160 - 1, "utterance 1"),
    ]


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", None)
    with pytest.raises(SoundError, match=r"pip install .*--type"):
        load_sound()


# -- the keyboard ---------------------------------------------------------------------------------


async def test_typed_lines_become_speech_keys_and_the_end_of_the_call():
    async def voice(text: str) -> bytes:
        return LOUD * len(text)

    caller = ScriptedCaller([])
    await speak_typed_lines(caller, voice, read_lines(io.StringIO("Hello\n\n/press 1 2\n/hang up\nnever said\n")))
    assert [caller.next_frame() for _ in range(5)] == [LOUD] * 5
    keys = []
    while not caller.hung_up:
        caller.next_frame()
        keys.append(caller.next_key())
    assert [key for key in keys if key] == ["1", "2"]


async def test_typed_keys_are_pressed_one_per_frame_and_an_empty_line_hangs_up():
    caller = LiveCaller(FakeSound())
    await press_typed_keys(caller, read_lines(io.StringIO("1#\n\n2\n")))
    assert [caller.next_key() for _ in range(3)] == ["1", "#", None]
    assert caller.hung_up


async def test_a_synthesiser_becomes_a_callers_voice():
    async with open_voice(ScriptedTextToSpeech()) as voice:
        audio = await voice("Hello there.")
    assert len(audio) == pytest.approx(12 * 0.04 * 8000, rel=0.05)
    assert np.abs(decode_mulaw(audio)).max() > 1000
