"""What ``make audit`` makes of the reports of its tools."""

import json
from pathlib import Path

from tests.audit import PAGE, answers_in, judge_packages, outdated, unanswered

FOUND = [("B101", "a.py"), ("B101", "b.py"), ("B310", "a.py")]


def packages(*checked: dict) -> tuple[bool, str]:
    return judge_packages(f"a warning\n{json.dumps({'dependencies': checked})}", Path("here"))


def test_a_finding_is_answered_for_its_file_or_everywhere():
    page = "| B101 | everywhere | Asserts. |\n| B310 | `a.py` | Ours. |\n| B314 | `a.py` | |\n"
    assert answers_in(page) == {("B101", "everywhere"), ("B310", "a.py")}
    assert unanswered(FOUND, answers_in(page)) == []
    assert unanswered([*FOUND, ("B310", "b.py")], answers_in(page)) == [("B310", "b.py")]


def test_an_answer_to_what_is_not_found_any_more_is_told():
    assert outdated(FOUND, {("B101", "everywhere"), ("B310", "a.py")}) == []
    assert outdated(FOUND, {("B310", "b.py"), ("B999", "everywhere")}) == [("B310", "b.py"), ("B999", "everywhere")]


def test_the_page_names_only_files_that_exist():
    files = [file for _, file in answers_in(PAGE.read_text()) if file != "everywhere"]
    assert len(files) > 10
    assert [file for file in files if not (PAGE.parent.parent / file).is_file()] == []


def test_an_audit_of_packages_without_advisories_was_not_run():
    skipped = {"name": "a", "skip_reason": "not found"}
    for told in (judge_packages("", Path("here")), packages(skipped)):
        assert told == (True, "pip-audit: NOT RUN, no advisories could be reached.")


def test_a_package_with_an_advisory_fails_the_audit():
    good, skipped = {"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}
    bad = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1"}]}
    assert packages(good, skipped) == (
        True,
        "pip-audit: nothing known about 1 packages of here, 1 were not checked (b).",
    )
    assert packages(good, bad) == (False, "pip-audit: c 2: PYSEC-1 about 2 packages of here.")
