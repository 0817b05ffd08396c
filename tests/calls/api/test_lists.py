"""Lists: pages and filters; agents, the do-not-call list, and webhooks."""

import gc
import weakref
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext
from django.utils.dateparse import parse_datetime

from calls.models import Agent, Call, DialAttempt, DoNotCall, WebhookDelivery, WebhookEndpoint
from calls.services.webhooks import renew_secret
from tests.calls.api.conftest import START

pytestmark = pytest.mark.django_db


def ids(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


def ids_of(*calls: Call) -> list[str]:
    return [str(call.pk) for call in calls]


def read_pages(api, settings, address: str) -> list[str]:
    """Return the ids on all pages."""
    found = []
    while address:
        response = api.get(address.removeprefix(settings.PUBLIC_BASE_URL))
        found += ids(response)
        address = response.json()["next"]
    return found


# --- Pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ordering", "direction"), [("", -1), ("&ordering=-created_at", -1), ("&ordering=created_at", 1)]
)
def test_pages_hold_every_call_once_and_in_order(api, make_call, settings, ordering, direction):
    calls = [make_call() for _ in range(7)]
    calls += [make_call(created_at=START + timedelta(hours=1)) for _ in range(5)]  # at the same instant
    expected = sorted(calls, key=lambda call: (call.created_at, call.pk))[::direction]
    assert read_pages(api, settings, f"/api/calls/?page_size=3{ordering}") == ids_of(*expected)


def test_a_page_begins_where_the_last_one_ended_although_calls_were_added(api, make_call, settings):
    old = [make_call() for _ in range(4)]
    first = api.get("/api/calls/?page_size=2&status=completed")
    make_call()
    rest = read_pages(api, settings, first.json()["next"])
    assert ids(first) + rest == ids_of(*old[::-1])


def test_the_last_page_has_no_next(api, make_call):
    make_call()
    assert api.get("/api/calls/?page_size=1").json()["next"] is None
    assert api.get("/api/agents/").json()["next"] is None


@pytest.mark.parametrize(
    "query",
    "page_size=0 page_size=201 page_size=x page_size=-1 page_size=%D9%A1 cursor= ordering=to statsu=failed status=gone "
    "status= direction=up has_recording=maybe to=1&to=2 created_after=yesterday created_after=2030-01-01 format=x to= "
    "created_before=2030-01-01T00:00:00 created_before=2030-02-30T00:00:00Z created_before=2030-01-01T00:00:00-99:99 "
    "agent=%20 to=%09 from=%E3%80%80 answered_by=%20 end_reason=%1F search=%20".split(),
)
def test_a_malformed_query_is_refused_and_names_the_parameter(api, query):
    response = api.get(f"/api/calls/?{query}")
    assert response.status_code == 400, response.content
    assert [error["field"] for error in response.json()["errors"]] == [query.partition("=")[0]]


@pytest.mark.parametrize(
    ("query", "code"),
    [("cursor=x", "invalid-cursor"), ("agent=nobody", "unknown-agent"), ("search=%00", "invalid-text")],
)
def test_a_query_that_is_not_allowed_is_refused_and_names_the_parameter(api, query, code):
    response = api.get(f"/api/calls/?{query}")
    assert (response.status_code, response.json()["code"]) == (422, code)
    assert [error["field"] for error in response.json()["errors"]] == [query.partition("=")[0]]


def test_a_cursor_is_valid_for_its_own_list_and_ordering_only(api, make_call, settings):
    for _ in range(3):
        make_call()
    address = api.get("/api/calls/?page_size=1").json()["next"].removeprefix(settings.PUBLIC_BASE_URL)
    assert api.get(f"{address}&ordering=created_at").status_code == 422
    assert api.get(address.replace("cursor=", "cursor=x")).status_code == 422


def test_a_list_takes_as_many_queries_when_it_is_long(api, make_call):
    def queries() -> int:
        with CaptureQueriesContext(connection) as context:
            api.get("/api/calls/?page_size=200")
        return len(context)

    make_call()
    queries()  # the first request updates when the key was used
    one = queries()
    for _ in range(49):
        make_call()
    assert (queries(), one) == (2, 2)


# --- Filters -----------------------------------------------------------------------------------------------


