"""Delivering webhooks: the signature, the attempts, and several workers at once."""

import asyncio
import base64
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import aiohttp
import pytest
import time_machine
from django.db import InternalError, OperationalError
from django.utils import timezone

from calls.models import Agent, Call, WebhookDelivery, WebhookEndpoint
from calls.services import CallsError, webhook_delivery, webhook_posting, webhooks
from calls.services.webhook_delivery import (
    BACKOFF,
    BREAKS_AFTER,
    CONCURRENT,
    LEASE,
    Deliverer,
    delete_old_deliveries,
    deliver_due,
    redeliver,
)
from calls.services.webhooks import announce, make_endpoint

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def call(db) -> Call:
    return Call.objects.create(
        direction="outbound",
        from_number="+15005550006",
        to_number="+12025550101",
        agent=Agent.objects.get(name="front-desk"),
        metadata={"order": "Müller-7"},
    )


def create_endpoint(host="example.com", **fields) -> WebhookEndpoint:
    endpoint = make_endpoint(url=f"https://{host}/hooks")
    for name, value in fields.items():
        setattr(endpoint, name, value)
    endpoint.save()
    return endpoint


def create_deliveries(call, endpoint, count) -> list[WebhookDelivery]:
    return [
        WebhookDelivery.objects.create(endpoint=endpoint, call=call, event="call.ringing", payload={"number": number})
        for number in range(count)
    ]


class Receiver:
    """Answers with ``statuses`` by the first label of the host, else with 204. ``got`` has what it received."""

    def __init__(self, **statuses: int) -> None:
        self.statuses = statuses
        self.got: list[tuple[str, dict, bytes]] = []

    async def __call__(self, url, body, headers) -> int:
        self.got.append((url, dict(headers), body))
        return self.statuses.get(url.split("/")[2].split(".")[0], 204)


async def refuse_connection(url, body, headers) -> int:
    raise ConnectionRefusedError("connection refused")


