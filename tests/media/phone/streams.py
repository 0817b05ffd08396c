"""An application at the other end of a media stream, over a real WebSocket."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from media.phone.gateway import Gateway
from media.phone.serving import stop_server
from media.phone.stream import StreamEnd
from media.phone.stream_handshake import StreamRequest
from media.phone.tape import Tape
from tests.media.phone.doubles import DEADLINE, Person

TOKEN = "12345"
SID = "MZ" + "1" * 32


@dataclass
class AppStream:
    """The application's end of a stream: it collects the messages and can wait for one."""

    request: web.BaseRequest
    socket: web.WebSocketResponse
    messages: list[dict[str, Any]] = field(default_factory=list)

    async def receive(self) -> dict[str, Any]:
        message = await self.socket.receive(timeout=DEADLINE)
        if message.type is not WSMsgType.TEXT:
            raise EOFError(message.type)
        self.messages.append(json.loads(message.data))
        return self.messages[-1]

    async def wait_for(self, event: str) -> dict[str, Any]:
        while (message := await self.receive())["event"] != event:
            pass
        return message

    async def receive_all(self) -> None:
        try:
            while True:
                await self.receive()
        except EOFError:
            pass

    async def play(self, audio: bytes, sid: str = SID) -> None:
        payload = base64.b64encode(audio).decode()
        await self.socket.send_json({"event": "media", "streamSid": sid, "media": {"payload": payload}})

    async def mark(self, name: str) -> None:
        await self.socket.send_json({"event": "mark", "streamSid": SID, "mark": {"name": name}})

    async def clear(self) -> None:
        await self.socket.send_json({"event": "clear", "streamSid": SID})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["event"] == event]


Behaviour = Callable[[AppStream], Awaitable[None]]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve_application(behaviour: Behaviour) -> AsyncIterator[StreamRequest]:
    """Serve an application that does this with its stream; yield the request that opens one."""

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        response = web.WebSocketResponse(compress=False, max_msg_size=2**24)
        await response.prepare(request)
        await behaviour(AppStream(request, response))
        return response

    async with serve_requests(serve) as request:
        yield request


@asynccontextmanager
async def serve_requests(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> AsyncIterator[StreamRequest]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield StreamRequest(
            url="wss://agent.example.com/twilio/media/abc",
            account_sid="AC" + "2" * 32,
            call_sid="CA" + "3" * 32,
            stream_sid=SID,
            auth_token=TOKEN,
            parameters={"token": "t0"},
            connect_to=f"ws://127.0.0.1:{port}",
        )
    finally:
        await stop_server(runner)


async def run_stream(behaviour: Behaviour, party: Person | None = None, **options: Any) -> tuple[StreamEnd, Gateway]:
    """Run one stream from beginning to end. ``options`` are those of the gateway."""
    gateway = Gateway(party or Person(), tape=Tape(), **options)
    async with serve_application(behaviour) as request, asyncio.timeout(DEADLINE):
        return await gateway.run(request), gateway


def tape_events(gateway: Gateway, name: str) -> list[dict[str, Any]]:
    return [event for event in gateway.tape.events if event["event"] == name]
