"""Checks of the processes of a deployment: the beat, the workers of Celery, free slots, and the workers on GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from calls.services.heartbeats import INTERVAL, Kind, beating, last_heartbeat
from calls.services.slots import live_calls
from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.registry import Finding, NotChecked, check, green, red, yellow
from inference.backends import make_engine
from inference.remote.placement import RemoteEngine
from inference.types import EngineError

SILENT = timedelta(seconds=4 * INTERVAL)
"""The time without a heartbeat after which a process counts as dead."""
START_ONE = "Start the worker with its beat: make worker (python -m celery -A clientcaller worker --beat)."
HEARING = 8.0
"""Seconds in which workers of an engine are heard: they announce themselves five times a second."""
LISTEN = 0.6
"""Seconds after the first worker was heard in which the others are heard too."""


@check("beat", about="the beat of Celery sends its messages", needs=("migrations",))
def check_beat(deployment: Deployment) -> Iterator[Finding]:
    last, now = last_heartbeat(Kind.BEAT), timezone.now()
    if last is None:
        yield red("no beat has ever run: nothing is dialled, delivered or tidied", START_ONE)
        return
    ago = now - last.at
    if ago > SILENT:
        yield red(f"the beat was last at work {in_words(ago)} ago, as {last.process}", START_ONE)
        return
    running = beating(Kind.BEAT, since=now - timedelta(seconds=INTERVAL))
    if running > 1:
        text = f"{running} beats run at once, so that each task is started {running} times"
        yield yellow(text, "Run one worker with --beat and the others without. It wastes work and does no harm.")
    else:
        yield green(f"at work {in_words(ago)} ago, as {last.process}")


@check("worker", about="a worker of Celery carries them out", needs=("beat",))
def check_worker(deployment: Deployment) -> Iterator[Finding]:
    last, now = last_heartbeat(Kind.WORKER), timezone.now()
    beat = last_heartbeat(Kind.BEAT)
    if last is not None and now - last.at <= SILENT:
        yield green(f"at work {in_words(now - last.at)} ago, as {last.process}")
    elif beat is not None and now - beat.started_at < SILENT:
        yield yellow("the beat has just begun, and no worker was at work since", "Ask again in a minute.")
    else:
        since = "no worker has ever run" if last is None else f"no worker was at work for {in_words(now - last.at)}"
        text = f"{since}, though the beat sends its messages: nothing is dialled or delivered"
        yield red(text, f"{START_ONE} It must have the same REDIS_URL and DATABASE_URL as the beat.")


def in_words(time: timedelta) -> str:
    seconds = max(0, round(time.total_seconds()))
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@check("slots", about="there is room for another call", needs=("migrations",))
def check_slots(deployment: Deployment) -> Iterator[Finding]:
    live, most = live_calls(), settings.MAX_LIVE_CALLS
    text = f"{max(0, most - live)} of {most} slots are free"
    if live >= most:
        yield yellow(f"{text}: callers hear that all lines are busy", "Wait, or raise MAX_LIVE_CALLS.")
    else:
        yield green(text)


# --- Engines in workers ------------------------------------------------------------------------------------


def remote_entries(engines: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The engines that run in workers, also as part of a fallback, by what they are for."""
    found = {}
    for alias, setting in engines.items():
        members = setting.get("OPTIONS", {}).get("engines")
        for entry in members if isinstance(members, (list, tuple)) else [setting]:
            if str(entry.get("BACKEND", "")).startswith("inference.engines.remote."):
                found[alias] = entry
    return found


@check("gpu-workers", about="workers serve the engines that run elsewhere", limit=60.0)
def check_gpu_workers(deployment: Deployment) -> Iterator[Finding]:
    entries = remote_entries(settings.ENGINES)
    if not entries:
        raise NotChecked(f"the profile {settings.ENGINES_PROFILE} has no engine in a worker")
    for alias, entry in entries.items():
        yield asyncio.run(_hear_workers(alias, entry))


async def _hear_workers(alias: str, entry: Mapping[str, Any]) -> Finding:
    engine = make_engine(alias, entry)
    assert isinstance(engine, RemoteEngine)
    remedy = f"Start a worker with the same REDIS_URL (manage.py runworker {alias}), and look at its log."
    try:
        async with asyncio.timeout(HEARING):
            await engine.start()
        await asyncio.sleep(LISTEN)
        news = engine.workers.all_news
        ready = [one for one in news if one.state == "ready"]
        free, slots = sum(one.free for one in ready), sum(one.slots for one in ready)
        text = f"{alias}: {len(ready)} of {len(news)} workers are ready, {free} of {slots} slots are free"
        if not ready:
            return red(text, remedy)
        if free <= 0:
            return yellow(text, "Callers hear that all lines are busy: start more workers.")
        return green(text)
    except EngineError as error:
        return red(f"{alias}: {error}", remedy)
    except TimeoutError:
        return red(f"{alias}: no worker was heard for {HEARING:g} s", remedy)
    finally:
        await engine.close()
