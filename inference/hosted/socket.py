"""One WebSocket of a pool: parked, connecting, or connected."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from pathlib import Path
from traceback import extract_tb
from typing import Any, Protocol

import aiohttp

from inference.chat.refusals import is_redirect
from inference.hosted.lease import Lease, tell
from inference.hosted.plan import Frame, Plan, Received
from inference.hosted.refusals import closed, refusal, silent
from inference.types import EngineError, EngineFull, EngineTimeout

logger = logging.getLogger(__name__)

PONG = 1.0
"""Seconds that a server may take to answer a ping. A network that takes longer is of no use for a call."""
CLOSE = 0.2
"""Seconds that the server may take to close a socket. It is then cut off."""
BRIEF = 2.0
"""Seconds. A socket that the service closes sooner, and that nobody used, counts as an attempt that failed."""
BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between two attempts to connect a warm socket, by the failures before."""
LARGEST = 8 << 20
"""Bytes of the largest message that is taken: a few seconds of uncompressed audio in base64 are well below it."""


class Owner(Protocol):
    """The pool of a socket."""

    lost: int
    plan: Plan

    def opened(self, socket: Socket) -> None:
        """The socket can be used."""

    def failed_to_open(self, socket: Socket, error: EngineError) -> None:
        """The socket could not be connected, or was closed as soon as it was."""

    def is_wanted(self, url: str) -> bool:
        """Whether an attempt to connect to this address should be repeated."""

    def keep_warm(self) -> None:
        """Connect as many sockets as are wanted."""


