"""Engines in a worker elsewhere keep the contract of those in the same process, and break as they should."""

import asyncio
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from channels.layers import channel_layers
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management import call_command
from django.core.management.base import CommandError

from inference.engines.remote import RemoteLanguageModel, RemoteSpeechToText, RemoteTextToSpeech
from inference.engines.scripted import (
    DEFAULT_TRANSCRIPT,
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
)
from inference.types import EngineError, EngineFull, Message, NoWorker
from tests.inference.contract import LanguageModelContract, SpeechToTextContract, TextToSpeechContract
from tests.inference.serving import layers, serving, until
from tests.real_services import Process, RedisServer, process, process_env

SECOND = np.full(8000, 1000, np.int16)
HELLO = [Message("user", "hello")]
SENTENCE = "A sentence that takes a while to be spoken."
SPOKEN_SAMPLES = len(SENTENCE) * 320


# -- the contract -----------------------------------------------------------------------------------------


class OutspokenTextToSpeech(ScriptedTextToSpeech):
    """One that tells which voices it has."""

    @property
    def voice_names(self):
        return self._voices


@pytest.fixture(scope="class", params=["redis", "memory"])
def on_layers(request, redis_server):
    with layers(redis_server.url if request.param == "redis" else ""):
        yield


class TestRemoteSpeechToText(SpeechToTextContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls, on_layers):
        engine = ScriptedSpeechToText(final_delay=0.001, partials=True, backchannel_below=0.8)
        async with serving("stt", engine):
            yield RemoteSpeechToText


class TestRemoteLanguageModel(LanguageModelContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls, on_layers):
        async with serving("llm", ScriptedLanguageModel(first_delay=0.001, token_delay=0.0005)):
            yield RemoteLanguageModel


class TestRemoteTextToSpeech(TextToSpeechContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls, on_layers):
        async with serving("tts", OutspokenTextToSpeech(first_delay=0.001, chunk_delay=0.0005)):
            yield RemoteTextToSpeech


# -- processes --------------------------------------------------------------------------------------------


@contextmanager
def working(folder: Path, redis_url: str, *arguments: str, **options: object) -> Iterator[Process]:
    """``manage.py runworker`` with scripted engines, as on a GPU machine: the settings of a pod."""
    env = process_env(
        folder,
        redis_url=redis_url,
        ENGINES_PROFILE="scripted",
        ENGINES_OPTIONS=json.dumps(options),
        DJANGO_SETTINGS_MODULE="clientcaller.pod",
    )
    with process(sys.executable, "manage.py", "runworker", *arguments, env=env) as started:
        yield started


async def ready(worker: Process, *aliases: str) -> None:
    """In a thread: clients must be heard while a worker starts."""
    for _ in aliases:
        await asyncio.to_thread(worker.wait_for, "loaded on cpu")


@asynccontextmanager
async def started(*engines):
    async with AsyncExitStack() as stack:
        for engine in engines:
            await engine.start()
            stack.push_async_callback(engine.close)
        yield engines[0] if len(engines) == 1 else engines


async def clauses(*texts):
    for text in texts:
        yield text


async def spoken(speech, text=SENTENCE):
    async with aclosing(speech.speak(clauses(text))) as chunks:
        return sum([len(chunk.pcm) async for chunk in chunks])


def heard(remote):
    """The workers that a client knows of."""
    return remote.workers.all_news


@pytest.fixture
def on_redis(redis_server):
    with layers(redis_server.url):
        yield redis_server.url


async def test_one_process_serves_all_three_to_another(on_redis, tmp_path):
    with working(tmp_path, on_redis, "stt", "tts", "llm") as worker:
        await ready(worker, "stt", "tts", "llm")
        async with started(RemoteSpeechToText(), RemoteLanguageModel(), RemoteTextToSpeech()) as (stt, llm, tts):
            assert (stt.rate_hz, stt.gives_partials, tts.rate_hz) == (8000, False, 8000)
            assert stt.may_speculate
            assert llm.may_speculate
            assert tts.may_speculate
            assert "(none: it follows a script)" in llm.describe().weights
            utterance = stt.open()
            utterance.push(SECOND)
            final = await utterance.finish()
            assert (final.text, final.samples) == (DEFAULT_TRANSCRIPT, 8000)

            async def reply():
                async for delta in llm.stream(HELLO):
                    yield delta.text

            chunks = [chunk async for chunk in tts.open().speak(reply())]
            assert chunks[-1].text_end == 130
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "Stopped" in worker.lines[-1]


