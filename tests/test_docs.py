"""The documentation leads where it says: links, commands, modules and the worked example."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("clientcaller", "calls", "media", "inference")


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page outside fenced code, with their numbers."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def anchor(heading: str) -> str:
    """The anchor that a heading gets on the usual hosts."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(line.lstrip("# ")) for _, line in prose(page) if line.startswith("#")}


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 9000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_wrap_at_120_characters(page):
    """Except for the rows of tables and images, which cannot wrap."""
    long = [number for number, line in prose(page) if len(line) > 120 and not line.lstrip().startswith(("|", "!"))]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    broken = []
    for number, line in prose(page):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, fragment = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (fragment and fragment not in anchors(file)):
                broken.append(f"{page.name}:{number} {target}")
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "layout.md"], ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page):
    """Paths in backticks under one of the project's folders; `<name>` and `…` are placeholders."""
    named = re.compile(rf"`((?:{'|'.join(PACKAGES)}|tests|docs|docker|requirements)/[\w./-]+)`")
    example = {"inference/engines/parrot.py", "docker/.env", "docker/voices"}  # the reader makes them
    missing = [
        f"{page.name}:{number} {path}"
        for number, line in prose(page)
        for path in named.findall(line)
        if path not in example and not (ROOT / path).exists()
    ]
    assert missing == []


def test_every_module_is_in_the_layout():
    layout = (ROOT / "docs" / "layout.md").read_text(encoding="utf-8")
    paths = [path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    modules = {path for path in paths if not path.endswith("__init__.py") and "/migrations/" not in path}
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \|", layout, re.MULTILINE))
    assert modules - listed == set(), "add them to docs/layout.md"
    assert listed - modules == set(), "they no longer exist: remove them from docs/layout.md"


def test_every_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"(?:`|\$ |=\S+ )make ([a-z-]+)", page.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= targets


def test_every_benchmark_that_a_page_names_exists():
    benchmarks = ROOT / "tests" / "benchmarks"
    named = {
        name for page in PAGES for name in re.findall(r"tests\.benchmarks\.(\w+)", page.read_text(encoding="utf-8"))
    }
    assert named
    missing = {name for name in named if not list(benchmarks.glob(f"{name}.py")) and not (benchmarks / name).is_dir()}
    assert missing == set()
