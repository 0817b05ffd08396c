"""
Runs the web server: ``python -m clientcaller.web.server --host 127.0.0.1 --port 8000``, which is ``make serve``.

It is uvicorn with the limits of ``clientcaller.web.protocol`` and an end of its own: at SIGTERM it goes on listening,
but sends new calls elsewhere, and ends when its calls have ended. uvicorn alone would stop listening and close every
WebSocket at once. A second SIGTERM, or SIGINT (Ctrl-C), ends it at once: its calls are handed over then.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import signal
from types import FrameType

import uvicorn
from asgiref.sync import sync_to_async

from clientcaller.asgi import application

# isort: split
# The application sets Django up, without which these modules cannot be imported.
from calls.services import draining
from clientcaller.web.protocol import BoundedProtocol
from media.runtime import hand_over_calls

logger = logging.getLogger("clientcaller.web.server")

PROGRESS_INTERVAL = 30.0
"""Seconds between two lines about how many calls are left."""
LOOK_INTERVAL = 1.0
"""Seconds between two looks at whether calls are left."""
CLOSE_TIMEOUT = 5
"""Seconds that requests have to be answered once no call is left. Event streams end by themselves."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which drains at SIGTERM."""

    _is_asked_to_drain = False
    _draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and not self._is_asked_to_drain:
            # This may run between any two instructions: the next tick does the rest.
            self._is_asked_to_drain = True
            self._captured_signals.append(sig)
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._is_asked_to_drain and self._draining is None:
            draining.begin()
            BoundedProtocol.keeps_alive = False
            self._draining = asyncio.ensure_future(_drain())
        if self._draining is not None and self._draining.done():
            self._draining.result()
            self.should_exit = True
        should_exit = await super().on_tick(counter)
        if should_exit:
            await self._end_calls()
        return should_exit

    async def _end_calls(self) -> None:
        """Hand over the calls that are left, while Twilio can still reach this process to ask what comes next."""
        if self._draining is not None:
            self._draining.cancel()
        draining.finish()
        await hand_over_calls()


async def _drain() -> None:
    """Return when no call is left, or at the limit."""
    loop = asyncio.get_running_loop()
    report_at = loop.time()
    while (count := await sync_to_async(draining.calls_to_wait_for, thread_sensitive=False)()) > 0:
        left = draining.seconds_left()
        if left <= 0.0:
            logger.warning("Draining has taken too long: %d calls are handed over to other processes", count)
            return
        if loop.time() >= report_at:
            logger.info("Draining: waiting for %d calls to end, for %.0f s at most", count, left)
            report_at = loop.time() + PROGRESS_INTERVAL
        await asyncio.sleep(min(LOOK_INTERVAL, left))
    logger.info("Drained: no call is left")


def configuration(*, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="websockets-sansio",
        ws_max_size=65536,
        lifespan="on",
        access_log=False,
        log_config=None,  # that of Django stays
        timeout_graceful_shutdown=CLOSE_TIMEOUT,
    )


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m clientcaller.web.server", description="Run the web server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="port to listen at (default: %(default)s)")
    options = parser.parse_args()
    raise_file_limit()
    DrainingServer(configuration(host=options.host, port=options.port)).run()


if __name__ == "__main__":
    main()
