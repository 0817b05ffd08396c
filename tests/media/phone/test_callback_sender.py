import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from media.phone.callback_sender import CallbackSender, Overrides, Routes, signed_form
from media.phone.injections import CallbackFault, Injections

PUBLIC = "https://voice.example"
PARAMETERS = {"CallSid": "CA1", "CallStatus": "ringing", "FromCity": ""}
TOKEN = "simulated-auth-token"


@pytest.fixture
async def sender(app) -> AsyncIterator[CallbackSender]:
    background: list[asyncio.Task] = []
    sender = CallbackSender(
        routes=Routes(app.url, PUBLIC),
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
    answer = await sender.send(f"{PUBLIC}/status/?id=7%2F8#rc=2", PARAMETERS, kind="status")
    (received,) = app.received
    assert answer.status == 204
    assert received.path == "/status/?id=7%2F8"
    assert received.form == PARAMETERS
    assert received.is_signed
    assert received.headers["Host"] == "voice.example"
    assert received.headers["User-Agent"] == "TwilioProxy/1.1"
    assert received.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    assert received.headers["I-Twilio-Idempotency-Token"]


def test_the_signature_is_twilios():
    sender = CallbackSender(
        routes=Routes("http://127.0.0.1", PUBLIC), auth_token="12345", injections=Injections(), spawn=print
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
def test_https_drops_the_port_and_http_keeps_it(url, signed):
    assert signed_form(url) == signed


async def test_get_puts_the_parameters_into_the_signed_query(app, sender):
    await sender.send(f"{PUBLIC}/voice/?a=1", {"CallSid": "CA1"}, kind="voice", method="GET")
    (received,) = app.received
    assert received.path == "/voice/?a=1&CallSid=CA1"
    assert received.is_signed


def test_the_fragment_says_how_often_and_for_how_long():
    overrides = Overrides.parse("https://voice.example/a#rc=3&rp=5xx,rt&ct=50&rt=2000&tt=99999")
    assert overrides.retries == 3
    assert overrides.connect_timeout == 0.1, "below the range means its end"
    assert overrides.read_timeout == 2.0
    assert overrides.total_timeout == 15.0
    assert overrides.retries_after("5xx")
    assert not overrides.retries_after("ct")
    assert Overrides.parse("https://voice.example/a") == Overrides()


async def test_a_500_is_not_repeated_unless_asked_for(app, sender):
    app.answers = {"/a": 500, "/b": [500, 500, 204]}
    refused = await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="status")
    accepted = await sender.send(f"{PUBLIC}/b#rc=2&rp=5xx", PARAMETERS, kind="status")
    assert (refused.status, refused.error) == (500, 11200)
    assert (accepted.status, accepted.error) == (204, None)
    assert len(app.to("/a")) == 1
    tokens = [request.headers["I-Twilio-Idempotency-Token"] for request in app.to("/b")]
    assert len(tokens) == 3
    assert len(set(tokens)) == 1, "one delivery, one token"
    assert sender.deliveries[1].attempts == ["5xx", "5xx", "ok"]


async def test_a_refused_connection_is_repeated_once(sender, closed_port):
    answer = await sender.send(f"http://127.0.0.1:{closed_port}/a", PARAMETERS, kind="status")
    assert answer.error == 11205
    assert sender.deliveries[0].attempts == ["ct", "ct"]


async def test_a_silent_app_is_given_up(app, sender):
    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app.answers = {"/a": never}
    slow = await sender.send(f"{PUBLIC}/a#rt=100&rc=1&rp=rt", PARAMETERS, kind="status")
    assert slow.error == 11200
    assert sender.deliveries[0].attempts == ["rt", "rt"]
    hopeless = await sender.send(f"{PUBLIC}/a#tt=100", PARAMETERS, kind="status")
    assert hopeless.error == 11200
    assert sender.deliveries[1].attempts == ["tt"]


async def test_cookies_last_for_one_call(app, sender):
    async def greet(request: web.Request) -> web.Response:
        response = web.Response()
        response.set_cookie("session", "s1", secure=True, domain="voice.example")
        return response

    app.answers = {"/a": greet}
    jar: dict = {}
    await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="voice", cookies=jar)
    await sender.send(f"{PUBLIC}/b", PARAMETERS, kind="voice", cookies=jar)
    await sender.send(f"{PUBLIC}/c", PARAMETERS, kind="voice", cookies={})
    assert [request.headers.get("Cookie") for request in app.received] == [None, "session=s1", None]


