"""The rate of API requests: text such as ``600/minute``, which a key or the setting ``API_RATE`` has. Pure."""

import re

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
PATTERN = rf"^[1-9][0-9]*/({'|'.join(_SECONDS)})$"
"""The rates that ``parse_rate`` takes. A migration contains this text, so that changing it needs a migration."""


def is_rate(text: str) -> bool:
    """Whether ``parse_rate`` takes the text."""
    return re.fullmatch(PATTERN, text) is not None


def parse_rate(rate: str) -> tuple[int, int]:
    """Return the number of requests and of seconds: ``(600, 60)`` for ``600/minute``."""
    number, _, period = rate.partition("/")
    return int(number), _SECONDS[period]
