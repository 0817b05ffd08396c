"""
Remembers the browsers in which an operator has logged in, so that a stranger's guesses cannot keep the operator out.

Guesses at one name from many addresses lock the name for everybody, and a stranger can go on guessing. A browser in
which the login of that name has succeeded has a signed cookie, and is not concerned.
"""

from collections.abc import Callable, Mapping
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
_SALT = "known-browser"
_LOGGED_IN = "_logged_in_as"
"""The attribute of a request in which somebody has just logged in."""


def is_known(request: HttpRequest | None, credentials: Mapping[str, Any] | None = None) -> bool:
    """Whether this operator has logged in in this browser before. django-axes asks (``AXES_WHITELIST_CALLABLE``)."""
    name = (credentials or {}).get("username") or (request.POST.get("username") if request is not None else None)
    if request is None or not name or COOKIE not in request.COOKIES:
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
