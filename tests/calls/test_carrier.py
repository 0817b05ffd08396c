"""Requests to Twilio's REST API: the real SDK, over HTTP, against the simulated network."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from calls.carrier import CLOCK_LEEWAY, Carrier, CarrierCall, get_carrier
from calls.carrier_errors import REFUSALS
from calls.errors import PAUSING, CarrierError, FailureKind
from media.phone.answering import CarrierTiming, Outcome
from media.phone.injections import RestFault
from media.phone.leg import PhoneCall
from media.phone.network import ACCOUNT_SID, AUTH_TOKEN, PhoneNetwork
from media.phone.party import Note
from media.phone.twilio_errors import CODES
from tests.web import serving

PUBLIC = "https://voice.example"
HERE = "+15005550006"
THERE = "+12025550100"
SOMEWHERE_ELSE = "+12025550142"
PATIENCE = 30.0
"""Seconds that a carrier waits for an answer: longer than a busy machine needs."""
IMPATIENCE = 2.0
"""Seconds that a carrier waits in the tests in which no answer comes in time. The faults last much longer."""
LONGEST_WAIT = 30.0
"""Seconds after which a test fails whose condition does not come true."""


class SilentPerson:
    """A person who answers the phone and says nothing."""

    hung_up = False

    def next_frame(self) -> bytes:
        return b"\xff" * 160

    def hear(self, frame: bytes) -> None: ...

    def next_key(self) -> str | None:
        return None

    def take_notes(self) -> list[Note]:
        return []


class Application:
    """
    The application that Twilio's callbacks reach. It answers each call with a pause that outlasts every test.
    """

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str]]] = []
        """The path with query, and the form, of each callback."""
        self.failures = 0
        """The number of the next callbacks that are answered with a 500."""
        self._new_callback = asyncio.Event()

    async def serve(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        signature = request.headers["X-Twilio-Signature"]
        assert RequestValidator(AUTH_TOKEN).validate(PUBLIC + request.path_qs, form, signature)
        self.received.append((request.path_qs, form))
        self._new_callback.set()
        if self.failures:
            self.failures -= 1
            return web.Response(status=500)
        return web.Response(text="<Response><Pause length='360000'/></Response>", content_type="text/xml")

    async def wait_for_callback(self, path: str, **fields: str) -> dict[str, str]:
        """Return the form of the first callback to ``path`` with these fields."""
        async with asyncio.timeout(LONGEST_WAIT):
            while True:
                for at, form in self.received:
                    if at == path and fields.items() <= form.items():
                        return form
                self._new_callback.clear()
                await self._new_callback.wait()


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    application = Application()
    async with serving(application.serve) as application.url:
        yield application


@pytest.fixture
async def network(app: Application) -> AsyncIterator[PhoneNetwork]:
    async with PhoneNetwork(app_url=app.url, public_url=PUBLIC, calls_per_second=1000) as network:
        yield network


@pytest.fixture
def carrier(network: PhoneNetwork) -> Iterator[Carrier]:
    carrier = make_carrier(network.rest_url)
    yield carrier
    close(carrier)


def make_carrier(base_url: str, **options: Any) -> Carrier:
    return Carrier(
        **{"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": base_url, "timeout": PATIENCE, **options}
    )


def close(carrier: Carrier) -> None:
    carrier._calls._version.domain.twilio.http_client._session.close()


async def create(carrier: Carrier, **changes: Any) -> CarrierCall:
    order = {
        "to_number": THERE,
        "from_number": HERE,
        "voice_url": f"{PUBLIC}/twilio/voice/?attempt=7",
        "status_url": f"{PUBLIC}/twilio/status/?attempt=7",
        "ring_timeout": 25,
        "time_limit": 600,
    }
    return await asyncio.to_thread(lambda: carrier.create_call(**{**order, **changes}))


async def failure(work: Any) -> CarrierError:
    with pytest.raises(CarrierError) as raised:
        await work
    return raised.value


def requests_to(network: PhoneNetwork, method: str = "POST") -> list[dict[str, list[str]]]:
    return [form for used, _, form in network.rest.requests if used == method]


# --- Placing a call ----------------------------------------------------------------------------------------


async def test_a_call_is_requested_with_all_callbacks_and_both_limits(carrier, network):
    call = await create(carrier)
    assert requests_to(network) == [
        {
            "To": [THERE],
            "From": [HERE],
            "Url": [f"{PUBLIC}/twilio/voice/?attempt=7#rc=3&rp=ct,rt,5xx"],
            "Method": ["POST"],
            "StatusCallback": [f"{PUBLIC}/twilio/status/?attempt=7#rc=3&rp=ct,rt,5xx"],
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
            "StatusCallbackMethod": ["POST"],
            "Timeout": ["25"],
            "TimeLimit": ["600"],
        }
    ]
    assert network.alerts == []
    assert list(network.calls) == [call.sid]
    assert (call.status, call.direction, call.to_number, call.from_number) == ("queued", "outbound-api", THERE, HERE)
    assert abs(datetime.now(UTC) - call.created_at) < timedelta(seconds=5)
    assert (call.started_at, call.ended_at, call.duration, call.answered_by) == (None, None, None, "")


async def test_machine_detection_is_asynchronous_so_that_it_does_not_delay_the_greeting(carrier, network):
    await create(carrier, machine_detection="DetectMessageEnd", amd_url=f"{PUBLIC}/twilio/amd/?attempt=7")
    (form,) = requests_to(network)
    assert form["MachineDetection"] == ["DetectMessageEnd"]
    assert form["AsyncAmd"] == ["true"]
    assert form["AsyncAmdStatusCallback"] == [f"{PUBLIC}/twilio/amd/?attempt=7#rc=3&rp=ct,rt,5xx"]
    assert form["AsyncAmdStatusCallbackMethod"] == ["POST"]


async def test_a_time_limit_below_twilios_minimum_becomes_the_minimum(carrier, network):
    await create(carrier, time_limit=20)
    assert requests_to(network)[0]["TimeLimit"] == ["60"]


async def test_a_callback_that_failed_is_repeated_and_signed_without_the_fragment(carrier, network, app):
    network.on_dial(THERE, Outcome.failed)
    app.failures = 2
    call = await create(carrier)
    await network.calls[call.sid].wait()
    assert [(at, form["CallStatus"]) for at, form in app.received] == [
        ("/twilio/status/?attempt=7", status) for status in ("initiated", "initiated", "initiated", "failed")
    ]


async def test_the_result_of_machine_detection_is_reported_and_can_be_fetched(carrier, network, app):
    network.on_dial(THERE, SilentPerson, after=0, answered_by="machine")
    call = await create(carrier, machine_detection="Enable", amd_url=f"{PUBLIC}/twilio/amd/?attempt=7")
    verdict = await app.wait_for_callback("/twilio/amd/?attempt=7")
    assert verdict["AnsweredBy"] == "machine_start"
    assert (await asyncio.to_thread(carrier.fetch_call, call.sid)).answered_by == "machine_start"


async def test_threads_may_share_one_carrier(carrier, network):
    made = await asyncio.gather(*(create(carrier) for _ in range(12)))
    assert {call.sid for call in made} == set(network.calls)


# --- What an error means -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        (FailureKind.LATER, {20429}),
        (FailureKind.CAPACITY, {10004}),
        (FailureKind.UNKNOWN, {20500, 20503}),
        (FailureKind.NUMBER, {13223, 13224, 13225, 21201, 21202, 21211, 21214, 21216, 21217, 32203}),
        (FailureKind.CALLER_ID, {21210, 21212, 21213}),
        (FailureKind.COUNTRY, {13227, 21203, 21215, 32205}),
        (FailureKind.CALL, {20001, 21206, 21208, 21219, 21220}),
        (FailureKind.SETTINGS, {20404, 21205, 21218}),
        (FailureKind.ACCOUNT, {10001, 10002, 10005, 20003, 20005, 20006, 20008, 20010}),
    ],
)
async def test_every_error_code_of_twilio_has_a_kind(carrier, network, kind, codes):
    for code in codes:
        error = await failure(create(carrier, to_number=f"+199955{code}"))
        assert (error.kind, error.twilio_code, error.status) == (kind, code, CODES[code][0]), code
        assert error.permanent == (kind in (FailureKind.NUMBER, *PAUSING) and kind is not FailureKind.ACCOUNT)
        assert CODES[code][1].rstrip(".") in str(error)
        assert f"https://www.twilio.com/docs/errors/{code}" in str(error)
    assert len(requests_to(network)) == len(codes), "each call was requested once"
    assert not network.calls


def test_only_codes_whose_http_status_says_as_much_have_no_entry():
    assert set(CODES) - set(REFUSALS) == {20404, 20500, 20503, 21220}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, FailureKind.SETTINGS),
        (400, FailureKind.SETTINGS),
        (402, FailureKind.ACCOUNT),
        (401, FailureKind.ACCOUNT),
        (403, FailureKind.ACCOUNT),
        (404, FailureKind.SETTINGS),
        (408, FailureKind.UNKNOWN),
        (429, FailureKind.LATER),
        (500, FailureKind.UNKNOWN),
        (503, FailureKind.UNKNOWN),
    ],
)
async def test_the_http_status_decides_the_kind_of_an_answer_that_is_not_from_twilio(carrier, network, status, kind):
    network.injections.rest = [RestFault.html(status)]
    error = await failure(create(carrier))
    assert (error.kind, error.twilio_code, error.status) == (kind, None, status)
    assert f"HTTP status {status}" in str(error)


async def test_an_error_in_the_format_of_newer_services_is_read(carrier, network):
    problem = '{"type": "x", "title": "Bad", "status": 400, "code": 21211, "detail": "Not a number"}'
    network.injections.rest = [RestFault(status=400, body=problem, content_type="application/problem+json")]
    error = await failure(create(carrier))
    assert (error.kind, error.twilio_code) == (FailureKind.NUMBER, 21211)
    assert "Not a number" in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
    ],
)
async def test_too_many_requests_carries_the_wait_that_twilio_asks_for(carrier, network, headers, seconds):
    network.injections.rest = [RestFault.error(20429, headers=headers)]
    error = await failure(create(carrier))
    assert (error.kind, error.retry_after) == (FailureKind.LATER, seconds)
    assert not network.calls, "the request was not processed"


async def test_the_wait_may_be_given_as_a_date(carrier, network):
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    network.injections.rest = [RestFault.error(20429, headers={"Retry-After": in_a_minute})]
    assert (await failure(create(carrier))).retry_after == pytest.approx(60, abs=5)


async def test_too_many_live_calls_are_a_matter_of_capacity(carrier, network):
    network.concurrent_calls = 0
    assert (await failure(create(carrier))).kind is FailureKind.CAPACITY


async def test_wrong_credentials_are_a_matter_of_the_account_and_not_permanent(network):
    carrier = make_carrier(network.rest_url, auth_token="the-wrong-token")
    error = await failure(create(carrier))
    close(carrier)
    assert (error.kind, error.twilio_code) == (FailureKind.ACCOUNT, 20003)
    assert not error.permanent, "the same calls can be placed once the credentials are right"
    assert "the-wrong-token" not in str(error)


def test_without_credentials_no_carrier_can_be_made():
    with pytest.raises(CarrierError, match="TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN must be set") as raised:
        make_carrier("http://127.0.0.1:9", auth_token="")
    assert raised.value.kind is FailureKind.ACCOUNT


# --- Unknown outcomes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        RestFault(delay=20 * PATIENCE),
        RestFault(slow_body=5 * IMPATIENCE),  # each of its pieces comes in time
        RestFault(drop=True, takes_effect=True),
        RestFault.html(503, takes_effect=True),
        RestFault(status=201, body="", takes_effect=True),
        RestFault(status=201, body="<html>", takes_effect=True),
        RestFault(status=201, body="[]", takes_effect=True),
        RestFault(status=201, body="{}", takes_effect=True),
    ],
    ids=["timeout", "drips", "dropped", "503", "empty", "HTML", "list", "nothing in it"],
)
async def test_a_call_may_exist_although_its_answer_was_lost(carrier, network, fault):
    before = datetime.now(UTC)
    network.injections.rest = [fault]
    carrier_in_a_hurry = make_carrier(network.rest_url, timeout=IMPATIENCE)
    error = await failure(create(carrier_in_a_hurry))
    close(carrier_in_a_hurry)
    assert error.kind is FailureKind.UNKNOWN
    assert not error.permanent
    assert len(requests_to(network)) == 1, "the request is not repeated"
    found = await asyncio.to_thread(carrier.find_calls, to_number=THERE, from_number=HERE, since=before)
    assert [call.sid for call in found] == list(network.calls)
    assert len(found) == 1


async def test_a_slow_answer_is_not_waited_for(network):
    network.injections.rest = [RestFault(slow_body=20 * LONGEST_WAIT)]
    carrier = make_carrier(network.rest_url, timeout=IMPATIENCE)
    async with asyncio.timeout(LONGEST_WAIT):
        assert (await failure(create(carrier))).kind is FailureKind.UNKNOWN
    close(carrier)


async def test_a_refused_connection_means_that_nothing_was_sent():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        carrier = make_carrier(f"http://127.0.0.1:{held.getsockname()[1]}")
        error = await failure(create(carrier))
    assert (error.kind, error.status) == (FailureKind.LATER, None)
    assert str(error) == "Twilio cannot be reached at 127.0.0.1; nothing was sent."


async def test_an_invalid_address_is_a_matter_of_the_settings():
    assert (await failure(create(make_carrier("http://:0")))).kind is FailureKind.SETTINGS


# --- Finding calls -----------------------------------------------------------------------------------------


async def test_only_recent_calls_between_the_two_numbers_are_found(carrier, network):
    older = await create(carrier)
    network.calls[older.sid].created_at -= timedelta(hours=1)
    first, second = await create(carrier), await create(carrier)
    await create(carrier, to_number=SOMEWHERE_ELSE)
    await create(carrier, from_number=SOMEWHERE_ELSE)
    found = await asyncio.to_thread(
        carrier.find_calls, to_number=THERE, from_number=HERE, since=first.created_at - timedelta(minutes=1)
    )
    assert [call.sid for call in found] == [second.sid, first.sid]


async def test_a_call_is_found_although_our_clock_is_ahead(carrier, network):
    made = await create(carrier)
    network.calls[made.sid].created_at -= CLOCK_LEEWAY / 2
    found = await asyncio.to_thread(carrier.find_calls, to_number=THERE, from_number=HERE, since=datetime.now(UTC))
    assert [call.sid for call in found] == [made.sid]


async def test_a_call_without_a_creation_time_is_found(carrier, network):
    resource = '{"sid": "CA%032x", "status": "queued", "date_created": %s}'
    yesterday = f'"{format_datetime(datetime.now(UTC) - timedelta(days=1))}"'
    body = f'{{"calls": [{resource % (1, yesterday)}, {resource % (2, "null")}], "page": 0}}'
    network.injections.rest = [RestFault(method="GET", status=200, body=body)]
    found = await asyncio.to_thread(carrier.find_calls, to_number=THERE, from_number=HERE, since=datetime.now(UTC))
    assert [(call.sid, call.created_at) for call in found] == [(f"CA{2:032x}", None)]


async def test_finding_calls_requests_one_page(carrier, network):
    await asyncio.to_thread(carrier.find_calls, to_number=THERE, from_number=HERE, since=datetime.now(UTC))
    assert requests_to(network, "GET") == [{"To": [THERE], "From": [HERE], "PageSize": ["50"]}]


@pytest.mark.parametrize("body", ["<html>", "[]", '{"calls": [{}]}', '{"a": 1, "b": 2}'])
async def test_an_unreadable_list_is_an_error_and_not_an_empty_list(carrier, network, body):
    network.injections.rest = [RestFault(method="GET", status=200, body=body)]
    since = datetime.now(UTC)
    error = await failure(asyncio.to_thread(carrier.find_calls, to_number=THERE, from_number=HERE, since=since))
    assert error.kind is FailureKind.UNKNOWN


async def test_a_call_can_be_fetched(carrier, network):
    network.on_dial(THERE, Outcome.busy)
    made = await create(carrier)
    await network.calls[made.sid].wait()
    call = await asyncio.to_thread(carrier.fetch_call, made.sid)
    assert (call.sid, call.status, call.duration) == (made.sid, "busy", 0.0)
    assert call.created_at <= call.started_at <= call.ended_at


async def test_fetching_an_unknown_call_returns_none(carrier):
    assert await asyncio.to_thread(carrier.fetch_call, "CA" + "0" * 32) is None


async def test_a_404_page_of_a_proxy_does_not_mean_that_the_call_is_unknown(carrier, network):
    network.injections.rest = [RestFault(method="GET", path=".json", status=404, body="<html>")]
    error = await failure(asyncio.to_thread(carrier.fetch_call, "CA" + "0" * 32))
    assert (error.kind, error.status) == (FailureKind.SETTINGS, 404)


# --- Hanging up --------------------------------------------------------------------------------------------


@pytest.fixture
def call_in_state(app: Application) -> Iterator[Callable[[PhoneNetwork, Carrier, str], Any]]:
    async def reach(network: PhoneNetwork, carrier: Carrier, state: str) -> PhoneCall:
        network.on_dial(THERE, SilentPerson, after=0.0 if state == "in-progress" else 1e6)
        if state == "over":
            network.on_dial(THERE, Outcome.busy)
        if state == "queued":
            await create(carrier)  # takes the only start of this hour
        made = await create(carrier, ring_timeout=600)
        call = network.calls[made.sid]
        if state == "ringing":
            await app.wait_for_callback("/twilio/status/?attempt=7", CallStatus="ringing")
        if state == "in-progress":
            await app.wait_for_callback("/twilio/voice/?attempt=7")
        if state == "over":
            await call.wait()
        return call

    return reach


def hang_up(carrier: Carrier, call: PhoneCall, *, ringing: bool) -> Any:
    return asyncio.to_thread(carrier.hang_up, call.sid, ringing=ringing)


@pytest.mark.parametrize("ringing", [True, False])
@pytest.mark.parametrize(
    ("state", "ends_as", "rate"),
    [("queued", "canceled", 1 / 3600), ("ringing", "canceled", 1000), ("in-progress", "completed", 1000)],
)
async def test_hanging_up_ends_a_call_in_every_state(app, call_in_state, state, ends_as, rate, ringing):
    """Even if it is believed to be in another state."""
    timing = CarrierTiming(scale=0.001)
    async with PhoneNetwork(app_url=app.url, public_url=PUBLIC, calls_per_second=rate, timing=timing) as network:
        carrier = make_carrier(network.rest_url)
        call = await call_in_state(network, carrier, state)
        assert call.status == state
        assert await hang_up(carrier, call, ringing=ringing) is True
        async with asyncio.timeout(LONGEST_WAIT):
            end = await call.wait()
        assert (end.status, end.ended_by) == (ends_as, "app")
        close(carrier)


@pytest.mark.parametrize("ringing", [True, False])
async def test_hanging_up_an_ended_call_is_no_error(network, carrier, call_in_state, ringing):
    call = await call_in_state(network, carrier, "over")
    assert await hang_up(carrier, call, ringing=ringing) is False


@pytest.mark.parametrize("ringing", [True, False])
async def test_hanging_up_an_unknown_call_is_no_error(carrier, ringing):
    assert await asyncio.to_thread(carrier.hang_up, "CA" + "0" * 32, ringing=ringing) is False


async def test_it_is_no_error_if_the_person_hangs_up_first(network, carrier, call_in_state):
    call = await call_in_state(network, carrier, "in-progress")
    network.injections.rest = [RestFault(path=f"{call.sid}.json", hang_up_first=True)]
    assert await hang_up(carrier, call, ringing=False) is False


async def test_a_cancellation_without_effect_is_followed_by_a_hang_up(network, carrier, call_in_state):
    """Twilio's documentation leaves open whether canceling an answered call is refused or has no effect."""
    call = await call_in_state(network, carrier, "in-progress")
    unchanged = f'{{"sid": "{call.sid}", "status": "in-progress"}}'
    network.injections.rest = [RestFault(path=f"{call.sid}.json", status=200, body=unchanged)]
    assert await hang_up(carrier, call, ringing=True) is True
    assert (await call.wait()).status == "completed"


