"""Orders reach the calls of this process: with notifications, without, and while the database or Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from calls.services import Order
from media import order_inbox
from media.order_inbox import KEEP_SECONDS, NOTIFIED_POLL_INTERVAL, POLL_INTERVAL, OrderInbox
from media.turns import events as ev
from tests.virtual_time import run

CALL, OTHER = UUID(int=1), UUID(int=2)


class RecordedSession:
    """Keeps the events that it receives, and when."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self.times: list[float] = []

    def receive(self, event: ev.Event) -> None:
        self.events.append(event)
        self.times.append(asyncio.get_running_loop().time())


class Database:
    """Hands out each order once, from its time on, and counts how often it is asked."""

    def __init__(self) -> None:
        self.orders: list[tuple[float, Order]] = []
        self.asked = 0
        self.away_until = 0.0

    def add(self, kind: str, data: dict[str, Any], *, call_id: UUID = CALL, at: float = 0.0) -> None:
        self.orders.append((at, Order(len(self.orders) + 1, call_id, kind, data)))

    async def take(self) -> list[Order]:
        now = asyncio.get_running_loop().time()
        self.asked += 1
        if now < self.away_until:
            raise RuntimeError("the database is away")
        taken = [order for at, order in self.orders if at <= now]
        self.orders = [(at, order) for at, order in self.orders if at > now]
        return taken


