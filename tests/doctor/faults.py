"""Faults of a deployment that tests inject, and what must be said of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dj_database_url
import pytest
from django.db import connections

from clientcaller.doctor import checks  # noqa: F401
from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.registry import Finding, Level, Result, Run, select


@dataclass
class World:
    """What a fault may change; all of it is put back after the test."""

    settings: Any
    monkeypatch: pytest.MonkeyPatch
    folder: Path
    request: pytest.FixtureRequest
    deployment: Deployment = field(default_factory=Deployment)
    line: Any = None
    """The way to the public address, where a test has one."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and the line that must say so."""

    name: str
    check: str
    level: Level
    says: str
    """Part of what was found."""
    remedy: str
    """Part of what to do."""
    inject: Callable[[World], None]


class Faults(list[Fault]):
    """A table of faults, to which functions are added by a decorator."""

    def add(self, check: str, level: str, says: str, remedy: str) -> Callable[[Callable[[World], None]], None]:
        def decorate(inject: Callable[[World], None]) -> None:
            self.append(Fault(inject.__name__.strip("_"), check, Level(level), says, remedy, inject))

        return decorate


def look(name: str, deployment: Deployment | None = None) -> Result:
    """Run one check."""
    (result,) = Run(deployment or Deployment()).run(select([name]))
    return result


def assert_found(fault: Fault, world: World) -> None:
    """Inject the fault: one line names it and says what to do, and nothing worse is said."""
    fault.inject(world)
    result = look(fault.check, world.deployment)
    found = [one for one in result.findings if one.level is fault.level]
    assert any(fault.says in one.text and fault.remedy in one.remedy for one in found), lines(result)
    assert result.level is fault.level, lines(result)
    assert all("\n" not in f"{one.text}{one.remedy}" for one in result.findings)


def lines(result: Result) -> list[Finding]:
    return [*result.findings]


def use_database(world: World, url: str) -> None:
    """Checks, which run in threads of their own, use the database at this URL."""
    parsed: dict[str, Any] = dict(dj_database_url.parse(url))
    parsed["OPTIONS"] = {**parsed.get("OPTIONS", {}), "connect_timeout": 2}
    world.monkeypatch.setattr(connections, "settings", connections.configure_settings({"default": parsed}))
