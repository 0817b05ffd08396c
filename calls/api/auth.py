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

_PERMISSIONS = {READ: "calls.view_call", DIAL: "calls.add_call", CONTROL: "calls.change_call"}
"""The permission that an operator needs where a key needs the scope."""


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
    """Allows a request that has the scope which the view's ``scopes`` name for its method."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if request.successful_authenticator is None:
            return False
        scopes: Mapping[str, ApiKey.Scope] = getattr(view, "scopes", {})
        scope = scopes.get("GET" if request.method == "HEAD" else request.method or "")
        # A method without a scope does not exist; the view answers 405 next.
        if scope is None or self._has(request, scope):
            return True
        if request.auth is None:
            raise Problem(403, "missing-scope", f"This needs the permission {_PERMISSIONS[scope]}.")
        challenge = f'Bearer realm="api", error="insufficient_scope", scope="{scope}"'
        text = f"This needs the scope {scope}, which the API key does not have."
        raise Problem(403, "missing-scope", text, headers={"WWW-Authenticate": challenge})

    @staticmethod
    def _has(request: Request, scope: ApiKey.Scope) -> bool:
        if isinstance(request.auth, ApiKey):
            return scope in request.auth.scopes
        return bool(request.user.has_perm(_PERMISSIONS[scope]))
