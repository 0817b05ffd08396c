"""How often a client may ask: rates such as ``600/minute``, for a key or, as ``API_RATE``, for everybody. Pure."""

import re

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
PATTERN = rf"^[1-9][0-9]*/({'|'.join(_SECONDS)})$"
"""A regular expression for all that ``parse_rate`` takes. A migration names it, so a change needs a migration."""


def is_rate(text: str) -> bool:
    return re.fullmatch(PATTERN, text) is not None


def parse_rate(rate: str) -> tuple[int, int]:
    """How many requests, in how many seconds: ``(600, 60)`` for ``600/minute``."""
    number, _, period = rate.partition("/")
    return int(number), _SECONDS[period]
