"""
Checks the code with bandit and the installed packages with pip-audit: ``make audit``.

Each finding of bandit must be answered in the table of ``docs/security-checks.md``, and each answer there must be to
one that is still found. If pip-audit can reach no advisories, this says that it was not run, which is no failure.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "security-checks.md"
CODE = ("manage.py", "clientcaller", "calls", "media", "inference")
EVERYWHERE = "everywhere"
ROW = re.compile(r"^\| (B\d{3}) \| (?:`([^`]+)`|(everywhere)) \| [^\s|]")

Finding = tuple[str, str]
"""The test of bandit, and the file in which it found something."""


def answers_in(page: str) -> set[Finding]:
    """The findings that the table of this page answers."""
    rows = (ROW.match(line) for line in page.splitlines())
    return {(row[1], row[2] or row[3]) for row in rows if row}


def unanswered(findings: Iterable[Finding], answers: set[Finding]) -> list[Finding]:
    return sorted({one for one in findings if one not in answers and (one[0], EVERYWHERE) not in answers})


def outdated(findings: Iterable[Finding], answers: set[Finding]) -> list[Finding]:
    """Answers to what is no longer found."""
    found = {*findings}
    tests = {test for test, _ in found}
    return sorted(one for one in answers - found if one[1] != EVERYWHERE or one[0] not in tests)


def judge_packages(output: str, packages: Path) -> tuple[bool, str]:
    """What pip-audit found, from its JSON: whether that is well, and a sentence about it."""
    try:
        checked = json.loads(output[output.index("{") :])["dependencies"]
    except ValueError:
        return True, "pip-audit: NOT RUN, no advisories could be reached."
    without = [one["name"] for one in checked if "skip_reason" in one]
    if len(without) == len(checked):
        return True, "pip-audit: NOT RUN, no advisories could be reached."
    bad = [
        f"{one['name']} {one['version']}: {', '.join(map(_name, one['vulns']))}" for one in checked if one.get("vulns")
    ]
    rest = f", {len(without)} were not checked ({', '.join(without)})" if without else ""
    told = "; ".join(bad) or "nothing known"
    return not bad, f"pip-audit: {told} about {len(checked) - len(without)} packages of {packages}{rest}."


def _name(advisory: dict[str, Any]) -> str:
    return str(advisory["id"])


def find() -> list[Finding]:
    """Have bandit look through the code of the product."""
    command = [sys.executable, "-m", "bandit", "-q", "-r", *CODE, "-f", "json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if not run.stdout:
        raise SystemExit(f"bandit did not run:\n{run.stderr}")
    report = json.loads(run.stdout)
    if report["errors"]:
        raise SystemExit(f"bandit could not read everything: {report['errors']}")
    return [(one["test_id"], one["filename"].removeprefix("./")) for one in report["results"]]


def main() -> None:
    packages = Path(sys.argv[1])
    findings, answers = find(), answers_in(PAGE.read_text())
    for test, file in (missing := unanswered(findings, answers)):
        print(f"bandit: {test} in {file} is not answered in {PAGE.name}")
    for test, file in (old := outdated(findings, answers)):
        print(f"bandit: {PAGE.name} answers {test} in {file}, which is no longer found")
    if not missing and not old:
        print(f"bandit: each of {len(findings)} findings is answered in {PAGE.name}.")
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json", "--path", packages]
    audit = subprocess.run(command, capture_output=True, text=True)
    is_well, told = judge_packages(audit.stdout, packages)
    print(told)
    sys.exit(bool(missing or old or not is_well))


if __name__ == "__main__":
    main()