class FakeChannelLayer:
    """A channel layer that may be away."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.away = False
        self.made = 0

    async def new_channel(self, prefix: str) -> str:
        self.made += 1
        return f"{prefix}.this!process"

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        assert channel == "calls.this!process"
        self._reach()
        self.messages.put_nowait(message)

    async def receive(self, channel: str) -> Any:
        message = await self.messages.get()
        self._reach()
        return message

    def fail(self) -> None:
        self.away = True
        self.messages.put_nowait({})

    def _reach(self) -> None:
        if self.away:
            raise ConnectionError("Redis is away")


def run_inbox(
    database: Database,
    sessions: dict[UUID, RecordedSession],
    *,
    seconds: float,
    layer: FakeChannelLayer | None = None,
    during: Callable[[OrderInbox], Coroutine[Any, Any, None]] | None = None,
) -> OrderInbox:
    """Run an inbox for so many seconds of virtual time, with notifications if there is a ``layer``."""

    async def work() -> OrderInbox:
        inbox = OrderInbox(database.take, sessions)
        tasks = [asyncio.ensure_future(inbox.poll())]
        if layer is not None:
            tasks.append(asyncio.ensure_future(inbox.listen(layer)))
        if during is not None:
            tasks.append(asyncio.ensure_future(during(inbox)))
        await asyncio.sleep(seconds)
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return inbox

    return run(work())


@pytest.mark.parametrize(
    ("kind", "data", "event"),
    [
        ("say", {"text": "Your table is ready."}, ev.SayRequested("Your table is ready.")),
        ("hang-up", {"reason": "operator"}, ev.EndRequested("operator")),
        ("hang-up", {}, ev.EndRequested("operator")),
        ("transfer", {"to": "+12025550123"}, ev.TransferRequested()),
        ("voicemail", {"message": "Please call back."}, ev.VoicemailReached("Please call back.")),
        ("voicemail", {"message": "Call back, Ann [TRANSFER sales]."}, ev.VoicemailReached("Call back, Ann .")),
        ("voicemail", {"message": ""}, ev.VoicemailReached("")),
    ],
)
def test_an_order_reaches_the_session_of_its_call_only(kind, data, event):
    database, session, other = Database(), RecordedSession(), RecordedSession()
    database.add(kind, data)
    run_inbox(database, {OTHER: other, CALL: session}, seconds=1.0)
    assert session.events == [event]
    assert other.events == []


def test_orders_arrive_in_their_order_within_a_quarter_of_a_second():
    database, session = Database(), RecordedSession()
    for number in range(20):
        database.add("say", {"text": str(number)}, at=number * 0.13)
    run_inbox(database, {CALL: session}, seconds=4.0)
    assert [event.text for event in session.events] == [str(number) for number in range(20)]
    assert all(0 <= time - number * 0.13 <= POLL_INTERVAL + 0.001 for number, time in enumerate(session.times))


def test_the_database_is_not_polled_while_there_is_no_call():
    database = Database()
    run_inbox(database, {}, seconds=60.0)
    assert database.asked == 0


def test_all_calls_of_a_process_cost_one_query():
    database = Database()
    run_inbox(database, {UUID(int=number): RecordedSession() for number in range(50)}, seconds=10.01)
    assert database.asked == 40


def test_an_order_for_a_stream_that_is_about_to_open_waits_for_it():
    database, session = Database(), RecordedSession()
    sessions = {OTHER: RecordedSession()}
    database.add("voicemail", {"message": ""})

    async def open_later(inbox: OrderInbox) -> None:
        await asyncio.sleep(3.1)
        sessions[CALL] = session
        inbox.check()

    run_inbox(database, sessions, seconds=5.0, during=open_later)
    assert session.events == [ev.VoicemailReached("")]
    assert session.times == [pytest.approx(3.1)]


def test_an_order_without_a_session_is_dropped_after_a_while(caplog):
    database, session = Database(), RecordedSession()
    sessions = {OTHER: RecordedSession()}
    database.add("say", {"text": "Hello?"})

    async def open_too_late(inbox: OrderInbox) -> None:
        await asyncio.sleep(KEEP_SECONDS + 1.0)
        sessions[CALL] = session

    run_inbox(database, sessions, seconds=KEEP_SECONDS + 3.0, during=open_too_late)
    assert session.events == []
    assert "has no session here" in caplog.text


def test_an_invalid_order_is_dropped_and_the_next_one_arrives(caplog):
    database, session = Database(), RecordedSession()
    database.add("dance", {})
    database.add("say", {})
    database.add("say", {"text": "Hello."})
    run_inbox(database, {CALL: session}, seconds=1.0)
    assert session.events == [ev.SayRequested("Hello.")]
    assert caplog.text.count("it is invalid") == 2


def test_a_database_that_is_away_is_polled_again_and_logged_once(caplog):
    database, session = Database(), RecordedSession()
    database.away_until = 5.0
    database.add("say", {"text": "Hello."})
    run_inbox(database, {CALL: session}, seconds=6.0)
    assert session.times == [pytest.approx(5.0, abs=POLL_INTERVAL)]
    assert caplog.text.count("the database is away") == 1


def test_with_notifications_the_database_is_polled_seldom():
    database = Database()
    inbox = run_inbox(database, {CALL: RecordedSession()}, seconds=60.0, layer=FakeChannelLayer())
    assert database.asked <= 60.0 / NOTIFIED_POLL_INTERVAL + 2
    assert inbox.channel == "calls.this!process"


def test_a_notified_order_arrives_at_once():
    database, session, layer = Database(), RecordedSession(), FakeChannelLayer()
    database.add("hang-up", {"reason": "operator"}, at=7.0)

    async def notify(_: OrderInbox) -> None:
        await asyncio.sleep(7.0)
        await layer.send("calls.this!process", {"type": "orders"})

    run_inbox(database, {CALL: session}, seconds=9.0, layer=layer, during=notify)
    assert session.times == [pytest.approx(7.0, abs=0.001)]


def test_while_notifications_are_unavailable_the_database_is_polled_often(caplog):
    database, session, layer = Database(), RecordedSession(), FakeChannelLayer()
    for at in (11.1, 31.1):
        database.add("say", {"text": "Hello."}, at=at)

    async def fail_and_recover(_: OrderInbox) -> None:
        await asyncio.sleep(10.0)
        layer.fail()
        await asyncio.sleep(10.0)
        layer.away = False

    run_inbox(database, {CALL: session}, seconds=40.0, layer=layer, during=fail_and_recover)
    polls = database.asked
    assert session.times[0] == pytest.approx(11.1, abs=POLL_INTERVAL)
    # Notifications arrive again, so the database is polled seldom.
    assert 31.1 <= session.times[1] <= 31.1 + NOTIFIED_POLL_INTERVAL
    assert polls < 10.0 / POLL_INTERVAL + 12
    assert caplog.text.count("are unavailable") == 1


def test_orders_arrive_although_notifications_never_worked(caplog):
    database, session, layer = Database(), RecordedSession(), FakeChannelLayer()
    layer.away = True
    database.add("say", {"text": "Hello."}, at=3.0)
    run_inbox(database, {CALL: session}, seconds=5.0, layer=layer)
    assert session.times == [pytest.approx(3.0, abs=POLL_INTERVAL)]
    assert caplog.text.count("are unavailable") == 1


def test_every_kind_of_order_has_an_event():
    from calls.models import CallOrder

    assert set(order_inbox._EVENTS) == set(CallOrder.Kind.values)
