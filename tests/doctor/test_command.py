"""``manage.py doctor``: what it prints, its exit status, and that it never hangs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command

from clientcaller.doctor import registry
from clientcaller.doctor.checks import CHECKS
from clientcaller.doctor.deployment import Deployment, masked
from clientcaller.doctor.registry import Check, Finding, Level, NotChecked, Run, green, red, select, yellow
from clientcaller.management.commands import doctor
from tests.real_services import ROOT


def make(name: str, *findings: Finding, needs: tuple[str, ...] = (), limit: float = 5.0) -> Check:
    return Check(name, "a check of the tests", needs, limit, lambda deployment: findings)


def run(*checks: Check) -> dict[str, registry.Result]:
    return {result.name: result for result in Run(Deployment()).run(checks)}


def test_a_check_whose_premise_is_red_is_not_checked():
    results = run(make("one", red("broken", "mend it")), make("two", green("fine"), needs=("one",)))
    assert results["two"].findings == (Finding(Level.UNCHECKED, "not checked, because one is red"),)


def test_a_check_whose_premise_was_left_out_is_made():
    assert run(make("two", green("fine"), needs=("one",)))["two"].level is Level.GREEN


def test_a_check_that_hangs_is_given_up_and_the_next_one_is_made():
    never = threading.Event()

    def hang(deployment: Deployment) -> Iterator[Finding]:
        yield green("begun")
        never.wait()

    results = run(Check("one", "", (), 0.05, hang), make("two", green("fine")))
    never.set()
    assert results["one"].level is Level.RED
    assert results["one"].findings[-1].text == "not done after 0.05 s"
    assert results["two"].level is Level.GREEN


def test_a_check_that_fails_is_red_and_one_that_can_say_nothing_says_why():
    def fail(deployment: Deployment) -> Iterator[Finding]:
        raise ZeroDivisionError("by zero")

    def decline(deployment: Deployment) -> Iterator[Finding]:
        raise NotChecked("there is none")

    results = run(Check("one", "", (), 5, fail), Check("two", "", (), 5, decline))
    assert results["one"].findings[0].text == "the check failed unexpectedly: ZeroDivisionError: by zero"
    assert results["two"].findings == (Finding(Level.UNCHECKED, "not checked, because there is none"),)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    """Three checks in place of all."""
    three = [make("one", green("fine")), make("two", yellow("so", "so")), make("three", red("broken", "Mend it."))]
    found = {one.name: one for one in three}
    for module in (registry, doctor):
        monkeypatch.setattr(module, "CHECKS", found)
    return found


def test_each_finding_is_one_plain_line_and_red_ends_with_status_1(checks, capsys):
    with pytest.raises(SystemExit) as exit:
        call_command("doctor")
    assert exit.value.code == 1
    assert capsys.readouterr().out.splitlines() == [
        "green   one            fine",
        "yellow  two            so. so",
        "RED     three          broken. Mend it.",
        "",
        "1 green, 1 yellow, 1 red.",
    ]


def test_without_red_the_status_is_0(checks, capsys):
    call_command("doctor", "--skip", "three")
    call_command("doctor", "--only", "one,two")


def test_json_has_everything_for_scripts(checks, capsys):
    with pytest.raises(SystemExit):
        call_command("doctor", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["level"] == "red"
    assert report["counts"] == {"green": 1, "yellow": 1, "red": 1, "not checked": 0}
    assert [one["name"] for one in report["checks"]] == ["one", "two", "three"]
    assert report["checks"][2]["findings"] == [{"level": "red", "text": "broken", "remedy": "Mend it."}]


def test_a_check_that_does_not_exist_is_refused(checks):
    with pytest.raises(CommandError, match="there is no check four; the checks are one, two, three"):
        call_command("doctor", "--only", "four")


def test_every_check_needs_only_checks_that_run_before_it():
    names = list(CHECKS)
    for name, one in CHECKS.items():
        assert all(names.index(need) < names.index(name) for need in one.needs)
    assert [one.name for one in select(only=("redis",))] == ["redis"]


def test_a_number_is_shown_by_its_end_only():
    assert [masked(number) for number in ("+12025550142", "12", "")] == ["…142", "…", "…"]


def test_the_page_has_a_row_for_each_check():
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z][a-z-]*)` \| ", page, re.MULTILINE) == list(CHECKS)
