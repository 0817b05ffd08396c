"""The ASGI application: HTTP goes to Django, Twilio's media sockets go to ``media``, other sockets are refused."""

import os

import django
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
django.setup(set_prefix=False)

# These modules import models, so Django's apps must be loaded first.
from clientcaller.web.bodies import BoundedHttp  # noqa: E402
from clientcaller.web.handler import Handler  # noqa: E402
from media.lifespan import beginning_runtime, lifespan  # noqa: E402
from media.routing import websocket_urlpatterns  # noqa: E402


async def refuse(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Close a WebSocket before it is accepted, which a server answers with HTTP 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": None})


# The stubs of Django take views alone for the target of a path, and those of Channels a pattern class of their own.
_sockets = URLRouter([*websocket_urlpatterns, re_path(r"", refuse)])  # type: ignore[list-item, arg-type]

application = ProtocolTypeRouter(
    {
        "http": beginning_runtime(BoundedHttp(Handler())),
        # There is no origin validator and no session: Twilio sends neither Origin nor cookies. The socket is
        # authenticated by Twilio's signature and a one-time token instead.
        "websocket": _sockets,
        "lifespan": lifespan,
    }
)
