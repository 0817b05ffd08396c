"""The opening of a media stream: the upgrade request that Twilio sends, and the error that it reports if that fails."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from twilio.request_validator import RequestValidator
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus, NegotiationError
from websockets.http11 import Request

from media.phone.media_socket import CONNECT_TIMEOUT, MediaSocket


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The stream that ``<Connect><Stream>`` asks for."""

    url: str
    account_sid: str
    call_sid: str
    stream_sid: str
    auth_token: str
    parameters: dict[str, str] = field(default_factory=dict)
    connect_to: str | None = None
    """The address to connect to instead of the URL's host, such as ``ws://127.0.0.1:8000``."""
    tls: ssl.SSLContext | None = None
    """How certificates are verified; None trusts the authorities that the system trusts."""


class StreamRefused(Exception):
    """The stream could not be opened. ``code`` is Twilio's, ``status`` the HTTP status if there was a response."""

    def __init__(self, code: int, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.status = code, detail, status


async def open_stream(media_socket: MediaSocket, request: StreamRequest, *, sign_trailing_slash: bool) -> None:
    """Connect to the application and upgrade. Raises ``StreamRefused``."""
    try:
        url = urlsplit(request.url)
        target = urlsplit(request.connect_to or request.url)
    except ValueError as error:
        raise StreamRefused(31923, f"malformed URL {request.url}") from error
    if url.scheme != "wss":
        raise StreamRefused(31922, f"the stream's URL must begin with wss://, not {url.scheme}://")
    if not url.hostname or not target.hostname:
        raise StreamRefused(31923, f"no host in {request.url}")
    secure = target.scheme in ("wss", "https")
    path = url.path or "/"
    # Twilio drops the query before it connects, and signs what it connects to.
    signed = urlunsplit(("wss", url.netloc, path, "", "")) + ("/" if sign_trailing_slash else "")
    # Exactly the headers that Twilio sends, in its order: no Origin, no extension, no subprotocol.
    headers = Headers()
    headers["host"] = url.netloc
    headers["user-agent"] = "Twilio.TmeWs/1.0"
    headers["connection"] = "Upgrade"
    headers["upgrade"] = "websocket"
    headers["sec-websocket-version"] = "13"
    headers["sec-websocket-key"] = media_socket.protocol.key
    headers["x-twilio-signature"] = RequestValidator(request.auth_token).compute_signature(signed, {})
    headers["accept-encoding"] = "gzip"
    try:
        await media_socket.open(
            Request(path, headers),
            host=target.hostname,
            port=target.port or (443 if secure else 80),
            secure=secure,
            name=url.hostname,
            tls=request.tls,
        )
    except TimeoutError as error:
        raise StreamRefused(31901, f"no answer within {CONNECT_TIMEOUT:.0f} s") from error
    except ssl.SSLError as error:
        raise StreamRefused(31910, f"TLS: {error}") from error
    except ConnectionRefusedError as error:
        raise StreamRefused(31902, f"connection refused: {target.netloc}") from error
    except OSError as error:
        raise StreamRefused(31901, str(error)) from error
    except NegotiationError as error:
        raise StreamRefused(31924, f"the application accepted what was not offered: {error}") from error
    except InvalidStatus as error:
        raise StreamRefused(31920, str(error), error.response.status_code) from error
    except InvalidHandshake as error:
        raise StreamRefused(31920, str(error)) from error
