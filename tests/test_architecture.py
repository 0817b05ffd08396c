"""Who may know whom: the arrows between the packages, read from the imports."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("clientcaller", "calls", "media", "inference")

MAY_IMPORT = {
    "clientcaller": {"clientcaller", "calls", "media", "inference"},
    "calls": {"calls"},
    "media": {"media", "calls.services", "calls.stages", "inference"},
    "inference": {"inference"},
}
UNKNOWN_TO = {"inference": {"django", "channels"}}
SHELLS = ("inference/apps.py", "inference/management/", "inference/remote/placement.py")
"""Where an engine meets the framework: the commands, and the way to a worker elsewhere."""
PURE_MODULES = ("inference.requests", "calls.stages")
"""What ``media.turns`` shares with other packages: each imports the pure standard library alone."""
NO_CLOCK_NO_AWAIT_NO_CHANCE = {"time", "datetime", "asyncio", "random", "secrets", "threading", "socket", "os"}


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} has no files"
    return found


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that the file imports, wherever in it, as (line, dotted name)."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = (*package[: len(package) - level + 1], *([module] if module else [])) if level else (module,)
                # `from calls import services` and `from calls.services import x` are the same arrow.
                yield from ((node.lineno, ".".join((*base, alias.name))) for alias in names)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in allowed)


def says(path: Path, line: int, what: str) -> str:
    return f"{path.relative_to(ROOT)}:{line} {what}"


def test_the_reader_of_imports_sees_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    source = tmp_path / "media" / "turns" / "clock.py"
    source.parent.mkdir(parents=True)
    source.write_text("import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n")
    assert list(imports(source)) == [(1, "a.b"), (2, "c.d"), (4, "media.turns.e"), (5, "media.g.h")]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may_know(package):
    strangers = [
        says(path, line, f"imports {name}")
        for path in files(package)
        for line, name in imports(path)
        if (within(name, set(PACKAGES)) and not within(name, MAY_IMPORT[package]))
        or (within(name, UNKNOWN_TO.get(package, set())) and not path.relative_to(ROOT).as_posix().startswith(SHELLS))
    ]
    assert strangers == []


def test_the_turns_import_only_themselves_and_pure_modules():
    pure = set(sys.stdlib_module_names) - NO_CLOCK_NO_AWAIT_NO_CHANCE
    shared = [ROOT / f"{module.replace('.', '/')}.py" for module in PURE_MODULES]
    impure = [
        says(path, line, f"imports {name}")
        for path, allowed in [
            *((path, {"media.turns", *PURE_MODULES}) for path in files("media/turns")),
            *((path, set()) for path in shared),
        ]
        for line, name in imports(path)
        if not within(name, allowed | pure)
    ]
    assert impure == []


def test_the_turns_never_await():
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    found = [
        says(path, node.lineno, "is asynchronous")
        for path in files("media/turns")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, waits)
    ]
    assert found == []


def test_only_one_module_reads_the_environment():
    """Entry points may set ``DJANGO_SETTINGS_MODULE``."""
    readers = [
        says(path, node.lineno, "reads the environment")
        for path in [ROOT / "manage.py", *(path for package in PACKAGES for path in files(package))]
        if path != ROOT / "clientcaller" / "environment.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
        if ast.unparse(node) in ("os.environ", "os.getenv", "environ", "getenv")
        if path not in (ROOT / "manage.py", ROOT / "clientcaller" / "asgi.py", ROOT / "clientcaller" / "celery.py")
    ]
    assert readers == []