async def test_a_failed_hang_up_is_an_error(network, carrier, call_in_state):
    call = await call_in_state(network, carrier, "in-progress")
    network.injections.rest = [RestFault(path=f"{call.sid}.json", status=503)]
    assert (await failure(hang_up(carrier, call, ringing=False))).kind is FailureKind.UNKNOWN
    assert not call.is_over


# --- The environment and the settings ----------------------------------------------------------------------


async def test_the_environment_does_not_redirect_requests_to_this_machine(network, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    carrier = make_carrier(network.rest_url)
    assert (await create(carrier)).status == "queued"
    close(carrier)


async def test_requests_to_other_machines_use_the_proxy_of_the_environment(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    error = await failure(create(make_carrier("http://api.twilio.invalid")))
    assert "proxy" in repr(error.__cause__).lower()


def test_the_carrier_is_made_for_the_account_in_the_settings(settings):
    settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN = ACCOUNT_SID, AUTH_TOKEN
    settings.TWILIO_API_BASE_URL = "http://127.0.0.1:9"
    carrier = get_carrier()
    assert get_carrier() is carrier
    settings.TWILIO_AUTH_TOKEN = "rotated"
    assert get_carrier() is not carrier


def test_a_forked_process_gets_its_own_connections(settings, monkeypatch):
    settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKEN = ACCOUNT_SID, AUTH_TOKEN
    carrier = get_carrier()
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    assert get_carrier() is not carrier
