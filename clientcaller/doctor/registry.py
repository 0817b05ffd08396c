"""
The checks of a deployment, in the order in which they run, and how they are run.

A check is a function that yields findings. ``@check`` adds it to ``CHECKS``, behind those that are there, and
``clientcaller/doctor/checks.py`` imports the modules in their order. To add one, write one such function.

    @check("redis", about="Redis answers", needs=("settings",))
    def check_redis(deployment: Deployment) -> Iterator[Finding]:
        yield green("Redis 7.2 answers within 0.3 ms")
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from django.db import connections

from clientcaller.doctor.deployment import Deployment

logger = logging.getLogger(__name__)

LIMIT = 15.0
"""Seconds that a check may take, unless it names a limit of its own."""


class Level(StrEnum):
    """How a finding is to be taken."""

    GREEN = "green"
    """It is as it should be."""
    YELLOW = "yellow"
    """Calls work, but something is to be known or to be done."""
    RED = "red"
    """Calls do not work, or will not."""
    UNCHECKED = "not checked"
    """It was not looked at, because something that it needs is missing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report."""

    level: Level
    text: str
    """What was found. It contains no secret and no full telephone number."""
    remedy: str = ""
    """What to do; empty if there is nothing to do."""


class NotChecked(Exception):
    """A check cannot say anything; the message says why."""


def green(text: str) -> Finding:
    return Finding(Level.GREEN, text)


def yellow(text: str, remedy: str = "") -> Finding:
    return Finding(Level.YELLOW, text, remedy)


def red(text: str, remedy: str) -> Finding:
    return Finding(Level.RED, text, remedy)


def unchecked(text: str) -> Finding:
    return Finding(Level.UNCHECKED, text)


Look = Callable[[Deployment], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``needs`` names the checks without whose success this one can say nothing."""

    name: str
    about: str
    """What it looks at, in a few words, for ``--list``."""
    needs: tuple[str, ...]
    limit: float
    """Seconds after which it is given up."""
    look: Look


@dataclass(frozen=True, slots=True)
class Result:
    """What a check has found, in so many seconds."""

    name: str
    findings: tuple[Finding, ...]
    seconds: float = 0.0

    @property
    def level(self) -> Level:
        """The worst of its findings."""
        order = (Level.RED, Level.YELLOW, Level.GREEN)
        return next((level for level in order if any(one.level is level for one in self.findings)), Level.UNCHECKED)


CHECKS: dict[str, Check] = {}
"""All checks by their names, in the order in which they run."""


def check(name: str, *, about: str, needs: tuple[str, ...] = (), limit: float = LIMIT) -> Callable[[Look], Look]:
    """Decorate a function that is a check. It may also raise ``NotChecked``."""

    def add(look: Look) -> Look:
        CHECKS[name] = Check(name, about, needs, limit, look)
        return look

    return add


def select(only: Collection[str] = (), skip: Collection[str] = ()) -> list[Check]:
    """Return the checks of these names, or all, without those that are to be skipped."""
    return [one for one in CHECKS.values() if (not only or one.name in only) and one.name not in skip]


@dataclass
class Run:
    """One run of some checks."""

    deployment: Deployment
    results: dict[str, Result] = field(default_factory=dict)
    abandoned: list[str] = field(default_factory=list)
    """The checks that were given up and still run in a thread, which would keep the process from ending."""

    def run(
        self,
        checks: Sequence[Check],
        *,
        on_start: Callable[[Check], None] = lambda one: None,
        on_result: Callable[[Result], None] = lambda result: None,
    ) -> list[Result]:
        """Run the checks one after another. No failure and no delay of one keeps the others from running."""
        for one in checks:
            on_start(one)
            missing = self._missing(one)
            result = self._look(one) if missing is None else Result(one.name, (unchecked(missing),))
            self.results[one.name] = result
            on_result(result)
        return list(self.results.values())

    def _missing(self, one: Check) -> str | None:
        """Why the check can say nothing, by the checks that have run."""
        for name in one.needs:
            before = self.results.get(name)
            if before is not None and before.level in (Level.RED, Level.UNCHECKED):
                state = "is red" if before.level is Level.RED else "was not checked"
                return f"not checked, because {name} {state}"
        return None

    def _look(self, one: Check) -> Result:
        """Run one check in a thread, so that it can be given up."""
        findings: list[Finding] = []
        begun = time.monotonic()
        thread = threading.Thread(target=self._collect, args=(one, findings), name=f"check {one.name}", daemon=True)
        thread.start()
        thread.join(one.limit)
        if thread.is_alive():
            self.abandoned.append(one.name)
            remedy = "What it asks does not answer: try it alone with --only."
            findings = [*findings, red(f"not done after {one.limit:g} s", remedy)]
        return Result(one.name, tuple(findings) or (green("nothing to say"),), time.monotonic() - begun)

    def _collect(self, one: Check, findings: list[Finding]) -> None:
        try:
            for finding in one.look(self.deployment):
                findings.append(finding)
        except NotChecked as why:
            findings.append(unchecked(f"not checked, because {why}"))
        except Exception as error:
            logger.debug("The check %s failed", one.name, exc_info=True)
            text = f"the check failed unexpectedly: {type(error).__name__}: {error}"
            findings.append(red(text[:300], "Report it, with the traceback that --traceback shows."))
        finally:
            connections.close_all()
