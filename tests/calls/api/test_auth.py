"""Authentication, scopes and rates of the REST API."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.utils import timezone
from rest_framework.test import APIClient

from calls.api import throttling
from calls.models import ApiKey
from calls.services.keys import make_key

pytestmark = pytest.mark.django_db

CLIENT = APIClient(raise_request_exception=False)


def bearer(secret: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def code_of(response) -> str:
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code
    return response.json()["code"]


def test_a_request_without_a_key_is_answered_with_a_challenge():
    response = CLIENT.get("/api/calls/")
    assert (response.status_code, code_of(response)) == (401, "not-authenticated")
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("word", ["Bearer", "Token", "bearer"])
def test_a_request_with_a_key_is_answered(key, word):
    assert CLIENT.get("/api/calls/", HTTP_AUTHORIZATION=f"{word} {key[1]}").status_code == 200


@pytest.mark.parametrize("secret", ["", "cc_nonsense", "\xff\xfe", "a b c"])
def test_an_invalid_key_is_refused(secret):
    response = CLIENT.get("/api/calls/", **bearer(secret))
    assert (response.status_code, code_of(response)) == (401, "invalid-key")
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_revoked_or_expired_key_is_refused(key):
    ApiKey.objects.update(active=False)
    assert code_of(CLIENT.get("/api/calls/", **bearer(key[1]))) == "invalid-key"
    soon = timezone.now() + timedelta(seconds=5)
    _, secret = make_key(name="short", scopes=["read"], expires_at=soon)
    with time_machine.travel(soon + timedelta(seconds=1)):
        assert code_of(CLIENT.get("/api/calls/", **bearer(secret))) == "invalid-key"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("get", "/api/calls/", "read"),
        ("head", "/api/calls/", "read"),
        ("get", "/api/stats/", "read"),
        ("get", "/api/agents/", "read"),
        ("get", "/api/do-not-call/", "read"),
        ("post", "/api/calls/", "dial"),
        ("post", "/api/calls/batch/", "dial"),
        ("post", "/api/calls/6c0a6f5e-0a2f-4f0e-9d52-3b1f3f0f6a11/cancel/", "control"),
        ("post", "/api/calls/6c0a6f5e-0a2f-4f0e-9d52-3b1f3f0f6a11/hangup/", "control"),
        ("post", "/api/calls/6c0a6f5e-0a2f-4f0e-9d52-3b1f3f0f6a11/say/", "control"),
        ("post", "/api/calls/6c0a6f5e-0a2f-4f0e-9d52-3b1f3f0f6a11/transfer/", "control"),
        ("post", "/api/do-not-call/", "control"),
        ("delete", "/api/do-not-call/+12025550101/", "control"),
        ("get", "/api/webhooks/", "control"),
        ("post", "/api/webhooks/", "control"),
    ],
)
def test_each_operation_needs_its_scope(api_with, method, path, scope):
    response = getattr(api_with(*(set(ApiKey.Scope.values) - {scope})), method)(path)
    assert response.status_code == 403
    assert f'scope="{scope}"' in response["WWW-Authenticate"]
    if method != "head":
        assert code_of(response) == "missing-scope"
        assert scope in response.json()["detail"]
    assert getattr(api_with(scope), method)(path).status_code not in (401, 403)


def test_an_operator_may_use_the_api_from_the_docs(client, admin_user):
    client.force_login(admin_user)
    assert client.get("/api/calls/").status_code == 200


def test_an_operator_needs_the_permissions_and_another_user_is_refused(client):
    user = User.objects.create_user("ada")
    client.force_login(user)
    assert client.get("/api/calls/").status_code == 401
    user.is_staff = True
    user.save()
    assert code_of(client.get("/api/calls/")) == "missing-scope"
    user.user_permissions.add(Permission.objects.get(codename="view_call"))
    assert client.get("/api/calls/").status_code == 200
    assert code_of(client.post("/api/calls/", {}, content_type="application/json")) == "missing-scope"


def test_a_browser_needs_its_csrf_token(admin_user):
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(admin_user)
    assert code_of(browser.post("/api/calls/", {})) == "csrf-failed"


def test_a_key_has_a_rate_of_its_own():
    _, secret = make_key(name="slow", scopes=["read"], rate="3/minute")
    with time_machine.travel("2030-01-01T00:00:10Z", tick=False) as clock:
        statuses = [CLIENT.get("/api/agents/", **bearer(secret)).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        response = CLIENT.get("/api/agents/", **bearer(secret))
        assert code_of(response) == "too-many-requests"
        clock.shift(int(response["Retry-After"]) + 1)
        assert CLIENT.get("/api/agents/", **bearer(secret)).status_code == 200


def test_a_key_without_a_rate_has_that_of_the_settings(api, settings):
    settings.API_RATE = "2/hour"
    assert [api.get("/api/agents/").status_code for _ in range(3)] == [200, 200, 429]


def test_the_requests_of_the_previous_period_count_in_proportion():
    with time_machine.travel("2030-01-01T00:00:59Z", tick=False) as clock:
        assert [throttling.count_request("client", "10/minute") for _ in range(10)] == [0.0] * 10
        clock.shift(2)  # a new minute, and still ten requests within the last one
        assert throttling.count_request("client", "10/minute") > 0
        clock.shift(30)
        assert throttling.count_request("client", "10/minute") == 0


def test_refused_requests_do_not_prolong_the_wait():
    with time_machine.travel("2030-01-01T00:00:00Z", tick=False):
        waits = [throttling.count_request("client", "2/minute") for _ in range(50)]
    assert waits[2] == waits[-1] > 0


def test_invalid_keys_are_limited_and_a_valid_key_from_the_same_address_is_not(key):
    with time_machine.travel("2030-01-01T00:00:00Z", tick=False):
        statuses = [CLIENT.get("/api/agents/", **bearer("cc_guess")).status_code for _ in range(31)]
        assert statuses == [401] * 30 + [429]
        assert CLIENT.get("/api/agents/", **bearer(key[1])).status_code == 200


def test_with_redis_all_processes_count_together_and_without_it_no_request_is_refused(own_redis, settings, caplog):
    def use_cache_as_another_process() -> None:
        """Make new connections to Redis, as another process has them."""
        options = {"socket_connect_timeout": 20.0, "socket_timeout": 20.0}
        backend = "django.core.cache.backends.redis.RedisCache"
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": own_redis.url, "OPTIONS": options}}

    refused = []
    for _ in range(4):
        use_cache_as_another_process()
        refused.append(throttling.count_request("client", "3/day") > 0)
    assert refused == [False, False, False, True]
    own_redis.kill()
    assert throttling.count_request("client", "3/day") == 0
    assert "Could not count API requests" in caplog.text


def test_without_its_cache_the_api_answers_without_counting(api, monkeypatch, caplog):
    def unavailable(*_, **__):
        raise ConnectionError("no Redis")

    monkeypatch.setattr(cache, "add", unavailable, raising=False)
    assert api.get("/api/agents/").status_code == 200
    assert "Could not count API requests" in caplog.text