@pytest.fixture
def varied_calls(make_call):
    other = Agent.objects.create(name="sales")
    return {
        "busy": make_call(status="busy", to_number="+12025550107"),
        "later": make_call(status="queued", sid=None, scheduled_for=START + timedelta(days=1)),
        "inbound": make_call(
            direction="inbound", from_number="+13105550100", to_number="+15005550006", end_reason="caller-hung-up"
        ),
        "sales": make_call(agent=other, answered_by="machine_start", recording="a.wav"),
        "hidden": make_call(direction="inbound", from_number="anonymous", to_number=""),
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=busy", ["busy"]),
        ("status=busy&status=queued", ["later", "busy"]),
        ("direction=inbound", ["hidden", "inbound"]),
        ("agent=sales", ["sales"]),
        ("to=%2B12025550107", ["busy"]),
        ("to=+12025550107", ["busy"]),
        ("from=%2B13105550100", ["inbound"]),
        ("from=anonymous", ["hidden"]),
        ("created_after=2030-01-31T09:34:00Z", ["hidden", "sales"]),
        ("created_after=2030-01-31T10:34:00+01:00", ["hidden", "sales"]),
        ("created_after=2030-01-31T09:32:00Z&created_before=2030-01-31T09:34:00Z", ["inbound", "later"]),
        ("created_before=0001-01-01T00:00:00%2B14:00", []),
        ("created_after=9999-12-31T23:59:59-14:00", []),
        ("scheduled_after=2030-02-01T00:00:00Z&scheduled_before=2030-02-02T00:00:00Z", ["later"]),
        ("answered_by=machine_start", ["sales"]),
        ("end_reason=caller-hung-up", ["inbound"]),
        ("has_recording=true", ["sales"]),
        ("has_recording=false&direction=outbound", ["later", "busy"]),
        ("search=1310", ["inbound"]),
        ("search=%2B1310555", ["inbound"]),
        ("search=12025550107", ["busy"]),
        ("search=anonymous", ["hidden"]),
        ("search=1999", []),
        ("search=99", []),
        ("search=CA" + f"{1:032x}", ["busy"]),
        ("search=nobody", []),
        ("search=%E2%80%8B", []),  # of these, nothing is left of a number
        ("to=%E2%80%8B", []),
        ("from=%EF%BB%BF", []),
    ],
)
def test_a_filter_finds_its_calls(api, varied_calls, query, expected):
    assert ids(api.get(f"/api/calls/?{query}")) == ids_of(*(varied_calls[name] for name in expected))


def test_a_search_finds_ids_and_the_sids_of_earlier_attempts(api, varied_calls):
    call = varied_calls["busy"]
    DialAttempt.objects.create(call=call, number=1, sid="CA" + "e" * 32, to_number="+1", from_number="+2")
    for text in (str(call.pk), str(call.pk).upper(), "CA" + "e" * 32):
        assert ids(api.get(f"/api/calls/?search={text}")) == ids_of(call)


def test_a_prefix_that_ends_with_nines_finds_the_numbers_that_begin_with_it(api, make_call):
    call = make_call(to_number="+19995550100", from_number="+15005550006")
    make_call(to_number="+12025550100", from_number="+15005550006")
    assert ids(api.get("/api/calls/?search=1999")) == ids(api.get("/api/calls/?search=19995")) == ids_of(call)


# --- Agents ------------------------------------------------------------------------------------------------


def test_agents_can_be_read_but_not_changed(api, agent):
    Agent.objects.create(name="sales", transfer_targets={"boss": "+12025550111"})
    assert [row["name"] for row in api.get("/api/agents/").json()["results"]] == ["front-desk", "sales"]
    assert api.get("/api/agents/sales/").json()["transfer_targets"] == {"boss": "+12025550111"}
    assert api.get("/api/agents/?page_size=1").json()["next"]
    assert {
        getattr(api, method)("/api/agents/sales/").status_code for method in ("put", "patch", "delete", "post")
    } == {405}


# --- The do-not-call list ----------------------------------------------------------------------------------


def test_a_number_is_added_to_the_list_and_removed(api):
    first = api.post("/api/do-not-call/", {"number": "+1 202 555 0101", "reason": "asked by letter"})
    assert (first.status_code, first.json()["number"], first.json()["source"]) == (201, "+12025550101", "api")
    again = api.post("/api/do-not-call/", {"number": "+12025550101"})
    assert (again.status_code, again.json()) == (200, first.json())
    assert (
        api.get("/api/do-not-call/+12025550101/").json()
        == first.json()
        == api.get("/api/do-not-call/%2B12025550101/").json()
    )
    assert api.delete("/api/do-not-call/+12025550101/").status_code == 204
    assert api.delete("/api/do-not-call/+12025550101/").status_code == 404
    assert api.get("/api/do-not-call/+12025550101/").status_code == 404


def test_a_number_that_is_never_dialled_may_be_added_to_the_list(api):
    assert api.post("/api/do-not-call/", {"number": "+4930901820"}).status_code == 201
    assert api.post("/api/do-not-call/", {"number": "+15005550006"}).status_code == 201
    response = api.post("/api/do-not-call/", {"number": "hello"})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "number")


def test_the_newest_entry_comes_first(api, settings):
    for n in range(5):
        DoNotCall.objects.create(number=f"+1202555010{n}")
    address, found = "/api/do-not-call/?page_size=2", []
    while address:
        page = api.get(address.removeprefix(settings.PUBLIC_BASE_URL)).json()
        found += [row["number"][-1] for row in page["results"]]
        address = page["next"]
    assert found == list("43210")


# --- Webhooks ----------------------------------------------------------------------------------------------


