"""The check of the engines: each makes one utterance, as ``manage.py engines`` does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from django.conf import settings

from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.registry import Finding, check, green, red, yellow
from inference.checking import Report
from inference.checking import check as try_engines

ALIASES = ("tts", "stt", "turn", "llm")
WHAT = {"tts": "first sound", "stt": "words", "llm": "first words", "turn": "score"}
SLOW = {"tts": 1.0, "stt": 1.5, "llm": 1.5, "turn": 0.2}
"""Seconds after which a first output is so late that callers notice: together they are the pause before a reply."""


@check("engines", about="each engine makes one utterance, in good time", limit=240.0)
def check_engines(deployment: Deployment) -> Iterator[Finding]:
    aliases = [alias for alias in ALIASES if settings.ENGINES.get(alias)]
    for report in asyncio.run(try_engines(settings.ENGINES, aliases, on_step=lambda step: None)):
        yield from _judge(report)


def _judge(report: Report) -> Iterator[Finding]:
    alias, trial = report.alias, report.trial
    name = report.backend.rpartition(".")[2]
    if report.error or trial is None:
        error = " ".join(report.error.split())[:300]
        yield red(f"{alias}: {error}", f"manage.py engines {alias} tries it alone; docs/engines.md says what it needs.")
        return
    text = f"{alias}: {WHAT[alias]} after {trial.first:.2f} s ({name})"
    if trial.first > SLOW[alias]:
        yield yellow(text, f"manage.py engines {alias} --bench measures it; docs/engines.md has faster ones.")
    else:
        yield green(text)
    for health in report.health:
        if health.failed or health.timed_out:
            how = "failed" if health.failed else "did not answer in time"
            text = f"{health.name} of the fallback {how}" + (f": {health.last_error}" if health.last_error else "")
            yield yellow(text, f"Calls use the next engine: manage.py engines {alias} --each shows what is wrong.")
