"""The engine that CONTRIBUTING.md builds works as it says: by its path, as an entry point, and by the contract."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from inference.backends import make_engine
from inference.types import Message
from tests.inference.contract import LanguageModelContract

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return code


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder on the path with the package ``acme``, which has the engine, as ``pip install`` would leave it."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "acme").mkdir()
    (folder / "acme" / "parrot.py").write_text(block("python"), encoding="utf-8")
    metadata = folder / "acme-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    points = tomllib.loads(block("toml"))["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in of.items()) for group, of in points.items()
    ]
    (metadata / "entry_points.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def make(package):
    sys.path.insert(0, str(package))
    try:
        import_module("acme.parrot")
        yield lambda: make_engine("llm", {"BACKEND": "acme.parrot.ParrotLanguageModel"})
    finally:
        sys.path.remove(str(package))
        sys.modules.pop("acme.parrot", None)
        sys.modules.pop("acme", None)


def test_the_example_is_short():
    assert len(block("python").splitlines()) <= 20


async def test_the_engine_of_the_worked_example_answers(make):
    engine = make()
    await engine.start()
    assert "".join([delta.text async for delta in engine.stream([Message("user", "Hello.")])]) == "You said: Hello."
    await engine.close()


class TestParrot(LanguageModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, make):
        return make


@pytest.mark.parametrize("chosen", ["acme.parrot.ParrotLanguageModel", "parrot", "parrot,receptionist"])
def test_the_command_tries_it(package, chosen):
    done = subprocess.run(
        [sys.executable, "manage.py", "engines", "llm", "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(package), "ENGINES_PROFILE": "laptop", "LLM_ENGINE": chosen},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (llm,) = json.loads(done.stdout)["engines"]
    assert llm["words"].startswith("You said: What are your opening hours?")
