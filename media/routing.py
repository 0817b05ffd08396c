"""The socket that Twilio opens for each stream, with or without a trailing slash, and that of the doctor's echo."""

from django.urls import re_path

from calls.services import ECHO_PATTERN
from media.consumers import MediaStreamConsumer
from media.echo_socket import EchoConsumer

websocket_urlpatterns = [
    # The stubs of Django take only views for the target of a path.
    re_path(rf"^twilio/media/(?P<token>{ECHO_PATTERN})/?$", EchoConsumer.as_asgi()),  # type: ignore[arg-type]
    re_path(r"^twilio/media/(?P<token>[A-Za-z0-9_-]{20,64})/?$", MediaStreamConsumer.as_asgi()),  # type: ignore[arg-type]
]
