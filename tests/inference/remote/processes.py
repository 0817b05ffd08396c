"""Workers in processes of their own, for the tests of the remote engines."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real_services import Process, process, process_env

POD = {"DJANGO_SETTINGS_MODULE": "clientcaller.pod"}
"""The settings of a GPU machine."""


@contextmanager
def worker_process(
    folder: Path, redis_url: str, *arguments: str, voice: str = "scripted", **options: object
) -> Iterator[Process]:
    """``manage.py runworker`` with scripted engines; ``options`` are those of the engines."""
    engines = {"ENGINES_PROFILE": "scripted", "TTS_ENGINE": voice, "ENGINES_OPTIONS": json.dumps(options)}
    env = process_env(folder, redis_url=redis_url, **engines, **POD)
    with process(sys.executable, "manage.py", "runworker", *arguments, env=env) as worker:
        yield worker


async def wait_until_loaded(worker: Process, *aliases: str) -> None:
    """Wait in a thread, because clients in this process must receive messages while a worker starts."""
    for _ in aliases:
        await asyncio.to_thread(worker.wait_for, "loaded on cpu")
