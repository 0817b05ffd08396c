"""
Requests that are only answered with what arrived, for ``manage.py doctor``: it sends them through the public address.

Their path has a token that is made with ``SECRET_KEY`` and holds for two minutes, so that nobody else gets an answer,
and a server that runs with another key gives none.
"""

import re
import time

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

PATTERN = r"echo-[0-9]{10}-[0-9a-f]{40}"
"""A token within a path. It is as long as the token of a stream may be, and looks like one to a proxy."""
LIFE = 120.0
"""Seconds for which a token holds, and by which the clocks of two machines may differ."""


def make_echo_token() -> str:
    """Make a token that holds from now on."""
    made = f"{int(time.time()):010d}"
    return f"echo-{made}-{_mac(made)}"


def valid_echo_token(token: str) -> bool:
    """Whether this was made with our key, in the last two minutes."""
    if not re.fullmatch(PATTERN, token):
        return False
    _, made, mac = token.split("-")
    return abs(time.time() - int(made)) <= LIFE and constant_time_compare(mac, _mac(made))


def account_marks() -> list[str]:
    """What tells whether two processes have the same account and tokens, and tells nothing about these."""
    secrets = [settings.TWILIO_ACCOUNT_SID, *settings.TWILIO_AUTH_TOKENS]
    return [salted_hmac("calls.echoes.account", secret).hexdigest()[:16] for secret in secrets]


def _mac(made: str) -> str:
    return salted_hmac("calls.echoes.token", made, algorithm="sha256").hexdigest()[:40]
