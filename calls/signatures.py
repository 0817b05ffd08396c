"""
Checks that Twilio has signed a request (https://www.twilio.com/docs/usage/security).

The signed URL is built from ``PUBLIC_BASE_URL``, never from the ``Host`` header, which any client can choose. A valid
signature proves who sent the request but not that it is new, and so the views are idempotent.
"""

from collections.abc import Mapping

from django.conf import settings
from django.http import QueryDict
from twilio.request_validator import RequestValidator

HEADER = "X-Twilio-Signature"


def valid_form_signature(*, path: str, form: QueryDict, signature: str) -> bool:
    """Check a form that was POSTed to ``path``, query string included. ``form`` must have every field as received."""
    return _valid(settings.PUBLIC_BASE_URL + path, form, signature)


def valid_stream_signature(path: str, headers: Mapping[str, str]) -> bool:
    """
    Check the upgrade request of a media socket. The names in ``headers`` are in lower case.

    Twilio signs the ``wss://`` URL without its query, and for some hosts with a slash at the end.
    """
    signature = headers.get(HEADER.lower(), "")
    url = stream_url(path).rstrip("/")
    return _valid(url, {}, signature) or _valid(url + "/", {}, signature)


def stream_url(path: str) -> str:
    """Return the URL of a media socket as it stands in TwiML. Twilio opens ``wss`` only."""
    return "wss://" + settings.PUBLIC_BASE_URL.partition("://")[2] + path


def _valid(url: str, form: QueryDict | dict[str, str], signature: str) -> bool:
    # The validator raises an exception for an empty signature.
    return bool(signature) and any(
        RequestValidator(token).validate(url, form, signature) for token in settings.TWILIO_AUTH_TOKENS
    )
