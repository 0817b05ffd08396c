"""Signatures: whether Twilio has sent a request."""

import pytest
from django.http import QueryDict

from calls.signatures import stream_url, valid_form_signature, valid_stream_signature
from tests.calls.twilio_double import AUTH_TOKEN

# Twilio publishes the form and its signature. Its library computed those of the socket. The token is "12345".
PUBLISHED_FORM = "CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212"
WITHOUT_SLASH = "mmqB9WIyoKjSetFWGe6ZCXH1LLQ="
WITH_SLASH = "E28mjIejV/e6H8U7UbqPpBv8yis="


@pytest.fixture(autouse=True)
def _published_token(settings):
    settings.TWILIO_AUTH_TOKENS = ["12345"]
    settings.PUBLIC_BASE_URL = "https://example.com"


def upgrade(signature: str) -> dict[str, str]:
    return {"host": "10.0.0.7", "x-twilio-signature": signature, "user-agent": "Twilio.TmeWs/1.0"}


def test_twilios_published_example_is_valid():
    path, form = "/myapp.php?foo=1&bar=2", QueryDict(PUBLISHED_FORM)
    assert valid_form_signature(path=path, form=form, signature="L/OH5YylLD5NRKLltdqwSvS0BnU=")
    assert not valid_form_signature(path="/myapp.php", form=form, signature="L/OH5YylLD5NRKLltdqwSvS0BnU=")


def test_a_form_with_an_additional_field_is_invalid():
    form = QueryDict(PUBLISHED_FORM + "&Extra=")
    assert not valid_form_signature(path="/myapp.php?foo=1&bar=2", form=form, signature="L/OH5YylLD5NRKLltdqwSvS0BnU=")


@pytest.mark.parametrize("path", ["/ws/media", "/ws/media/"])
@pytest.mark.parametrize("signature", [WITHOUT_SLASH, WITH_SLASH])
def test_a_socket_is_signed_as_wss_with_or_without_the_slash(path, signature):
    assert valid_stream_signature(path, upgrade(signature))


@pytest.mark.parametrize("headers", [{}, upgrade(""), upgrade("guess"), upgrade("\xff\u20ac")])
def test_a_socket_without_a_valid_signature_is_refused(headers):
    assert not valid_stream_signature("/ws/media", headers)


def test_a_signature_is_valid_for_one_path_only():
    assert not valid_stream_signature("/ws/other", upgrade(WITHOUT_SLASH))


def test_during_a_rotation_both_tokens_are_valid(settings):
    settings.TWILIO_AUTH_TOKENS = [AUTH_TOKEN, "12345"]
    assert valid_stream_signature("/ws/media", upgrade(WITHOUT_SLASH))


def test_without_a_token_nothing_is_valid(settings):
    settings.TWILIO_AUTH_TOKENS = []
    assert not valid_stream_signature("/ws/media", upgrade(WITHOUT_SLASH))


def test_a_path_prefix_that_a_proxy_strips_is_part_of_the_address(settings):
    settings.PUBLIC_BASE_URL = "https://example.com/phone"
    assert stream_url("/twilio/media/x") == "wss://example.com/phone/twilio/media/x"
