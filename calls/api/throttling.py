"""How many requests are too many: per key, per operator, and per address for keys that do not fit."""

import logging
import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from calls.models import ApiKey
from calls.rates import parse_rate

logger = logging.getLogger(__name__)

REFUSED_RATE = "30/minute"
"""Keys that do not fit, from one address. Keys that do are never held up by it."""


class PerKey(BaseThrottle):
    """The key's own rate, or ``API_RATE``."""

    def allow_request(self, request: Request, view: Any) -> bool:
        if isinstance(request.auth, ApiKey):
            self._wait = count(f"key-{request.auth.pk}", request.auth.rate or settings.API_RATE)
        elif request.user and request.user.is_authenticated:
            self._wait = count(f"user-{request.user.pk}", settings.API_RATE)
        else:
            self._wait = 0.0
        return not self._wait

    def wait(self) -> float:
        return self._wait


def count(who: str, rate: str) -> float:
    """
    Count a request of ``who``. Returns the seconds to wait if it is one too many, which is then not counted; else 0.

    A window slides over the present period and what is left of the one before, so that there is no burst at its edge.
    """
    limit, period = parse_rate(rate)
    now = time.time()
    window, into = divmod(now, period)
    key, key_before = (f"rate:{who}:{rate}:{int(window) - back}" for back in (0, 1))
    try:
        cache.add(key, 0, timeout=2 * period + 1)
        used = cache.incr(key)
        before: int = cache.get(key_before, 0)
        if before * (1 - into / period) + used <= limit:
            return 0.0
        used = cache.decr(key)
    except Exception as error:  # every cache has errors of its own; none is a reason to refuse work
        logger.warning("Requests cannot be counted: %s", error)
        return 0.0
    if used < limit:
        return max(1.0, period * (1 - (limit - used - 1) / before) - into)
    return max(1.0, period - into + period * (1 - (limit - 1) / used))
