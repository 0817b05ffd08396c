"""Log lines contain neither phone numbers nor stream tokens, and strangers cannot cause many."""

import io
import json
import logging
import unicodedata
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import pytest

from calls.call_context import about_call, found_call
from clientcaller.logs import ClientFaults, DiscreetFormatter, JSONFormatter, StrangersLines, discreet
from inference.usage import UsageMeter, metering
from media.consumers import refusals


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("call from +15557654321 to +441632960961", "call from …21 to …61"),
        ("GET /x?From=%2B15557654321&a=1", "GET /x?From=…21&a=1"),
        ("sip:15557654321@example.com", "sip:…21@example.com"),
        ("/twilio/media/abc-DEF_123 refused", "/twilio/media/… refused"),
    ],
)
def test_numbers_and_tokens_are_masked(line, written):
    assert discreet(line) == written


@pytest.mark.parametrize(
    "line",
    [
        "call CA12345678901234567890123456789012 ended",
        "call 6f1c2a34-0000-4000-8000-123456789012",
        "took 1234.5 ms on port 8000, 480000 samples",
        "2026-01-01 10:00:00,123",
        "0.1234567890123",
    ],
)
def test_other_digits_are_kept(line):
    assert discreet(line) == line


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    """A logger with the formatter of the settings, and what it writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(DiscreetFormatter("{levelname} {name}: {message}", style="{"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, stream


def test_a_traceback_is_masked_too(log):
    logger, stream = log
    try:
        raise ValueError("cannot dial +15557654321")
    except ValueError:
        logger.exception("failed for %s", "+15557654321")
    assert "15557654321" not in stream.getvalue()
    assert "cannot dial …21" in stream.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_record_is_one_line_whatever_the_names_in_it_contain(log, end):
    logger, stream = log
    logger.warning("refused call %s", f"CA1{end}ERROR root: forged")
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().startswith("WARNING test: refused call CA1\\")


def test_no_control_character_reaches_the_terminal(log):
    logger, stream = log
    logger.warning("refused %s", "\x1b[2J\x07\x9b31m\u202egnp\u2066\0")
    assert stream.getvalue() == r"WARNING test: refused \x1b[2J\x07\x9b31m\u202egnp\u2066\x00" + "\n"


def test_no_line_of_a_traceback_looks_like_a_record(log):
    logger, stream = log
    try:
        raise ValueError("no\nERROR root: forged\x1b[2J")
    except ValueError:
        logger.exception("It failed.\n")
    first, *traceback = stream.getvalue().splitlines()
    assert first == "ERROR test: It failed."
    assert all(line.startswith("    ") for line in traceback)
    assert r"    ERROR root: forged\x1b[2J" in traceback


def test_invalid_utf_8_of_a_client_is_one_warning_and_other_errors_keep_their_traceback(caplog):
    logger = logging.getLogger("test.client_faults")
    logger.addFilter(ClientFaults())
    for message in ("Invalid UTF-8 sequence received from client.", "Exception in ASGI application\n"):
        try:
            b"\xff".decode()
        except UnicodeDecodeError:
            logger.exception(message)
    warning, error = caplog.records
    assert (warning.levelname, warning.exc_info) == ("WARNING", None)
    assert "1007" in warning.getMessage()
    assert error.levelname == "ERROR"
    assert error.exc_info is not None


def test_lines_that_strangers_can_cause_are_few_and_without_tracebacks(log):
    logger, stream = log
    logger.handlers[0].addFilter(StrangersLines())
    names = ("django.security.csrf", "axes.handlers.database", "axes", "django.request", "django.securityx")
    for name in (*names, "uvicorn.error", refusals.name):
        logger.name = name
        for count in range(100):
            logger.warning("Warned %d", count)
            try:
                raise ValueError("no such field")
            except ValueError:
                logger.exception("Refused %d", count)
    lines = stream.getvalue().splitlines()
    assert sum("django.security.csrf" in line for line in lines) == 5
    assert sum(" axes" in line for line in lines) == 5  # of all below axes together
    assert sum("media.consumers.refused" in line for line in lines) == 5
    assert sum("django.request" in line for line in lines) == 200
    # An error of a web process is one of the program.
    assert sum(line.startswith("WARNING uvicorn.error") for line in lines) == 5
    assert sum(line.startswith("ERROR uvicorn.error") for line in lines) == 100
    assert lines.count("    ValueError: no such field") == 300


# --- JSON ------------------------------------------------------------------------------------------------


@pytest.fixture
def json_log() -> tuple[logging.Logger, Callable[[], list[dict[str, object]]]]:
    """A logger with the JSON formatter, and a function that returns its lines as objects."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_json_has_its_time_its_level_and_its_text(json_log):
    logger, lines = json_log
    logger.warning("Refused call %s", "CA1")
    (line,) = lines()
    assert datetime.fromisoformat(str(line.pop("time"))).tzinfo is not None
    assert line == {"level": "WARNING", "logger": "test", "message": "Refused call CA1"}


def test_every_value_of_a_line_of_json_is_masked_and_without_control_characters(json_log):
    logger, lines = json_log
    try:
        raise ValueError("cannot dial +15557654321\x1b[2J")
    except ValueError:
        logger.exception("failed for %s\x07", "+15557654321", extra={"path": "/twilio/media/abc\u2028", "code": 404})
    (line,) = lines()
    text = json.dumps(line, ensure_ascii=False)
    assert "15557654321" not in text
    assert not [character for character in text if unicodedata.category(character) in ("Cc", "Zl", "Zp")]
    assert line["message"] == r"failed for …21\x07"
    assert line["path"] == "/twilio/media/…\\u2028"
    assert line["code"] == 404
    first, *_, last = str(line["exception"]).split("\n")
    assert (first, last) == ("Traceback (most recent call last):", r"ValueError: cannot dial …21\x1b[2J")


def test_a_record_is_one_line_of_json_whatever_it_contains(json_log):
    logger, lines = json_log
    logger.warning("refused %s", 'x"}\n{"level": "ERROR"}\r\x85')
    logger.warning("refused %s", object(), extra={"request": object()})
    assert [line["level"] for line in lines()] == ["WARNING", "WARNING"]
    assert "request" not in lines()[1]


def test_an_addition_of_a_library_replaces_nothing(json_log):
    logger, lines = json_log
    logger.warning("refused", extra={"level": "forged", "call": "x"})
    (line,) = lines()
    assert line["level"] == "WARNING"


def test_a_line_says_which_call_it_is_about(json_log):
    logger, lines = json_log
    one, other = UUID(int=1), UUID(int=2)
    with about_call(one):
        logger.warning("first")
        with about_call():
            logger.warning("second")
            found_call(other)
            logger.warning("third")
        logger.warning("fourth")
    found_call(one)
    logger.warning("fifth")
    assert [line.get("call") for line in lines()] == [str(one), None, str(other), str(one), None]


def test_a_line_of_a_worker_is_about_the_call_whose_session_it_serves(json_log):
    logger, lines = json_log
    with metering(UsageMeter("575d3daf-1223-4f1a-859f-7deb16cab839")):
        logger.warning("tts: closing a voice failed")
    assert lines()[0]["call"] == "575d3daf-1223-4f1a-859f-7deb16cab839"