# --- A real receiver ----------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """An HTTP server on this machine. ``got`` has what it received, ``answer`` is what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hooks"
        self.answer = (204, {}, b"")
        self.release = threading.Event()
        self.is_silent = False
        self.got: list[tuple[str, dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        if self.server.is_silent:
            self.server.release.wait(30)
            return
        status, headers, content = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(ConnectionError):  # the sender does not read a long answer to its end
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Do not log requests."""


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def is_signed(secret: str, headers: dict[str, str], body: bytes, *, now: datetime) -> bool:
    """Verify a signature as the specification says, independently of the code under test."""
    message_id, stamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(now.timestamp() - int(stamp)) > 300:
        return False
    key = base64.standard_b64decode(secret.split("_", 1)[1])
    wanted = hmac.digest(key, b".".join([message_id.encode(), stamp.encode(), body]), "sha256")
    offered = [
        base64.b64decode(part.split(",", 1)[1]) for part in headers["webhook-signature"].split() if part[:3] == "v1,"
    ]
    return any(hmac.compare_digest(wanted, one) for one in offered)


def test_the_signature_follows_the_specification():
    """The example from the tests of the specification's reference libraries."""
    headers = webhook_posting.sign(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_delivery_is_a_signed_post_of_json(call, server):
    endpoint = WebhookEndpoint.objects.create(url=server.url, secret=webhooks.make_secret())
    announce(call, "call.ringing", at=NOON)
    assert deliver_due().delivered == 1
    [(path, headers, body)] = server.got
    delivery = WebhookDelivery.objects.get()
    assert (path, headers["Content-Type"]) == ("/hooks", "application/json")
    assert json.loads(body) == delivery.payload
    assert "Müller-7".encode() in body
    assert UUID(headers["webhook-id"]) == delivery.pk
    assert is_signed(endpoint.secret, headers, body, now=NOON)
    assert not is_signed(endpoint.secret, headers, body + b" ", now=NOON)
    assert not is_signed(webhooks.make_secret(), headers, body, now=NOON)
    assert (delivery.status, delivery.response_status, delivery.attempts, delivery.due_at) == (
        "delivered",
        204,
        1,
        None,
    )
    assert delivery.delivered_at == NOON
    [entry] = delivery.log
    assert (entry["at"], entry["result"]) == (NOON.isoformat(), 204)
    assert entry["ms"] >= 0


def test_every_attempt_has_the_same_id_and_its_own_timestamp(call, server, clock):
    endpoint = WebhookEndpoint.objects.create(url=server.url, secret=webhooks.make_secret())
    create_deliveries(call, endpoint, 1)
    server.answer = (500, {}, b"oh")
    deliver_due()
    clock.shift(600)
    deliver_due()
    (_, first, one), (_, second, two) = server.got
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) == int(first["webhook-timestamp"]) + 600
    assert is_signed(endpoint.secret, first, one, now=NOON)
    assert is_signed(endpoint.secret, second, two, now=NOON + timedelta(seconds=600))


def test_a_replaced_secret_signs_beside_the_new_one_for_a_day(call, server, clock):
    endpoint = WebhookEndpoint.objects.create(url=server.url, secret=webhooks.make_secret())
    replaced, renewed = endpoint.secret, webhooks.renew_secret(endpoint.pk)
    for hours, valid in ((23, [True, True]), (2, [False, True])):
        clock.shift(timedelta(hours=hours))
        create_deliveries(call, endpoint, 1)
        assert deliver_due().delivered == 1
        _, headers, body = server.got[-1]
        assert [is_signed(secret, headers, body, now=timezone.now()) for secret in (replaced, renewed)] == valid
        assert len(headers["webhook-signature"].split(" ")) == sum(valid)


def test_a_redirect_is_not_followed(call, server):
    with serving() as elsewhere:
        server.answer = (302, {"Location": elsewhere.url}, b"")
        create_deliveries(call, WebhookEndpoint.objects.create(url=server.url, secret=webhooks.make_secret()), 1)
        assert deliver_due().retried == 1
        assert elsewhere.got == []
    assert WebhookDelivery.objects.get().response_status == 302


def test_a_long_answer_counts_like_a_short_one(call, server):
    server.answer = (200, {}, b"x" * 5_000_000)
    create_deliveries(call, WebhookEndpoint.objects.create(url=server.url, secret=webhooks.make_secret()), 2)
    assert deliver_due().delivered == 2


def test_a_receiver_that_does_not_answer_times_out(call, server, monkeypatch):
    monkeypatch.setattr(webhook_posting, "TIMEOUT", 0.05)
    server.is_silent = True
    create_deliveries(call, WebhookEndpoint.objects.create(url=server.url, secret=webhooks.make_secret()), 1)
    assert deliver_due().retried == 1
    assert WebhookDelivery.objects.get().log[0]["result"] == "no answer within 0.05 s"


def test_a_refused_connection_is_a_failed_attempt(call):
    with serving() as server:
        url = server.url
    create_deliveries(call, WebhookEndpoint.objects.create(url=url, secret=webhooks.make_secret()), 1)
    assert deliver_due().retried == 1
    delivery = WebhookDelivery.objects.get()
    assert delivery.response_status is None
    assert "connect" in delivery.log[0]["result"].lower()


# --- Retries ------------------------------------------------------------------------------------------------


def test_a_delivery_fails_after_nine_attempts_over_twenty_hours(call, clock):
    [delivery] = create_deliveries(call, create_endpoint(), 1)
    for tries, wait in enumerate(BACKOFF, start=1):
        assert deliver_due(post=refuse_connection).retried == 1
        delivery.refresh_from_db()
        seconds = (delivery.due_at - datetime.now(UTC)).total_seconds()
        assert (delivery.status, delivery.attempts) == ("waiting", tries)
        assert wait <= seconds <= wait * 1.2
        clock.move_to(delivery.due_at - timedelta(seconds=1))
        assert deliver_due(post=refuse_connection).retried == 0
        clock.move_to(delivery.due_at)
    assert deliver_due(post=refuse_connection).failed == 1
    delivery.refresh_from_db()
    assert (delivery.status, delivery.due_at, delivery.attempts, len(delivery.log)) == ("failed", None, 9, 9)
    assert delivery.log[-1]["result"] == "could not connect"
    clock.shift(timedelta(days=2))
    assert deliver_due(post=refuse_connection).retried == 0


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503, 301])
def test_only_a_2xx_status_counts_as_delivered(call, status):
    create_deliveries(call, create_endpoint("a.example.com"), 1)
    assert deliver_due(post=Receiver(a=status)).retried == 1


