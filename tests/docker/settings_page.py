"""The settings of docs/settings.md."""

import re

from tests.real_services import ROOT


def documented_settings() -> set[str]:
    rows = (line for line in (ROOT / "docs" / "settings.md").read_text().splitlines() if line.startswith("| `"))
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
