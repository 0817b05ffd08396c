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
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from django.conf import settings
from django.db.backends.signals import connection_created

from clientcaller.asgi import application

# isort: split
# The application sets Django up, without which these modules cannot be imported.
from calls.services import draining, valid_stream_signature
from clientcaller import metrics
from clientcaller.web import open_files
from clientcaller.web.protocol import BoundedProtocol
from clientcaller.web.sockets import SocketProtocol
from media.runtime import hand_over_calls, in_own_connection

logger = logging.getLogger("clientcaller.web.server")

PROGRESS_INTERVAL = 30.0
"""Seconds between two lines about how many calls are left."""
LOOK_INTERVAL = 1.0
"""Seconds between two looks at whether calls are left."""
SHORTEST_DRAIN = 5.0
"""Seconds for which the process goes on listening, also without calls: the proxy must notice ``/readyz`` first."""
AFTER_HAND_OVER = 3.0
"""Seconds in which Twilio asks what follows the streams that were handed over, until the proxy asks another process."""
SAME_REQUEST = 2.0
"""Seconds in which a second SIGTERM is the first one: make passes on what a supervisor has sent to all processes."""
DATABASE_PATIENCE = 2.0
"""Seconds that the database has to say which calls have opened their streams."""
SWITCH_INTERVAL = 0.001
"""Seconds after which a thread lets another one run, so that views do not hold up the loop that carries the calls."""
STATEMENT_TIMEOUT = 8000
"""Milliseconds of one query: less than Twilio waits for an answer (15 s)."""
TICKS = 10
"""uvicorn's ticks in a second."""
CLOSE_TIMEOUT = 5
"""Seconds that requests have to be answered once no call is left. Event streams end by themselves."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which drains at SIGTERM."""

    _asked_to_drain_at: float | None = None
    _draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # This may run between any two instructions: the next tick does the rest.
        asked_at = self._asked_to_drain_at
        if not self.started:
            # It has no calls, and a thread that loads a model cannot be stopped.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        elif sig == signal.SIGTERM and asked_at is None:
            self._asked_to_drain_at = time.monotonic()
            self._captured_signals.append(sig)
        elif sig != signal.SIGTERM or asked_at is None or time.monotonic() - asked_at >= SAME_REQUEST:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS == 0:
            open_files.look_for_room()
        if self._asked_to_drain_at is not None and self._draining is None:
            draining.begin()
            BoundedProtocol.keeps_alive = False
            self._draining = asyncio.ensure_future(_drain())
        if self._draining is not None and self._draining.done():
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
        if draining.live_here():
            await hand_over_calls()
            await asyncio.sleep(AFTER_HAND_OVER)


async def _drain() -> None:
    """Return when no call is left, or at the limit."""
    loop = asyncio.get_running_loop()
    began = report_at = loop.time()
    asking: asyncio.Future[None] | None = None
    while (left := draining.seconds_left()) > 0.0:
        # In a thread: a database that hangs must not keep the limit from being kept.
        if asking is None or asking.done():
            asking = loop.run_in_executor(None, in_own_connection, draining.forget_used_tokens)
        await asyncio.wait([asking], timeout=min(DATABASE_PATIENCE, left))
        count = draining.calls_to_wait_for()
        if count == 0 and loop.time() - began >= SHORTEST_DRAIN:
            break
        if count and loop.time() >= report_at:
            logger.info("Draining: waiting for %d calls to end, for %.0f s at most", count, left)
            report_at = loop.time() + PROGRESS_INTERVAL
        await asyncio.sleep(min(LOOK_INTERVAL, left))
    if count := draining.calls_to_wait_for():
        logger.warning(
            "Draining: %d calls have not ended within %.0f s (DRAIN_LIMIT), so they are handed over",
            count,
            settings.DRAIN_LIMIT,
        )
    else:
        logger.info("Drained: no call is left")


def configuration(*, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedProtocol,
        ws=SocketProtocol,
        ws_max_size=65536,
        lifespan="on",
        access_log=False,
        forwarded_allow_ips=settings.FORWARDED_ALLOW_IPS,
        log_config=None,  # that of Django stays
        timeout_graceful_shutdown=CLOSE_TIMEOUT,
    )


def limit_statements(connection: Any, **_: Any) -> None:
    """
    Let no query hold a thread of this process for long, as one does that waits for the lock of a migration.

    Behind a pooler the setting would reach the queries of other processes; there the pooler sets it (docs/growing.md).
    """
    if connection.vendor == "postgresql" and not settings.DATABASE_POOLED:
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}ms'")


def keep_no_queries(connection: Any, **_: Any) -> None:
    """Keep no record of queries. While ``DEBUG=1`` Django would keep 9000 of each thread, which nobody reads."""
    connection.queries_log = deque(maxlen=0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m clientcaller.web.server", description="Run the web server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="port to listen at (default: %(default)s)")
    options = parser.parse_args()
    open_files.raise_limit()
    sys.setswitchinterval(SWITCH_INTERVAL)
    connection_created.connect(limit_statements)
    connection_created.connect(keep_no_queries)
    metrics.expose("web")
    BoundedProtocol.may_upgrade = staticmethod(valid_stream_signature)
    with suppress(KeyboardInterrupt):  # of Ctrl-C, which the server has heeded
        DrainingServer(configuration(host=options.host, port=options.port)).run()


if __name__ == "__main__":
    main()