@pytest.mark.parametrize(
    "error", [aiohttp.InvalidURL("x"), aiohttp.ServerDisconnectedError(), OSError(), ValueError("bad address")]
)
def test_every_error_on_the_way_is_logged_with_the_delivery(call, error):
    async def fails(url, body, headers):
        raise error

    create_deliveries(call, create_endpoint(), 1)
    assert deliver_due(post=fails).retried == 1
    assert WebhookDelivery.objects.get().log[0]["result"]


def test_an_endpoint_that_answers_410_receives_nothing_more(call):
    endpoint = create_endpoint("a.example.com")
    create_deliveries(call, endpoint, 1 + 3 * CONCURRENT)
    receiver = Receiver(a=410)
    assert deliver_due(post=receiver).failed == len(receiver.got) == 1
    endpoint.refresh_from_db()
    assert not endpoint.active
    # Any of them may be the first: they are due at the same time.
    assert WebhookDelivery.objects.filter(status="failed").count() == 1
    assert deliver_due(post=receiver).failed == 0
    announce(call, "call.completed", at=NOON)
    assert not WebhookDelivery.objects.filter(event="call.completed").exists()


def test_a_failed_delivery_can_be_repeated_by_hand(call):
    [delivery] = create_deliveries(call, create_endpoint("a.example.com"), 1)
    WebhookDelivery.objects.update(status="failed", due_at=None, attempts=9, log=[{"result": 500}] * 9)
    assert redeliver(delivery.pk).status == "waiting"
    assert deliver_due(post=Receiver()).delivered == 1
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, len(delivery.log)) == ("delivered", 1, 10)


def test_an_unknown_delivery_cannot_be_repeated():
    with pytest.raises(CallsError, match="no delivery"):
        redeliver(uuid4())


# --- Several workers ----------------------------------------------------------------------------------------


def claim(delivery) -> WebhookDelivery | None:
    return webhook_delivery._claim(delivery.pk, delivery.due_at)


def test_a_delivery_that_a_worker_has_claimed_is_not_due_for_others(call):
    [delivery] = create_deliveries(call, create_endpoint(), 1)
    assert claim(delivery).attempts == 1
    assert deliver_due(post=Receiver()).delivered == 0


def test_of_two_workers_that_saw_a_delivery_due_one_claims_it(call):
    [seen_by_both] = create_deliveries(call, create_endpoint(), 1)
    assert [bool(claim(seen_by_both)), bool(claim(seen_by_both))] == [True, False]


def test_a_delivery_of_a_dead_worker_is_sent_after_its_lease(call, clock):
    [delivery] = create_deliveries(call, create_endpoint(), 1)
    assert claim(delivery)
    receiver = Receiver()
    clock.shift(LEASE - 1)
    assert deliver_due(post=receiver).delivered == 0
    clock.shift(2)
    assert deliver_due(post=receiver).delivered == 1
    assert WebhookDelivery.objects.get().attempts == 2


def test_a_worker_that_stalled_beyond_its_lease_does_not_overwrite_anothers_result(call, monkeypatch):
    [delivery] = create_deliveries(call, create_endpoint("a.example.com"), 1)
    store_result = webhook_delivery._store_result

    def store_late(result):
        WebhookDelivery.objects.update(status="delivered", due_at=None, delivered_at=NOON)
        store_result(result)

    monkeypatch.setattr(webhook_delivery, "_store_result", store_late)
    deliver_due(post=Receiver(a=500))
    delivery.refresh_from_db()
    assert (delivery.status, delivery.due_at, delivery.log) == ("delivered", None, [])


