"""Creates the first agent and the operator's login on a new installation."""

import secrets
from typing import Any

from django.apps.registry import Apps
from django.apps.registry import apps as installed_apps
from django.contrib.auth import get_user_model


def make_first_agent(*, apps: Apps = installed_apps, using: str = "default", **_: Any) -> None:
    """
    Create the demonstration's agent if there is no agent at all. Called after each migration.

    ``apps`` has the models as they are after that migration, which may be an older state than the code's.
    """
    try:
        agents = apps.get_model("calls", "Agent").objects.using(using)
    except LookupError:  # the migrations of this application were undone
        return
    if not agents.exists():
        agents.create(
            name="front-desk",
            greeting="Hello, this is the front desk of Harper Hall. How can I help you?",
            prompt=(
                "You are the front desk of Harper Hall, a demonstration of an automated telephone agent, and you "
                "are talking on the phone. Answer in one to three short spoken sentences. Never use lists, markdown "
                "or emoji. Ask one question at a time. If you do not know something, say so. When the caller says "
                "goodbye, say goodbye and end the call."
            ),
        )


def make_login(*, username: str) -> tuple[str, str]:
    """
    Give the superuser ``username`` a new random password, and create the user if it is missing.

    Returns the name and the password.
    """
    password = secrets.token_urlsafe(12)
    user, _ = get_user_model().objects.get_or_create(username=username)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(password)
    user.save()
    return username, password


def ensure_demo_login() -> tuple[str, str]:
    """Return the login that the demonstration prints. Each run gives it a new password."""
    return make_login(username="demo")