class Socket:
    """One of the sockets: parked, connecting, or connected. Two tasks of the pool run it: one reads, one writes."""

    def __init__(self, pool: Owner, session: aiohttp.ClientSession) -> None:
        self.url = pool.plan.url
        """The address to which it is connected, or is to be connected."""
        self.leases: dict[str, Lease] = {}
        self.notes: Any = None
        self.tried = asyncio.Event()
        """Set when the first attempt to connect has ended."""
        self.spent = False
        """Nobody else may use it."""
        self.used_at = 0.0
        """When it was last in use."""
        self._pool = pool
        self._plan = pool.plan
        self._session = session
        self._wanted = asyncio.Event()
        self._hurried = asyncio.Event()
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        """While it is connected and ready."""
        self._outgoing: deque[Frame | None] = deque()
        """Frames to send; None is a ping."""
        self._has_outgoing = asyncio.Event()
        self._reading: asyncio.Timeout | None = None
        self._writing: asyncio.Timeout | None = None
        self._error: EngineError | None = None
        """Why it is left, if that was decided here."""
        self._opened_at = self._sent_at = self._heard_at = 0.0
        self._pinged_at: float | None = None
        self._closing = False
        """It was left or closed by the server, and the connection is not ended yet."""
        self._resting = False
        """It waits before its next attempt to connect."""

    @property
    def is_connected(self) -> bool:
        return self._ws is not None

    @property
    def is_connecting(self) -> bool:
        return self._wanted.is_set() and self._ws is None and not self._closing

    @property
    def is_resting(self) -> bool:
        """Whether it waits after an attempt that failed, and nobody has hurried it. Another address may have it."""
        return self._resting and self._wanted.is_set() and not self._hurried.is_set()

    @property
    def is_closing(self) -> bool:
        """Whether its connection is being ended. It can then be connected again."""
        return self._closing

    @property
    def is_parked(self) -> bool:
        return not self._wanted.is_set()

    @property
    def has_room(self) -> bool:
        return self.is_connected and not self.spent and len(self.leases) < self._plan.shares

    def connect(self, url: str) -> None:
        """Connect to this address now. Only for a socket that is parked or rests."""
        self.url = url
        self._wanted.set()
        self._hurried.set()

    def park(self) -> None:
        """Make no further attempt. Only for a socket that rests."""
        self._wanted.clear()
        self._hurried.set()

    def hurry(self) -> None:
        """Somebody waits: do not wait for the next attempt."""
        self._hurried.set()

    def add(self, lease: Lease) -> None:
        now = asyncio.get_running_loop().time()
        self.leases[lease.key] = lease
        lease.place(self)
        self.used_at = max(now, self._opened_at + 1e-6)  # it counts as used
        if now - self._heard_at > PONG:
            self.ping(now)

    def send(self, frame: Frame) -> None:
        self._outgoing.append(frame)
        self._has_outgoing.set()

    def ping(self, now: float) -> None:
        if self._pinged_at is None:
            self._pinged_at = now
            self._outgoing.append(None)
            self._has_outgoing.set()

    def leave(self, error: EngineError | None = None) -> None:
        """Close it. Its listeners lose it with this error, now."""
        if self._ws is None:
            return
        self._error, self._ws, self._closing = error, None, True
        self._lose_all(error or EngineError(f"the connection to {self._plan.provider} was closed"))
        for scope in (self._reading, self._writing):
            if scope is not None and not scope.expired():
                scope.reschedule(asyncio.get_running_loop().time())

    def postpone(self, seconds: float) -> None:
        """Wait so much longer for what is owed."""
        if self._pinged_at is not None:
            self._pinged_at += seconds
        for lease in self.leases.values():
            lease.postpone(seconds)

    def look(self, now: float) -> None:
        """Notice what is overdue, and keep the socket alive."""
        plan = self._plan
        overdue = [lease for lease in self.leases.values() if lease.is_overdue(now)]
        if self._pinged_at is not None and now - self._pinged_at > PONG:
            self.leave(silent(plan.provider, now - self._pinged_at))
        elif overdue and (plan.shares == 1 or now - self._heard_at > min(lease.patience for lease in overdue)):
            self.leave(silent(plan.provider, max(lease.patience for lease in overdue)))
        elif overdue:  # it lives, and answers others
            self.spent = True  # at the server, the room of those that it owes something may never become free
            for lease in overdue:
                del self.leases[lease.key]
                tell(lease.lose, silent(plan.provider, lease.patience))
            if not self.leases:
                self.leave()
        elif not self.leases and now - self._opened_at > plan.renew_after:
            self.leave()
        else:
            if plan.keep_alive is not None and now - self._sent_at > plan.keep_alive_every and not self._outgoing:
                self.send(plan.keep_alive)
            if now - max(self._heard_at, self._opened_at) > plan.ping_every:
                self.ping(now)

    async def run(self) -> None:
        """Connect when that is wanted, read, and begin again. Runs until it is cancelled."""
        failures = 0
        while True:
            await self._wanted.wait()
            try:
                ws = await self._connect()
            except EngineError as error:
                self.tried.set()
                failures = await self._fail(error, failures)
                continue
            self.tried.set()
            try:
                lost = await self._serve(ws)
            finally:
                self._outgoing.clear()
                self.spent, self._pinged_at = False, None
                with suppress(Exception):
                    await ws.close()
                self._closing = False
            if lost is not None and self.used_at == self._opened_at and self._age() < BRIEF:
                failures = await self._fail(lost, failures)
                continue
            failures = 0
            self._wanted.clear()
            self._pool.keep_warm()

    async def _fail(self, error: EngineError, failures: int) -> int:
        """
        Wait before the next attempt. There is none if nobody wants this address any more.

        Returns the failures in succession at the address to which it is to be connected next.
        """
        url = self.url
        self._hurried.clear()
        self._pool.failed_to_open(self, error)
        if self._pool.is_wanted(url):
            await self._rest(error, failures)
        if self.url == url and self._wanted.is_set() and not self._pool.is_wanted(url):
            self._wanted.clear()
            self._pool.keep_warm()
        return failures + 1 if self.url == url and self._wanted.is_set() else 0

    async def _rest(self, error: EngineError, failures: int) -> None:
        """Wait, but not while somebody wants a socket."""
        seconds = BACK_OFF[-1] if error.permanent else BACK_OFF[min(failures, len(BACK_OFF) - 1)]
        if isinstance(error, EngineFull):
            seconds = max(seconds, error.retry_after)
        self._resting = True
        try:
            self._pool.keep_warm()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._hurried.wait()
        finally:
            self._resting = False

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._opened_at

    async def write(self) -> None:
        """Send the frames in their order. Runs until it is cancelled."""
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            try:
                await self._write_outgoing()
            except TimeoutError:
                pass  # it was left
            except (aiohttp.ClientError, ConnectionError) as error:
                self.leave(EngineError(f"the connection to {self._plan.provider} broke: {error}"))
            except Exception as error:
                self.leave(self._mistake(error))

    async def _write_outgoing(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as self._writing:
                while self._outgoing and (ws := self._ws) is not None:
                    frame = self._outgoing.popleft()
                    if frame is not None:  # services do not count a ping as something sent
                        self._sent_at = loop.time()
                    await _send(ws, frame)
        finally:
            self._writing = None  # a scope that has ended cannot be rescheduled

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        """Return a socket that is ready. Raises ``EngineError``."""
        plan = self._plan
        try:
            async with asyncio.timeout(plan.connect_timeout):
                ws = await self._session.ws_connect(
                    self.url,
                    headers=plan.headers,
                    autoping=False,
                    max_msg_size=LARGEST,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE),
                )
                try:
                    for frame in plan.hello:
                        await _send(ws, frame)
                    await self._become_ready(ws)
                except BaseException:
                    await ws.close()
                    raise
                return ws
        except aiohttp.WSServerHandshakeError as error:
            # The body of the answer is not kept. Deepgram repeats its reason in a header.
            said = error.headers.get("dg-error", "") if error.headers else ""
            raise refusal(
                plan.provider,
                error.status,
                said,
                headers=error.headers,
                key=plan.key,
                doing="the connection",
                setting=plan.setting,
            ) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise EngineError(f"{plan.provider}: {self.url!r} is no address of a WebSocket", permanent=True) from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise EngineTimeout(
                    f"{plan.provider} did not accept a connection within {plan.connect_timeout:.1f} s"
                ) from error
            raise EngineError(f"cannot reach {plan.provider}: {error}") from error
        except ValueError as error:  # such as headers or a host that cannot be sent; not quoted, for it may be the key
            reason = f"{plan.provider}: no request can be made of the address and the key; check both"
            raise EngineError(reason, permanent=True) from error
        except EngineError:
            raise
        except Exception as error:
            raise self._mistake(error) from error

    async def _become_ready(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        while (is_ready := self._plan.is_ready) is not None:
            received = self._decode(await self._next(ws))
            if received is None:
                continue
            if error := self._failure(received.message):
                raise error
            try:
                if is_ready(received.message):
                    return
            except Exception as error:
                raise self._mistake(error) from error

    async def _serve(self, ws: aiohttp.ClientWebSocketResponse) -> EngineError | None:
        """Pass messages on until the socket is closed or left. Return why, if that was not decided here."""
        now = asyncio.get_running_loop().time()
        self._opened_at = self._sent_at = self._heard_at = self.used_at = now
        self._error = None
        self._outgoing.clear()
        try:
            self.notes, self._ws = self._plan.notes(), ws
            self._pool.opened(self)
            async with asyncio.timeout(None) as self._reading:
                while self._ws is ws:
                    frame = await self._next(ws)
                    self._heard_at, self._pinged_at = asyncio.get_running_loop().time(), None
                    self._pass_on(self._decode(frame))
            return self._error
        except TimeoutError:
            return self._error  # it was left
        except EngineError as failure:
            broken = failure
        except (aiohttp.ClientError, ConnectionError) as failure:
            broken = EngineError(f"the connection to {self._plan.provider} broke: {failure}")
        except Exception as failure:
            broken = self._mistake(failure)
        finally:
            self._reading = None
        if self._ws is ws:
            self.leave(broken)
        return broken

    async def _next(self, ws: aiohttp.ClientWebSocketResponse) -> Frame:
        """Return the next data frame. Raises ``EngineError`` when the socket is closed."""
        while True:
            message = await ws.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    return message.data  # type: ignore[no-any-return]
                case aiohttp.WSMsgType.PING:
                    await ws.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    self._pinged_at = None
                case aiohttp.WSMsgType.ERROR:
                    raise EngineError(f"the connection to {self._plan.provider} broke: {message.data}")
                case _:
                    raise closed(self._plan.provider, ws.close_code, str(message.extra or ""))

    def _decode(self, frame: Frame) -> Received | None:
        try:
            return self._plan.read(frame)
        except Exception as error:
            # A message of a kind that does not exist yet must not end a call.
            logger.debug("%s sent a message that cannot be read: %s", self._plan.provider, type(error).__name__)
            return None

    def _failure(self, message: Any) -> EngineError | None:
        """The error of a message that ends the socket; also of one about which the plan cannot say that."""
        try:
            return self._plan.failure(message)
        except Exception as error:
            return self._mistake(error)

    def _mistake(self, error: Exception) -> EngineError:
        """Log a mistake of this process. It costs the connection, but not the task that has met it."""
        name, place = type(error).__name__, extract_tb(error.__traceback__)[-1]
        # What the error says is not logged: it may hold words of a caller.
        where = f"{Path(place.filename).name}:{place.lineno}"
        logger.error("Giving up a connection to %s: %s at %s", self._plan.provider, name, where)
        return EngineError(f"the connection to {self._plan.provider} was given up: {name} at {where}")

    def _pass_on(self, received: Received | None) -> None:
        if received is None:
            return
        if error := self._failure(received.message):
            self.leave(error)
            return
        if self._plan.shares == 1 or received.key is None:
            leases = list(self.leases.values())
        else:
            leases = [lease] if (lease := self.leases.get(received.key)) is not None else []
        for lease in leases:
            tell(lease.receive, received.message)

    def _lose_all(self, error: EngineError) -> None:
        leases, self.leases = list(self.leases.values()), {}
        if leases:
            self._pool.lost += 1
            logger.info("Lost a connection to %s in use: %s", self._plan.provider, error)
        for lease in leases:
            tell(lease.lose, error)


async def refuse_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep a session from following a redirect of a handshake: the key in its headers would go to the other address."""
    response = await handler(request)
    if is_redirect(response.status):
        response.close()
        raise aiohttp.WSServerHandshakeError(
            response.request_info, response.history, status=response.status, headers=response.headers
        )
    return response


async def _send(ws: aiohttp.ClientWebSocketResponse, frame: Frame | None) -> None:
    if frame is None:
        await ws.ping()
    elif isinstance(frame, str):
        await ws.send_str(frame)
    else:
        await ws.send_bytes(frame)
