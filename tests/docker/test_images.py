"""The Dockerfiles and the locks of their packages, read and linted. `make image-check` carries them out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.dockerfiles import DOCKERFILES, Stage, read
from tests.real_services import ROOT

LOCKS = ROOT / "requirements" / "locks"
LOCKED = {"build": "build", "web": "web", "no-deps": "no-deps", "stt": "stt", "tts": "tts"}
"""The file of requirements behind each lock."""
EXACT = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_KEYS?\b")

all_images = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def pinned(requirements: str) -> dict[str, str]:
    """The packages of a file of requirements and of those that it includes, with their versions."""
    found: dict[str, str] = {}
    for line in (ROOT / "requirements" / f"{requirements}.txt").read_text().splitlines():
        if line.startswith("-r "):
            found |= pinned(line[3:].removesuffix(".txt"))
        elif match := re.match(r"([\w.-]+)(\[\w+\])?==([^;\s]+)", line):
            found[match[1].lower().replace("_", "-")] = match[3]
    assert found
    return found


def test_there_are_the_images_of_the_page():
    assert {path.stem for path in DOCKERFILES} == {"web", "speech", "llm"}


@all_images
def test_the_linter_finds_nothing(path):
    command = [program("hadolint"), "--no-color", "--failure-threshold", "warning", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@all_images
def test_an_image_has_an_exact_base_a_user_of_its_own_and_a_health_check_of_python(path):
    stages = read(path)
    for stage in stages:
        assert EXACT.fullmatch(stage.base), f"{stage.base} names no exact version"
    last = stages[-1]
    assert last.last("USER").text == "10001:10001"
    assert last.last("HEALTHCHECK").command[0] in ("python", "python3")
    assert not any("curl" in step.text for stage in stages for step in stage.instructions)


@all_images
def test_no_secret_is_in_a_layer(path):
    for stage in read(path):
        assert not any(SECRET.search(step.text) for name in ("ENV", "ARG") for step in stage.all(name))
        for step in stage.all("COPY"):
            assert not re.search(r"\.env|COPY \.", f"COPY {step.text}")


@all_images
def test_what_is_copied_exists_and_is_sent_to_the_builder(path):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored  # everything but what is named
    for step in (step for stage in read(path) for step in stage.all("COPY") if not step.text.startswith("--from")):
        for source in step.text.split()[:-1]:
            assert (ROOT / source).exists()
            top = source.split("/")[0]
            assert {f"!{top}", f"!{top}/"} & {*ignored}, f".dockerignore leaves out {source}"


@all_images
def test_packages_are_installed_from_locks_alone(path):
    def installs(stages: list[Stage]) -> list[str]:
        return [step.text for stage in stages for step in stage.all("RUN") if "pip install" in step.text]

    for text in installs(read(path)):
        assert "--require-hashes" in text
        assert "--only-binary :all:" in text
        (lock,) = re.findall(r"-r \"?/locks/([\w${}-]+)\.txt", text)
        for kind in ("stt", "tts") if lock == "${KIND}" else (lock,):
            assert (LOCKS / f"{kind}.txt").exists()


@pytest.mark.parametrize("name", sorted(LOCKED))
def test_a_lock_has_what_is_required_with_digests(name):
    text = (LOCKS / f"{name}.txt").read_text()
    entries = re.findall(r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    locked = {package: version for package, version, _ in entries}
    assert len(entries) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE))
    assert not re.search(r"file:|https?:|\+cpu", text), "the digests are not those of the public files"
    missing = {package: version for package, version in pinned(LOCKED[name]).items() if locked.get(package) != version}
    assert missing == {}, "requirements/ has changed: run `make locks`"


DOCKER = """#!/bin/sh
case "$*" in
    *missing*) exit 1 ;;
    "buildx imagetools inspect --format {{.Manifest.Digest}} "*) printf 'sha256:%064d\\n' 7 ;;
    *) exit 2 ;;
esac
"""


def test_the_digests_of_the_base_images_are_written_and_taken_out_again(tmp_path):
    folder = tmp_path / "docker"
    folder.mkdir()
    for path in [*DOCKERFILES, ROOT / "docker" / "compose.yaml", ROOT / "docker" / "digests"]:
        (folder / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_text() for path in folder.iterdir()}
    fake = tmp_path / "docker-command" / "docker"
    fake.parent.mkdir()
    fake.write_text(DOCKER)
    fake.chmod(0o755)
    env = {"PATH": f"{fake.parent}:/usr/bin:/bin"}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(folder / "digests"), *options]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    assert run().returncode == 0
    digest = f"@sha256:{7:064d}"
    for path in DOCKERFILES:
        assert all(stage.base.endswith(digest) for stage in read(folder / path.name))
    compose = (folder / "compose.yaml").read_text()
    assert re.search(rf"image: postgres:[\w.-]+{digest}$", compose, re.MULTILINE)
    assert "client-caller-web:${VERSION:-latest}\n" in compose
    assert run("--tags").returncode == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == before

    web = folder / "web.Dockerfile"
    web.write_text(web.read_text().replace("FROM python:", "FROM missing:"))
    done = run()
    assert done.returncode == 1
    assert "The digest of missing:" in done.stderr
