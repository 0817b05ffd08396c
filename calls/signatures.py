"""
Did Twilio send this? (https://www.twilio.com/docs/usage/security)

The signed URL is built from ``PUBLIC_BASE_URL``, never from the ``Host`` header, which anybody can write. A
valid signature proves the origin, not that the request is new: handlers are idempotent.
"""

from collections.abc import Mapping

from django.conf import settings
from django.http import QueryDict
from twilio.request_validator import RequestValidator

HEADER = "X-Twilio-Signature"


def valid_form_signature(*, path: str, form: QueryDict, signature: str) -> bool:
    """Check a form POST. ``path`` has its query string; ``form`` is every field as it came, unfiltered."""
    return _valid(settings.PUBLIC_BASE_URL + path, form, signature)


def valid_stream_signature(path: str, headers: Mapping[str, str]) -> bool:
    """
    Check the upgrade request of a media socket, given its path and its headers with their names in lower case.

    Twilio signs the ``wss://`` form without query, and for some hosts with a slash at the end.
    """
    signature = headers.get(HEADER.lower(), "")
    url = stream_url(path).rstrip("/")
    return _valid(url, {}, signature) or _valid(url + "/", {}, signature)


def stream_url(path: str) -> str:
    """The address of a socket as Twilio is told it: always ``wss``."""
    return "wss://" + settings.PUBLIC_BASE_URL.partition("://")[2] + path


def _valid(url: str, form: QueryDict | dict[str, str], signature: str) -> bool:
    # Tested first because the validator raises on a missing signature.
    return bool(signature) and any(
        RequestValidator(token).validate(url, form, signature) for token in settings.TWILIO_AUTH_TOKENS
    )
