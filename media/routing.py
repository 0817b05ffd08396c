"""The socket that Twilio opens for each stream, with or without a trailing slash."""

from django.urls import re_path

from media.consumers import MediaStreamConsumer

websocket_urlpatterns = [
    # The stubs of Django take only views for the target of a path.
    re_path(r"^twilio/media/(?P<token>[A-Za-z0-9_-]{20,64})/?$", MediaStreamConsumer.as_asgi()),  # type: ignore[arg-type]
]
