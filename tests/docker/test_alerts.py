"""The alert rules fire when they should and do not otherwise, by Prometheus's own tool, and each says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.metric_values import our_metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "docker" / "prometheus"
RULES = PROMETHEUS / "alerts.yml"
SERIES = Path(__file__).parent / "alerts"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
CASES = {name: yaml.safe_load((SERIES / f"{name}.yml").read_text(encoding="utf-8")) for name in ("fire", "quiet")}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)"
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, cwd=PROMETHEUS)


def sample(firing: str) -> dict[str, object]:
    """The series of an alert that is written as its name and its labels: ``NoWorker engine=tts instance=a``."""
    name, *labels = firing.split()
    pairs = {"alertname": name, "alertstate": "firing", "severity": ALERTS[name]["labels"]["severity"]}
    pairs |= dict(label.split("=") for label in labels)
    return {"labels": f"ALERTS{{{', '.join(f'{key}={text!r}' for key, text in sorted(pairs.items()))}}}", "value": 1}


def promtool_test(case: dict) -> dict[str, object]:
    """A case in the format of promtool. Without a heartbeat an alert would fire of which no other case tells."""
    expected = [
        {"expr": 'ALERTS{alertstate="firing"}', "eval_time": time, "exp_samples": [sample(one) for one in firing]}
        for time, firing in case["firing"].items()
    ]
    series = [{"series": name, "values": str(values)} for name, values in case["series"].items()]
    if not any("heartbeat" in name for name in case["series"]) and not case.get("is_alone"):
        beats = 'clientcaller_heartbeat_timestamp_seconds{instance="c", role="%s"}'
        series += [{"series": beats % role, "values": "0+15x800"} for role in ("beat", "worker")]
    return {"name": case["name"], "interval": "15s", "input_series": series, "promql_expr_test": expected}


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_alerts_fire_at_the_recorded_series_and_only_at_those(name, tmp_path):
    file = tmp_path / "test.yml"
    tests = [promtool_test(case) for case in CASES[name]]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(("what", "file"), [("rules", "alerts.yml"), ("config", "prometheus.yml")])
def test_promtool_takes_the_files(what, file):
    done = promtool("check", what, file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_a_case():
    fired = {one.split()[0] for case in CASES["fire"] for firing in case["firing"].values() for one in firing}
    assert set(ALERTS) - fired == set()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook_url"} == set(rule["annotations"])


@needs_promtool
@pytest.mark.parametrize(
    ("labels", "link"),
    [
        ({}, "docs/alerts.md#"),
        ({"docs": "https://git.example.com/a/docs"}, "https://git.example.com/a/docs/alerts.md#"),
    ],
    ids=["path", "link"],
)
def test_an_alert_leads_to_its_section_at_the_address_that_is_set(labels, link, tmp_path):
    """Each rule fires at once here, with its link as it is."""
    rules, expected = [], []
    for name, rule in ALERTS.items():
        annotations = {"runbook_url": rule["annotations"]["runbook_url"]}
        rules.append({"alert": name, "expr": "vector(1)", "annotations": annotations})
        alert = {"exp_annotations": {"runbook_url": f"{link}{name.lower()}"}}
        expected.append({"eval_time": "1m", "alertname": name, "exp_alerts": [alert]})
    test = {"interval": "15s", "input_series": [], "alert_rule_test": expected, "external_labels": labels}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_section_that_says_what_to_do_and_the_reverse():
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (\w+)\n\n(.+?)(?=\n#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert sorted(name for name, _ in sections) == sorted(ALERTS)
    assert [name for name, text in sections if "**Do**" not in text] == []


def test_the_rules_ask_only_for_metrics_that_exist():
    asked = {metric for rule in ALERTS.values() for metric in re.findall(r"\b(clientcaller_\w+)", str(rule["expr"]))}
    exist = {sample.name for metric in our_metrics() for sample in metric.samples}
    exist |= {f"{metric.name}{end}" for metric in our_metrics() for end in ("", "_total", "_bucket", "_count")}
    assert asked - exist == set()
