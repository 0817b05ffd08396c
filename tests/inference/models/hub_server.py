"""A hub on this machine: redirects, ranges, published digests, and faults on demand."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from inference.models.catalogue import Model, ModelFile
from inference.models.hub import Hub
from inference.models.store import Store

COMMIT = "c0ffee" * 6 + "c0ff"
WEIGHTS = bytes(range(256)) * 8000  # 2 MB: more than one block
CONFIG = b'{"layers": 4}\n'
Fault = Callable[[web.Request, "HubServer"], "web.StreamResponse | None"]


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Log:
    """A progress that remembers."""

    begun: list[tuple[str, int, int | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def begin(self, name: str, done: int, size: int | None) -> None:
        self.begun.append((name, done, size))

    def advance(self, done: int) -> None: ...

    def note(self, message: str) -> None:
        self.notes.append(message)

    def end(self) -> None: ...


@dataclass
class HubServer:
    """
    ``store_redirects``: large files are sent by another host, as Hugging Face does. ``faults`` are used up one for each
    request to the host that sends the bytes; ``hub_faults`` for each to the hub itself. None is no fault. A mirror may
    be a plain web server and no hub (``is_hub``), and have a ``tag`` of its own for the bytes of a file. With
    ``heeds_tags`` it sends a part only of the file that has the tag that was asked for.
    """

    files: dict[str, bytes] = field(default_factory=lambda: {"model.bin": WEIGHTS, "config.json": CONFIG})
    store_redirects: bool = True
    ranges: bool = True
    publishes: bool = True
    prefix: str = ""
    etag: str = '"v1"'
    is_hub: bool = True
    tag: Callable[[bytes], str] | None = None
    heeds_tags: bool = True
    redirects: dict[str, str] = field(default_factory=dict)
    faults: list[str | None] = field(default_factory=list)
    hub_faults: list[str | None] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    hub: str = ""
    cdn: str = ""
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """``/owner/name/resolve/REVISION/PATH``"""
        self.requests.append(("hub", request.path, dict(request.headers)))
        if response := await self._fault(self.hub_faults, request):
            return response
        path = request.path.partition("/resolve/")[2].partition("/")[2]
        if path not in self.files:
            return web.Response(status=404)
        data = self.files[path]
        large = path.endswith(".bin")
        headers = {"X-Repo-Commit": COMMIT} if self.is_hub else {}
        if self.publishes:
            digest = hashlib.sha256(data).hexdigest() if large else git_sha1(data)
            headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        if large and self.store_redirects:
            return web.Response(
                status=302, headers={**headers, "Location": self.redirects.get(path, f"{self.cdn}/{path}?signed=1")}
            )
        return await self._send(request, data, headers)

    async def send(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(("cdn", request.path, dict(request.headers)))
        return await self._send(request, self.files[request.path[1:]], {})

    async def _send(self, request: web.Request, data: bytes, headers: dict[str, str]) -> web.StreamResponse:
        fault = self.faults.pop(0) if self.faults else None
        if fault and (response := await self._fault([fault], request)):
            return response
        etag = f'"{self.tag(data)}"' if self.tag else self.etag
        headers = {"ETag": etag, **headers}
        offset, status, size = 0, 200, len(data)
        asked = request.headers.get("Range")
        if asked and self.ranges and (not self.heeds_tags or request.headers.get("If-Range", etag) == etag):
            offset, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            if offset >= size:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {offset}-{size - 1}/{size}"
        if fault == "compressed":
            headers["Content-Encoding"] = "gzip"
        if fault != "endless":
            headers["Content-Length"] = str(size - offset)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        body = data[offset:]
        if fault == "damaged":
            body = bytes(len(body))
        if fault == "endless":
            body += b"more"
        if fault in ("truncated", "stalled"):
            body = body[: len(body) // 2]
        await response.write(body)
        if fault == "stalled":
            await self.released.wait()
        if fault in ("truncated", "stalled") and request.transport is not None:
            request.transport.close()
        return response

    async def _fault(self, faults: list[str | None], request: web.Request) -> web.StreamResponse | None:
        fault = faults.pop(0) if faults else None
        if fault is None or not fault.split()[0].isdecimal():
            return None
        status, _, retry_after = fault.partition(" ")
        return web.Response(status=int(status), headers={"Retry-After": retry_after} if retry_after else {})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HubServer]:
        cdn, hub = web.Application(), web.Application()
        cdn.router.add_get("/{path:.*}", self.send)
        hub.router.add_get(self.prefix + "/owner/name/resolve/{path:.*}", self.answer)
        async with TestServer(cdn) as cdn_server, TestServer(hub) as hub_server:
            self.cdn = str(cdn_server.make_url("")).rstrip("/")
            self.hub = str(hub_server.make_url(self.prefix)).rstrip("/")
            try:
                yield self
            finally:
                self.released.set()

    def ranges_asked(self) -> list[str]:
        return [headers.get("Range", "") for _, path, headers in self.requests if path.endswith("model.bin")]


def model(*, sha256: str | None = None, size: int | None = None, revision: str = "main") -> Model:
    """A model of two files at the hub of this machine."""
    return Model(
        name="toy",
        purpose="stt",
        about="a toy",
        licence="none",
        memory_bytes=0,
        repository="owner/name",
        revision=revision,
        files=(
            ModelFile("model.bin", "model.bin", size, sha256),
            ModelFile("config.json", "config.json"),
        ),
    )


def store(folder: Path, server: HubServer, *, token: str = "", stall: float = 30.0, free: int = 10**12) -> Store:
    log = Log()
    return Store(folder, Hub(server.hub, token, stall), log, log.waits.append, lambda _: free)


def log_of(store: Store) -> Log:
    assert isinstance(store.progress, Log)
    return store.progress
