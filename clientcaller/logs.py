"""Log lines that tell what happened without telling whom it happened to."""

import logging
import re

# E.164 with its plus (also percent-encoded), or a bare run as long as a number. Not inside a word, so that hex
# ids (CallSid, UUID) stay whole.
_PHONE_NUMBER = re.compile(r"(?<![\w.-])(?:\+|%2B)?\d{8,13}(\d{2})(?!\w)")
_STREAM_TOKEN = re.compile(r"(/twilio/media/)[\w-]+")


def discreet(text: str) -> str:
    """``text`` with phone numbers cut to their last two digits and stream tokens left out."""
    return _STREAM_TOKEN.sub(r"\1…", _PHONE_NUMBER.sub(r"…\1", text))


class DiscreetFormatter(logging.Formatter):
    """A formatter, not a filter: tracebacks are part of what it sees."""

    def format(self, record: logging.LogRecord) -> str:
        return discreet(super().format(record))
