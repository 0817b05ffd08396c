"""HTTP goes to Django, a Twilio media socket to ``media``; strangers on other socket paths are refused."""

import os
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
http = get_asgi_application()

# Only now: the apps must be loaded first.
from media.lifespan import lifespan, starting_service  # noqa: E402
from media.routing import websocket_urlpatterns  # noqa: E402


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Close before accepting, which a server answers with HTTP 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1008})


application = ProtocolTypeRouter(
    {
        "http": starting_service(http),
        # No origin validator and no session: Twilio sends neither Origin nor cookies. The socket has a
        # signature and a one-time token instead.
        "websocket": URLRouter([*websocket_urlpatterns, re_path(r"", refuse)]),
        "lifespan": lifespan,
    }
)
