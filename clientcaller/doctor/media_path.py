"""The check of the media socket through the public address: the upgrade as Twilio sends it, and frames both ways."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

from django.conf import settings

from calls.echoes import make_echo_token
from calls.signatures import stream_url
from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.registry import Finding, check, green, red, yellow
from media.phone.media_socket import MediaSocket
from media.phone.stream_handshake import StreamRefused, StreamRequest, open_stream

FRAMES = 50
"""Frames that are sent, one every 20 ms: a second of a call."""
FRAME_SECONDS = 0.02
PAYLOAD = "/" * 216
"""As long as the sound of a frame in base64."""
PATIENCE = 3.0
"""Seconds after the last frame in which it must have come back."""
SLOW = 0.3
"""Seconds from a frame to its echo: every reply is late by so much."""
BUNCHED = 0.3
"""Seconds without an echo although frames are sent: something on the way collects them."""


@check("websocket", about="the media socket opens, and frames pass it at once", needs=("http",), limit=40.0)
def check_websocket(deployment: Deployment) -> Iterator[Finding]:
    tokens: list[str] = settings.TWILIO_AUTH_TOKENS
    token = tokens[0] if tokens else ""
    try:
        yield asyncio.run(_measure(deployment, token))
    except StreamRefused as refused:
        yield _explain(refused)
        return
    try:
        asyncio.run(_measure(deployment, token + "wrong"))
    except StreamRefused as refused:
        if refused.status in (401, 403):
            yield green("a wrongly signed upgrade is refused")
        else:
            yield _explain(refused)
    else:
        yield red("a wrongly signed upgrade is accepted", "Something else than this application answers it.")


async def _measure(deployment: Deployment, token: str) -> Finding:
    """Open the socket, send frames and judge when they come back. Raises ``StreamRefused``."""
    loop = asyncio.get_running_loop()
    arrivals: dict[int, float] = {}
    done: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def receive(is_text: bool, data: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError):
            arrivals[json.loads(data)["n"]] = time.perf_counter()
        if len(arrivals) == FRAMES:
            finish()

    sock = MediaSocket(on_message=receive, on_writable=lambda: None, on_closed=finish)
    host, port = deployment.target
    scheme = "wss" if deployment.is_secure else "ws"
    request = StreamRequest(
        url=stream_url(f"/twilio/media/{make_echo_token()}"),
        account_sid=settings.TWILIO_ACCOUNT_SID,
        call_sid="CA" + "0" * 32,
        stream_sid="MZ" + "0" * 32,
        auth_token=token,
        connect_to=f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}",
        tls=deployment.tls if deployment.is_secure else None,
    )
    begun = time.perf_counter()
    await open_stream(sock, request, sign_trailing_slash=False)
    opened = time.perf_counter() - begun
    sent: dict[int, float] = {}
    try:
        start = loop.time()
        for number in range(FRAMES):
            await asyncio.sleep(max(0.0, start + number * FRAME_SECONDS - loop.time()))
            sent[number] = time.perf_counter()
            sock.send("text", json.dumps({"n": number, "media": PAYLOAD}).encode())
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await done
    finally:
        sock.close(1000)
        await asyncio.sleep(0)
        sock.abort()
    return _judge(opened, sent, arrivals)


def _judge(opened: float, sent: dict[int, float], arrivals: dict[int, float]) -> Finding:
    if len(arrivals) < len(sent):
        text = f"the socket opens, but {len(sent) - len(arrivals)} of {len(sent)} frames do not come back"
        return red(text, "Look at the proxy: it must pass frames both ways and keep the socket open for a whole call.")
    delays = [arrivals[number] - at for number, at in sent.items()]
    ordered = sorted(arrivals.values())
    pause = max((later - earlier for earlier, later in pairwise(ordered)), default=0.0)
    middle = statistics.median(delays)
    text = f"opens within {1000 * opened:.0f} ms; frames return after {1000 * middle:.0f} ms"
    if pause > BUNCHED:
        remedy = "Turn off what collects data on the way: buffering of the proxy, a tunnel, an inspecting firewall."
        return yellow(f"{text}, but in bunches, up to {1000 * pause:.0f} ms apart", remedy)
    if middle > SLOW:
        return yellow(text, "Every reply is late by so much: choose a proxy or tunnel near this server.")
    return green(text)


def _explain(refused: StreamRefused) -> Finding:
    status = refused.status
    text = f"the media socket does not open (Twilio's error {refused.code}"
    if refused.code == 31924:
        return red(
            f"{text}): {refused.detail}", "Turn off compression and subprotocols of sockets in the proxy or tunnel."
        )
    if status is None:
        return red(f"{text}): {refused.detail}", "Let the proxy pass WebSocket upgrades to the web process.")
    text = f"{text}, HTTP {status})"
    if status in (400, 404, 405, 426, 500, 501) or status == 200:
        return red(text, "Let the proxy pass WebSocket upgrades on: HTTP/1.1 with the headers Upgrade and Connection.")
    if status in (401, 403):
        remedy = "Let the proxy pass path and X-Twilio-Signature on, and restart the web process with these settings."
        return red(f"{text}: the web process, or a firewall before it, refuses it", remedy)
    if 300 <= status < 400:
        return red(f"{text}: it is redirected", "End the redirect in the proxy; Twilio follows none here.")
    return red(text, "Let the proxy pass /twilio/media/ to the web process, and look at both logs.")
