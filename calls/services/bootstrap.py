"""What a fresh installation needs: a login for its operator."""

import secrets

from django.contrib.auth import get_user_model


def make_login(*, username: str) -> tuple[str, str]:
    """Let an operator in: the superuser ``username``, made if missing, with a new random password; returns both."""
    password = secrets.token_urlsafe(12)
    user, _ = get_user_model().objects.get_or_create(username=username)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(password)
    user.save()
    return username, password


def ensure_demo_login() -> tuple[str, str]:
    """The login that the demonstration prints; each run gives it a new password."""
    return make_login(username="demo")