async def test_a_worker_may_come_after_its_client(on_redis, tmp_path):
    tts = RemoteTextToSpeech()
    starting = asyncio.ensure_future(tts.start())
    with working(tmp_path, on_redis, "tts"):
        await starting
        assert await spoken(tts.open()) == SPOKEN_SAMPLES
    await tts.close()


async def test_a_full_worker_takes_no_more_and_two_share_what_comes(on_redis, tmp_path):
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        with (
            working(tmp_path, on_redis, "tts", "--slots=2") as one,
            working(tmp_path, on_redis, "tts", "--slots=2") as two,
        ):
            await ready(one, "tts")
            await ready(two, "tts")
            await until(lambda: len([news for news in heard(tts) if news.free]) == 2)
            voices = [tts.open() for _ in range(4)]
            assert await asyncio.gather(*map(spoken, voices)) == [SPOKEN_SAMPLES] * 4
            await until(lambda: [news.free for news in heard(tts)] == [0, 0])
            with pytest.raises(EngineFull):
                await spoken(tts.open())
            await voices[0].close()
            await until(lambda: sum(news.free for news in heard(tts)) == 1)
            assert await spoken(tts.open()) == SPOKEN_SAMPLES


async def test_a_worker_that_is_killed_fails_its_sessions_within_a_second_and_the_next_go_elsewhere(on_redis, tmp_path):
    slow = {"tts": {"chunk_delay": 0.2}}
    async with started(RemoteTextToSpeech(rate_hz=8000), RemoteSpeechToText(rate_hz=8000)) as (tts, stt):
        with ExitStack() as stack:
            first = stack.enter_context(working(tmp_path, on_redis, "stt", "tts", **slow))
            await ready(first, "stt", "tts")
            await until(lambda: heard(tts) and heard(stt))
            speech, utterance = tts.open(), stt.open()
            utterance.push(SECOND)
            turn = speech.speak(clauses(SENTENCE))
            await anext(turn)
            second = stack.enter_context(working(tmp_path, on_redis, "stt", "tts"))
            await ready(second, "stt", "tts")
            await until(lambda: len(heard(tts)) == len(heard(stt)) == 2)
            begun = asyncio.get_running_loop().time()
            first.signal(signal.SIGKILL)
            with pytest.raises(EngineError, match="the other side was silent for 1 s"):
                [chunk async for chunk in turn]
            assert asyncio.get_running_loop().time() - begun < 2.0
            # What was said to the dead one is said again to the other.
            utterance.push(SECOND)
            assert (await utterance.finish()).samples == 16000
            assert await spoken(speech) == SPOKEN_SAMPLES


async def test_a_frozen_worker_is_left_and_finds_its_places_free_when_it_thaws(on_redis, tmp_path):
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        with working(tmp_path, on_redis, "tts", "--slots=1", tts={"chunk_delay": 0.1}) as worker:
            await ready(worker, "tts")
            await until(lambda: heard(tts))
            speech = tts.open()
            turn = speech.speak(clauses(SENTENCE))
            await anext(turn)
            worker.signal(signal.SIGSTOP)
            with pytest.raises(EngineError, match="was silent"):
                [chunk async for chunk in turn]
            await until(lambda: not heard(tts))
            with pytest.raises(NoWorker, match=r"manage\.py runworker tts"):
                await spoken(speech)
            worker.signal(signal.SIGCONT)
            await until(lambda: heard(tts) and heard(tts)[0].free == 1)
            assert await spoken(speech) == SPOKEN_SAMPLES


