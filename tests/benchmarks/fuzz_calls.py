"""The calls of ``tests/benchmarks/fuzz.py``: each opens a socket, sends odd messages and leaves in an odd way."""

from __future__ import annotations

import asyncio
import base64
import random
import re
import socket
import struct
import time
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone
from twilio.request_validator import RequestValidator

from calls.models import Call, DoNotCall, Lease
from media.runtime import in_own_connection
from tests.benchmarks.fuzz_site import LOOK_INTERVAL, PATIENCE, RECORDS_PATIENCE, Fault, Site, exchange
from tests.calls.odd_requests import FORM, OddRequest, _sign
from tests.media.odd_messages import CLOSE, OddMessages, frame
from tests.media.scripted_call import voice

SOCKETS_AT_ONCE = 40
OURS = "+15005550006"
CALLER, SILENT_CALLER = "+12025550123", "+12025550124"
"""The number of those who may press keys, and of those whose sockets send only what must change nothing."""
MARK = re.compile(rb'"mark":\{"name":"([^"]+)"')
HOST = settings.PUBLIC_BASE_URL.partition("://")[2]
BUSY, ASK_AGAIN_AFTER = 503, 2.0
RESET = struct.pack("ii", 1, 0)
"""The option of a socket with which closing it resets the connection."""


class RawSocket:
    """A WebSocket whose client sends whatever bytes it likes. What comes back is read, and the marks in it are kept."""

    def __init__(self) -> None:
        self.marks: list[str] = []
        self.is_closed = False
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._reading: asyncio.Task[None] | None = None

    async def open(self, port: int, path: str, headers: dict[str, str], *, behind: bytes = b"") -> int:
        """Ask for the upgrade, with ``behind`` sent at once after it. Returns the status, 0 without an answer."""
        usual = {
            "host": HOST,
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": base64.b64encode(bytes(16)).decode(),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in {**usual, **headers}.items())
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        answer = b""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self._writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + behind)
            async with asyncio.timeout(PATIENCE):
                answer = await self._reader.readuntil(b"\r\n\r\n")
        self._reading = asyncio.ensure_future(self._read())
        found = re.match(rb"HTTP/1\.1 (\d+)", answer)
        return int(found[1]) if found else 0

    async def send(self, data: bytes) -> None:
        if not self.is_closed:
            with suppress(ConnectionError):
                self._writer.write(data)
                await self._writer.drain()

    async def leave(self, how: str) -> None:
        """Close it: ``reset``, ``half`` (end of our side only), ``close`` (a close frame), or by itself (``wait``)."""
        assert self._reading is not None
        with suppress(ConnectionError, OSError):
            if how == "reset":
                self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self._writer.transport.abort()
            elif how == "half" and not self.is_closed:
                self._writer.write_eof()
            elif how == "close":
                await self.send(frame(CLOSE, (1000).to_bytes(2)))
        try:
            await asyncio.wait_for(self._reading, PATIENCE)
        except TimeoutError:
            raise Fault(f"the server did not close a socket that was left by {how}") from None
        finally:
            self._writer.transport.abort()

    async def _read(self) -> None:
        with suppress(ConnectionError):
            while data := await self._reader.read(65_536):
                self.marks += [name.decode() for name in MARK.findall(data)][-5:]
                del self.marks[:-20]
        self.is_closed = True


