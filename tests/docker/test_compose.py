"""docker/compose.yaml and docker/.env say what the project has: settings, commands, folders, times."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

from tests.docker.dockerfiles import read
from tests.docker.test_images import program
from tests.real_services import ROOT

COMPOSE = ROOT / "docker" / "compose.yaml"
SETTINGS = ROOT / "docker" / "settings"
EXAMPLE = ROOT / "docker" / "env.example"
FOR_PROGRAMS = {
    "DJANGO_SETTINGS_MODULE", "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY", "WEB_PROCESSES",
    "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "REDIS_PASSWORD",
}  # fmt: skip
"""Variables that other programs than the project read."""
WEB = {"caddy", "migrate", "web-1", "web-2", "worker", "redis", "postgres"}
GPU = {"mps", "llm", "stt", "tts"}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


@pytest.fixture(scope="module")
def documented() -> set[str]:
    """The settings of docs/settings.md."""
    rows = (line for line in (ROOT / "docs" / "settings.md").read_text().splitlines() if line.startswith("| `"))
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_the_schema_of_compose_is_kept():
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_profile_starts_what_it_needs(services):
    def of(profile: str) -> set[str]:
        return {name for name, service in services.items() if profile in service["profiles"]}

    assert of("web") == of("hosted") == WEB
    assert of("gpu") == GPU | {"llm-worker"}
    assert of("all") == WEB | GPU
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            assert {*service["profiles"]} <= {*services[needed]["profiles"]}, f"{name} needs {needed}"


def test_each_variable_is_documented(services, documented):
    own = {*runpy.run_path(str(SETTINGS), run_name="read")["CONTAINERS"]}
    assert {*re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE.read_text())} <= documented | own
    for name, service in services.items():
        assert {*service.get("environment", {})} <= documented | FOR_PROGRAMS, name


def test_each_command_exists(services):
    for name, service in services.items():
        command = " ".join(service.get("command", []))
        for module in re.findall(r"python -m ([\w.]+)", command):
            assert importlib.util.find_spec(module), name
        for word in re.findall(r"manage\.py (\w+)", command):
            assert word in get_commands(), name
    serving = read(ROOT / "docker" / "web.Dockerfile")[-1].last("CMD").command
    assert importlib.util.find_spec(serving[2])
    assert services["caddy"]["environment"]["WEB_PROCESSES"] == f"web-1:{serving[-1]} web-2:{serving[-1]}"


def test_each_volume_is_the_folder_of_a_setting(services):
    folders = {"VAR_DIR": "/data", "MODELS_FOLDER": "/models", "CSM_VOICES": "/voices"}
    for name in ("web-1", "web-2", "worker", "migrate", "stt", "tts"):
        service = services[name]
        given = service["environment"]
        mounted = {volume.split(":")[1] for volume in service.get("volumes", [])}
        mounted |= {place.split(":")[0] for place in service["tmpfs"]}
        for setting in ("VAR_DIR", "MODELS_FOLDER", *(["CSM_VOICES"] if name == "tts" else [])):
            assert given[setting] == folders[setting]
            assert folders[setting] in mounted, f"{name}: {setting} is not on a volume, and the root is read-only"
    named = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"]
    assert {volume for volume in named if not volume.startswith(".")} == {*volumes}
    for stage in (read(ROOT / "docker" / f"{image}.Dockerfile")[-1] for image in ("web", "speech")):
        given = {name: value for step in stage.all("ENV") for name, value in step.pairs.items()}
        assert {name: given[name] for name in ("VAR_DIR", "MODELS_FOLDER")} == {
            "VAR_DIR": "/data",
            "MODELS_FOLDER": "/models",
        }


def test_nothing_runs_with_more_rights_than_it_needs(services):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else []), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert "ports" not in service or name == "caddy", name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
        assert service["init"] is True
    # What keeps data has no way to the internet.
    assert {name for name, service in services.items() if service.get("networks") == ["inside"]} == {
        "migrate", "redis", "postgres",
    }  # fmt: skip
    assert yaml.safe_load(COMPOSE.read_text())["networks"]["inside"] == {"internal": True}
    secrets = re.findall(r"(?:PASSWORD|TOKEN|SECRET)\w*: (.*)", COMPOSE.read_text())
    assert secrets
    assert all("${" in value for value in secrets)


def test_each_service_has_a_health_check_of_its_own_or_of_its_image(services):
    for name, service in services.items():
        own = "build" in service and read(ROOT / service["build"]["dockerfile"])[-1].all("HEALTHCHECK")
        same = "image" in service and service["image"].startswith("client-caller-")
        assert "healthcheck" in service or own or same, name


def test_the_database_is_migrated_once_before_anything_uses_it(services):
    assert "manage.py migrate" in " ".join(services["migrate"]["command"])
    for name in ("web-1", "web-2", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for needed in ("web-1", "web-2"):
        assert services["caddy"]["depends_on"][needed] == {"condition": "service_healthy"}


def test_a_process_that_is_asked_to_end_gets_its_time(services):
    for name in ("web-1", "web-2"):
        assert seconds(services[name]["stop_grace_period"]) >= settings.DRAIN_LIMIT + 30
    for name in ("stt", "tts", "llm-worker"):
        assert seconds(services[name]["stop_grace_period"]) >= 60  # --drain is 30


# --- The file of settings ------------------------------------------------------------------------------------


def write_settings(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of docker/settings, which writes beside itself."""
    (folder / "docker").mkdir(exist_ok=True)
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "settings.md").write_bytes((ROOT / "docs" / "settings.md").read_bytes())
    (folder / "docker" / "settings").write_bytes(SETTINGS.read_bytes())
    command = [sys.executable, str(folder / "docker" / "settings"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def read_by_a_shell(path: Path) -> dict[str, str]:
    script = f"set -a; . {path}; {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    out = subprocess.run(["sh", "-ec", script], env={"PATH": os.environ["PATH"]}, check=True, capture_output=True)
    return yaml.safe_load(out.stdout)


def test_the_example_has_every_setting_with_a_sentence(documented):
    text = EXAMPLE.read_text()
    printed = subprocess.run([sys.executable, str(SETTINGS), "--example"], check=True, capture_output=True, text=True)
    assert text == printed.stdout, "docs/settings.md has changed: run `docker/settings --example > docker/env.example`"
    listed = re.findall(r"^#?([A-Z]\w+)=", text, re.MULTILINE)
    assert len(listed) == len({*listed})
    assert documented <= {*listed}
    for paragraph in text.split("\n\n"):
        if re.search(r"^#?[A-Z]\w+=", paragraph, re.MULTILINE):
            assert re.search(r"^# .*[.]$", paragraph, re.MULTILINE), paragraph
    assert read_by_a_shell(EXAMPLE)["DEBUG"] == "0"


def test_the_file_of_an_installation_has_secrets_of_its_own(tmp_path):
    hours = '{"*": "Mon-Fri 08:00-20:00 $x"}'
    done = write_settings(tmp_path, "https://phone.example.com/", "TWILIO_AUTH_TOKEN=t", f"CALLING_HOURS={hours}")
    assert done.returncode == 0, done.stderr
    assert "Fill in: TWILIO_ACCOUNT_SID, TWILIO_PHONE_NUMBER" in done.stdout
    path = tmp_path / "docker" / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    got = read_by_a_shell(path)
    assert got["PUBLIC_BASE_URL"] == "https://phone.example.com"  # a slash would make Caddy serve that page alone
    assert (got["TWILIO_AUTH_TOKEN"], got["CALLING_HOURS"]) == ("t", hours)
    assert len(got["SECRET_KEY"]) >= 64
    assert len({got[name] for name in ("SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD")}) == 3

    again = write_settings(tmp_path, "https://other.example.com")
    assert again.returncode == 1
    assert "exists, and its secrets must stay the same" in again.stderr
    assert read_by_a_shell(path) == got


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "The first argument is the public address"),
        (("http://phone.example.com",), "The first argument is the public address"),
        (("https://phone.example.com/calls",), "The first argument is the public address"),
        (("https://phone.example.com", "TWILO_AUTH_TOKEN=t"), "There is no setting TWILO_AUTH_TOKEN"),
        (("https://phone.example.com", "SECRET_KEY=it's"), "must be written into the file by hand"),
    ],
    ids=["nothing", "no TLS", "a path", "an unknown setting", "a quote"],
)
def test_what_cannot_be_written_is_said(tmp_path, arguments, told):
    done = write_settings(tmp_path, *arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert not (tmp_path / "docker" / ".env").exists()
