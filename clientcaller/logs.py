"""Log lines without telephone numbers and stream tokens."""

import logging
import re

# E.164 with its plus (also percent-encoded), or a bare run of as many digits. It must not stand inside a word, so that
# hexadecimal ids (CallSid, UUID) stay whole.
_PHONE_NUMBER = re.compile(r"(?<![\w.-])(?:\+|%2B)?\d{8,13}(\d{2})(?!\w)")
_STREAM_TOKEN = re.compile(r"(/twilio/media/)[\w-]+")


def discreet(text: str) -> str:
    """``text`` with phone numbers cut to their last two digits and without stream tokens."""
    return _STREAM_TOKEN.sub(r"\1…", _PHONE_NUMBER.sub(r"…\1", text))


class DiscreetFormatter(logging.Formatter):
    """Masks the whole line. A filter could not: it does not see the traceback, which may hold numbers too."""

    def format(self, record: logging.LogRecord) -> str:
        return discreet(super().format(record))
