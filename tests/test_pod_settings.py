"""A GPU worker runs with the settings of ``clientcaller.pod`` on the packages of requirements/pod.txt alone."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inference.checking import QUESTION
from inference.engines.scripted import DEFAULT_REPLY, DEFAULT_TRANSCRIPT
from tests.real_services import process, process_env

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements"


def pins(path: Path) -> list[Requirement]:
    """The packages that a requirements file names itself, without those of files that it includes."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with the packages that pod.txt would install into an empty environment."""
    folder = tmp_path_factory.mktemp("packages")
    waiting, done = pins(REQUIREMENTS / "pod.txt"), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in done or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        done.add(name)
        package = distribution(requirement.name)
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            (folder / top).symlink_to(package.locate_file(top))
        waiting += map(Requirement, package.requires or ())
    return folder


# -S hides the packages of the environment in which the tests run.
MANAGE = (sys.executable, "-S", "manage.py")


@pytest.fixture
def pod_env(packages, tmp_path):
    def pod_env(**more: str) -> dict[str, str]:
        here = {"PYTHONPATH": str(packages), "DJANGO_SETTINGS_MODULE": "clientcaller.pod"}
        return process_env(tmp_path, **{**here, **more})

    return pod_env


@pytest.fixture
def manage(pod_env):
    def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return finished(*MANAGE, *arguments, env=pod_env(**environment))

    return manage


def finished(*command: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_settings_pass_the_checks_without_the_packages_of_the_web(manage):
    done = manage("check", ENGINES_PROFILE="gpu", redis_url="rediss://redis.example.com")
    assert done.returncode == 0, done.stderr


def test_the_engines_command_runs(manage):
    done = manage("engines", "--json", ENGINES_PROFILE="scripted")
    assert done.returncode == 0, done.stderr
    assert all(engine["words"] for engine in json.loads(done.stdout)["engines"])


def test_a_worker_takes_engines_by_their_names(manage):
    done = manage(
        "engines", "llm", "tts", "--json", ENGINES_PROFILE="gpu", LLM_ENGINE="echo", TTS_ENGINE="echo,scripted"
    )
    assert done.returncode == 0, done.stderr
    llm, tts = json.loads(done.stdout)["engines"]
    assert llm["backend"] == "inference.engines.echo.EchoLanguageModel"
    assert tts["backend"] == "inference.engines.fallback.FallbackTextToSpeech"


def test_an_engine_without_its_packages_names_their_requirements_file(manage):
    done = manage("engines", "stt", "tts", "--json", ENGINES_PROFILE="gpu")
    assert done.returncode == 1
    stt, tts = json.loads(done.stdout)["engines"]
    assert "requirements/stt.txt" in stt["error"]
    assert "requirements/tts.txt" in tts["error"]


def test_the_say_command_runs(manage, tmp_path):
    done = manage("say", "Good morning.", "--out", str(tmp_path / "x.wav"), ENGINES_PROFILE="scripted")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.wav").stat().st_size > 8000 * 0.5


def test_a_worker_serves_a_web_process_through_redis(pod_env, redis_server, tmp_path):
    pod = pod_env(ENGINES_PROFILE="scripted", redis_url=redis_server.url)
    web = process_env(tmp_path, ENGINES_PROFILE="remote", redis_url=redis_server.url)
    with process(*MANAGE, "runworker", "stt", "llm", "tts", env=pod) as worker:
        for _ in range(3):
            worker.wait_for("loaded on cpu")
        done = finished(sys.executable, "manage.py", "engines", "--json", env=web)
    assert done.returncode == 0, done.stdout + done.stderr
    engines = json.loads(done.stdout)["engines"]
    assert all("none: it follows a script" in engine["weights"] and engine["may_speculate"] for engine in engines)
    assert [engine["words"] for engine in engines] == [DEFAULT_TRANSCRIPT, DEFAULT_REPLY, QUESTION]


def test_a_package_has_the_same_pin_in_every_file():
    named: dict[str, set[str]] = {}
    for path in REQUIREMENTS.glob("*.txt"):
        for requirement in pins(path):
            assert str(requirement.specifier).startswith("=="), f"{path.name}: {requirement}"
            named.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: pinned for name, pinned in named.items() if len(pinned) > 1} == {}
