"""The simulated REST API, called by Twilio's own SDK."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from media.phone.answering import Outcome
from media.phone.injections import RestFault
from media.phone.network import ACCOUNT_SID, AUTH_TOKEN, PhoneNetwork
from media.phone.twilio_errors import CODES
from tests.media.phone.doubles import DEADLINE, HERE, PUBLIC_URL, THERE, Person


@pytest.fixture
async def network(app) -> AsyncIterator[PhoneNetwork]:
    async with PhoneNetwork(app_url=app.url, public_url=PUBLIC_URL, calls_per_second=1000) as network:
        yield network


@pytest.fixture
def ask(network):
    """Run a function with a client of the SDK, in a thread as an application does."""
    clients = []

    def client(timeout: float = DEADLINE, token: str = AUTH_TOKEN) -> Client:
        http = TwilioHttpClient(timeout=timeout)
        made = Client(ACCOUNT_SID, token, http_client=http)
        made.api.base_url = network.rest_url
        clients.append(http)
        return made

    async def ask(work, **options):
        return await asyncio.to_thread(work, client(**options))

    yield ask
    for http in clients:
        http.session.close()


def create(client: Client, **parameters):
    return client.calls.create(**{"to": THERE, "from_": HERE, "url": f"{PUBLIC_URL}/twilio/voice/", **parameters})


async def refusal(ask, **parameters) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as raised:
        await ask(lambda client: create(client, **parameters))
    return raised.value


# -- creating -------------------------------------------------------------------------------------


async def test_a_created_call_is_queued(ask, network):
    call = await ask(create)
    assert call.sid.startswith("CA")
    assert len(call.sid) == 34
    assert (call.status, call.direction, call.to, call._from) == ("queued", "outbound-api", THERE, HERE)
    assert call.to_formatted == "(500) 555-0100"
    assert call.account_sid == ACCOUNT_SID
    assert call.queue_time == "0"
    assert call.duration is None
    assert abs(datetime.now(UTC) - call.date_created) < timedelta(seconds=5)
    assert set(network.calls) == {call.sid}


async def test_calls_beyond_the_rate_wait_in_the_queue(app, ask):
    async with PhoneNetwork(app_url=app.url, public_url=PUBLIC_URL, calls_per_second=1) as network:

        def five(client: Client):
            client.api.base_url = network.rest_url
            return [int(create(client).queue_time) for _ in range(5)]

        waits = await ask(five)
    assert waits[0] == 0
    assert [round(wait / 1000) for wait in waits] == [0, 1, 2, 3, 4], "accepted, but not dialled at once"


async def test_every_response_has_twilios_headers(network):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{network.rest_url}/2010-04-01/Accounts/{ACCOUNT_SID}/Nothing.json") as response,
    ):
        assert response.status == 404
        assert (await response.json())["code"] == 20404
        assert response.headers["Twilio-Request-Id"].startswith("RQ")
        assert response.headers["Twilio-Concurrent-Requests"] == "1"


# -- refusing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"to": ""}, 21201),
        ({"from_": ""}, 21213),
        ({"to": "somebody"}, 21211),
        ({"to": "5005550100"}, 21217),
        ({"to": "+19005550100"}, 21202),
        ({"to": "911"}, 21202),
        ({"from_": "me"}, 21212),
        ({"from_": "client:me"}, 21212),
        ({"application_sid": "AP" + "0" * 32}, 21218),
        ({"url": "ftp://voice.example/"}, 21205),
        ({"url": ""}, 21205),
        ({"status_callback": "https://my_voice.example/status/"}, 21205),
        ({"send_digits": "12x"}, 21206),
        ({"send_digits": "1" * 33}, 21206),
        ({"timeout": 601}, 21208),
        ({"url": "", "twiml": "<Response>" + " " * 4000 + "</Response>"}, 20001),
        ({"machine_detection": "Maybe"}, 20001),
        ({"time_limit": 30}, 20001),
        ({"to": "+15005550001"}, 21217),
        ({"to": "+15005550002"}, 21214),
        ({"to": "+15005550003"}, 21215),
        ({"to": "+15005550004"}, 21216),
        ({"from_": "+15005550001"}, 21212),
    ],
)
async def test_a_call_that_twilio_would_not_place_is_refused(ask, network, parameters, code):
    error = await refusal(ask, **parameters)
    assert (error.code, error.status) == (code, 400)
    assert not network.calls


@pytest.mark.parametrize("code", sorted(CODES))
async def test_every_error_code_has_a_magic_number(ask, code):
    error = await refusal(ask, to=f"+199955{code}")
    status, text = CODES[code]
    assert (error.code, error.status) == (code, status)
    assert text in error.msg


async def test_the_rules_of_the_account_refuse_calls(ask, network):
    network.refusals = {THERE: 13224}
    assert (await refusal(ask)).code == 13224
    network.refusals = {}
    network.caller_ids = {"+15005550009"}
    assert (await refusal(ask)).code == 21210
    network.caller_ids = None
    network.concurrent_calls = 0
    assert (await refusal(ask)).code == 10004


async def test_wrong_credentials_are_refused(ask):
    with pytest.raises(TwilioRestException) as raised:
        await ask(create, token="another")
    assert (raised.value.status, raised.value.code) == (401, 20003)


async def test_an_unknown_parameter_is_refused(network):
    login = base64.b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode()
    url = f"{network.rest_url}/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json"
    form = {"To": THERE, "From": HERE, "Url": PUBLIC_URL, "Colour": "red"}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Basic {login}"}) as session,
        session.post(url, data=form) as response,
    ):
        assert response.status == 400
        assert await response.json() == {
            "code": 20001,
            "message": "Unknown or invalid parameter: Colour",
            "more_info": "https://www.twilio.com/docs/errors/20001",
            "status": 400,
        }


async def test_common_mistakes_cause_alerts(ask, network):
    await ask(
        lambda client: create(
            client,
            status_callback=f"{PUBLIC_URL}/status/",
            status_callback_event=["initiated ringing"],
            machine_detection="Enable",
            async_amd="true",
        )
    )
    assert [alert.code for alert in network.alerts] == [20001, 21262]


# -- looking and changing -------------------------------------------------------------------------


async def test_a_call_can_be_fetched(ask, network):
    network.on_dial(THERE, Outcome.busy, after=0)
    created = await ask(create)
    await network.calls[created.sid].wait()
    call = await ask(lambda client: client.calls(created.sid).fetch())
    assert call.status == "busy"
    assert call.duration == "0"
    assert call.start_time <= call.end_time


async def test_an_unknown_call_is_not_found(ask):
    with pytest.raises(TwilioRestException) as raised:
        await ask(lambda client: client.calls("CA" + "0" * 32).fetch())
    assert (raised.value.status, raised.value.code) == (404, 20404)


async def test_a_call_that_is_over_cannot_be_changed(ask, network):
    network.on_dial(THERE, Outcome.busy, after=0)
    created = await ask(create)
    await network.calls[created.sid].wait()
    for change in ({"status": "completed"}, {"status": "canceled"}, {"url": PUBLIC_URL}, {"twiml": "<Response/>"}):
        with pytest.raises(TwilioRestException) as raised:
            await ask(lambda client, change=change: client.calls(created.sid).update(**change))
        assert (raised.value.status, raised.value.code) == (400, 21220)
        assert "Call is not in-progress. Cannot redirect." in raised.value.msg


async def test_the_list_is_paged_and_newest_first(ask, network):
    made = await ask(lambda client: [create(client).sid for _ in range(5)])
    listed = await ask(lambda client: [call.sid for call in client.calls.list(page_size=2)])
    assert listed == made[::-1]
    page = await ask(lambda client: client.calls.page(page_size=2))
    following = await asyncio.to_thread(page.next_page)
    previous = await asyncio.to_thread(following.previous_page)
    assert [call.sid for call in following] == made[2:0:-1]
    assert [call.sid for call in previous] == made[:2:-1]


async def test_the_list_finds_the_calls_of_an_attempt(ask):
    since = datetime.now(UTC) - timedelta(seconds=60)
    wanted = await ask(create)
    await ask(lambda client: create(client, to="+15005550101"))

    def search(**terms):
        return ask(lambda client: [call.sid for call in client.calls.list(**terms)])

    assert await search(to=THERE, from_=HERE, start_time_after=since) == [wanted.sid]
    assert await search(to=THERE, start_time_after=datetime.now(UTC) + timedelta(hours=1)) == []
    assert await search(to=THERE, start_time_before=since) == []
    assert await search(to=THERE, status="busy") == []


async def test_a_recording_needs_a_call_in_progress(ask, network, app):
    app.answers = {"/twilio/voice/": "<Pause length='3600'/>"}
    network.on_dial(THERE, Person, after=0)
    created = await ask(create)
    call = network.calls[created.sid]
    await app.wait_for_request("/twilio/voice/")
    recording = await ask(
        lambda client: client.calls(created.sid).recordings.create(
            recording_channels="dual",
            recording_status_callback=f"{PUBLIC_URL}/recorded/",
            recording_status_callback_event=["in-progress", "completed"],
        )
    )
    assert (recording.status, recording.source, recording.channels) == ("in-progress", "StartCallRecordingAPI", 2)
    call.hang_up()
    await call.wait()
    done = await app.wait_for_request("/recorded/", times=2)
    assert done.form["RecordingStatus"] == "completed"
    assert done.form["RecordingSid"] == recording.sid
    with pytest.raises(TwilioRestException) as raised:
        await ask(lambda client: client.calls(created.sid).recordings.create())
    assert raised.value.code == 21220


# -- what goes wrong on purpose -------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}])
async def test_a_fault_can_refuse_a_request_with_429(ask, network, headers):
    network.injections.rest = [RestFault.error(20429, headers=headers)]
    error = await refusal(ask)
    assert (error.status, error.code) == (429, 20429)
    assert not network.calls, "it was refused"
    assert (await ask(create)).status == "queued", "the next one is accepted"


async def test_a_fault_can_answer_with_a_proxys_html(ask, network):
    network.injections.rest = [RestFault.html(503)]
    error = await refusal(ask)
    assert (error.status, error.code) == (503, 503)
    assert not network.calls


async def test_a_create_can_time_out_although_the_call_exists(ask, network):
    network.injections.rest = [RestFault(delay=1.0)]
    with pytest.raises(requests.exceptions.ReadTimeout):
        await ask(create, timeout=0.2)
    async with asyncio.timeout(DEADLINE):
        while not network.calls:  # noqa: ASYNC110 - the network has no event for it
            await asyncio.sleep(0.01)
    assert len(network.calls) == 1


async def test_a_connection_can_be_cut_after_the_call_was_created(ask, network):
    network.injections.rest = [RestFault(drop=True, takes_effect=True)]
    with pytest.raises(requests.exceptions.ConnectionError):
        await ask(create)
    assert len(network.calls) == 1


async def test_a_slow_body_arrives_completely(ask, network):
    network.injections.rest = [RestFault(slow_body=0.1)]
    assert (await ask(create)).status == "queued"


async def test_callbacks_can_overtake_the_response(ask, network, app):
    network.on_dial(THERE, Person, after=0)
    network.injections.rest = [RestFault(after="status"), RestFault(after="voice")]
    first = await ask(
        lambda client: create(client, status_callback=f"{PUBLIC_URL}/status/", status_callback_event=["initiated"])
    )
    assert [request.form["CallSid"] for request in app.requests_to("/status/")] == [first.sid]
    second = await ask(create)
    assert second.sid in [request.form["CallSid"] for request in app.requests_to("/twilio/voice/")]
    assert second.status == "queued"


async def test_the_person_can_hang_up_just_before_an_update(ask, network, app):
    app.answers = {"/twilio/voice/": "<Pause length='3600'/>"}
    network.on_dial(THERE, Person, after=0)
    created = await ask(create)
    await app.wait_for_request("/twilio/voice/")
    network.injections.rest = [RestFault(path=f"/Calls/{created.sid}.json", hang_up_first=True)]
    with pytest.raises(TwilioRestException) as raised:
        await ask(lambda client: client.calls(created.sid).update(status="completed"))
    assert raised.value.code == 21220


def test_an_error_body_has_twilios_fields():
    body = json.loads(RestFault.error(21211).body)
    assert body["more_info"] == "https://www.twilio.com/docs/errors/21211"