async def test_sigterm_lets_a_turn_end_and_a_second_one_does_not(on_redis, tmp_path):
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        for signals in (1, 2):
            with working(tmp_path, on_redis, "tts", tts={"chunk_delay": 0.06}) as worker:
                await ready(worker, "tts")
                await until(lambda: [news.state for news in heard(tts)] == ["ready"])
                turn = tts.open().speak(clauses(SENTENCE))
                said = len((await anext(turn)).pcm)
                worker.signal(signal.SIGTERM)
                await until(lambda: [news.state for news in heard(tts)] == ["draining"])
                with pytest.raises(NoWorker):
                    await spoken(tts.open())
                if signals == 1:
                    assert said + sum([len(chunk.pcm) async for chunk in turn]) == SPOKEN_SAMPLES
                else:
                    worker.signal(signal.SIGTERM)
                    with pytest.raises(EngineError, match="the worker was stopped"):
                        [chunk async for chunk in turn]
                assert await asyncio.to_thread(worker.wait) == 0
                await until(lambda: not heard(tts))


async def test_sessions_fail_with_redis_and_come_back_with_it(own_redis, tmp_path):
    with (
        layers(own_redis.url),
        working(tmp_path, own_redis.url, "tts", "--slots=1", tts={"chunk_delay": 0.1}) as worker,
    ):
        await ready(worker, "tts")
        async with started(RemoteTextToSpeech()) as tts:
            speech = tts.open()
            turn = speech.speak(clauses(SENTENCE))
            await anext(turn)
            own_redis.stop()
            with pytest.raises(EngineError):
                [chunk async for chunk in turn]
            await until(lambda: not heard(tts))
            with pytest.raises(NoWorker):
                await spoken(speech)
            own_redis.start()
            await until(lambda: heard(tts) and heard(tts)[0].free == 1)
            assert await spoken(speech) == SPOKEN_SAMPLES


async def test_a_worker_waits_for_a_redis_that_is_not_there_yet(own_redis, tmp_path):
    own_redis.stop()
    with layers(own_redis.url), working(tmp_path, own_redis.url, "tts") as worker:
        await asyncio.to_thread(worker.wait_for, "cannot reach the channel layer")
        with pytest.raises(NoWorker, match="Redis cannot be reached"):
            await RemoteTextToSpeech(start_timeout=0.2).start()
        own_redis.start()
        async with started(RemoteTextToSpeech()) as tts:
            assert await spoken(tts.open()) == SPOKEN_SAMPLES
        assert sum("cannot reach the channel layer" in line for line in worker.lines) == 1


CLIENT = """
import asyncio, django
django.setup()
from inference.engines.remote import RemoteTextToSpeech

async def clauses():
    yield "Hello. "
    await asyncio.sleep(3600)

async def main():
    tts = RemoteTextToSpeech()
    await tts.start()
    async for chunk in tts.open().speak(clauses()):
        print("speaking", flush=True)

asyncio.run(main())
"""


async def test_a_client_that_is_killed_gives_its_places_back(on_redis, tmp_path):
    env = process_env(tmp_path, redis_url=on_redis, DJANGO_SETTINGS_MODULE="clientcaller.pod")
    async with started(RemoteTextToSpeech(rate_hz=8000)) as tts:
        with (
            working(tmp_path, on_redis, "tts", "--slots=1") as worker,
            process(sys.executable, "-c", CLIENT, env=env) as other,
        ):
            await ready(worker, "tts")
            await asyncio.to_thread(other.wait_for, "speaking")
            await until(lambda: heard(tts) and heard(tts)[0].free == 0)
            other.signal(signal.SIGKILL)
            await until(lambda: heard(tts)[0].free == 1, within=5)
            assert await spoken(tts.open()) == SPOKEN_SAMPLES


LOADING = """
import asyncio, threading, django
django.setup()
from channels.layers import channel_layers
from inference.engines.scripted import ScriptedTextToSpeech
from inference.management.commands.runworker import run_worker
from inference.remote.server import Server
from inference.remote.worker import Worker

class Slow(ScriptedTextToSpeech):
    async def start(self):
        print("loading", flush=True)
        await asyncio.to_thread(threading.Event().wait, 60)

server = Server("tts", Slow(), placements=channel_layers["default"], stream=channel_layers["stream"])
asyncio.run(run_worker(Worker([server])))
"""


