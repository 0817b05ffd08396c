"""A media socket that only sends back what it gets, for ``manage.py doctor``. It takes no slot."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.consumer import AsyncConsumer

from calls import services
from media.consumers import refusals

MOST_MESSAGES = 200
MOST_CHARACTERS = 2000
"""The messages that are sent back, and how long each may be: four seconds of a call."""
LONGEST = 15.0
"""Seconds after which the socket is closed."""
NORMAL, POLICY = 1000, 1008


class EchoConsumer(AsyncConsumer):
    """Serves ``wss /twilio/media/<echo token>``, checked like a media socket: by Twilio's signature and the token."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        token = scope["url_route"]["kwargs"]["token"]
        if not services.valid_stream_signature(scope["path"], headers) or not services.valid_echo_token(token):
            refusals.warning("Refused a socket that wants an echo: its signature or its token is invalid")
            await send({"type": "websocket.close", "code": POLICY})
            return
        await send({"type": "websocket.accept"})
        try:
            async with asyncio.timeout(LONGEST):
                for _ in range(MOST_MESSAGES):
                    frame = await receive()
                    if frame["type"] == "websocket.disconnect":
                        return
                    text = frame.get("text")
                    if text is None or len(text) > MOST_CHARACTERS:
                        break
                    await send({"type": "websocket.send", "text": text})
        except TimeoutError:
            pass
        await send({"type": "websocket.close", "code": NORMAL})
