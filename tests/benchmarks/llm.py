"""
Measures what the client of a model server adds to a reply, beside the usual client package, in one run.

    python -m tests.benchmarks.llm
    python -m tests.benchmarks.llm --requests 1000 --tokens 160

The server answers at once. It is a process of its own, so that the processor time is that of the client. Both clients
keep their connection, send the same conversation and read the same reply, in turn. `openai` comes with
requirements/dev.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import uvloop
from aiohttp import web
from rich.console import Console
from rich.table import Table

from inference.chat.options import ModelServerOptions
from inference.engines.openai_compatible import OpenAICompatibleLanguageModel
from inference.types import Message
from tests.inference.model_server import DONE, event

MESSAGES = [
    Message("system", "You answer the telephone of a small hotel. " * 60),
    *(Message(role, "A sentence of the usual length, said on the telephone.") for role in ("user", "assistant") * 10),
    Message("user", "What time do you open?"),
]
WARM_UP = 20
"""Requests that are not measured: they open connections and fill caches."""
Ask = Callable[[], AsyncIterator[str]]
Client = tuple[Ask, Callable[[], Awaitable[None]]]
"""Functions that request a reply and that close the client."""


@dataclass
class Figures:
    first: list[float] = field(default_factory=list)
    """Seconds from each request to its first token."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of processor time of each request."""

    def percentile(self, share: float) -> float:
        return sorted(self.first)[min(len(self.first) - 1, int(share * len(self.first)))]


async def serve(tokens: int) -> None:
    """Answer every request with this many tokens, each in an event, and print the port."""
    reply = [event("", role="assistant"), *(event(" word") for _ in range(tokens)), event(finish_reason="stop"), DONE]

    async def complete(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for data in reply:
            await response.write(data)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps(runner.addresses[0][1]), flush=True)
    await asyncio.Event().wait()


async def connect_this_one(base_url: str) -> Client:
    engine = OpenAICompatibleLanguageModel(ModelServerOptions(base_url=base_url, model="m", end_call_marker=""))

    async def ask() -> AsyncIterator[str]:
        async with aclosing(engine.stream(MESSAGES)) as deltas:
            async for delta in deltas:
                yield delta.text

    return ask, engine.close


async def connect_openai(base_url: str) -> Client:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=base_url, api_key="none")
    messages = [{"role": message.role, "content": message.content} for message in MESSAGES]

    async def ask() -> AsyncIterator[str]:
        stream = await client.chat.completions.create(
            model="m", messages=messages, stream=True, temperature=0.7, max_tokens=160
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return ask, client.close


async def measure(ask: Ask, figures: Figures, tokens: int) -> None:
    began, busy, read = time.perf_counter(), time.process_time(), 0
    first = 0.0
    async for _ in ask():
        first = first or time.perf_counter() - began
        read += 1
    assert read == tokens, f"{read} of {tokens} tokens came"
    figures.first.append(first)
    figures.cpu.append(time.process_time() - busy)


async def compare(base_url: str, requests: int, tokens: int) -> dict[str, Figures]:
    clients = {"this one": await connect_this_one(base_url), "openai": await connect_openai(base_url)}
    figures = {name: Figures() for name in clients}
    for number in range(WARM_UP + requests):
        for name, (ask, _) in clients.items():
            await measure(ask, figures[name] if number >= WARM_UP else Figures(), tokens)
    for _, close in clients.values():
        await close()
    return figures


def show(figures: dict[str, Figures], tokens: int) -> None:
    table = Table(title=f"Against a server that answers at once with {tokens} tokens")
    for title in ("", "first token p50", "p95", "processor time per reply", "per token"):
        table.add_column(title, justify="right")
    cpu = {name: statistics.fmean(each.cpu) for name, each in figures.items()}
    for name, each in figures.items():
        table.add_row(
            name,
            *(f"{each.percentile(share) * 1e3:.2f} ms" for share in (0.5, 0.95)),
            f"{cpu[name] * 1e3:.2f} ms",
            f"{cpu[name] / tokens * 1e6:.0f} us",
        )
    ratios = (figures["openai"].percentile(share) / figures["this one"].percentile(share) for share in (0.5, 0.95))
    table.add_row(
        "openai / this one", *(f"{ratio:.1f} x" for ratio in ratios), *[f"{cpu['openai'] / cpu['this one']:.1f} x"] * 2
    )
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help="measured requests of each client")
    parser.add_argument("--tokens", type=int, default=40, help="tokens of each reply")
    parser.add_argument("--serve", action="store_true", help="run the server only")
    options = parser.parse_args()
    if options.serve:
        return uvloop.run(serve(options.tokens))
    command = [sys.executable, "-m", "tests.benchmarks.llm", "--serve", "--tokens", str(options.tokens)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            base_url = f"http://127.0.0.1:{json.loads(server.stdout.readline())}/v1"
            show(uvloop.run(compare(base_url, options.requests, options.tokens)), options.tokens)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