def test_a_slow_endpoint_does_not_delay_others(call):
    slow, quick = create_endpoint("slow.example.com"), create_endpoint("quick.example.com")
    create_deliveries(call, slow, 1)
    create_deliveries(call, quick, 10)
    begun = ended = most = 0

    async def post(url, body, headers):
        nonlocal begun, ended, most
        if "slow" in url:
            await all_quick.wait()
            return 204
        begun += 1
        number, most = begun, max(most, begun - ended)
        # Each goes on when all have begun that may: one more after each success.
        async with changed:
            changed.notify_all()
            await changed.wait_for(lambda: begun >= min(2 * number - 1, number + CONCURRENT - 1, 10))
        ended += 1
        if ended == 10:
            all_quick.set()
        return 204

    all_quick, changed = asyncio.Event(), asyncio.Condition()
    assert deliver_due(post=post).delivered == 11
    assert most == CONCURRENT


def test_an_endpoint_that_keeps_failing_costs_few_attempts_and_the_rest_waits(call, clock):
    broken, sound = create_endpoint("broken.example.com"), create_endpoint("sound.example.com")
    create_deliveries(call, broken, 50)
    create_deliveries(call, sound, 20)
    receiver = Receiver(broken=500)
    deliverer = Deliverer(receiver)
    done = deliverer.run()
    assert (done.delivered, done.retried) == (20, BREAKS_AFTER)
    untouched = WebhookDelivery.objects.filter(endpoint=broken, attempts=0)
    assert untouched.count() == 50 - BREAKS_AFTER
    assert not untouched.filter(due_at__lte=NOON + timedelta(seconds=59)).exists()
    clock.shift(75)
    assert deliverer.run().retried == 1  # one delivery tries whether the endpoint works again
    clock.shift(75)
    receiver.statuses.clear()
    deliverer.run()
    assert not WebhookDelivery.objects.exclude(status="delivered").exists()


def test_a_success_between_failures_keeps_the_endpoint_in_use(call):
    create_deliveries(call, create_endpoint(), 30)
    answers = iter([500, 500, 500, 204] * 10)

    async def post(url, body, headers):
        return next(answers)

    done = deliver_due(post=post)
    assert done.delivered + done.retried == 30


def test_an_endpoint_with_many_waiting_deliveries_delays_no_other_one(call):
    busy = create_endpoint("busy.example.com")
    waiting = [WebhookDelivery(endpoint=busy, call=call, event="call.ringing", payload={}) for _ in range(300)]
    WebhookDelivery.objects.bulk_create(waiting)
    create_deliveries(call, create_endpoint("calm.example.com"), 3)
    receiver = Receiver()
    assert deliver_due(post=receiver).delivered == 303
    hosts = [url.split("/")[2] for url, *_ in receiver.got]
    assert max(n for n, host in enumerate(hosts) if host == "calm.example.com") < 20


def test_endpoints_that_do_not_answer_leave_room_for_those_that_do(call, monkeypatch):
    monkeypatch.setattr(webhook_delivery, "SLOTS", 10)
    monkeypatch.setattr(webhook_delivery, "UNPROVEN_SLOTS", 6)
    sound, answered, waiting, most = create_endpoint("sound.example.com"), [], 0, 0

    async def post(url, body, headers):
        nonlocal waiting, most
        if "sound" in url:
            answered.append(url)
            if len(answered) == 9:
                all_answered.set()
            return 204
        waiting += 1
        most = max(most, waiting)
        await all_answered.wait()
        waiting -= 1
        raise ConnectionResetError

    all_answered = asyncio.Event()
    create_deliveries(call, sound, 1)
    deliver_due(post=post)  # another process, before this one started
    for number in range(20):
        create_deliveries(call, create_endpoint(f"silent{number}.example.com"), 2)
    create_deliveries(call, sound, 8)
    done = deliver_due(post=post)
    assert (done.delivered, done.retried, most) == (8, 40, 6)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_any_number_of_dead_receivers_leave_room_for_the_first_event_of_a_new_one(
    call, clock, monkeypatch, is_restarted
):
    for name, number in {"SLOTS": 10, "UNPROVEN_SLOTS": 6, "FAILING_SLOTS": 4, "PAGES": 10}.items():
        monkeypatch.setattr(webhook_delivery, name, number)
    for number in range(10):
        create_deliveries(call, create_endpoint(f"dead{number}.example.com"), 1)
    deliverer = Deliverer(refuse_connection)
    assert deliverer.run().retried == 10
    clock.shift(BACKOFF[0] * 1.2)
    create_deliveries(call, create_endpoint("new.example.com"), 1)  # found behind a whole page of older ones
    got, is_answered = [], asyncio.Event()

    async def post(url, body, headers):
        got.append(url)
        if "new" in url:
            is_answered.set()
            return 204
        await is_answered.wait()
        raise ConnectionResetError

    if is_restarted:
        deliverer = Deliverer(post)
    deliverer._post = post
    done = deliverer.run()
    assert (done.delivered, done.retried) == (1, 10)
    assert got.index("https://new.example.com/hooks") == 4


