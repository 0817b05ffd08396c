"""docker/systemd/ says what the project has: commands, settings, times; and systemd itself accepts it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands

from tests.docker.settings_page import documented_settings
from tests.real_services import ROOT

FOLDER = ROOT / "docker" / "systemd"
COMMON = FOLDER / "client-caller-.service.d" / "common.conf"
SERVICES = sorted(FOLDER.glob("*.service"))
OURS = [path for path in SERVICES if path.name.startswith("client-caller-")]
FOR_PROGRAMS = {
    "DJANGO_SETTINGS_MODULE", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "HOME", "HF_HOME", "CUDA_CACHE_PATH",
    "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY",
}  # fmt: skip
"""Variables that other programs than the project read."""
VENVS = {".venv": "web", ".venv-stt": "stt", ".venv-tts": "tts", ".venv-llm": "llm"}
"""The environments that docs/one-vm.md makes, and the file of requirements of each."""
analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
each_service = pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)


def entries(path: Path, name: str) -> list[str]:
    """The values of a directive of a unit, in order."""
    return re.findall(rf"^{name}=(.*)$", path.read_text(), re.MULTILINE)


def instances(path: Path) -> list[str]:
    """What %i stands for, by the targets that want the unit."""
    wanted = " ".join(value for target in FOLDER.glob("*.target") for value in entries(target, "Wants"))
    return re.findall(rf"{re.escape(path.stem)}(\w+)\.service", wanted) if path.stem.endswith("@") else [""]


def run_systemd_analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{folder}:", "LC_ALL": "C"}
    return subprocess.run(["systemd-analyze", *arguments], env=env, capture_output=True, text=True)


@each_service
def test_each_command_exists(path):
    commands = [command.replace("%i", name) for command in entries(path, "ExecStart") for name in instances(path)]
    assert commands
    for command in commands:
        if path.stem == "client-caller-mps":
            assert command == "/usr/bin/nvidia-cuda-mps-control -f"
        elif path.stem == "client-caller-llm":
            assert "docker/vllm/serve " in command
            assert os.access(ROOT / "docker" / "vllm" / "serve", os.X_OK)
        else:
            venv, rest = re.fullmatch(r"/usr/bin/env (\S+)/bin/python (.*)", command).groups()
            assert (ROOT / "requirements" / f"{VENVS[venv]}.txt").exists()
            if module := re.match(r"-m ([\w.]+)", rest):
                assert importlib.util.find_spec(module[1])
            else:
                assert re.match(r"manage\.py (\w+)", rest)[1] in get_commands()


@each_service
def test_each_variable_is_a_documented_setting(path):
    given = {pair.partition("=")[0] for value in entries(path, "Environment") for pair in value.split()}
    assert given <= documented_settings() | FOR_PROGRAMS
    assert entries(path, "EnvironmentFile") or path.stem == "client-caller-mps"


def test_the_folders_are_those_that_systemd_makes():
    assert entries(COMMON, "StateDirectory") == ["client-caller"]
    for path in OURS:
        folders = re.findall(r"(?:VAR_DIR|MODELS_FOLDER|HOME|CUDA_CACHE_PATH)=(\S+)", path.read_text())
        assert all(re.match(r"/var/lib/client-caller(/|$)", folder) for folder in folders), path.name
        pipes = re.findall(r"CUDA_MPS_PIPE_DIRECTORY=(\S+)", path.read_text())
        assert set(pipes) <= {"/run/" + entries(FOLDER / "client-caller-mps.service", "RuntimeDirectory")[0]}


def test_a_process_that_is_asked_to_end_gets_its_time():
    for path in OURS:
        if "Type=oneshot" in path.read_text() or path.stem == "client-caller-mps":
            continue
        assert entries(path, "KillMode") == ["mixed"], path.name
        least = {"client-caller-web@": settings.DRAIN_LIMIT + 30, "client-caller-llm": 30}.get(path.stem, 60)
        assert int(entries(path, "TimeoutStopSec")[0]) >= least, path.name


def test_a_web_process_starts_after_the_migrations_and_also_without_a_database():
    for name in ("client-caller-web@.service", "client-caller-worker.service"):
        path = FOLDER / name
        assert "client-caller-migrate.service" in entries(path, "After")[0]
        assert "client-caller-migrate.service" in entries(path, "Wants")[0]
        assert entries(path, "Requires") == entries(path, "BindsTo") == []
        assert entries(path, "Restart") == ["always"]
    commands = entries(FOLDER / "client-caller-migrate.service", "ExecStart")
    assert [re.search(r"manage\.py (\w+)", command)[1] for command in commands] == ["check", "migrate", "collectstatic"]


def test_all_processes_on_a_card_start_again_together():
    on_the_card = ("client-caller-llm.service", "client-caller-gpu@.service")
    for name in on_the_card:
        assert entries(FOLDER / name, "OnFailure") == ["restart-client-caller-gpu.service"]
        assert entries(FOLDER / name, "Restart") == ["on-success"]  # else it would not count as failed
    for name in (*on_the_card, "client-caller-mps.service"):
        assert entries(FOLDER / name, "PartOf") == ["client-caller-gpu.target"]


def test_caddy_knows_the_web_processes():
    caddy = (ROOT / "docker" / "Caddyfile").read_text()
    assert " ".join(f"127.0.0.1:{port}" for port in instances(FOLDER / "client-caller-web@.service")) in caddy


@analyze
def test_systemd_accepts_the_units(tmp_path):
    units = [
        path.name.replace("@.", f"@{name}.") for path in SERVICES for name in instances(path)
    ] + [path.name for path in FOLDER.glob("*.target")]  # fmt: skip
    done = run_systemd_analyze(FOLDER, "verify", "--man=no", *units)
    told = [line for line in done.stderr.splitlines() if not re.search(r"Command /\S+ is not executable", line)]
    assert told == []

    # It would have said so.
    broken = tmp_path / "units"
    shutil.copytree(FOLDER, broken)
    web = broken / "client-caller-web@.service"
    web.write_text(web.read_text().replace("TimeoutStopSec=930", "TimeoutStopSec=soon"))
    done = run_systemd_analyze(broken, "verify", "--man=no", "client-caller-web@8000.service")
    assert "Failed to parse time value" in done.stderr


@analyze
def test_systemd_finds_little_exposed():
    for path in OURS:
        unit = path.name.replace("@.", f"@{instances(path)[0]}.")
        done = run_systemd_analyze(FOLDER, "security", "--offline=yes", "--threshold=25", "--no-pager", unit)
        assert done.returncode == 0, done.stdout[-300:]
