"""Whether a server listens where the simulated network is about to send requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit


async def is_listening(url: str) -> bool:
    """Whether the host of this URL accepts TCP connections on its port."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
