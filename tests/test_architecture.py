"""Which package may import which, and what the pure modules may use."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
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
FORBIDDEN_IMPORTS = {"inference": {"django", "channels"}}
FRAMEWORK_FILES = ("inference/apps.py", "inference/management/", "inference/remote/placement.py")
"""The files of ``inference`` that may import the framework: the commands, and the search for a worker."""
PURE_MODULES = ("inference.requests", "calls.stages")
"""The modules that ``media.turns`` shares with other packages. Each imports only the pure standard library."""
IMPURE_STANDARD_LIBRARY = {"time", "datetime", "asyncio", "random", "secrets", "threading", "socket", "os"}


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} has no files"
    return found


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import in the file, inside functions too, as (line, dotted name)."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = (*package[: len(package) - level + 1], *([module] if module else [])) if level else (module,)
                # `from calls import services` is an import of calls.services, as `from calls.services import x` is.
                yield from ((node.lineno, ".".join((*base, alias.name))) for alias in names)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def within(name: str, allowed: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in allowed)


def finding(path: Path, line: int, what: str) -> str:
    return f"{path.relative_to(ROOT)}:{line} {what}"


def test_imports_are_found_in_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    source = tmp_path / "media" / "turns" / "clock.py"
    source.parent.mkdir(parents=True)
    source.write_text("import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n")
    assert list(imports(source)) == [(1, "a.b"), (2, "c.d"), (4, "media.turns.e"), (5, "media.g.h")]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package):
    forbidden = [
        finding(path, line, f"imports {name}")
        for path in files(package)
        for line, name in imports(path)
        if (within(name, set(PACKAGES)) and not within(name, MAY_IMPORT[package]))
        or (
            within(name, FORBIDDEN_IMPORTS.get(package, set()))
            and not path.relative_to(ROOT).as_posix().startswith(FRAMEWORK_FILES)
        )
    ]
    assert forbidden == []


def test_no_module_imports_itself_through_others():
    """Imports inside functions do not count: they run when all modules are loaded."""
    modules = {dotted(path): path for package in PACKAGES for path in files(package)}
    graph = {}
    for module, path in modules.items():
        top_level = {node.lineno for node in ast.parse(path.read_text(encoding="utf-8")).body}
        names = [name for line, name in imports(path) if line in top_level]
        # The name that is imported from a module may be a module itself.
        graph[module] = {name if name in modules else name.rpartition(".")[0] for name in names} & set(modules) - {
            module
        }
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_turns_imports_only_itself_and_pure_modules():
    pure = set(sys.stdlib_module_names) - IMPURE_STANDARD_LIBRARY
    shared = [ROOT / f"{module.replace('.', '/')}.py" for module in PURE_MODULES]
    impure = [
        finding(path, line, f"imports {name}")
        for path, allowed in [
            *((path, {"media.turns", *PURE_MODULES}) for path in files("media/turns")),
            *((path, set()) for path in shared),
        ]
        for line, name in imports(path)
        if not within(name, allowed | pure)
    ]
    assert impure == []


def test_turns_has_no_asynchronous_code():
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    found = [
        finding(path, node.lineno, "is asynchronous")
        for path in files("media/turns")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, waits)
    ]
    assert found == []


def test_only_one_module_reads_the_environment():
    """Entry points may set ``DJANGO_SETTINGS_MODULE``."""
    readers = [
        finding(path, node.lineno, "reads the environment")
        for path in [ROOT / "manage.py", *(path for package in PACKAGES for path in files(package))]
        if path != ROOT / "clientcaller" / "environment.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
        if ast.unparse(node) in ("os.environ", "os.getenv", "environ", "getenv")
        if path not in (ROOT / "manage.py", ROOT / "clientcaller" / "asgi.py", ROOT / "clientcaller" / "celery.py")
    ]
    assert readers == []
