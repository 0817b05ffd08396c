"""The metrics of all packages: their names, their labels, and that the documentation has each of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

import clientcaller
import clientcaller.metrics
import media.runtime  # noqa: F401 (with it, every metric of a web process is there)
from tests.metric_values import our_metrics

ROOT = Path(__file__).parent.parent
LABELS = {
    "answer", "callback", "cause", "direction", "ended", "engine", "error", "event", "guard", "name", "outcome",
    "profile", "queue", "reason", "revision", "role", "room", "scope", "speaker", "stage", "state", "task", "use",
    "version", "le",
}  # fmt: skip
"""Every label that a metric may have. Each has few values; a number, a call or an agent is none of them."""
MOST_SERIES = 1500


def test_labels_are_known_and_their_values_are_short_words():
    odd = [
        (metric.name, label, text)
        for metric in our_metrics()
        for sample in metric.samples
        for label, text in sample.labels.items()
        if label not in LABELS
        or (label not in ("le", "version", "revision", "name") and not re.fullmatch(r"[a-z_]+(-[a-z]+)*", text))
    ]
    assert odd == []


def test_a_process_has_few_series():
    assert sum(len(metric.samples) for metric in our_metrics()) < MOST_SERIES


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)")
def test_promtool_finds_nothing_wrong_with_the_exposition():
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(REGISTRY), capture_output=True, check=False
    )
    ours = [line for line in checked.stderr.decode().splitlines() if line.startswith("clientcaller_")]
    assert (checked.returncode, ours) == (0, [])


def test_every_metric_is_on_the_page_about_watching_and_the_reverse():
    page = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(clientcaller_\w+)`", page, re.MULTILINE))
    # The counters of the registry have no suffix.
    metrics = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in our_metrics()}
    assert metrics - listed == set(), "add them to docs/watching.md"
    assert listed - metrics == set(), "they do not exist: remove them from docs/watching.md"


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == clientcaller.VERSION
