"""How many files the web process may have open. Each connection is one, and so is each recording."""

from __future__ import annotations

import errno
import logging
import os
import resource

from django.conf import settings

from calls.seldom import Seldom
from clientcaller.web import protocol

logger = logging.getLogger(__name__)

MOST_WANTED = 65_536
FILES_OF_A_CALL = 5
"""Its stream, a connection to each of three hosted engines, and its recording."""
OTHER_FILES = 200
"""The database, Redis, libraries, webhooks, and metrics."""
LOG_AGAIN = 60.0
"""Seconds between two log lines while no further file can be opened."""


def files_allowed() -> int:
    """The files that this process may have open once it has raised its limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft, MOST_WANTED if hard == resource.RLIM_INFINITY else min(hard, MOST_WANTED))


def files_needed() -> int:
    """Enough for all calls while the most other connections are open."""
    return MOST_CONNECTIONS + FILES_OF_A_CALL * settings.MAX_LIVE_CALLS + OTHER_FILES


MOST_CONNECTIONS = protocol.MOST_CONNECTIONS
"""The connections that are no WebSocket, where the limit of open files allows for them."""


def raise_limit() -> None:
    """
    Allow as many open files as the system lets this process have.

    Where these are few, HTTP connections take half of them, so that calls and the database have the others.
    """
    allowed, needed = files_allowed(), files_needed()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    protocol.MOST_CONNECTIONS = min(MOST_CONNECTIONS, allowed // 2)
    if allowed < needed:
        what = "This process may have %d files open, and %d are needed for MAX_LIVE_CALLS=%d. Raise its limit: %s"
        logger.warning(what, allowed, needed, settings.MAX_LIVE_CALLS, HOW_TO_RAISE)


HOW_TO_RAISE = "LimitNOFILE of systemd, ulimits of Docker, or ulimit -n"


def look_for_room() -> None:
    """Say so if no further file can be opened: libuv then closes new connections without a word."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        what = "No further file can be opened (%s), so new connections are refused; calls go on. Raise the limit: %s"
        _full.warning(what, error.strerror, HOW_TO_RAISE)


_full = Seldom(logger, lines=1, period=LOG_AGAIN)