@pytest.fixture
def hook(api, settings):
    settings.DEBUG = False
    response = api.post("/api/webhooks/", {"url": "https://example.com/hooks", "events": ["call.completed"]})
    assert response.status_code == 201
    return response.json()


def test_a_webhook_shows_its_secret_once(api, hook):
    assert hook["secret"].startswith("whsec_")
    assert WebhookEndpoint.objects.get().secret == hook.pop("secret")
    assert api.get(f"/api/webhooks/{hook['id']}/").json() == hook
    assert api.get("/api/webhooks/").json()["results"] == [hook]


def test_a_webhook_says_until_when_its_old_secret_signs_too_and_shows_no_secret(api, hook):
    address = f"/api/webhooks/{hook['id']}/"
    assert api.get(address).json()["old_secret_until"] is None
    renewed = renew_secret(hook["id"])
    shown = api.get(address)
    until = WebhookEndpoint.objects.get().old_secret_until
    assert parse_datetime(shown.json()["old_secret_until"]) == until
    assert renewed not in shown.content.decode()
    assert hook["secret"] not in shown.content.decode()


def test_the_secret_of_a_webhook_is_renewed(api, hook):
    response = api.post(f"/api/webhooks/{hook['id']}/secret/")
    assert response.status_code == 200
    endpoint = WebhookEndpoint.objects.get()
    assert response.json()["secret"] == endpoint.secret != hook["secret"]
    assert endpoint.old_secret == hook["secret"]
    assert parse_datetime(response.json()["old_secret_until"]) == endpoint.old_secret_until
    assert api.post("/api/webhooks/999/secret/").status_code == 404


def test_a_webhook_is_changed_and_removed(api, hook):
    address = f"/api/webhooks/{hook['id']}/"
    assert api.patch(address, {"active": False}).json()["active"] is False
    assert api.patch(address, {"events": []}).json()["events"] == []
    assert api.patch(address, {}).json()["url"] == "https://example.com/hooks"
    assert api.delete(address).status_code == 204
    assert api.get(address).status_code == 404


def test_too_many_events_are_one_error(api, hook):
    response = api.patch(f"/api/webhooks/{hook['id']}/", {"events": ["x"] * 10_000})
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == ["events"]


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://169.254.169.254/", "https://localhost:6379/"])
def test_a_webhook_is_not_moved_to_this_machine_or_its_metadata(api, hook, settings, url):
    settings.WEBHOOK_ALLOWED_HOSTS = []
    response = api.patch(f"/api/webhooks/{hook['id']}/", {"url": url})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "url")
    assert WebhookEndpoint.objects.get().url == hook["url"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"url": "ftp://example.com"}, 422),
        ({"url": "http://example.com"}, 422),
        ({"url": "https://169.254.169.254/latest/meta-data/"}, 422),
        ({"url": "https://127.0.0.1/"}, 422),
        ({"url": "https://localhost:6379/"}, 422),
        ({"url": "https://user:password@example.com/"}, 422),
        ({"url": 1}, 400),
        ({"url": "https://example.com/hooks", "events": ["call.lost"]}, 400),
        ({"url": "https://example.com/hooks", "events": "call.completed"}, 400),
        ({"url": "https://example.com/hooks", "secret": "mine"}, 400),
        ({}, 400),
    ],
)
def test_an_invalid_webhook_is_refused(api, settings, body, status):
    settings.DEBUG, settings.WEBHOOK_ALLOWED_HOSTS = False, []
    response = api.post("/api/webhooks/", body)
    assert response.status_code == status
    assert response.json()["errors"]


def test_the_deliveries_of_a_webhook_are_listed_with_their_log(api, hook, make_call):
    for n in range(3):
        WebhookDelivery.objects.create(
            endpoint_id=hook["id"], call=make_call(), event="call.completed", payload={"n": n}, status="failed",
            created_at=START + timedelta(minutes=n), log=[{"at": "2030-01-31T09:31:20Z", "result": 500, "ms": 3}],
        )  # fmt: skip
    page = api.get(f"/api/webhooks/{hook['id']}/deliveries/?page_size=2").json()
    assert [row["payload"]["n"] for row in page["results"]] == [2, 1]
    assert page["results"][0]["log"] == [{"at": "2030-01-31T09:31:20Z", "result": 500, "ms": 3}]
    assert page["next"]


def test_the_rows_of_a_list_are_not_left_to_the_garbage_collector(api, agent):
    for number in range(3):
        Call.objects.create(agent=agent, direction="inbound", to_number=f"+1202555010{number}")
    rows = []

    def note(instance, **_):
        rows.append(weakref.ref(instance))

    post_init.connect(note, sender=Call)
    gc.collect()
    gc.disable()
    try:
        assert len(api.get("/api/calls/").json()["results"]) == 3
        assert [row() for row in rows] == [None] * 3
    finally:
        gc.enable()
        post_init.disconnect(note, sender=Call)
