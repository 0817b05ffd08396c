"""Limits the rate of requests per API key, per operator, and per IP address that sends invalid keys."""

import logging
import time
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from calls.models import ApiKey
from calls.rates import parse_rate

if TYPE_CHECKING:  # rest_framework.views imports this module, which the settings name
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

INVALID_KEY_RATE = "30/minute"
"""
Requests with invalid keys from one IP address: enough for a mistake in a script, too few to guess a key.

A request with a valid key is never refused because of them.
"""


class PerKey(BaseThrottle):
    """Limits requests to the rate of the key, or to ``API_RATE`` where it has none, and for operators."""

    _wait: float
    """Seconds until the next request is allowed; 0 if this one is. Set by ``allow_request``."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        if isinstance(request.auth, ApiKey):
            self._wait = count_request(f"key-{request.auth.pk}", request.auth.rate or settings.API_RATE)
        elif request.user and request.user.is_authenticated:
            self._wait = count_request(f"user-{request.user.pk}", settings.API_RATE)
        else:
            self._wait = 0.0
        return not self._wait

    def wait(self) -> float:
        return self._wait


def count_request(client: str, rate: str) -> float:
    """
    Count a request of ``client``. Returns 0, or the seconds to wait if the request exceeds the rate and is not counted.

    The requests of the previous period count in part, in proportion to how much of it lies within one period from now.
    Otherwise a client could send twice its rate around the beginning of a period.
    """
    limit, period = parse_rate(rate)
    now = time.time()
    window, into = divmod(now, period)
    key, key_before = (f"rate:{client}:{rate}:{int(window) - back}" for back in (0, 1))
    try:
        cache.add(key, 0, timeout=2 * period + 1)
        used = cache.incr(key)
        before: int = cache.get(key_before, 0)
        if before * (1 - into / period) + used <= limit:
            return 0.0
        used = cache.decr(key)
    except Exception as error:  # each cache backend raises errors of its own, and none is a reason to refuse a request
        logger.warning("Could not count API requests, so the rate is not limited: %s", error)
        return 0.0
    if used < limit:
        return max(1.0, period * (1 - (limit - used - 1) / before) - into)
    return max(1.0, period - into + period * (1 - (limit - 1) / used))
