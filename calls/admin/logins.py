"""
Says which failed logins are counted together, so that a stranger's guesses cannot keep an operator out.

Guesses at one name from many addresses lock the name, and a stranger can go on guessing. Without that lock, whoever has
many addresses could guess at any rate. So a browser in which the login of a name has succeeded has a signed cookie, and
its failures are counted by themselves: guesses from elsewhere do not concern it, and with a stolen cookie nobody can
guess any faster (the "device cookies" of OWASP). An operator in a new browser waits, or runs ``axes_reset``.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.core import signing
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase

COOKIE = "known-browser"
MAX_AGE = 180 * 24 * 3600
"""Seconds for which a browser is remembered."""
LONGEST_NAME = 150
"""Characters of a name by which failures are counted. No account has a longer one, and django-axes stores 255."""
_SALT = "known-browser"
_LOGGED_IN = "_logged_in_as"
"""The attribute of a request in which somebody has just logged in."""

Credentials = Mapping[str, Any] | None


def counted_as(request: HttpRequest, credentials: Credentials = None) -> str:
    """Return the name for which a failure is counted (``AXES_USERNAME_CALLABLE``); a known browser has its own."""
    name = _name(request, credentials)
    counted = name.replace("\0", "")[:LONGEST_NAME]
    if not _is_known(request, name):
        return counted
    return f"{counted} (known browser {sha256(request.COOKIES[COOKIE].encode()).hexdigest()[:16]})"


def counted_by(request: HttpRequest, credentials: Credentials = None) -> list[str]:
    """Return by what failures are counted (``AXES_LOCKOUT_PARAMETERS``): those of a known browser by its name only."""
    return ["username"] if _is_known(request, _name(request, credentials)) else ["ip_address", "username"]


def address_of(request: HttpRequest) -> str | None:
    """Return the client's address (``AXES_CLIENT_IP_CALLABLE``), None if the proxy has named none that is one."""
    try:
        # Without the zone of a link-local address, which PostgreSQL does not store.
        return str(ip_address(str(request.META.get("REMOTE_ADDR", "")).partition("%")[0]))
    except ValueError:
        return None


def _name(request: HttpRequest, credentials: Credentials) -> str:
    return str((credentials or {}).get("username") or request.POST.get("username", ""))


def _is_known(request: HttpRequest, name: str) -> bool:
    """Whether this operator has logged in in this browser before."""
    if not name or COOKIE not in request.COOKIES:
        return False
    try:
        known = signing.loads(request.COOKIES[COOKIE], salt=_SALT, max_age=MAX_AGE)
    except signing.BadSignature:
        return False
    return bool(known == name)


@receiver(user_logged_in)
def _note_login(request: HttpRequest | None, user: AbstractBaseUser, **_: Any) -> None:
    if request is not None:
        setattr(request, _LOGGED_IN, user.get_username())


def remember_browser(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """The middleware that sets the cookie."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if name := getattr(request, _LOGGED_IN, ""):
            value = signing.dumps(name, salt=_SALT)
            secure = request.is_secure()
            response.set_cookie(COOKIE, value, max_age=MAX_AGE, httponly=True, secure=secure, samesite="Lax")
        return response

    return answer