class Calls:
    """Calls in and the sockets of their streams. ``forget`` deletes them again."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._sids: list[str] = []
        """The calls since the last ``forget``."""
        self._only_misplaced: set[str] = set()
        """Those of them whose sockets sent only what must change nothing."""
        self._used_path = ""
        """The path of a stream that was opened already."""
        self._sound = b""

    async def prepare(self) -> None:
        self._sound = await asyncio.to_thread(voice, "What time do you open?")

    async def hold(self, count: int) -> None:
        """Hold so many calls, a limited number of them at a time."""
        room = asyncio.Semaphore(SOCKETS_AT_ONCE)

        async def hold_one(seed: int) -> None:
            async with room:
                await self._hold_one(seed)

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(hold_one(self._random.getrandbits(64)))

    async def forget(self) -> None:
        """Wait until the streams are on record, look at the calls, and delete them."""
        await asyncio.to_thread(self._wait_for_records)
        await sync_to_async(self._check_and_delete)()
        self._sids.clear()
        self._only_misplaced.clear()

    def _wait_for_records(self) -> None:
        for _ in range(round(RECORDS_PATIENCE / LOOK_INTERVAL)):
            if not in_own_connection(self._open_calls):
                return
            time.sleep(LOOK_INTERVAL)
        raise Fault("streams whose sockets are closed are still open in the records")

    def _open_calls(self) -> int:
        calls = Call.objects.filter(sid__in=self._sids)
        ended = calls.filter(events__kind="stream-ended").distinct().count()
        return calls.filter(streams__gt=0).count() - ended + Lease.objects.filter(call__in=calls).count()

    def _check_and_delete(self) -> None:
        for call in Call.objects.filter(sid__in=self._sids).prefetch_related("turns"):
            if call.streams != 1 or call.direction != "inbound" or call.to_number != OURS:
                raise Fault(f"a socket changed what its call is: {vars(call)}")
            said = [turn.heard for turn in call.turns.all() if turn.speaker == "caller"]
            if call.sid in self._only_misplaced and (said or call.end_reason == "caller-hung-up"):
                raise Fault(f"malformed and misplaced messages had an effect: {call.end_reason}, {said}")
        # Who pressed the key for it has opted out. The others did not.
        DoNotCall.objects.filter(number=CALLER).delete()
        Call.objects.filter(sid__in=self._sids).delete()

    # -- one call -----------------------------------------------------------------------------------

    async def _hold_one(self, seed: int) -> None:
        chance = random.Random(seed)
        sid = f"CA{seed:032x}"
        self._sids.append(sid)
        messages = OddMessages(seed, call_sid=sid, account_sid=settings.TWILIO_ACCOUNT_SID, sound=self._sound)
        kind = chance.choice(("odd", "odd", "misplaced", "misplaced", "fatal", "another start"))
        if kind == "misplaced":
            self._only_misplaced.add(sid)
        opened = await self._open_at_once(await self._ring(sid), chance)
        how = chance.choice(("reset", "half", "close", "wait"))
        await opened.send(messages.start_of_another() if kind == "another start" else messages.opening())
        self._site.sent["opening"] += 2
        for _ in range(chance.randint(1, 12)):
            await self._send_some(opened, messages, kind, chance)
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.1, 0.3)))
        if kind == "fatal":
            await opened.send(messages.fatal())
            self._site.sent["fatal"] += 1
        elif how == "wait":
            self._only_misplaced.discard(sid)
            await opened.send(messages.stop())
            self._site.sent["stop"] += 1
        await opened.leave("half" if kind == "fatal" and how == "wait" else how)
        await self._end(sid)

    async def _send_some(self, opened: RawSocket, messages: OddMessages, kind: str, chance: random.Random) -> None:
        """Send a burst of messages, of which most are genuine or allowed, so that the server keeps the socket open."""
        messages.marks = opened.marks
        burst = []
        for _ in range(chance.randint(1, 120)):
            draw = chance.random()
            if kind == "misplaced":
                name = "misplaced" if draw < 0.25 else "silence"
            else:
                name = "misplaced" if draw < 0.02 else "odd" if draw < 0.3 else "genuine"
            self._site.sent[name] += 1
            burst.append(getattr(messages, name)())
        await opened.send(b"".join(burst))

    async def _open_at_once(self, path: str, chance: random.Random) -> RawSocket:
        """Open the stream, at times with several sockets at once, of which one is let in. Returns that one."""
        sockets = [RawSocket() for _ in range(chance.choice((1, 1, 1, 3)))]
        headers = {"x-twilio-signature": sign_socket(path)}
        statuses = await asyncio.gather(*(each.open(self._site.port, path, headers) for each in sockets))
        for status in statuses:
            self._site.note("socket", status)
        if statuses.count(101) != 1 or {*statuses} > {101, 403}:
            raise Fault(f"of {len(sockets)} sockets with one token, these answers came: {statuses}")
        for status, each in zip(statuses, sockets, strict=True):
            if status != 101:
                await each.leave("reset")
        self._used_path = path
        return sockets[statuses.index(101)]

    async def _ring(self, sid: str) -> str:
        """Have a call come in, and return the path of its stream."""
        caller = SILENT_CALLER if sid in self._only_misplaced else CALLER
        form = {"CallSid": sid, "From": caller, "To": OURS, "CallStatus": "ringing", "Direction": "inbound"}
        status, answer = await self._callback("/twilio/voice/", form)
        found = re.search(rb'<Stream url="wss://[^/]+(/[^"]+)"', answer)
        if status != 200 or found is None:
            raise Fault(f"a call that came in was answered {status}: {answer!r}")
        return found[1].decode()

    async def _end(self, sid: str) -> None:
        form = {"CallSid": sid, "CallStatus": "completed", "SequenceNumber": "3", "CallDuration": "1"}
        status, _ = await self._callback("/twilio/status/", form)
        if status != 204:
            raise Fault(f"the end of a call was answered {status}")

    async def _callback(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        body = urlencode({**form, "AccountSid": settings.TWILIO_ACCOUNT_SID}).encode()
        headers = {
            "host": HOST,
            "content-type": FORM,
            "content-length": str(len(body)),
            "x-twilio-signature": _sign(path, body),
        }
        raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
        status, answer = await exchange(self._site.port, OddRequest("POST", path, raw, (body,)))
        if status == BUSY:  # as Twilio does, where the machine is too slow for so many calls at once
            self._site.note("asked again", status)
            await asyncio.sleep(ASK_AGAIN_AFTER)
            status, answer = await exchange(self._site.port, OddRequest("POST", path, raw, (body,)))
        return status, answer

    # -- sockets that are not let in ----------------------------------------------------------------

    async def send_unsigned(self, count: int) -> None:
        """Ask for so many sockets that must be refused, and send messages all the same."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._send_unsigned(self._random.getrandbits(64)))

    async def _send_unsigned(self, seed: int) -> None:
        chance = random.Random(seed)
        unknown = f"/twilio/media/{'A' * 32}"
        path = chance.choice(
            (unknown, unknown, self._used_path or unknown, "/twilio/media/", "/ws", "/", f"/{'x' * 9000}")
        )
        genuine = sign_socket(path)
        signature = chance.choice(
            (None, "", "=", "\xff\xfe", genuine, genuine, genuine[:-2], "A" * 9000, sign_socket("/"))
        )
        headers = {} if signature is None else {"x-twilio-signature": signature}
        odd = {
            "sec-websocket-version": "12",
            "sec-websocket-key": "short",
            "sec-websocket-protocol": "a, b",
            "sec-websocket-extensions": "permessage-deflate; x=\x01",
            "origin": "null",
            "content-length": "-1",
        }
        if chance.random() < 0.3:
            name = chance.choice([*odd])
            headers[name] = odd[name]
        messages = OddMessages(seed, call_sid="CA1", account_sid=settings.TWILIO_ACCOUNT_SID, sound=self._sound)
        behind = [messages.opening(), *(messages.genuine() for _ in range(20)), messages.stop()]
        opened = RawSocket()
        status = await opened.open(self._site.port, path, headers, behind=b"".join(behind))
        self._site.sent["refused"] += len(behind)
        self._site.note("refused socket", status or "closed")
        if status in (101, 500):
            raise Fault(f"a socket that may not be let in was answered {status}: {path:.80} {headers}")
        await opened.leave("reset")


def keep_leases() -> None:
    """Let the calls that the callbacks were about keep their slots, or the next calls would take them over."""
    Lease.objects.update(expires_at=timezone.now() + timedelta(minutes=10))


def sign_socket(path: str) -> str:
    """Twilio's signature of a request for a media socket."""
    return RequestValidator(settings.TWILIO_AUTH_TOKEN).compute_signature(f"wss://{HOST}{path}", {})
