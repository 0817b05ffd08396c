"""One HTTP request to the public address, with exactly these headers and without following redirects."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message

from clientcaller.doctor.deployment import Deployment

TIMEOUT = 8.0
"""Seconds for connecting and for each wait. Twilio gives up connecting after 5 s and waiting after 15."""
MOST_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    headers: Message
    body: str
    seconds: float

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    @property
    def first_words(self) -> str:
        """The beginning of the body, in one line."""
        return " ".join(self.body.split())[:80]


class _Connection(http.client.HTTPSConnection):
    """A connection to ``target`` that asks for the public host, by TLS if the public address has it."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment.host, deployment.port, timeout=TIMEOUT, context=deployment.tls)
        self._deployment = deployment

    def connect(self) -> None:
        plain = socket.create_connection(self._deployment.target, TIMEOUT)
        if self._deployment.is_secure:
            self.sock = self._deployment.tls.wrap_socket(plain, server_hostname=self._deployment.host)
        else:
            self.sock = plain


def request(
    deployment: Deployment, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: str = ""
) -> Answer:
    """
    Send one request to a path of the application.

    Raises ``OSError`` (``ssl.SSLError`` among them) and ``http.client.HTTPException``.
    """
    connection = _Connection(deployment)
    host = deployment.host if deployment.port in (80, 443) else f"{deployment.host}:{deployment.port}"
    begun = time.perf_counter()
    try:
        connection.putrequest(method, deployment.path + path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": host, "Accept": "*/*", "User-Agent": "TwilioProxy/1.1", **(headers or {})}.items():
            connection.putheader(name, value)
        if method == "POST":
            connection.putheader("Content-Length", str(len(body.encode())))
        connection.endheaders(body.encode() if method == "POST" else None)
        answer = connection.getresponse()
        text = answer.read(MOST_BYTES).decode("utf-8", errors="replace")
        return Answer(answer.status, answer.headers, text, time.perf_counter() - begun)
    finally:
        connection.close()
