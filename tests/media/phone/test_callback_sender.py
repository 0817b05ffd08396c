"""How callbacks are addressed, signed, retried and given up, against a real HTTP server."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from media.phone.callback_sender import CallbackSender, Overrides, Routes, signed_form
from media.phone.injections import CallbackFault, Injections
from tests.media.phone.doubles import PUBLIC_URL

PARAMETERS = {"CallSid": "CA1", "CallStatus": "ringing", "FromCity": ""}
TOKEN = "simulated-auth-token"


@pytest.fixture
async def sender(app) -> AsyncIterator[CallbackSender]:
    background: list[asyncio.Task] = []
    sender = CallbackSender(
        routes=Routes(app.url, PUBLIC_URL),
        auth_token=TOKEN,
        injections=Injections(),
        spawn=lambda work: background.append(asyncio.ensure_future(work)),
    )
    sender.background = background
    await sender.open()
    yield sender
    for task in background:
        task.cancel()
    await sender.close()


async def test_a_request_goes_to_the_app_and_is_signed_for_the_public_url(app, sender):
    answer = await sender.send(f"{PUBLIC_URL}/status/?id=7%2F8#rc=2", PARAMETERS, kind="status")
    (received,) = app.received
    assert answer.status == 204
    assert received.path == "/status/?id=7%2F8"
    assert received.form == PARAMETERS
    assert received.is_signed
    assert received.headers["Host"] == "voice.example"
    assert received.headers["User-Agent"] == "TwilioProxy/1.1"
    assert received.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    assert received.headers["I-Twilio-Idempotency-Token"]


def test_the_signature_equals_the_one_in_twilios_documentation():
    sender = CallbackSender(
        routes=Routes("http://127.0.0.1", PUBLIC_URL), auth_token="12345", injections=Injections(), spawn=print
    )
    parameters = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    assert sender.sign("https://example.com/myapp.php?foo=1&bar=2", parameters) == "L/OH5YylLD5NRKLltdqwSvS0BnU="


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("https://voice.example:8443/a?b=c#rc=1", "https://voice.example/a?b=c"),
        ("http://voice.example:8080/a", "http://voice.example:8080/a"),
        ("https://user:pw@voice.example/a", "https://voice.example/a"),
    ],
)
def test_the_signed_url_has_a_port_over_http_and_none_over_https(url, signed):
    assert signed_form(url) == signed


async def test_a_get_request_has_the_parameters_in_its_signed_query(app, sender):
    await sender.send(f"{PUBLIC_URL}/voice/?a=1", {"CallSid": "CA1"}, kind="voice", method="GET")
    (received,) = app.received
    assert received.path == "/voice/?a=1&CallSid=CA1"
    assert received.is_signed


def test_the_fragment_sets_the_retries_and_the_time_outs():
    overrides = Overrides.parse("https://voice.example/a#rc=3&rp=5xx,rt&ct=50&rt=2000&tt=99999")
    assert overrides.retries == 3
    assert overrides.connect_timeout == 0.1, "below the range, so the least allowed"
    assert overrides.read_timeout == 2.0
    assert overrides.total_timeout == 15.0
    assert overrides.retries_after("5xx")
    assert not overrides.retries_after("ct")
    assert Overrides.parse("https://voice.example/a") == Overrides()


async def test_a_500_is_retried_only_if_the_fragment_asks_for_it(app, sender):
    app.answers = {"/a": 500, "/b": [500, 500, 204]}
    refused = await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="status")
    accepted = await sender.send(f"{PUBLIC_URL}/b#rc=2&rp=5xx", PARAMETERS, kind="status")
    assert (refused.status, refused.error) == (500, 11200)
    assert (accepted.status, accepted.error) == (204, None)
    assert len(app.requests_to("/a")) == 1
    tokens = [request.headers["I-Twilio-Idempotency-Token"] for request in app.requests_to("/b")]
    assert len(tokens) == 3
    assert len(set(tokens)) == 1, "one delivery, one token"
    assert sender.deliveries[1].attempts == ["5xx", "5xx", "ok"]


async def test_a_refused_connection_is_retried_once(sender, closed_port):
    answer = await sender.send(f"http://127.0.0.1:{closed_port}/a", PARAMETERS, kind="status")
    assert answer.error == 11205
    assert sender.deliveries[0].attempts == ["ct", "ct"]


async def test_the_sender_gives_up_on_an_application_that_does_not_answer(app, sender):
    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app.answers = {"/a": never}
    slow = await sender.send(f"{PUBLIC_URL}/a#rt=100&rc=1&rp=rt", PARAMETERS, kind="status")
    assert slow.error == 11200
    assert sender.deliveries[0].attempts == ["rt", "rt"]
    timed_out = await sender.send(f"{PUBLIC_URL}/a#tt=100", PARAMETERS, kind="status")
    assert timed_out.error == 11200
    assert sender.deliveries[1].attempts == ["tt"]


async def test_cookies_last_for_one_call(app, sender):
    async def greet(request: web.Request) -> web.Response:
        response = web.Response()
        response.set_cookie("session", "s1", secure=True, domain="voice.example")
        return response

    app.answers = {"/a": greet}
    jar: dict = {}
    await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="voice", cookies=jar)
    await sender.send(f"{PUBLIC_URL}/b", PARAMETERS, kind="voice", cookies=jar)
    await sender.send(f"{PUBLIC_URL}/c", PARAMETERS, kind="voice", cookies={})
    assert [request.headers.get("Cookie") for request in app.received] == [None, "session=s1", None]


async def test_a_redirected_post_becomes_a_get(app, sender):
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound("/b/")

    app.answers = {"/b": redirect, "/b/": 200}
    answer = await sender.send(f"{PUBLIC_URL}/b", PARAMETERS, kind="voice")
    assert answer.status == 200
    assert answer.url == f"{PUBLIC_URL}/b/"
    assert [(request.method, request.form) for request in app.received] == [("POST", PARAMETERS), ("GET", {})]
    assert app.received[1].is_signed


async def test_a_circle_of_redirects_ends_with_an_error(app, sender):
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/a")

    app.answers = {"/a": redirect}
    assert (await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="voice")).error == 11215


async def test_credentials_in_the_url_are_sent_after_a_401(app, sender):
    async def guarded(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("Authorization") else 401)

    app.answers = {"/a": guarded}
    answer = await sender.send("https://user:pw@voice.example/a", PARAMETERS, kind="voice")
    assert answer.status == 200
    assert [request.headers.get("Authorization") for request in app.received] == [None, "Basic dXNlcjpwdw=="]


# -- what goes wrong on purpose -------------------------------------------------------------------


def inject(sender: CallbackSender, **fault) -> None:
    sender._injections.callbacks.append(CallbackFault(**fault))


async def test_an_extra_copy_has_the_same_token_unless_a_new_one_is_asked_for(app, sender):
    inject(sender, extra=True, times=1)
    inject(sender, extra=True, new_token=True)
    await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="status")
    await sender.send(f"{PUBLIC_URL}/b", PARAMETERS, kind="status")
    await asyncio.gather(*sender.background)
    tokens = {
        path: {request.headers["I-Twilio-Idempotency-Token"] for request in app.requests_to(path)}
        for path in ("/a", "/b")
    }
    assert [len(app.requests_to(path)) for path in tokens] == [2, 2]
    assert [len(found) for found in tokens.values()] == [1, 2]


@pytest.mark.parametrize("signature", ["wrong", "missing", "other-url", "trailing-slash"])
async def test_a_bad_signature_does_not_verify(app, sender, signature):
    inject(sender, signature=signature)
    await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="status")
    assert not app.received[0].is_signed
    slashed = RequestValidator(TOKEN).compute_signature(f"{PUBLIC_URL}/a/", PARAMETERS)
    assert (app.received[0].headers.get("X-Twilio-Signature") == slashed) == (signature == "trailing-slash")


async def test_a_fault_applies_only_to_its_kinds_and_parameters(app, sender):
    inject(sender, kinds=("status",), when={"CallStatus": "completed"}, signature="missing")
    await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="status")
    await sender.send(f"{PUBLIC_URL}/a", {"CallStatus": "completed"}, kind="amd")
    await sender.send(f"{PUBLIC_URL}/a", {"CallStatus": "completed"}, kind="status")
    assert [request.is_signed for request in app.received] == [True, True, False]


async def test_a_late_callback_delays_nothing_else(app, sender):
    inject(sender, kinds=("status",), delay=1.0, times=1)
    await sender.send(f"{PUBLIC_URL}/late", PARAMETERS, kind="status")
    await sender.send(f"{PUBLIC_URL}/prompt", PARAMETERS, kind="status")
    await app.wait_for_request("/late")
    assert [request.path for request in app.received] == ["/prompt", "/late"]


async def test_a_callback_about_an_unknown_call_is_properly_signed(app, sender):
    inject(sender, call_sid="CAunknown", extra=True)
    await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="status")
    await app.wait_for_request("/a", times=2)
    assert [request.form["CallSid"] for request in app.received] == ["CA1", "CAunknown"]
    assert app.received[1].is_signed


async def test_a_json_body_has_the_host_that_was_asked_for(app, sender):
    inject(sender, as_json=True, host="attacker.example")
    bodies = []

    async def read_body(request: web.Request) -> web.Response:
        bodies.append(json.loads(await request.read()))
        return web.Response()

    app.answers = {"/a": read_body}
    await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="status")
    assert bodies == [PARAMETERS]
    assert app.received[0].headers["Host"] == "attacker.example"


async def test_a_replay_equals_the_first_request(app, sender):
    await sender.send(f"{PUBLIC_URL}/a", PARAMETERS, kind="status")
    await sender.replay(sender.deliveries[0])
    first, second = app.received
    assert (first.form, first.headers) == (second.form, second.headers)


def test_streams_to_the_public_host_connect_to_the_application():
    routes = Routes("http://127.0.0.1:8000", PUBLIC_URL)
    assert routes.socket_base("wss://voice.example/twilio/media/x") == "ws://127.0.0.1:8000"
    assert routes.socket_base("wss://elsewhere.example/x") is None
    assert Routes("http://127.0.0.1:8000", "http://127.0.0.1:8000").socket_base("wss://127.0.0.1:8000/x")
