"""An operator may do through the API what the admin lets them do, and nothing else (edx-val PR 15)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from calls.api.views.documentation import openapi_document
from calls.models import Agent, Call, DoNotCall, WebhookEndpoint
from calls.services.webhooks import make_endpoint

pytestmark = pytest.mark.django_db

CALL_ID = UUID(int=7)
NUMBER = "+12025550142"
HOOK = {"url": "https://example.com/hooks", "events": ["call.completed"]}


def answers(*addresses: str) -> Callable[[Client], bool]:
    """Whether the admin shows all of these pages."""
    return lambda client: all(client.get(f"/admin/calls/{address}").status_code != 403 for address in addresses)


def accepts(address: str, **form: object) -> Callable[[Client], bool]:
    """Whether the admin takes this form."""
    return lambda client: client.post(f"/admin/calls/{address}", form).status_code != 403


def shows_all_of_the_call(client: Client) -> bool:
    page = client.get(f"/admin/calls/call/{CALL_ID}/change/")
    groups = ("turns-group", "attempts-group", "events-group")
    return page.status_code == 200 and all(group in page.content.decode() for group in groups)


def shows_the_agent(client: Client) -> bool:
    return answers(f"agent/{Agent.objects.get(name='front-desk').pk}/change/")(client)


@dataclass(frozen=True)
class Operation:
    permissions: str
    admin: Callable[[Client], bool]
    """The same in the admin."""
    body: Mapping[str, object] | None = None


ACT = f"call/{CALL_ID}/do"
OPERATIONS = {
    ("GET", "/api/calls/"): Operation("view_call", answers("call/")),
    ("POST", "/api/calls/"): Operation("add_call", answers("call/place/"), {}),
    ("POST", "/api/calls/batch/"): Operation("add_call", answers("call/place/"), {}),
    ("GET", "/api/calls/{call_id}/"): Operation(
        "view_call view_turn view_callevent view_dialattempt", shows_all_of_the_call
    ),
    ("GET", "/api/calls/{call_id}/events/"): Operation(
        "view_call view_turn view_callevent view_dialattempt", shows_all_of_the_call
    ),
    ("POST", "/api/calls/{call_id}/cancel/"): Operation("change_call", accepts(f"{ACT}/cancel/")),
    ("POST", "/api/calls/{call_id}/hangup/"): Operation("change_call", accepts(f"{ACT}/hang-up/")),
    ("POST", "/api/calls/{call_id}/say/"): Operation("change_call", accepts(f"{ACT}/hang-up/"), {"text": "Hi."}),
    ("POST", "/api/calls/{call_id}/transfer/"): Operation("change_call", accepts(f"{ACT}/hang-up/"), {"to": "sales"}),
    ("GET", "/api/stats/"): Operation("view_call view_dialpace", answers("call/", "dialpace/")),
    ("GET", "/api/dialling/"): Operation("view_dialpace", answers("dialpace/")),
    ("POST", "/api/dialling/resume/"): Operation("change_dialpace", accepts("dialpace/"), {}),
    ("GET", "/api/agents/"): Operation("view_agent", answers("agent/")),
    ("GET", "/api/agents/{name}/"): Operation("view_agent", shows_the_agent),
    ("GET", "/api/do-not-call/"): Operation("view_donotcall", answers("donotcall/")),
    ("POST", "/api/do-not-call/"): Operation("add_donotcall", answers("donotcall/add/"), {}),
    ("GET", "/api/do-not-call/{number}/"): Operation("view_donotcall", answers("donotcall/1/change/")),
    ("DELETE", "/api/do-not-call/{number}/"): Operation("delete_donotcall", accepts("donotcall/1/delete/", post="yes")),
    ("GET", "/api/webhooks/"): Operation("view_webhookendpoint", answers("webhookendpoint/")),
    ("POST", "/api/webhooks/"): Operation("add_webhookendpoint", answers("webhookendpoint/add/"), {}),
    ("GET", "/api/webhooks/{webhook_id}/"): Operation("view_webhookendpoint", answers("webhookendpoint/1/change/")),
    ("PATCH", "/api/webhooks/{webhook_id}/"): Operation(
        "change_webhookendpoint", accepts("webhookendpoint/1/change/"), {}
    ),
    ("DELETE", "/api/webhooks/{webhook_id}/"): Operation(
        "delete_webhookendpoint delete_webhookdelivery", accepts("webhookendpoint/1/delete/", post="yes")
    ),
    ("POST", "/api/webhooks/{webhook_id}/secret/"): Operation(
        "change_webhookendpoint", accepts("webhookendpoint/1/change/"), {}
    ),
    ("GET", "/api/webhooks/{webhook_id}/deliveries/"): Operation(
        "view_webhookdelivery", answers("webhookdelivery/?endpoint__id__exact=1")
    ),
}
"""The operations of the API, what an operator needs for each, and the same in the admin."""
OPEN = {("GET", "/api/recordings/{token}/")}
"""An address that is a secret itself."""


@pytest.fixture(autouse=True)
def _rows(agent):
    call = Call.objects.create(
        id=CALL_ID, sid="CA1", direction="outbound", status="queued", to_number=NUMBER, agent=agent
    )
    DoNotCall.objects.create(id=1, number=NUMBER)
    endpoint = make_endpoint(url="https://example.com/hooks")
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(id=1)
    WebhookEndpoint.objects.get().deliveries.create(call=call, event="call.completed", payload={})


def operator_with(permissions: set[str]) -> Client:
    user = User.objects.create(username="ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions, content_type__app_label="calls"))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def allowed_by_the_api(client: Client, method: str, path: str, body: Mapping[str, object] | None) -> bool:
    address = path.format(call_id=CALL_ID, name="front-desk", number=NUMBER, webhook_id=1)
    response = client.generic(method, address, "" if body is None else str(body).replace("'", '"'), "application/json")
    assert response.status_code < 500
    return response.status_code != 403


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_permissions_of_the_admin_are_enough(method, path):
    operation = OPERATIONS[method, path]
    client = operator_with({*operation.permissions.split()})
    assert allowed_by_the_api(client, method, path, operation.body)
    assert operation.admin(client)


@pytest.mark.parametrize(
    ("method", "path", "missing"),
    [(*key, name) for key, operation in OPERATIONS.items() for name in operation.permissions.split()],
)
def test_without_one_of_them_all_other_permissions_are_of_no_use(method, path, missing):
    codenames = set(Permission.objects.filter(content_type__app_label="calls").values_list("codename", flat=True))
    # In the admin, who may change a thing or delete it sees it too.
    also = {missing.replace("view_", "change_"), missing.replace("view_", "delete_")}
    client = operator_with(codenames - {missing, *also})
    assert not allowed_by_the_api(client, method, path, OPERATIONS[method, path].body)
    assert not OPERATIONS[method, path].admin(client)


def test_who_may_change_a_thing_may_look_at_it():
    client = operator_with({"change_call"})
    assert allowed_by_the_api(client, "GET", "/api/calls/", None)
    assert answers("call/")(client)


def test_every_operation_is_compared():
    documented = {(method.upper(), path) for path, item in openapi_document()["paths"].items() for method in item}
    assert documented == {*OPERATIONS, *OPEN}


def test_staff_who_may_change_calls_can_neither_add_webhooks_nor_numbers():
    client = operator_with({"change_call"})
    assert client.post("/api/webhooks/", HOOK, content_type="application/json").status_code == 403
    assert client.post("/api/do-not-call/", {"number": "+12025550199"}, "application/json").status_code == 403
    assert client.delete(f"/api/do-not-call/{NUMBER}/").status_code == 403
    assert (WebhookEndpoint.objects.count(), DoNotCall.objects.count()) == (1, 1)
