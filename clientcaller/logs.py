"""
Log lines without telephone numbers, stream tokens and control characters, and without tracebacks for the faults of a
client: as text, or each as a JSON object.
"""

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from calls.call_context import current_call
from calls.plain_text import printable
from calls.seldom import Ration
from inference import usage

# E.164 with its plus (also percent-encoded), or a bare run of as many digits. It must not stand inside a word, so that
# hexadecimal ids (CallSid, UUID) stay whole.
_PHONE_NUMBER = re.compile(r"(?<![\w.-])(?:\+|%2B)?\d{8,13}(\d{2})(?!\w)")
_STREAM_TOKEN = re.compile(r"(/twilio/media/)[\w-]+")


def discreet(text: str) -> str:
    """``text`` with phone numbers cut to their last two digits and without stream tokens."""
    return _STREAM_TOKEN.sub(r"\1…", _PHONE_NUMBER.sub(r"…\1", text))


class ClientFaults(logging.Filter):
    """
    Cuts uvicorn's traceback about a text frame that is not UTF-8 to one warning: a client sent it, no code failed.

    uvicorn closes the connection with code 1007.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("Invalid UTF-8") and record.exc_info:
            record.msg = f"Closed a connection with code 1007, a client sent invalid UTF-8: {record.exc_info[1]}"
            record.args, record.exc_info = None, None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class StrangersLines(logging.Filter):
    """
    Passes a few lines in a while of those that strangers can cause at any rate, and says how many it has left out.

    Django logs each form without a token and, with a traceback, each request with too many fields; django-axes logs
    each failed login; uvicorn warns of what is no HTTP; each media socket that is refused is a line. A handler has this
    filter, because that of a logger does not see the records of those below.
    """

    def __init__(self) -> None:
        super().__init__()
        names = ("django.security", "axes", "uvicorn.error", "media.consumers.refused")
        self._rations = {name: Ration() for name in names}

    def filter(self, record: logging.LogRecord) -> bool:
        for name, ration in self._rations.items():
            if not f"{record.name}.".startswith(f"{name}.") or (name == "uvicorn.error" and not _is_warning(record)):
                continue
            if (more := ration.next()) is None:
                return False
            record.msg, record.args = f"{record.getMessage()}{more}", None
            record.exc_info = record.exc_text = None
        return True


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno == logging.WARNING


class DiscreetFormatter(logging.Formatter):
    """
    Masks the whole line. A filter could not: it does not see the traceback, which may hold numbers too.

    A record is one line, whatever the names in it contain, so that nobody can write a line of their own into the log.
    The lines of a traceback are indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record).rstrip("\n"))

    def format(self, record: logging.LogRecord) -> str:
        first, *traceback = discreet(super().format(record)).split("\n")
        return "\n".join([first, *(f"    {printable(line)}" for line in traceback)])


class JSONFormatter(JsonFormatter):
    """
    One JSON object a line, with the id of the call that it is about. It masks what ``DiscreetFormatter`` does.

    Every value is masked by itself. A traceback is one value, in lines.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage().rstrip("\n"),
        }
        if call := current_call() or usage.current_call():
            line["call"] = call
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        line |= {name: value for name, value in _extras(record).items() if name not in line}
        return str(self.jsonify_log_record({name: _clean(value) for name, value in line.items()}))


def _extras(record: logging.LogRecord) -> Mapping[str, object]:
    """What a library has added to the record, as far as it is plain: Django adds the request, which is not."""
    plain = (str, int, float, bool)
    return {
        printable(name): value
        for name, value in vars(record).items()
        if name not in RESERVED_ATTRS and isinstance(value, plain)
    }


def _clean(value: object) -> object:
    if isinstance(value, str):
        return "\n".join(printable(line) for line in discreet(value).split("\n"))
    return value
