"""Authentication and permissions: API keys with scopes, and operators who are logged in to the admin."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from rest_framework import authentication, exceptions, permissions
from rest_framework.request import Request

from calls.api.problems import Problem
from calls.api.throttling import INVALID_KEY_RATE, count_request
from calls.models import ApiKey
from calls.services.keys import find_key

if TYPE_CHECKING:  # rest_framework.views imports this module, which the settings name
    from rest_framework.views import APIView

READ, DIAL, CONTROL = ApiKey.Scope.READ, ApiKey.Scope.DIAL, ApiKey.Scope.CONTROL

Permissions = Mapping[str, tuple[str, ...]]
"""For each method of an address, the permissions that an operator needs, all of them, as the admin asks for them."""


class KeyAuthentication(authentication.BaseAuthentication):
    """Authenticates ``Authorization: Bearer <key>``. ``Token`` is accepted instead of ``Bearer``."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        header = authentication.get_authorization_header(request).decode("latin-1")
        scheme, _, secret = header.partition(" ")
        if scheme.lower() not in ("bearer", "token"):
            return None
        key = find_key(secret.strip())
        if key is None:
            if wait := count_request(f"refused-{request.META.get('REMOTE_ADDR', '')}", INVALID_KEY_RATE):
                raise exceptions.Throttled(wait)
            raise exceptions.AuthenticationFailed("This API key is unknown, revoked or expired.")
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class StaffAuthentication(authentication.SessionAuthentication):
    """Authenticates the session of an operator, with its CSRF token, for requests from the documentation page."""

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, None] | None:
        user = getattr(request._request, "user", None)
        if user is None or not user.is_active or not user.is_staff:
            return None
        self.enforce_csrf(request)
        return user, None

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied as error:
            raise Problem(403, "csrf-failed", str(error.detail)) from error


class HasScope(permissions.BasePermission):
    """
    Allows a request by what the view names for its method.

    A key needs the scope in ``scopes``, and an operator the ``permissions``: those without which the admin does not let
    them see or do the same.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if request.successful_authenticator is None:
            return False
        method = "GET" if request.method == "HEAD" else request.method or ""
        scopes: Mapping[str, ApiKey.Scope] = getattr(view, "scopes", {})
        scope = scopes.get(method)
        if scope is None:
            # A method without a scope does not exist; the view answers 405 next.
            return True
        if isinstance(request.auth, ApiKey):
            self._check_key(request.auth, scope)
        else:
            needed: Permissions = getattr(view, "permissions", {})
            self._check_operator(request, needed[method])
        return True

    @staticmethod
    def _check_key(key: ApiKey, scope: ApiKey.Scope) -> None:
        if scope in key.scopes:
            return
        challenge = f'Bearer realm="api", error="insufficient_scope", scope="{scope}"'
        text = f"This needs the scope {scope}, which the API key does not have."
        raise Problem(403, "missing-scope", text, headers={"WWW-Authenticate": challenge})

    @staticmethod
    def _check_operator(request: Request, needed: tuple[str, ...]) -> None:
        for codename in needed:
            names = [f"calls.{codename}"]
            if codename.startswith("view_"):
                # As in the admin, who may change a thing may look at it.
                names.append(f"calls.{codename.replace('view_', 'change_', 1)}")
            if not any(request.user.has_perm(name) for name in names):
                raise Problem(403, "missing-scope", f"This needs the permission {names[0]}.")
