"""Orders from outside reach the calls of this process, with a doorbell, without one, and while either is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from calls.services import Order
from media import order_inbox as orders
from media.order_inbox import KEPT, LOOK_EVERY, LOOK_EVERY_BEHIND_BELL, Orders
from media.turns import events as ev
from tests.virtual_time import run

CALL, OTHER = UUID(int=1), UUID(int=2)


class Ear:
    """A session: what it is told, and when."""

    def __init__(self) -> None:
        self.told: list[ev.Event] = []
        self.times: list[float] = []

    def receive(self, event: ev.Event) -> None:
        self.told.append(event)
        self.times.append(asyncio.get_running_loop().time())


class Database:
    """Gives each order once, from the time on at which it was left; counts who asks."""

    def __init__(self) -> None:
        self.left: list[tuple[float, Order]] = []
        self.asked = 0
        self.away_until = 0.0

    def leave(self, kind: str, data: dict[str, Any], *, call_id: UUID = CALL, at: float = 0.0) -> None:
        self.left.append((at, Order(len(self.left) + 1, call_id, kind, data)))

    async def take(self) -> list[Order]:
        now = asyncio.get_running_loop().time()
        self.asked += 1
        if now < self.away_until:
            raise RuntimeError("the database is away")
        taken = [order for at, order in self.left if at <= now]
        self.left = [(at, order) for at, order in self.left if at > now]
        return taken


class Layer:
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

    def leave_off(self) -> None:
        self.away = True
        self.messages.put_nowait({})

    def _reach(self) -> None:
        if self.away:
            raise ConnectionError("Redis is away")


def watching(
    database: Database,
    sessions: dict[UUID, Ear],
    *,
    seconds: float,
    layer: Layer | None = None,
    during: Callable[[Orders], Coroutine[Any, Any, None]] | None = None,
) -> Orders:
    """Watch for so many seconds of virtual time."""

    async def work() -> Orders:
        watched = Orders(database.take, sessions)
        tasks = [asyncio.ensure_future(watched.watch())]
        if layer is not None:
            tasks.append(asyncio.ensure_future(watched.listen(layer)))
        if during is not None:
            tasks.append(asyncio.ensure_future(during(watched)))
        await asyncio.sleep(seconds)
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return watched

    return run(work())


@pytest.mark.parametrize(
    ("kind", "data", "event"),
    [
        ("say", {"text": "Your table is ready."}, ev.SayRequested("Your table is ready.")),
        ("hang-up", {"reason": "operator"}, ev.EndRequested("operator")),
        ("hang-up", {}, ev.EndRequested("operator")),
        ("transfer", {"to": "+12025550123"}, ev.TransferRequested()),
        ("voicemail", {"message": "Please call back."}, ev.VoicemailReached("Please call back.")),
        ("voicemail", {"message": ""}, ev.VoicemailReached("")),
    ],
)
def test_an_order_is_told_to_the_session_of_its_call(kind, data, event):
    database, ear, other = Database(), Ear(), Ear()
    database.leave(kind, data)
    watching(database, {OTHER: other, CALL: ear}, seconds=1.0)
    assert ear.told == [event]
    assert other.told == []


def test_orders_keep_their_order_and_come_within_a_quarter_of_a_second():
    database, ear = Database(), Ear()
    for number in range(20):
        database.leave("say", {"text": str(number)}, at=number * 0.13)
    watching(database, {CALL: ear}, seconds=4.0)
    assert [event.text for event in ear.told] == [str(number) for number in range(20)]
    assert all(0 <= time - number * 0.13 <= LOOK_EVERY + 0.001 for number, time in enumerate(ear.times))


def test_nobody_is_asked_while_there_is_no_call():
    database = Database()
    watching(database, {}, seconds=60.0)
    assert database.asked == 0


def test_all_calls_of_a_process_cost_one_query():
    database = Database()
    watching(database, {UUID(int=number): Ear() for number in range(50)}, seconds=10.01)
    assert database.asked == 40


def test_an_order_for_a_stream_that_is_about_to_open_waits_for_it():
    database, ear = Database(), Ear()
    sessions = {OTHER: Ear()}
    database.leave("voicemail", {"message": ""})

    async def open_later(watched: Orders) -> None:
        await asyncio.sleep(3.1)
        sessions[CALL] = ear
        watched.look()

    watching(database, sessions, seconds=5.0, during=open_later)
    assert ear.told == [ev.VoicemailReached("")]
    assert ear.times == [pytest.approx(3.1)]


def test_an_order_that_nobody_is_there_for_is_forgotten(caplog):
    database, ear = Database(), Ear()
    sessions = {OTHER: Ear()}
    database.leave("say", {"text": "Hello?"})

    async def open_too_late(watched: Orders) -> None:
        await asyncio.sleep(KEPT + 1.0)
        sessions[CALL] = ear

    watching(database, sessions, seconds=KEPT + 3.0, during=open_too_late)
    assert ear.told == []
    assert "nobody is there any more" in caplog.text


def test_an_order_that_makes_no_sense_costs_only_itself(caplog):
    database, ear = Database(), Ear()
    database.leave("dance", {})
    database.leave("say", {})
    database.leave("say", {"text": "Hello."})
    watching(database, {CALL: ear}, seconds=1.0)
    assert ear.told == [ev.SayRequested("Hello.")]
    assert caplog.text.count("makes no sense") == 2


def test_a_database_that_is_away_is_asked_again_and_complained_of_once(caplog):
    database, ear = Database(), Ear()
    database.away_until = 5.0
    database.leave("say", {"text": "Hello."})
    watching(database, {CALL: ear}, seconds=6.0)
    assert ear.times == [pytest.approx(5.0, abs=LOOK_EVERY)]
    assert caplog.text.count("the database is away") == 1


def test_behind_a_doorbell_the_database_is_asked_seldom():
    database = Database()
    watched = watching(database, {CALL: Ear()}, seconds=60.0, layer=Layer())
    assert database.asked <= 60.0 / LOOK_EVERY_BEHIND_BELL + 2
    assert watched.channel == "calls.this!process"


def test_the_doorbell_is_answered_at_once():
    database, ear, layer = Database(), Ear(), Layer()
    database.leave("hang-up", {"reason": "operator"}, at=7.0)

    async def ring(_: Orders) -> None:
        await asyncio.sleep(7.0)
        await layer.send("calls.this!process", {"type": "orders"})

    watching(database, {CALL: ear}, seconds=9.0, layer=layer, during=ring)
    assert ear.times == [pytest.approx(7.0, abs=0.001)]


def test_while_the_doorbell_is_out_of_order_orders_are_looked_for(caplog):
    database, ear, layer = Database(), Ear(), Layer()
    for at in (11.1, 31.1):
        database.leave("say", {"text": "Hello."}, at=at)

    async def break_and_mend(_: Orders) -> None:
        await asyncio.sleep(10.0)
        layer.leave_off()
        await asyncio.sleep(10.0)
        layer.away = False

    watching(database, {CALL: ear}, seconds=40.0, layer=layer, during=break_and_mend)
    asked_in_vain = database.asked
    assert ear.times[0] == pytest.approx(11.1, abs=LOOK_EVERY)
    # Mended, it is trusted again: the database is asked seldom.
    assert 31.1 <= ear.times[1] <= 31.1 + LOOK_EVERY_BEHIND_BELL
    assert asked_in_vain < 10.0 / LOOK_EVERY + 12
    assert caplog.text.count("out of order") == 1


def test_a_doorbell_that_never_worked_disturbs_nobody(caplog):
    database, ear, layer = Database(), Ear(), Layer()
    layer.away = True
    database.leave("say", {"text": "Hello."}, at=3.0)
    watching(database, {CALL: ear}, seconds=5.0, layer=layer)
    assert ear.times == [pytest.approx(3.0, abs=LOOK_EVERY)]
    assert caplog.text.count("out of order") == 1


def test_every_kind_of_order_has_an_event():
    from calls.models import CallOrder

    assert set(orders._EVENTS) == set(CallOrder.Kind.values)
