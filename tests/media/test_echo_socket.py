"""The media socket that only sends back what it gets."""

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from twilio.request_validator import RequestValidator

from calls.echoes import make_echo_token
from calls.signatures import stream_url
from media import echo_socket
from media.routing import websocket_urlpatterns


def connect(settings, *, token: str = "", signed_with: str = "") -> WebsocketCommunicator:
    path = f"/twilio/media/{token or make_echo_token()}"
    signature = RequestValidator(signed_with or settings.TWILIO_AUTH_TOKENS[0]).compute_signature(stream_url(path), {})
    headers = [(b"x-twilio-signature", signature.encode())]
    return WebsocketCommunicator(URLRouter(websocket_urlpatterns), path, headers=headers)


async def test_what_is_sent_comes_back_until_there_is_enough(settings, monkeypatch):
    monkeypatch.setattr(echo_socket, "MOST_MESSAGES", 2)
    socket = connect(settings)
    assert (await socket.connect())[0]
    for text in ("one", "two"):
        await socket.send_to(text)
        assert await socket.receive_from() == text
    assert (await socket.receive_output())["type"] == "websocket.close"


async def test_a_long_message_ends_the_socket(settings):
    socket = connect(settings)
    await socket.connect()
    await socket.send_to("x" * (echo_socket.MOST_CHARACTERS + 1))
    assert (await socket.receive_output())["type"] == "websocket.close"


async def test_a_silent_socket_is_closed(settings, monkeypatch):
    monkeypatch.setattr(echo_socket, "LONGEST", 0.01)
    socket = connect(settings)
    await socket.connect()
    assert (await socket.receive_output())["type"] == "websocket.close"


@pytest.mark.parametrize("fault", ["signature", "token"])
async def test_a_wrong_signature_or_token_is_refused(fault, settings):
    token = "echo-1800000000-" + "0" * 40 if fault == "token" else ""
    socket = connect(settings, token=token, signed_with="another" if fault == "signature" else "")
    assert not (await socket.connect())[0]
