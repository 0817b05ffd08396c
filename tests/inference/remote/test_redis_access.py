"""Workers and clients reach a Redis that asks for a password, and one behind TLS."""

import asyncio
import os
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from channels.layers import channel_layers

from inference.engines.remote import RemoteTextToSpeech
from inference.types import NoWorker
from tests.inference.certificates import Authority
from tests.inference.remote.clients import HELLO_SAMPLES, spoken_samples, started
from tests.inference.remote.processes import worker_process
from tests.inference.remote.serving import layers
from tests.real_services import Process, RedisServer


class RedisWithPassword(RedisServer):
    PASSWORD = "open/sesame"

    def _launch(self):
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return Process(*command, "--requirepass", self.PASSWORD, env=os.environ, cwd=Path("/"))


@pytest.fixture
def redis_with_password():
    server = RedisWithPassword()
    yield server
    server.stop()


@asynccontextmanager
async def behind_tls(port: int, certificate: Path):
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
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_redis_is_reached_with_its_password_only(redis_with_password, tmp_path):
    url = f"redis://:open%2Fsesame@127.0.0.1:{redis_with_password.port}/0"
    with layers(url), worker_process(tmp_path, url, "tts"):
        async with started(RemoteTextToSpeech()) as tts:
            assert await spoken_samples(tts.open(), "Hello.") == HELLO_SAMPLES
    with layers(redis_with_password.url), pytest.raises(NoWorker, match="Redis cannot be reached"):
        await RemoteTextToSpeech(start_timeout=0.2).start()


async def test_redis_is_reached_through_tls_only_if_its_certificate_is_trusted(redis_with_password, tmp_path):
    authority = Authority(tmp_path)
    async with behind_tls(redis_with_password.port, authority.sign("redis")) as port:
        url = f"rediss://:open%2Fsesame@127.0.0.1:{port}/0"
        trusting = f"{url}?ssl_ca_certs={authority.file}"
        with layers(trusting), worker_process(tmp_path, trusting, "tts"):
            async with started(RemoteTextToSpeech()) as tts:
                assert await spoken_samples(tts.open(), "Hello.") == HELLO_SAMPLES
            for layer in ("default", "stream"):
                await getattr(channel_layers[layer], "close_pools", channel_layers[layer].flush)()
        with layers(url), pytest.raises(NoWorker, match="Redis cannot be reached"):
            await RemoteTextToSpeech(start_timeout=0.5).start()