async def test_a_worker_that_loads_in_a_thread_need_not_be_waited_for(on_redis, tmp_path):
    env = process_env(tmp_path, redis_url=on_redis, DJANGO_SETTINGS_MODULE="clientcaller.pod")
    with process(sys.executable, "-c", LOADING, env=env) as worker:
        await asyncio.to_thread(worker.wait_for, "loading")
        worker.signal(signal.SIGTERM)
        await asyncio.to_thread(worker.wait_for, "Stopped")
        await until(lambda: worker.signal(signal.SIGTERM) or not worker.running)
        assert worker.wait() == -signal.SIGTERM


# -- Redis with credentials -------------------------------------------------------------------------------


class GuardedRedis(RedisServer):
    PASSWORD = "open/sesame"

    def _launch(self):
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return Process(*command, "--requirepass", self.PASSWORD, env=os.environ, cwd=Path("/"))


@pytest.fixture
def guarded_redis():
    server = GuardedRedis()
    yield server
    server.stop()


def certificate(folder: Path) -> Path:
    """For 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "redis.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@asynccontextmanager
async def behind_tls(port: int, pem: Path):
    """A port where the server at ``port`` is reached through TLS, as behind the proxy of a hosted Redis."""

    async def copy(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_redis_is_reached_with_a_password(guarded_redis, tmp_path):
    url = f"redis://:open%2Fsesame@127.0.0.1:{guarded_redis.port}/0"
    with layers(url), working(tmp_path, url, "tts"):
        async with started(RemoteTextToSpeech()) as tts:
            assert await spoken(tts.open()) == SPOKEN_SAMPLES
    with layers(guarded_redis.url), pytest.raises(NoWorker, match="Redis cannot be reached"):
        await RemoteTextToSpeech(start_timeout=0.2).start()


async def test_redis_is_reached_with_tls_and_its_certificate_is_looked_at(guarded_redis, tmp_path):
    pem = certificate(tmp_path)
    async with behind_tls(guarded_redis.port, pem) as port:
        url = f"rediss://:open%2Fsesame@127.0.0.1:{port}/0"
        trusting = f"{url}?ssl_ca_certs={pem}"
        with layers(trusting), working(tmp_path, trusting, "tts"):
            async with started(RemoteTextToSpeech()) as tts:
                assert await spoken(tts.open()) == SPOKEN_SAMPLES
            for layer in ("default", "stream"):
                await getattr(channel_layers[layer], "close_pools", channel_layers[layer].flush)()
        with layers(url), pytest.raises(NoWorker, match="Redis cannot be reached"):
            await RemoteTextToSpeech(start_timeout=0.5).start()


# -- what the command refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "arguments", "redis_url", "says"),
    [
        (
            "scripted",
            ("tts", "ears"),
            "redis://127.0.0.1:1/0",
            "There is no engine 'ears'. Choose from: stt, llm, tts.",
        ),
        (
            "scripted",
            ("tts", "--layer=x"),
            "redis://127.0.0.1:1/0",
            "CHANNEL_LAYERS has no 'x'; it has: default, stream",
        ),
        ("scripted", ("tts", "--slots=0"), "redis://127.0.0.1:1/0", "argument --slots: it must be at least 1"),
        ("scripted", ("tts",), "", "REDIS_URL is not set."),
        ("remote", ("tts",), "redis://127.0.0.1:1/0", "A worker cannot use ENGINES_PROFILE=remote"),
    ],
)
def test_a_wrong_command_says_what_is_right(profile, arguments, redis_url, says, settings):
    settings.REDIS_URL, settings.ENGINES = redis_url, settings.ENGINES_PROFILES[profile]
    with pytest.raises(CommandError, match=re.escape(says)):
        call_command("runworker", *arguments)


def test_an_engine_that_does_not_load_is_named_with_the_reason(on_redis, tmp_path):
    with working(tmp_path, on_redis, "tts", tts={"pitch": 3}) as worker:
        assert worker.wait() == 1
        worker.wait_for_silence()
        assert "Cannot serve the engines: ENGINES['tts']" in worker.text
        assert "'pitch'" in worker.text