def test_more_deliveries_than_are_looked_up_at_a_time_are_all_sent(call, monkeypatch):
    monkeypatch.setattr(webhook_delivery, "PAGE", 3)
    monkeypatch.setattr(webhook_delivery, "PAGES", 4)
    for number in range(5):
        create_deliveries(call, create_endpoint(f"e{number}.example.com"), 4)
    assert deliver_due(post=Receiver()).delivered == 20


def test_an_error_that_nobody_has_foreseen_harms_only_its_own_delivery(call):
    for number in range(5):
        create_deliveries(call, create_endpoint(f"e{number}.example.com"), 1)

    async def post(url, body, headers):
        if "e2" in url:
            raise RuntimeError("can't start new thread")
        return 204

    done = deliver_due(post=post)
    assert (done.delivered, done.retried) == (4, 1)
    [failed] = WebhookDelivery.objects.filter(status="waiting")
    assert failed.attempts == 1
    assert failed.log[0]["result"] == "an internal error of the sender"


# --- A database that is slow or fails -----------------------------------------------------------------------


def failing(function, *errors):
    """``function``, which first raises these errors, one at each call, or does nothing more than usual at a None."""
    left = list(errors)

    def call(*arguments):
        if left and (error := left.pop(0)) is not None:
            raise error[0](error[1])
        return function(*arguments)

    return call


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(webhook_delivery, "RETRY", 0.01)


def create_endpoints(call, count) -> None:
    for number in range(count):
        create_deliveries(call, create_endpoint(f"e{number}.example.com"), 1)


def test_answers_are_read_while_a_query_takes_its_time(call, monkeypatch):
    answered = threading.Event()
    claims = iter(range(9))

    def slow_claim(*arguments):
        if next(claims) == 1:
            assert answered.wait(30)
        return claim_it(*arguments)

    async def post(url, body, headers):
        await asyncio.sleep(0)
        answered.set()
        return 204

    claim_it = webhook_delivery._claim
    monkeypatch.setattr(webhook_delivery, "_claim", slow_claim)
    create_endpoints(call, 3)
    assert deliver_due(post=post).delivered == 3


LOCKED = OperationalError, "database is locked"


@pytest.mark.parametrize("function", ["_store_result", "_claim", "_due"])
@pytest.mark.parametrize("errors", [[LOCKED], [None, LOCKED, LOCKED], [None, (InternalError, "read-only transaction")]])
def test_a_query_that_fails_costs_no_attempt_and_no_result(call, monkeypatch, eager, function, errors):
    monkeypatch.setattr(webhook_delivery, function, failing(getattr(webhook_delivery, function), *errors))
    create_endpoints(call, 12)
    receiver = Receiver()
    deliverer = Deliverer(receiver)
    for _ in range(3):
        with suppress(*webhook_delivery.DATABASE_FAULTS):  # raised if nothing is being sent or has to be stored
            deliverer.run()
    assert len(receiver.got) == 12
    assert set(WebhookDelivery.objects.values_list("status", "attempts")) == {("delivered", 1)}


def test_results_that_a_run_could_not_store_are_stored_by_the_next_one(call, monkeypatch, eager):
    monkeypatch.setattr(webhook_delivery, "PATIENCE", 0.0)
    create_endpoints(call, 3)
    receiver = Receiver()
    deliverer = Deliverer(receiver)
    with monkeypatch.context() as patch:
        patch.setattr(webhook_delivery, "_store_result", failing(None, *[LOCKED] * 9))
        with pytest.raises(OperationalError):
            deliverer.run()
    assert set(WebhookDelivery.objects.values_list("status", flat=True)) == {"waiting"}
    deliverer.run()
    assert len(receiver.got) == 3
    assert set(WebhookDelivery.objects.values_list("status", flat=True)) == {"delivered"}