async def test_a_redirected_post_becomes_a_get(app, sender):
    async def move(request: web.Request) -> web.Response:
        raise web.HTTPFound("/b/")

    app.answers = {"/b": move, "/b/": 200}
    answer = await sender.send(f"{PUBLIC}/b", PARAMETERS, kind="voice")
    assert answer.status == 200
    assert answer.url == f"{PUBLIC}/b/"
    assert [(request.method, request.form) for request in app.received] == [("POST", PARAMETERS), ("GET", {})]
    assert app.received[1].is_signed


async def test_redirects_have_an_end(app, sender):
    async def circle(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/a")

    app.answers = {"/a": circle}
    assert (await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="voice")).error == 11215


async def test_credentials_in_the_url_answer_a_401(app, sender):
    async def guarded(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("Authorization") else 401)

    app.answers = {"/a": guarded}
    answer = await sender.send("https://user:pw@voice.example/a", PARAMETERS, kind="voice")
    assert answer.status == 200
    assert [request.headers.get("Authorization") for request in app.received] == [None, "Basic dXNlcjpwdw=="]


# -- what goes wrong on purpose -------------------------------------------------------------------


def faulty(sender: CallbackSender, **fault) -> None:
    sender._injections.callbacks.append(CallbackFault(**fault))


async def test_a_duplicate_has_the_same_token_or_another(app, sender):
    faulty(sender, extra=True, times=1)
    faulty(sender, extra=True, new_token=True)
    await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="status")
    await sender.send(f"{PUBLIC}/b", PARAMETERS, kind="status")
    await asyncio.gather(*sender.background)
    tokens = {
        path: {request.headers["I-Twilio-Idempotency-Token"] for request in app.to(path)} for path in ("/a", "/b")
    }
    assert [len(app.to(path)) for path in tokens] == [2, 2]
    assert [len(found) for found in tokens.values()] == [1, 2]


@pytest.mark.parametrize("signature", ["wrong", "missing", "other-url", "trailing-slash"])
async def test_a_bad_signature_does_not_verify(app, sender, signature):
    faulty(sender, signature=signature)
    await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="status")
    assert not app.received[0].is_signed
    slashed = RequestValidator(TOKEN).compute_signature(f"{PUBLIC}/a/", PARAMETERS)
    assert (app.received[0].headers.get("X-Twilio-Signature") == slashed) == (signature == "trailing-slash")


async def test_faults_meet_only_what_they_are_meant_for(app, sender):
    faulty(sender, kinds=("status",), when={"CallStatus": "completed"}, signature="missing")
    await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="status")
    await sender.send(f"{PUBLIC}/a", {"CallStatus": "completed"}, kind="amd")
    await sender.send(f"{PUBLIC}/a", {"CallStatus": "completed"}, kind="status")
    assert [request.is_signed for request in app.received] == [True, True, False]


async def test_a_late_callback_delays_nothing_else(app, sender):
    faulty(sender, kinds=("status",), delay=0.2, times=1)
    await sender.send(f"{PUBLIC}/late", PARAMETERS, kind="status")
    await sender.send(f"{PUBLIC}/prompt", PARAMETERS, kind="status")
    await app.hears("/late")
    assert [request.path for request in app.received] == ["/prompt", "/late"]


async def test_a_callback_about_an_unknown_call_is_properly_signed(app, sender):
    faulty(sender, call_sid="CAunknown", extra=True)
    await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="status")
    await app.hears("/a", times=2)
    assert [request.form["CallSid"] for request in app.received] == ["CA1", "CAunknown"]
    assert app.received[1].is_signed


async def test_json_comes_without_its_digest(app, sender):
    faulty(sender, as_json=True, host="attacker.example")
    bodies = []

    async def keep(request: web.Request) -> web.Response:
        bodies.append(json.loads(await request.read()))
        return web.Response()

    app.answers = {"/a": keep}
    await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="status")
    assert bodies == [PARAMETERS]
    assert app.received[0].headers["Host"] == "attacker.example"


async def test_a_replay_is_the_same_to_the_byte(app, sender):
    await sender.send(f"{PUBLIC}/a", PARAMETERS, kind="status")
    await sender.replay(sender.deliveries[0])
    first, second = app.received
    assert (first.form, first.headers) == (second.form, second.headers)


def test_streams_of_the_public_host_are_dialled_at_the_app():
    routes = Routes("http://127.0.0.1:8000", PUBLIC)
    assert routes.socket_base("wss://voice.example/twilio/media/x") == "ws://127.0.0.1:8000"
    assert routes.socket_base("wss://elsewhere.example/x") is None
    assert Routes("http://127.0.0.1:8000", "http://127.0.0.1:8000").socket_base("wss://127.0.0.1:8000/x")