def test_a_result_that_can_never_be_stored_holds_up_no_other_one(call, monkeypatch, caplog):
    function = failing(webhook_delivery._store_result, (ValueError, "a bug"))
    monkeypatch.setattr(webhook_delivery, "_store_result", function)
    create_endpoints(call, 3)
    deliver_due(post=Receiver())
    assert sorted(WebhookDelivery.objects.values_list("status", flat=True)) == ["delivered", "delivered", "waiting"]
    assert "it is repeated" in caplog.text


# --- Giving up, and deletion --------------------------------------------------------------------------------


def test_events_of_an_endpoint_that_is_down_for_a_day_have_failed_and_say_so(call, clock, caplog):
    endpoint = create_endpoint()
    create_deliveries(call, endpoint, BREAKS_AFTER + 40)
    deliver_due(post=refuse_connection)
    clock.shift(timedelta(hours=24, minutes=50))
    receiver = Receiver()
    assert deliver_due(post=refuse_connection).retried == BREAKS_AFTER
    clock.shift(timedelta(minutes=15))
    [new] = create_deliveries(call, endpoint, 1)
    assert deliver_due(post=receiver).delivered == len(receiver.got) == 1
    new.refresh_from_db()
    assert new.status == "delivered"
    old = WebhookDelivery.objects.filter(status="failed", due_at=None)
    untried = [delivery.log for delivery in old if delivery.attempts == 0]
    assert all(delivery.log[-1]["result"].startswith("given up") for delivery in old)
    assert len(untried) >= 40 - BREAKS_AFTER
    assert {len(log) for log in untried} == {1}
    assert f"to webhook endpoint {endpoint.pk}: too old" in caplog.text


def test_a_delivery_that_is_being_sent_is_not_given_up(call, clock):
    [delivery] = create_deliveries(call, create_endpoint(), 1)
    clock.shift(timedelta(hours=24, minutes=59, seconds=30))
    assert claim(delivery)
    clock.shift(LEASE / 2 + 1)
    assert deliver_due(post=Receiver()).delivered == 0
    assert WebhookDelivery.objects.get().status == "waiting"


def test_a_delivery_whose_results_are_never_stored_ends_too(call, clock):
    [delivery] = create_deliveries(call, create_endpoint(), 1)
    for _ in range(len(BACKOFF) + 2):  # processes that die, each while it sends
        delivery.refresh_from_db()
        assert claim(delivery)
        clock.shift(LEASE + 1)
    receiver = Receiver()
    deliver_due(post=receiver)
    assert (WebhookDelivery.objects.get().status, receiver.got) == ("failed", [])


def test_more_deliveries_than_are_looked_up_at_a_time_are_all_given_up(call, clock, monkeypatch):
    monkeypatch.setattr(webhook_delivery, "PAGES", 4)
    create_deliveries(call, create_endpoint(active=False), 10)
    clock.shift(timedelta(hours=26))
    deliver_due(post=Receiver())
    assert WebhookDelivery.objects.filter(status="failed").count() == 10


def test_an_old_delivery_that_is_repeated_by_hand_has_its_time_again(call, clock):
    [delivery] = create_deliveries(call, create_endpoint(), 1)
    clock.shift(timedelta(days=31))
    deliver_due(post=Receiver())
    redeliver(delivery.pk)
    assert delete_old_deliveries() == 0
    assert deliver_due(post=Receiver()).delivered == 1
    assert delete_old_deliveries() == 1


def test_old_deliveries_are_deleted(call):
    old, new = create_deliveries(call, create_endpoint(), 2)
    WebhookDelivery.objects.filter(pk=old.pk).update(created_at=NOON - timedelta(days=31), status="delivered")
    assert delete_old_deliveries() == 1
    assert list(WebhookDelivery.objects.all()) == [new]
